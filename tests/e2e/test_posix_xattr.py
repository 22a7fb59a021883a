# SPDX-License-Identifier: MIT
"""Extended attributes (xattr(7)): user.* on a mount is what it is on a local folder, errno for errno; the rest is what an
unprivileged program finds; and what homeport keeps for itself is not there."""
import ctypes
import errno
import os
import shutil
import stat
import tempfile

import pytest

import native_client as native
from mounted import HOST, Mounted
from test_mount_requests import as_nobody

pytestmark = pytest.mark.root

CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE


@pytest.fixture(scope="module")
def folders():
    with tempfile.TemporaryDirectory(prefix="homeport-xattr-") as top:
        os.chmod(top, 0o755)
        os.mkdir(top + "/local")
        with Mounted(top + "/mounted") as m:
            yield top + "/local", m.guest, m


def both(folders, name):
    """The local folder and the mounted one, both made on the host."""
    local, guest, m = folders
    furnish(f"{local}/{name}"), furnish(f"{m.host}/{name}")
    return f"{local}/{name}", f"{guest}/{name}"


def attempt(fn, *args, **kw):
    try:
        return fn(*args, **kw)
    except OSError as e:
        return errno.errorcode[e.errno]


def furnish(d):
    os.makedirs(d + "/dir")
    with open(d + "/file", "wb") as f:
        f.write(b"text")
    os.symlink("file", d + "/link")
    os.symlink("none", d + "/dangling")
    os.mkfifo(d + "/fifo")
    os.setxattr(d + "/file", "user.there", b"value")


def state(d):
    return {n: {k: os.getxattr(f"{d}/{n}", k) for k in os.listxattr(f"{d}/{n}") if k.startswith("user.")}
            for n in ("file", "dir")}


def at(call, name, *args, **kw):
    return lambda d: call(f"{d}/{name}", *args, **kw)


def on_open(call, *args):
    def fn(d):
        fd = os.open(d + "/file", os.O_RDONLY)
        try:
            return call(fd, *args)
        finally:
            os.close(fd)
    return fn


def on_unlinked(d):
    fd = os.open(d + "/file", os.O_RDWR)
    os.unlink(d + "/file")
    os.setxattr(fd, "user.late", b"x")
    out = sorted(os.listxattr(fd)), os.getxattr(fd, "user.late")
    os.close(fd)
    with open(d + "/file", "wb"):
        return out


def by_nobody(call, mode, *args):
    def fn(d):
        os.chmod(d + "/file", mode)
        return as_nobody(lambda: call(d + "/file", *args))
    return fn


