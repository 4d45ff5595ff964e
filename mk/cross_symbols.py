"""Is whatever our Mach-O objects leave undefined really there on a Mac?

    cross_symbols.py --target T --seed OBJECT --expect NAME... OBJECTS_DIR

A symbol must be defined by another of our objects, exported by macOS's C library as the cross
compiler describes it (libSystem.tbd), or exported by one of the named third-party libraries.  The
seed calls what only Linux has: it must be found out, else this check is worth nothing.
"""
import argparse
import glob
import os
import re
import struct
import subprocess
import sys

import ziglang

LIBRARIES = ("msgpackc", "event_core", "crypto", "protobuf-c", "jansson", "bsd",
             "grpc", "gpr", "zstd", "event_extra")
# Exported by libbsd on Linux, but on a Mac its own C library's business (or nobody's).
TBD_ARCH = {"aarch64-macos": ("arm64-macos", "arm64e-macos"), "x86_64-macos": ("x86_64-macos",)}

MH_MAGIC_64, LC_SYMTAB = 0xFEEDFACF, 2
N_STAB, N_TYPE, N_EXT, N_UNDF = 0xE0, 0x0E, 0x01, 0x00


def mach_o_symbols(path):
    """(defined, undefined) external names of a 64-bit object."""
    with open(path, "rb") as f:
        data = f.read()
    magic, _cpu, _sub, _type, ncmds = struct.unpack_from("<5I", data, 0)
    if magic != MH_MAGIC_64:
        raise ValueError(f"{path}: not a 64-bit Mach-O object")
    defined, undefined, at = set(), set(), 32
    for _ in range(ncmds):
        command, size = struct.unpack_from("<2I", data, at)
        if command == LC_SYMTAB:
            symoff, nsyms, stroff, _strsize = struct.unpack_from("<4I", data, at + 8)
            for i in range(nsyms):
                strx, kind, _sect, _desc, value = struct.unpack_from("<IBBHQ", data, symoff + 16 * i)
                if kind & N_STAB or not kind & N_EXT:
                    continue
                end = data.index(b"\0", stroff + strx)
                name = data[stroff + strx:end].decode()
                common = kind & N_TYPE == N_UNDF and value != 0
                (undefined if kind & N_TYPE == N_UNDF and not common else defined).add(name)
        at += size
    return defined, undefined


def system_symbols(target):
    path = os.path.join(os.path.dirname(ziglang.__file__), "lib/libc/darwin/libSystem.tbd")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    found = set()
    pattern = re.compile(r"- targets: +\[([^\]]*)\]\s+((?:[a-z-]+: +\[[^\]]*\]\s+)+)")
    for targets, lists in pattern.findall(text):
        if any(t in re.split(r"[,\s]+", targets.strip()) for t in TBD_ARCH[target]):
            for kind, names in re.findall(r"([a-z-]+): +\[([^\]]*)\]", lists):
                if kind in ("symbols", "weak-symbols", "thread-local-symbols"):
                    found |= {n.strip("'\"") for n in re.split(r"[,\s]+", names) if n}
    if "_printf" not in found or "_open" not in found:
        raise ValueError(f"{path}: no C library found in it")
    return found


def library_symbols():
    found = set()
    for name in LIBRARIES:
        paths = glob.glob(f"/usr/lib/*/lib{name}.so") + glob.glob(f"/usr/lib/lib{name}.so")
        if not paths:
            raise ValueError(f"lib{name}.so: not here; make deps")
        path = paths[0]
        with open(path, "rb") as f:
            if f.read(4) != b"\x7fELF":  # a linker script that names the real one
                f.seek(0)
                path = re.search(rb"(/\S+\.so[.\d]*)", f.read()).group(1).decode()
        listing = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True)
        found |= {"_" + line.split()[-1].split("@")[0] for line in listing.stdout.splitlines()}
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True, choices=TBD_ARCH)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--expect", action="append", default=[])
    parser.add_argument("objects")
    args = parser.parse_args()

    seed = os.path.realpath(args.seed)
    defined, wanted = set(), {}
    count = 0
    for directory, _dirs, files in os.walk(args.objects):
        for path in (os.path.join(directory, f) for f in files if f.endswith(".o")):
            if os.path.realpath(path) == seed:
                continue
            count += 1
            has, needs = mach_o_symbols(path)
            defined |= has
            for name in needs:
                wanted.setdefault(name, os.path.relpath(path, args.objects))
    available = defined | system_symbols(args.target) | library_symbols()

    strange = {name[1:] for name in mach_o_symbols(args.seed)[1] - available}
    if strange != set(args.expect):
        print(f"FAIL cross/{args.target}: of the seeded Linux-only calls {args.expect} it found {sorted(strange)}")
        sys.exit(1)
    absent = sorted(set(wanted) - available)
    for name in absent:
        print(f"FAIL cross/{args.target}: {wanted[name]}: {name[1:]}: not on a Mac")
    if absent:
        sys.exit(1)
    print(f"ok   cross/{args.target}: {count} objects, {len(wanted)} symbols; the seeded calls were found")


main()
