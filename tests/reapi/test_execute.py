"""Execution.Execute: stages, results, outputs, and everything that can be wrong with an action."""
import json
import time

from reapi import (blob_name, Blobs, Code, digest, EMPTY, execute_status, Execution, File, fresh, Host,
                   in_threads, Job, key, Link, main, missing_subjects, outcome, refused, running, same,
                   SHA256, shell, STAGE, stderr_of, stdout_of, tree, v2, wait_for)

INVALID, PRECONDITION = Code.INVALID_ARGUMENT.value[0], Code.FAILED_PRECONDITION.value[0]
TIMES = ["queued", "worker_start", "input_fetch_start", "input_fetch_completed", "execution_start",
         "execution_completed", "output_upload_start", "output_upload_completed", "worker_completed"]


def files(result):
    return {f.path: f for f in result.output_files}


def symlinks(result):
    return {s.path: s.target for s in result.output_symlinks}


def tree_of(client, directory):
    """The paths of an output directory: file digest and mode, link target, or None for a directory."""
    message = client.get_message(directory.tree_digest, v2.Tree)
    children = {key(digest(c.SerializeToString(deterministic=True))): c for c in message.children}
    same("children, each once", len(children), len(message.children))
    paths, used = {}, set()

    def walk(node, prefix):
        for file in node.files:
            paths[prefix + file.name] = (key(file.digest), file.is_executable)
        for link in node.symlinks:
            paths[prefix + link.name] = link.target
        for child in node.directories:
            paths[prefix + child.name] = None
            used.add(key(child.digest))
            walk(children[key(child.digest)], prefix + child.name + "/")

    walk(message.root, "")
    same("children that are used", used, set(children))
    return paths


# The stream.


def test_stages(client):
    """Stages in their order, the last one COMPLETED, and metadata in each operation."""
    execution = client.run(shell("echo hello"))
    stages = execution.stages
    same("stages in order", stages, sorted(stages))
    same("the last", stages[-1], STAGE["COMPLETED"])
    assert STAGE["UNKNOWN"] not in stages, stages
    assert execution.metadata.digest_function in (0, SHA256), execution.metadata
    same("stdout", stdout_of(client, execution.result), b"hello\n")
    same("stderr", stderr_of(client, execution.result), b"")
    same("message or status", execution.response.status.code, 0)


def test_timestamps(client):
    """A worker's name and all timestamps, each not before the one before it, around now."""
    before = time.time()
    result = client.run(shell("sleep 0.1", outputs=["a"])).result
    after = time.time()
    metadata = result.execution_metadata
    assert metadata.worker, "no worker"
    times = []
    for name in TIMES:
        stamp = getattr(metadata, name + "_timestamp")
        assert stamp.seconds, f"no {name}_timestamp"
        assert 0 <= stamp.nanos < 10**9, stamp
        times.append(stamp.seconds + stamp.nanos / 1e9)
    shown = dict(zip(TIMES, times))
    same(f"in order: {shown}", times, sorted(times))
    assert before - 0.01 <= times[0] and times[-1] <= after + 0.01, (before, shown, after)
    took = shown["execution_completed"] - shown["execution_start"]
    assert 0.09 < took < 5, took


def test_cached(host, client):
    """The second time the result comes from the cache, the same, with nothing run."""
    job = shell("echo $$; echo x >x", outputs=["x"])
    first = client.run(job).response
    same("first", first.cached_result, False)
    done = host.counter("actions_done")
    again = client.execute(job).finish()
    same("second", again.response.cached_result, True)
    same("outputs", list(again.result.output_files), list(first.result.output_files))
    same("stdout", stdout_of(client, again.result), stdout_of(client, first.result))
    same("metadata", again.result.execution_metadata, first.result.execution_metadata)
    same("actions done", host.counter("actions_done"), done)


def test_skip_cache_lookup(client):
    """skip_cache_lookup runs it again, and its result takes the old one's place."""
    job = shell("cat /proc/sys/kernel/random/uuid")
    first = stdout_of(client, client.run(job).result)
    second = client.execute(job, skip_cache_lookup=True).finish()
    same("cached_result", second.response.cached_result, False)
    assert stdout_of(client, second.result) != first, "it did not run again"
    third = client.execute(job).finish()
    same("cached_result", third.response.cached_result, True)
    same("the newer result", stdout_of(client, third.result), stdout_of(client, second.result))


