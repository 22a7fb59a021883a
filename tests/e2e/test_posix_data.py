# SPDX-License-Identifier: MIT
"""Ranges of files: fallocate(2), lseek(2) for holes and data, copy_file_range(2), offsets at the limits of off_t. Each
case runs on a local folder and on the mount, which must agree."""
import ctypes
import errno
import fcntl
import os
import tempfile

import pytest

import native_client as native
from mounted import HOST, Mounted

pytestmark = pytest.mark.root

LIBC = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
K = 1 << 10
FAR = (1 << 63) - 1
FICLONE = 0x40049409


@pytest.fixture(scope="module")
def folders():
    with tempfile.TemporaryDirectory(prefix="homeport-data-") as top:
        os.mkdir(top + "/local")
        with Mounted(top + "/mounted") as m:
            yield top + "/local", m.guest, m


def fallocate(fd, mode, offset, length):
    if LIBC.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def attempt(fn, *args, **kw):
    """What it returns, or its errno's name."""
    try:
        return fn(*args, **kw)
    except OSError as e:
        return errno.errorcode[e.errno]


def open_file(d, name="file", flags=os.O_RDWR | os.O_CREAT):
    return os.open(f"{d}/{name}", flags, 0o644)


def state(fd):
    """All of a file that a range request may change, and where its data lie."""
    size = os.fstat(fd).st_size
    content = os.pread(fd, size, 0) if size < 1 << 24 else None
    extents, at = [], 0
    while isinstance(at := attempt(os.lseek, fd, at, os.SEEK_DATA), int):
        end = os.lseek(fd, at, os.SEEK_HOLE)
        extents.append((at, end))
        at = end
    return size, content, extents, round(os.fstat(fd).st_blocks / 64)  # ext4 may need one more for itself


# name: what happens to a file of 64 KiB of data that was just written, before a write to it is on the host
ALLOCATE = {
    "room within (fallocate(2))": (0, 4 * K, 8 * K),
    "room beyond the end": (0, 60 * K, 64 * K),
    "room beyond the end, size kept": (KEEP_SIZE, 60 * K, 64 * K),
    "a hole": (PUNCH_HOLE | KEEP_SIZE, 8 * K, 16 * K),
    "a hole between page borders": (PUNCH_HOLE | KEEP_SIZE, 8 * K + 5, 100),
    "a hole over page borders": (PUNCH_HOLE | KEEP_SIZE, 8 * K - 5, 8 * K + 10),
    "a hole over the end": (PUNCH_HOLE | KEEP_SIZE, 60 * K, 64 * K),
    "a hole beyond the end": (PUNCH_HOLE | KEEP_SIZE, 128 * K, 64 * K),
    "a hole without keeping the size": (PUNCH_HOLE, 8 * K, 16 * K),
    "zeroes": (ZERO, 8 * K + 5, 16 * K),
    "zeroes over the end": (ZERO, 60 * K, 64 * K),
    "zeroes over the end, size kept": (ZERO | KEEP_SIZE, 60 * K, 64 * K),
    "nothing": (0, 0, 0),
    "a negative offset": (0, -1, 10),
    "a negative length": (0, 0, -10),
    "up to the last offset": (0, FAR - 4 * K, 4 * K),
    "beyond the last offset": (0, FAR, 4 * K),
    "a hole at the last offset": (PUNCH_HOLE | KEEP_SIZE, FAR - 4 * K, 4 * K),
    "two modes at once": (PUNCH_HOLE | ZERO | KEEP_SIZE, 0, 4 * K),
    "an unknown mode": (1 << 12, 0, 4 * K),
}


