# SPDX-License-Identifier: MIT
"""Every request an ordinary tree needs: on a mount it does, and fails with, exactly what it does on a local folder."""
import ctypes
import errno
import os
import stat
import tempfile

import pytest

from mounted import Mounted, as_id

pytestmark = pytest.mark.root

LIBC = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
NOBODY = 65534


@pytest.fixture(scope="module")
def folders():
    """(a local folder, the same mounted), where every user may go: pytest's own folders are root's alone"""
    with tempfile.TemporaryDirectory(prefix="homeport-requests-") as top:
        os.chmod(top, 0o755)
        os.mkdir(top + "/local")
        with Mounted(top + "/mounted") as m:
            yield top + "/local", m.guest


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    top = tmp_path_factory.mktemp("read-only")
    (top / "host" / "d").mkdir(parents=True)
    (top / "host" / "f").write_text("text")
    with Mounted(top, writable=False) as m:
        yield m


def write(path, data=b"text", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while part := os.read(fd, 65536):
            data += part
        return data
    finally:
        os.close(fd)


def renameat2(old, new, flags):
    if LIBC.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def utimensat(path, atime, mtime):
    if LIBC.utimensat(-100, os.fsencode(path), (Timespec * 2)(Timespec(*atime), Timespec(*mtime)), 0):
        raise OSError(ctypes.get_errno(), "utimensat")


def close(fd):
    os.close(fd)


def look(path):
    st = os.lstat(path)
    return stat.filemode(st.st_mode), st.st_nlink, st.st_size if not stat.S_ISDIR(st.st_mode) else None, st.st_uid, st.st_gid


def as_nobody(fn):
    """fn() in a child that is an ordinary user; an errno, or 0."""
    return as_id(NOBODY, NOBODY, fn)


# Each case gets a folder with what `furnish` makes, and returns what is to be the same.
def furnish(d):
    write(d + "/file", b"0123456789")
    write(d + "/empty", b"")
    os.mkdir(d + "/dir")
    write(d + "/dir/inner", b"inner")
    os.mkdir(d + "/hollow")
    os.symlink("file", d + "/link")
    os.symlink("nowhere", d + "/dangling")
    os.symlink("loop", d + "/loop")
    write(d + "/secret", b"secret", 0o600)
    os.mkdir(d + "/closed", 0o700)


def listing(d):
    return sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(d))


CASES = {}


def case(fn):
    CASES[fn.__name__] = fn
    return fn


# fmt: off
@case
def lookup_missing(d): os.lstat(d + "/none")
@case
def lookup_below_file(d): os.lstat(d + "/file/x")
@case
def lookup_long_name(d): os.lstat(d + "/" + "n" * 256)
@case
def lookup_longest_name(d): write(d + "/" + "n" * 255); return look(d + "/" + "n" * 255)
@case
def stat_file(d): return look(d + "/file")
@case
def stat_dir(d): return look(d + "/dir")
@case
def stat_link(d): return look(d + "/link")
@case
def stat_through_link(d): return os.stat(d + "/link").st_size
@case
def stat_dangling(d): os.stat(d + "/dangling")
@case
def stat_loop(d): os.stat(d + "/loop")
@case
def stat_hole(d):
    fd = os.open(d + "/hole", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"end", 1 << 20)
    os.close(fd)
    return look(d + "/hole"), read(d + "/hole") == bytes(1 << 20) + b"end"
@case
def chmod_file(d): os.chmod(d + "/file", 0o751); return look(d + "/file")
@case
def chmod_setid(d): os.chmod(d + "/file", 0o6755); return look(d + "/file")
@case
def chmod_missing(d): os.chmod(d + "/none", 0o700)
@case
def chown_same(d): os.chown(d + "/file", 0, 0); return look(d + "/file")
@case
def chown_other(d): os.chown(d + "/file", 7, 8); return look(d + "/file")
@case
def truncate_shorter(d): os.truncate(d + "/file", 4); return read(d + "/file")
@case
def truncate_longer(d): os.truncate(d + "/file", 20); return read(d + "/file")
@case
def truncate_dir(d): os.truncate(d + "/dir", 0)
@case
def truncate_missing(d): os.truncate(d + "/none", 0)
@case
def times_exact(d):
    os.utime(d + "/file", ns=(123456789012345678, 987654321098765432))
    st = os.stat(d + "/file")
    return st.st_atime_ns, st.st_mtime_ns
