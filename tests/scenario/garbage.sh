#!/bin/sh
# Garbage on the socket: the peer is dropped and counted, the host lives.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || skip "needs python3 to speak to a socket"

start_host --workers 1
python3 - "$RAMET_STATE/ramet.sock" <<'PY'
import os, socket, struct, sys
os.chdir(os.path.dirname(sys.argv[1]))
bad = [
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack("<I", 0xFFFFFFFF),
    struct.pack("<I", 0),
    struct.pack("<I", 5) + b"\xdd\x7f\xff\xff\xff",
    struct.pack("<I", 6) + b"\x94\x01\x01\x01\xdf\xff",
    struct.pack("<I", 65536) + b"\x91" * 65536,
    struct.pack("<I", 4) + b"\x94\x63\x63\x63",
    struct.pack(">I", 9) + b"\x00" * 9,
    b"\xff" * 4096,
]
for data in bad:
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect("ramet.sock")
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    except (BrokenPipeError, ConnectionResetError):
        pass
    s.close()
# Half a frame, then nothing; and a connection that says nothing at all.
half = socket.socket(socket.AF_UNIX)
half.connect("ramet.sock")
half.sendall(struct.pack("<I", 100) + b"\x94")
half.close()
PY
must_wait_for 10 counter_at_least peers_dropped 8
same after "$(ramet run -- /bin/echo fine)" fine
expect_counter worker_deaths 0
check_idle
stop_host