get, put, drop, names = os.getxattr, os.setxattr, os.removexattr, os.listxattr
CASES = {
    "get": at(get, "file", "user.there"),
    "get what is not there": at(get, "file", "user.none"),
    "get from a missing file": at(get, "none", "user.there"),
    "get through a link": at(get, "link", "user.there"),
    "get of a link": at(get, "link", "user.there", follow_symlinks=False),
    "get of a fifo": at(get, "fifo", "user.there"),
    "get by a descriptor": on_open(get, "user.there"),
    "get by a name without end": at(get, "file", "user."),
    "get by a name without a prefix": at(get, "file", "there"),
    "get of an unknown namespace": at(get, "file", "other.there"),
    "get by the longest name": at(get, "file", "user." + "n" * 250),
    "get by too long a name": at(get, "file", "user." + "n" * 251),
    "get security.capability": at(get, "file", "security.capability"),
    "get trusted": at(get, "file", "trusted.none"),
    "set": at(put, "file", "user.new", b"v"),
    "set empty": at(put, "file", "user.new", b""),
    "set bytes of all kinds": at(put, "file", "user.new", bytes(range(256))),
    "set over": at(put, "file", "user.there", b"another, longer value"),
    "create": at(put, "file", "user.new", b"v", CREATE),
    "create over": at(put, "file", "user.there", b"v", CREATE),
    "replace": at(put, "file", "user.there", b"v", REPLACE),
    "replace what is not there": at(put, "file", "user.new", b"v", REPLACE),
    "create and replace": at(put, "file", "user.new", b"v", CREATE | REPLACE),
    "set an unknown flag": at(put, "file", "user.new", b"v", 8),
    "set on a folder": at(put, "dir", "user.new", b"v"),
    "set through a link": at(put, "link", "user.new", b"v"),
    "set on a link": at(put, "link", "user.new", b"v", follow_symlinks=False),
    "set through a dangling link": at(put, "dangling", "user.new", b"v"),
    "set on a fifo": at(put, "fifo", "user.new", b"v"),
    "set by a name with a slash": at(put, "file", "user.a/b", b"v"),
    "set by the longest name": at(put, "file", "user." + "n" * 250, b"v"),
    "set by too long a name": at(put, "file", "user." + "n" * 251, b"v"),
    "set by a name without end": at(put, "file", "user.", b"v"),
    "set in an unknown namespace": at(put, "file", "other.x", b"v"),
    "set 3000 bytes": at(put, "file", "user.new", b"v" * 3000),
    "set more than the file system takes": at(put, "file", "user.new", b"v" * 60000),
    "set more than Linux takes": at(put, "file", "user.new", b"v" * 65537),
    "set by a descriptor": on_open(put, "user.new", b"v"),
    "set on what has no name": on_unlinked,
    "remove": at(drop, "file", "user.there"),
    "remove what is not there": at(drop, "file", "user.none"),
    "remove from a link": at(drop, "link", "user.there", follow_symlinks=False),
    "list": at(names, "file"),
    "list nothing": at(names, "dir"),
    "list a missing file": at(names, "none"),
    "list a link": at(names, "link", follow_symlinks=False),
    "list by a descriptor": on_open(names),
    "nobody reads": by_nobody(get, 0o644, "user.there"),
    "nobody reads a secret": by_nobody(get, 0o600, "user.there"),
    "nobody sets": by_nobody(put, 0o644, "user.new", b"v"),
    "nobody sets where all may write": by_nobody(put, 0o666, "user.new", b"v"),
    "nobody removes": by_nobody(drop, 0o644, "user.there"),
    "nobody sets security": by_nobody(put, 0o666, "security.x", b"v"),
    "nobody sets trusted": by_nobody(put, 0o666, "trusted.x", b"v"),
    "nobody gets trusted": by_nobody(get, 0o666, "trusted.x"),
    "nobody removes trusted": by_nobody(drop, 0o666, "trusted.x"),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_user_attributes_are_as_on_a_local_file(folders, name):
    results = []
    for d in both(folders, name):
        results.append((attempt(CASES[name], d), state(d)))
    assert results[1] == results[0]


def sizes(path, call, *name):
    """What the call answers for buffers of each size, from a C program's view."""
    libc = ctypes.CDLL(None, use_errno=True)
    out = []
    for size in (0, 1, 4, 5, 6, 11, 100, 65536, 1 << 20):
        buf = ctypes.create_string_buffer(max(size, 1))
        n = getattr(libc, call)(os.fsencode(path), *name, buf, ctypes.c_size_t(size))
        out.append(n if n >= 0 else errno.errorcode[ctypes.get_errno()])
    return out


def test_buffers_of_any_size_are_answered_as_locally(folders):
    results = []
    for d in both(folders, "sizes"):
        results.append((sizes(d + "/file", "getxattr", b"user.there"), sizes(d + "/file", "listxattr"),
                        sizes(d + "/dir", "listxattr")))
    assert results[1] == results[0] and results[0][0][:3] == [5, "ERANGE", "ERANGE"]


def test_what_is_not_the_guests_is_not_there(folders):
    _, guest, m = folders
    furnish(m.host + "/hidden")
    here, there = guest + "/hidden/file", m.host + "/hidden/file"
    for name, read, write in (("trusted.x", "ENODATA", "EPERM"), ("security.x", "ENOTSUP", "ENOTSUP"),
                              ("user.homeport.owner", "ENODATA", "EPERM")):
        os.setxattr(there, name, b"secret")
        assert attempt(get, here, name) == read
        assert attempt(put, here, name, b"v") == attempt(drop, here, name) == write
        assert os.getxattr(there, name) == b"secret"
    assert names(here) == ["user.there"]
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        assert attempt(get, here, name) == "ENOTSUP"


def test_an_attribute_is_never_stale(folders):
    _, guest, m = folders
    furnish(m.host + "/fresh")
    for i in range(20):
        os.setxattr(m.host + "/fresh/file", "user.there", b"%d" % i)
        assert get(guest + "/fresh/file", "user.there") == b"%d" % i
    before = os.stat(guest + "/fresh/file").st_ctime_ns
    put(guest + "/fresh/file", "user.there", b"x")
    assert os.stat(guest + "/fresh/file").st_ctime_ns > before
    assert os.stat(guest + "/fresh/file").st_ctime_ns == os.stat(m.host + "/fresh/file").st_ctime_ns


def test_set_id_bits_go_with_a_strangers_write(folders):
    results = []
    for d in both(folders, "setid"):
        path = d + "/file"
        os.chmod(path, 0o6777)

        def write():
            with open(path, "r+b") as f:
                f.write(b"x")
        results.append((as_nobody(write), stat.filemode(os.stat(path).st_mode)))
    assert results[1] == results[0] == (0, "-rwxrwxrwx")


def copy_to(path):
    with open(path, "r+b") as target, open(path + ".source", "w+b") as source:
        source.write(b"other")
        source.flush()
        os.copy_file_range(source.fileno(), target.fileno(), 3, 0, 0)
    os.unlink(path + ".source")


# cap_net_raw+ep, as setcap(8) writes it.
CAPABILITY = bytes.fromhex("0100000200200000" + "00" * 12)
TO_A_FILE_WITH_CAPABILITIES = {
    "write": (lambda path: with_open(path, os.O_RDWR, lambda fd: os.write(fd, b"z")), True),
    "append": (lambda path: with_open(path, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"z")), True),
    "truncate": (lambda path: os.truncate(path, 3), True),
    "open to truncate": (lambda path: with_open(path, os.O_WRONLY | os.O_TRUNC, lambda fd: None), True),
    "fallocate": (lambda path: with_open(path, os.O_RDWR, lambda fd: os.posix_fallocate(fd, 0, 9000)), True),
    "copy": (copy_to, True),
    "chown": (lambda path: os.chown(path, 77, -1), True),
    "chmod": (lambda path: os.chmod(path, 0o700), False),
    "utimes": (lambda path: os.utime(path, (1, 1)), False),
    "read": (lambda path: with_open(path, os.O_RDONLY, lambda fd: os.read(fd, 4)), False),
}