@case
def times_before_1970(d):
    os.utime(d + "/file", ns=(-5, -1500000000))
    st = os.stat(d + "/file")
    return st.st_atime_ns, st.st_mtime_ns
@case
def times_far_out(d):
    os.utime(d + "/file", ns=(-(1 << 31) * 10**9 + 7, (1 << 33) * 10**9 + 123456789))
    st = os.stat(d + "/file")
    return st.st_atime_ns, st.st_mtime_ns
@case
def times_beyond_the_file_system(d):
    os.utime(d + "/file", ns=(-(1 << 33) * 10**9, (1 << 33) * 10**9))
    st = os.stat(d + "/file")
    return st.st_atime_ns, st.st_mtime_ns
@case
def times_now_and_omitted(d):
    utimensat(d + "/file", (5, 5), (6, 6))
    utimensat(d + "/file", (0, UTIME_OMIT), (7, 7))
    out = os.stat(d + "/file").st_atime_ns, os.stat(d + "/file").st_mtime_ns
    utimensat(d + "/file", (0, UTIME_NOW), (0, UTIME_OMIT))
    return out, os.stat(d + "/file").st_atime_ns > 10**18, os.stat(d + "/file").st_mtime_ns
@case
def times_of_too_many_nanoseconds(d): utimensat(d + "/file", (0, 10**9), (0, 0))
@case
def chown_of_link(d): os.lchown(d + "/link", 5, 6); return look(d + "/link"), look(d + "/file")
@case
def chmod_of_link(d):
    if LIBC.fchmodat(-100, os.fsencode(d + "/link"), 0o600, 0x100):
        raise OSError(ctypes.get_errno(), "fchmodat")
@case
def chown_takes_setid(d): os.chmod(d + "/file", 0o6777); os.chown(d + "/file", 5, 6); return look(d + "/file")
@case
def chown_keeps_mandatory_lock_bit(d): os.chmod(d + "/file", 0o6767); os.chown(d + "/file", 5, 6); return look(d + "/file")
@case
def times_of_link(d):
    os.utime(d + "/link", ns=(1, 2), follow_symlinks=False)
    return os.lstat(d + "/link").st_mtime_ns, os.stat(d + "/link").st_mtime_ns != 2
@case
def readlink_link(d): return os.readlink(d + "/link")
@case
def readlink_file(d): os.readlink(d + "/file")
@case
def symlink_new(d): os.symlink("a/../b", d + "/new"); return os.readlink(d + "/new")
@case
def symlink_there(d): os.symlink("x", d + "/file")
@case
def symlink_empty(d): os.symlink("", d + "/new")
@case
def symlink_long(d): os.symlink("t" * 4000, d + "/new"); return os.readlink(d + "/new") == "t" * 4000
@case
def mkdir_new(d): os.mkdir(d + "/new", 0o750); return look(d + "/new")
@case
def mkdir_there(d): os.mkdir(d + "/dir")
@case
def mkdir_over_dangling(d): os.mkdir(d + "/dangling")
@case
def mkdir_nowhere(d): os.mkdir(d + "/none/new")
@case
def mkdir_below_file(d): os.mkdir(d + "/file/new")
@case
def mknod_regular(d): os.mknod(d + "/new", 0o640 | stat.S_IFREG); return look(d + "/new")
@case
def mknod_there(d): os.mknod(d + "/file", 0o640 | stat.S_IFREG)
@case
def unlink_file(d): os.unlink(d + "/file"); return listing(d)
@case
def unlink_missing(d): os.unlink(d + "/none")
@case
def unlink_dir(d): os.unlink(d + "/dir")
@case
def unlink_open(d):
    fd = os.open(d + "/file", os.O_RDWR)
    os.unlink(d + "/file")
    os.pwrite(fd, b"more", 10)
    out = os.pread(fd, 100, 0), os.fstat(fd).st_nlink, os.fstat(fd).st_size
    os.close(fd)
    return out
