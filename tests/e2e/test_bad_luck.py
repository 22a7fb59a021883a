# SPDX-License-Identifier: MIT
"""Bad input and bad luck, a row each: the exact line, the exit status, and everything as it was before.

Rows for which waiting may help (a VM that still boots) go on trying until --timeout; the others end at once.
"""
import os
import re
import shutil
import time

import pytest

from conftest import wait_until

SHA = r"SHA256:[A-Za-z0-9+/]{43}"
ADDRESS = r"10\.\d+\.0\.2"


class Row:
    """`line` is a regular expression for all of stderr; `before` and `after` get the fixtures by name."""

    def __init__(self, name, line, args=(), status=1, host="guest", timeout="2s", before=None, after=None, out=""):
        self.name, self.line, self.args, self.status, self.host = name, line, list(args), status, host
        self.timeout, self.before, self.after, self.out = timeout, before, after, out


def other_key(f):
    """A key pair the guest does not know, in the host's home."""
    f.host.cmd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/home/me/other"], user="me")
    return open(f.home / "other.pub").read().split()[:2]


def only_other_key(f):
    """A configuration with a key nobody accepts. IdentityFile is a list in ssh: -i would only add to it."""
    other_key(f)
    text = open(f.lab.ssh_config()).read()
    f.home.write("config", re.sub(r"IdentityFile .*", "IdentityFile /home/me/other", text))


def changed_host_key(f):
    f.home.write("known", f"{f.lab.guest.address} {' '.join(other_key(f))}\n")


def in_guest(command, undo=None):
    def do(f):
        f.guest.cmd(command)
        if undo:
            f.undo.append(lambda: f.guest.cmd(undo, check=False))
    return do


CACHE = "install -d -o me -g me -m 700 /home/me.guest/.cache"
KERNEL_ARCH = "/proc/sys/kernel/arch"  # Linux 6.1
PLACES = "/home/me.guest/.cache /tmp"
NO_CACHE = f"umount {PLACES}"


def bare(command="true", undo="true"):
    """A guest without homeport-guest, and so without what was brought there before."""
    gone = "mv /usr/local/bin/homeport-guest /usr/local/bin/gone; rm -rf /home/me.guest/.cache; "
    return in_guest(gone + command, f"{undo}; mv /usr/local/bin/gone /usr/local/bin/homeport-guest")


def key_option(option):
    def do(f):
        path = f.guest.path("/home/me.guest/.ssh/authorized_keys")
        keys = open(path).read()
        f.undo.append(lambda: open(path, "w").write(keys))
        with open(path, "w") as file:
            file.write("".join(f"{option} {key}\n" for key in keys.splitlines()))
    return do


def login_shell(shell):
    return in_guest(f"sed -i 's,^\\(me:.*:\\).*,\\1{shell},' /etc/passwd", "sed -i 's,^\\(me:.*:\\).*,\\1/bin/bash,' /etc/passwd")


def bashrc(text):
    def do(f):
        path = f.guest.path("/home/me.guest/.bashrc")
        with open(path, "w") as file:
            file.write(text)
        f.undo.append(lambda: os.unlink(path))
    return do


def full_disk(f):
    f.host.cmd("mkdir -p /mnt/full && mount -t tmpfs -o size=16k,mode=777 x /mnt/full && head -c 1M /dev/zero >/mnt/full/x;"
               "true")
    f.env["XDG_STATE_HOME"] = "/mnt/full"
    f.undo.append(lambda: f.host.cmd("umount /mnt/full"))


def open_folder(f):
    os.makedirs(f.homeport.env["XDG_RUNTIME_DIR"] + "/homeport/guest")
    for folder in ("homeport", "homeport/guest"):
        path = f"{f.homeport.env['XDG_RUNTIME_DIR']}/{folder}"
        os.chown(path, 1000, 1000)
        os.chmod(path, 0o755)


