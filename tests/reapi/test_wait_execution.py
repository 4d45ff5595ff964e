"""WaitExecution: streams that break, watchers that leave, a gateway that dies, a host that is restarted."""
import os
import signal
import threading
import time

from reapi import (alive, Code, grpc, Host, in_threads, main, PATIENCE, refused, running, same, shell,
                   stdout_of, wait_for)


def wait_again(client, name, seconds=10):
    """WaitExecution, again and again while the gateway is away."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return client.wait(name).finish()
        except grpc.RpcError as error:
            if error.code() != Code.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def start(client, job):
    client.upload(*job.blobs.values())
    return client.execute(job).until("EXECUTING")


def expect_end(execution):
    """A stream ends because the other side has gone."""
    try:
        execution.finish()
    except grpc.RpcError as error:
        assert error.code() in (Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN), error
        return
    raise AssertionError("the stream did not break")


def test_after_a_cut(host, client):
    """A stream that was cut goes on by the operation's name; the action runs once."""
    done = host.counter("actions_done")
    execution = start(client, shell("sleep 0.4; echo hello"))
    execution.cancel()
    again = client.wait(execution.name)
    again.next()
    same("the same operation", again.name, execution.name)
    same("stdout", stdout_of(client, again.finish().result), b"hello\n")
    same("actions done", host.counter("actions_done"), done + 1)


def test_from_another_connection(host, client):
    """Another client may wait for an operation too, beside the first one."""
    execution = start(client, shell("sleep 0.4; echo hello"))
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
        execution = start(client, shell("sleep 61.25"))
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
        start(client, shell("sleep 61.5"))
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
        blocker = start(client, shell("sleep 1.2"))
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
            first = start(clients[0], job)
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
        execution = start(client, shell("sleep 0.6; echo hello"))
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
    execution = start(client, job)
    execution.cancel()
    same("stdout", stdout_of(client, client.execute(job).finish().result), b"hello\n")
    same("actions done", host.counter("actions_done"), done + 1)


def test_no_action_is_ended_by_waiting(client):
    """A WaitExecution that leaves takes nothing away from the Execute that stays."""
    execution = start(client, shell("sleep 0.5; echo hello"))
    waiter = client.wait(execution.name)
    waiter.next()
    waiter.cancel()
    same("stdout", stdout_of(client, execution.finish().result), b"hello\n")


# A gateway that dies.


def kill_gateway(host):
    pid = host.gateway
    os.kill(pid, signal.SIGKILL)
    wait_for("the gateway's end", lambda: not alive(pid))
    return pid


def wait_new_gateway(host, old):
    wait_for("a new gateway", lambda: [p for p in host.pids("gateway") if p != old], 10)


def test_gateway_killed():
    """The gateway dies: the action goes on, and WaitExecution finds it by its name on the same address."""
    with Host() as host:
        client, address = host.client(), host.address
        execution = start(client, shell("sleep 1; echo hello; cat /proc/sys/kernel/random/uuid"))
        old = kill_gateway(host)
        expect_end(execution)
        again = wait_again(client, execution.name)
        same("operation", again.name, execution.name)
        assert stdout_of(client, again.result).startswith(b"hello\n")
        same("actions done", host.counter("actions_done"), 1)
        same("the address", host.address, address)
        wait_new_gateway(host, old)
        same("a later action", stdout_of(client, client.run(shell("echo later")).result), b"later\n")


def test_gateway_killed_at_the_end():
    """An action that ends while there is no gateway is found by its name afterwards."""
    with Host() as host:
        client = host.client()
        execution = start(client, shell("sleep 0.3; echo hello", do_not_cache=True))
        pid = host.gateway
        os.kill(pid, signal.SIGSTOP)
        host.wait_counter("actions_done", 1)
        os.kill(pid, signal.SIGKILL)
        expect_end(execution)
        again = wait_again(client, execution.name)
        same("stdout", stdout_of(client, again.result), b"hello\n")
        same("actions done", host.counter("actions_done"), 1)