def test_do_not_cache(client):
    """do_not_cache runs each time, is not stored, and is not served."""
    job = shell("cat /proc/sys/kernel/random/uuid", do_not_cache=True)
    outputs = set()
    for _ in range(3):
        execution = client.run(job)
        same("cached_result", execution.response.cached_result, False)
        outputs.add(stdout_of(client, execution.result))
    same("different outputs", len(outputs), 3)
    with refused(Code.NOT_FOUND):
        client.cached(job)


def test_do_not_cache_is_not_merged(client):
    """Two of the same in flight run twice when they are not to be cached."""
    job = shell("sleep 0.3; cat /proc/sys/kernel/random/uuid", do_not_cache=True)
    client.upload(*job.blobs.values())
    first = client.execute(job).until("EXECUTING")
    second = client.execute(job).finish()
    first.finish()
    assert first.name != second.name, "one operation for both"
    assert stdout_of(client, first.result) != stdout_of(client, second.result), "one run for both"


def test_identical_are_merged(host, client):
    """Identical actions in flight run once, also for other connections; each gets the result."""
    job = shell("sleep 0.5; cat /proc/sys/kernel/random/uuid")
    client.upload(*job.blobs.values())
    done = host.counter("actions_done")
    first = client.execute(job).until("EXECUTING")
    others = [host.client().execute(job) for _ in range(4)]
    for other in others:
        other.finish()
    first.finish()
    same("outputs", {stdout_of(client, e.result) for e in others + [first]},
         {stdout_of(client, first.result)})
    same("actions done", host.counter("actions_done"), done + 1)


def test_many_at_once(client):
    """Sixty-four streams of different actions over one connection."""
    jobs = [shell(f"echo {n}") for n in range(64)]
    client.upload(*(b for j in jobs for b in j.blobs.values()))
    executions = in_threads(64, lambda n: client.execute(jobs[n]).finish())
    same("outputs", [stdout_of(client, e.result) for e in executions], [f"{n}\n".encode() for n in range(64)])


def test_priorities():
    """What waits is run by priority: lower numbers first, 0 between, equal ones in their order."""
    with Host(workers=1) as host:
        client = host.client()
        blocker = shell("sleep 0.6")
        jobs = [shell("true") for _ in range(6)]
        client.upload(*(b for j in jobs + [blocker] for b in j.blobs.values()))
        first = client.execute(blocker).until("EXECUTING")
        waiting = []
        for job, priority in zip(jobs, [1, 0, -1, 1, None, -2]):
            waiting.append(client.execute(job, priority=priority))
            host.wait_counter("actions_queued", len(waiting))
        started = []
        for number, execution in enumerate(waiting):
            stamp = execution.finish().result.execution_metadata.execution_start_timestamp
            started.append((stamp.seconds, stamp.nanos, number))
        first.finish()
        same("order", [number for _s, _n, number in sorted(started)], [5, 2, 1, 4, 0, 3])


def test_any_priority(client):
    """A priority outside of the range runs, or is refused as an argument."""
    for priority in (1 << 31) - 1, -(1 << 31):
        status = outcome(client, shell("true"), priority=priority)
        assert status.code in (0, INVALID), status


# Outputs.


def test_output_paths(client):
    """A file, an executable, a directory, symlinks of every kind, and what is not made is left out."""
    result = client.run(shell(
        "echo f >f; : >empty; printf '#!/bin/sh\\n' >x; chmod 755 x; mkdir -p d/deep d/none;"
        " echo 1 >d/deep/1; ln -s f link; ln -s d dirlink; ln -s /absolute/nowhere abs;"
        " ln -s dangling dang; echo n >new/sub/n",
        outputs=["f", "empty", "x", "d", "link", "dirlink", "abs", "dang", "new/sub/n", "absent"])).result
    same("stderr", result.stderr_raw, b"")
    same("exit code", result.exit_code, 0)
    same("files", {p: (key(f.digest), f.is_executable) for p, f in files(result).items()},
         {"f": (key(digest(b"f\n")), False), "empty": (key(EMPTY), False),
          "x": (key(digest(b"#!/bin/sh\n")), True), "new/sub/n": (key(digest(b"n\n")), False)})
    same("symlinks", symlinks(result),
         {"link": "f", "dirlink": "d", "abs": "/absolute/nowhere", "dang": "dangling"})
    same("directories", [d.path for d in result.output_directories], ["d"])
    same("d", tree_of(client, result.output_directories[0]),
         {"deep": None, "deep/1": (key(digest(b"1\n")), False), "none": None})
    same("f", client.get(files(result)["f"].digest), b"f\n")


