#!/bin/sh
# The gateway as the host's process: its addresses, its death, draining, the configuration file.  What it
# serves is tested in tests/reapi.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

http() { # path: "STATUS BODY"
	python3 - "$(sed -n 's/^http:/http:/p' "$RAMET_STATE/listening")$1" <<'END'
import sys
import urllib.error
import urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=10)
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
print(answer.status if hasattr(answer, "status") else answer.code, answer.read().decode())
END
}
says() { # path, what
	case $(http "$1" 2>/dev/null) in "$2"*) ;; *) false ;; esac
}
gateway_pid() { pgrep -P "$(host_pid)" ramet-gateway; }
line() { sed -n "$1p" "$RAMET_STATE/listening"; }
files_of() { find "/proc/$1/fd" -type l 2>/dev/null | wc -l; }

# No gateway is wanted, and none is there.
start_host --workers 1
[ -z "$(gateway_pid)" ] || fail "a gateway that nobody asked for"
[ ! -e "$RAMET_STATE/listening" ] || fail "a listening file without a gateway"
stop_host

# Any ports, the real ones said; a socket for its user alone.
start_host --workers 1 --listen "grpc://127.0.0.1:0,grpc://localhost:0,unix:sock" --http 127.0.0.1:0
same "addresses" "$(wc -l <"$RAMET_STATE/listening")" 4
case $(line 1) in grpc://127.0.0.1:[1-9]*) ;; *) fail "the first address: $(line 1)" ;; esac
case $(line 2) in grpc://localhost:[1-9]*) ;; *) fail "the second address: $(line 2)" ;; esac
same "the socket's address" "$(line 3)" "unix:$work/sock"
same "the socket's mode" "$(stat -c '%F %a' sock)" "socket 600"
gateway=$(gateway_pid)
contains "ramet ps" "$(ramet ps)" "gateway"
says /healthz "200 ok" || fail "healthz: $(http /healthz)"
says /readyz "200 ok" || fail "readyz: $(http /readyz)"
says /nothing 404 || fail "an unknown path: $(http /nothing)"
contains "metrics" "$(http /metrics)" "
ramet_workers_alive 1"
ramet run -- /bin/true || fail "an action beside the gateway"

# Requests leave nothing behind in it.
before=$(files_of "$gateway")
for n in 1 2 3 4; do
	says /metrics 200 || fail "metrics, again"
done
few_files() { [ "$(files_of "$gateway")" -le "$before" ]; }
must_wait_for 10 few_files

# Another host cannot have the same port, says which, and leaves this one alone.
first_state=$RAMET_STATE
taken=$(line 1)
fresh_state
refuses rametd --workers 1 --listen "$taken"
contains "what it said" "$(cat refused.out)" "${taken#grpc://}"
refused_pid=$(host_pid)
[ -z "$refused_pid" ] || must_wait_for 10 gone "$refused_pid"
[ ! -e "$RAMET_STATE/listening" ] || fail "the refused host left a listening file"
refuses rametd --workers 1 --http "$(sed -n 's/^http:\/\///p' "$first_state/listening")"
refuses rametd --workers 1 --listen "grpc://0.0.0.0:0"
contains "what it said" "$(cat refused.out)" insecure
refuses rametd --workers 1 --listen nonsense
contains "what it said" "$(cat refused.out)" listen
RAMET_STATE=$first_state
says /healthz "200 ok" || fail "the first host's gateway after the second host's try"
same "the gateway" "$(gateway_pid)" "$gateway"

# Killed: the next one is where this one was, and the host's work goes on.
before=$(cat "$RAMET_STATE/listening")
ramet run --no-cache -- /bin/sh -c "sleep 1.83; echo survived" >out 2>err &
client=$!
must_wait_for 10 is_running "sleep 1.83"
kill -KILL "$gateway"
must_wait_for 10 counter_is gateway_restarts 1
must_wait_for 20 says /readyz "200 ok"
same "the addresses of the next gateway" "$(cat "$RAMET_STATE/listening")" "$before"
[ "$(gateway_pid)" != "$gateway" ] || fail "the gateway was not killed"
wait $client || fail "an action while the gateway died: $(cat err)"
same stdout "$(cat out)" survived
expect_counter worker_deaths 0
must_wait_for 10 counter_at_least slot_repairs 1

# Draining is said while the last action runs; then all is gone.
ramet run --no-cache -- /bin/sh -c "sleep 1.87; echo last" >out 2>err &
client=$!
must_wait_for 10 is_running "sleep 1.87"
host=$(host_pid)
gateway=$(gateway_pid)
kill -TERM "$host"
must_wait_for 5 says /readyz "503 draining"
says /healthz "200 ok" || fail "healthz while it drains: $(http /healthz)"
wait $client || fail "the last action: $(cat err)"
same stdout "$(cat out)" last
must_wait_for 20 gone "$host"
must_wait_for 5 gone "$gateway"
[ ! -e "$RAMET_STATE/listening" ] || fail "a stopped host left a listening file"

# The host is killed: so is the gateway, and the next host has the same socket and port.
cat >conf <<END
# from a file
workers 1
listen = $taken,unix:$work/sock
http = 127.0.0.1:0
END
start_host -c conf
same "the address of the file" "$(line 1)" "$taken"
host=$(host_pid)
gateway=$(gateway_pid)
kill -KILL "$host"
must_wait_for 10 gone "$host"
must_wait_for 10 gone "$gateway"
start_host -c conf
same "the address of the file" "$(line 1)" "$taken"
must_wait_for 10 says /readyz "200 ok"
check_idle
stop_host
[ ! -e sock ] || fail "a stopped host left its socket"
