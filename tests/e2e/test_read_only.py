# SPDX-License-Identifier: MIT
"""A mount whose shares are all read-only is a read-only file system for the guest's kernel, as long as they are."""
import errno
import json
import os

import pytest

from conftest import wait_until
from test_adopt import WAYS, kill_serve, mounts, taken_up
from test_live import Configured, Holder

# Calls that change something, or would: what each answers in the folder given. Run in the guest, twice.
CALLS = r"""
import ctypes, fcntl, json, mmap, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
os.umask(0)
NAMES = "file", "shut", "program", "folder", "full", "link", "dangling", "fifo", "missing", "missing/x", "file/x", "shut_folder/x", "full/in"
FLAGS = {name: getattr(os, name) for name in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_APPEND", "O_CREAT", "O_EXCL", "O_TRUNC", "O_TMPFILE",
                                              "O_NOFOLLOW", "O_DIRECTORY", "O_PATH")}
OPENS = ("O_WRONLY", "O_RDWR", "O_WRONLY|O_APPEND", "O_RDONLY|O_TRUNC", "O_WRONLY|O_TRUNC", "O_RDWR|O_CREAT", "O_RDONLY|O_CREAT",
         "O_RDWR|O_CREAT|O_EXCL", "O_RDWR|O_TMPFILE", "O_WRONLY|O_NOFOLLOW", "O_PATH", "O_WRONLY|O_CREAT|O_NOFOLLOW")
found = {}


def c(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), "")


def note(what, call, *args, **kw):
    try:
        got = call(*args, **kw)
        if isinstance(got, int) and got > 2:
            os.close(got)
        found[what] = 0
    except OSError as e:
        found[what] = e.errno


def bind(name):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(name)


def of_file(what, call, flags=os.O_RDONLY, name="file"):
    try:
        fd = os.open(name, flags)
    except OSError as e:
        found[what] = e.errno
        return
    note(what, call, fd)
    os.close(fd)


for n in NAMES:
    b = n.encode()
    for how in OPENS:
        note(f"open {n} {how}", os.open, n, os.O_NONBLOCK | sum(FLAGS[f] for f in how.split("|")), 0o644)
    note(f"open {n} 3", os.open, n, os.O_NONBLOCK | 3)
    note(f"mkdir {n}", os.mkdir, n)
    note(f"rmdir {n}", os.rmdir, n)
    note(f"unlink {n}", os.unlink, n)
    note(f"mkfifo {n}", os.mkfifo, n)
    note(f"mknod {n}", os.mknod, n, 0o100644)
    note(f"mknod device {n}", os.mknod, n, 0o20644, os.makedev(1, 3))
    note(f"bind {n}", bind, n)
    note(f"symlink {n}", os.symlink, "x", n)
    note(f"link file {n}", os.link, "file", n)
    note(f"link {n} new", os.link, n, "new", follow_symlinks=False)
    note(f"rename {n} new", os.rename, n, "new")
    note(f"rename {n} elsewhere", os.rename, n, "/tmp/elsewhere")
    note(f"rename file {n}", os.rename, "file", n)
    note(f"rename folder {n}", os.rename, "folder", n)
    for flag, bits in ("noreplace", 1), ("exchange", 2), ("whiteout", 4), ("none", 8):
        note(f"renameat2 {flag} file {n}", c, "renameat2", -100, b"file", -100, b, bits)
    note(f"chmod {n}", os.chmod, n, 0o600)
    note(f"chown {n}", os.chown, n, 0, 0)
    note(f"chown nothing {n}", os.chown, n, -1, -1)
    note(f"lchown {n}", os.lchown, n, 0, 0)
    note(f"utime now {n}", os.utime, n)
    note(f"utime {n}", os.utime, n, (1, 1))
    note(f"lutime {n}", os.utime, n, (1, 1), follow_symlinks=False)
    note(f"utime omit {n}", c, "utimensat", -100, b, struct.pack("4q", 0, (1 << 30) - 2, 0, (1 << 30) - 2), 0)
    note(f"truncate {n}", os.truncate, n, 0)
    note(f"truncate negative {n}", c, "truncate", b, ctypes.c_long(-1))
    note(f"setxattr {n}", os.setxattr, n, "user.x", b"x")
    note(f"removexattr {n}", os.removexattr, n, "user.none")
    note(f"lsetxattr trusted {n}", os.setxattr, n, "trusted.x", b"x", follow_symlinks=False)
    for mode in range(8):
        found[f"access {n} {mode}"] = 0
        note(f"access {n} {mode}", c, "access", b, mode)
        note(f"eaccess {n} {mode}", c, "eaccess", b, mode)
of_file("fchmod", lambda fd: os.fchmod(fd, 0o600))
of_file("fchown", lambda fd: os.fchown(fd, 0, 0))
of_file("futimens", lambda fd: os.utime(fd))
of_file("fsetxattr", lambda fd: os.setxattr(fd, "user.x", b"x"))
of_file("ftruncate", lambda fd: os.ftruncate(fd, 0))
of_file("write", lambda fd: os.write(fd, b"x"))
of_file("fallocate", lambda fd: c("fallocate", fd, 0, ctypes.c_long(0), ctypes.c_long(10)))
of_file("copy_file_range", lambda fd: os.copy_file_range(fd, fd, 1))
of_file("mmap shared for writing", lambda fd: mmap.mmap(fd, 1) and 0)
of_file("mmap private", lambda fd: mmap.mmap(fd, 1, mmap.MAP_PRIVATE) and 0)
of_file("flock", lambda fd: fcntl.flock(fd, fcntl.LOCK_EX))
of_file("lock for writing", lambda fd: fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)))
of_file("lock for reading", lambda fd: fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0)))
of_file("fsync", os.fsync)
of_file("syncfs", lambda fd: c("syncfs", fd))
of_file("write to a fifo", lambda fd: os.write(fd, b"x") and 0, os.O_RDWR | os.O_NONBLOCK, "fifo")
of_file("file flags", lambda fd: fcntl.ioctl(fd, 0x40086602, struct.pack("l", 0)))
of_file("linkat of an open file", lambda fd: os.link(f"/proc/self/fd/{fd}", "new", follow_symlinks=True))
found["statvfs"] = os.statvfs(".").f_flag & 1
print(json.dumps(found))
"""


