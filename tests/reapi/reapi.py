"""A Remote Execution API client and the host that it talks to: what every test here begins with.

The stubs are made from proto/*.proto when a test starts, in a descriptor pool of their own, because our
files define google.protobuf's messages themselves.  Nothing of ramet's own code is used: what is sent
and what is expected follows from the published API alone.
"""
import contextlib
import glob
import hashlib
import inspect
import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid

# For gRPC's library: it is never forked, and looks after a connection also while no call is under way.
os.environ.update(GRPC_ENABLE_FORK_SUPPORT="0", GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS="50")
try:
    import grpc
    import zstandard
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError as absent:
    # A Python in front of the system's does not see the system's modules.
    if "REAPI_AGAIN" not in os.environ and os.access("/usr/bin/python3", os.X_OK):
        os.environ["REAPI_AGAIN"] = "1"
        os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)
    print(f"skip: {absent}: install python3-grpcio, python3-protobuf and python3-zstandard")
    sys.exit(77)

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(TOP, os.environ.get("RAMET_BIN", "build/bin"))
PATIENCE = 30  # seconds for what should come at once
TEST_SECONDS = 100
V2 = "build.bazel.remote.execution.v2"
Code = grpc.StatusCode


# Messages and stubs.


def load_descriptors():
    files = [os.path.relpath(f, TOP) for f in sorted(glob.glob(os.path.join(TOP, "proto", "*.proto")))]
    made = subprocess.run(["protoc-c", "--proto_path=.", "--include_imports",
                           "--descriptor_set_out=/dev/stdout"] + files,
                          cwd=TOP, check=True, stdout=subprocess.PIPE)
    return descriptor_pb2.FileDescriptorSet.FromString(made.stdout)


def make_pool(descriptors):
    """A descriptor pool of these files, each after those it imports, and the classes of their messages."""
    pool, todo = descriptor_pool.DescriptorPool(), {f.name: f for f in descriptors.file}

    def add(name):
        if name in todo:
            file = todo.pop(name)
            for needed in file.dependency:
                add(needed)
            pool.Add(file)

    for name in list(todo):
        add(name)
    return pool, message_factory.MessageFactory(pool)


DESCRIPTORS = load_descriptors()
POOL, FACTORY = make_pool(DESCRIPTORS)


class Package:
    """The messages and enums of a package, as attributes."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        full = f"{self._name}.{name}"
        try:
            found = FACTORY.GetPrototype(POOL.FindMessageTypeByName(full))
        except KeyError:
            found = {v.name: v.number for v in POOL.FindEnumTypeByName(full).values}
        setattr(self, name, found)
        return found


v2 = Package(V2)
bs = Package("google.bytestream")
lro = Package("google.longrunning")
rpc = Package("google.rpc")
wkt = Package("google.protobuf")
health = Package("grpc.health.v1")
STAGE = Package(V2 + ".ExecutionStage").Value
SHA256 = Package(V2 + ".DigestFunction").Value["SHA256"]
ZSTD = Package(V2 + ".Compressor").Value["ZSTD"]


def message_class(full_name):
    return FACTORY.GetPrototype(POOL.FindMessageTypeByName(full_name.lstrip(".")))


def unpack(packed, message):
    """The message in an Any, which must be of that type."""
    expected = message.DESCRIPTOR.full_name
    assert packed.type_url.rpartition("/")[2] == expected, f"an Any of {packed.type_url!r}, not {expected}"
    return message.FromString(packed.value)


class Service:
    """One service's methods: each takes a message (or an iterator of them) and has a deadline."""

    def __init__(self, channel, full_name, metadata):
        for file in DESCRIPTORS.file:
            for service in file.service:
                if f"{file.package}.{service.name}" == full_name:
                    for method in service.method:
                        setattr(self, method.name, self._stub(channel, full_name, method, metadata))

    @staticmethod
    def _stub(channel, service, method, metadata):
        shape = "_".join("stream" if s else "unary" for s in (method.client_streaming,
                                                              method.server_streaming))
        request, response = message_class(method.input_type), message_class(method.output_type)
        stub = getattr(channel, shape)(f"/{service}/{method.name}", request.SerializeToString,
                                       response.FromString)

        def call(message, timeout=PATIENCE, more_metadata=()):
            return stub(message, timeout=timeout, metadata=metadata + tuple(more_metadata))

        call.future = lambda message, timeout=PATIENCE: stub.future(message, timeout=timeout,
                                                                    metadata=metadata)
        call.with_call = lambda message, timeout=PATIENCE: stub.with_call(message, timeout=timeout,
                                                                          metadata=metadata)
        return call