ROWS = [
    # ------------------------------------------------------------------------------------------------ the connection
    Row("wrong host", r"homeport: (up: gave up: )?nowhere.invalid: the name nowhere.invalid cannot be resolved: "
        r"(Temporary failure in name resolution; is the network up, and its name server\?"
        r"|Name or service not known; check the spelling, or that its Host entry in ~/.ssh/config has a HostName)",
        host="nowhere.invalid"),
    Row("refused", rf"homeport: up: gave up: guest: {ADDRESS} port 1: connection refused; "
        r"is sshd running there, and on this port\?", ["-p", "1"]),
    Row("no route", r"homeport: up: gave up: guest: 10\.99\.0\.1 port 22: Network is unreachable; "
        r"is the machine running, and is the network up\?", ["-o", "HostName=10.99.0.1"]),
    Row("no route, IPv6", r"homeport: up: gave up: guest: 2001:db8::1 port 22: Network is unreachable; "
        r"is the machine running, and is the network up\?", ["-o", "HostName=2001:db8::1"]),
    Row("changed key", rf"homeport: guest: host key has changed: it is {SHA}, /home/me/known:1 has another; somebody may be "
        rf"listening in; if the host was made anew, remove the old key with 'ssh-keygen -f /home/me/known -R \"{ADDRESS}\"'",
        ["-o", "UserKnownHostsFile=/home/me/known"], before=changed_host_key),
    Row("unknown key", rf"homeport: guest: host key {SHA} is not known; add it with 'ssh-keyscan -t ed25519 {ADDRESS} >> "
        rf"/home/me/known' or give --host-key {SHA}", ["-o", "UserKnownHostsFile=/home/me/known"]),
    Row("another key than the pinned one", rf"homeport: guest: host key is {SHA}, but {SHA} is the one to expect; somebody "
        r"may be listening in; if the host was made anew, give its new key", ["--host-key", "SHA256:" + "A" * 43]),
    Row("no key the guest accepts", rf"homeport: guest: none of your keys is accepted for me; put one there with "
        rf"'ssh-copy-id me@{ADDRESS}'", ["-F", "/home/me/config"], before=only_other_key),
    Row("no such user", rf"homeport: guest: none of your keys is accepted for ghost; put one there with "
        rf"'ssh-copy-id ghost@{ADDRESS}'", ["-o", "User=ghost"], timeout="20s"),
    Row("no key file", r'homeport: -i: identityFile: "/home/me/none" does not exist; create it or correct the path',
        ["-i", "/home/me/none"], status=2),
    # ----------------------------------------------------------------------------------------- the other side of it
    Row("no homeport-guest there", "", status=0, before=bare(), out="mount /home/me: /home/me, read-only\n",
        timeout="20s"),
    Row("no homeport-guest there, and no build for it", r"homeport: guest: no homeport-guest is here for the guest, which is "
        r"Linux vax \(here: .*x86_64.*\); build it for there \(CONTRIBUTING.md\), or install homeport-guest [0-9.]+ in the "
        r"guest", before=bare("printf '#!/bin/sh\\necho Linux vax\\n' >/usr/local/bin/uname; chmod 755 /usr/local/bin/uname; "
                              "echo vax >/tmp/arch; ! [ -e {0} ] || mount --bind /tmp/arch {0}".format(KERNEL_ARCH),
                              f"rm /usr/local/bin/uname; umount {KERNEL_ARCH}"), timeout="20s"),
    Row("no room for it", r"homeport: guest: there is no place for homeport-guest in the guest: "
        r"/home/me.guest/.cache/homeport: No space left on device, /run/user/2000/homeport-guest: No such file or directory, "
        r"/tmp/homeport-2000: No space left on device; make one of these possible, or install homeport-guest [0-9.]+ in the "
        r"guest", timeout="30s", before=bare(f"{CACHE} && for d in {PLACES}; do mount -t tmpfs -o size=1m,mode=1777 x $d; done", NO_CACHE)),
    Row("no room for a folder", r"homeport: guest: there is no place for homeport-guest in the guest: "
        r"/home/me.guest/.cache/homeport: No space left on device, /run/user/2000/homeport-guest: No such file or directory, "
        r"/tmp/homeport-2000: No space left on device; make one of these possible, or install .*", timeout="20s",
        before=bare(f"{CACHE} && for d in {PLACES}; do mount -t tmpfs -o nr_inodes=1,mode=1777 x $d; done", NO_CACHE)),
    Row("it may not be run anywhere", r"homeport: guest: there is no place for homeport-guest in the guest: "
        r"/home/me.guest/.cache/homeport: nothing may be executed there, /run/user/2000/homeport-guest: No such file or "
        r"directory, /tmp/homeport-2000: nothing may be executed there; make one of these possible, or install .*",
        before=bare(f"{CACHE} && for d in {PLACES}; do mount -t tmpfs -o noexec,mode=1777 x $d; done", NO_CACHE), timeout="20s"),
    Row("a folder of another user's in its place", r"homeport: guest: there is no place for homeport-guest in the guest: "
        r"/home/me.guest/.cache/homeport: nothing may be executed there, /run/user/2000/homeport-guest: No such file or "
        r"directory, /tmp/homeport-2000: it belongs to another user; make one of these possible, or install .*",
        before=bare(f"{CACHE} && mount -t tmpfs -o noexec,mode=1777 x /home/me.guest/.cache && mkdir -m 777 /tmp/homeport-2000",
                    "umount /home/me.guest/.cache; rm -rf /tmp/homeport-2000"), timeout="20s"),
    Row("a command of the key's", r"homeport: guest: the guest does not run what homeport asks for; before it ended it "
        r"printed \"only backups here\"; the login shell, a ForceCommand of sshd's or a command= of the key stands in the way: "
        r"use a login that may run sh", before=key_option('command="echo only backups here"'), timeout="20s"),
    Row("a command of the key's that shows ours", r"homeport: guest: the guest does not run what homeport asks for; before it "
        r"ended it printed \"refused: exec sh -c .*\"; the login shell, .*",
        before=key_option('command="echo refused: $SSH_ORIGINAL_COMMAND"'), timeout="20s"),
    Row("a key for files alone", r"homeport: guest: the guest does not run what homeport asks for; before it ended it "
        r"printed \"This service allows sftp connections only.\"; the login shell, .*",
        before=key_option('command="internal-sftp"'), timeout="20s"),
    Row("a command of the key's that says nothing", r"homeport: up: gave up: guest: the guest does not run what homeport asks "
        r"for; for 10 seconds it printed nothing; the login shell, .*", before=key_option('command="cat >/dev/null"'),
        timeout="12s"),
    Row("no shell", r"homeport: guest: the guest does not run what homeport asks for; before it ended it printed \"This account "
        r"is currently not available.\"; the login shell, .*", before=login_shell("/usr/sbin/nologin"), timeout="20s"),
    Row("a restricted shell", r"homeport: guest: the guest does not run what homeport asks for; before it ended it printed \""
        r"rbash: .*exec: restricted\"; the login shell, .*", before=login_shell("/bin/rbash"), timeout="20s"),
    Row("no sh", r"homeport: guest: the guest does not run what homeport asks for; before it ended it printed \"bash: line 1: "
        r"exec: sh: not found\"; the login shell, .*", before=bashrc("PATH=/nowhere\n"), timeout="20s"),
    Row("no homeport-guest at the place named", r"homeport: guest: /nowhere/hg was not found in the guest: .*: No such file "
        r"or directory; correct --guest-command, or leave it out: homeport brings its own along",
        ["--guest-command", "/nowhere/hg"]),
    Row("garbage", r"homeport: up: gave up: guest: head ended in the guest",
        ["--guest-command", "head -c 4096 /dev/urandom #"]),
    Row("garbage without end", r"homeport: up: gave up: guest: what answers is not homeport-guest: it prints without end",
        ["--guest-command", "cat /dev/urandom #"]),
    Row("a banner", "", status=0, before=bashrc("echo Welcome to the guest; head -c 3000 /dev/zero | tr '\\0' x\n"),
        out="mount /home/me: /home/me, read-only\n", timeout="20s"),
    Row("a banner of 1 GiB", r"homeport: up: gave up: guest: what answers is not homeport-guest: it prints without end",
        before=bashrc("head -c 1G /dev/zero\n")),
    # ------------------------------------------------------------------------------------------------------ the mount
    Row("no /dev/fuse, with sudo", r"homeport: mount: /dev/fuse cannot be opened: No such file or directory; as root in the "
        r"guest: modprobe fuse", status=4,
        before=in_guest("mv /dev/fuse /dev/gone", "mv /dev/gone /dev/fuse")),
    Row("no /dev/fuse, without", r"homeport: mount: fusermount3: fuse device not found, try 'modprobe fuse' first",
        ["--mount", "~:/tmp/plain"], status=4, host="guest-plain",
        before=in_guest("mv /dev/fuse /dev/gone", "mv /dev/gone /dev/fuse")),
    Row("no way to mount", r"homeport: mount: the guest has no way to mount: the login is not root, has no sudo without a "
        r"password, and there is no fusermount3; install that there \(sudo apt-get install fuse3\)",
        ["--mount", "~:/tmp/plain"], status=4, host="guest-plain",
        before=in_guest("mv /usr/bin/fusermount3 /usr/bin/gone", "mv /usr/bin/gone /usr/bin/fusermount3")),
    Row("busy mount point", r"homeport: mount: /tmp/busy: something is mounted there; unmount it, or choose another mount "
        r"point", ["--mount", "~:/tmp/busy"], status=4,
        before=in_guest("mkdir -p /tmp/busy && mount -t tmpfs x /tmp/busy", "umount /tmp/busy")),
    Row("non-empty mount point", r"homeport: mount: /tmp/full: the folder is not empty, and the mount would hide what is in "
        r"it; empty it, or choose another mount point", ["--mount", "~:/tmp/full"], status=4, before=in_guest("mkdir -p /tmp/full && touch /tmp/full/x")),
    Row("a file for a mount point", r"homeport: mount: /tmp/file: a symlink or a file is in the way",
        ["--mount", "~:/tmp/file"], status=4, before=in_guest("touch /tmp/file")),
    Row("missing mount point, with sudo", "", ["--mount", "~:/made/deep"], status=0, timeout="20s",
        out="mount /made/deep: /home/me, read-only\n"),
    Row("missing mount point, without", r"homeport: mount: /made2/deep: this user may not make it; choose one below its "
        r"home, or allow it sudo without a password", ["--mount", "~:/made2/deep"],
        status=4, host="guest-plain"),
    Row("a folder of the system", r"homeport: mount: /etc: not a place for a mount: it is the system's",
        ["--mount", "~:/etc"], status=4),
    Row("one of two mounts fails", r"homeport: mount: /tmp/full: the folder is not empty, and the mount would hide what is in "
        r"it; empty it, or choose another mount point", ["--mount", "~:/tmp/good", "--mount", "~/src:/tmp/full"], status=4, timeout="20s",
        before=in_guest("mkdir -p /tmp/full && touch /tmp/full/x"), out="mount /tmp/good: /home/me, read-only\n"),
    Row("a location that does not exist", r'homeport: --mount ~/none: location: "/home/me/none" does not exist; create it or '
        r"correct the path", ["--mount", "~/none"], status=2),
    # ------------------------------------------------------------------------------------------------------ this side
    Row("full disk", r"homeport: up: /mnt/full/homeport/guest: No space left on device", before=full_disk),
    Row("a folder others can enter", r"homeport: up: .*/homeport/guest must be a folder of yours that nobody else can enter "
        r"\(chmod 700\)", before=open_folder),
    Row("a name that is none", r'homeport: --name: "a/b" has a character a name cannot have; there are letters, digits, and \. _ @ : -', ["--name", "a/b"], status=2),
    Row("an option that is none", r"homeport: unknown option --nonsense: see homeport up --help", ["--nonsense"], status=2),
]


