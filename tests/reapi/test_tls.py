"""TLS: who is trusted by whom, certificates in files and as text."""
import os
import shutil
import subprocess
import tempfile

from reapi import (Code, digest, grpc, Host, main, noise, PATIENCE, refused, refused_host, same, says, shell,
                   stdout_of, v2)


DISCONNECTED = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


def capabilities(client, timeout=PATIENCE):
    return client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest(), timeout=timeout)


class Certificates:
    """An authority, a server's and a client's certificate; and another authority with a client's."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="ramet-test.")
        for name, ca, alt in ("ca", None, None), ("server", "ca", "DNS:localhost,IP:127.0.0.1"), \
                ("client", "ca", None), ("other", None, None), ("stranger", "other", None):
            self.make(name, ca, alt)

    def path(self, name):
        return os.path.join(self.directory, name)

    def bytes(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def openssl(self, *args):
        subprocess.run(["openssl"] + list(args), cwd=self.directory, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def make(self, name, authority, alt):
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                     name + ".key")
        subject = "/CN=" + name
        if not authority:
            self.openssl("req", "-x509", "-key", name + ".key", "-subj", subject, "-days", "2", "-out",
                         name + ".pem",
                         "-addext", "basicConstraints=critical,CA:TRUE")
            return
        with open(self.path(name + ".ext"), "w", encoding="utf-8") as file:
            file.write(f"subjectAltName={alt}\n" if alt else "basicConstraints=CA:FALSE\n")
        self.openssl("req", "-new", "-key", name + ".key", "-subj", subject, "-out", name + ".csr")
        self.openssl("x509", "-req", "-in", name + ".csr", "-CA", authority + ".pem", "-CAkey",
                     authority + ".key",
                     "-CAcreateserial", "-days", "2", "-extfile", name + ".ext", "-out", name + ".pem")

    def credentials(self, authority="ca", name=None):
        if name:
            return grpc.ssl_channel_credentials(self.bytes(authority + ".pem"), self.bytes(name + ".key"),
                                                self.bytes(name + ".pem"))
        return grpc.ssl_channel_credentials(self.bytes(authority + ".pem"))

    def options(self):
        return ["--tls-cert", self.path("server.pem"), "--tls-key", self.path("server.key")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory)


def test_tls():
    """TLS, beyond loopback too: for those who trust its authority, and for nobody else."""
    with Certificates() as certificates, Host(*certificates.options(), listen="grpcs://0.0.0.0:0") as host:
        address = "grpcs://127.0.0.1:" + host.address.rpartition(":")[2]
        client = host.client(address=address, credentials=certificates.credentials())
        same("stdout", stdout_of(client, client.run(shell("echo hello")).result), b"hello\n")
        data = noise(2 << 20)
        client.upload(data)
        same("bytes", client.get(digest(data)) == data, True)
        with refused(*DISCONNECTED):
            capabilities(host.client(address=address, credentials=certificates.credentials("other")), 2)
        with refused(*DISCONNECTED):
            capabilities(host.client(address=address), 2)
        capabilities(client)


def test_client_certificates():
    """With --tls-client-ca only clients with a certificate of that authority are answered."""
    with Certificates() as certificates, \
            Host(*certificates.options(), "--tls-client-ca", certificates.path("ca.pem"),
                 listen="grpcs://127.0.0.1:0") as host:
        capabilities(host.client(credentials=certificates.credentials(name="client")))
        for wrong in certificates.credentials(), certificates.credentials(name="stranger"):
            with refused(*DISCONNECTED):
                capabilities(host.client(credentials=wrong), 2)
        with refused(*DISCONNECTED):
            capabilities(host.client(), 2)
        capabilities(host.client(credentials=certificates.credentials(name="client")))


def test_tls_beside_plain():
    """TLS on one address, plain on loopback on another."""
    with Certificates() as certificates, \
            Host(*certificates.options(), listen="grpcs://127.0.0.1:0,grpc://127.0.0.1:0") as host:
        secure = [a for a in host.listening() if a.startswith("grpcs://")][0]
        plain = [a for a in host.listening() if a.startswith("grpc://")][0]
        capabilities(host.client(address=secure, credentials=certificates.credentials()))
        capabilities(host.client(address=plain))


def test_tls_texts():
    """Certificate and key may be given as they are instead of in files."""
    with Certificates() as certificates:
        cert, private, authority = (certificates.bytes(n).decode() for n in ("server.pem", "server.key",
                                                                             "ca.pem"))
        for newline in "\n", "\\n":
            with Host("--tls-cert", cert.replace("\n", newline), "--tls-key", private.replace("\n", newline),
                      "--tls-client-ca", authority.replace("\n", newline),
                      listen="grpcs://127.0.0.1:0") as host:
                capabilities(host.client(credentials=certificates.credentials(name="client")))


def test_tls_files():
    """Certificates that are not there, not whole, or not given: the host does not start, and says which."""
    with Certificates() as certificates:
        cert, private = certificates.path("server.pem"), certificates.path("server.key")
        broken = certificates.path("broken.pem")
        with open(broken, "w", encoding="utf-8") as file:
            file.write("-----BEGIN CERTIFICATE-----\nnonsense\n")
        for options in ([], ["--tls-cert", cert], ["--tls-key", private],
                        ["--tls-cert", "/nowhere.pem", "--tls-key", private],
                        ["--tls-cert", cert, "--tls-key", "/nowhere.key"],
                        ["--tls-cert", broken, "--tls-key", private],
                        ["--tls-cert", cert, "--tls-key", certificates.path("client.key")],
                        ["--tls-cert", cert, "--tls-key", private, "--tls-client-ca", "/nowhere.pem"],
                        ["--tls-cert", cert, "--tls-key", private, "--tls-client-ca", broken]):
            says(refused_host(*options, listen="grpcs://127.0.0.1:0"), "tls", "certificate", "nowhere")


def test_token_with_tls():
    """Both together."""
    with Certificates() as certificates:
        path = certificates.path("token")
        with open(path, "w", encoding="utf-8") as file:
            file.write("t0k3n")
        with Host(*certificates.options(), "--token-file", path, listen="grpcs://127.0.0.1:0") as host:
            capabilities(host.client(credentials=certificates.credentials(), token="t0k3n"))
            with refused(Code.UNAUTHENTICATED):
                capabilities(host.client(credentials=certificates.credentials()))


main(globals())