SERVICES = {
    "capabilities": V2 + ".Capabilities",
    "cas": V2 + ".ContentAddressableStorage",
    "action_cache": V2 + ".ActionCache",
    "execution": V2 + ".Execution",
    "bytestream": "google.bytestream.ByteStream",
    "health": "grpc.health.v1.Health",
    "reflection": "grpc.reflection.v1.ServerReflection",
    "reflection_alpha": "grpc.reflection.v1alpha.ServerReflection",
}


class Client:
    """A connection of its own to a host, with an instance name."""

    def __init__(self, address, instance="", token=None, credentials=None, options=()):
        self.instance = instance
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
                   ("grpc.initial_reconnect_backoff_ms", 100),
                   ("grpc.max_reconnect_backoff_ms", 300)] + list(options)
        self.target = address.partition("://")[2] if "://" in address else address
        if credentials:
            self.channel = grpc.secure_channel(self.target, credentials, options)
        else:
            self.channel = grpc.insecure_channel(self.target, options)
        metadata = (("authorization", "Bearer " + token),) if token is not None else ()
        for attribute, full_name in SERVICES.items():
            setattr(self, attribute, Service(self.channel, full_name, metadata))

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def raw(self, path, timeout=PATIENCE, metadata=(), shape="unary_unary"):
        """A method by its path, with bytes as messages."""
        stub = getattr(self.channel, shape)(path)
        return lambda message: stub(message, timeout=timeout, metadata=tuple(metadata))

    # The store.

    def missing(self, *digests, **fields):
        """Which of these are missing, as (hash, size)."""
        request = v2.FindMissingBlobsRequest(instance_name=self.instance, blob_digests=digests, **fields)
        return {key(d) for d in self.cas.FindMissingBlobs(request).missing_blob_digests}

    def upload(self, *blobs):
        """Puts blobs by batches; each must be taken."""
        batch, size = [], 0
        for data in list(blobs) + [None]:
            if batch and (data is None or size + len(data) > 1 << 20 or len(batch) == 1000):
                for answer in self.update(*batch).responses:
                    assert answer.status.code == 0, f"{answer.digest.hash}: {answer.status}"
                batch, size = [], 0
            if data is not None and len(data) > 1 << 20:
                self.write(upload_name(digest(data), self.instance), data, chunk=1 << 18)
            elif data is not None:
                batch.append((digest(data), data))
                size += len(data)

    def update(self, *pairs, compressor=0, **fields):
        """BatchUpdateBlobs of (digest, data) pairs."""
        one = Package(V2 + ".BatchUpdateBlobsRequest").Request
        return self.cas.BatchUpdateBlobs(v2.BatchUpdateBlobsRequest(
            instance_name=self.instance, **fields,
            requests=[one(digest=d, data=data, compressor=compressor) for d, data in pairs]))

    def batch_read(self, *digests, **fields):
        return self.cas.BatchReadBlobs(v2.BatchReadBlobsRequest(
            instance_name=self.instance, digests=digests, **fields)).responses

    def get_tree(self, root, timeout=PATIENCE, **fields):
        """The pages of a tree."""
        return list(self.cas.GetTree(v2.GetTreeRequest(instance_name=self.instance, root_digest=root,
                                                       **fields),
                                     timeout=timeout))

    def get(self, wanted):
        """A blob's bytes, checked."""
        data = self.read(blob_name(wanted, self.instance))
        same("the digest of what was read", key(digest(data)), key(wanted))
        return data

    def get_message(self, wanted, message):
        return message.FromString(self.get(wanted))

    def read(self, name, offset=0, limit=0, timeout=PATIENCE):
        request = bs.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
        return b"".join(r.data for r in self.bytestream.Read(request, timeout=timeout))

    def write(self, name, data, timeout=PATIENCE, **how):
        """The committed size."""
        return self.bytestream.Write(write_requests(name, data, **how), timeout=timeout).committed_size

    def write_status(self, name):
        return self.bytestream.QueryWriteStatus(bs.QueryWriteStatusRequest(resource_name=name))

    # Actions.

    def cached(self, action, **fields):
        """The result that the action cache has of a job or an action's digest."""
        return self.action_cache.GetActionResult(v2.GetActionResultRequest(
            instance_name=self.instance, action_digest=getattr(action, "digest", action), **fields))

    def store_result(self, action, result, **fields):
        return self.action_cache.UpdateActionResult(v2.UpdateActionResultRequest(
            instance_name=self.instance, action_digest=getattr(action, "digest", action),
            action_result=result, **fields))

    def execute(self, job, priority=None, timeout=PATIENCE, **fields):
        """Starts a job whose blobs are there."""
        request = v2.ExecuteRequest(instance_name=self.instance, action_digest=job.digest, **fields)
        if priority is not None:
            request.execution_policy.priority = priority
        return Execution(self.execution.Execute(request, timeout=timeout), job.digest)

    def run(self, job, **fields):
        """Uploads a job, runs it, and gives its Execution after the end."""
        self.upload(*job.blobs.values())
        return self.execute(job, **fields).finish()

    def start(self, job):
        """Uploads a job and executes it; its Execution, once a worker has it."""
        self.upload(*job.blobs.values())
        return self.execute(job).until("EXECUTING")

    def wait(self, name, timeout=PATIENCE):
        return Execution(self.execution.WaitExecution(v2.WaitExecutionRequest(name=name), timeout=timeout))


    def wait_again(self, name, seconds=10):
        """WaitExecution, again and again while the gateway is away; the Execution after its end."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.wait(name).finish()
            except grpc.RpcError as error:
                if error.code() != Code.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


class Execution:
    """The stream of an operation.  What must hold of every such stream is checked as it is read."""

    def __init__(self, call, action=None):
        self.call, self.action, self.operations, self.error = call, action, [], None

    def next(self):
        """The next operation; None at the end of the stream."""
        operation = next(self.call, None)
        if operation is None:
            assert self.done, "the stream ended without an error before the operation was done"
            return None
        assert not self.done, "an operation comes after the one that is done"
        assert operation.name, "an operation without a name"
        assert not operation.HasField("error"), f"Operation.error is set: {operation.error}"
        self.operations.append(operation)
        same("the operation's name", operation.name, self.name)
        same("done and stage COMPLETED", operation.done, self.stage == STAGE["COMPLETED"])
        same("done and response", operation.done, operation.HasField("response"))
        if self.action is not None:
            same("the operation's action", key(self.metadata.action_digest), key(self.action))
        return operation

    def until(self, stage):
        """Reads up to a stage, or the end."""
        while not self.operations or self.stage < STAGE[stage]:
            if self.next() is None:
                break
        return self

    def finish(self):
        while self.next() is not None:
            pass
        return self

    def expect_break(self):
        """Reads on until the stream ends because the other side has gone."""
        try:
            self.finish()
        except grpc.RpcError as error:
            assert error.code() in (Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN), error
        else:
            raise AssertionError("the stream did not break")

    def cancel(self):
        self.call.cancel()

    @property
    def name(self):
        return self.operations[0].name

    @property
    def done(self):
        return bool(self.operations) and self.operations[-1].done

    @property
    def metadata(self):
        return unpack(self.operations[-1].metadata, v2.ExecuteOperationMetadata)

    @property
    def stage(self):
        return self.metadata.stage

    @property
    def stages(self):
        return [unpack(o.metadata, v2.ExecuteOperationMetadata).stage for o in self.operations]

    @property
    def response(self):
        assert self.done, "the operation is not done"
        return unpack(self.operations[-1].response, v2.ExecuteResponse)

    @property
    def result(self):
        """The result of an execution that went well."""
        response = self.response
        assert response.status.code == 0, f"status {response.status.code}: {response.status.message}"
        return response.result


def execute_status(client, job, **fields):
    """Executes a job as it is in the store; its status, whether the call or the response says it."""
    try:
        return client.execute(job, **fields).finish().response.status
    except grpc.RpcError as error:
        return status_of(error)


def outcome(client, job, **fields):
    """Uploads a job and executes it; its status, whether the call or the response says it."""
    client.upload(*job.blobs.values())
    return execute_status(client, job, **fields)


def status_of(error):
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            return rpc.Status.FromString(value)
    return rpc.Status(code=error.code().value[0], message=error.details())


def missing_subjects(status):
    """The subjects of a PreconditionFailure, all of which must be of type MISSING."""
    subjects = []
    for detail in status.details:
        for violation in unpack(detail, rpc.PreconditionFailure).violations:
            same("a violation's type", violation.type, "MISSING")
            subjects.append(violation.subject)
    return subjects


# Digests, names, trees, actions.


def digest(data):
    return v2.Digest(hash=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def key(wanted):
    return wanted.hash, wanted.size_bytes


EMPTY = digest(b"")
_counter = itertools.count(1)


def fresh(size=40):
    """Bytes that no test has had before."""
    start = f"{os.getpid()}.{time.monotonic_ns()}.{next(_counter)}:".encode()
    if size <= 1000:
        return (start + b"." * size)[:max(size, len(start))]
    block = hashlib.sha512(start).digest() * 64
    return (start + block * (size // len(block) + 1))[:size]


def noise(size):
    """Bytes that do not compress."""
    return os.urandom(size)


def blob_name(wanted, instance="", compressor=None, function=""):
    kind = f"compressed-blobs/{compressor}" if compressor else "blobs"
    parts = [instance, kind, function, f"{wanted.hash}/{wanted.size_bytes}"]
    return "/".join(p for p in parts if p)


def upload_name(wanted, instance="", compressor=None, function="", upload=None):
    parts = [instance, "uploads", upload or str(uuid.uuid4()), blob_name(wanted, "", compressor, function)]
    return "/".join(p for p in parts if p)


def write_requests(name, data, chunk=16384, offset=0, finish=True, repeat_name=False):
    """The requests of a Write; the last one finishes."""
    if not data:
        yield bs.WriteRequest(resource_name=name, write_offset=offset, finish_write=finish)
    for start in range(0, len(data), chunk):
        yield bs.WriteRequest(resource_name=name if repeat_name or start == 0 else "",
                              write_offset=offset + start, data=data[start:start + chunk],
                              finish_write=finish and start + chunk >= len(data))


class Writer:
    """A Write whose requests are given one by one."""

    def __init__(self, client, name):
        self.name, self.sent, self.queue = name, 0, queue.SimpleQueue()
        self.call = client.bytestream.Write.future(iter(self.queue.get, None))

    def send(self, data, **fields):
        request = bs.WriteRequest(resource_name=self.name if self.sent == 0 else "", write_offset=self.sent,
                                  data=data)
        for field, value in fields.items():
            setattr(request, field, value)
        self.queue.put(request)
        self.sent += len(data)

    def end(self):
        self.queue.put(None)
        return self.call.result(PATIENCE).committed_size

    def cut(self):
        self.call.cancel()
        self.queue.put(None)


class Blobs(dict):
    """Bytes by (hash, size)."""

    def add(self, data):
        added = digest(data)
        self[key(added)] = data
        return added

    def add_message(self, message):
        return self.add(message.SerializeToString(deterministic=True))


class File:
    def __init__(self, data, executable=False, mtime=None, mode=None):
        self.data, self.executable, self.mtime, self.mode = data, executable, mtime, mode


class Link:
    def __init__(self, target):
        self.target = target


def tree(blobs, entries):
    """Adds a tree, {name: bytes, File, Link or entries}; its root's digest."""
    directory = v2.Directory()
    for name, entry in sorted(entries.items(), key=lambda e: e[0].encode()):
        if isinstance(entry, dict):
            directory.directories.add(name=name, digest=tree(blobs, entry))
        elif isinstance(entry, Link):
            directory.symlinks.add(name=name, target=entry.target)
        else:
            file = entry if isinstance(entry, File) else File(entry)
            node = directory.files.add(name=name, digest=blobs.add(file.data), is_executable=file.executable)
            if file.mtime is not None:
                node.node_properties.mtime.seconds = file.mtime
            if file.mode is not None:
                node.node_properties.unix_mode.value = file.mode
    return blobs.add_message(directory)


