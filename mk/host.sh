#!/bin/sh
# Starts the host of `make run`, unless one runs: mk/host.sh PROGRAMS STATE LISTEN HTTP
# Where an address is taken by somebody else it takes a free port instead, and says so.
set -eu

programs=$1
state=$2

start() { # listen, http
	"$programs/rametd" --state "$state" --listen "$1" --http "$2" 2>&1
}

said=$(start "$3" "$4") && exit 0
case $said in
*'in use by'*) exit 0 ;;
*'cannot listen'*)
	echo "$said: taking a free port instead" >&2
	said=$(start grpc://127.0.0.1:0 127.0.0.1:0) && exit 0
	;;
esac
echo "$said" >&2
exit 1
