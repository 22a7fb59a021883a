#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
#   deps-cross.sh ARCH FOLDER
#
# What building homeport-guest for another architecture needs, on Debian: its compiler, an emulator to test with, and
# the libraries, which are unpacked into FOLDER. They are not installed: their packages replace this machine's own
# (libevent-dev is for one architecture at a time), and nothing but this build has a use for them.
set -eu

arch=$1
folder=$2
case "$arch" in
    aarch64) debian=arm64 ;;
    *) echo "deps-cross: $arch: only aarch64 is known here" >&2; exit 1 ;;
esac
compiler=gcc-$arch-linux-gnu
libraries=(libfuse3-dev libevent-dev libssl-dev)

wanted=()
for p in "$compiler" qemu-user-static; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || wanted+=("$p")
done
if [ "${#wanted[@]}" -gt 0 ]; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    echo "deps-cross: installing ${wanted[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}"
fi
[ -e "$folder/complete" ] && exit 0

# An apt of its own: the same sources, another architecture, no system to install into.
rm -rf "$folder"
mkdir -p "$folder/apt/state/lists/partial" "$folder/apt/cache/archives/partial" "$folder/debs" "$folder/root"
folder=$(cd "$folder" && pwd)
: >"$folder/apt/status"
options=(-qq -o "APT::Architecture=$debian" -o "APT::Architectures=$debian" -o "Dir::State=$folder/apt/state"
    -o "Dir::State::status=$folder/apt/status" -o "Dir::Cache=$folder/apt/cache" -o APT::Sandbox::User=root)
echo "deps-cross: unpacking ${libraries[*]} for $debian into $folder"
apt-get "${options[@]}" update
(cd "$folder/debs" && apt-get "${options[@]}" download "${libraries[@]}")
for deb in "$folder"/debs/*.deb; do
    dpkg-deb -x "$deb" "$folder/root"
done
rm -r "$folder/apt" "$folder/debs"
: >"$folder/complete"
