# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Sourced after common.sh: download packages of one Debian suite, whether the machine follows that suite or not.

apt=() # options for every apt command here

# from_suite SUITE COMMAND…: run COMMAND, which downloads with "${apt[@]}", and once more with fresh lists if it fails.
from_suite() {
	local suite=$1
	shift
	apt=()
	if [ "$suite" = "$VERSION_CODENAME" ]; then
		with_fresh_lists "$@"
	else
		private_options "$suite"
		quietly "$@" 2>/dev/null || { patiently apt-get -qq "${apt[@]}" update && quietly "$@"; }
	fi
}

# The server from which this machine has its own suite.
archive() {
	local server
	server=$(apt-get update --print-uris | sed -n "s#^'\(.*\)/dists/$VERSION_CODENAME/InRelease'.*#\1#p" | head -n 1)
	[ -n "$server" ] || die "apt's sources on this machine do not list $VERSION_CODENAME, so Debian's server cannot be told"
	echo "$server"
}

# A suite that this machine does not follow gets sources, lists and caches of its own, so that the machine's stay as
# they are. Server and key are those that the machine uses for the suite's base.
private_options() {
	local suite=$1 base=${1%%-*} own=$cache/apt/$1 server keys
	server=$(archive)
	keys=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^Signed-By: *\(\/.*\)/\1/p' | tr ' ' '\n')
	# shellcheck disable=SC2086 # one word each
	keys=$(printf '%s\n' /usr/share/keyrings/debian-archive-keyring.gpg $keys | sort -u |
		while read -r key; do [ ! -e "$key" ] || echo "$key"; done | paste -sd,)
	mkdir -p "$own/lists/partial" "$own/cache/archives/partial"
	printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$server" "$suite" >"$own/sources.list"
	[ "$base" = "$VERSION_CODENAME" ] || printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$server" "$base" >>"$own/sources.list"
	apt=(-o "APT::Default-Release=$suite" -o "Dir::Etc::sourcelist=$own/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$own/lists"
		-o "Dir::Cache=$own/cache" -o APT::Sandbox::User=)
}

# download_to FOLDER PACKAGE…
download_to() {
	local folder=$1
	shift
	run_child env --chdir="$folder" apt-get -qq "${apt[@]}" -o APT::Sandbox::User= download "$@"
}
