#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Installs what building and testing homeport need, on Debian and Ubuntu, and asks for nothing. When everything is
# there already, apt is not called and no privilege is needed. Refuses a libssh that does not verify GCM tags.
#
#   deps.sh        everything
#   deps.sh long   and what the long tests run beside
#   deps.sh vm     and what the tests in VMs are made with, which is for x86_64 and for Debian alone
#   deps.sh demo   what building and the demo need: no compilers to compare, no linters, no peers
set -eu

# Debian's first libssh 0.10 that rejects a tampered packet (CVE-2026-59847); vanilla 0.10.6 does not.
libssh_wanted=0.10.6-0+deb12u3

packages=(
    # building
    build-essential pkg-config libfuse3-dev libssh-dev libssl-dev libevent-dev libyaml-dev libseccomp-dev uthash-dev
    # the guest of namespaces
    python3 fuse3 sudo openssh-server openssh-client iproute2 procps util-linux curl
)
[ "${1:-}" = demo ] || packages+=(
    # unit tests and fuzzing
    libcmocka-dev clang libclang-rt-14-dev llvm
    # end-to-end tests
    openssh-sftp-server python3-pytest python3-pytest-xdist python3-yaml python3-jsonschema attr acl libcap2-bin
    git rsync sshfs rclone nftables
    systemd strace openssl
    # shells to log in with, or to complete in, and another sh
    busybox-static csh fish tcsh zsh
    # programs run on the mount
    ccache dbench patch sqlite3 stress-ng vim-tiny
    # the bench
    fio
    # lint
    clang-format clang-tidy cppcheck mandoc shellcheck
)
[ "${1:-}" != vm ] || packages+=(qemu-system-x86 qemu-utils mmdebstrap debhelper)
if [ "${1:-}" = long ]; then
    packages+=(postgresql bind9-dnsutils iperf3 redis-server python3-websockets debhelper lintian)
    # It may be here in a package of another name.
    command -v npm >/dev/null || packages+=(npm)
fi

missing() {
    local p
    for p in "${packages[@]}"; do
        # Of another architecture it may be here too, and does not count.
        dpkg-query -W -f='${Architecture} ${db:Status-Status}\n' "$p" 2>/dev/null |
            grep -qE "^($architecture|all) installed\$" || echo "$p"
    done
}

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not Debian or Ubuntu; install what corresponds to: ${packages[*]}" >&2
    exit 1
fi

architecture=$(dpkg --print-architecture)
mapfile -t wanted < <(missing)
if [ "${#wanted[@]}" -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "deps: not root and no sudo; as root run: apt-get install ${wanted[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    echo "deps: installing ${wanted[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}"
    # The package starts a server for everybody; only the lab's guest needs one, and starts its own.
    if [[ " ${wanted[*]} " == *" openssh-server "* ]] && command -v systemctl >/dev/null; then
        echo "deps: openssh-server is here for the guest of the tests; this machine's own is left switched off"
        "${as_root[@]}" systemctl disable --quiet --now ssh.service ssh.socket 2>/dev/null || true
    fi
fi

libssh_here=$(dpkg-query -W -f='${Version}' libssh-dev)
if ! dpkg --compare-versions "$libssh_here" ge "$libssh_wanted"; then
    echo "deps: libssh-dev $libssh_here does not verify what it decrypts (CVE-2026-59847);" \
        "$libssh_wanted or later is needed" >&2
    exit 1
fi