class Job:
    """An action with all its blobs; another one each time, unless it is given a salt."""

    def __init__(self, argv, inputs=None, outputs=(), env=None, cwd="", timeout=None, salt=None,
                 platform=None,
                 do_not_cache=False, root=None, **command):
        self.blobs = Blobs()
        self.root = root or tree(self.blobs, inputs or {})
        env = {"PATH": "/usr/bin:/bin"} if env is None else env
        made = v2.Command(arguments=argv, working_directory=cwd, output_paths=sorted(outputs), **command)
        for name in sorted(env):
            made.environment_variables.add(name=name, value=env[name])
        self.command = self.blobs.add_message(made)
        action = v2.Action(command_digest=self.command, input_root_digest=self.root,
                           do_not_cache=do_not_cache, salt=fresh() if salt is None else salt)
        if timeout is not None:
            action.timeout.seconds, action.timeout.nanos = int(timeout), int(timeout % 1 * 1e9)
        for name in sorted(platform or {}):
            action.platform.properties.add(name=name, value=platform[name])
        self.message = action
        self.digest = self.blobs.add_message(action)


def shell(script, *args, **kwargs):
    """A job of one shell script."""
    return Job(["/bin/sh", "-c", script], *args, **kwargs)


def stdout_of(client, result):
    return result.stdout_raw or (client.get(result.stdout_digest) if result.stdout_digest.hash else b"")


