"""stdout and stderr, read while the action runs."""
import os
import signal
import time

from reapi import (bs, Code, grpc, Host, main, refused, same, shell, STAGE, stderr_of, stdout_of, wait_for,
                   write_requests)

SLOW = "for n in 1 2 3 4 5; do echo line $n; echo err $n >&2; sleep 0.15; done"


def start(client, job):
    """An action that runs, with the names of its streams."""
    client.upload(*job.blobs.values())
    execution = client.execute(job).until("EXECUTING")
    same("stage", execution.stage, STAGE["EXECUTING"])
    assert execution.metadata.stdout_stream_name, "no stdout_stream_name"
    assert execution.metadata.stderr_stream_name, "no stderr_stream_name"
    return execution


def follow(client, name, offset=0):
    return client.bytestream.Read(bs.ReadRequest(resource_name=name, read_offset=offset))


def text(call):
    return b"".join(answer.data for answer in call)


def first_bytes(call):
    for answer in call:
        if answer.data:
            return answer.data
    return b""


def test_follow(client):
    """Lines come as they are printed, all of them, and the stream ends with the action."""
    execution = start(client, shell(SLOW))
    call = follow(client, execution.metadata.stdout_stream_name)
    first = first_bytes(call)
    early = time.time()
    rest = text(call)
    result = execution.finish().result
    same("stdout", first + rest, b"".join(b"line %d\n" % n for n in range(1, 6)))
    same("the stored one", stdout_of(client, result), first + rest)
    ended = result.execution_metadata.execution_completed_timestamp
    assert early < ended.seconds + ended.nanos / 1e9 - 0.2, "nothing came before the action's end"
    assert time.time() < ended.seconds + ended.nanos / 1e9 + 5, "the stream ended late"


def test_stderr(client):
    """stderr is a stream of its own."""
    execution = start(client, shell(SLOW))
    got = text(follow(client, execution.metadata.stderr_stream_name))
    same("stderr", got, b"".join(b"err %d\n" % n for n in range(1, 6)))
    same("the stored one", stderr_of(client, execution.finish().result), got)


def test_late_reader(client):
    """Who comes late has all from the first byte, or from where he wants."""
    execution = start(client, shell(SLOW))
    name = execution.metadata.stdout_stream_name
    seen = follow(client, name)
    first = b""
    while b"line 3\n" not in first:
        first += first_bytes(seen)
    late, middle = follow(client, name), follow(client, name, 7)
    everything = first + text(seen)
    same("late", text(late), everything)
    same("from byte 7", text(middle), everything[7:])
    execution.finish()


def test_many_readers(host, client):
    """Several readers, of other connections too, have the same."""
    execution = start(client, shell(SLOW))
    calls = [follow(c, execution.metadata.stdout_stream_name) for c in [client, client, host.client(),
                                                                        host.client("x")]]
    same("stdout", {text(c) for c in calls}, {b"".join(b"line %d\n" % n for n in range(1, 6))})
    execution.finish()


def test_silent(client):
    """An action that prints nothing has streams without a byte."""
    execution = start(client, shell("sleep 0.2"))
    for name in execution.metadata.stdout_stream_name, execution.metadata.stderr_stream_name:
        same("bytes", text(follow(client, name)), b"")
    execution.finish()


def test_reader_stops_early(client):
    """A limit is kept, and a reader that leaves harms nobody."""
    execution = start(client, shell(SLOW))
    name = execution.metadata.stdout_stream_name
    same("three bytes", client.read(name, 0, 3), b"lin")
    call = follow(client, name)
    first_bytes(call)
    call.cancel()
    same("exit code", execution.finish().result.exit_code, 0)


def test_slow_reader(client):
    """A reader that does not read holds neither the action nor others, and has all in the end."""
    size = 8 << 20
    execution = start(client, shell(f"sleep 0.2; head -c {size} /dev/zero | tr '\\0' x; echo end"))
    name = execution.metadata.stdout_stream_name
    slow = follow(client, name)
    first = first_bytes(slow)
    same("another reader", len(text(follow(client, name))), size + 4)
    result = execution.finish().result
    same("size", result.stdout_digest.size_bytes, size + 4)
    same("the slow reader", len(first) + len(text(slow)), size + 4)


