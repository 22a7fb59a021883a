# SPDX-License-Identifier: MIT
"""Writing through a mount: few waits, everything on the host after fsync and close, each error told once to each."""
import errno
import os
import subprocess
import sys
import time

import pytest

import mounted
from mounted import HOST, Mounted, attempt

pytestmark = pytest.mark.root

HERE = os.path.dirname(os.path.realpath(__file__))
ROUND_TRIP = 0.05


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path) as one:
        yield one


@pytest.fixture
def slow(tmp_path):
    """Each request takes ROUND_TRIP."""
    served = [HOST, "sftp-server", "--writable", f"{tmp_path}/host"]
    with Mounted(tmp_path, command=[sys.executable, HERE + "/delayed.py", str(ROUND_TRIP * 500), *served]) as one:
        yield one


@pytest.fixture
def full(tmp_path):
    """The host's folder has room for about 1 MiB."""
    os.makedirs(tmp_path / "host")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path / "host"], check=True, timeout=10)
    try:
        with Mounted(tmp_path) as one:
            yield one
    finally:
        subprocess.run(["umount", "-l", tmp_path / "host"], check=True, timeout=10)


def on_host(m, name):
    with open(f"{m.host}/{name}", "rb") as f:
        return f.read()


def test_a_thousand_small_writes_cost_at_most_ten_waits(slow):
    data = os.urandom(4096 * 1000)
    began = time.monotonic()
    fd = os.open(slow.guest + "/f", os.O_WRONLY | os.O_CREAT, 0o644)
    for i in range(1000):
        os.write(fd, data[i * 4096:(i + 1) * 4096])
    os.close(fd)
    waits = (time.monotonic() - began) / ROUND_TRIP
    assert on_host(slow, "f") == data
    assert waits <= 10, f"{waits:.1f} round trips"


def test_rewriting_one_place_keeps_its_last_bytes(slow):
    fd = os.open(slow.guest + "/f", os.O_RDWR | os.O_CREAT, 0o644)
    for i in range(300):
        os.pwrite(fd, b"%04d" % i, (i % 3) * 2)
    want = bytearray(8)
    for i in range(300):
        want[(i % 3) * 2:(i % 3) * 2 + 4] = b"%04d" % i
    assert os.pread(fd, 100, 0) == bytes(want)
    os.close(fd)
    assert on_host(slow, "f") == bytes(want)


def test_two_descriptors_keep_their_order(slow):
    a = os.open(slow.guest + "/f", os.O_RDWR | os.O_CREAT, 0o644)
    b = os.open(slow.guest + "/f", os.O_RDWR)
    want = bytearray(64)
    for i in range(100):
        at = i * 7 % 60
        os.pwrite(a if i % 2 else b, b"%02d" % (i % 100) * 2, at)
        want[at:at + 4] = b"%02d" % (i % 100) * 2
    os.close(a), os.close(b)
    assert on_host(slow, "f") == bytes(want[:len(on_host(slow, "f"))])


def test_what_fsync_and_close_return_for_is_on_the_host(m):
    fd = os.open(m.guest + "/f", os.O_WRONLY | os.O_CREAT, 0o644)
    for i in range(200):
        os.write(fd, b"%08d" % i)
        if i % 20 == 0:
            os.fsync(fd)
            assert on_host(m, "f") == b"".join(b"%08d" % n for n in range(i + 1))
    os.close(fd)
    assert len(on_host(m, "f")) == 1600


def test_rename_link_truncate_and_stat_do_not_overtake_writes(slow):
    def begin(name):
        fd = os.open(f"{slow.guest}/{name}", os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"x" * 100000)
        return fd

    fd = begin("a")
    os.rename(slow.guest + "/a", slow.guest + "/b")
    assert len(on_host(slow, "b")) == 100000
    os.close(fd)
    fd = begin("c")
    os.link(slow.guest + "/c", slow.guest + "/d")
    assert len(on_host(slow, "d")) == 100000
    os.close(fd)
    fd = begin("e")
    os.ftruncate(fd, 10)
    assert on_host(slow, "e") == b"x" * 10
    os.close(fd)
    fd = begin("g")
    assert os.stat(slow.guest + "/g").st_size == os.fstat(fd).st_size == 100000
    assert os.pread(fd, 200000, 0) == b"x" * 100000
    os.close(fd)


def test_o_sync_waits_for_each_write(slow):
    fd = os.open(slow.guest + "/f", os.O_WRONLY | os.O_CREAT | os.O_SYNC, 0o644)
    for i in range(3):
        os.write(fd, b"sync")
        assert on_host(slow, "f") == b"sync" * (i + 1)
    os.close(fd)


