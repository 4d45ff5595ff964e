"""grpc.health.v1 and server reflection."""
import queue

import reapi
from reapi import (Code, descriptor_pb2, health, Host, main, make_pool, Package, refused, same, shell, V2, v2,
                   wait_for)

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
CORE = [V2 + ".Capabilities", V2 + ".ContentAddressableStorage", V2 + ".ActionCache", V2 + ".Execution",
        "google.bytestream.ByteStream"]
REFLECTIONS = ["reflection", "reflection_alpha"]
NOT_FOUND = Code.NOT_FOUND.value[0]


# Health.


def test_check(client):
    """The host as a whole and each of its services are serving."""
    for service in [""] + CORE:
        answer = client.health.Check(health.HealthCheckRequest(service=service))
        same(service, answer.status, SERVING)


def test_check_unknown(client):
    """Other services are not found."""
    for service in "nothing", V2 + ".Nothing", V2, "google.bytestream.bytestream", "x" * 3000:
        with refused(Code.NOT_FOUND):
            client.health.Check(health.HealthCheckRequest(service=service))


def test_watch(client):
    """Watch says the state at once and stays open."""
    for service, expected in ("", SERVING), (CORE[0], SERVING), ("nothing", SERVICE_UNKNOWN):
        call = client.health.Watch(health.HealthCheckRequest(service=service), timeout=2)
        same(service, next(call).status, expected)
        assert call.is_active(), f"Watch of {service!r} has ended: {call.code()}"
        call.cancel()


def test_watch_drain():
    """Who watches a host that drains learns that it serves no more, by a state or by the stream's end."""
    with Host() as host:
        client = host.client()
        watch = client.health.Watch(health.HealthCheckRequest())
        same("before", next(watch).status, SERVING)
        job = shell("sleep 0.7; echo done")
        client.upload(*job.blobs.values())
        execution = client.execute(job).until("EXECUTING")
        host.stop("--drain")
        try:
            states = [answer.status for answer in watch]
        except reapi.grpc.RpcError:
            states = []
        assert all(s == NOT_SERVING for s in states), states
        same("what ran when the drain began", execution.finish().result.exit_code, 0)


# Reflection.


class Reflection:
    """One stream of questions."""

    def __init__(self, client, attribute):
        self.package = Package("grpc.reflection.v1" + ("alpha" if attribute.endswith("alpha") else ""))
        self.questions = queue.SimpleQueue()
        self.answers = getattr(client, attribute).ServerReflectionInfo(iter(self.questions.get, None))

    def ask(self, **question):
        request = self.package.ServerReflectionRequest(host="here", **question)
        self.questions.put(request)
        answer = next(self.answers)
        same("original_request", answer.original_request, request)
        return answer

    def end(self):
        self.questions.put(None)
        same("after the last question", list(self.answers), [])


def files_of(answer):
    same("the answer's kind", answer.WhichOneof("message_response"), "file_descriptor_response")
    return [descriptor_pb2.FileDescriptorProto.FromString(f)
            for f in answer.file_descriptor_response.file_descriptor_proto]


def error_of(answer):
    same("the answer's kind", answer.WhichOneof("message_response"), "error_response")
    return answer.error_response.error_code


def load(reflection, symbol):
    """Every file that a symbol needs, by reflection alone."""
    files = {f.name: f for f in files_of(reflection.ask(file_containing_symbol=symbol))}
    todo = [d for f in files.values() for d in f.dependency]
    while todo:
        name = todo.pop()
        if name not in files:
            for file in files_of(reflection.ask(file_by_filename=name)):
                files.setdefault(file.name, file)
                todo += file.dependency
    return files


def test_list(client):
    """All services are listed, reflection's own too."""
    for attribute in REFLECTIONS:
        reflection = Reflection(client, attribute)
        listed = [s.name for s in reflection.ask(list_services="").list_services_response.service]
        same("services that are listed twice", len(listed), len(set(listed)))
        same("services", set(listed), set(reapi.SERVICES.values()))
        reflection.end()