def test_working_directory(client):
    """Outputs are relative to the working directory, and so is the program."""
    inputs = {"w": {"tool": File(b"#!/bin/sh\nprintf made >out/o; pwd\n", True), "in": b""}}
    result = client.run(Job(["./tool"], inputs, ["out/o"], cwd="w")).result
    same("stderr", stderr_of(client, result), b"")
    same("output", {p: key(f.digest) for p, f in files(result).items()}, {"out/o": key(digest(b"made"))})
    assert stdout_of(client, result).endswith(b"/w\n"), stdout_of(client, result)


def test_older_outputs(client):
    """output_files and output_directories, of clients before 2.1."""
    result = client.run(shell(
        "echo f >f; mkdir -p d; echo 1 >d/1; ln -s f link; ln -s d dirlink; echo n >new/n; ln -s gone lost",
        output_files=["absent", "f", "link", "new/n"],
        output_directories=["absentd", "d", "dirlink", "new/d"])).result
    same("stderr", stderr_of(client, result), b"")
    same("files", {p: key(f.digest) for p, f in files(result).items()},
         {"f": key(digest(b"f\n")), "new/n": key(digest(b"n\n"))})
    same("directories", [d.path for d in result.output_directories], ["d"])
    same("file links", [(s.path, s.target) for s in result.output_file_symlinks], [("link", "f")])
    same("directory links", [(s.path, s.target) for s in result.output_directory_symlinks],
         [("dirlink", "d")])


def test_paths_win_over_older_outputs(client):
    """Where output_paths is given, the older fields do not count."""
    result = client.run(shell("echo a >a; echo b >b; mkdir d", outputs=["a"], output_files=["b"],
                              output_directories=["d"])).result
    same("outputs", [f.path for f in result.output_files] + [d.path for d in result.output_directories],
         ["a"])


def test_older_outputs_of_another_kind(client):
    """A directory where a file was asked for, or the other way round, is a failed precondition."""
    for job in (shell("mkdir o", output_files=["o"]), shell("echo >o", output_directories=["o"])):
        same("code", outcome(client, job).code, PRECONDITION)
        with refused(Code.NOT_FOUND):
            client.cached(job)


def test_empty_output_directory(client):
    """An empty directory is an output with a Tree of its own."""
    result = client.run(shell("mkdir d", outputs=["d"])).result
    same("d", tree_of(client, result.output_directories[0]), {})


def test_whole_working_directory(client):
    """The empty path stands for the whole working directory."""
    job = shell("echo new >new", {"old": b"old"}, output_directories=[""])
    status = outcome(client, job)
    if status.code == 0:
        result = client.run(job).result
        same("paths", sorted(tree_of(client, result.output_directories[0])), ["new", "old"])
    else:
        same("code", status.code, INVALID)


def test_tree_is_the_same(client):
    """The same outputs made in another order, by another action, are the same Tree."""
    makers = ["mkdir -p d/a d/b d/c; for n in 1 2 3 4 5 6 7 8 9; do echo $n >d/f$n; echo $n >d/b/g$n; done",
              "mkdir -p d/c d/b d/a; for n in 9 8 7 6 5 4 3 2 1; do echo $n >d/b/g$n; echo $n >d/f$n; done",
              "mkdir -p d/b; for n in 3 2 1 9 8 7 6 5 4; do echo $n >d/f$n; cp d/f$n d/b/g$n; done;"
              " sleep 0.1; mkdir d/a d/c"]
    results = [client.run(shell(m, outputs=["d"])).result for m in makers]
    same("Trees", len({key(r.output_directories[0].tree_digest) for r in results}), 1)


def test_tree_order(client):
    """A Tree that says it is sorted has each directory once, and parents before children."""
    result = client.run(shell("for a in x y z; do for b in p q; do mkdir -p d/$a/$b/e; echo $b >d/$a/$b/f;"
                              " done; done; echo z >d/z/only", outputs=["d"])).result
    directory = result.output_directories[0]
    assert tree_of(client, directory)
    if directory.is_topologically_sorted:
        message = client.get_message(directory.tree_digest, v2.Tree)
        known = {key(d.digest) for d in message.root.directories}
        for child in message.children:
            own = key(digest(child.SerializeToString(deterministic=True)))
            assert own in known, "a child before its parent"
            known |= {key(d.digest) for d in child.directories}


