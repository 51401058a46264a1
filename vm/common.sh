# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by the scripts beside it: where things are, how to say something, how to ask apt.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034 # for those who source this
cache=${XDG_CACHE_HOME:-$HOME/.cache}/semshare

say() { printf 'semshare: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# lock FILE: one at a time past here, among all processes that lock FILE, until this script ends.
lock() {
	mkdir -p "$(dirname "$1")"
	exec 9>"$1"
	flock -n 9 && return
	say "waiting for another semshare that is working on ${1%.lock}"
	run_child flock 9
}

# make_once PLACE LAYOUT FUNCTION: see to it that the folder PLACE is there, and in that layout, which its file `layout`
# tells. Else FUNCTION fills the folder $new, and only when that is whole does it take the place of what was there.
make_once() {
	is_made "$1" "$2" && return
	need_debian
	lock "$1.lock"
	is_made "$1" "$2" && return
	rm -rf "$1".new-* # of one that was killed
	new=$(mktemp -d "$1.new-XXXXXX")
	chmod 755 "$new"
	trap 'end_child; rm -rf "$new"' EXIT
	"$3"
	echo "$2" >"$new/layout"
	rm -rf "$1"
	mv -T "$new" "$1"
	trap - EXIT
}
is_made() { [ "$(cat "$1/layout" 2>/dev/null)" = "$2" ]; }

# kernel_line NAME: its line in vm/kernels.
kernel_line() { awk -v name="$1" '$1 == name' "$top/vm/kernels"; }

# run_child COMMAND…: run what takes a while, so that it ends with this script, however that ends: a script that is told
# to end leaves its children behind, at work. One that needs it gone before it tidies up calls end_child in its EXIT trap.
run_child() {
	local status=0
	start_child "$@"
	wait "$child" || status=$?
	child=
	return "$status"
}
start_child() {
	as_child "$@" &
	child=$!
}
# as_child COMMAND…: for $(…), where run_child ties it to the subshell only. It takes the place of the calling shell.
as_child() { exec setpriv --pdeathsig TERM "$@"; }
child=
end_child() { # [SIGNAL]
	[ -z "$child" ] || { kill -s "${1:-TERM}" "$child" && wait "$child"; } || true
} 2>/dev/null

on_debian() {
	[ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ] && command -v apt-get >/dev/null &&
		. /etc/os-release && [ "$ID" = debian ]
}

need_debian() {
	on_debian || die "the virtual machine is made from Debian packages and needs Debian 12 on x86-64." \
		"Without it everything but the kernel module still works: pip install . && semshare demo"
}

can_be_root() { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }

root=() # what to put before a command that only root may run
[ "$(id -u)" = 0 ] || root=(sudo)
as_root() { "${root[@]}" "$@"; }

# with_fresh_lists COMMAND…: try it, and once more after `apt-get update`, which a machine that is up to date is spared.
with_fresh_lists() {
	quietly "$@" 2>/dev/null && return
	can_be_root || die "the package lists are missing or old: not root, and no sudo here. As root: apt-get update"
	say "apt-get update: the package lists are missing or old"
	patiently as_root apt-get -qq update
	quietly "$@"
}

# quietly COMMAND…: what it says is shown only if it fails.
quietly() {
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 || status=$?
	[ "$status" = 0 ] || cat "$log" >&2
	rm "$log"
	return "$status"
}

# patiently COMMAND…: apt waits for dpkg's lock but not for the one on the lists, so try for a minute.
patiently() {
	local try
	for try in 1 2 3 4 5 6; do
		quietly "$@" && return
		[ "$try" = 6 ] || sleep 10
	done
	return 1
}
