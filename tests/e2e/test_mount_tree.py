# SPDX-License-Identifier: MIT
"""A tree on the host and through the mount compare equal, both ways: bytes, names, nanoseconds, links, holes."""
import ctypes
import hashlib
import os
import random
import stat
import subprocess

import pytest

from mounted import Mounted

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

FILES = 2000


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path) as one:
        yield one


def a_name(r):
    length = 255 if r.random() < 0.01 else r.randint(1, 24)
    name = bytes(r.choice(range(1, 256)) for _ in range(length)).replace(b"/", b"_")
    return name if name not in (b".", b"..") else b"dots"


def some_bytes(r):
    size = r.choice([0, 0, 1, 10, 100, 4095, 4096, 4097, 20000] + [r.randint(0, 300000)] * (r.random() < 0.02))
    return r.randbytes(size)


def make_file(path, r):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    if r.random() < 0.02:  # holes before and between
        os.pwrite(fd, b"x", 1 << 20)
        os.pwrite(fd, b"y", 3 << 20)
    else:
        os.write(fd, some_bytes(r))
    os.close(fd)


def make_tree(top, count, seed):
    """Folders, files, symlinks and hard links under names of any bytes, the same for the same seed."""
    r = random.Random(seed)
    folders, files, made = [os.fsencode(top)], [], 0
    while made < count:
        path = r.choice(folders) + b"/" + a_name(r)
        if os.path.lexists(path):
            continue
        kind = r.random()
        if kind < 0.06 and path.count(b"/") < 30 and len(path) < 3000:
            os.mkdir(path, 0o700)
            folders.append(path)
        elif kind < 0.12:
            os.symlink(a_name(r) * r.randint(1, 4), path)
        elif kind < 0.16 and files:
            os.link(r.choice(files), path)
        else:
            make_file(path, r)
            files.append(path)
        made += 1
    for path in files[::3]:
        os.chmod(path, r.choice([0o400, 0o644, 0o755, 0o4711]))
    for path in files + folders[1:]:
        os.utime(path, ns=(r.randint(0, 2**61), r.randint(-10**18, 2**61)))


def description(top):
    """Everything about the tree but what must differ, by path."""
    top = os.fsencode(top)
    found, inodes = {}, {}
    for folder, folders, files in os.walk(top):
        for name in folders + files + [b"."]:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            what = [stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, st.st_mtime_ns]
            if stat.S_ISLNK(st.st_mode):
                what[4] = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    what += [st.st_size, st.st_blocks, hashlib.sha1(f.read()).hexdigest()]
                what.append(inodes.setdefault(st.st_ino, os.path.relpath(path, top)))
            found[os.path.relpath(path, top)] = what
    return found


def differences(a, b):
    return [(k, a.get(k), b.get(k)) for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)][:5]


def test_a_tree_made_on_the_host_is_the_same_in_the_guest(m):
    make_tree(m.host, FILES, 1)
    assert differences(description(m.host), description(m.guest)) == []


def test_a_tree_made_in_the_guest_is_the_same_on_the_host(m):
    make_tree(m.guest, FILES, 2)
    here, there = description(m.guest), description(m.host)
    assert len(there) > FILES and differences(there, here) == []


def test_a_tree_is_removed_and_renamed_as_on_a_local_folder(m):
    make_tree(m.host, 1000, 3)
    before = description(m.host)
    os.mkdir(m.guest + "/moved")
    for name in os.listdir(os.fsencode(m.guest)):
        if name != b"moved":
            os.rename(os.path.join(os.fsencode(m.guest), name), os.fsencode(m.guest) + b"/moved/" + name)
    after = description(m.host + "/moved")
    before.pop(b"."), after.pop(b".")
    assert {k: v[:-1] for k, v in before.items()} == {k: v[:-1] for k, v in after.items()}
    subprocess.run(["rm", "-rf", m.guest + "/moved"], check=True, timeout=60)
    assert os.listdir(m.host) == []