def test_directory_formats(client):
    """Output directories as a Tree, as stored Directories, or both."""
    script = "mkdir -p d/e/g d/h; echo 1 >d/e/1; echo 2 >d/2; echo 3 >d/h/3"
    for form, wants_tree, wants_root in (0, True, False), (1, False, True), (2, True, True), (9, True, False):
        result = client.run(shell(script, outputs=["d"], output_directory_format=form)).result
        directory = result.output_directories[0]
        assert not wants_tree or directory.HasField("tree_digest"), directory
        assert not wants_root or directory.HasField("root_directory_digest"), directory
        if directory.HasField("tree_digest"):
            root = client.get_message(directory.tree_digest, v2.Tree).root
            if directory.HasField("root_directory_digest"):
                same("root", key(digest(root.SerializeToString(deterministic=True))),
                     key(directory.root_directory_digest))
        if wants_root:
            listed = [d for p in client.get_tree(directory.root_directory_digest) for d in p.directories]
            same("directories", len(listed), 4)


def test_node_properties(client):
    """mtime and unix_mode of outputs when asked for, and only then."""
    script = ("echo f >f; chmod 640 f; touch -d @1234567.5 f; mkdir d; echo g >d/g; chmod 755 d/g;"
              " touch -d @99 d/g; ln -s f l")
    result = client.run(shell(script, outputs=["f", "d"])).result
    assert not files(result)["f"].HasField("node_properties"), "not asked for"
    result = client.run(shell(script, outputs=["f", "d", "l"],
                              output_node_properties=["mtime", "unix_mode"])).result
    properties = files(result)["f"].node_properties
    same("mtime", (properties.mtime.seconds, properties.mtime.nanos), (1234567, 500000000))
    same("mode", properties.unix_mode.value & 0o7777, 0o640)
    root = client.get_message(result.output_directories[0].tree_digest, v2.Tree).root
    same("mtime in the directory", root.files[0].node_properties.mtime.seconds, 99)
    same("mode in the directory", root.files[0].node_properties.unix_mode.value & 0o7777, 0o755)
    result = client.run(shell(script, outputs=["f"], output_node_properties=["unix_mode"])).result
    assert not files(result)["f"].node_properties.HasField("mtime"), "mtime was not asked for"


def test_unknown_node_property(client):
    """A node property that the host does not know is an invalid argument."""
    same("code", outcome(client, shell("true", output_node_properties=["MTime"])).code, INVALID)


def test_input_properties(client):
    """Inputs have the mtime and may be executed as their nodes say, and links are links."""
    inputs = {"f": File(b"1", mode=0o555, mtime=777), "x": File(b"2", executable=True), "p": b"3",
              "l": Link("p"), "abs": Link("/bin"), "dang": Link("nowhere"), "e": {}, "d": {"s": {"t": b"4"}}}
    result = client.run(shell("stat -c '%n %a %Y' f; test -x x && test ! -x p && test -f x && echo modes;"
                              " readlink l abs dang; find e d | sort; cat d/s/t l", inputs)).result
    same("stdout", stdout_of(client, result),
         b"f 555 777\nmodes\np\n/bin\nnowhere\nd\nd/s\nd/s/t\ne\n43")


def test_special_outputs(client):
    """A fifo is no output, a name that is no UTF-8 has no message: an error, and nothing is kept."""
    for script in ("mkfifo o", "mkdir o; mkfifo o/f", "mkdir o; : >o/$(printf 'a\\377b')",
                   "ln -s $(printf '\\377') o", "mkdir o; ln -s $(printf '\\377') o/l"):
        job = shell(script, outputs=["o"])
        status = outcome(client, job)
        assert status.code != 0 and status.message, (script, status)
        with refused(Code.NOT_FOUND):
            client.cached(job)


def test_big_output(client):
    """An output of many megabytes is read back whole."""
    size = 20 << 20
    result = client.run(shell(f"head -c {size} /dev/urandom >o; sha256sum <o", outputs=["o"])).result
    got = client.get(result.output_files[0].digest)
    same("size", len(got), size)
    same("hash", stdout_of(client, result).split()[0].decode(), digest(got).hash)