class Fixtures:
    def __init__(self, **given):
        self.__dict__.update(given)
        self.undo = []
        self.env = {}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_row(row, homeport, lab, host, guest, host_home):
    os.makedirs(host_home / "src", exist_ok=True)
    os.chown(host_home / "src", 1000, 1000)
    f = Fixtures(homeport=homeport, lab=lab, host=host, guest=guest, home=host_home)
    try:
        if row.before:
            row.before(f)
        done = homeport.up("--timeout", row.timeout, "--name", "guest", *row.args, host=row.host, check=False,
                           env=f.env) if "--name" not in row.args else \
            homeport.run("up", "-F", lab.ssh_config(), *row.args, row.host)
        assert re.fullmatch(row.line + "\n" if row.line else "", done.stderr), done.stderr
        assert (done.returncode, done.stdout) == (row.status, row.out)
        if row.status in (0, 4):
            homeport.down("guest")
        assert homeport.run("status", env=f.env).returncode == 3
    finally:
        for undo in reversed(f.undo):
            undo()
    left = homeport.env["XDG_RUNTIME_DIR"] + "/homeport/guest"
    assert not {"control", "pid"} & set(os.listdir(left) if os.path.isdir(left) else [])


def test_a_banner_is_kept_in_the_log(homeport, guest, host_home):
    f = Fixtures(guest=guest)
    bashrc("echo Welcome to the guest\n")(f)
    try:
        homeport.up()
    finally:
        f.undo[0]()
    assert "the guest's login shell printed, before homeport-guest: Welcome to the guest" in homeport.logs()