def test_appends_of_guest_and_host_do_not_overwrite_each_other(m):
    fd = os.open(m.guest + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    other = os.open(m.host + "/log", os.O_WRONLY | os.O_APPEND)
    for i in range(200):
        os.write(fd, b"guest%03d\n" % i)
        os.write(other, b"host_%03d\n" % i)
    os.close(fd), os.close(other)
    lines = on_host(m, "log").split(b"\n")[:-1]
    assert sorted(lines) == sorted([b"guest%03d" % i for i in range(200)] + [b"host_%03d" % i for i in range(200)])


def test_a_full_disk_is_told_once_to_each_description(full):
    a = os.open(full.guest + "/f", os.O_RDWR | os.O_CREAT, 0o644)
    b = os.open(full.guest + "/f", os.O_RDWR)
    r = os.open(full.guest + "/f", os.O_RDONLY)
    assert attempt(os.write, a, b"x" * (2 << 20)) == 0, "it is written behind"
    assert attempt(os.fsync, a) == errno.ENOSPC
    assert attempt(os.fsync, a) == 0
    assert attempt(os.write, b, b"y") == errno.ENOSPC
    assert attempt(os.pwrite, b, b"y", 0) == 0
    assert attempt(os.fsync, r) == errno.ENOSPC
    assert attempt(os.fsync, r) == 0
    late = os.open(full.guest + "/f", os.O_RDWR)
    assert attempt(os.fsync, late) == 0, "it happened before this one was opened"
    for fd in (a, b, r, late):
        assert attempt(os.close, fd) == 0


@pytest.fixture
def faulty(tmp_path, request):
    """The first `count` calls of `call` on the host's disk end with `error`: request.param."""
    served = [*mounted.faulty(tmp_path, FAULT="{} {} {}".format(*request.param)), HOST, "sftp-server", "--writable",
              f"{tmp_path}/host"]
    with Mounted(tmp_path, command=served) as one:
        yield one


@pytest.mark.parametrize("faulty", [("pwrite", errno.EIO, 1), ("pwrite", errno.EDQUOT, 1)], indirect=True,
                         ids=["error", "quota"])
def test_what_the_disk_did_not_take_is_told_once_to_each_description(request, faulty):
    _, error, _ = request.node.callspec.params["faulty"]
    a, b = (os.open(faulty.guest + "/f", os.O_RDWR | os.O_CREAT, 0o644) for _ in "ab")
    assert attempt(os.write, a, b"x" * 4096) == 0, "it is written behind"
    assert [attempt(os.fsync, a) for _ in range(3)] == [error, 0, 0]
    assert [attempt(os.fsync, b) for _ in range(3)] == [error, 0, 0]
    assert attempt(os.pwrite, a, b"y" * 4096, 0) == attempt(os.fsync, a) == 0
    assert on_host(faulty, "f") == b"y" * 4096
    assert attempt(os.close, a) == attempt(os.close, b) == 0


@pytest.mark.parametrize("faulty", [("pwrite", errno.EDQUOT, 1)], indirect=True, ids=["quota"])
def test_a_quota_that_is_used_up_is_told_at_close_at_the_latest(faulty):
    fd = os.open(faulty.guest + "/f", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, b"x" * 4096)
    assert attempt(os.close, fd) == errno.EDQUOT


@pytest.mark.parametrize("faulty", [("fsync", errno.EIO, 2)], indirect=True, ids=["error"])
def test_what_the_disk_has_lost_is_what_the_hosts_kernel_tells_each_description(faulty):
    """fsync(2): it tells each once, of two here."""
    a, b = (os.open(faulty.guest + "/f", os.O_RDWR | os.O_CREAT, 0o644) for _ in "ab")
    os.write(a, b"x")
    assert [attempt(os.fsync, fd) for fd in (a, b, a, b)] == [errno.EIO, errno.EIO, 0, 0]
    assert attempt(os.close, a) == attempt(os.close, b) == 0


def test_a_full_disk_is_told_at_close_at_the_latest(full):
    fd = os.open(full.guest + "/f", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, b"x" * (2 << 20))
    assert attempt(os.close, fd) == errno.ENOSPC
    assert subprocess.run(["cp", "/dev/zero", full.guest + "/g"], capture_output=True, timeout=30).returncode != 0


def test_what_a_full_disk_did_not_take_is_not_seen_any_more(full):
    fd = os.open(full.guest + "/f", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"x" * (2 << 20))
    assert attempt(os.fsync, fd) == errno.ENOSPC
    os.close(fd)
    with open(full.guest + "/f", "rb") as f:
        assert f.read() == on_host(full, "f")


def test_many_writers_at_once(m):
    def write(n):
        with open(f"{m.guest}/f{n % 4}", "r+b" if n > 3 else "w+b", buffering=0) as f:
            for i in range(64):
                f.seek((n // 4 * 64 + i) * 8192)
                f.write(bytes([n + 1]) * 8192)

    for n in range(4):
        write(n)
    pids = []
    for n in range(4, 32):
        pid = os.fork()
        if pid == 0:
            write(n)
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    for k in range(4):
        want = b"".join(bytes([n + 1]) * 8192 * 64 for n in range(k, 32, 4))
        assert on_host(m, f"f{k}") == want