def test_inline(client):
    """stdout, stderr and output files inline when asked for, also from the cache."""
    job = shell("echo out; echo err >&2; echo f >f; echo g >g", outputs=["f", "g"])
    for cached in False, True:
        response = client.run(job, inline_stdout=True, inline_stderr=True,
                              inline_output_files=["f", "x"]).response
        same("cached_result", response.cached_result, cached)
        result = response.result
        same("raw", (result.stdout_raw, result.stderr_raw), (b"out\n", b"err\n"))
        same("contents", {f.path: f.contents for f in result.output_files}, {"f": b"f\n", "g": b""})
        same("its digest", key(files(result)["f"].digest), key(digest(b"f\n")))


def test_inline_too_much(client):
    """What is too much for one message comes as digests."""
    job = shell("head -c 6000000 /dev/zero; head -c 6000000 /dev/zero >f", outputs=["f"])
    result = client.run(job, inline_stdout=True, inline_output_files=["f"]).result
    same("sizes", (result.stdout_digest.size_bytes, result.output_files[0].digest.size_bytes),
         (6000000, 6000000))


# Missing blobs.


def subject(wanted):
    return f"blobs/{wanted.hash}/{wanted.size_bytes}"


def check_missing(client, job, lost):
    """Runs a job without the lost blobs: each must be named. Then with them."""
    client.upload(*(data for k, data in job.blobs.items() if k not in {key(d) for d in lost}))
    status = execute_status(client, job)
    same("code", status.code, PRECONDITION)
    same("subjects", sorted(missing_subjects(status)), sorted(subject(d) for d in lost))
    same("exit code after the upload", client.run(job).result.exit_code, 0)


def node(blobs, root, *path):
    """The digest of a file or directory below root."""
    for name in path:
        directory = v2.Directory.FromString(blobs[key(root)])
        root = next(n.digest for n in list(directory.files) + list(directory.directories) if n.name == name)
    return root


def test_missing_action(client):
    """A missing Action is named."""
    job = shell("true")
    check_missing(client, job, [job.digest])


def test_missing_command(client):
    """A missing Command is named."""
    job = shell(f"true {fresh()}")
    check_missing(client, job, [job.command])


def test_missing_root(client):
    """A missing input root is named."""
    job = shell("cat a", {"a": fresh()})
    check_missing(client, job, [job.root])


def test_missing_everything(client):
    """Command, files in several places and directories at once: every one of them is named."""
    job = shell("cat a b/c b/d/e f/g/h", {
        "a": fresh(), "keep": fresh(), "b": {"c": fresh(), "keep": fresh(), "d": {"e": fresh()}},
        "f": {"g": {"h": fresh()}, "keep": {"k": fresh()}}, "i": {"j": fresh()}})
    lost = [job.command] + [node(job.blobs, job.root, *p) for p in
                            (["a"], ["b", "c"], ["b", "d", "e"], ["f", "g"], ["i"])]
    check_missing(client, job, lost)


def test_missing_many(client):
    """Three hundred missing files are all named."""
    inputs = {f"d{n % 7}": {} for n in range(7)}
    for number in range(300):
        inputs[f"d{number % 7}"][f"f{number}"] = fresh()
    job = shell("true", inputs)
    lost = [digest(data) for directory in inputs.values() for data in directory.values()]
    check_missing(client, job, lost)


def test_missing_after_use(host, client):
    """Blobs that went after they were used are named too."""
    one, two = fresh(), fresh()
    inputs = {"a": {"one": one}, "b": {"two": two}}
    client.run(shell("cat a/one", {"a": {"one": one}}))
    job = shell("cat a/one b/two", inputs)
    client.upload(*job.blobs.values())
    host.drop_blob(digest(two))
    status = execute_status(client, job)
    same("subjects", missing_subjects(status), [subject(digest(two))])
    same("after the upload", stdout_of(client, client.run(job).result), one + two)


def test_missing_twice(client):
    """A blob that is used in several places is named (once is enough)."""
    shared = fresh()
    job = shell("cat a b", {"a": shared, "b": shared, "c": {"d": shared}})
    client.upload(*(data for k, data in job.blobs.items() if k != key(digest(shared))))
    status = execute_status(client, job)
    same("subjects", set(missing_subjects(status)), {subject(digest(shared))})


