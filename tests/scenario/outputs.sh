#!/bin/sh
# Outputs of every kind: files, modes, directories, symlinks, missing ones; what is none is refused.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
make_input in
ramet run --input in --into out --output result.txt --output bin/prog --output dir --output link \
    --output dangling --output src/beside --output never --output empty_dir -- /bin/sh -c '
    echo text >result.txt
    echo "echo hi" >bin/prog; chmod 755 bin/prog
    mkdir -p dir/a/b dir/empty; echo x >dir/a/b/x; echo x >dir/same; ln -s a/b dir/to; : >dir/zero
    ln -s result.txt link; ln -s /no/where dangling
    cat src/f1 >src/beside
    mkdir empty_dir
    echo unasked >other'
same file "$(cat out/result.txt)" text
[ -x out/bin/prog ] || fail "bin/prog lost its x bit"
[ ! -x out/result.txt ] || fail "result.txt got an x bit"
same nested "$(cat out/dir/a/b/x)" x
same "link in a directory" "$(readlink out/dir/to)" a/b
[ -d out/dir/empty ] || fail "an empty directory is lost"
[ -f out/dir/zero ] && [ ! -s out/dir/zero ] || fail "an empty file is lost"
same symlink "$(readlink out/link)" result.txt
same "dangling symlink" "$(readlink out/dangling)" /no/where
same "beside inputs" "$(cat out/src/beside)" "file 1"
[ -d out/empty_dir ] || fail "an empty output directory is lost"
[ ! -e out/never ] || fail "an output that was never made exists"
[ ! -e out/other ] || fail "what was not asked for was written"
# The user's copy is the user's: writing to it harms no one.
chmod u+w out/result.txt
echo changed >out/result.txt
ramet run --input in --into again --output result.txt -- /bin/sh -c 'echo text >result.txt'
same "a blob behind a user's file" "$(cat again/result.txt)" text

# Not files: an error that names the thing, and the host goes on.
refuses ramet run --into bad --output pipe -- /bin/sh -c 'mkfifo pipe || exec /usr/bin/mkfifo pipe'
contains refusal "$(cat refused.out)" pipe
# What was bound below a directory does not come along when that is renamed: no half of it is kept.
mkdir -p moved/dir
cp -R in/. moved/dir/sub
ramet run --input moved -- /bin/true
ramet run --no-cache --input moved -- /bin/true
if ramet run --no-cache --input moved --into moved.out --output dir/made --output new -- \
    /bin/sh -c 'mv dir new; mkdir dir; : >dir/made' >refused.out 2>&1; then
	diff -r moved/dir moved.out/new || fail "a moved input is not what it was"
else
	contains "a moved input" "$(cat refused.out)" "moved into an output"
fi
counter_at_least outputs_refused 1 || fail "outputs_refused does not count"
same after "$(ramet run -- /bin/echo fine)" fine
check_idle
stop_host
