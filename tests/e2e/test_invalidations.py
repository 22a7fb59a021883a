# SPDX-License-Identifier: MIT
"""What the share's server comes across is not kept on in the guest: its kernel would for a second more."""
import ctypes
import errno
import os
import shutil
import time

import pytest

from mounted import Mounted

pytestmark = pytest.mark.root

LIBC = ctypes.CDLL(None, use_errno=True)
KEPT_S = 1.0  # MOUNT_KEEP_S


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path) as one:
        yield one


def put(path, text="x"):
    with open(path, "w") as f:
        f.write(text)


def ask_anew(fd):
    """statx(2) with AT_EMPTY_PATH and AT_STATX_FORCE_SYNC: asks the host, whatever the kernel has. The errno."""
    done = LIBC.statx(fd, b"", 0x1000 | 0x2000, 0x7ff, ctypes.create_string_buffer(256))
    return ctypes.get_errno() if done else 0


def at_once(attempt):
    """attempt(k) makes the kernel keep something, changes it, and returns whether that shows. On a busy machine what was
    kept may have run out by itself; one attempt that took less than it is kept for decides."""
    for k in range(10):
        began = time.monotonic()
        shows = attempt(k)
        while not shows() and time.monotonic() - began < 2 * KEPT_S:
            time.sleep(0.005)
        took = time.monotonic() - began
        print(f"attempt {k}: {took * 1000:.0f} ms")
        if took < KEPT_S / 2:
            return
    pytest.fail("it was kept as long as if nobody had told")


def test_a_file_the_host_moved_has_gone_when_it_is_met_again(m):
    def attempt(k):
        put(f"{m.host}/old{k}")
        os.stat(f"{m.guest}/old{k}")
        os.rename(f"{m.host}/old{k}", f"{m.host}/new{k}")
        assert os.path.exists(f"{m.guest}/old{k}"), "nobody has come across it yet"
        os.stat(f"{m.guest}/new{k}")
        return lambda: not os.path.exists(f"{m.guest}/old{k}")

    at_once(attempt)


def test_a_file_the_host_replaced_is_the_new_one_when_the_old_was_missed(m):
    def attempt(k):
        here, there = f"{m.guest}/f{k}", f"{m.host}/f{k}"
        put(there, "old")
        fd = os.open(here, os.O_PATH)
        assert os.fstat(fd).st_size == 3
        put(there + ".new", "new one")
        os.rename(there + ".new", there)
        assert os.stat(here).st_size == 3, "nobody has come across it yet"
        assert ask_anew(fd) == errno.ESTALE
        os.close(fd)
        return lambda: os.stat(here).st_size == 7

    at_once(attempt)


def test_a_link_count_follows_each_name_that_goes(m):
    names = [f"{m.guest}/{c}" for c in "abcdef"]
    put(names[0])
    for name in names[1:]:
        os.link(names[0], name)
    # The mount knows the file by the name it has seen last, of whichever those are.
    os.listdir(m.guest)
    while len(names) > 1:
        with open(names[-1]):
            assert os.stat(names[-1]).st_nlink == len(names)
            os.unlink(names.pop(0))
            assert os.stat(names[-1]).st_nlink == len(names)


def test_a_share_that_was_removed_keeps_nothing(tmp_path):
    mounts = []

    def attempt(k):
        m = Mounted(tmp_path / str(k))
        mounts.append(m.__enter__())
        for name in ("a", "b"):
            put(f"{m.host}/{name}")
            os.stat(f"{m.guest}/{name}")
        fd = os.open(f"{m.guest}/b", os.O_PATH)
        shutil.rmtree(m.host)
        assert os.path.exists(f"{m.guest}/a"), "nobody has come across it yet"
        assert ask_anew(fd) == errno.ESTALE
        os.close(fd)
        return lambda: not os.path.exists(f"{m.guest}/a")

    try:
        at_once(attempt)
    finally:
        for m in mounts:
            m.kill()
