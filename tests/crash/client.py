#!/usr/bin/env python3
"""A client of the Remote Execution API that goes on after the gateway has died, as Bazel does.

    client.py ADDRESS run SALT SCRIPT     an action; WaitExecution while its name is known, else Execute again
    client.py ADDRESS once SALT SCRIPT    the same, but a broken stream is the end: exit 3
    client.py ADDRESS wait NAME           "found" or "unknown"
    client.py ADDRESS put SIZE            a blob by ByteStream, which is read back

It prints "name=value" lines: name, stdout, cached, broken (times), lost (times that the name was unknown).
Exit 77: what it needs is not installed.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reapi"))
import reapi  # first, for it may start another Python
import grpc

SECONDS = 40
BROKEN = (reapi.Code.UNAVAILABLE, reapi.Code.CANCELLED, reapi.Code.INTERNAL, reapi.Code.UNKNOWN)
deadline = time.monotonic() + SECONDS


def again(function):
    """What function() gives once the gateway is there to answer, and how often it was not."""
    broken = 0
    while True:
        try:
            return function(), broken
        except grpc.RpcError as error:
            if error.code() not in BROKEN or time.monotonic() > deadline:
                raise
            broken += 1
            time.sleep(0.05)


class Follower:
    """An action, from its name where that is known."""

    def __init__(self, client, job):
        self.client, self.job, self.name, self.lost = client, job, None, 0

    def follow(self):
        try:
            execution = self.client.wait(self.name) if self.name else self.client.execute(self.job)
            while execution.next() is not None:
                self.name = execution.name
            return execution
        except grpc.RpcError as error:
            if error.code() != reapi.Code.NOT_FOUND or self.name is None:
                raise
        self.name, self.lost = None, self.lost + 1
        return self.follow()


def run(client, salt, script, once):
    job = reapi.shell(script, salt=salt.encode())
    again(lambda: client.upload(*job.blobs.values()))
    follower = Follower(client, job)
    try:
        execution, broken = (follower.follow(), 0) if once else again(follower.follow)
    except grpc.RpcError as error:
        print(f"broken: {error.code()}: {error.details()}", file=sys.stderr)
        sys.exit(3)
    stdout, _ = again(lambda: reapi.stdout_of(client, execution.result))
    print(f"name={execution.name}\nstdout={stdout.decode().strip()}\n"
          f"cached={int(execution.response.cached_result)}\nbroken={broken}\nlost={follower.lost}")


def wait(client, name):
    try:
        again(lambda: client.wait(name).finish())
        print("found")
    except grpc.RpcError as error:
        assert error.code() == reapi.Code.NOT_FOUND, error
        print("unknown")


def put(client, size):
    data = reapi.noise(size)
    name = reapi.upload_name(reapi.digest(data))

    def go_on():
        at = client.write_status(name).committed_size
        if at < size:
            client.write(name, data[at:], offset=at)

    _, broken = again(go_on)
    assert again(lambda: client.get(reapi.digest(data)))[0] == data, "other bytes"
    print(f"broken={broken}")


def main():
    address, what, args = sys.argv[1], sys.argv[2], sys.argv[3:]
    with reapi.Client(address) as client:
        if what in ("run", "once"):
            run(client, args[0], args[1], what == "once")
        elif what == "wait":
            wait(client, args[0])
        else:
            put(client, int(args[0]))


if len(sys.argv) > 2:
    main()
