"""ByteStream: reading parts, writing and resuming, compressed blobs."""
import os
import signal
import time

from reapi import (blob_name, bs, Code, compress, decompress, digest, EMPTY, fresh, grpc, Host, in_threads,
                   key, main, noise, PATIENCE, refused, resident, same, upload_name, v2, wait_for,
                   write_requests, Writer)

WRONG = (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION, Code.ABORTED)
NO_NAME = (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNIMPLEMENTED)


def check_stored(client, data):
    same("missing", client.missing(digest(data)), set())
    same("the bytes are the same", client.get(digest(data)) == data, True)


def check_missing(client, data):
    same("missing", client.missing(digest(data)), {key(digest(data))})


# Read.


def test_read(client):
    """A blob of some megabytes, in messages that clients take."""
    data = noise((3 << 20) + 7)
    client.upload(data)
    request = bs.ReadRequest(resource_name=blob_name(digest(data)))
    sizes = [len(r.data) for r in client.bytestream.Read(request)]
    same("size", sum(sizes), len(data))
    assert max(sizes) <= 2 << 20, max(sizes)
    check_stored(client, data)


def test_read_parts(client):
    """Offsets and limits: every part is exact, and offset == size is an empty part."""
    data = noise(300000)
    client.upload(data)
    name, size = blob_name(digest(data)), len(data)
    for offset, limit in [(0, 1), (1, 0), (1, 1), (100, 65536), (65535, 65537), (size - 1, 0), (size - 1, 1),
                          (size - 1, 10), (size, 0), (size, 5), (0, size), (0, size + 1), (0, (1 << 63) - 1),
                          (7, (1 << 63) - 1), (size, (1 << 63) - 1)]:
        got = client.read(name, offset, limit)
        expected = data[offset:offset + limit] if limit else data[offset:]
        same(f"offset {offset}, limit {limit}", got == expected, True)


