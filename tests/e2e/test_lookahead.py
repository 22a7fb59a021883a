# SPDX-License-Identifier: MIT
"""Listings that are kept and asked for ahead: fewer round trips, and nothing that is older than it may be."""
import ctypes
import os
import random
import subprocess
import sys
import time

import pytest

from mounted import HOST, Mounted

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

DELAYED = os.path.dirname(os.path.realpath(__file__)) + "/delayed.py"
TRIP = 0.06  # there and back, on the slow link
KEEP = 1.0   # a second at most


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path) as one:
        yield one


@pytest.fixture
def slow(tmp_path):
    command = [sys.executable, DELAYED, str(int(TRIP * 500)), HOST, "sftp-server", "--writable", f"{tmp_path}/host"]
    with Mounted(tmp_path, command=command) as one:
        yield one


def touch(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))


def seconds(job):
    before = time.monotonic()
    job()
    return time.monotonic() - before


def test_a_walk_waits_for_few_of_its_directories(slow):
    for a in range(6):
        for b in range(10):
            os.makedirs(f"{slow.host}/{a}/{b}")
            touch(f"{slow.host}/{a}/{b}/f")
    took = seconds(lambda: subprocess.run(["find", slow.guest], check=True, stdout=subprocess.DEVNULL))
    assert took < 40 * TRIP, "66 directories, each waited for"
    assert len(list(os.walk(slow.guest))) == 67


def test_many_names_of_a_directory_cost_one_listing(slow):
    for i in range(60):
        touch(f"{slow.host}/{i}")
    took = seconds(lambda: [os.stat(f"{slow.guest}/{i}") for i in range(60)])
    assert took < 20 * TRIP


def test_names_that_are_made_are_not_looked_up_one_by_one(m):
    os.mkdir(m.host + "/d")
    touch(m.host + "/d/there")

    def read_by_server():
        with open(f"/proc/{m.children()['server']}/io") as io:
            return int(io.read().split("rchar: ")[1].split()[0])

    before = read_by_server()
    for i in range(1000):
        touch(f"{m.guest}/d/{i:0>100}")
    # LOOKUP, CREATE and RELEASE are 121, 145 and 17 bytes.
    assert read_by_server() - before < 230 * 1000, "each looked up before it was made"
    assert len(os.listdir(m.host + "/d")) == 1001


def test_a_new_file_of_the_host_is_found_at_once_where_the_guest_makes_none(m):
    os.mkdir(m.host + "/d")
    for i in range(200):
        os.listdir(m.guest + "/d")
        touch(f"{m.host}/d/{i}")
        assert os.stat(f"{m.guest}/d/{i}").st_size == 0
        assert not os.path.exists(f"{m.guest}/d/not-{i}")


def test_a_new_file_of_the_host_is_found_at_once_where_the_guest_makes_few(m):
    for i in range(100):
        touch(f"{m.guest}/guest-{i}")
        touch(f"{m.host}/host-{i}")
        assert os.stat(f"{m.guest}/host-{i}").st_size == 0


def test_a_new_file_of_the_host_is_found_in_time_where_the_guest_makes_others(m):
    os.mkdir(m.host + "/d")
    for i in range(100):
        touch(f"{m.guest}/d/{i}")
    touch(m.host + "/d/new")
    end = time.monotonic() + KEEP
    i = 0
    while not os.path.exists(m.guest + "/d/new"):
        assert time.monotonic() < end
        touch(f"{m.guest}/d/more-{i}")
        i += 1
    # Making it is never wrong: the host decides.
    touch(m.host + "/d/other")
    with pytest.raises(FileExistsError):
        os.close(os.open(m.guest + "/d/other", os.O_WRONLY | os.O_CREAT | os.O_EXCL))


@pytest.mark.parametrize("change", ["made", "removed", "renamed", "replaced", "grown"])
def test_what_the_host_changes_shows_within_a_second(m, change):
    for name in ("a", "b"):
        touch(f"{m.host}/{name}")
    assert sorted(e.name for e in os.scandir(m.guest) if e.stat().st_size == 0) == ["a", "b"]
    if change == "made":
        touch(m.host + "/c")
    elif change == "removed":
        os.unlink(m.host + "/b")
    elif change == "renamed":
        os.rename(m.host + "/b", m.host + "/c")
    elif change == "replaced":
        touch(m.host + "/new")
        os.rename(m.host + "/new", m.host + "/b")
    else:
        os.truncate(m.host + "/b", 10)
    time.sleep(KEEP)

    def state(top):
        return sorted((e.name, e.inode(), e.stat().st_size) for e in os.scandir(top))

    assert state(m.guest) == state(m.host)