def is_read_only(guest, target):
    """What mount(8) shows, None where nothing is mounted; the agent has one of it alone."""
    flags = [("ro" in options.split(",")) for point, _, options in guest.mounts("fuse.homeport") if point == target]
    assert len(flags) < 2
    return flags[0] if flags else None


def write(guest, folder, user="me"):
    """An errno, or 0."""
    done = guest.cmd(["python3", "-c", "import sys\ntry:\n open(sys.argv[1] + '/new', 'w').close()\n"
                      "except OSError as e:\n sys.exit(e.errno)", folder], user=user, check=False)
    return done.returncode


@pytest.fixture
def dev(homeport):
    return Configured(homeport)


@pytest.fixture
def tree(host_home):
    for name, mode in (("file", 0o644), ("shut", 0o400), ("program", 0o755), ("full/in", 0o666), ("shut_folder/x", 0o644)):
        host_home.write(name, "data", mode)
    owner = os.stat(host_home.here)
    os.mkdir(host_home / "folder")
    os.symlink("file", host_home / "link")
    os.symlink("nowhere", host_home / "dangling")
    os.mkfifo(host_home / "fifo")
    for name in ("folder", "link", "dangling", "fifo"):
        os.lchown(host_home / name, owner.st_uid, owner.st_gid)
    os.chmod(host_home / "full", 0o777)
    os.chmod(host_home / "shut_folder", 0o500)
    return host_home


@pytest.mark.parametrize("alias, user", WAYS)
def test_every_call_answers_what_it_does_on_a_local_read_only_file_system(homeport, guest, tree, alias, user):
    """Whoever has mounted it; for root, for whom the files belong to, and for another user."""
    target = "/srv/there" if user == "root" else guest.home(user) + "/there"
    homeport.up("--mount", f"~:{target}", host=alias)
    assert is_read_only(guest, target)
    as_seen = guest.cmd(["tar", "c", "--numeric-owner", "-C", target, "."], user=user, text=False).stdout
    guest.cmd("mkdir /tmp/local && mount -t tmpfs -o nosuid,nodev local /tmp/local")
    try:
        guest.cmd(["tar", "xp", "-C", "/tmp/local"], input=as_seen, text=False)
        guest.cmd("mount -o remount,ro /tmp/local")
        for who in {"plain": ["plain"]}.get(user, ["root", "me", "plain"]):
            local, there = (json.loads(guest.cmd(["python3", "-", folder], user=who, input=CALLS).stdout)
                            for folder in ("/tmp/local", target))
            assert list(local.values()).count(errno.EROFS) > 200
            assert {what: (local[what], there[what]) for what in local if local[what] != there[what]} == {}, who
    finally:
        guest.cmd("umount /tmp/local && rmdir /tmp/local")
    assert sorted(os.listdir(tree.here)) == sorted(
        ["dangling", "fifo", "file", "folder", "full", "link", "program", "shut", "shut_folder"])



