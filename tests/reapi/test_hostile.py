"""Clients that are broken, slow, or mean it: the gateway stays bounded, whole, and serves the others."""
import os
import random
import socket
import struct
import threading
import time
import zlib

import h2
from reapi import (blob_name, bs, Client, Code, compress, DESCRIPTORS, digest, execute_status, fresh, grpc,
                   health, Host, in_threads, main, noise, open_files, PATIENCE, refused, resident, same,
                   shell, stdout_of, upload_name, V2, v2, wait_for, Writer, ZSTD)

MB = 1 << 20
THREADS_OWN = 16  # descriptors that threads of the gateway open when they are first needed
CAPABILITIES = f"/{V2}.Capabilities/GetCapabilities"
FIND = f"/{V2}.ContentAddressableStorage/FindMissingBlobs"
READ, WRITE = "/google.bytestream.ByteStream/Read", "/google.bytestream.ByteStream/Write"
EXECUTE = f"/{V2}.Execution/Execute"


def check_serving(host):
    """A new client is answered, can store and read, and can run an action."""
    with Client(host.address) as client:
        same("state", client.health.Check(health.HealthCheckRequest()).status, 1)
        data = fresh(5000)
        client.write(upload_name(digest(data)), data)
        same("bytes", client.get(digest(data)), data)
        same("stdout", stdout_of(client, client.run(shell("echo hello")).result), b"hello\n")


class Unharmed:
    """The gateway is the same process after the block, with no more descriptors than before.

    Uploads that were cut may be kept for whoever goes on with them.
    """

    def __init__(self, host, grown=48 * MB, uploads=0):
        self.host, self.grown, self.uploads = host, grown, uploads

    def __enter__(self):
        check_serving(self.host)
        self.pid = self.host.gateway
        self.files, self.memory, self.peak = open_files(self.pid), resident(self.pid), 0
        return self

    def look(self, seconds=0):
        """Notes how much memory the gateway has, for a while."""
        deadline = time.monotonic() + seconds
        while True:
            self.peak = max(self.peak, resident(self.pid) - self.memory)
            if time.monotonic() >= deadline:
                return
            time.sleep(0.005)

    def __exit__(self, kind, *_):
        if kind:
            return
        same("the gateway", self.host.pids("gateway"), [self.pid])
        check_serving(self.host)
        most = self.files + self.uploads + THREADS_OWN
        wait_for(f"{most} open files at most", lambda: open_files(self.pid) <= most, 10)
        self.look()
        assert self.peak < self.grown, f"the gateway grew by {self.peak >> 20} MB"


# Many and slow.


def test_thousand_streams(host):
    """A thousand streams that are open at once, over many connections."""
    with Unharmed(host) as unharmed:
        clients = [Client(host.address) for _ in range(20)]
        calls = [c.health.Watch(health.HealthCheckRequest()) for c in clients for _ in range(50)]
        states = []
        for call in calls:
            try:
                states.append(next(call).status)
            except grpc.RpcError as error:
                assert error.code() in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE), error
        assert len(states) >= 500, f"only {len(states)} of 1000 were answered"
        unharmed.look()
        check_serving(host)
        for client in clients:
            client.close()


def test_thousand_uploads(host):
    """A thousand uploads that began and say no more."""
    with Unharmed(host, 96 * MB, uploads=1000) as unharmed:
        clients = [Client(host.address) for _ in range(20)]
        writers = []
        for client in clients:
            for _ in range(50):
                writer = Writer(client, upload_name(v2.Digest(hash=os.urandom(32).hex(), size_bytes=100000)))
                writer.send(b"x" * 1000)
                writers.append(writer)
        check_serving(host)
        unharmed.look()
        for writer in writers:
            writer.cut()
        for client in clients:
            client.close()


def test_slow_readers(host):
    """Sixty-four readers of 64 MB who do not read: no blob is held in memory for them."""
    with Unharmed(host, 96 * MB) as unharmed:
        client = Client(host.address)
        data = noise(MB) * 64
        client.write(upload_name(digest(data)), data, chunk=MB)
        request = bs.ReadRequest(resource_name=blob_name(digest(data))).SerializeToString()
        connections = [h2.Connection(host.address, receive_buffer=4096) for _ in range(64)]
        for connection in connections:
            connection.call(READ, request)
        unharmed.look(1)
        check_serving(host)
        unharmed.look()
        for connection in connections:
            connection.socket.close()
        client.close()


