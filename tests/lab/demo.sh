#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# make demo: your home inside a guest at the same path, and the guest's web server on your localhost; then everything is
# as before. Each step says what it shows and is checked: the exit status is non-zero if any of it did not happen.
#
#   demo.sh           shows it and cleans up
#   demo.sh --shell   shows it, leaves you in the guest, and cleans up when you leave
# shellcheck disable=SC2016,SC2317 # commands for the other side are quoted; functions are called by name
set -u
cd "$(dirname "$0")/../.." || exit 1

if [ "$(id -u)" != 0 ]; then
    exec sudo BUILD="${BUILD:-build}" TERM="${TERM:-dumb}" "$0" "$@"
fi

user=${SUDO_USER:-$(id -un)}
home=$(getent passwd "$user" | cut -d: -f6)
build=$(realpath "${BUILD:-build}")
export HOMEPORT_BUILD=$build # for the lab
name=demo-$$
lab=tests/lab/lab.py
port=8080
note=$home/homeport-demo-$$.txt
bad=0

on_host() {
    "$lab" exec -u "$user" "$name" host "$@"
}

homeport() {
    on_host env XDG_RUNTIME_DIR="$work/run" XDG_STATE_HOME="$work/state" XDG_CONFIG_HOME="$work/config" \
        "$build/homeport" "$@"
}

# in_guest COMMAND: as the guest's login user, through ssh, as a person would.
in_guest() {
    on_host ssh -F "$ssh_config" "${tty[@]}" guest "$1"
}

# $1 is what was shown, the rest a command that is true if it is so.
check() {
    local what=$1
    shift
    if "$@"; then
        echo "  ok: $what"
    else
        echo "  FAILED: $what"
        bad=1
    fi
}

clean_up() {
    homeport down guest >/dev/null 2>&1
    "$lab" down "$name" 2>/dev/null
    rm -rf "$note" "$work"
}

# A change of the host's shows in the guest within a second: entries are kept that long.
guest_reads() {
    local end=$((SECONDS + 5))
    until [ "$(in_guest "cat '$note'")" = "$1" ]; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

answers_on() {
    local end=$((SECONDS + 10))
    until [ "$(on_host curl -gs --max-time 2 "http://$1:$port/hello.txt")" = "hello from the guest" ]; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

guest_is_refused() {
    ! in_guest "echo x > '$1'" 2>/dev/null && [ "$(cat "$1")" = "edited on the host" ]
}

says_connected() {
    homeport status guest >/dev/null
}

same_listing() {
    [ "$(in_guest "ls '$home'")" = "$(on_host ls "$home")" ]
}

work=$(mktemp -d /tmp/homeport-demo.XXXXXX)
mkdir -m 700 "$work/run" "$work/state" "$work/config"
chown -R "$user:" "$work"
tty=()
trap clean_up EXIT
trap 'exit 130' INT TERM

echo "1. A guest: its own network, processes, mounts, users and sshd, made of namespaces on this machine."
echo "   The host side stays you, with your files; only its network is one of its own, so that \`localhost\` below is"
echo "   not the localhost of your other programs."
"$lab" up --real-host "$name" || exit 1
ssh_config=${TMPDIR:-/tmp}/homeport-lab.$name/ssh-$user/config
check "ssh reaches it, as $(in_guest 'echo "$(id -un)@$(hostname), whose home is $HOME"')" in_guest true

echo "2. homeport up"
homeport up -F "$ssh_config" guest || {
    echo "  FAILED: homeport up"
    exit 1
}

echo "3. $home in the guest, at the same path"
check "the same names, $(on_host ls "$home" | wc -l) of them" same_listing
on_host sh -c 'echo "written on the host" > "$1"' sh "$note"
check "a file written on the host is read in the guest" guest_reads "written on the host"
on_host sh -c 'echo "edited on the host" > "$1"' sh "$note"
check "and again when it was edited" guest_reads "edited on the host"
check "the guest cannot change it" guest_is_refused "$note"

echo "4. A web server in the guest, on the host's localhost"
in_guest "mkdir -p /tmp/www && echo 'hello from the guest' > /tmp/www/hello.txt &&
    cd /tmp/www && (setsid python3 -m http.server -b 127.0.0.1 $port >/dev/null 2>&1 </dev/null &)"
check "http://127.0.0.1:$port answers" answers_on 127.0.0.1
check "http://[::1]:$port answers" answers_on "[::1]"

echo "5. homeport status"
homeport status guest
check "it says connected" says_connected

if [ "${1:-}" = --shell ]; then
    echo "6. You are in the guest now; \`exit\` ends it. Your home: cd $home"
    tty=(-t)
    in_guest "cd '$home' 2>/dev/null; exec bash -l"
fi

homeport down guest || bad=1
if [ "$bad" = 0 ]; then
    echo "Everything shown; the guest and all that belonged to it are gone."
else
    echo "The demo FAILED: see the lines marked above." >&2
fi
exit "$bad"
