"""Capabilities: what the gateway says it can do, and that it can."""
from reapi import (Code, decompress, digest, grpc, Host, main, noise, Package, refused, same, SHA256, V2, v2,
                   ZSTD)

RESERVED = ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"]


def get(client, instance=""):
    return client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest(instance_name=instance))


def check_priorities(priorities):
    for each in priorities:
        assert each.min_priority <= each.max_priority, each


def test_versions(client):
    """The lowest version is 2.0 and the highest 2.11."""
    caps = get(client)
    same("low", (caps.low_api_version.major, caps.low_api_version.minor), (2, 0))
    same("high", (caps.high_api_version.major, caps.high_api_version.minor), (2, 11))
    if caps.HasField("deprecated_api_version"):
        old = caps.deprecated_api_version
        assert (old.major, old.minor) <= (2, 0), old


def test_cache(client):
    """The store: SHA-256, updates, zstd, absolute symlinks, batches below what clients receive."""
    cache = get(client).cache_capabilities
    assert SHA256 in cache.digest_functions, cache
    assert 0 not in cache.digest_functions, "UNKNOWN must not be returned"
    assert cache.action_cache_update_capabilities.update_enabled, "no update of the action cache"
    assert 1 << 20 <= cache.max_batch_total_size_bytes < 4 << 20, cache.max_batch_total_size_bytes
    same("absolute symlinks", cache.symlink_absolute_path_strategy,
         Package(V2 + ".SymlinkAbsolutePathStrategy").Value["ALLOWED"])
    assert ZSTD in cache.supported_compressors, cache
    assert ZSTD in cache.supported_batch_update_compressors, cache
    assert cache.max_cas_blob_size_bytes >= 0, cache
    check_priorities(cache.cache_priority_capabilities.priorities)


def test_execution(client):
    """Execution: enabled, SHA-256, mtime and unix_mode, priorities on both sides of 0."""
    execution = get(client).execution_capabilities
    same("digest function", execution.digest_function, SHA256)
    assert SHA256 in execution.digest_functions, execution
    assert execution.exec_enabled, execution
    same("node properties", set(execution.supported_node_properties), {"mtime", "unix_mode"})
    ranges = execution.execution_priority_capabilities.priorities
    assert ranges, "no priorities"
    check_priorities(ranges)
    assert any(r.min_priority < 0 < r.max_priority for r in ranges), ranges


def test_batch_limit_holds(client):
    """A batch of exactly the limit goes in, and out in a message that a client with default limits takes."""
    limit = get(client).cache_capabilities.max_batch_total_size_bytes
    data = noise(limit)
    same("status", client.update((digest(data), data)).responses[0].status.code, 0)
    for acceptable in [], [ZSTD]:
        answer = client.batch_read(digest(data), acceptable_compressors=acceptable)[0]
        same("status", answer.status.code, 0)
        got = decompress(answer.data) if answer.compressor == ZSTD else answer.data
        same("the bytes come back", got == data, True)


def test_batch_limit_holds_for_small_blobs(client):
    """A batch of small blobs that fills the limit goes in and out as well."""
    limit = get(client).cache_capabilities.max_batch_total_size_bytes
    blobs = [noise(2000) for _ in range(limit // 2000)]
    answers = client.update(*((digest(b), b) for b in blobs)).responses
    same("statuses", {a.status.code for a in answers}, {0})
    answers = client.batch_read(*(digest(b) for b in blobs))
    same("statuses", {a.status.code for a in answers}, {0})
    same("bytes", {a.data for a in answers} == set(blobs), True)


def test_blob_limit_is_announced():
    """--blob-max is what max_cas_blob_size_bytes says."""
    with Host("--blob-max", "1M") as host:
        same("limit", get(host.client()).cache_capabilities.max_cas_blob_size_bytes, 1 << 20)


def test_instances(client):
    """An instance may have any name, with slashes too."""
    plain = get(client)
    for name in ("main", "a/b/c", "with space", "dots.and-dashes_1", "n\u00e4me", "blob", "my-blobs",
                 "Uploads"):
        same(name, get(client, name), plain)


def test_reserved_words(client):
    """No segment of an instance name is one of the words that resource names are made of."""
    for word in RESERVED:
        for name in word, "a/" + word, word + "/a", f"a/{word}/b":
            with refused(Code.INVALID_ARGUMENT):
                get(client, name)


def test_odd_instances(client):
    """Other odd names are answered or refused as an argument."""
    for name in "/", "a//b", "/a", "a/", ".", "..", "a/../b", "nul\0nul", "x" * 5000, "\n", "%2f":
        try:
            get(client, name)
        except grpc.RpcError as error:
            same(repr(name[:20]), error.code(), Code.INVALID_ARGUMENT)


def test_request_metadata(client):
    """The header with a client's metadata is accepted, and a broken one harms nothing."""
    metadata = v2.RequestMetadata(action_id="a" * 64, tool_invocation_id="b" * 36,
                                  action_mnemonic="CppCompile",
                                  target_id="//a:b", correlated_invocations_id="c" * 36)
    metadata.tool_details.tool_name = "test"
    header = "build.bazel.remote.execution.v2.requestmetadata-bin"
    values = [metadata.SerializeToString(), b"", b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x7f",
              b"\x0a\x00" * 200]
    for value in values:
        client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest(), more_metadata=[(header, value)])
    client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest(),
                                        more_metadata=[(header, v) for v in values[:3]])


main(globals())