@pytest.mark.parametrize("by", ["root", "nobody"])
def test_capabilities_go_with_a_write_as_locally(folders, by):
    """The guest does not see security.capability; the host's file loses it all the same."""
    for what, (call, loses) in TO_A_FILE_WITH_CAPABILITIES.items():
        results = []
        for d in both(folders, f"cap {by} {what}"):
            real = d.replace(folders[1], folders[2].host) + "/file"
            os.chmod(d, 0o777), os.chmod(real, 0o777)
            os.setxattr(real, "security.capability", CAPABILITY)
            done = attempt(call, d + "/file") if by == "root" else as_nobody(lambda: call(d + "/file"))
            results.append((done, attempt(get, real, "security.capability")))
        assert results[1] == results[0], what
        if results[0][0] in (None, 0):
            assert results[0][1] == ("ENODATA" if loses else CAPABILITY), what


LOSES_SETID = {
    "write": lambda path: with_open(path, os.O_RDWR, lambda fd: os.write(fd, b"z")),
    "truncate": lambda path: os.truncate(path, 3),
    "open to truncate": lambda path: with_open(path, os.O_WRONLY | os.O_TRUNC, lambda fd: None),
    "fallocate": lambda path: with_open(path, os.O_RDWR, lambda fd: os.posix_fallocate(fd, 0, 9000)),
}