@case
def rmdir_hollow(d): os.rmdir(d + "/hollow"); return listing(d)
@case
def rmdir_full(d): os.rmdir(d + "/dir")
@case
def rmdir_file(d): os.rmdir(d + "/file")
@case
def rmdir_missing(d): os.rmdir(d + "/none")
@case
def rename_new(d): os.rename(d + "/file", d + "/dir/moved"); return listing(d), read(d + "/dir/moved")
@case
def rename_over(d): os.rename(d + "/file", d + "/empty"); return listing(d), read(d + "/empty")
@case
def rename_dir_over_hollow(d): os.rename(d + "/dir", d + "/hollow"); return read(d + "/hollow/inner")
@case
def rename_dir_over_full(d): os.rename(d + "/hollow", d + "/dir")
@case
def rename_file_over_dir(d): os.rename(d + "/file", d + "/dir")
@case
def rename_dir_over_file(d): os.rename(d + "/dir", d + "/file")
@case
def rename_into_itself(d): os.rename(d + "/dir", d + "/dir/sub")
@case
def rename_missing(d): os.rename(d + "/none", d + "/new")
@case
def rename_same_inode(d): os.link(d + "/file", d + "/two"); os.rename(d + "/file", d + "/two"); return listing(d)
@case
def rename_noreplace_there(d): renameat2(d + "/file", d + "/empty", RENAME_NOREPLACE)
@case
def rename_noreplace_new(d): renameat2(d + "/file", d + "/new", RENAME_NOREPLACE); return listing(d)
@case
def rename_exchange(d):
    renameat2(d + "/file", d + "/dir", RENAME_EXCHANGE)
    return read(d + "/file/inner"), read(d + "/dir"), listing(d)
