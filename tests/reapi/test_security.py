"""Where the gateway listens, to whom it answers, and how much it takes: addresses, tokens, limits."""
import contextlib
import os
import socket
import stat
import tempfile

from reapi import (blob_name, Client, Code, compress, digest, EMPTY, fresh, grpc, health, Host, key, main,
                   noise, PATIENCE, refused, refused_host, same, says, shell, Skip, stdout_of, upload_name,
                   v2, wait_for)

DISCONNECTED = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


def capabilities(client, timeout=PATIENCE):
    return client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest(), timeout=timeout)


# Addresses.


def test_beyond_loopback():
    """Beyond loopback without TLS: refused, with the way out; with the flag it listens."""
    for address in "grpc://0.0.0.0:0", "grpc://[::]:0", "grpc://127.0.0.1:0,grpc://0.0.0.0:0":
        said = refused_host(listen=address)
        says(said, "insecure")
        says(said, "tls")
    with Host("--insecure", "yes", listen="grpc://0.0.0.0:0") as host:
        port = host.address.rpartition(":")[2]
        capabilities(host.client(address="grpc://127.0.0.1:" + port))
    refused_host("--insecure", "no", listen="grpc://0.0.0.0:0")


def test_loopback_names():
    """All of loopback is loopback."""
    for address in "grpc://127.0.0.1:0", "grpc://localhost:0", "grpc://127.1.2.3:0":
        with Host(listen=address) as host:
            capabilities(host.client())
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            with Host(listen="grpc://[::1]:0") as host:
                capabilities(host.client())


def test_bad_addresses():
    """What is no address is refused, with what was wrong."""
    for address in ("127.0.0.1:0", "http://127.0.0.1:0", "grpc://", "grpc://127.0.0.1",
                    "grpc://127.0.0.1:99999",
                    "grpc://127.0.0.1:x", "grpc://127.0.0.1:-1", "unix:",
                    "grpc://256.0.0.1:0", "grpc://127.0.0.1:0 ,x", "grpc://no.such.host.invalid:0"):
        says(refused_host(listen=address), "listen", "address", address.lower())


def test_several_addresses():
    """Several addresses at once, all said in the file."""
    with Host(start=False) as host:
        host.listen = f"grpc://127.0.0.1:0,grpc://127.0.0.1:0,unix:{host.directory}/s"
        host.start()
        found = [a for a in host.listening() if a.startswith(("grpc://", "unix:"))]
        same("addresses", len(found), 3)
        for address in found:
            capabilities(host.client(address=address))


def test_port_is_taken():
    """A second host on the same port does not start, and says why; the first one goes on alone."""
    with Host() as host:
        says(refused_host(listen=host.address), "in use", "address", "listen")
        for _ in range(5):
            with Client(host.address) as client:
                capabilities(client)


def test_unix_socket():
    """A Unix socket: for the host's own user, gone after the end, and taken again after a kill."""
    with Host(start=False) as host:
        path = host.directory + "/socket"
        host.listen = "unix:" + path
        host.start()
        same("address", host.address, "unix:" + path)
        mode = os.stat(path).st_mode
        assert stat.S_ISSOCK(mode), "no socket"
        same("what others may", mode & 0o007, 0)
        client = host.client()
        same("stdout", stdout_of(client, client.run(shell("echo hello")).result), b"hello\n")
        data = noise(3 << 20)
        client.upload(data)
        same("missing", client.missing(digest(data)), set())
        with Host(start=False) as second:
            second.listen = host.listen
            try:
                second.start()
            except Exception as error:
                says(str(error), "in use", "listen", "socket")
            else:
                raise AssertionError("a second host took the first one's socket")
        capabilities(host.client())
        host.kill()
        host.start()
        capabilities(host.client())
        host.stop()
        same("the socket after the end", os.path.lexists(path), False)


def test_unix_path_is_a_file():
    """A file that is no socket is not replaced."""
    with Host(start=False) as host:
        path = host.directory + "/file"
        with open(path, "w", encoding="utf-8") as file:
            file.write("precious")
        refused_host(listen="unix:" + path)
        with open(path, encoding="utf-8") as file:
            same("the file", file.read(), "precious")
        refused_host(listen="unix:" + host.directory + "/no/such/directory/s")
        refused_host(listen="unix:" + host.directory + "/" + "x" * 200)


# Tokens.


@contextlib.contextmanager
def token_file(content, mode=0o600):
    with tempfile.NamedTemporaryFile("w", prefix="ramet-test.") as file:
        file.write(content)
        file.flush()
        os.chmod(file.name, mode)
        yield file.name


def test_token():
    """With --token-file every call but health's needs the token."""
    with token_file("secret-token.123\n") as path, Host("--token-file", path) as host:
        good = host.client(token="secret-token.123")
        capabilities(good)
        same("stdout", stdout_of(good, good.run(shell("echo hello")).result), b"hello\n")
        data = fresh()
        good.write(upload_name(digest(data)), data)
        same("bytes", good.get(digest(data)), data)
        for token in None, "", "wrong", "secret-token.12", "secret-token.1234", "SECRET-TOKEN.123", \
                " secret-token.123x", "secret-token.123,secret-token.123":
            client = host.client(token=token)
            for call in (lambda c: capabilities(c), lambda c: c.missing(digest(data)),
                         lambda c: c.update((digest(data), data)), lambda c: c.batch_read(digest(data)),
                         lambda c: c.get_tree(EMPTY), lambda c: c.cached(digest(data)),
                         lambda c: c.store_result(digest(data), v2.ActionResult()),
                         lambda c: c.read(blob_name(digest(data))),
                         lambda c: c.write(upload_name(digest(fresh())), data),
                         lambda c: c.write_status(upload_name(digest(data))),
                         lambda c: c.execute(shell("true")).finish(), lambda c: c.wait("x").finish()):
                with refused(Code.UNAUTHENTICATED):
                    call(client)
            try:
                same("health", client.health.Check(health.HealthCheckRequest()).status, 1)
            except grpc.RpcError as error:
                same("health", error.code(), Code.UNAUTHENTICATED)
        for value in "secret-token.123", "Basic secret-token.123", "Bearersecret-token.123", "Bearer", "":
            with refused(Code.UNAUTHENTICATED):
                host.client().capabilities.GetCapabilities(v2.GetCapabilitiesRequest(),
                                                           more_metadata=[("authorization", value)])
        capabilities(good)


