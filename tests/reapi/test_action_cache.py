"""ActionCache: results asked for and given, and the blobs that they need."""
from reapi import (blob_name, Code, digest, EMPTY, fresh, grpc, Host, Job, key, main, refused, same, shell,
                   stderr_of, stdout_of, v2, wait_for)


def update_of(client, output=None):
    """A job that is not run, with a result for it; all uploaded."""
    output = output or fresh()
    job = Job(["/bin/true"], outputs=["out"])
    client.upload(output, *job.blobs.values())
    result = v2.ActionResult()
    result.output_files.add(path="out", digest=digest(output), is_executable=True)
    result.execution_metadata.worker = "elsewhere"
    return job, result


def outputs_job(script="mkdir -p d/e; echo a >d/a; echo b >d/e/b; echo f >f; echo out; echo err >&2"):
    return shell(script, outputs=["d", "f"])


def test_miss(client):
    """What was never run is not found."""
    with refused(Code.NOT_FOUND):
        client.cached(digest(fresh()))
    job = shell("true")
    client.upload(*job.blobs.values())
    with refused(Code.NOT_FOUND):
        client.cached(job)


def test_bad_digests(client):
    """What is no digest is an invalid argument, to ask and to update."""
    for bad in (v2.Digest(), v2.Digest(hash="x" * 64, size_bytes=3), v2.Digest(hash="ab" * 32, size_bytes=-1),
                v2.Digest(hash="AB" * 32, size_bytes=3), v2.Digest(hash="../" * 22, size_bytes=3)):
        with refused(Code.INVALID_ARGUMENT):
            client.cached(bad)
        with refused(Code.INVALID_ARGUMENT):
            client.store_result(bad, v2.ActionResult(exit_code=0))
    with refused(Code.INVALID_ARGUMENT):
        client.action_cache.GetActionResult(v2.GetActionResultRequest())
    for function in 2, 9, 77:
        with refused(Code.INVALID_ARGUMENT):
            client.store_result(digest(fresh()), v2.ActionResult(), digest_function=function)


def test_executed(client):
    """What was executed is found, and is what Execute gave."""
    job = outputs_job()
    result = client.run(job).result
    got = client.cached(job)
    for each in result, got:  # (what is inlined is another matter)
        each.stdout_raw = each.stderr_raw = b""
    same("result", got, result)


def test_update(client):
    """What was updated is found, and a second update takes its place."""
    job, result = update_of(client)
    returned = client.store_result(job, result)
    same("returned", [key(f.digest) for f in returned.output_files], [key(result.output_files[0].digest)])
    got = client.cached(job)
    same("outputs", list(got.output_files), list(result.output_files))
    same("exit code", got.exit_code, 0)
    other = fresh()
    client.upload(other)
    result.output_files[0].digest.CopyFrom(digest(other))
    client.store_result(job, result)
    same("after a second update", key(client.cached(job).output_files[0].digest), key(digest(other)))


def test_update_is_served_by_execute(client):
    """Execute answers from an uploaded result."""
    job, result = update_of(client)
    client.store_result(job, result)
    response = client.run(job).response
    same("cached_result", response.cached_result, True)
    same("outputs", list(response.result.output_files), list(result.output_files))


def test_update_everything(client):
    """Every kind of output comes back as it was given."""
    job, result = update_of(client)
    file, tree = fresh(), v2.Tree()
    tree.root.files.add(name="file", digest=digest(file))
    packed, text = tree.SerializeToString(), fresh()
    client.upload(file, packed, text)
    result.output_directories.add(path="dir", tree_digest=digest(packed))
    result.output_symlinks.add(path="link", target="../x")
    result.output_symlinks.add(path="link2", target="/absolute")
    result.stdout_digest.CopyFrom(digest(text))
    result.stderr_digest.CopyFrom(EMPTY)
    result.output_files.add(path="n\u00e4me/with space", digest=EMPTY).node_properties.mtime.seconds = 5
    client.store_result(job, result)
    got = client.cached(job)
    for field in "output_files", "output_directories", "output_symlinks":
        same(field, sorted(getattr(got, field), key=str), sorted(getattr(result, field), key=str))
    same("stdout", key(got.stdout_digest), key(result.stdout_digest))