@case
def rename_exchange_missing(d): renameat2(d + "/file", d + "/none", RENAME_EXCHANGE)
@case
def link_new(d): os.link(d + "/file", d + "/two"); return look(d + "/file"), os.stat(d + "/file").st_ino == os.stat(d + "/two").st_ino
@case
def link_there(d): os.link(d + "/file", d + "/empty")
@case
def link_dir(d): os.link(d + "/dir", d + "/two")
@case
def link_symlink(d): os.link(d + "/link", d + "/two", follow_symlinks=False); return os.readlink(d + "/two")
@case
def open_missing(d): os.open(d + "/none", os.O_RDONLY)
@case
def open_dir_to_write(d): os.open(d + "/dir", os.O_WRONLY)
@case
def open_file_as_dir(d): os.open(d + "/file", os.O_RDONLY | os.O_DIRECTORY)
@case
def open_nofollow(d): os.open(d + "/link", os.O_RDONLY | os.O_NOFOLLOW)
@case
def open_excl_there(d): os.open(d + "/file", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
@case
def open_excl_new(d): close(os.open(d + "/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o604)); return look(d + "/new")
@case
def open_creates_through_dangling(d): close(os.open(d + "/dangling", os.O_WRONLY | os.O_CREAT, 0o644)); return look(d + "/nowhere")
@case
def open_truncates(d): close(os.open(d + "/file", os.O_WRONLY | os.O_TRUNC)); return look(d + "/file"), read(d + "/file")
@case
def open_truncates_without_writing(d): close(os.open(d + "/file", os.O_RDONLY | os.O_TRUNC)); return read(d + "/file")
@case
def open_creates_unwritable(d):
    fd = os.open(d + "/new", os.O_RDWR | os.O_CREAT, 0o000)
    os.write(fd, b"yes")
    out = os.pread(fd, 10, 0)
    os.close(fd)
    return out, look(d + "/new")
@case
def read_beyond_end(d):
    fd = os.open(d + "/file", os.O_RDONLY)
    out = os.pread(fd, 10, 10), os.pread(fd, 10, 5), os.pread(fd, 10, 1 << 40)
    os.close(fd)
    return out
@case
def read_of_written(d):
    fd = os.open(d + "/file", os.O_RDWR)
    os.pwrite(fd, b"AB", 3)
    out = os.pread(fd, 100, 0), os.fstat(fd).st_size
    os.pwrite(fd, b"CD", 5000)
    out += os.pread(fd, 10000, 0), os.fstat(fd).st_size, os.stat(d + "/file").st_size
    os.close(fd)
    return out + (read(d + "/file"),)
@case
def write_to_read_only_descriptor(d):
    fd = os.open(d + "/file", os.O_RDONLY)
    try:
        os.write(fd, b"x")
    finally:
        os.close(fd)
@case
def append_twice(d):
    a, b = os.open(d + "/file", os.O_WRONLY | os.O_APPEND), os.open(d + "/file", os.O_WRONLY | os.O_APPEND)
    for _ in range(3):
        os.write(a, b"a")
        os.write(b, b"b")
    os.close(a), os.close(b)
    return read(d + "/file")
@case
def append_and_read(d):
    fd = os.open(d + "/file", os.O_RDWR | os.O_APPEND)
    os.write(fd, b"end")
    out = os.pread(fd, 100, 0), os.fstat(fd).st_size
    os.close(fd)
    return out
@case
def ftruncate_between_writes(d):
    fd = os.open(d + "/file", os.O_RDWR)
    os.pwrite(fd, b"x" * 9000, 0)
    os.ftruncate(fd, 100)
    os.pwrite(fd, b"y", 200)
    out = os.fstat(fd).st_size, os.pread(fd, 1000, 0)
    os.close(fd)
    return out
@case
def sync_write(d):
    fd = os.open(d + "/file", os.O_WRONLY | os.O_SYNC)
    os.write(fd, b"sync")
    os.close(fd)
    return read(d + "/file")
@case
def fsync_file_and_dir(d):
    fd, dd = os.open(d + "/file", os.O_RDWR), os.open(d, os.O_RDONLY)
    os.write(fd, b"f")
    os.fsync(fd), os.fdatasync(fd), os.fsync(dd)
    os.close(fd), os.close(dd)
@case
def setid_goes_with_a_write(d):
    os.chmod(d + "/file", 0o6777)
    assert as_nobody(lambda: write(d + "/file", b"changed")) == 0
    return look(d + "/file")
@case
def list_folder(d): return listing(d)
@case
def list_file(d): os.listdir(d + "/file")
@case
def list_missing(d): os.listdir(d + "/none")
@case
def list_dots(d):
    return os.stat(d + "/dir/.").st_ino == os.stat(d + "/dir").st_ino, os.stat(d + "/dir/..").st_ino == os.stat(d).st_ino
@case
def list_inodes(d): return all(e.inode() == e.stat(follow_symlinks=False).st_ino for e in os.scandir(d))
@case
def list_while_removing(d):
    for i in range(500):
        write(f"{d}/dir/{i}", b"")
    for e in os.scandir(d + "/dir"):
        os.unlink(e.path)
    return listing(d + "/dir")
@case
def names_of_any_bytes(d):
    names = [bytes([b]) * 3 for b in range(1, 256) if b not in b"/."] + [b"\xff\xfe", b" ", b"-", b"...", b"a\nb"]
    for n in names:
        write(os.fsencode(d) + b"/dir/" + n, n)
    found = sorted(os.listdir(os.fsencode(d) + b"/dir"))
    return found == sorted(names + [b"inner"]) and all(read(os.fsencode(d) + b"/dir/" + n) == n for n in names)
@case
def nobody_reads_secret(d): return as_nobody(lambda: read(d + "/secret"))
@case
def nobody_enters_closed(d): return as_nobody(lambda: os.stat(d + "/closed/x"))
@case
def nobody_lists_closed(d): return as_nobody(lambda: os.listdir(d + "/closed"))
@case
def nobody_makes(d): return as_nobody(lambda: os.mkdir(d + "/new"))
@case
def nobody_removes(d): return as_nobody(lambda: os.unlink(d + "/file"))
@case
def nobody_chmods(d): return as_nobody(lambda: os.chmod(d + "/file", 0o777))
@case
def nobody_chowns(d): return as_nobody(lambda: os.chown(d + "/file", NOBODY, NOBODY))
@case
def nobody_touches(d): return as_nobody(lambda: os.utime(d + "/file"))
@case
def nobody_makes_in_open_folder(d):
    os.chmod(d + "/hollow", 0o1777)
    return as_nobody(lambda: write(d + "/hollow/new", b"n")), look(d + "/hollow/new"), read(d + "/hollow/new")
@case
def statvfs_names(d): return os.statvfs(d).f_namemax
# fmt: on


def outcome(fn, folder):
    try:
        return fn(folder)
    except OSError as e:
        return errno.errorcode[e.errno]


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_same_as_on_a_local_folder(folders, name):
    results = []
    for top in folders:
        os.mkdir(f"{top}/{name}")
        furnish(f"{top}/{name}")
        results.append(outcome(CASES[name], f"{top}/{name}"))
    local, mounted = results
    assert mounted == local


def test_a_read_only_share_keeps_its_access_times(read_only):
    paths = [read_only.host + name for name in ("/f", "/d", "")]
    for path in paths:
        os.utime(path, (1000, 2000))  # relatime marks what was changed since it was read last
    assert read(read_only.guest + "/f") == b"text"
    assert sorted(os.listdir(read_only.guest)) == ["d", "f"] and os.listdir(read_only.guest + "/d") == []
    assert [os.stat(path).st_atime for path in paths] == [1000] * 3


def test_without_being_told_to_access_times_move_as_the_host_has_it(folders):
    """The control of what a read-only share does not do."""
    local, mounted = folders
    write(local + "/read", b"text"), write(mounted + "/read", b"text")
    for top in folders:
        os.utime(top + "/read", (1000, 2000))
        fd = os.open(top + "/read", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.read(fd, 10), os.close(fd)
        assert os.stat(top + "/read").st_atime > 1000


CHANGES = {
    "chmod": lambda d: os.chmod(d + "/f", 0o600),
    "chown": lambda d: os.chown(d + "/f", 1, 1),
    "truncate": lambda d: os.truncate(d + "/f", 0),
    "utime": lambda d: os.utime(d + "/f"),
    "symlink": lambda d: os.symlink("x", d + "/n"),
    "mkdir": lambda d: os.mkdir(d + "/n"),
    "mknod": lambda d: os.mknod(d + "/n"),
    "unlink": lambda d: os.unlink(d + "/f"),
    "rmdir": lambda d: os.rmdir(d + "/d"),
    "rename": lambda d: os.rename(d + "/f", d + "/n"),
    "link": lambda d: os.link(d + "/f", d + "/n"),
    "open to write": lambda d: os.open(d + "/f", os.O_WRONLY),
    "open to truncate": lambda d: os.open(d + "/f", os.O_RDONLY | os.O_TRUNC),
    "open to append": lambda d: os.open(d + "/f", os.O_RDWR | os.O_APPEND),
    "create": lambda d: os.open(d + "/n", os.O_WRONLY | os.O_CREAT, 0o600),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_read_only_share_changes_nothing(read_only, name):
    with pytest.raises(OSError) as e:
        CHANGES[name](read_only.guest)
    assert e.value.errno == errno.EROFS
    assert read(read_only.guest + "/f") == b"text" and sorted(os.listdir(read_only.host)) == ["d", "f"]
