"""Metrics and health over HTTP."""
import http.client
import json
import os
import re
import signal
import socket

from reapi import Host, alive, main, refused_host, same, shell, v2, wait_for

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})? (\S+)$')
LABELS = re.compile(r'^\{([a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\}$')
OPTIONS = ["--http", "127.0.0.1:0"]


def request(host, method, path, headers=None, body=None):
    """Status, headers and body of one request."""
    where = host.http.partition("://")[2].rstrip("/")
    connection = http.client.HTTPConnection(where, timeout=10)
    try:
        connection.request(method, path, headers=headers or {}, body=body)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def metrics(host):
    """{name: value} of samples, after every rule of the text format was checked."""
    status, headers, text = request(host, "GET", "/metrics")
    same("status", status, 200)
    assert headers["Content-Type"].startswith("text/plain"), headers["Content-Type"]
    assert text.endswith("\n"), "the last line does not end"
    types, helps, samples, seen = {}, {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            assert name not in helps, f"HELP of {name} twice"
            assert words.strip(), f"HELP of {name} says nothing"
            helps[name] = words
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in types, f"TYPE of {name} twice"
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            types[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match.groups()
            assert not labels or LABELS.match(labels), f"labels: {line!r}"
            float(value)
            assert (name, labels) not in seen, f"{name}{labels} twice"
            seen.add((name, labels))
            samples[name] = samples.get(name, 0) + float(value)
    for name in samples:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        family = name if name in types else family
        assert family in types and family in helps, f"{name} has no TYPE or no HELP"
        assert name.startswith("ramet_"), name
        if types[family] == "counter":
            assert samples[name] >= 0, name
    assert samples, "no samples"
    return samples


def test_metrics(host):
    """The text follows Prometheus' format and has all of the host's counters."""
    samples = metrics(host)
    for counter in json.loads(host.ramet("stat", "--json")):
        stem = re.sub(r"_us$", "", counter)
        assert any(stem in name for name in samples) or counter.startswith("stage_"), counter


def test_metrics_move(host, client):
    """An action that ran is counted."""
    def done():
        return sum(v for n, v in metrics(host).items() if n.startswith("ramet_actions_done"))

    before = done()
    client.run(shell("true"))
    wait_for("one more action done", lambda: done() == before + 1)
    client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest())


def test_health(host):
    """/healthz and /readyz are 200 while it serves."""
    for path in "/healthz", "/readyz":
        same(path, request(host, "GET", path)[0], 200)
        same("HEAD " + path, request(host, "HEAD", path)[::2], (200, ""))


def test_not_there(host):
    """Other paths are 404."""
    for path in ("/", "/nothing", "/metrics/", "/metricsx", "/healthz/x", "/../etc/passwd", "/%2e%2e/",
                 "/METRICS"):
        same(path, request(host, "GET", path)[0], 404)


def test_queries(host):
    """A query does not matter."""
    same("status", request(host, "GET", "/healthz?verbose=1")[0], 200)


def test_bad_methods(host):
    """Methods that change something are not allowed."""
    for method in "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE":
        for path in "/metrics", "/healthz", "/readyz":
            status = request(host, method, path)[0]
            assert status in (405, 501, 400), f"{method} {path}: {status}"


def test_bad_requests(host):
    """Broken, endless and silent requests harm nobody."""
    name, _, port = host.http.partition("://")[2].rstrip("/").rpartition(":")
    sockets = []
    for data in (b"", b"GET", b"\0\xff" * 100, b"GET /metrics HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n",
                 b"GET /healthz HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                 b"GET /healthz HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n",
                 b"GET /" + b"x" * 100000, b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 20000,
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 1000):
        connection = socket.create_connection((name, int(port)), timeout=5)
        sockets.append(connection)
        try:
            connection.sendall(data)
        except OSError:
            pass
    sockets += [socket.create_connection((name, int(port)), timeout=5) for _ in range(100)]
    same("status", request(host, "GET", "/healthz")[0], 200)
    metrics(host)
    for connection in sockets:
        connection.close()


def test_loopback_only():
    """Beyond loopback it needs the same flag as the calls do."""
    said = refused_host("--http", "0.0.0.0:0")
    assert "insecure" in said.lower(), said
    with Host("--http", "0.0.0.0:0", "--insecure", "yes") as host:
        port = host.http.rstrip("/").rpartition(":")[2]
        connection = http.client.HTTPConnection("127.0.0.1:" + port, timeout=10)
        connection.request("GET", "/healthz")
        same("status", connection.getresponse().status, 200)
        connection.close()
    for bad in "nothing", "127.0.0.1", "127.0.0.1:x", ":", "127.0.0.1:99999":
        refused_host("--http", bad)


def test_port_is_taken(host):
    """A second host on its port does not start."""
    refused_host("--http", host.http.partition("://")[2].rstrip("/"))


def test_draining():
    """While it drains /healthz is 200, /readyz 503, and metrics still come."""
    with Host(*OPTIONS) as host:
        client = host.client()
        job = shell("sleep 1; echo hello")
        client.upload(*job.blobs.values())
        execution = client.execute(job).until("EXECUTING")
        pid = host.pid
        os.kill(pid, signal.SIGTERM)
        wait_for("not ready", lambda: request(host, "GET", "/readyz")[0] == 503, 0.8)
        same("/healthz", request(host, "GET", "/healthz")[0], 200)
        metrics(host)
        same("exit code", execution.finish().result.exit_code, 0)
        wait_for("the end", lambda: not alive(pid))


def test_gateway_dies():
    """After the gateway's death metrics and health come again, with the counters as they were."""
    with Host(*OPTIONS) as host:
        client = host.client()
        client.run(shell("true"))
        os.kill(host.gateway, signal.SIGKILL)

        def ready():
            try:
                return request(host, "GET", "/readyz")[0] == 200
            except OSError:
                return False

        wait_for("ready again", ready, 10)
        assert sum(v for n, v in metrics(host).items() if n.startswith("ramet_actions_done")) >= 1


main(globals(), OPTIONS)