def stderr_of(client, result):
    return result.stderr_raw or (client.get(result.stderr_digest) if result.stderr_digest.hash else b"")


def compress(data, level=3):
    return zstandard.ZstdCompressor(level=level).compress(data)


def decompress(data):
    """All the frames in data, which must end with a whole one."""
    out = b""
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        out += frame.decompress(data)
        assert frame.unused_data is not data, "no progress"
        data = frame.unused_data
    return out


# Waiting and comparing.


class Skip(Exception):
    """This test cannot be done here."""


def same(what, got, expected):
    assert got == expected, f"{what}: got {got!r}, expected {expected!r}"


def wait_for(what, condition, seconds=PATIENCE):
    """The first true value of condition()."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"in {seconds} s it never came: {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def refused(*codes, part=""):
    """The call within fails with one of these codes."""
    expected, got = " or ".join(c.name for c in codes), None
    try:
        yield
    except grpc.RpcError as error:
        got = error
    assert got is not None, f"was not refused; expected {expected}"
    assert got.code() in codes, f"got {got.code().name} ({got.details()}), expected {expected}"
    assert part in (got.details() or ""), f"{part!r} is not in {got.details()!r}"


def says(said, *words):
    """A text has one of these words."""
    assert any(w in said.lower() for w in words), f"none of {words} in {said!r}"


def in_threads(count, function):
    """function(number) in so many threads at once; their results, or the first exception."""
    results, errors = [None] * count, []

    def one(number):
        try:
            results[number] = function(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# Processes.


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def running(*words):
    """Pids whose command line has these words one after the other."""
    wanted, found = "\0".join(words).encode(), []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as cmdline:
                    if wanted + b"\0" in cmdline.read() and alive(name):
                        found.append(int(name))
            except OSError:
                continue
    return found


def resident(pid):
    """Resident bytes of a process."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def open_files(pid):
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class Refused(Exception):
    """rametd did not start: its exit status and what it said."""

    def __init__(self, status, said):
        super().__init__(f"rametd: exit {status}: {said}")
        self.status, self.said = status, said