def test_tar_and_git_work_in_the_mount(m, tmp_path):
    (tmp_path / "plain").mkdir()
    for i in range(300):
        folder = tmp_path / "plain" / f"d{i % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{i}").write_text(f"{i}\n" * i)
    tar = tmp_path / "t.tar"
    subprocess.run(["tar", "--format=posix", "-cf", tar, "-C", tmp_path / "plain", "."], check=True, timeout=30)
    subprocess.run(["tar", "xf", tar, "-C", m.guest], check=True, timeout=30)
    plain = description(tmp_path / "plain")
    there = description(m.host)
    strip = lambda tree: {k: v[:5] + v[5:6] + v[7:8] for k, v in tree.items() if k != b"."}  # noqa: E731
    assert strip(plain) == strip(there)
    git = ["git", "-C", m.guest, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "safe.directory=*"]
    subprocess.run([*git, "init", "-q"], check=True, timeout=30)
    subprocess.run([*git, "add", "."], check=True, timeout=60)
    subprocess.run([*git, "commit", "-qm", "all"], check=True, timeout=60)
    status = subprocess.run([*git, "status", "--porcelain"], check=True, timeout=60, capture_output=True, text=True)
    assert status.stdout == ""
    subprocess.run(["git", "-C", m.host, "-c", "safe.directory=*", "fsck", "--strict"], check=True, timeout=60,
                   capture_output=True)


def numbers(top):
    """{path below: (inode, links)}"""
    return {os.path.relpath(os.path.join(folder, name), top): (st.st_ino, st.st_nlink)
            for folder, dirs, files in os.walk(top) for name in dirs + files
            for st in [os.lstat(os.path.join(folder, name))]}


def test_inode_numbers_and_links_are_the_hosts_and_outlast_the_mount(tmp_path):
    with Mounted(tmp_path) as m:
        make_tree(m.guest, 200, 5)
        made = numbers(m.guest)
        assert made == numbers(m.host) and any(links > 1 for _, links in made.values())
    for i in range(50):  # the host goes on
        with open(f"{m.host}/later-{i}", "w"):
            pass
    with Mounted(tmp_path) as m:
        assert {path: one for path, one in numbers(m.guest).items() if not path.startswith("later-")} == made


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.opendir.restype = LIBC.readdir.restype = ctypes.c_void_p
LIBC.telldir.restype = ctypes.c_long
LIBC.readdir.argtypes = LIBC.telldir.argtypes = LIBC.closedir.argtypes = [ctypes.c_void_p]
LIBC.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def next_name(listing):
    entry = LIBC.readdir(listing)
    return ctypes.string_at(entry + 19) if entry else None  # struct dirent


def test_places_in_a_folder_hold_while_the_host_changes_it(m):
    """What is there all the time is found once from the beginning, and from each place all that came after it."""
    stays = {b"stays-%04d" % i for i in range(1500)}
    for name in stays:
        os.close(os.open(os.fsencode(m.host) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    listing = LIBC.opendir(os.fsencode(m.guest))
    places, order = [], []
    while True:
        places.append(LIBC.telldir(listing))
        name = next_name(listing)
        if name is None:
            break
        order.append(name)
        if len(order) % 5 == 0:
            with open(f"{m.host}/comes-{len(order)}", "w"):
                pass
            if len(order) % 10 == 0:
                os.unlink(f"{m.host}/comes-{len(order) - 5}")
    assert sorted(name for name in order if name in stays) == sorted(stays)
    r = random.Random(7)
    for _ in range(25):
        at = r.randrange(len(order))
        LIBC.seekdir(listing, places[at])
        rest = []
        while (name := next_name(listing)) is not None:
            rest.append(name)
        assert [name for name in rest if name in stays] == [name for name in order[at:] if name in stays]
        with open(f"{m.host}/after-{at}", "w"):
            pass
    LIBC.closedir(listing)