def test_token_is_not_told():
    """The token is neither in the log nor in any command line."""
    with token_file("hush-hush-4711") as path, Host("--token-file", path, "--log-level", "debug") as host:
        capabilities(host.client(token="hush-hush-4711"))
        with refused(Code.UNAUTHENTICATED):
            capabilities(host.client(token="wrong-one-4712"))
        log = host.log(100000)
        assert "hush-hush-4711" not in log and "wrong-one-4712" not in log, log
        for pid in [host.pid, host.gateway]:
            for what in "cmdline", "environ":
                with open(f"/proc/{pid}/{what}", "rb") as file:
                    assert b"hush-hush" not in file.read(), what
        same("token in an action", b"hush" in stdout_of(*run_env(host)), False)


def run_env(host):
    client = host.client(token="hush-hush-4711")
    return client, client.run(shell("env; set")).result


def test_token_files():
    """A token file that is empty or not there lets nobody in: the host does not start."""
    for content in "", "\n":
        with token_file(content) as path:
            says(refused_host("--token-file", path), "token")
    says(refused_host("--token-file", "/nowhere/token"), "token")
    refused_host("--token-file", "/")


# Limits.


def test_message_limit():
    """A message above the limit is RESOURCE_EXHAUSTED, and the connection lives."""
    with Host("--message-max", "5M") as host:
        client = host.client()
        huge = noise(6 << 20)
        with refused(Code.RESOURCE_EXHAUSTED):
            client.update((digest(huge), huge))
        with refused(Code.RESOURCE_EXHAUSTED):
            client.write(upload_name(digest(huge)), huge, chunk=len(huge))
        same("in chunks", client.write(upload_name(digest(huge)), huge), len(huge))
        capabilities(client)


def test_message_limit_by_default(client):
    """There is one by default as well."""
    huge = bytes(70 << 20)
    with refused(Code.RESOURCE_EXHAUSTED):
        client.update((digest(huge), huge))
    capabilities(client)


def test_blob_limit():
    """Blobs above --blob-max are refused by every way in; those at the limit go in."""
    limit = 64 << 10
    refusals = (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT)
    with Host("--blob-max", "64K") as host:
        client = host.client()
        at, over = noise(limit), noise(limit + 1)
        same("at the limit", client.write(upload_name(digest(at)), at), limit)
        at = noise(limit)
        same("at the limit", client.update((digest(at), at)).responses[0].status.code, 0)
        with refused(*refusals):
            client.write(upload_name(digest(over)), over)
        with refused(*refusals):
            client.write(upload_name(digest(over)), over[:10], finish=False)
        for data, compressor in (over, 0), (compress(over), 1):
            assert client.update((digest(over), data), compressor=compressor).responses[0].status.code in \
                [c.value[0] for c in refusals]
        with refused(*refusals):
            client.write(upload_name(digest(over), compressor="zstd"), compress(over))
        zeros = bytes(limit * 20)
        with refused(*refusals):
            client.write(upload_name(digest(zeros), compressor="zstd"), compress(zeros))
        with refused(*refusals):
            client.write(upload_name(v2.Digest(hash="ab" * 32, size_bytes=1 << 62)), b"x", finish=False)
        same("missing", client.missing(digest(over), digest(zeros)), {key(digest(over)), key(digest(zeros))})
        same("cas/tmp", os.listdir(host.path("cas", "tmp")), [])


def test_stream_limit():
    """With --streams-max, streams above it wait or are refused, and there is room again when others end."""
    with Host("--streams-max", "4") as host:
        client = host.client()
        watches = [client.health.Watch(health.HealthCheckRequest()) for _ in range(4)]
        for watch in watches:
            same("state", next(watch).status, 1)
        with refused(Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE):
            client.health.Check(health.HealthCheckRequest(), timeout=0.5)
        for watch in watches:
            watch.cancel()

        def answers():
            try:
                return capabilities(client, 1)
            except grpc.RpcError as error:
                assert error.code() in (Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED,
                                        Code.UNAVAILABLE), error
                return None

        wait_for("room again", answers, 10)


def test_store_limit():
    """With --cas-size the store stays bounded while more and more is uploaded."""
    with Host("--cas-size", "4M", "--cas-grace", "0") as host:
        client = host.client()
        for _ in range(16):
            data = noise(1 << 20)

            def taken(data=data):
                try:
                    return client.write(upload_name(digest(data)), data, chunk=1 << 18)
                except grpc.RpcError as error:  # no room yet: what a client tries again
                    same("code", error.code(), Code.RESOURCE_EXHAUSTED)
                    return 0

            wait_for("room for another megabyte", taken, 5)
        wait_for("less than 6 MB", lambda: host.counter("cas_bytes") < 6 << 20, 20)


def test_plain_user_socket(host):
    """The state directory's own socket speaks another protocol: gRPC there is turned away, not served."""
    if not os.path.exists(host.path("ramet.sock")):
        raise Skip("no ramet.sock")
    with Client("unix:" + host.path("ramet.sock")) as client:
        with refused(*DISCONNECTED):
            capabilities(client, 1)
    host.ramet("ps")


main(globals())