def test_slow_readers_of_packed_blobs(host):
    """The same of compressed blobs."""
    with Unharmed(host, 160 * MB) as unharmed:
        client = Client(host.address)
        data = noise(MB) * 64
        client.write(upload_name(digest(data)), data, chunk=MB)
        name = blob_name(digest(data), compressor="zstd")
        request = bs.ReadRequest(resource_name=name).SerializeToString()
        connections = [h2.Connection(host.address, receive_buffer=4096) for _ in range(64)]
        for connection in connections:
            connection.call(READ, request)
        unharmed.look(1)
        check_serving(host)
        for connection in connections:
            connection.socket.close()
        client.close()


def test_slow_readers_with_wide_windows(host):
    """The same over one connection whose windows are wide open."""
    with Unharmed(host, 96 * MB) as unharmed:
        client = Client(host.address)
        data = noise(MB) * 64
        client.write(upload_name(digest(data)), data, chunk=MB)
        request = bs.ReadRequest(resource_name=blob_name(digest(data))).SerializeToString()
        with h2.Connection(host.address, window=(1 << 31) - 1, receive_buffer=4096) as connection:
            connection.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 70000)))
            for _ in range(64):
                connection.call(READ, request)
            unharmed.look(1)
            check_serving(host)
        client.close()


def test_readers_who_leave(host):
    """Readers that go after a few bytes, at different points."""
    with Unharmed(host):
        client = Client(host.address)
        data = noise(8 * MB)
        client.write(upload_name(digest(data)), data, chunk=MB)

        def one(number):
            with Client(host.address) as reader:
                for turn in range(10):
                    call = reader.bytestream.Read(bs.ReadRequest(resource_name=blob_name(digest(data))))
                    for _ in range((number + turn) % 5):
                        next(call)
                    call.cancel()

        in_threads(8, one)
        client.close()


def test_slow_batch_readers(host):
    """Clients who ask for the largest batches and read nothing."""
    with Unharmed(host, 300 * MB) as unharmed:
        client = Client(host.address)
        blob = noise(3 * MB)
        client.write(upload_name(digest(blob)), blob, chunk=MB)
        request = v2.BatchReadBlobsRequest(digests=[digest(blob)]).SerializeToString()
        with h2.Connection(host.address, receive_buffer=4096) as connection:
            for _ in range(50):
                connection.call(f"/{V2}.ContentAddressableStorage/BatchReadBlobs", request)
            unharmed.look(0.5)
            check_serving(host)
        client.close()


def test_slow_watchers(host):
    """Watchers of operations who do not read do not hold what they watch."""
    with Unharmed(host):
        client = Client(host.address)
        job = shell("sleep 0.3; echo hello", do_not_cache=True)
        client.upload(*job.blobs.values())
        request = v2.ExecuteRequest(action_digest=job.digest).SerializeToString()
        done = host.counter("actions_done")
        with h2.Connection(host.address, window=0) as connection:
            for _ in range(5):
                connection.call(EXECUTE, request)
            host.wait_counter("actions_done", done + 5)
        client.close()


# Cut streams.