# Endings.


def test_exit_codes(client):
    """The exit code is the program's; a failure's outputs and text are there."""
    for code in 0, 1, 3, 126, 255:
        result = client.run(shell(f"echo out; echo err >&2; echo f >f; exit {code}", outputs=["f"])).result
        same("exit code", result.exit_code, code)
        same("text", (stdout_of(client, result), stderr_of(client, result)), (b"out\n", b"err\n"))
        same("outputs", [f.path for f in result.output_files], ["f"])


def test_no_program(client):
    """A program that is not there is exit code 127, one that cannot be run 126, with a word on stderr."""
    for argv, code in ([["/nowhere/at/all"], 127], [["./nothing"], 127], [["not-in-the-path"], 127],
                       [["./text"], 126]):
        result = client.run(Job(argv, {"text": b"no program"})).result
        same(f"exit code of {argv}", result.exit_code, code)
        assert stderr_of(client, result), "nothing on stderr"


def test_signals(client):
    """A program that a signal ended has 128 and the signal's number, as a shell says it."""
    for number in 9, 15, 11:
        result = client.run(shell(f"echo before; kill -{number} $$")).result
        same("exit code", result.exit_code, 128 + number)
        same("stdout", stdout_of(client, result), b"before\n")


def test_timeout(client):
    """A timeout is DEADLINE_EXCEEDED, at once, with what was printed before; it is not kept."""
    job = shell("echo before; echo err >&2; sleep 63.25", timeout=0.4)
    started = time.monotonic()
    response = client.run(job).response
    assert time.monotonic() - started < 5, time.monotonic() - started
    same("code", response.status.code, Code.DEADLINE_EXCEEDED.value[0])
    same("stdout", stdout_of(client, response.result), b"before\n")
    same("stderr", stderr_of(client, response.result), b"err\n")
    with refused(Code.NOT_FOUND):
        client.cached(job)
    wait_for("the end of what timed out", lambda: not running("sleep", "63.25"))


def test_timeout_ignoring_sigterm():
    """Who ignores SIGTERM is killed after the grace."""
    with Host("--kill-grace", "200") as host:
        client = host.client()
        job = shell("trap '' TERM; echo before; while :; do sleep 64.25; done", timeout=0.2)
        started = time.monotonic()
        response = client.run(job).response
        assert time.monotonic() - started < 5, time.monotonic() - started
        same("code", response.status.code, Code.DEADLINE_EXCEEDED.value[0])
        same("stdout", stdout_of(client, response.result), b"before\n")


def test_timeout_too_long():
    """A timeout above the host's limit is an invalid argument; one within it is used."""
    with Host("--timeout-default", "5", "--timeout-max", "10") as host:
        client = host.client()
        same("code", outcome(client, shell("true", timeout=11)).code, INVALID)
        same("code", outcome(client, shell("true", timeout=10)).code, 0)


def test_bad_timeouts(client):
    """A negative timeout is an invalid argument; a long one is no trouble."""
    same("negative", outcome(client, shell("true", timeout=-5)).code, INVALID)
    same("long", outcome(client, shell("true", timeout=10**6)).code, 0)


def test_background_child(client):
    """A child in the background that holds stdout does not hang the action, and is ended."""
    started = time.monotonic()
    result = client.run(shell("sleep 65.25 & echo done")).result
    assert time.monotonic() - started < 5, time.monotonic() - started
    same("stdout", stdout_of(client, result), b"done\n")
    wait_for("the child's end", lambda: not running("sleep", "65.25"))


def test_daemon(client):
    """A daemon in a session of its own does not outlive its action."""
    script = "setsid sh -c 'sleep 66.25 & sleep 66.5' >/dev/null 2>&1 & sleep 0.1; echo done"
    result = client.run(shell(script)).result
    same("stdout", stdout_of(client, result), b"done\n")
    wait_for("the daemons' end", lambda: not running("sleep", "66.25") and not running("sleep", "66.5"))


def test_stdin_is_empty(client):
    """Who reads stdin gets its end."""
    same("stdout", stdout_of(client, client.run(Job(["/bin/cat"])).result), b"")


def test_environment(client):
    """The variables are those of the Command, of any text."""
    env = {"PATH": "/usr/bin:/bin", "A": "", "B": "with space\nand line", "C": "=", "D": "\u00e9",
           "LONG": "x" * 90000}
    result = client.run(Job(["/usr/bin/env", "-0"], env=env)).result
    got = dict(v.split("=", 1) for v in stdout_of(client, result).decode().split("\0") if v)
    same("environment", {n: got.get(n) for n in env}, env)