@pytest.mark.parametrize("name", sorted(ALLOCATE))
def test_fallocate_leaves_what_it_leaves_on_a_local_file(folders, name):
    results = []
    for d in folders[:2]:
        fd = open_file(d, "allocate", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.pwrite(fd, b"0123456789abcdef" * (4 * K), 0)
        result = attempt(fallocate, fd, *ALLOCATE[name])
        os.fsync(fd)
        results.append((result, state(fd)))
        os.close(fd)
    assert results[1] == results[0]


def test_fallocate_of_what_is_not_open_for_writing(folders):
    results = []
    for d in folders[:2]:
        os.close(open_file(d))
        a, b = os.open(d + "/file", os.O_RDONLY), os.open(d, os.O_RDONLY)
        results.append([attempt(fallocate, fd, 0, 0, 10) for fd in (a, b)])
        os.close(a), os.close(b)
    assert results[1] == results[0] == ["EBADF", "EBADF"]


def test_what_the_kernel_passes_to_no_fuse_server_is_not_supported(folders):
    fd, other = open_file(folders[1], "kernel"), open_file(folders[1], "kernel2")
    os.write(fd, bytes(64 * K))
    assert [attempt(fallocate, fd, mode, 4 * K, 4 * K) for mode in (COLLAPSE, INSERT)] == ["ENOTSUP"] * 2
    assert attempt(fcntl.ioctl, other, FICLONE, fd) in ("ENOTSUP", "ENOTTY")
    os.close(fd), os.close(other)


def seeks(d):
    fd = open_file(d, "holes", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(fd, 256 * K)
    os.pwrite(fd, b"x" * 5000, 64 * K)  # not on the host yet
    out = state(fd)[2]
    os.pwrite(fd, b"y", 200 * K)
    for what in (os.SEEK_DATA, os.SEEK_HOLE):
        out += [attempt(os.lseek, fd, at, what)
                for at in (0, 1, 64 * K, 65 * K, 100 * K, 200 * K, 201 * K, 256 * K - 1, 256 * K, 256 * K + 1, -1, FAR)]
    os.lseek(fd, 64 * K, os.SEEK_DATA)
    out.append(os.read(fd, 3))
    os.close(fd)
    return out


def test_holes_and_data_are_found_where_they_are(folders):
    local, mounted = (seeks(d) for d in folders[:2])
    assert mounted == local and (64 * K, 72 * K) in local


COPIES = {
    "whole": lambda a, b: os.copy_file_range(a, b, 100 * K, 0, 0),
    "to the middle": lambda a, b: os.copy_file_range(a, b, 10000, 777, 5000),
    "over the source's end": lambda a, b: os.copy_file_range(a, b, 1 << 20, 90 * K, 0),
    "from beyond the source's end": lambda a, b: os.copy_file_range(a, b, 10, 1 << 20, 0),
    "beyond the target's end": lambda a, b: os.copy_file_range(a, b, 5000, 0, 300 * K),
    "within one file": lambda a, b: os.copy_file_range(b, b, 5000, 0, 10000),
    "onto itself": lambda a, b: os.copy_file_range(b, b, 5000, 0, 4000),
    "nothing": lambda a, b: os.copy_file_range(a, b, 0, 0, 0),
    "by the descriptors' offsets": lambda a, b: (os.copy_file_range(a, b, 300), os.copy_file_range(a, b, 300),
                                                 os.lseek(a, 0, 1), os.lseek(b, 0, 1)),
    "a negative offset": lambda a, b: os.copy_file_range(a, b, 10, 0, -1),
    "up to the last offset": lambda a, b: os.copy_file_range(a, b, 10, 0, FAR - 10),
    "beyond the last offset": lambda a, b: os.copy_file_range(a, b, 10, 0, FAR),
}


@pytest.mark.parametrize("name", sorted(COPIES))
def test_copy_file_range_copies_what_was_just_written_over_what_was_just_read(folders, name):
    results = []
    for d in folders[:2]:
        a, b = (open_file(d, n, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for n in ("from", "to"))
        os.pwrite(b, b"target" * 10000, 0)
        os.fsync(b)
        seen = os.pread(b, 60000, 0)  # its pages are in the kernel, and must not stay what they were
        os.pwrite(a, bytes(range(256)) * 400, 0)
        os.pwrite(b, b"T", 59999)
        result = attempt(COPIES[name], a, b)
        results.append((result, len(seen), state(a)[:2], state(b)[:2]))
        os.close(a), os.close(b)
    assert results[1] == results[0]


def test_copy_file_range_of_the_wrong_files(folders):
    results = []
    for d in folders[:2]:
        for n in ("file", "other"):
            os.close(open_file(d, n))
        r, w = os.open(d + "/file", os.O_RDONLY), os.open(d + "/other", os.O_WRONLY)
        append, folder = os.open(d + "/other", os.O_WRONLY | os.O_APPEND), os.open(d, os.O_RDONLY)
        pairs = ((r, r), (w, w), (r, append), (folder, w), (r, folder))
        results.append([attempt(os.copy_file_range, a, b, 10, 0, 0) for a, b in pairs])
        for fd in (r, w, append, folder):
            os.close(fd)
    assert results[1] == results[0]


def agent_bytes(m):
    with open(f"/proc/{m.process.pid}/io") as f:
        return sum(int(line.split()[1]) for line in f if line.split(":")[0] in ("rchar", "wchar"))


def test_a_copy_does_not_cross(folders):
    _, d, m = folders
    with open(m.host + "/big", "wb") as f:
        for i in range(64):
            f.write(bytes([i]) * (1 << 20))
    a, b = os.open(d + "/big", os.O_RDONLY), open_file(d, "big copy")
    before, done = agent_bytes(m), 0
    while n := os.copy_file_range(a, b, 1 << 30):
        done += n
    assert done == 64 << 20 and agent_bytes(m) - before < 1 << 20
    os.close(a), os.close(b)
    with open(m.host + "/big", "rb") as x, open(m.host + "/big copy", "rb") as y:
        assert x.read() == y.read()


def test_what_a_descriptor_opened_before_a_copy_reads_is_the_copy(folders):
    """The first bytes of a small file come with OPEN: they are not what it holds after a change of ours."""
    _, d, m = folders
    with open(m.host + "/small", "wb") as f:
        f.write(b"old")
    os.stat(d + "/small")  # known, so that OPEN asks for its bytes
    reader, a = os.open(d + "/small", os.O_RDONLY), open_file(d, "source")
    os.write(a, b"new")
    b = os.open(d + "/small", os.O_WRONLY)
    assert os.copy_file_range(a, b, 3, 0, 0) == 3
    assert os.pread(reader, 10, 0) == b"new"
    for fd in (reader, a, b):
        os.close(fd)


FAR_CALLS = {
    "pwrite at the last offset": lambda fd: os.pwrite(fd, b"x", FAR),
    "pwrite just before it": lambda fd: os.pwrite(fd, b"x", FAR - 1),
    "pwrite at 16 TiB": lambda fd: os.pwrite(fd, b"x", 1 << 44),
    "pwrite at 4 TiB": lambda fd: os.pwrite(fd, b"x", 1 << 42),
    "pwrite at a negative offset": lambda fd: os.pwrite(fd, b"x", -1),
    "pread at the last offset": lambda fd: os.pread(fd, 10, FAR),
    "pread just before it": lambda fd: os.pread(fd, 10, FAR - 10),
    "pread at 16 TiB": lambda fd: os.pread(fd, 10, 1 << 44),
    "pread at a negative offset": lambda fd: os.pread(fd, 10, -1),
    "ftruncate to the last offset": lambda fd: os.ftruncate(fd, FAR),
    "ftruncate to 16 TiB": lambda fd: os.ftruncate(fd, 1 << 44),
    "ftruncate to 4 TiB": lambda fd: os.ftruncate(fd, 1 << 42),
    "ftruncate to a negative size": lambda fd: os.ftruncate(fd, -1),
}


@pytest.mark.parametrize("name", sorted(FAR_CALLS))
def test_the_limits_of_offsets_are_the_host_file_systems(folders, name):
    results = []
    for d in folders[:2]:
        fd = open_file(d, "far", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.write(fd, b"near")
        result = attempt(FAR_CALLS[name], fd)
        results.append((result, attempt(os.fsync, fd), os.fstat(fd).st_size, os.pread(fd, 10, 0)))
        os.close(fd)
    assert results[1] == results[0]


# ---- at the wire

@pytest.fixture
def served(tmp_path):
    """(a client of a read-only share, a writable one, the folder)"""
    (tmp_path / "f").write_bytes(b"0123456789abcdef" * 4 * K)
    (tmp_path / "g").write_bytes(b"")
    with native.Client.spawn([HOST, "sftp-server", str(tmp_path)]) as ro, \
            native.Client.spawn([HOST, "sftp-server", "--writable", str(tmp_path)]) as rw:
        yield ro, rw, tmp_path


def refused(fn, *args):
    with pytest.raises(OSError) as e:
        fn(*args)
    return errno.errorcode[e.value.errno]


def test_a_read_only_share_refuses_ranges_before_it_looks_at_them(served):
    ro, _, folder = served
    fh = ro.open(ro.lookup(native.ROOT, b"f")[0])[0]
    assert refused(ro.fallocate, fh, 0, 0, 10) == "EROFS"
    assert refused(ro.copy, fh, 0, fh, 10, 10) == "EROFS"
    assert refused(ro.copy, 999, 0, 998, 10, 10) == "EROFS"
    assert ro.seek(fh, 0, 1) == 0 and ro.seek(fh, 0, 2) == 64 * K
    assert (folder / "f").read_bytes() == b"0123456789abcdef" * 4 * K


def test_every_mode_of_the_hosts_file_system_can_be_asked_for(served):
    _, rw, folder = served
    fh = rw.open(rw.lookup(native.ROOT, b"f")[0], native.O_READ | native.O_WRITE)[0]
    change = rw.fallocate(fh, INSERT, 4 * K, 4 * K)
    assert (change.size, change.after.size) == (64 * K, 68 * K)
    assert rw.read(fh, 4 * K, 4 * K) == bytes(4 * K)
    assert rw.fallocate(fh, COLLAPSE, 4 * K, 4 * K).after.size == 64 * K
    assert (folder / "f").read_bytes() == b"0123456789abcdef" * 4 * K
    assert refused(rw.fallocate, fh, 4, 0, 4 * K) == "ENOTSUP"
    assert refused(rw.fallocate, fh, 0, 1 << 63, 1) == "EINVAL"
    assert refused(rw.fallocate, fh, COLLAPSE, 1, 1) == "EINVAL"


def test_handles_of_another_kind_are_refused(served):
    _, rw, _ = served
    f, g = (rw.lookup(native.ROOT, n)[0] for n in (b"f", b"g"))
    r, w, d = rw.open(f)[0], rw.open(g, native.O_WRITE)[0], rw.opendir(native.ROOT)[0]
    assert {refused(rw.fallocate, fh, 0, 0, 1) for fh in (0, r, d, 999)} == {"EBADF"}
    assert {refused(rw.seek, fh, 0, 1) for fh in (0, d, 999)} == {"EBADF"}
    assert refused(rw.seek, r, 0, 3) == "EINVAL" and refused(rw.seek, r, 1 << 63, 1) == "ENXIO"
    assert {refused(rw.copy, a, 0, b, 0, 1) for a in (0, r, d, 999) for b in (r, w)} == {"EBADF"}
    assert {refused(rw.copy, w, 0, b, 0, 1) for b in (0, w, d, 999)} == {"EBADF"}
    assert refused(rw.copy, w, 1 << 63, r, 0, 1) == "EINVAL" and refused(rw.copy, w, 0, r, 1 << 63, 1) == "EINVAL"
    copied, change = rw.copy(w, 5, r, 3, 7)
    assert (copied, change.size, change.after.size) == (7, 0, 12)