def test_read_out_of_range(client):
    """An offset beyond the end or below 0 is out of range; a limit below 0 is an error."""
    data = fresh()
    client.upload(data)
    name = blob_name(digest(data))
    for offset in len(data) + 1, len(data) + 100000, (1 << 63) - 1, -1, -(1 << 63):
        with refused(Code.OUT_OF_RANGE):
            client.read(name, offset)
    for limit in -1, -(1 << 63):
        with refused(Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
            client.read(name, 0, limit)
    with refused(Code.OUT_OF_RANGE):
        client.read(name, (1 << 63) - 1, (1 << 63) - 1)


def test_read_empty(client):
    """The empty blob has no bytes and no offset but 0."""
    same("bytes", client.read(blob_name(EMPTY)), b"")
    same("bytes", client.read(blob_name(EMPTY), 0, 10), b"")
    with refused(Code.OUT_OF_RANGE):
        client.read(blob_name(EMPTY), 1)


def test_read_missing(client):
    """A blob that is not there, or not of that size, is not found."""
    data = fresh()
    client.upload(data)
    for absent in digest(fresh()), v2.Digest(hash=digest(data).hash, size_bytes=len(data) + 1), \
            v2.Digest(hash=digest(data).hash, size_bytes=len(data) - 1):
        with refused(Code.NOT_FOUND, Code.INVALID_ARGUMENT):
            client.read(blob_name(absent))
    with refused(Code.NOT_FOUND):
        client.read(blob_name(digest(fresh())), 10)
    check_stored(client, data)


def test_read_names(client):
    """A blob has the same bytes under each form of its name."""
    data = fresh()
    client.upload(data)
    for instance in "", "main", "a/b/c", "sha256":
        for function in "", "sha256":
            same(f"{instance} {function}", client.read(blob_name(digest(data), instance, function=function)),
                 data)


def bad_blob_names(data):
    h, s = digest(data).hash, len(data)
    return ["", "/", "blobs", "blobs/", f"blobs/{h}", f"blobs/{h}/", f"blobs/{s}/{h}", f"blobs/{h}/-{s}",
            f"blobs/{h}/{s}x", f"blobs/{h}/ {s}", f"blobs/{h}/+{s}", f"blobs/{h}/0x28", f"blobs/{h}/{s}.0",
            f"blobs/{h}/{'9' * 30}", f"blobs/{h}/9223372036854775808", f"blobs/{h}/18446744073709551656",
            f"blobs/{h[:-1]}/{s}", f"blobs/{h.upper()}/{s}", f"blobs/{h}0/{s}", f"blobs/{'z' * 64}/{s}",
            f"blobs/../{h}/{s}", f"blobs//{h}/{s}", f"blobs/md5/{h}/{s}", f"blobs/sha1/{h}/{s}",
            f"blobs/blake3/{h}/{s}", f"blobs/SHA256/{h}/{s}", f"{h}/{s}", f"blob/{h}/{s}",
            f"compressed-blobs/{h}/{s}", f"compressed-blobs/lzma/{h}/{s}", f"compressed-blobs/ZSTD/{h}/{s}",
            f"blobs/{h}/{s}\0", f"blobs\0/{h}/{s}", "x" * 10000, "/" * 5000, f"operations/blobs/{h}/{s}",
            "a/" * 3000 + f"blobs/{h}/{s}x"]


def test_read_bad_names(client):
    """Names that name nothing are refused."""
    data = fresh()
    client.upload(data)
    for name in bad_blob_names(data) + [upload_name(digest(data)), "uploads/x/" + blob_name(digest(data))]:
        with refused(*NO_NAME):
            client.read(name)


def test_read_at_once(client):
    """Many readers of one blob at once."""
    data = noise(1 << 20)
    client.upload(data)
    same("all are right", all(in_threads(32, lambda _n: client.get(digest(data)) == data)), True)


# Write.


def test_write_chunks(client):
    """Blobs in chunks of any size."""
    for size, chunk in (1, 1), (500, 1), (5000, 7), (100000, 999), (100000, 16384), (3000001, 1 << 20), \
            (2000003, 2000003):
        data = noise(size)
        same("committed", client.write(upload_name(digest(data)), data, chunk=chunk), size)
        check_stored(client, data)


def test_write_empty(client):
    """The empty blob can be written."""
    same("committed", client.write(upload_name(EMPTY), b""), 0)


def test_write_names(client):
    """Instances, the digest function, what follows the size, and the name in every message."""
    for instance in "", "main", "a/b/c":
        for function in "", "sha256":
            for more in "", "/meta", "/some/path/to/a.file", "/blobs/x":
                data = fresh(20000)
                name = upload_name(digest(data), instance, function=function) + more
                same("committed", client.write(name, data, chunk=7000, repeat_name=True), len(data))
                check_stored(client, data)


def test_write_bad_names(client):
    """Names that name no upload are refused, and nothing is stored."""
    data = fresh()
    names = ["uploads/11111111-2222-3333-4444-555555555555/" + n for n in bad_blob_names(data) if n]
    names += ["", blob_name(digest(data)), "uploads/" + blob_name(digest(data)), "uploads",
              "uploads/x/y/" + blob_name(digest(data)), "a/blobs/" + upload_name(digest(data)),
              "Uploads/x/" + blob_name(digest(data))]
    for name in names:
        with refused(*NO_NAME):
            client.write(name, data)
    check_missing(client, data)


def test_write_other_name(client):
    """The name may not change within a Write."""
    data, other = fresh(), fresh()
    with refused(*WRONG):
        client.bytestream.Write(iter([
            bs.WriteRequest(resource_name=upload_name(digest(data)), data=data[:10]),
            bs.WriteRequest(resource_name=upload_name(digest(other)), write_offset=10, data=data[10:],
                            finish_write=True)]))
    check_missing(client, data)
    check_missing(client, other)


def test_write_no_name(client):
    """A Write without a name, or without a message, is refused."""
    with refused(Code.INVALID_ARGUMENT):
        client.bytestream.Write(iter([bs.WriteRequest(data=b"x", finish_write=True)]))
    with refused(Code.INVALID_ARGUMENT):
        client.bytestream.Write(iter([]))


def test_write_wrong_bytes(client):
    """Other bytes, too few, too many: invalid, and the blob is still missing; then it can be put."""
    for size in 100, 300000:
        data = noise(size)
        for wrong in noise(size), data[:-1], data + b"x", data[:size // 2], data + data, b"":
            with refused(Code.INVALID_ARGUMENT):
                client.write(upload_name(digest(data)), wrong)
            check_missing(client, data)
        client.write(upload_name(digest(data)), data)
        check_stored(client, data)


def test_write_same_name_after_wrong_bytes(client):
    """An upload whose bytes were wrong can be done again under its name."""
    data = noise(50000)
    name = upload_name(digest(data))
    with refused(Code.INVALID_ARGUMENT):
        client.write(name, noise(50000))
    same("committed", client.write(name, data), len(data))
    check_stored(client, data)


def test_write_wrong_size(client):
    """The right hash with a wrong size is another digest."""
    data = fresh()
    for size in len(data) + 1, len(data) - 1, 0, 1 << 40:
        wrong = v2.Digest(hash=digest(data).hash, size_bytes=size)
        with refused(Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED):
            client.write(upload_name(wrong), data)
        check_missing(client, data)


def test_write_wrong_offsets(client):
    """The first offset of a new upload is 0 and each other one is where the last data ended."""
    data = noise(3000)
    for offset in 1, 5, len(data), -1, (1 << 63) - 1, -(1 << 63):
        with refused(*WRONG):
            client.bytestream.Write(iter([bs.WriteRequest(resource_name=upload_name(digest(data)),
                                                          write_offset=offset, data=data,
                                                          finish_write=True)]))
        with refused(*WRONG):
            client.bytestream.Write(iter([
                bs.WriteRequest(resource_name=upload_name(digest(data)), data=data[:1000]),
                bs.WriteRequest(write_offset=1000 + offset if abs(offset) < 9999 else offset,
                                data=data[1000:],
                                finish_write=True)]))
    check_missing(client, data)


def test_write_empty_messages(client):
    """Messages without data keep a Write alive; the last one may have none."""
    data = fresh(1000)
    name = upload_name(digest(data))
    requests = [bs.WriteRequest(resource_name=name), bs.WriteRequest(resource_name=name),
                bs.WriteRequest(data=data[:500]), bs.WriteRequest(write_offset=500),
                bs.WriteRequest(write_offset=500, data=data[500:]),
                bs.WriteRequest(write_offset=1000, finish_write=True)]
    same("committed", client.bytestream.Write(iter(requests)).committed_size, 1000)
    check_stored(client, data)


def test_write_without_finish(client):
    """All bytes without finish_write are no blob yet; an empty last message makes them one."""
    data = noise(5000)
    name = upload_name(digest(data))
    same("committed", client.write(name, data, finish=False), len(data))
    check_missing(client, data)
    status = client.write_status(name)
    same("status", (status.committed_size, status.complete), (len(data), False))
    same("committed", client.write(name, b"", offset=len(data)), len(data))
    check_stored(client, data)


def test_write_after_finish(client):
    """Data after finish_write never ends in a wrong blob, nor hangs."""
    data = noise(3000)
    requests = list(write_requests(upload_name(digest(data)), data, chunk=1000))
    requests += [bs.WriteRequest(write_offset=3000, data=b"more"),
                 bs.WriteRequest(write_offset=3004, data=b"more")]
    try:
        same("committed", client.bytestream.Write(iter(requests)).committed_size, len(data))
        check_stored(client, data)
    except grpc.RpcError as error:
        assert error.code() in WRONG, error
        client.upload(data)
        check_stored(client, data)


def test_resume_after_half_close(client):
    """An upload in three calls: the committed size is exact after each."""
    data = noise(100001)
    name = upload_name(digest(data), "some/instance")
    for start, end in (0, 12345), (12345, 70007):
        same("committed", client.write(name, data[start:end], offset=start, chunk=1001, finish=False), end)
        for _ in range(2):
            status = client.write_status(name)
            same("status", (status.committed_size, status.complete), (end, False))
        check_missing(client, data)
    for wrong in 1, 70006, 70008, len(data):
        with refused(*WRONG):
            client.write(name, data[wrong:], offset=wrong)
        same("committed size after a wrong offset", client.write_status(name).committed_size, 70007)
    same("committed", client.write(name, data[70007:], offset=70007, chunk=999), len(data))
    check_stored(client, data)
    status = client.write_status(name)
    same("status", (status.committed_size, status.complete), (len(data), True))


def test_resume_after_cut(client):
    """A stream that breaks: what was committed can be asked for to the byte, and the rest follows."""
    data = noise(200003)
    name = upload_name(digest(data))
    writer = Writer(client, name)
    for start in range(0, 90003, 10001):
        writer.send(data[start:start + 10001])
    seen = [0]

    def committed():
        try:
            size = client.write_status(name).committed_size
        except grpc.RpcError as error:
            same("code", error.code(), Code.NOT_FOUND)
            return False
        assert size >= seen[-1], f"the committed size shrank: {seen} {size}"
        seen.append(size)
        return size == writer.sent

    wait_for("all that was sent is committed", committed, 5)
    writer.cut()
    same("committed after the cut", client.write_status(name).committed_size, writer.sent)
    check_missing(client, data)
    same("committed", client.write(name, data[writer.sent:], offset=writer.sent), len(data))
    check_stored(client, data)


def test_resume_after_cut_at_once(client):
    """A stream that breaks right after it began: whatever is said to be committed, the rest completes it."""
    for size in 70000, 1000003:
        data = noise(size)
        name = upload_name(digest(data))
        writer = Writer(client, name)
        writer.send(data[:size // 3])
        writer.send(data[size // 3:size // 2])
        writer.cut()
        try:
            at = client.write_status(name).committed_size
        except grpc.RpcError as error:
            same("code", error.code(), Code.NOT_FOUND)
            at = 0
        assert 0 <= at <= size // 2, at
        same("committed", client.write(name, data[at:], offset=at), size)
        check_stored(client, data)


def test_resume_from_another_connection(host, client):
    """Who lost the whole connection goes on over another one."""
    data = noise(50000)
    name = upload_name(digest(data))
    first = host.client()
    same("committed", first.write(name, data[:20000], finish=False), 20000)
    first.close()
    same("status", client.write_status(name).committed_size, 20000)
    same("committed", client.write(name, data[20000:], offset=20000), len(data))
    check_stored(client, data)


def test_status_unknown(client):
    """An upload that never began is not found, or has no byte; a name that is none is refused."""
    try:
        status = client.write_status(upload_name(digest(fresh())))
        same("status", (status.committed_size, status.complete), (0, False))
    except grpc.RpcError as error:
        same("code", error.code(), Code.NOT_FOUND)
    for name in "", "nothing", upload_name(digest(fresh())) + "\0", "uploads/x/blobs/y/z":
        with refused(*NO_NAME):
            client.write_status(name)


def test_status_of_blob(client):
    """An upload whose blob is there by another way is complete, or unknown."""
    data = fresh()
    client.upload(data)
    try:
        status = client.write_status(upload_name(digest(data)))
        assert (status.committed_size, status.complete) in [(len(data), True), (0, False)], status
    except grpc.RpcError as error:
        same("code", error.code(), Code.NOT_FOUND)


def test_write_what_is_there(client):
    """A blob that is there: the Write ends early, with the full size."""
    data = noise(100000)
    client.upload(data)
    writer = Writer(client, upload_name(digest(data)))
    writer.send(data[:10])
    try:
        same("committed", writer.call.result(PATIENCE).committed_size, len(data))
    finally:
        writer.queue.put(None)
    same("committed", client.write(upload_name(digest(data)), data), len(data))
    same("committed", client.write(upload_name(digest(data), "other"), data, chunk=100), len(data))
    check_stored(client, data)


def test_write_at_once(client):
    """Many writers of one blob, each with an upload name of its own."""
    data = noise(600000)
    same("committed", set(in_threads(16, lambda _n: client.write(upload_name(digest(data)), data))),
         {len(data)})
    check_stored(client, data)


def test_write_same_name_at_once(client):
    """Several writers of one upload name: at least one gets through, and the blob is right."""
    for _ in range(3):
        data = noise(300000)
        name = upload_name(digest(data))

        def one(_number):
            try:
                return client.write(name, data, chunk=5000)
            except grpc.RpcError as error:
                assert error.code() in WRONG + (Code.ALREADY_EXISTS, Code.UNAVAILABLE), error
                return None

        sizes = in_threads(6, one)
        assert len(data) in sizes, sizes
        same("sizes", set(sizes) - {None}, {len(data)})
        check_stored(client, data)


def test_second_writer_of_a_name(client):
    """A writer that stalls does not keep its upload name: who comes again resumes or is told."""
    data = noise(100000)
    name = upload_name(digest(data))
    stalled = Writer(client, name)
    stalled.send(data[:30000])
    wait_for("the first part is committed", lambda: status_or_zero(client, name) == 30000, 5)
    try:
        same("committed", client.write(name, data[30000:], offset=30000), len(data))
    except grpc.RpcError as error:
        assert error.code() in WRONG + (Code.ALREADY_EXISTS, Code.UNAVAILABLE), error
    stalled.cut()
    at = status_or_zero(client, name)
    same("committed", client.write(name, data[at:], offset=at), len(data))
    check_stored(client, data)


def status_or_zero(client, name):
    try:
        return client.write_status(name).committed_size
    except grpc.RpcError as error:
        if error.code() != Code.NOT_FOUND:
            raise
        return 0


def test_same_uuid_for_two_blobs(client):
    """One uuid may serve for different blobs."""
    upload = "0f8fad5b-d9cb-469f-a165-70867728950e"
    blobs = [noise(20000) for _ in range(4)]
    in_threads(4, lambda n: client.write(upload_name(digest(blobs[n]), upload=upload), blobs[n], chunk=1000))
    for data in blobs:
        check_stored(client, data)


def test_upload_and_a_dying_gateway():
    """The gateway dies in the middle of an upload: it can be gone on with, and nothing is left over."""
    with Host() as host:
        client, data = host.client(), noise(500000)
        name = upload_name(digest(data))
        writer = Writer(client, name)
        writer.send(data[:200000])
        wait_for("the first part is committed", lambda: status_or_zero(client, name) == 200000, 5)
        pid = host.gateway
        os.kill(pid, signal.SIGKILL)
        with refused(Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN):
            writer.end()

        def finished():
            try:
                at = status_or_zero(client, name)
                return client.write(name, data[at:], offset=at)
            except grpc.RpcError as error:
                same("code", error.code(), Code.UNAVAILABLE)
                return None

        same("committed", wait_for("the whole upload", finished, 10), len(data))
        check_stored(client, data)
        wait_for("an empty cas/tmp", lambda: not os.listdir(host.path("cas", "tmp")), 10)


# Compressed blobs.


def test_write_zstd(client):
    """Compressed uploads in chunks of any size, of several frames, of bytes that do not compress."""
    random = noise(300000)
    texts = [fresh(500000) for _ in range(4)]
    cases = [(texts[0], compress(texts[0]), 16384), (texts[1], compress(texts[1]), 100),
             (texts[2], compress(texts[2][:9]) + compress(texts[2][9:]), 77),
             (random, compress(random), 4096),
             (bytes(9 << 20), compress(bytes(9 << 20)), 50), (b"y", compress(b"y"), 1)]
    for data, packed, chunk in cases:
        name = upload_name(digest(data), compressor="zstd")
        committed = client.write(name, packed, chunk=chunk)
        assert committed in (len(packed), -1), (committed, len(packed), len(data))
        check_stored(client, data)


def test_write_zstd_names(client):
    """Instances, the digest function and what follows the size, for compressed uploads too."""
    for instance, function, more in ("", "", "/x"), ("a/b", "sha256", ""), ("", "sha256", "/x/y"):
        data = fresh(5000)
        client.write(upload_name(digest(data), instance, "zstd", function) + more, compress(data))
        check_stored(client, data)


def test_write_zstd_there(client):
    """A compressed upload of what is there ends early, with -1."""
    data = noise(100000)
    client.upload(data)
    same("committed", client.write(upload_name(digest(data), compressor="zstd"), compress(data)), -1)


def test_write_bad_zstd(client):
    """Garbage, cut frames, frames of other bytes: an invalid argument, and the blob is still missing."""
    data = noise(40000) + bytes(40000)
    packed = compress(data)
    for wrong in (b"", b"garbage", data, packed[:-1], packed[:len(packed) // 2], packed[:5], packed + b"x",
                  packed + packed, compress(data[:-1]), compress(data + b"x"), compress(noise(80000)),
                  packed[:100] + bytes(30) + packed[130:]):
        with refused(Code.INVALID_ARGUMENT):
            client.write(upload_name(digest(data), compressor="zstd"), wrong, chunk=10000)
        check_missing(client, data)
    client.write(upload_name(digest(data), compressor="zstd"), packed)
    check_stored(client, data)


def test_zstd_bomb(host, client):
    """A frame of a gigabyte under the name of a hundred bytes is refused at once, without its memory."""
    bomb, data = compress(bytes(1 << 30)), fresh(100)
    before, started = resident(host.gateway), time.monotonic()
    with refused(Code.INVALID_ARGUMENT):
        client.write(upload_name(digest(data), compressor="zstd"), bomb)
    assert time.monotonic() - started < 2, time.monotonic() - started
    grown = resident(host.gateway) - before
    assert grown < 64 << 20, f"the gateway grew by {grown >> 20} MB"
    wide_window = b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x02\x00\x00a" * 50
    with refused(Code.INVALID_ARGUMENT):
        client.write(upload_name(digest(data), compressor="zstd"), wide_window)
    check_missing(client, data)


def test_resume_zstd(client):
    """A compressed upload that broke goes on where the status says, counted in bytes of the blob."""
    for how in "cut", "half-closed":
        data = noise(400000)
        name = upload_name(digest(data), compressor="zstd")
        packed = compress(data)
        if how == "cut":
            writer = Writer(client, name)
            writer.send(packed[:50000])
            writer.send(packed[50000:290000])
            writer.cut()
        else:
            client.write(name, packed[:290000], finish=False)
        at = status_or_zero(client, name)
        assert 0 <= at <= len(data), at
        client.write(name, compress(data[at:]), offset=at)
        check_stored(client, data)


def test_read_zstd(client):
    """Compressed reads, from any offset of the blob."""
    for data in fresh(700000), noise(200000), b"z", bytes(5 << 20):
        client.upload(data)
        name = blob_name(digest(data), compressor="zstd")
        for offset in sorted({0, 1, len(data) // 3, len(data) - 1, len(data)}):
            got = decompress(client.read(name, offset))
            same(f"from {offset} of {len(data)}", got == data[offset:], True)
    same("in another form", decompress(client.read(blob_name(digest(data), "a/b", "zstd", "sha256"))) == data,
         True)


def test_read_zstd_refusals(client):
    """A compressed read has no limit, no offset beyond the end, and needs its blob."""
    data = fresh(5000)
    client.upload(data)
    name = blob_name(digest(data), compressor="zstd")
    for limit in 1, 10000, -1:
        with refused(Code.INVALID_ARGUMENT):
            client.read(name, 0, limit)
    for offset in len(data) + 1, -1:
        with refused(Code.OUT_OF_RANGE):
            client.read(name, offset)
    with refused(Code.NOT_FOUND):
        client.read(blob_name(digest(fresh()), compressor="zstd"))
    same("the empty blob", decompress(client.read(blob_name(EMPTY, compressor="zstd"))), b"")


def test_write_zstd_and_plain_at_once(client):
    """Writers of one blob, half of them compressed."""
    data = noise(300000)
    packed = compress(data)

    def one(number):
        if number % 2:
            return client.write(upload_name(digest(data), compressor="zstd"), packed)
        return client.write(upload_name(digest(data)), data)

    assert set(in_threads(8, one)) <= {len(data), len(packed), -1}
    check_stored(client, data)


main(globals())