def test_binary(client):
    """Bytes are bytes."""
    execution = start(client,
                      shell("sleep 0.1; head -c 300000 /dev/urandom; sleep 0.1; printf '\\0\\377\\n\\0'"))
    got = text(follow(client, execution.metadata.stdout_stream_name))
    same("the stored one", stdout_of(client, execution.finish().result) == got, True)


def test_after_the_end(client):
    """After the end a stream's name gives all the bytes, or is not found."""
    execution = start(client, shell("sleep 0.1; echo hello"))
    name = execution.metadata.stdout_stream_name
    execution.finish()
    try:
        same("bytes", client.read(name), b"hello\n")
    except grpc.RpcError as error:
        same("code", error.code(), Code.NOT_FOUND)


def test_offsets(client):
    """Offsets below 0 are out of range; one beyond what is there never gives other bytes."""
    execution = start(client, shell("echo hello; sleep 0.4"))
    name = execution.metadata.stdout_stream_name
    with refused(Code.OUT_OF_RANGE, Code.INVALID_ARGUMENT):
        client.read(name, -1)
    with refused(Code.OUT_OF_RANGE, Code.INVALID_ARGUMENT):
        client.read(name, 0, -1)
    try:
        same("beyond the end", client.read(name, 1000), b"")
    except grpc.RpcError as error:
        same("code", error.code(), Code.OUT_OF_RANGE)
    execution.finish()


def test_unknown(client):
    """Names of no action's stream are not found, and nobody can write to one."""
    execution = start(client, shell("echo hello; sleep 0.4"))
    name = execution.metadata.stdout_stream_name
    for other in name + "x", name[:-1], name.replace("stdout", "stdin"), "x/" + name + "/..":
        if other != name:
            with refused(Code.NOT_FOUND, Code.INVALID_ARGUMENT):
                client.read(other)
    with refused(Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNIMPLEMENTED, Code.PERMISSION_DENIED):
        client.bytestream.Write(write_requests(name, b"injected"))
    same("stdout", stdout_of(client, execution.finish().result), b"hello\n")


def test_merged(host, client):
    """Who joins an action that runs has its streams from the beginning."""
    job = shell(SLOW)
    execution = start(client, job)
    call = follow(client, execution.metadata.stdout_stream_name)
    first = first_bytes(call)
    second = host.client().execute(job).until("EXECUTING")
    same("stdout", text(follow(client, second.metadata.stdout_stream_name)), first + text(call))
    second.finish()
    execution.finish()


def test_timeout(client):
    """The stream of an action that times out ends, with what was printed."""
    execution = start(client, shell("echo before; sleep 67.25", timeout=0.5))
    same("stdout", text(follow(client, execution.metadata.stdout_stream_name)), b"before\n")
    same("code", execution.finish().response.status.code, Code.DEADLINE_EXCEEDED.value[0])


def test_log_cap():
    """Beyond the cap the stream has what is stored, and ends."""
    with Host("--log-cap", "64K") as host:
        client = host.client()
        execution = start(client, shell("sleep 0.2; head -c 1000000 /dev/zero | tr '\\0' x; sleep 0.1"))
        got = text(follow(client, execution.metadata.stdout_stream_name))
        stored = stdout_of(client, execution.finish().result)
        assert stored.startswith(got) or got.startswith(stored), (len(got), len(stored))
        assert 60 << 10 <= len(got) <= len(stored) + 1000, (len(got), len(stored))


def test_reader_and_a_dying_gateway():
    """After the gateway's death the stream can be read again, from the start."""
    with Host() as host:
        client = host.client()
        execution = start(client, shell("echo one; sleep 1.2; echo two"))
        call = follow(client, execution.metadata.stdout_stream_name)
        same("first", first_bytes(call), b"one\n")
        os.kill(host.gateway, signal.SIGKILL)
        with refused(Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN):
            text(call)

        def waited():
            try:
                return client.wait(execution.name).until("EXECUTING")
            except grpc.RpcError as error:
                same("code", error.code(), Code.UNAVAILABLE)
                return None

        again = wait_for("the operation", waited, 10)
        if not again.done:
            same("stdout", text(follow(client, again.metadata.stdout_stream_name)), b"one\ntwo\n")
        same("stored", stdout_of(client, again.finish().result), b"one\ntwo\n")


main(globals())