def with_open(path, flags, fn):
    fd = os.open(path, flags)
    try:
        fn(fd)
    finally:
        os.close(fd)


def test_set_id_bits_go_where_the_host_agent_is_an_ordinary_user():
    """There the host's kernel takes them, and ours does not ask for security.capability before each write."""
    with tempfile.TemporaryDirectory(prefix="homeport-setid-") as top:
        os.chmod(top, 0o755)
        os.mkdir(top + "/host")
        os.chown(top + "/host", 1000, 1000)
        shutil.copy(HOST, top + "/homeport")
        command = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", top + "/homeport", "sftp-server",
                   "--writable", top + "/host"]
        with Mounted(top, options=("-o", "hostuid=1000,hostgid=1000"), command=command) as m:
            for name, fn in LOSES_SETID.items():
                path = f"{m.guest}/{name}"
                with_open(path, os.O_WRONLY | os.O_CREAT, lambda fd: os.write(fd, b"0123456789"))
                os.chmod(path, 0o6777)
                assert stat.filemode(os.stat(path).st_mode) == "-rwsrwsrwx"
                assert as_nobody(lambda: fn(path)) == 0
                assert stat.filemode(os.stat(path).st_mode) == "-rwxrwxrwx", name
                assert stat.filemode(os.stat(f"{m.host}/{name}").st_mode) == "-rwxrwxrwx", name


# ---- at the wire

def refused(fn, *args):
    with pytest.raises(OSError) as e:
        fn(*args)
    return errno.errorcode[e.value.errno]


def test_a_read_only_share_is_read(tmp_path):
    furnish(str(tmp_path / "d"))
    with native.Client.spawn([HOST, "sftp-server", str(tmp_path)]) as c:
        node = c.walk(b"d/file")[0]
        assert refused(c.setxattr, node, b"user.new", b"v") == "EROFS"
        assert refused(c.removexattr, node, b"user.there") == "EROFS"
        assert refused(c.setxattr, node, b"trusted.x", b"v") == "EROFS"
        assert c.getxattr(node, b"user.there") == (5, b"value") and c.getxattr(node, b"user.there", 0) == (5, b"")
        assert c.listxattr(node) == (11, b"user.there\0") and c.listxattr(node, 0) == (11, b"")
        assert refused(c.getxattr, node, b"user.there", 4) == refused(c.listxattr, node, 10) == "ERANGE"
    assert state(str(tmp_path / "d"))["file"] == {"user.there": b"value"}


def test_the_server_itself_keeps_names_from_the_guest(tmp_path):
    furnish(str(tmp_path / "d"))
    path = tmp_path / "d" / "file"
    os.setxattr(path, "user.homeport.owner", b"0"), os.setxattr(path, "trusted.x", b"0")
    with native.Client.spawn([HOST, "sftp-server", "--writable", str(tmp_path)]) as c:
        node = c.walk(b"d/file")[0]
        for name in (b"user.homeport.owner", b"trusted.x", b"security.capability"):
            assert refused(c.getxattr, node, name) == "ENODATA"
            assert refused(c.setxattr, node, name, b"v") == refused(c.removexattr, node, name) == "EPERM"
        assert refused(c.setxattr, node, b"system.posix_acl_access", b"v") == "ENOTSUP"
        assert c.listxattr(node) == (11, b"user.there\0")
        assert refused(c.getxattr, node, b"") == refused(c.setxattr, node, b"user." + b"n" * 251, b"v") == "ERANGE"
        assert refused(c.getxattr, node, b"user.a\0b") == "EINVAL"
        assert refused(c.setxattr, node, b"user.a", b"v" * 65537) == "E2BIG"
        assert refused(c.setxattr, c.walk(b"d/link")[0], b"user.a", b"v") == "EPERM"
        assert refused(c.getxattr, 999, b"user.there") == "ESTALE"
        assert c.setxattr(node, b"user.a", b"v").after.ino == os.stat(path).st_ino
    assert os.getxattr(path, "user.homeport.owner") == b"0"
