"""ContentAddressableStorage: finding, batches, trees."""
import os
import time

from reapi import (Blobs, Code, compress, decompress, digest, EMPTY, File, fresh, grpc, Host, key, Link, main,
                   noise, Package, refused, same, SHA256, tree, V2, v2, ZSTD)

INVALID, NOT_FOUND = Code.INVALID_ARGUMENT.value[0], Code.NOT_FOUND.value[0]
COMPRESSOR = Package(V2 + ".Compressor").Value
FUNCTION = Package(V2 + ".DigestFunction").Value
HASH = "ab" * 32


def bad_digests():
    good = digest(fresh())
    return [v2.Digest(), v2.Digest(hash=good.hash, size_bytes=-1),
            v2.Digest(hash=good.hash.upper(), size_bytes=9),
            v2.Digest(hash=good.hash[:-1], size_bytes=9), v2.Digest(hash=good.hash + "0", size_bytes=9),
            v2.Digest(hash="g" * 64, size_bytes=9), v2.Digest(hash="", size_bytes=9),
            v2.Digest(hash=good.hash[:-1] + "\0", size_bytes=9),
            v2.Digest(hash="../" * 21 + "a", size_bytes=9),
            v2.Digest(hash=good.hash, size_bytes=-(1 << 63))]


def capabilities(client):
    return client.capabilities.GetCapabilities(v2.GetCapabilitiesRequest()).cache_capabilities


def codes(responses):
    return {key(r.digest): r.status.code for r in responses}


# FindMissingBlobs.


def test_find_missing(client):
    """Ten of 10,000 are there; exactly the others are missing."""
    there = [fresh() for _ in range(10)]
    client.upload(*there)
    absent = [v2.Digest(hash=f"{n:064x}", size_bytes=n + 1) for n in range(9990)]
    asked = absent + [digest(d) for d in there]
    same("missing", client.missing(*asked), {key(d) for d in absent})


def test_find_nothing(client):
    """No digest, no answer."""
    same("missing", client.missing(), set())


def test_find_duplicates(client):
    """A digest may be asked for twice."""
    there, absent = fresh(), digest(fresh())
    client.upload(there)
    same("missing", client.missing(absent, digest(there), absent, digest(there)), {key(absent)})


def test_empty_blob_is_there(client):
    """The empty blob is never missing, can be read, and can be put."""
    same("missing", client.missing(EMPTY), set())
    answer = client.batch_read(EMPTY)[0]
    same("batch read", (answer.status.code, answer.data), (0, b""))
    same("batch update", client.update((EMPTY, b"")).responses[0].status.code, 0)
    same("read", client.get(EMPTY), b"")


def test_wrong_size_is_not_there(client):
    """A blob's hash with another size is another digest: never called present."""
    data = fresh()
    client.upload(data)
    for wrong in (v2.Digest(hash=digest(data).hash, size_bytes=len(data) + 1),
                  v2.Digest(hash=digest(data).hash, size_bytes=0),
                  v2.Digest(hash=digest(data).hash, size_bytes=1 << 62),
                  v2.Digest(hash=EMPTY.hash, size_bytes=5), v2.Digest(hash=HASH, size_bytes=0)):
        try:
            same("missing", client.missing(wrong), {key(wrong)})
        except grpc.RpcError as error:
            same("code", error.code(), Code.INVALID_ARGUMENT)
        try:
            assert client.batch_read(wrong)[0].status.code in (INVALID, NOT_FOUND), wrong
        except grpc.RpcError as error:
            same("code", error.code(), Code.INVALID_ARGUMENT)
    same("the blob itself", client.missing(digest(data)), set())


def test_bad_digests(client):
    """What is no digest is an invalid argument."""
    for bad in bad_digests():
        with refused(Code.INVALID_ARGUMENT):
            client.missing(digest(b"x"), bad)