def test_cut_anywhere(host):
    """Connections that break at random bytes of valid calls."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    choose = random.Random(seed)
    data = noise(100000)
    write = b"".join(h2.grpc_message(bs.WriteRequest(
        resource_name=upload_name(digest(data)), write_offset=at,
        data=data[at:at + 16000]).SerializeToString())
        for at in range(0, 64000, 16000))
    job = shell("echo hello")
    find = v2.FindMissingBlobsRequest(blob_digests=[v2.Digest(hash=f"{n:064x}",
                                                              size_bytes=1) for n in range(500)])
    with Unharmed(host, uploads=1):
        for path, body in ((WRITE, write), (FIND, h2.grpc_message(find.SerializeToString())),
                           (EXECUTE, h2.grpc_message(v2.ExecuteRequest(
                               action_digest=job.digest).SerializeToString()))):
            frames = [h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.header_block(h2.grpc_headers(path)))]
            frames += [h2.frame(h2.DATA, 0, 1, body[at:at + 16000]) for at in range(0, len(body), 16000)]
            raw = h2.PREFACE + h2.frame(h2.SETTINGS) + b"".join(frames)
            for _ in range(25):
                with h2.Connection(host.address, preface=False) as connection:
                    connection.send(raw[:choose.randrange(len(raw))])
                    if choose.random() < 0.3:
                        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                     struct.pack("ii", 1, 0))


def test_cancelled_calls(host):
    """Calls that are cancelled at once, or whose deadline is a millisecond."""
    with Unharmed(host, uploads=60):
        client = Client(host.address)
        data = noise(MB)
        client.write(upload_name(digest(data)), data)
        job = shell("true", do_not_cache=True)
        client.upload(*job.blobs.values())

        def attempt(call):
            try:
                call()
            except grpc.RpcError as error:
                assert error.code() in (Code.DEADLINE_EXCEEDED, Code.CANCELLED), error

        for number in range(60):
            timeout = 0.0003 * (number % 12 + 1)
            upload = fresh(300000)
            attempt(lambda t=timeout: client.read(blob_name(digest(data)), timeout=t))
            attempt(lambda t=timeout, u=upload: client.write(upload_name(digest(u)), u, timeout=t))
            attempt(lambda t=timeout: client.execute(job, timeout=t).finish())
            attempt(lambda t=timeout: client.get_tree(job.root, timeout=t))
            client.execution.Execute(v2.ExecuteRequest(action_digest=job.digest)).cancel()
            client.bytestream.Read(bs.ReadRequest(resource_name=blob_name(digest(data)))).cancel()
        client.close()
        host.wait_counter("actions_running", 0)
        host.wait_counter("actions_queued", 0)


def test_wrong_uploads_leave_nothing(host):
    """Uploads that end in an error leave no file behind."""
    client = host.client()
    for _ in range(20):
        data = noise(50000)
        with refused(Code.INVALID_ARGUMENT):
            client.write(upload_name(digest(data)), noise(50000))
        with refused(Code.INVALID_ARGUMENT):
            client.write(upload_name(digest(data), compressor="zstd"), compress(data)[:-3])
        client.update((digest(data), data[:-1]))
    with Host() as alone:
        client = alone.client()
        for _ in range(20):
            data = noise(50000)
            with refused(Code.INVALID_ARGUMENT):
                client.write(upload_name(digest(data)), noise(50000))
            client.update((digest(data), data[:-1]))
        same("cas/tmp", os.listdir(alone.path("cas", "tmp")), [])


# Garbage.


def test_garbage_bytes(host):
    """Bytes that are no HTTP/2 at all."""
    choose = random.Random(11)
    garbage = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
               b"\0" * 10000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"\n" * 5000, b"SSH-2.0-x\r\n",
               h2.PREFACE + b"\xff" * 100, h2.PREFACE + bytes(50)]
    garbage += [choose.randbytes(choose.randrange(1, 5000)) for _ in range(20)]
    garbage += [h2.PREFACE + h2.frame(h2.SETTINGS) + data for data in garbage[-20:]]
    with Unharmed(host):
        for data in garbage:
            with h2.Connection(host.address, preface=False) as connection:
                connection.send_until_refused(data, 1)
                connection.socket.settimeout(0.02)
                connection.receive()


def test_silent_connections(host):
    """Connections that say nothing, or only half of a preface."""
    with Unharmed(host):
        connections = [h2.Connection(host.address, preface=False) for _ in range(200)]
        for connection in connections[:100]:
            connection.send(h2.PREFACE[:10])
        check_serving(host)
        for connection in connections:
            connection.socket.close()


def test_wrong_frames(host):
    """Frames in the wrong place, of the wrong size, for streams that are not open."""
    find = h2.grpc_message(v2.FindMissingBlobsRequest().SerializeToString())
    headers = h2.header_block(h2.grpc_headers(FIND))
    sequences = [
        h2.frame(h2.DATA, 0, 1, b"x"), h2.frame(h2.DATA, 0, 0, b"x"),
        h2.frame(h2.HEADERS, h2.END_HEADERS, 0, headers),
        h2.frame(h2.HEADERS, h2.END_HEADERS, 2, headers), h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes(4)),
        h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, h2.frame(h2.SETTINGS, 0, 0, b"12345"),
        h2.frame(h2.SETTINGS, h2.ACK, 0, b"123456"), h2.frame(h2.SETTINGS, 0, 1, b""),
        h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 0xffffffff)),
        h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 5, 1)), h2.frame(h2.PING, 0, 0, b"short"),
        h2.frame(h2.PUSH_PROMISE, 4, 1, b"\0\0\0\2" + headers), h2.frame(h2.CONTINUATION, 4, 1, headers),
        h2.frame(h2.HEADERS, 0, 1, headers[:20]) + h2.frame(h2.PING, 0, 0, bytes(8)),
        h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff" * 50),
        h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\x80"),
        h2.frame(h2.HEADERS, h2.END_HEADERS, 1, headers) * 2, h2.frame(99, 255, 1, b"unknown"),
        h2.frame(h2.GOAWAY, 0, 0, bytes(8)) + h2.frame(h2.HEADERS, h2.END_HEADERS, 1, headers),
        h2.frame(h2.RST_STREAM, 0, 7, bytes(4)), b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 70000,
        h2.frame(h2.HEADERS, h2.END_HEADERS, 1, headers) + h2.frame(h2.DATA, 8, 1, b"\xff" + b"x"),
    ]
    with Unharmed(host):
        for sequence in sequences:
            with h2.Connection(host.address) as connection:
                connection.send_until_refused(sequence, 1)
                connection.socket.settimeout(0.05)
                connection.closed_within(10)
        with h2.Connection(host.address) as connection:
            stream = connection.open(FIND)
            connection.data(stream, find, end=True)
            assert connection.stream_ends(stream), "a good call is not answered"


def test_wrong_messages(host):
    """gRPC messages of a wrong length, of an encoding nobody named, cut, or several where one is due."""
    good = v2.FindMissingBlobsRequest(blob_digests=[digest(b"x")]).SerializeToString()
    bodies = [b"", b"\0", b"\0\0\0\0", h2.grpc_message(good, length=0xffffffff),
              h2.grpc_message(good, compressed=1),
              h2.grpc_message(good, compressed=77), h2.grpc_message(good)[:-1], h2.grpc_message(good) * 3,
              h2.grpc_message(good) + b"\0", h2.grpc_message(b"\xff" * 30), h2.grpc_message(good, length=1),
              h2.grpc_message(good, length=1 << 30)]
    with Unharmed(host):
        for path in FIND, READ, WRITE, EXECUTE, CAPABILITIES:
            with h2.Connection(host.address) as connection:
                for body in bodies:
                    stream = connection.open(path)
                    connection.data(stream, body, end=True)
                    assert connection.stream_ends(stream), f"{path} {body[:20]} is never answered"


def test_wrong_headers(host):
    """Calls with other methods, content types, without what must be there, or with far too much."""
    with Unharmed(host):
        base = dict(h2.grpc_headers(CAPABILITIES))
        changes = [{":method": "GET"}, {":method": "PUT"}, {":path": ""}, {":path": "/"}, {":path": "*"},
                   {":path": "//"},
                   {":path": "/" + "x" * 4000}, {":path": CAPABILITIES + "/x"},
                   {"content-type": "text/plain"},
                   {"content-type": ""}, {"te": "gzip"}, {":scheme": "gopher"}, {":authority": ""},
                   {"grpc-timeout": "x"}, {"grpc-timeout": "99999999999999S"}, {"grpc-timeout": "-1S"},
                   {"grpc-timeout": "1n"}, {"grpc-encoding": "nonsense"}, {"grpc-encoding": "gzip"},
                   {"x" * 300: "y" * 3000}, {"x-bin": "!!not base64!!"}, {"X-Upper": "case"}, {"": "no name"},
                   {"connection": "close"}, {"transfer-encoding": "chunked"}, {":status": "200"},
                   {"authorization": "Bearer " + "x" * 5000}, {"content-length": "5"}, {"x": "a\r\nb: c\0"}]
        for change in changes + [{n: None} for n in base]:
            headers = [(n, v) for n, v in {**base, **change}.items() if v is not None]
            with h2.Connection(host.address) as connection:
                connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.header_block(headers)))
                connection.send_until_refused(h2.frame(h2.DATA, h2.END_STREAM, 1, h2.grpc_message(b"")), 1)
                assert connection.stream_ends(1), f"{change} is never answered"


def test_floods(host):
    """Pings, settings, windows and headers without end."""
    headers = h2.header_block(h2.grpc_headers(FIND))
    with Unharmed(host, 192 * MB) as unharmed:
        for flood in (h2.frame(h2.PING, 0, 0, bytes(8)) * 100, h2.frame(h2.SETTINGS) * 100,
                      h2.frame(h2.PRIORITY, 0, 1, bytes(5)) * 100,
                      h2.frame(h2.WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 100):
            with h2.Connection(host.address) as connection:
                connection.socket.settimeout(1)
                connection.send_until_refused(flood, 100)
            unharmed.look()
        with h2.Connection(host.address) as connection:
            connection.socket.settimeout(1)
            connection.send(h2.frame(h2.HEADERS, 0, 1, headers))
            connection.send_until_refused(h2.frame(h2.CONTINUATION, 0, 1,
                                                   h2.header_block([("x", "y" * 8000)])), 5000)
            unharmed.look()


def test_rapid_reset(host):
    """Streams that are reset right after they began, by thousands."""
    data = digest(b"x")
    request = v2.FindMissingBlobsRequest(blob_digests=[data] * 50).SerializeToString()
    with Unharmed(host):
        with h2.Connection(host.address) as connection:
            connection.socket.settimeout(2)
            try:
                for _ in range(3000):
                    connection.reset(connection.call(FIND, request))
            except OSError:
                pass  # (to be thrown out is fine)


def test_huge_metadata(host):
    """Metadata of more than the limit is refused, not kept."""
    with Unharmed(host), Client(host.address) as client:
        with refused(Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN):
            client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest(),
                                                more_metadata=[("x-large", "y" * 300000)])


# What is not UTF-8, not known, not small.


def field(number, data):
    """A length-delimited field, by hand."""
    size, length = len(data), b""
    while size >= 128:
        length += bytes([size % 128 | 128])
        size //= 128
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def test_strings(host, client):
    """Strings that are no UTF-8, or have a NUL in them, are invalid arguments."""
    data = fresh()
    client.upload(data)
    d = digest(data).SerializeToString()
    name = blob_name(digest(data)).encode()
    with Unharmed(host):
        for bad in (b"\xff", b"a\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82",
                    b"in\0stance", b"\0"):
            for path, message in ((CAPABILITIES, field(1, bad)), (FIND, field(1, bad) + field(2, d)),
                                  (FIND, field(2, field(1, bad) + b"\x10\x05"))):
                with refused(Code.INVALID_ARGUMENT):
                    client.raw(path)(message)
            for message in field(1, bad), field(1, bad + b"/" + name), field(1, name + bad):
                with refused(Code.INVALID_ARGUMENT, Code.NOT_FOUND):
                    list(client.raw(READ, shape="unary_stream")(message))
            with refused(Code.INVALID_ARGUMENT):
                list(client.raw(EXECUTE, shape="unary_stream")(field(1, bad) + field(6, d)))
            with refused(Code.INVALID_ARGUMENT, Code.NOT_FOUND):
                list(client.raw(f"/{V2}.Execution/WaitExecution", shape="unary_stream")(field(1, bad)))


def test_unknown_methods(host, client):
    """Methods and services that are not there are UNIMPLEMENTED."""
    with Unharmed(host):
        for path in "/nothing", "/nothing/at/all", f"/{V2}.Nothing/GetCapabilities", CAPABILITIES + "2", \
                f"/{V2}.Capabilities/getCapabilities", f"/{V2}.Capabilities/", "//", f"/{V2}.Execution", \
                "/google.longrunning.Operations/GetOperation", "/google.bytestream.ByteStream/Delete":
            for shape in "unary_unary", "unary_stream":
                with refused(Code.UNIMPLEMENTED):
                    got = client.raw(path, shape=shape)(b"hello")
                    if shape == "unary_stream":
                        list(got)


def test_unknown_fields(client):
    """Fields of later versions are ignored, whatever their type."""
    data = fresh()
    client.upload(data)
    unknown = field(15, b"new") + b"\xf8\x01\x05" + b"\xa5\x7d\1\2\3\4" + b"\xa1\x7d\1\2\3\4\5\6\7\x08"
    asked = field(2, digest(data).SerializeToString() + field(15, b"x"))
    answer = client.raw(FIND)(unknown + asked + unknown)
    same("missing", list(v2.FindMissingBlobsResponse.FromString(answer).missing_blob_digests), [])
    client.raw(CAPABILITIES)(unknown)
    got = list(client.raw(READ, shape="unary_stream")(field(1, blob_name(digest(data)).encode()) + unknown))
    same("bytes", b"".join(bs.ReadResponse.FromString(r).data for r in got), data)


def test_garbage_messages(host, client):
    """Bytes that are no message are refused by every method."""
    choose = random.Random(5)
    garbage = [b"\xff", b"\x0a\xff", b"\x0a\x05ab", b"\x12\xff\xff\xff\xff\x0f", b"\x0b\x0b\x0b", b"\x00\x01",
               b"\x0a" * 1000, b"\x12\x0b" * 2000] + [choose.randbytes(100) for _ in range(5)]
    with Unharmed(host):
        for method, shape in every_method():
            for message in garbage:
                try:
                    if shape.startswith("stream"):
                        got = client.raw(method, shape=shape, timeout=5)(iter([message]))
                    else:
                        got = client.raw(method, shape=shape, timeout=5)(message)
                    if shape.endswith("stream"):
                        list(got)
                except grpc.RpcError as error:
                    assert error.code() in (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.INTERNAL), \
                        f"{method} {message[:20]}: {error.code()} {error.details()}"


def every_method():
    """Each method's path and shape; Watch is left out, which need not end."""
    for file in DESCRIPTORS.file:
        for service in file.service:
            for method in service.method:
                if method.name != "Watch":
                    yield (f"/{file.package}.{service.name}/{method.name}", "_".join(
                        "stream" if s else "unary" for s in (method.client_streaming,
                                                             method.server_streaming)))