def test_gateway_killed_again_and_again():
    """It may die several times in one action's life."""
    with Host() as host:
        client = host.client()
        execution = start(client, shell("sleep 2; echo hello"))
        for _ in range(3):
            old = kill_gateway(host)
            wait_new_gateway(host, old)
        same("stdout", stdout_of(client, wait_again(client, execution.name).result), b"hello\n")
        same("actions done", host.counter("actions_done"), 1)


def test_gateway_killed_while_queued():
    """What was waiting for a worker when the gateway died is run, and found."""
    with Host(workers=1) as host:
        client = host.client()
        blocker = start(client, shell("sleep 1; echo blocker"))
        job = shell("echo queued")
        client.upload(*job.blobs.values())
        queued = client.execute(job)
        queued.next()
        host.wait_counter("actions_queued", 1)
        kill_gateway(host)
        for execution, text in (blocker, b"blocker\n"), (queued, b"queued\n"):
            same("stdout", stdout_of(client, wait_again(client, execution.name).result), text)
        same("actions done", host.counter("actions_done"), 2)


def test_nobody_comes_back():
    """After the gateway's death an action that nobody asks for any more is ended as well."""
    with Host("--orphan-grace", "300") as host:
        client = host.client()
        start(client, shell("sleep 62.25"))
        kill_gateway(host)
        client.close()
        wait_for("the action's end", lambda: not running("sleep", "62.25"), 15)


def patient(call, seconds=30):
    """What call() gives once the gateway is there to answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() != Code.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def run_through(client, job):
    """Runs a job as clients do whose connection breaks: they wait for the operation, or execute again."""
    patient(lambda: client.upload(*job.blobs.values()))
    execution, name = client.execute(job), None
    while True:
        try:
            return execution.finish().result
        except grpc.RpcError as error:
            if error.code() not in (Code.UNAVAILABLE, Code.NOT_FOUND):
                raise
            name = None if error.code() == Code.NOT_FOUND else execution.name if execution.operations else name
        time.sleep(0.02)
        execution = client.wait(name) if name else client.execute(job)


def test_many_clients_and_a_dying_gateway():
    """Eight clients run action after action while the gateway dies again and again: each gets its results."""
    with Host() as host:
        stop = threading.Event()

        def client_loop(number):
            client, done = host.client(), 0
            while not stop.is_set() or done < 3:
                text = f"{number}.{done}"
                result = run_through(client, shell(f"sleep 0.0{number}; echo {text} | tee out", outputs=["out"]))
                same("stdout", patient(lambda r=result: stdout_of(client, r)), (text + "\n").encode())
                same("output", patient(lambda r=result: client.get(r.output_files[0].digest)),
                     (text + "\n").encode())
                done += 1
            return done

        def killer():
            try:
                for _ in range(5):
                    wait_new_gateway(host, kill_gateway(host))
                    time.sleep(0.2)
            finally:
                stop.set()

        results = in_threads(9, lambda n: killer() if n == 8 else client_loop(n))
        print(f"  actions of each client: {results[:8]}")
        host.check_idle()


# A host that is restarted.


def test_host_killed():
    """The host dies and is started again: the operation is not found, and Execute works within 3 s."""
    with Host() as host:
        client = host.client()
        job = shell("sleep 0.8; echo hello")
        execution = start(client, job)
        host.listen = host.address
        host.kill()
        expect_end(execution)
        started = time.monotonic()
        host.start()
        with refused(Code.NOT_FOUND):
            wait_again(client, execution.name)
        assert time.monotonic() - started < 3, f"listens again after {time.monotonic() - started:.1f} s"
        same("stdout", stdout_of(client, client.run(job).result), b"hello\n")


def test_worker_killed(host, client):
    """A worker that dies costs time, not the result."""
    execution = start(client, shell("sleep 0.8; echo hello"))
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
        execution = start(client, shell("sleep 0.6; echo hello"))
        host.stop("--drain")
        same("stdout", execution.finish().result.exit_code, 0)


main(globals())