def test_update_inlined(client):
    """A result that came with megabytes in it can be read, if it was taken."""
    for field in "stdout_raw", "contents":
        data = fresh(6 << 20)
        job, result = update_of(client, data)
        if field == "stdout_raw":
            result.stdout_raw = data
        else:
            result.output_files[0].contents = data
        try:
            client.store_result(job, result)
        except grpc.RpcError as error:
            same("code", error.code(), Code.INVALID_ARGUMENT)
            with refused(Code.NOT_FOUND):
                client.cached(job)
            continue
        for fields in {}, {"inline_stdout": True, "inline_output_files": ["out"]}:
            got = client.cached(job, **fields)
            same("output", key(got.output_files[0].digest), key(digest(data)))
            if field == "stdout_raw":
                same("stdout", stdout_of(client, got) == data, True)
        same("cached_result", client.run(job).response.cached_result, True)


def test_update_inlined_lies(client):
    """Bytes in a result that are not those of the digest beside them are never served."""
    truth, lie = fresh(), fresh()
    client.upload(truth)
    for field in "stdout_raw", "stderr_raw", "contents":
        job, result = update_of(client, truth)
        if field == "contents":
            result.output_files[0].contents = lie
        else:
            setattr(result, field, lie)
            getattr(result, field.replace("raw", "digest")).CopyFrom(digest(truth))
        try:
            client.store_result(job, result)
        except grpc.RpcError as error:
            same("code", error.code(), Code.INVALID_ARGUMENT)
            continue
        got = client.cached(job, inline_stdout=True, inline_stderr=True, inline_output_files=["out"])
        assert lie not in got.SerializeToString(), f"{field} is served"


def test_update_without_action(client):
    """A result of an action that is not in the store is taken or refused, but answered."""
    try:
        client.store_result(digest(fresh()), v2.ActionResult(exit_code=0))
    except grpc.RpcError as error:
        same("code", error.code(), Code.FAILED_PRECONDITION)


def test_update_bad_results(client):
    """Results that no action can have are invalid arguments and are not kept."""
    job, _ = update_of(client)
    good = digest(b"x")
    client.upload(b"x")

    def bad(**fields):
        return v2.ActionResult(**fields)

    one = v2.OutputFile(path="out", digest=good)
    for result in (bad(output_files=[v2.OutputFile(path="/etc/passwd", digest=good)]),
                   bad(output_files=[v2.OutputFile(path="../../up", digest=good)]),
                   bad(output_files=[v2.OutputFile(path="", digest=good)]),
                   bad(output_symlinks=[v2.OutputSymlink(path="/etc/link", target="x")]),
                   bad(output_files=[v2.OutputFile(path="out", digest=v2.Digest(hash="zz", size_bytes=1))]),
                   bad(output_files=[v2.OutputFile(path="out")]),
                   bad(output_files=[v2.OutputFile(path="out",
                                                   digest=v2.Digest(hash=good.hash, size_bytes=-1))]),
                   bad(output_files=[one], stdout_digest=v2.Digest(hash="x", size_bytes=1)),
                   bad(output_directories=[v2.OutputDirectory(path="d",
                                                              tree_digest=v2.Digest(hash="a" * 63))]),
                   bad(output_directories=[v2.OutputDirectory(path="/d", tree_digest=good)])):
        with refused(Code.INVALID_ARGUMENT):
            client.store_result(job, result)
    with refused(Code.NOT_FOUND):
        client.cached(job)


def test_update_missing_blobs(client):
    """A result whose blobs are not there is never served."""
    job, result = update_of(client)
    result.output_files.add(path="gone", digest=digest(fresh()))
    try:
        client.store_result(job, result)
    except grpc.RpcError as error:
        assert error.code() in (Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT, Code.NOT_FOUND), error
    with refused(Code.NOT_FOUND):
        client.cached(job)


def tree_files(client, directory):
    tree = client.get_message(directory.tree_digest, v2.Tree)
    return [f.digest for d in [tree.root] + list(tree.children) for f in d.files]


def test_blobs_gone(host, client):
    """Without any one of its blobs a result is not found: outputs, stdout, stderr, the Tree, its files."""
    picks = {
        "output file": lambda r: r.output_files[0].digest,
        "stdout": lambda r: r.stdout_digest,
        "stderr": lambda r: r.stderr_digest,
        "Tree": lambda r: r.output_directories[0].tree_digest,
        "file in the Tree": lambda r: tree_files(client, r.output_directories[0])[0],
        "file deep in the Tree": lambda r: tree_files(client, r.output_directories[0])[1],
    }
    for what, pick in picks.items():
        mark = fresh().decode()
        job = outputs_job(f"mkdir -p d/e; echo a{mark} >d/a; echo b{mark} >d/e/b; echo f{mark} >f;"
                          f" yes o{mark} | head -c 300000; yes e{mark} | head -c 300000 >&2")
        result = client.run(job).result
        client.cached(job)
        same("files in the Tree", len(tree_files(client, result.output_directories[0])), 2)
        print(f"  without its {what}")
        host.drop_blob(pick(result))
        with refused(Code.NOT_FOUND):
            client.cached(job)
        again = client.run(job).response
        same(f"cached_result without its {what}", again.cached_result, False)
        client.cached(job)


