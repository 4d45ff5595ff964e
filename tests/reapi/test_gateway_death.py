"""A gateway that is killed: actions go on, and clients find them again at the same address."""
import os
import signal
import threading
import time

from reapi import alive, Code, grpc, Host, in_threads, main, running, same, shell, stdout_of, wait_for


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
        execution = client.start(shell("sleep 1; echo hello; cat /proc/sys/kernel/random/uuid"))
        old = kill_gateway(host)
        execution.expect_break()
        again = client.wait_again(execution.name)
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
        execution = client.start(shell("sleep 0.3; echo hello", do_not_cache=True))
        pid = host.gateway
        os.kill(pid, signal.SIGSTOP)
        host.wait_counter("actions_done", 1)
        os.kill(pid, signal.SIGKILL)
        execution.expect_break()
        again = client.wait_again(execution.name)
        same("stdout", stdout_of(client, again.result), b"hello\n")
        same("actions done", host.counter("actions_done"), 1)


def test_gateway_killed_again_and_again():
    """It may die several times in one action's life."""
    with Host() as host:
        client = host.client()
        execution = client.start(shell("sleep 2; echo hello"))
        for _ in range(3):
            old = kill_gateway(host)
            wait_new_gateway(host, old)
        same("stdout", stdout_of(client, client.wait_again(execution.name).result), b"hello\n")
        same("actions done", host.counter("actions_done"), 1)


def test_gateway_killed_while_queued():
    """What was waiting for a worker when the gateway died is run, and found."""
    with Host(workers=1) as host:
        client = host.client()
        blocker = client.start(shell("sleep 1; echo blocker"))
        job = shell("echo queued")
        client.upload(*job.blobs.values())
        queued = client.execute(job)
        queued.next()
        host.wait_counter("actions_queued", 1)
        kill_gateway(host)
        for execution, text in (blocker, b"blocker\n"), (queued, b"queued\n"):
            same("stdout", stdout_of(client, client.wait_again(execution.name).result), text)
        same("actions done", host.counter("actions_done"), 2)


def test_nobody_comes_back():
    """After the gateway's death an action that nobody asks for any more is ended as well."""
    with Host("--orphan-grace", "300") as host:
        client = host.client()
        client.start(shell("sleep 62.25"))
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
            if error.code() == Code.NOT_FOUND:
                name = None
            elif execution.operations:
                name = execution.name
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
                result = run_through(client,
                                     shell(f"sleep 0.0{number}; echo {text} | tee out", outputs=["out"]))
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


main(globals())