def test_deep_messages(host, client):
    """Messages nested thousands deep."""
    deep = b""
    for _ in range(20000):
        deep = field(2, deep)
        if len(deep) > 3 * MB:
            break
    directory = b""
    for _ in range(10000):
        directory = field(2, field(2, directory))
    with Unharmed(host):
        for message in deep, directory:
            try:
                client.raw(FIND)(message)
            except grpc.RpcError as error:
                same("code", error.code(), Code.INVALID_ARGUMENT)
        client.upload(deep, directory)
        job = shell("true", root=digest(directory))
        client.upload(*job.blobs.values())
        status = execute_status(client, job)
        assert status.code != 0, "an input root of nonsense was run"


def test_huge_find(host, client):
    """A request with as many digests as fit into a message."""
    with Unharmed(host, 96 * MB):
        digests = [v2.Digest(hash=f"{n:064x}", size_bytes=1) for n in range(40000)]
        same("missing", len(client.missing(*digests)), len(digests))


def test_batch_bomb(host, client):
    """A batch of compressed blobs that is small, and huge when unpacked."""
    blob = bytes(3 * MB)
    packed = compress(blob)
    with Unharmed(host, 96 * MB):
        with refused(Code.INVALID_ARGUMENT):
            client.update(*[(digest(blob), packed)] * 1000, compressor=ZSTD)