def test_inline(client):
    """stdout, stderr and files are inlined when asked for; files, and text that is long, only then."""
    out, err = b"out\n" * 20000, b"err\n" * 20000
    job = shell("yes out | head -n 20000; yes err | head -n 20000 >&2; echo f >f; echo g >g",
                outputs=["f", "g"])
    client.run(job)
    got = client.cached(job)
    same("not asked for", (got.stdout_raw, got.stderr_raw, {f.contents for f in got.output_files}),
         (b"", b"", {b""}))
    same("stdout", client.get(got.stdout_digest), out)
    got = client.cached(job, inline_stdout=True)
    same("stdout alone", (got.stdout_raw, got.stderr_raw), (out, b""))
    same("its digest", key(got.stdout_digest), key(digest(out)))
    got = client.cached(job, inline_stderr=True, inline_output_files=["g", "nothing", "", "/g", "../g"])
    same("stderr and g", (got.stdout_raw, got.stderr_raw, {f.path: f.contents for f in got.output_files}),
         (b"", err, {"f": b"", "g": b"g\n"}))


def test_short_text(client):
    """A line of text comes inline or by its digest, and what is both is the same."""
    job = shell("echo out; echo err >&2")
    client.run(job)
    for fields in {}, {"inline_stdout": True, "inline_stderr": True}:
        got = client.cached(job, **fields)
        same("text", (stdout_of(client, got), stderr_of(client, got)), (b"out\n", b"err\n"))
        for raw, wanted in (got.stdout_raw, got.stdout_digest), (got.stderr_raw, got.stderr_digest):
            assert not raw or not wanted.hash or key(digest(raw)) == key(wanted), (raw, wanted)
            assert raw or not fields, "not inline, though asked for"


def test_inline_too_much(client):
    """What does not fit into a message is left to be read."""
    job = shell("head -c 5000000 /dev/zero >big; head -c 3000000 /dev/zero | tr '\\0' x >half;"
                " head -c 3000000 /dev/zero | tr '\\0' y >half2; head -c 3000000 /dev/zero; echo f >f",
                outputs=["big", "half", "half2", "f"])
    client.run(job)
    got = client.cached(job, inline_stdout=True, inline_output_files=["big", "half", "half2", "f"])
    same("sizes", {f.path: f.digest.size_bytes for f in got.output_files},
         {"big": 5000000, "half": 3000000, "half2": 3000000, "f": 2})
    for file in got.output_files:
        assert file.contents == b"" or key(digest(file.contents)) == key(file.digest), file.path
    same("stdout", got.stdout_digest.size_bytes, 3000000)


def test_instances_are_apart(host):
    """Each instance has results of its own."""
    job = shell("echo hello", salt=b"apart")
    first, second, deep = (host.client(name) for name in ("one", "two", "one/two"))
    same("first", first.run(job).response.cached_result, False)
    same("again", first.run(job).response.cached_result, True)
    for other in second, deep, host.client():
        with refused(Code.NOT_FOUND):
            other.cached(job)
    same("second", second.run(job).response.cached_result, False)
    first.cached(job)
    second.cached(job)
    updated, result = update_of(first)
    first.store_result(updated, result)
    with refused(Code.NOT_FOUND):
        second.cached(updated)


def test_failures_are_not_kept(client):
    """An action that failed, or that is not to be cached, is not found."""
    failing, uncached = shell("exit 3"), shell("true", do_not_cache=True)
    same("exit code", client.run(failing).result.exit_code, 3)
    same("exit code", client.run(uncached).result.exit_code, 0)
    for job in failing, uncached:
        with refused(Code.NOT_FOUND):
            client.cached(job)


def test_after_a_restart():
    """Results and their blobs are there after a stop, and after a kill."""
    with Host() as host:
        client = host.client()
        job = outputs_job()
        result = client.run(job).result
        stored, given = update_of(client)
        client.store_result(stored, given)
        for end in host.stop, host.kill:
            end()
            host.start()
            client = host.client()
            got = client.cached(job)
            same("outputs", list(got.output_files), list(result.output_files))
            same("updated", list(client.cached(stored).output_files), list(given.output_files))
            client.read(blob_name(got.output_files[0].digest))
        wait_for("workers", lambda: host.counter("workers_alive") == 2)


main(globals())
