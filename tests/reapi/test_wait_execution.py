"""WaitExecution: streams that break, watchers that leave, a host that is restarted."""
import os
import signal
import time

from reapi import Code, grpc, Host, main, PATIENCE, refused, running, same, shell, stdout_of, wait_for


def test_after_a_cut(host, client):
    """A stream that was cut goes on by the operation's name; the action runs once."""
    done = host.counter("actions_done")
    execution = client.start(shell("sleep 0.4; echo hello"))
    execution.cancel()
    again = client.wait(execution.name)
    again.next()
    same("the same operation", again.name, execution.name)
    same("stdout", stdout_of(client, again.finish().result), b"hello\n")
    same("actions done", host.counter("actions_done"), done + 1)


def test_from_another_connection(host, client):
    """Another client may wait for an operation too, beside the first one."""
    execution = client.start(shell("sleep 0.4; echo hello"))
    others = [host.client(name).wait(execution.name) for name in ("", "", "some/instance")]
    results = [e.finish().result for e in others + [execution]]
    same("results", {stdout_of(client, r) for r in results}, {b"hello\n"})


def test_after_the_end(client):
    """An operation that is done is still there for a while, with its response."""
    execution = client.run(shell("echo hello"))
    again = client.wait(execution.name).finish()
    same("response", again.response, execution.response)
    same("operations", len(again.operations), 1)


def test_failures_too(client):
    """So are those that ended with an error."""
    execution = client.run(shell("echo before; sleep 61.75", timeout=0.1))
    again = client.wait(execution.name).finish()
    same("status", again.response.status.code, Code.DEADLINE_EXCEEDED.value[0])
    same("stdout", stdout_of(client, again.response.result), b"before\n")


def test_unknown(client):
    """A name that no operation has is not found."""
    name = client.run(shell("true")).name
    for unknown in name + "0", name[:-1], "operations/nothing", "nothing", "x" * 3000, "../" + name, \
            "00000000-0000-0000-0000-000000000000":
        with refused(Code.NOT_FOUND):
            client.wait(unknown).finish()
    for odd in "", "a\0b", name + "\0", "/", "\u00e9":
        with refused(Code.NOT_FOUND, Code.INVALID_ARGUMENT):
            client.wait(odd).finish()


def test_last_watcher_leaves():
    """An action that nobody watches any more is ended after the grace."""
    with Host("--orphan-grace", "300") as host:
        client = host.client()
        execution = client.start(shell("sleep 61.25"))
        wait_for("the action", lambda: running("sleep", "61.25"))
        execution.cancel()
        wait_for("the action's end", lambda: not running("sleep", "61.25"), 10)
        host.wait_counter("actions_cancelled", 1)
        try:
            code = client.wait(execution.name).finish().response.status.code
            assert code in (Code.CANCELLED.value[0], Code.UNAVAILABLE.value[0]), code
        except grpc.RpcError as error:
            same("code", error.code(), Code.NOT_FOUND)
        host.check_idle()


def test_connection_is_lost():
    """So is one whose client has lost its connection."""
    with Host("--orphan-grace", "300") as host:
        client = host.client()
        client.start(shell("sleep 61.5"))
        client.close()
        wait_for("the action's end", lambda: not running("sleep", "61.5"), 10)
        host.wait_counter("actions_cancelled", 1)


def test_deadline_of_the_stream():
    """A stream that has come to its deadline is a watcher that leaves, no more."""
    with Host("--orphan-grace", "5000") as host:
        client = host.client()
        job = shell("sleep 1; echo hello")
        client.upload(*job.blobs.values())
        execution = client.execute(job, timeout=0.4)
        with refused(Code.DEADLINE_EXCEEDED):
            execution.finish()
        same("stdout", stdout_of(client, client.wait(execution.name).finish().result), b"hello\n")


def test_queued_action_is_dropped():
    """An action that waits for a worker and has no watcher is never run."""
    with Host("--orphan-grace", "200", workers=1) as host:
        client = host.client()
        blocker = client.start(shell("sleep 1.2"))
        job = shell("echo ran")
        client.upload(*job.blobs.values())
        queued = client.execute(job)
        queued.next()
        host.wait_counter("actions_queued", 1)
        queued.cancel()
        host.wait_counter("actions_queued", 0)
        same("running", host.counter("actions_running"), 1)
        blocker.finish()
        with refused(Code.NOT_FOUND):
            client.cached(job)


def test_merged_survives():
    """An action with two watchers goes on when one leaves, whichever it is."""
    with Host("--orphan-grace", "100") as host:
        for leaver in 0, 1:
            clients = [host.client(), host.client()]
            job = shell("sleep 0.9; echo hello")
            first = clients[0].start(job)
            second = clients[1].execute(job)
            second.next()
            [first, second][leaver].cancel()
            stayer = [second, first][leaver]
            same("stdout", stdout_of(clients[1 - leaver], stayer.finish().result), b"hello\n")
        same("cancelled", host.counter("actions_cancelled"), 0)


def test_return_within_the_grace():
    """Who comes back within the grace finds the action running."""
    with Host("--orphan-grace", "5000") as host:
        client = host.client()
        execution = client.start(shell("sleep 0.6; echo hello"))
        execution.cancel()
        again = client.wait(execution.name)
        again.next()
        again.cancel()
        same("stdout", stdout_of(client, client.wait(execution.name).finish().result), b"hello\n")
        same("cancelled", host.counter("actions_cancelled"), 0)


def test_execute_again_joins(host, client):
    """Execute of an action that runs without a watcher joins it."""
    done = host.counter("actions_done")
    job = shell("sleep 0.6; echo hello")
    execution = client.start(job)
    execution.cancel()
    same("stdout", stdout_of(client, client.execute(job).finish().result), b"hello\n")
    same("actions done", host.counter("actions_done"), done + 1)


def test_no_action_is_ended_by_waiting(client):
    """A WaitExecution that leaves takes nothing away from the Execute that stays."""
    execution = client.start(shell("sleep 0.5; echo hello"))
    waiter = client.wait(execution.name)
    waiter.next()
    waiter.cancel()
    same("stdout", stdout_of(client, execution.finish().result), b"hello\n")


# A host that is restarted.


def test_host_killed():
    """The host dies and is started again: the operation is not found, and Execute works within 3 s."""
    with Host() as host:
        client = host.client()
        job = shell("sleep 0.8; echo hello")
        execution = client.start(job)
        host.listen = host.address
        host.kill()
        execution.expect_break()
        started = time.monotonic()
        host.start()
        with refused(Code.NOT_FOUND):
            client.wait_again(execution.name)
        assert time.monotonic() - started < 3, f"listens again after {time.monotonic() - started:.1f} s"
        same("stdout", stdout_of(client, client.run(job).result), b"hello\n")


def test_worker_killed(host, client):
    """A worker that dies costs time, not the result."""
    execution = client.start(shell("sleep 0.8; echo hello"))
    before = host.counter("worker_deaths")
    workers = [p for p in host.pids("worker")]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    response = execution.finish().response
    assert response.status.code in (0, Code.UNAVAILABLE.value[0]), response.status
    if response.status.code == 0:
        same("stdout", stdout_of(client, response.result), b"hello\n")
    wait_for("the deaths", lambda: host.counter("worker_deaths") >= before + 1, PATIENCE)


def test_drain():
    """A host that drains finishes what runs; its stream gets the result."""
    with Host() as host:
        client = host.client()
        execution = client.start(shell("sleep 0.6; echo hello"))
        host.stop("--drain")
        same("stdout", execution.finish().result.exit_code, 0)


main(globals())