def test_arguments(client):
    """Arguments arrive as they are, empty ones and long ones too."""
    argv = ["/bin/sh", "-c", "printf '%s|' \"$@\"", "sh", "", "a b", "*", "\u00e9\n", "-n", "x" * 100000]
    same("stdout", stdout_of(client, client.run(Job(argv)).result), ("|".join(argv[4:]) + "|").encode())


def test_much_stdout(client):
    """Megabytes of stdout and stderr."""
    result = client.run(shell("head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2")).result
    same("sizes", (len(stdout_of(client, result)), len(stderr_of(client, result))), (3000000, 2000000))


def test_unknown_platform(client):
    """A platform property that nobody knows does not keep an action from running."""
    result = client.run(shell("echo ran",
                              platform={"OSFamily": "linux", "container-image": "docker://x", "q": "z"},
                              timeout=10)).result
    same("stdout", stdout_of(client, result), b"ran\n")


def test_inputs_are_guarded(client):
    """What an action does to its inputs is not seen by the next one with these inputs."""
    inputs = {"f": b"file\n", "d": {"g": b"deep\n", "x": File(b"#!/bin/sh\necho tool\n", True)},
              "b": bytes(100000)}
    vandal = ("exec 2>/dev/null; echo bad >>f; echo bad >d/g; echo bad >>d/x; rm -rf d/g d/x; mv d e;"
              " mv f f2; truncate -s 5 b; chmod 777 d f b; touch new d/new; ln f hard; echo bad >hard; true")
    watch = "cat f d/g; d/x; wc -c <b; find . | sort"
    expected = b"file\ndeep\ntool\n100000\n.\n./b\n./d\n./d/g\n./d/x\n./f\n"
    for outputs in [], ["d/new"], ["f"], ["d"]:
        client.run(shell(vandal, inputs, outputs))
        same(f"after a vandal with outputs {outputs}",
             stdout_of(client, client.run(shell(watch, inputs)).result), expected)
    for data in b"file\n", b"deep\n", b"#!/bin/sh\necho tool\n", bytes(100000):
        client.get(digest(data))


# What is refused.


def check_invalid(client, what, job):
    status = outcome(client, job)
    same(f"code of {what} ({status.message})", status.code, INVALID)
    assert status.message, f"no message for {what}"
    with refused(Code.NOT_FOUND):
        client.cached(job)


def test_invalid_commands(client):
    """Commands that cannot be run as they are."""
    true = ["/bin/true"]
    check_invalid(client, "no arguments", Job([]))
    check_invalid(client, "an empty argv[0]", Job([""]))
    check_invalid(client, "NUL in an argument", Job(["/bin/true", "a\0b"]))
    check_invalid(client, "NUL in a variable", Job(true, env={"A": "a\0b"}))
    check_invalid(client, "a variable without a name", Job(true, env={"": "a"}))
    check_invalid(client, "= in a variable's name", Job(true, env={"A=B": "a"}))
    for path in "/absolute", "../up", "a/../../up", "trailing/", "a//b", "a/./b", ".", "..", "nul\0nul":
        check_invalid(client, f"the output {path!r}", Job(true, outputs=[path]))
        check_invalid(client, f"the output file {path!r}", Job(true, output_files=[path]))
        check_invalid(client, f"the output directory {path!r}", Job(true, output_directories=[path]))
    for cwd in "/absolute", "..", "a/../..", "nul\0nul":
        check_invalid(client, f"the working directory {cwd!r}", Job(true, cwd=cwd))
    check_invalid(client, "outputs below a file", shell("true", {"f": b"1"}, outputs=["f/out"]))