def test_other_digest_functions(client):
    """Another digest function than SHA-256 is refused by every call; SHA-256, named or not, is taken."""
    there = fresh()
    client.upload(there)
    d = digest(there)
    for function in 0, SHA256:
        same("missing", client.missing(d, digest_function=function), set())
        same("read", client.batch_read(d, digest_function=function)[0].data, there)
        same("update", client.update((d, there), digest_function=function).responses[0].status.code, 0)
    for function in set(FUNCTION.values()) - {0, SHA256} | {77}:
        with refused(Code.INVALID_ARGUMENT):
            client.missing(d, digest_function=function)
        with refused(Code.INVALID_ARGUMENT):
            client.batch_read(d, digest_function=function)
        with refused(Code.INVALID_ARGUMENT):
            client.update((d, there), digest_function=function)
        with refused(Code.INVALID_ARGUMENT):
            client.get_tree(EMPTY, digest_function=function)
        with refused(Code.INVALID_ARGUMENT):
            client.cached(d, digest_function=function)


def test_reserved_instances(client):
    """Instance names with reserved words are refused by every call."""
    client.instance = "a/uploads/b"
    for call in (lambda: client.missing(EMPTY), lambda: client.batch_read(EMPTY),
                 lambda: client.update((EMPTY, b"")), lambda: client.get_tree(EMPTY),
                 lambda: client.cached(digest(b"a"))):
        with refused(Code.INVALID_ARGUMENT):
            call()


# BatchUpdateBlobs.


def test_update_mixed(client):
    """Good and bad blobs in one batch: a status for each, and only the good ones are there."""
    good, long, short, other = fresh(), fresh(), fresh(), fresh()
    answers = client.update((digest(good), good), (digest(long), long + b"x"), (digest(short), short[:-1]),
                            (digest(other), fresh()), (EMPTY, b""), (EMPTY, b"x")).responses
    same("answers", len(answers), 6)
    got = sorted((key(a.digest), a.status.code) for a in answers)
    same("statuses", got, sorted([(key(digest(good)), 0), (key(digest(long)), INVALID),
                                  (key(digest(short)), INVALID), (key(digest(other)), INVALID),
                                  (key(EMPTY), 0), (key(EMPTY), INVALID)]))
    same("missing", client.missing(*(digest(b) for b in (good, long, short, other))),
         {key(digest(b)) for b in (long, short, other)})
    same("bytes", client.get(digest(good)), good)


def test_update_bad_digests(client):
    """A bad digest spoils itself, or its batch, as an invalid argument."""
    good = fresh()
    for bad in bad_digests():
        try:
            answers = client.update((digest(good), good), (bad, b"data"), (bad, b"")).responses
            same("answers", sorted(a.status.code for a in answers), [0, INVALID, INVALID])
        except grpc.RpcError as error:
            same("code", error.code(), Code.INVALID_ARGUMENT)


def test_update_twice(client):
    """A blob may come twice in one batch, and again."""
    data = fresh()
    for _ in range(2):
        answers = client.update((digest(data), data), (digest(data), data)).responses
        same("statuses", [a.status.code for a in answers], [0, 0])
    same("bytes", client.get(digest(data)), data)


def test_update_bad_twin(client):
    """A blob that is there stays, whatever is sent under its name."""
    data = fresh()
    client.upload(data)
    answer = client.update((digest(data), fresh(len(data)))).responses[0]
    assert answer.status.code in (0, INVALID), answer
    same("bytes", client.get(digest(data)), data)


