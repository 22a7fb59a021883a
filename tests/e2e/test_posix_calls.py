# SPDX-License-Identifier: MIT
"""The cases of tests/posix on a local folder and on the mount, as root on both sides, as an ordinary user on both, and
as root with virtual ownership where the server is an ordinary user's: what they tell has to be the same, line by line. The local folder is mounted nosuid and nodev, as the mount is."""
import contextlib
import difflib
import errno
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile

import pytest

from mounted import BUILD, ROOT, USER, Mounted, MountedByUser, MountedVirtual, as_user

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

CONFORM = BUILD + "/posix/conform"
ROOT_ONLY, DIFFERS, DIFFERS_USER, DIFFERS_VIRTUAL = 1, 2, 4, 8


@pytest.fixture(scope="module", autouse=True)
def conform():
    subprocess.run(["make", "-s", "-C", ROOT, f"BUILD={BUILD}", CONFORM], check=True, timeout=120)


def table():
    """{name: (flags, citation, reason)}"""
    lines = subprocess.run([CONFORM, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout
    rows = [line.split("\t") for line in lines.splitlines()]
    return {name: (int(flags), cites, reason) for name, flags, cites, reason in rows}


def told(folder, before=(), names=(), conform=CONFORM):
    """{case: its lines}"""
    run = subprocess.run([*before, conform, folder, *names], capture_output=True, text=True, errors="replace",
                         timeout=250)
    assert not run.stderr, run.stderr
    lines = {}
    for line in run.stdout.splitlines():
        name, _, text = line.partition(": ")
        lines.setdefault(name, []).append(text)
    return lines


@pytest.fixture
def top():
    """Where every user may go: pytest's own folders are root's alone."""
    path = tempfile.mkdtemp(prefix="homeport-posix-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def local_folder(top, owner):
    path = top + "/local"
    os.mkdir(path)
    os.chown(path, owner, owner)
    subprocess.run(["mount", "--bind", path, path], check=True, timeout=10)
    try:
        subprocess.run(["mount", "-o", "remount,bind,nosuid,nodev", path], check=True, timeout=10)
        yield path
    finally:
        subprocess.run(["umount", path], check=True, timeout=10)


@pytest.fixture
def local(top):
    with local_folder(top, USER) as path:
        yield path


def compare(local_lines, mount_lines, differing):
    """Cases that differ though they should not, with how; and those that do not though the table says so."""
    wrong = []
    for name in local_lines:
        before, after = local_lines[name], mount_lines.get(name, [])
        assert not [line for line in before if line.startswith("cannot begin")], (name, before)
        if before != after and name not in differing:
            wrong += [f"{name}:", *difflib.unified_diff(before, after, "local", "mount", n=1, lineterm="")]
        if before == after and name in differing:
            wrong += [f"{name}: agrees, though the table says it cannot"]
    return "\n".join(wrong)


def test_the_table_is_broad_and_each_case_cites_what_it_proves():
    rows = table()
    assert len(rows) > 200
    for name, (flags, cites, reason) in rows.items():
        assert "(" in cites or "POSIX" in cites, name
        assert bool(flags & (DIFFERS | DIFFERS_USER | DIFFERS_VIRTUAL)) == bool(reason), name


def test_as_root_on_both_sides_the_mount_does_what_the_local_folder_does(top, local):
    differing = {name for name, (flags, _, _) in table().items() if flags & DIFFERS}
    expected = told(local)
    with Mounted(top + "/mounted", server=["--no-mask"]) as m:
        assert compare(expected, told(m.guest), differing) == ""


def test_as_a_user_on_both_sides_the_mount_does_what_the_local_folder_does(top, local):
    differing = {name for name, (flags, _, _) in table().items() if flags & (DIFFERS | DIFFERS_USER)}
    conform = shutil.copy(CONFORM, top)
    expected = told(local, as_user(), conform=conform)
    with MountedByUser(top + "/mounted", server=["--no-mask"]) as m:
        assert compare(expected, told(m.guest, [*m.inside(), *as_user()], conform=conform), differing) == ""


@pytest.mark.parametrize("who", ["root", "a user"])
def test_with_locks_on_the_host_the_mount_does_what_the_local_folder_does(top, local, who):
    """But for deadlocks, which are not looked for there, and for the process that holds a lock, which is not told. A user
    may not open anew whatever is open: modes mean something."""
    names = [name for name in table() if name.startswith(("flock_", "record_", "locks_")) and name != "record_deadlock"]
    conform = shutil.copy(CONFORM, top)
    before = as_user() if who == "a user" else []
    expected = {name: [re.sub("holder the [a-z]+", "holder another", line) for line in lines]
                for name, lines in told(local, before, names, conform).items()}
    assert len(expected) > 10
    with (MountedByUser if before else Mounted)(top + "/mounted", options=["-o", "locks"], server=["--locks"]) as m:
        prefix = [*m.inside(), *before] if before else []
        assert compare(expected, told(m.guest, prefix, names, conform), set()) == ""


def test_with_virtual_ownership_an_ordinary_server_does_what_the_local_folder_does_for_root(top):
    """root:root here is what the server's user owns there."""
    differing = {name for name, (flags, _, _) in table().items() if flags & (DIFFERS | DIFFERS_VIRTUAL)}
    with local_folder(top, 0) as local:
        expected = told(local)
    with MountedVirtual(top + "/mounted", server=["--no-mask"]) as m:
        assert compare(expected, told(m.guest), differing) == ""


def test_without_what_newer_kernels_offer_it_says_what_an_older_kernel_says(top, monkeypatch):
    monkeypatch.setenv("HOMEPORT_FEATURES", "-statx,-tmpfile,-direct-mmap")
    with Mounted(top + "/mounted") as m:
        lines = told(m.guest, names=["statx_masks", "tmpfile_works", "map_append_only"])
    assert lines["statx_masks"][1] == "statx f = 0, asked 0xfff, of it 0x7ff"
    assert lines["tmpfile_works"][0] == 'open(".", O_RDWR | O_TMPFILE, 0640) = EOPNOTSUPP'
    assert lines["map_append_only"][:2] == ["mmap PROT_READ MAP_SHARED = ENODEV", "mmap PROT_READ MAP_PRIVATE = a map"]


def test_special_files_of_the_host_are_names_in_the_guest(top):
    with Mounted(top + "/mounted") as m:
        os.mkfifo(m.host + "/fifo")
        os.mknod(m.host + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(m.host + "/socket")
            server.listen()
            with pytest.raises(ConnectionRefusedError):  # the host's socket is the host's
                client.connect(m.guest + "/socket")
        kinds = {e.name: stat.S_IFMT(e.stat(follow_symlinks=False).st_mode) for e in os.scandir(m.guest)}
        assert kinds == {"fifo": stat.S_IFIFO, "null": stat.S_IFCHR, "socket": stat.S_IFSOCK}
        assert os.stat(m.guest + "/null").st_rdev == os.makedev(1, 3)
        with pytest.raises(PermissionError):
            os.open(m.guest + "/null", os.O_RDWR)
        there, here = os.open(m.host + "/fifo", os.O_RDWR | os.O_NONBLOCK), os.open(m.guest + "/fifo",
                                                                                      os.O_RDWR | os.O_NONBLOCK)
        os.write(here, b"in the guest")
        with pytest.raises(BlockingIOError):  # a FIFO of the same name is another pipe
            os.read(there, 100)
        assert os.read(here, 100) == b"in the guest"
        os.close(here), os.close(there)


def test_what_was_made_without_a_name_is_a_file_of_the_host(top):
    with Mounted(top + "/mounted") as m:
        fd = os.open(m.guest, os.O_RDWR | os.O_TMPFILE, 0o640)
        os.write(fd, b"text")
        assert os.listdir(m.host) == []
        os.link(f"/proc/self/fd/{fd}", m.guest + "/f", src_dir_fd=fd)  # which makes it linkat(2)
        with open(m.host + "/f", "rb") as f:
            assert f.read() == b"text"
        os.close(fd)
        assert os.stat(m.guest + "/f").st_ino == os.stat(m.host + "/f").st_ino


def test_a_read_only_share_makes_nothing_of_it(top):
    with Mounted(top + "/mounted", writable=False) as m:
        for call in (lambda: os.mkfifo(m.guest + "/p"), lambda: os.mknod(m.guest + "/s", stat.S_IFSOCK | 0o600),
                     lambda: os.open(m.guest, os.O_RDWR | os.O_TMPFILE)):
            with pytest.raises(OSError) as e:
                call()
            assert e.value.errno == errno.EROFS
        assert os.listdir(m.host) == []