class Reader:
    """A program of the guest with a file open, a descriptor of a folder, and its working folder in a mount."""

    def __init__(self, guest, folder, user="me", prefix=()):
        self.process = guest.popen([*prefix, "python3", "-uc", f"""
import os
os.chdir({folder!r})
f = open("file")
print("there", flush=True)
for line in iter(input, "end"):
    try:
        f.seek(0)
        f.read()
        os.listdir()
        if line == "write":
            open("by_reader", "w").close()
        print(0, flush=True)
    except OSError as e:
        print(e.errno, flush=True)
"""], user=user, stdin=-1, stdout=-1, text=True)
        assert self.process.stdout.readline() == "there\n"

    def does(self, what):
        """0, or its errno."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        self.process.communicate("end\n", timeout=10)


def one_mount(options="", more=""):
    return f"mounts:\n- location: '~'\n  mountPoint: /tmp/there\n{options}{more}portForwards: []\n"


RW = "  writable: true\n"


def test_it_becomes_writable_and_read_only_again_around_what_is_open(dev, homeport, guest, tree):
    """As soon as the reload has returned; for programs that had mounts of their own meanwhile, too."""
    dev.up(one_mount())
    before = mounts(guest)
    reader = Reader(guest, "/tmp/there")
    apart = Reader(guest, "/tmp/there", user="root", prefix=["unshare", "-m", "--propagation", "slave"])
    assert reader.does("write") == apart.does("write") == errno.EROFS
    guest.cmd("mount -o remount,bind,nosuid,nodev,noexec /tmp/there")
    for _ in range(2):
        dev.reload(one_mount(RW))
        assert write(guest, "/tmp/there") == 0 and is_read_only(guest, "/tmp/there") is False
        assert reader.does("write") == apart.does("write") == 0
        dev.reload(one_mount())
        assert is_read_only(guest, "/tmp/there") is True
        assert reader.does("write") == apart.does("write") == write(guest, "/tmp/there") == errno.EROFS
    assert reader.does("read") == apart.does("read") == 0
    assert mounts(guest) == before and "noexec" in guest.mounts("fuse.homeport")[0][2]
    reader.end()
    apart.end()


def test_it_becomes_read_only_when_nothing_is_open_for_writing_any_more(dev, homeport, guest, tree):
    """Until then the host refuses."""
    dev.up(one_mount(RW))
    held = Holder(guest, "/tmp/there")
    dev.reload(one_mount())
    assert is_read_only(guest, "/tmp/there") is False and write(guest, "/tmp/there") == errno.EROFS
    dev.reload(one_mount(RW))
    assert write(guest, "/tmp/there") == 0
    dev.reload(one_mount())
    assert is_read_only(guest, "/tmp/there") is False
    held.end()
    wait_until(lambda: is_read_only(guest, "/tmp/there"), what="it is read-only")
    assert "stays" not in homeport.logs()


def test_mounted_by_fusermount_it_becomes_writable_by_being_mounted_anew(homeport, guest, tree):
    """Which cannot change what is mounted; and for read-only alone it is not done."""
    place = guest.home("plain") + "/there"

    def mount(*how):
        done = homeport.run("mount", "guest-plain", ":".join(("~", place, *how)))
        assert done.returncode == 0, done.stderr

    homeport.up("--mount", f"~:{place}", host="guest-plain")
    assert is_read_only(guest, place) is True and write(guest, place, "plain") == errno.EROFS
    mount("w")
    assert is_read_only(guest, place) is False and write(guest, place, "plain") == 0
    before = mounts(guest)
    mount()
    assert mounts(guest) == before and write(guest, place, "plain") == errno.EROFS
    assert "failed" not in homeport.logs()


def test_a_writable_folder_in_it_makes_it_writable_and_itself_alone(dev, homeport, guest, tree):
    tree.write("src/x", "x")
    below = "- location: ~/src\n  mountPoint: /tmp/there/src\n  writable: true\n"
    dev.up(one_mount())
    before = mounts(guest)
    reader = Reader(guest, "/tmp/there")
    for _ in range(2):
        assert write(guest, "/tmp/there/src") == errno.EROFS and is_read_only(guest, "/tmp/there") is True
        dev.reload(one_mount(more=below))
        assert write(guest, "/tmp/there/src") == 0 and write(guest, "/tmp/there") == errno.EROFS
        dev.reload(one_mount(more=below.replace("true", "false")))
        assert write(guest, "/tmp/there/src") == errno.EROFS and is_read_only(guest, "/tmp/there") is True
    dev.reload(one_mount())
    assert reader.does("write") == errno.EROFS and mounts(guest) == before
    reader.end()


def test_the_next_agent_finds_it_as_it_is(homeport, guest, tree):
    """What could not be mounted otherwise is not: nothing is to be done to it."""
    target = guest.home("plain") + "/there"
    homeport.up("--mount", f"~:{target}", host="guest-plain")
    before = mounts(guest)
    reader = Reader(guest, target, user="plain")
    kill_serve(guest)
    taken_up(homeport, guest, before)
    assert is_read_only(guest, target) is True and reader.does("write") == errno.EROFS
    reader.end()


def test_it_changed_while_there_was_no_agent(dev, homeport, guest, tree):
    """The next one takes up what is read-only, and is wanted writable."""
    dev.up(one_mount())
    before = mounts(guest)
    reader = Reader(guest, "/tmp/there")
    for options, wanted in ((RW, 0), ("", errno.EROFS)):
        kill_serve(guest)
        dev.write(one_mount(options))
        homeport.run("reload", "dev")
        taken_up(homeport, guest, before)
        assert reader.does("write") == wanted and is_read_only(guest, "/tmp/there") is bool(wanted)
    reader.end()