def test_symbols(client):
    """A service, a method, a message, a nested one, an enum: the file that has it."""
    symbols = CORE + [V2 + ".Execution.Execute", V2 + ".Digest", V2 + ".DigestFunction.Value",
                      V2 + ".Command.EnvironmentVariable", "google.longrunning.Operation",
                      "google.rpc.Status",
                      "google.protobuf.Any", "grpc.health.v1.Health", "build.bazel.semver.SemVer"]
    for attribute in REFLECTIONS:
        reflection = Reflection(client, attribute)
        for symbol in symbols:
            files = files_of(reflection.ask(file_containing_symbol=symbol))
            pieces = set()
            for file in files:
                for thing in list(file.message_type) + list(file.service) + list(file.enum_type):
                    pieces.add(f"{file.package}.{thing.name}")
            assert any(symbol == p or symbol.startswith(p + ".") for p in pieces), (symbol, pieces)
        reflection.end()


def test_client_from_reflection(client):
    """What reflection says is enough to make a client of."""
    reflection = Reflection(client, "reflection")
    files = descriptor_pb2.FileDescriptorSet(file=load(reflection, V2 + ".Capabilities").values())
    reflection.end()
    pool, factory = make_pool(files)
    service = pool.FindServiceByName(V2 + ".Capabilities")
    method = service.FindMethodByName("GetCapabilities")
    answer = client.raw(f"/{service.full_name}/{method.name}")(b"")
    got = factory.GetPrototype(method.output_type).FromString(answer)
    same("exec_enabled", got.execution_capabilities.exec_enabled, True)


def test_filenames(client):
    """Each file that another imports is found by the name it is imported by."""
    for attribute in REFLECTIONS:
        reflection = Reflection(client, attribute)
        for symbol in CORE + ["grpc.health.v1.Health"]:
            assert load(reflection, symbol), symbol
        reflection.end()


def test_unknown(client):
    """What is not there is an error in the answer, and the stream goes on."""
    for attribute in REFLECTIONS:
        reflection = Reflection(client, attribute)
        for symbol in ("nothing", V2, V2 + ".Nothing", V2 + ".Execution.Nothing", "", "x" * 2000,
                       CORE[0][:-1]):
            same(symbol[:50], error_of(reflection.ask(file_containing_symbol=symbol)), NOT_FOUND)
        for name in "nothing.proto", "", "/etc/passwd", "../proto/health.proto", "proto":
            same(name, error_of(reflection.ask(file_by_filename=name)), NOT_FOUND)
        extension = reflection.package.ExtensionRequest(containing_type=V2 + ".Digest", extension_number=100)
        assert error_of(reflection.ask(file_containing_extension=extension)) != 0
        answer = reflection.ask(all_extension_numbers_of_type="nothing")
        assert error_of(answer) != 0
        assert error_of(reflection.ask()) != 0, "a question without a question"
        assert reflection.ask(list_services="*").list_services_response.service
        reflection.end()


def test_many_questions(client):
    """A hundred questions at once are answered in their order."""
    package = Package("grpc.reflection.v1")
    names = [CORE[n % len(CORE)] if n % 3 else f"nothing{n}" for n in range(100)]
    questions = [package.ServerReflectionRequest(file_containing_symbol=n) for n in names]
    answers = list(client.reflection.ServerReflectionInfo(iter(questions)))
    same("answers", [a.original_request.file_containing_symbol for a in answers], names)


def test_no_questions(client):
    """A stream without a question ends well."""
    same("answers", list(client.reflection.ServerReflectionInfo(iter([]))), [])


def test_many_watchers(host):
    """Watchers that go away are forgotten."""
    before = reapi.open_files(host.gateway)
    with reapi.Client(host.address) as client:
        calls = [client.health.Watch(health.HealthCheckRequest()) for _ in range(200)]
        for call in calls:
            same("state", next(call).status, SERVING)
    wait_for("the connection's end", lambda: reapi.open_files(host.gateway) <= before)
    with reapi.Client(host.address) as client:
        client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest())


main(globals())
