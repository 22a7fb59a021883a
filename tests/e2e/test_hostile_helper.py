# SPDX-License-Identifier: MIT
"""The helper that mounts as root for whoever may call it through sudo: it mounts, and is no other way to be root."""
import errno
import os
import socket
import struct
import subprocess

import pytest

from conftest import open_to_all, wait_until

HERE = os.path.dirname(os.path.realpath(__file__))
BUILD = os.environ.get("HOMEPORT_BUILD") or os.path.join(HERE, "..", "..", "build")
GUEST = os.path.realpath(os.path.join(BUILD, "homeport-guest"))
ME, OTHER = 4001, 4002
MOUNT, UNMOUNT, KEEP, REMOUNT = 1, 2, 3, 6
READ_ONLY, LAZY, CAN_REMOUNT = 2, 4, 8

pytestmark = pytest.mark.root


class Helper:
    """As sudo starts it for a user, in mounts of its own."""

    def __init__(self):
        # What other tests have mounted would stay for as long as its copies here.
        script = "umount -l -a -t fuse.homeport; echo; exec sleep 60"
        self.keeper = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", script],
                                       stdout=subprocess.PIPE)
        self.keeper.stdout.readline()
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        subprocess.run(["nsenter", "-m", "-t", str(self.keeper.pid), GUEST, "helper"], stdin=theirs, check=True,
                       env={"PATH": os.environ["PATH"], "SUDO_UID": str(ME)})
        theirs.close()
        self.sock.settimeout(10)

    def ask(self, kind, target="", flags=0):
        """(errno, text, the descriptors that came)"""
        target = os.fsencode(str(target))
        self.sock.send(struct.pack(">BI", kind, len(target)) + target + struct.pack(">IB", ME, flags))
        data, fds, _, _ = socket.recv_fds(self.sock, 4096, 1)
        answer, error, self.flags, n = struct.unpack_from(">BIBI", data)
        assert answer == kind
        return error, data[10:10 + n].decode(), fds

    def keep(self, listener, seconds=600):
        """errno"""
        with open(os.memfd_create("memory"), "rb") as memory:
            socket.send_fds(self.sock, [struct.pack(">BIIB", KEEP, 0, seconds, 0)], [listener.fileno(), memory.fileno()])
        return struct.unpack_from(">BI", self.sock.recv(4096))[1]

    def mounts(self):
        with open(f"/proc/{self.keeper.pid}/mountinfo") as f:
            return [line.split(" ")[4] for line in f]

    def options(self, target):
        """Of the topmost mount there: the mount point's, and the file system's."""
        with open(f"/proc/{self.keeper.pid}/mountinfo") as f:
            rows = [line.split() for line in f if line.split(" ")[4] == str(target)]
        return rows[-1][5].split(","), rows[-1][-1].split(",")

    def close(self):
        self.sock.close()
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()


@pytest.fixture
def helper():
    one = Helper()
    yield one
    one.close()


@pytest.fixture
def place(tmp_path):
    """A folder of root's that everybody may enter, with one of each user's in it."""
    open_to_all(tmp_path)
    for name, uid in (("me", ME), ("other", OTHER)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, uid, uid)
    (tmp_path / "roots").mkdir(mode=0o700)
    return tmp_path


def test_it_mounts_where_its_user_may(helper, place):
    error, text, fds = helper.ask(MOUNT, place / "me" / "a")
    assert (error, text) == (0, "") and fds
    assert str(place / "me" / "a") in helper.mounts()
    assert helper.ask(UNMOUNT)[0] == 0
    assert str(place / "me" / "a") not in helper.mounts()


@pytest.mark.parametrize("where", ["other/.ssh", "other/a/b", "roots/.ssh", "roots/a/b"])
def test_nothing_is_made_or_mounted_in_another_users_folder(helper, place, where):
    """A mount there would be the other's ~/.ssh, with authorized_keys of our choice."""
    error, text, _ = helper.ask(MOUNT, place / where)
    assert error == errno.EPERM and "belongs to another user" in text
    assert os.listdir(place / where.split("/")[0]) == []


@pytest.mark.parametrize("flags", [0, LAZY])
def test_it_unmounts_its_own_mount_and_no_other(helper, place, flags):
    """The way to the mount point is the user's, who can make it lead to /proc meanwhile."""
    assert helper.ask(MOUNT, place / "me" / "a" / "proc")[0] == 0
    os.rename(place / "me" / "a", place / "me" / "b")
    os.symlink("/", place / "me" / "a")
    assert helper.ask(UNMOUNT, flags=flags)[0] != 0
    assert "/proc" in helper.mounts()
    os.unlink(place / "me" / "a")
    os.rename(place / "me" / "b", place / "me" / "a")
    assert helper.ask(UNMOUNT, flags=flags)[0] == 0


def test_it_mounts_read_only_and_writable_again_what_is_its_own_and_no_other(helper, place):
    """The file system, not the mount point; and what a person has forbidden there besides stays so."""
    target = place / "me" / "a"
    assert helper.ask(REMOUNT, flags=READ_ONLY)[0] == errno.EINVAL
    assert helper.ask(MOUNT, target, READ_ONLY)[0] == 0 and helper.flags == READ_ONLY | CAN_REMOUNT
    assert [("ro" in options) for options in helper.options(target)] == [False, True]
    inside = ["nsenter", "-m", "-t", str(helper.keeper.pid)]
    subprocess.run([*inside, "mount", "-o", "remount,bind,nosuid,nodev,noexec", target], check=True)
    for flags in (0, READ_ONLY, 0):
        assert helper.ask(REMOUNT, flags=flags)[0] == 0 and helper.flags == flags | CAN_REMOUNT
        point, filesystem = helper.options(target)
        assert {"nosuid", "nodev", "noexec", "rw"} < set(point) and ("ro" in filesystem) is bool(flags)
    # Another's in its place, on its way, and on top of it.
    os.mkdir(place / "roots" / "a")
    subprocess.run([*inside, "mount", "-t", "tmpfs", "x", place / "roots" / "a"], check=True)
    os.rename(place / "me", place / "was")
    os.symlink(place / "roots", place / "me")
    assert helper.ask(REMOUNT, flags=READ_ONLY)[0] != 0 and helper.flags == 0
    assert "rw" in helper.options(place / "roots" / "a")[1]
    os.unlink(place / "me")
    os.rename(place / "was", place / "me")
    subprocess.run([*inside, "mount", "-t", "tmpfs", "x", target], check=True)
    assert helper.ask(REMOUNT, flags=READ_ONLY)[0] == errno.ENOENT
    assert "rw" in helper.options(target)[1]


@pytest.mark.parametrize("what", ["shut down", "of the network"])
def test_a_socket_that_brings_nobody_does_not_keep_a_mount(helper, place, what):
    """Nor has it root's process wait in a loop: poll() tells of such a socket without end."""
    listener = socket.socket(socket.AF_UNIX if what == "shut down" else socket.AF_INET, socket.SOCK_SEQPACKET if what == "shut down"
                             else socket.SOCK_STREAM)
    listener.bind(str(place / "keep") if what == "shut down" else ("127.0.0.1", 0))
    listener.listen()
    assert helper.ask(MOUNT, place / "me" / "a")[0] == 0
    error = helper.keep(listener)
    assert error == (0 if what == "shut down" else errno.EINVAL)
    listener.shutdown(socket.SHUT_RDWR)
    helper.sock.close()
    wait_until(lambda: str(place / "me" / "a") not in helper.mounts())