def test_a_share_deleted_while_mounted_gives_errors_and_nothing_hangs(homeport, guest, host_home):
    host_home.write("src/a", "a\n")
    homeport.up("--mount", "~/src:/tmp/src:w")
    assert guest.cmd("cat /tmp/src/a", user="me").stdout == "a\n"
    shutil.rmtree(host_home / "src")
    time.sleep(1.1)
    done = guest.cmd("cat /tmp/src/a; echo x > /tmp/src/b; ls /tmp/src", user="me", check=False, timeout=10)
    assert "/tmp/src/a: No such file or directory" in done.stderr or "Stale file handle" in done.stderr
    assert homeport.status()["state"] == "connected"
    assert not os.path.exists(host_home / "src")


def settled(value, seconds=0.5):
    """What value() is once it has not changed for so long."""
    last, since = value(), time.monotonic()
    while time.monotonic() < since + seconds:
        time.sleep(0.02)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last


def test_descriptors_and_memory_are_where_they_were_after_many_sessions(homeport, lab, host, guest, host_home):
    """The guest's agent is started by the first and would keep what any of them leaked."""
    homeport.up("--name", "first", "--no-mount")
    wait_until(lambda: homeport.status("first")["guest"]["direct"], what="the direct connection")
    serve = next(outer for outer, (_, line) in guest.processes().items() if "homeport-guest serve" in line)
    before = settled(lambda: len(os.listdir(f"/proc/{serve}/fd")))  # the watch for ports may come later
    for _ in range(5):
        homeport.up("--name", "other", "--mount", "~:/tmp/other")
        homeport.down("other")
    wait_until(lambda: len(os.listdir(f"/proc/{serve}/fd")) <= before, timeout=5)
    homeport.down("first")