class Host:
    """A host on a state directory of its own."""

    def __init__(self, *options, listen="grpc://127.0.0.1:0", workers=2, start=True):
        self.options = ["--workers", str(workers)] + os.environ.get("REAPI_HOST_OPTIONS", "").split()
        self.options += options
        self.listen, self.clients = listen, []
        self.directory = tempfile.mkdtemp(prefix="ramet-test.")
        os.chmod(self.directory, 0o755)
        self.state = os.path.join(self.directory, "state")
        if start:
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("listening"))
        command = [os.path.join(BIN, "rametd"), "--state", self.state] + self.options
        if self.listen:
            command += ["--listen", self.listen]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, cwd=self.directory, timeout=PATIENCE,
                              errors="replace", check=False)
        if done.returncode != 0:
            raise Refused(done.returncode, done.stdout)
        wait_for("the addresses in " + self.path("listening"), self.listening)

    def path(self, *names):
        return os.path.join(self.state, *names)

    def listening(self):
        try:
            with open(self.path("listening"), encoding="utf-8") as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def _address(self, *schemes):
        found = [a for a in self.listening() if a.startswith(schemes)]
        assert found, f"no address of {schemes} in {self.listening()}"
        return found[0]

    @property
    def address(self):
        return self._address("grpc://", "grpcs://", "unix:")

    @property
    def http(self):
        return self._address("http://")

    def client(self, instance="", **how):
        """A connection that is closed with the host."""
        client = Client(how.pop("address", None) or self.address, instance, **how)
        self.clients.append(client)
        return client

    def ramet(self, *args, errors="replace"):
        done = subprocess.run([os.path.join(BIN, "ramet"), "--state", self.state] + list(args),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=PATIENCE, cwd=self.directory, encoding="utf-8", errors=errors,
                              check=False)
        assert done.returncode == 0, f"ramet {args}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def counter(self, name):
        return json.loads(self.ramet("stat", "--json"))[name]

    def wait_counter(self, name, value, seconds=PATIENCE):
        wait_for(f"counter {name} = {value}", lambda: self.counter(name) == value, seconds)

    def pids(self, role):
        return [p["pid"] for p in json.loads(self.ramet("ps", "--json")) if p["role"] == role and p["pid"]]

    @property
    def gateway(self):
        """The gateway's pid."""
        return wait_for("a gateway in ramet ps", lambda: self.pids("gateway"))[0]

    @property
    def pid(self):
        try:
            with open(self.path("ramet.pid"), encoding="utf-8") as file:
                return int("".join(c for c in file.read() if c.isdigit()) or 0)
        except FileNotFoundError:
            return 0

    def blob_files(self, wanted):
        """The files of a blob: the blob, and its twin that is executable."""
        path = self.path("cas", wanted.hash[:2], wanted.hash)
        return [p for p in (path, path + ".x") if os.path.exists(p)]

    def drop_blob(self, wanted):
        files = self.blob_files(wanted)
        assert files, f"no file of {wanted.hash}"
        for file in files:
            os.unlink(file)

    def log(self, lines=20):
        try:
            with open(self.path("ramet.log"), encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def stop(self, *how):
        pid, gateways = self.pid, self.pids("gateway")
        self.ramet("stop", *how)
        for gone in [pid] + gateways:
            wait_for(f"the end of process {gone}", lambda p=gone: not alive(p))

    def kill(self):
        """SIGKILL to the supervisor, with which all else ends."""
        pid = self.pid
        pids = [p["pid"] for p in json.loads(self.ramet("ps", "--json")) if p["pid"]]
        os.kill(pid, signal.SIGKILL)
        for gone in pids:
            wait_for(f"the end of process {gone}", lambda p=gone: not alive(p))

    def check_idle(self):
        """Nothing runs, nothing is stuck, and the index holds its rules."""
        self.wait_counter("actions_running", 0)
        self.wait_counter("actions_queued", 0)
        self.ramet("index", "check")
        wait_for("an empty sandboxes/", lambda: not os.listdir(self.path("sandboxes")))

    def close(self):
        for client in self.clients:
            client.close()
        self.clients = []
        pid = self.pid
        if pid and alive(pid):
            try:
                self.stop()
            except (AssertionError, subprocess.TimeoutExpired):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                wait_for(f"the end of process {pid}", lambda: not alive(pid))
        report = self.log(1000000) if "Sanitizer" in self.log(1000000) else ""
        for _ in range(50):  # what the host's end has not let go of yet
            shutil.rmtree(self.directory, ignore_errors=True)
            if not os.path.lexists(self.directory):
                break
            for path, names, _files in os.walk(self.directory):
                for name in names:
                    with contextlib.suppress(OSError):
                        os.chmod(os.path.join(path, name), 0o755)
            time.sleep(0.02)
        assert not os.path.lexists(self.directory), f"cannot remove {self.directory}"
        assert not report, report


def refused_host(*options, **how):
    """Starts a host that must not start; what it says, with its exit status not 0 and not a signal's."""
    try:
        host = Host(*options, **how)
    except Refused as refusal:
        assert 0 < refusal.status < 128, refusal
        assert refusal.said.strip(), "it says nothing"
        return refusal.said
    host.close()
    raise AssertionError(f"rametd {options} {how} started")


# The runner: every function test_* of a program, in the order in which they stand.


class Shared:
    """The host that a program's tests share."""

    def __init__(self, options):
        self.options, self.host = options, None

    def get(self):
        if self.host and not (self.host.pid and alive(self.host.pid)):
            print(f"the host has died\n{self.host.log(40)}", flush=True)
            self.host.close()
            self.host = None
        if not self.host:
            self.host = Host(*self.options)
        return self.host

    def finish(self):
        """The last test: the host is whole, stops, and leaves nothing."""
        if self.host:
            self.host.check_idle()
            restarts = self.host.log(100000).count("gateway died")
            assert restarts == 0, f"the gateway died {restarts} times"
            self.host.stop()
            same("cas/tmp after the end", os.listdir(self.host.path("cas", "tmp")), [])
            same("listening after the end", self.host.listening(), [])


def too_long(_number, frame):
    raise AssertionError(f"took longer than {TEST_SECONDS} s, in\n" + "".join(traceback.format_stack(frame)))


def run_test(test, shared):
    given, clients = {}, []
    if "host" in inspect.signature(test).parameters:
        given["host"] = shared.get()
    if "client" in inspect.signature(test).parameters:
        given["client"] = Client(shared.get().address)
        clients.append(given["client"])
        given["client"].capabilities.GetCapabilities(v2.GetCapabilitiesRequest())  # connects
    try:
        test(**given)
    finally:
        for client in clients:
            client.close()


def where_and_why(error):
    """The lines of the test that led to an exception, and what it says."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "test_" in os.path.basename(f.filename)]
    return "".join(traceback.format_list(frames) + traceback.format_exception_only(error))


def main(program, options=()):
    """Runs the tests of a program (its globals()); arguments choose those with one of them in their name."""
    signal.signal(signal.SIGALRM, too_long)
    wanted = sys.argv[1:]
    tests = [f for name, f in program.items() if name.startswith("test_") and callable(f)]
    tests = [t for t in tests if not wanted or any(w in t.__name__ for w in wanted)]
    shared, counts = Shared(options), {"ok": 0, "skip": 0, "FAIL": 0}

    def left_whole():
        """The host is whole after all tests, stops, and leaves nothing."""
        shared.finish()

    started = time.monotonic()
    try:
        for test in tests + [left_whole]:
            signal.alarm(TEST_SECONDS)
            begun, word, why = time.monotonic(), "ok", ""
            try:
                run_test(test, shared)
            except Skip as reason:
                word = "skip"
                print(f"note: {test.__name__}: skipped: {reason}")
            except Exception as error:
                word, why = "FAIL", where_and_why(error)
            signal.alarm(0)
            counts[word] += 1
            print(f"{word} {test.__name__} {time.monotonic() - begun:.2f} s", flush=True)
            if why:
                print(f"  {test.__doc__}\n{why}", flush=True)
                if shared.host and "host" not in why:
                    print(shared.host.log(10), flush=True)
    finally:
        signal.alarm(0)
        if shared.host:
            shared.host.close()
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped"
          f" in {time.monotonic() - started:.1f} s")
    sys.exit(1 if counts["FAIL"] else 0 if counts["ok"] > 1 or not tests else 77)
