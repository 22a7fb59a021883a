# SPDX-License-Identifier: MIT
"""What the host moves, removes and replaces while programs of the guest are in it: paths are not stale."""
import errno
import os
import time

import pytest

from mounted import Mounted, attempt

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path) as one:
        yield one


@pytest.fixture
def within(m):
    """Goes to a folder of the guest; out again before the mount ends."""
    yield lambda path: os.chdir(m.guest + path)
    os.chdir("/")


def put(path, text="text"):
    with open(path, "w") as f:
        f.write(text)


def get(path):
    with open(path) as f:
        return f.read()


def test_below_a_tree_that_the_host_moved_everything_goes_on(m, within):
    os.makedirs(m.host + "/a/b/c")
    put(m.host + "/a/b/c/f")
    within("/a/b/c")
    fd, folder = os.open("f", os.O_RDWR), os.open("..", os.O_RDONLY)
    os.rename(m.host + "/a", m.host + "/z")
    os.makedirs(m.host + "/a/b/c")
    os.pwrite(fd, b"T", 0)
    put("g", "new")  # is not at hand on the host: it is found by what is
    assert get("g") == "new" and get("f") == "Text"
    os.mkdir("d")
    put("d/h", "deeper")
    assert get("d/h") == "deeper"
    os.close(os.open("c/g", os.O_RDWR, dir_fd=folder))
    os.rename("g", "d/g"), os.link("f", "k"), os.truncate("d/g", 2), os.chmod("d/g", 0o600)
    assert get("d/g") == "ne" and sorted(os.listdir(".")) == ["d", "f", "k"] == sorted(os.listdir(m.host + "/z/b/c"))
    os.rename(m.host + "/z/b", m.host + "/a/elsewhere")
    put("d/i", "again")
    assert get("d/i") == get(m.host + "/a/elsewhere/c/d/i") == "again"
    os.close(fd), os.close(folder)


def test_what_the_host_moved_out_of_the_share_is_not_reached_by_new_names(m, within, tmp_path):
    os.makedirs(m.host + "/a/b")
    within("/a/b")
    put("old")
    os.rename(m.host + "/a", tmp_path / "a")
    put(tmp_path / "a/b/secret")
    assert attempt(get, "secret") in (errno.ENOENT, errno.EACCES)


def test_folders_lie_deeper_than_any_path_is_long(m, within):
    name = "d" * 255
    within("")
    for _ in range(270):  # 69 KB
        os.mkdir(name)
        os.chdir(name)
    put("f", "deep")
    assert get("f") == "deep"
    os.rename("f", "g")
    time.sleep(1.1)  # by now the kernel asks again
    assert get("g") == "deep" and os.listdir(".") == ["g"]
    os.unlink("g")
    for _ in range(270):
        os.chdir("..")
        os.rmdir(name)
