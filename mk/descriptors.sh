#!/bin/sh
# Makes build/gen/descriptors.c: every schema of proto/ as one FileDescriptorSet, in bytes.
#
#   mk/descriptors.sh PROTOC SET OUT PROTO...
set -eu

protoc=$1
set_file=$2
out=$3
shift 3
"$protoc" --proto_path=. --descriptor_set_out="$set_file" --include_imports "$@"
{
	echo '#include "gateway/descriptors.h"'
	echo 'const uint8_t descriptors_data[] = {'
	od -An -v -tu1 "$set_file" | sed 's/[0-9][0-9]*/&,/g'
	echo '};'
	echo 'const size_t descriptors_size = sizeof(descriptors_data);'
} >"$out"