def test_invalid_actions(client):
    """Actions that are no Action, or name no blobs."""
    job = shell("true")
    for data in b"\xff\xff\xff", b"\x0a\x05\x0a\x03", bytes(30):
        job.digest = job.blobs.add(data)
        check_invalid(client, f"{data!r} as an Action", job)
    for spoil in (lambda a: a.ClearField("command_digest"), lambda a: a.ClearField("input_root_digest"),
                  lambda a: setattr(a.command_digest, "hash", "zz"),
                  lambda a: setattr(a.command_digest, "size_bytes", -1),
                  lambda a: setattr(a.input_root_digest, "hash", "../" * 21 + "a")):
        job = shell("true")
        spoil(job.message)
        job.digest = job.blobs.add_message(job.message)
        check_invalid(client, f"{job.message}", job)
    job = shell("true")
    job.message.command_digest.CopyFrom(job.blobs.add(b"\xff\xffno command"))
    job.digest = job.blobs.add_message(job.message)
    check_invalid(client, "garbage as a Command", job)


def test_invalid_digests(client):
    """Execute of what is no digest, or of another digest function."""
    for bad in v2.Digest(), v2.Digest(hash="x", size_bytes=1), v2.Digest(hash="ab" * 32, size_bytes=-1):
        with refused(Code.INVALID_ARGUMENT):
            list(client.execution.Execute(v2.ExecuteRequest(action_digest=bad)))
    with refused(Code.INVALID_ARGUMENT):
        list(client.execution.Execute(v2.ExecuteRequest()))
    job = shell("true")
    client.upload(*job.blobs.values())
    for function in 2, 5, 9, 77:
        with refused(Code.INVALID_ARGUMENT):
            client.execute(job, digest_function=function).finish()
    same("SHA-256", client.execute(job, digest_function=SHA256).finish().result.exit_code, 0)
    client.instance = "a/operations"
    with refused(Code.INVALID_ARGUMENT):
        client.execute(job).finish()


def test_invalid_trees(client):
    """Input roots with names that leave them, or twice the same."""
    one = digest(b"1")
    client.upload(b"1")
    for names in ["/etc/x"], ["../x"], [".."], ["."], [""], ["a/b"], ["a", "a"], ["nul\0nul"]:
        for kind in "files", "directories", "symlinks":
            root, blobs = v2.Directory(), Blobs()
            for name in names:
                entry = getattr(root, kind).add(name=name)
                if kind == "symlinks":
                    entry.target = "t"
                else:
                    entry.digest.CopyFrom(one if kind == "files" else tree(blobs, {}))
            job = shell("true", root=blobs.add_message(root))
            job.blobs.update(blobs)
            check_invalid(client, f"{kind} {names}", job)
    clash = v2.Directory()
    clash.files.add(name="a", digest=one)
    clash.symlinks.add(name="a", target="t")
    job = shell("true", root=digest(clash.SerializeToString()))
    job.blobs.add_message(clash)
    check_invalid(client, "a file and a link of one name", job)


def test_root_that_is_no_directory(client):
    """An input root of garbage is refused."""
    garbage = b"\xff\xff" + fresh()
    job = shell("true", root=digest(garbage))
    job.blobs.add(garbage)
    status = outcome(client, job)
    assert status.code in (INVALID, PRECONDITION), status


def test_request_metadata(host, client):
    """What the client calls its action is shown while it runs, whatever text it is."""
    for mnemonic, target in ("CppCompile", "//lib:hello"), ("\u00e9" * 80, "x\u00e9" * 80), \
            ('quote " and \\', "line\nand\ttab\x7f"), ("", "//only:target"), ("a" * 3000, ""):
        metadata = v2.RequestMetadata(action_mnemonic=mnemonic, target_id=target, action_id="a" * 64)
        header = ("build.bazel.remote.execution.v2.requestmetadata-bin", metadata.SerializeToString())
        job = shell("sleep 0.2")
        client.upload(*job.blobs.values())
        request = v2.ExecuteRequest(action_digest=job.digest)
        execution = Execution(client.execution.Execute(request, more_metadata=[header])).until("EXECUTING")
        shown = json.loads(host.ramet("ps", "--json", errors="strict"))
        labels = [p["label"] for p in shown if p["label"]]
        if target == "//lib:hello":
            assert any("CppCompile" in label and target in label for label in labels), labels
        same("exit code", execution.finish().result.exit_code, 0)


def test_results_are_readable_at_once(client):
    """What a result names can be read in any form, the moment it is there."""
    result = client.run(shell("echo a >a; yes | head -c 300000", outputs=["a"])).result
    for wanted in result.output_files[0].digest, result.stdout_digest:
        same("missing", client.missing(wanted), set())
        same("batch", client.batch_read(wanted)[0].status.code, 0)
        client.read(blob_name(wanted, compressor="zstd"))


main(globals())