def one_change(r, top):
    """Something a program does in a small tree; names are few, so that they meet."""
    def path():
        return top + "".join(f"/{r.choice('abcd')}" for _ in range(r.randint(1, 3)))

    kind, here, there = r.choice(["make", "mkdir", "unlink", "rmdir", "rename", "link", "symlink", "chmod", "write", "times"]), path(), path()
    try:
        if kind == "make":
            touch(here)
        elif kind == "mkdir":
            os.mkdir(here)
        elif kind == "unlink":
            os.unlink(here)
        elif kind == "rmdir":
            os.rmdir(here)
        elif kind == "rename":
            os.rename(here, there)
        elif kind == "link":
            os.link(here, there, follow_symlinks=False)
        elif kind == "symlink":
            os.symlink(r.choice("abcd"), here)
        elif kind == "chmod":
            os.chmod(here, r.choice([0o600, 0o644, 0o755]))
        elif kind == "times":
            os.utime(here, ns=(r.randint(0, 10**18), r.randint(0, 10**18)), follow_symlinks=False)
        else:
            with open(here, "ab") as f:
                f.write(b"x" * r.randint(1, 9))
    except OSError:
        pass


def tree_state(top):
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            st = os.lstat(os.path.join(folder, name))
            found[os.path.relpath(os.path.join(folder, name), top)] = (st.st_mode, st.st_ino, st.st_size, st.st_nlink, st.st_mtime_ns)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_our_own_changes_show_at_once_in_whatever_order(m, seed):
    r = random.Random(seed)
    for step in range(600):
        one_change(r, m.guest)
        look = r.random()
        if look < 0.3:
            assert tree_state(m.guest) == tree_state(m.host), step
        elif look < 0.6:
            name = "/".join(r.choice("abcd") for _ in range(r.randint(1, 3)))
            assert os.path.lexists(f"{m.guest}/{name}") == os.path.lexists(f"{m.host}/{name}"), (step, name)


def test_a_directory_opened_from_memory_can_be_read_in_any_order_and_synced(m):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = libc.readdir64.restype = ctypes.c_void_p
    for f in (libc.readdir64, libc.rewinddir, libc.telldir, libc.closedir, libc.dirfd):
        f.argtypes = [ctypes.c_void_p]
    libc.telldir.restype = ctypes.c_long
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def read_one(d):
        entry = libc.readdir64(d)
        return ctypes.string_at(entry + 19) if entry else None

    def read_all(d):
        return list(iter(lambda: read_one(d), None))

    os.mkdir(m.host + "/d")
    for i in range(100):
        touch(f"{m.host}/d/{i}")
    os.listdir(m.guest + "/d")
    d = libc.opendir(os.fsencode(m.guest + "/d"))
    places, names = [], []
    while True:
        places.append(libc.telldir(d))
        name = read_one(d)
        if name is None:
            break
        names.append(name)
    assert sorted(names) == sorted([b".", b".."] + [b"%d" % i for i in range(100)])
    for i in (50, 3, 101, 0):
        libc.seekdir(d, places[i])
        assert read_all(d) == names[i:]
    time.sleep(KEEP)
    os.fsync(libc.dirfd(d))
    touch(m.host + "/d/new")
    os.unlink(m.host + "/d/0")
    time.sleep(KEEP)
    libc.rewinddir(d)
    assert sorted(read_all(d)) == sorted([b".", b"..", b"new"] + [b"%d" % i for i in range(1, 100)])
    assert libc.closedir(d) == 0


def test_what_is_remembered_is_given_back(m):
    """Nodes that only a listing holds go with it: the mount's memory does not grow with each walk."""
    for a in range(30):
        os.mkdir(f"{m.host}/{a}")
        for b in range(100):
            touch(f"{m.host}/{a}/{b}")

    def memory():
        with open(f"/proc/{m.process.pid}/statm") as f:
            return int(f.read().split()[1])

    def walk():
        subprocess.run(["find", m.guest], check=True, stdout=subprocess.DEVNULL)
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("2")
        time.sleep(KEEP)

    walk()
    before = memory()
    for _ in range(3):
        walk()
    assert memory() < before + 500, "pages"