def test_gzip_bomb(host):
    """A message that gRPC's own compression makes small."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += (packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)) * 1023 + packer.flush()
    with Unharmed(host, 96 * MB) as unharmed:
        with h2.Connection(host.address) as connection:
            stream = connection.open(FIND, [("grpc-encoding", "gzip")])
            if connection.stream_data(stream, h2.grpc_message(packed, compressed=1)):
                connection.data(stream, b"", end=True)
            unharmed.look(1)


def test_digests_that_begin_alike(client):
    """Digests that were made to collide cost no more than others."""
    def seconds(digests):
        started = time.monotonic()
        same("missing", len(client.missing(*digests)), len(digests))
        return time.monotonic() - started

    others = seconds([v2.Digest(hash=os.urandom(32).hex(), size_bytes=1) for _ in range(40000)])
    for form in "{:064x}", "{:08x}" + "0" * 56, "a5" * 28 + "{:08x}":
        alike = seconds([v2.Digest(hash=form.format(n), size_bytes=1) for n in range(40000)])
        assert alike < 4 * others + 0.5, f"{alike:.2f} s, and {others:.2f} s for others"


def test_requests_without_end(host):
    """A Write of far more bytes than its name says is cut off."""
    with Unharmed(host) as unharmed, Client(host.address) as client:
        name = upload_name(v2.Digest(hash="ab" * 32, size_bytes=100))

        def endless():
            yield bs.WriteRequest(resource_name=name, data=b"x" * 65536)
            for number in range(1, 100000):
                yield bs.WriteRequest(write_offset=number * 65536, data=b"x" * 65536)

        with refused(Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
            client.bytestream.Write(endless(), timeout=10)
        unharmed.look()


def test_empty_messages_without_end(host):
    """A Write of nothing but empty messages neither grows nor hangs others."""
    with Unharmed(host) as unharmed, Client(host.address) as client:
        stop = threading.Event()

        def endless():
            yield bs.WriteRequest(resource_name=upload_name(digest(fresh())))
            while not stop.is_set():
                yield bs.WriteRequest()

        call = client.bytestream.Write
        future = call.future(endless())
        check_serving(host)
        unharmed.look()
        stop.set()
        try:
            future.result(PATIENCE)
        except grpc.RpcError:
            pass


def test_queue_flood():
    """Hundreds of actions that wait for one worker, and whose client goes away."""
    with Host("--orphan-grace", "200", workers=1) as host, Unharmed(host):
        client = Client(host.address)
        blocker = shell("sleep 68.25")
        jobs = [shell("true") for _ in range(600)]
        client.upload(*(b for j in [blocker] + jobs for b in j.blobs.values()))
        succeeded = host.counter("actions_succeeded")
        executions = [client.execute(blocker).until("EXECUTING")]
        executions += [client.execute(job) for job in jobs]
        for execution in executions[1:]:
            execution.next()
        wait_for("all of them in the queue", lambda: host.counter("actions_queued") >= len(jobs))
        client.close()
        host.wait_counter("actions_queued", 0)
        host.wait_counter("actions_running", 0)
        run, cancelled = host.counter("actions_succeeded") - succeeded, host.counter("actions_cancelled")
        same("run or cancelled", run + cancelled, len(jobs) + 1)
        assert run < len(jobs) // 4, f"{run} were run for nobody"  # (some, while the others are told)


def test_no_growth(host):
    """Rounds of calls of every kind: the later ones cost no more memory."""
    def one_round():
        with Client(host.address) as client:
            for _ in range(100):
                data = fresh(20000)
                client.write(upload_name(digest(data)), data)
                client.write(upload_name(digest(data + b"z"), compressor="zstd"), compress(data + b"z"))
                client.read(blob_name(digest(data)))
                client.read(blob_name(digest(data), compressor="zstd"))
                client.batch_read(digest(data))
                client.missing(digest(data), digest(fresh()))
            for _ in range(40):
                job = shell("echo hello; echo a >a", outputs=["a"])
                execution = client.run(job)
                client.cached(job)
                client.wait(execution.name).finish()
                client.get_tree(job.root)
        return resident(host.gateway)

    sizes = [one_round() for _ in range(4)]
    print(f"  {[s >> 10 for s in sizes]} KB")
    assert sizes[-1] - sizes[1] < 8 * MB, f"{(sizes[-1] - sizes[1]) >> 10} KB more after two rounds"


def test_execute_flood(host):
    """Two hundred Executes of missing actions and of one that fails."""
    job = shell("exit 3")
    with Unharmed(host), Client(host.address) as client:
        client.upload(*job.blobs.values())

        def one(number):
            if number % 2:
                absent = shell("true")
                same("code", execute_status(client, absent).code, Code.FAILED_PRECONDITION.value[0])
            else:
                same("exit code", client.execute(job).finish().result.exit_code, 3)

        for _ in range(4):
            in_threads(50, one)


main(globals())