def test_update_too_much(client):
    """More than the limit in one batch is an invalid argument, and nothing of it is stored."""
    limit = capabilities(client).max_batch_total_size_bytes
    one, two = noise(limit // 2), noise(limit - limit // 2 + 1)
    with refused(Code.INVALID_ARGUMENT):
        client.update((digest(one), one), (digest(two), two))
    same("missing", client.missing(digest(one), digest(two)), {key(digest(one)), key(digest(two))})


def test_update_many(client):
    """Two thousand small blobs in one batch."""
    blobs = [fresh() for _ in range(2000)]
    answers = client.update(*((digest(b), b) for b in blobs)).responses
    same("statuses", codes(answers), {key(digest(b)): 0 for b in blobs})
    same("missing", client.missing(*(digest(b) for b in blobs)), set())


def test_update_nothing(client):
    """An empty batch has an empty answer."""
    same("answers", len(client.update().responses), 0)
    same("answers", len(client.batch_read()), 0)


def test_update_zstd(client):
    """Compressed blobs: of one frame, of several, of none that compresses; also the empty one."""
    plain, random, long = fresh(5000), noise(3000), bytes(3 << 20)
    two = compress(plain[:1000]) + compress(plain[1000:])
    for data, packed in (plain, compress(plain)), (random, compress(random)), (long, compress(long)), \
            (b"", compress(b"")), (plain, two):
        answer = client.update((digest(data), packed), compressor=ZSTD).responses[0]
        same(f"status of {len(data)} bytes", answer.status.code, 0)
        same("bytes", client.get(digest(data)) == data, True)


def test_update_bad_zstd(client):
    """What does not decompress to exactly the blob is refused, and then it is missing."""
    data = fresh(5000)
    packed = compress(data)
    bad = [b"", b"garbage", data, packed[:-1], packed[:len(packed) // 2], packed[:4], packed + b"x",
           compress(data + b"x"), compress(data[:-1]), compress(fresh(5000)), packed + compress(b"x"),
           packed[:20] + bytes(10) + packed[30:], compress(bytes(1 << 30)),
           b"\x28\xb5\x2f\xfd\x00\xf8" + b"\xff" * 50]
    for wrong in bad:
        started = time.monotonic()
        answer = client.update((digest(data), wrong), compressor=ZSTD).responses[0]
        same(f"status of {wrong[:20]}... ({len(wrong)} bytes)", answer.status.code, INVALID)
        assert time.monotonic() - started < 2, "a bomb went off"
    same("missing", client.missing(digest(data)), {key(digest(data))})
    same("status", client.update((digest(data), packed), compressor=ZSTD).responses[0].status.code, 0)


def test_update_other_compressors(client):
    """Compressors that were not announced are refused."""
    data = fresh()
    for compressor in COMPRESSOR["DEFLATE"], COMPRESSOR["BROTLI"], 99:
        try:
            code = client.update((digest(data), data), compressor=compressor).responses[0].status.code
        except grpc.RpcError as error:
            code = error.code().value[0]
        same("code", code, INVALID)
    same("missing", client.missing(digest(data)), {key(digest(data))})


# BatchReadBlobs.


def test_read_mixed(client):
    """Present, missing and empty blobs: a status for each."""
    there, absent = [fresh() for _ in range(3)], digest(fresh())
    client.upload(*there)
    answers = client.batch_read(*([digest(b) for b in there] + [absent, EMPTY]))
    same("answers", {key(a.digest): (a.status.code, a.data) for a in answers},
         {**{key(digest(b)): (0, b) for b in there}, key(absent): (NOT_FOUND, b""), key(EMPTY): (0, b"")})


def test_read_bad_digests(client):
    """A bad digest spoils itself, or its batch, as an invalid argument."""
    good = fresh()
    client.upload(good)
    for bad in bad_digests():
        try:
            same("statuses", sorted(a.status.code for a in client.batch_read(digest(good), bad)),
                 [0, INVALID])
        except grpc.RpcError as error:
            same("code", error.code(), Code.INVALID_ARGUMENT)


def test_read_zstd(client):
    """Who accepts zstd gets zstd or plain bytes; who accepts what we do not have gets plain bytes."""
    blobs = [fresh(50000), noise(2000), fresh(1)]
    client.upload(*blobs)
    for acceptable in [ZSTD], [COMPRESSOR["DEFLATE"], ZSTD], [COMPRESSOR["BROTLI"]], [99], [0, ZSTD]:
        answers = client.batch_read(*(digest(b) for b in blobs), acceptable_compressors=acceptable)
        for answer in answers:
            same("status", answer.status.code, 0)
            assert answer.compressor == 0 or answer.compressor == ZSTD in acceptable, answer.compressor
            data = decompress(answer.data) if answer.compressor else answer.data
            same("digest", key(digest(data)), key(answer.digest))
        same("answers", {key(a.digest) for a in answers}, {key(digest(b)) for b in blobs})


def test_read_too_much(client):
    """More than the limit, by one blob or by several, is an invalid argument."""
    limit = capabilities(client).max_batch_total_size_bytes
    big, half, half_too = fresh(limit + 1), fresh(limit // 2 + 1), noise(limit // 2 + 1)
    client.upload(big, half, half_too)
    with refused(Code.INVALID_ARGUMENT):
        client.batch_read(digest(big))
    with refused(Code.INVALID_ARGUMENT):
        client.batch_read(digest(half), digest(half_too))
    same("half of it", client.batch_read(digest(half))[0].data == half, True)


def test_read_many(client):
    """Two thousand small blobs in one batch, one of them twice."""
    blobs = [fresh() for _ in range(2000)]
    client.upload(*blobs)
    answers = client.batch_read(*[digest(b) for b in blobs + blobs[:1]])
    same("answers", {key(a.digest): a.data for a in answers}, {key(digest(b)): b for b in blobs})


def test_lost_blob(host, client):
    """A blob whose file has gone is missing, and can be put again."""
    data = fresh()
    client.upload(data)
    host.drop_blob(digest(data))
    same("missing", client.missing(digest(data)), {key(digest(data))})
    same("status", client.batch_read(digest(data))[0].status.code, NOT_FOUND)
    client.upload(data)
    same("bytes", client.get(digest(data)), data)


def test_command_line_sees_them(host, client):
    """The store is the host's: the command line finds what was uploaded, and the other way round."""
    data = fresh()
    client.upload(data)
    host.ramet("cas", "has", "/".join(map(str, key(digest(data)))))
    path = host.directory + "/file"
    with open(path, "wb") as file:
        file.write(fresh(100))
    shown = host.ramet("cas", "put", path).split()[0]
    put_hash, _, size = shown.partition("/")
    same("missing", client.missing(v2.Digest(hash=put_hash, size_bytes=int(size))), set())


def test_stored_files(host, client):
    """A stored blob is a file that nobody may write to, with exactly its bytes."""
    data = fresh()
    client.upload(data)
    files = host.blob_files(digest(data))
    assert files, "no file"
    for path in files:
        with open(path, "rb") as file:
            same("bytes", file.read(), data)

        same("write bits of " + path, os.stat(path).st_mode & 0o222, 0)


# GetTree.


def directories(pages):
    return [d.SerializeToString(deterministic=True) for p in pages for d in p.directories]


def put_tree(client, entries):
    """Uploads a tree; its root's digest and all its Directories, each once."""
    blobs = Blobs()
    root = tree(blobs, entries)
    client.upload(*blobs.values())
    return root, blobs


def wide(count, start=0):
    return {f"d{n:04}": {"f": f"{start + n}".encode()} for n in range(count)}


def distinct(blobs, root):
    """The serialized Directories below root."""
    found, todo = set(), [key(root)]
    while todo:
        data = blobs.get(todo.pop())
        if data is not None and data not in found:
            found.add(data)
            todo += [key(d.digest) for d in v2.Directory.FromString(data).directories]
    return found


def test_tree(client):
    """A tree with files, symlinks, nested, equal and empty directories: each Directory once, the root too."""
    root, blobs = put_tree(client, {
        "a": {"x": b"1", "deep": {"er": {"y": File(b"2", True)}}},
        "b": {"x": b"1", "deep": {"er": {"y": b"3"}}},
        "same1": {"s": b"4"}, "same2": {"s": b"4"}, "empty": {}, "link": Link("a"),
        "dangling": Link("/nowhere"),
        "file": File(b"5", mtime=1, mode=0o640)})
    pages = client.get_tree(root)
    got = directories(pages)
    same("each once", len(got), len(set(got)))
    same("directories", set(got), distinct(blobs, root))
    same("the last page's token", pages[-1].next_page_token, "")


def test_tree_of_nothing(client):
    """The empty root needs no upload."""
    same("directories", set(directories(client.get_tree(EMPTY))) | {b""}, {b""})


def test_tree_pages(client):
    """page_size holds, every page but the last has a token, and each token leads to exactly the rest."""
    root, blobs = put_tree(client, wide(10))
    pages = client.get_tree(root, page_size=3)
    assert all(len(p.directories) <= 3 for p in pages), [len(p.directories) for p in pages]
    same("tokens", [bool(p.next_page_token) for p in pages], [True] * (len(pages) - 1) + [False])
    everything = directories(pages)
    same("directories", sorted(everything), sorted(distinct(blobs, root)))
    for number, page in enumerate(pages[:-1]):
        rest = directories(pages[number + 1:])
        same(f"after page {number}", sorted(directories(
            client.get_tree(root, page_size=3, page_token=page.next_page_token))), sorted(rest))
        same(f"after page {number}, in other pages", sorted(directories(
            client.get_tree(root, page_size=1, page_token=page.next_page_token))), sorted(rest))


def test_tree_page_sizes(client):
    """A page size of one works; a huge one does not make a message that clients cannot take."""
    root, blobs = put_tree(client, wide(4))
    same("ones", sorted(directories(client.get_tree(root, page_size=1))), sorted(distinct(blobs, root)))
    same("many", sorted(directories(client.get_tree(root, page_size=(1 << 31) - 1))),
         sorted(distinct(blobs, root)))
    for size in -1, -(1 << 31):
        try:
            same("negative", sorted(directories(client.get_tree(root, page_size=size))),
                 sorted(distinct(blobs, root)))
        except grpc.RpcError as error:
            same("code", error.code(), Code.INVALID_ARGUMENT)


def test_tree_bad_tokens(client):
    """A token that was never given is an invalid argument."""
    root, _ = put_tree(client, wide(4))
    good = client.get_tree(root, page_size=2)[0].next_page_token
    for token in "x", "-1", "999999999", "1" * 100, "%", "\0", good + "x", " ", "../..", "0x1", "A" * 5000:
        with refused(Code.INVALID_ARGUMENT):
            client.get_tree(root, page_token=token)


def test_tree_big(client):
    """Thousands of directories, some of a megabyte, in messages that clients take."""
    entries = wide(3000)
    entries["huge"] = {f"{n:0200}": b"" for n in range(4000)}
    entries["huge2"] = {f"{n:0210}": b"" for n in range(4000)}
    entries["huge3"] = {f"{n:0220}": b"" for n in range(4000)}
    root, blobs = put_tree(client, entries)
    pages = client.get_tree(root)
    same("directories", sorted(directories(pages)) == sorted(distinct(blobs, root)), True)


def test_tree_of_shared_directories(client):
    """Forty levels, each with three links to the next: 3^40 paths, 41 directories, at once and each once."""
    blobs, level = Blobs(), {"leaf": b"leaf"}
    below = tree(blobs, level)
    for _ in range(40):
        directory = v2.Directory()
        for name in "abc":
            directory.directories.add(name=name, digest=below)
        below = blobs.add_message(directory)
    client.upload(*blobs.values())
    for size in 0, 7:
        got = directories(client.get_tree(below, timeout=5, page_size=size))
        same("each once", len(got), 41)
        same("directories", set(got), distinct(blobs, below))


def test_tree_deep(client):
    """A chain of a thousand directories is listed or refused, but answered."""
    blobs = Blobs()
    below = tree(blobs, {"leaf": b"leaf"})
    for _ in range(1000):
        directory = v2.Directory()
        directory.directories.add(name="d", digest=below)
        below = blobs.add_message(directory)
    client.upload(*blobs.values())
    try:
        same("directories", len(directories(client.get_tree(below))), 1001)
    except grpc.RpcError as error:
        assert error.code() in (Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED), error


def test_tree_with_a_hole(client):
    """A missing subdirectory is left out, with what lies below it; its neighbours come."""
    blobs = Blobs()
    root = tree(blobs, {"a": {"x": fresh()}, "hole": {"below": {"y": fresh()}}, "z": {"x": fresh()}})
    hole = next(d.digest for d in v2.Directory.FromString(blobs[key(root)]).directories if d.name == "hole")
    whole = distinct(blobs, root)
    unseen = distinct(blobs, hole)
    del blobs[key(hole)]
    client.upload(*blobs.values())
    same("directories", set(directories(client.get_tree(root))), whole - unseen)


def test_tree_missing_root(client):
    """A missing root is not found."""
    with refused(Code.NOT_FOUND):
        client.get_tree(digest(fresh()))


def test_tree_bad_roots(client):
    """A bad digest is an invalid argument; a root that is no Directory is refused too."""
    for bad in bad_digests():
        with refused(Code.INVALID_ARGUMENT):
            client.get_tree(bad)
    with refused(Code.INVALID_ARGUMENT):
        client.cas.GetTree(v2.GetTreeRequest()).next()
    garbage = b"\xff" * 30 + fresh()
    client.upload(garbage)
    with refused(Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND):
        client.get_tree(digest(garbage))


def test_after_a_restart():
    """What was stored is there after the host has been stopped and started."""
    with Host() as host:
        client, data = host.client(), fresh()
        client.upload(data)
        host.stop()
        host.start()
        again = host.client()
        same("missing", again.missing(digest(data)), set())
        same("bytes", again.get(digest(data)), data)


main(globals())
