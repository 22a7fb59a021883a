# SPDX-License-Identifier: MIT
"""How much one mount takes: open files beyond the host's descriptors, nodes by the million and what they cost."""
import concurrent.futures
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from conftest import wait_until
from mounted import HOST, USER, Mounted, MountedByUser, as_user

pytestmark = pytest.mark.root

# A program of the guest with many files open. A line of JSON asks, a line answers. What is read comes from the host: the
# kernel's pages go first.
PROGRAM = r'''
import errno, json, os, sys
fds = {}

def attempt(fn):
    try:
        return fn()
    except OSError as e:
        return errno.errorcode[e.errno]

def read(i):
    os.posix_fadvise(fds[i], 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(fds[i], 64, 0).decode()

def opened(i, path, flags):
    fds[i] = os.open(path, flags)
    return "ok"

for line in sys.stdin:
    what, files = json.loads(line)
    if what == "open":
        out = [attempt(lambda: opened(i, path, flags)) for i, path, flags in files]
    elif what == "read":
        out = [attempt(lambda: read(i)) for i in files]
    elif what == "append":
        out = [attempt(lambda: os.write(fds[i], b"more")) for i in files]
    else:
        out = [os.close(fds.pop(i)) for i in files]
    print(json.dumps(out), flush=True)
'''


class Program:
    def __init__(self, prefix=()):
        self.process = subprocess.Popen([*prefix, sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, what, files):
        self.process.stdin.write(json.dumps([what, files]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)


@contextlib.contextmanager
def programs(count, prefix=()):
    made = [Program(prefix) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.end()


def served_with(limit, folder):
    """The server's command, with so many descriptors."""
    return ["prlimit", f"--nofile={limit}", HOST, "sftp-server", "--no-mask", "--writable", folder]


def content(i):
    return f"this is file {i}"


def path_of(top, i):
    return f"{top}/d{i // 1000}/f{i}"


def files_make(top, count, owner=None):
    for i in range(count):
        if i % 1000 == 0:
            os.mkdir(f"{top}/d{i // 1000}")
        with open(path_of(top, i), "w") as f:
            f.write(content(i))
    if owner is not None:
        subprocess.run(["chown", "-R", f"{owner}:{owner}", top], check=True)


def change(top, i):
    """What happens to a file while it is open, by its number."""
    path = path_of(top, i)
    kind = i // 2 % 5
    if kind == 1:
        os.rename(path, path + ".moved")
    elif kind == 2:
        with open(path + ".new", "w") as f:
            f.write("replaced")
        os.rename(path + ".new", path)
    elif kind == 3:
        os.unlink(path)
    elif kind == 4:
        os.chmod(path, 0)


def many_open(m, prefix, count, limit, processes, samples):
    """Opens `count` files in `processes`, changes them from both sides, and reads samples of them all along."""
    each = count // processes
    pick = random.Random(count)
    server = m.children()["server"]
    with programs(processes, prefix) as guests:
        for n, guest in enumerate(guests):
            mine = [(i, path_of(m.guest, i), os.O_RDONLY) for i in range(n * each, (n + 1) * each)]
            assert set(guest.ask("open", mine)) == {"ok"}

        def check():
            for n, guest in enumerate(guests):
                some = pick.sample(range(n * each, (n + 1) * each), samples // processes)
                wrong = [(i, got) for i, got in zip(some, guest.ask("read", some)) if got != content(i)]
                assert not wrong, f"{len(wrong)} of {len(some)}: {wrong[:5]}"

        check()
        assert len(os.listdir(f"/proc/{server}/fd")) <= limit
        # Others go on meanwhile.
        assert len(os.listdir(m.guest)) >= count // 1000
        with open(m.guest + "/other", "w") as f:
            f.write("other")
        with open(m.host + "/other") as f:
            assert f.read() == "other"
        # Even ones on the host, odd ones in the guest.
        for i in range(count):
            change(m.guest if i % 2 else m.host, i)
        check()
        assert guests[0].ask("close", [0, 1]) == [None, None]
        assert m.process.poll() is None
    assert m.children()["server"] == server


def test_a_file_stays_what_it_is_however_few_descriptors_there_are(tmp_path):
    with Mounted(tmp_path, command=served_with(300, f"{tmp_path}/host")) as m:
        files_make(m.host, 2000)
        many_open(m, [], 2000, 300, 2, 600)


def test_a_file_whose_mode_is_taken_away_stays_open():
    """To an ordinary user a mode means something."""
    with tempfile.TemporaryDirectory(prefix="homeport-limits-") as top:
        os.chmod(top, 0o755)
        files_of_a_user(top + "/mounted")


def files_of_a_user(folder):
    with MountedByUser(folder, command=served_with(300, f"{folder}/host")) as m:
        files_make(m.host, 1000, USER)
        prefix = [*m.inside(), *as_user()]
        with programs(1, prefix) as (guest,):
            mine = [(i, path_of(m.guest, i), os.O_RDONLY) for i in range(1000)]
            assert set(guest.ask("open", mine)) == {"ok"}
            for i in range(1000):
                os.chmod(path_of(m.host, i), 0)
            assert guest.ask("read", list(range(1000))) == [content(i) for i in range(1000)]
            assert set(guest.ask("open", [(1000, path_of(m.guest, 0), os.O_RDONLY)])) == {"EACCES"}


def test_files_open_for_writing_are_no_exception(tmp_path):
    with Mounted(tmp_path, command=served_with(300, f"{tmp_path}/host")) as m:
        files_make(m.host, 1000)
        with programs(1) as (guest,):
            flags = [os.O_RDWR | os.O_APPEND, os.O_RDWR, os.O_WRONLY]
            assert set(guest.ask("open", [(i, path_of(m.guest, i), flags[i % 3]) for i in range(1000)])) == {"ok"}
            for i in range(0, 1000, 3):  # another's record, which O_APPEND goes behind
                with open(path_of(m.host, i), "a") as f:
                    f.write(", ")
            assert set(guest.ask("append", list(range(1000)))) == {4}
            guest.ask("close", list(range(1000)))
        for i in range(1000):
            with open(path_of(m.host, i)) as f:
                assert f.read() == (content(i) + ", more" if i % 3 == 0 else "more" + content(i)[4:])


def test_where_it_ends_open_says_so_and_all_else_goes_on(tmp_path):
    with Mounted(tmp_path, command=served_with(128, f"{tmp_path}/host")) as m:
        files_make(m.host, 2500)
        with programs(1) as (guest,):
            got = guest.ask("open", [(i, path_of(m.guest, i), os.O_RDONLY) for i in range(2500)])
            opened = got.index("ENFILE")
            assert opened > 1000 and set(got[:opened]) == {"ok"} and set(got[opened:]) == {"ENFILE"}
            assert sorted(os.listdir(m.guest)) == ["d0", "d1", "d2"]
            assert os.stat(path_of(m.guest, 2499)).st_size == len(content(2499))
            os.mkdir(m.guest + "/new")
            os.rename(path_of(m.guest, 0), path_of(m.guest, 0) + ".moved")
            assert guest.ask("read", list(range(0, opened, 7))) == [content(i) for i in range(0, opened, 7)]
            guest.ask("close", list(range(100)))
            again = [(i, path_of(m.guest, i), os.O_RDONLY) for i in range(2400, 2500)]
            assert set(guest.ask("open", again)) == {"ok"}
            assert guest.ask("read", [2400, 2499]) == [content(2400), content(2499)]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_hundred_thousand_open_files_with_twenty_thousand_descriptors(tmp_path):
    with Mounted(tmp_path, command=served_with(20_000, f"{tmp_path}/host")) as m:
        files_make(m.host, 100_000)
        many_open(m, ["prlimit", "--nofile=20000"], 100_000, 20_000, 6, 30_000)


# ------------------------------------------------------------------------------------------------------------- nodes

KB = 1024


def tree_make(top, count):
    """Files by the thousand, with names as long as most are."""
    for i in range(count):
        if i % 1000 == 0:
            folder = f"{top}/folder-{i // 1000:04d}"
            os.mkdir(folder)
        os.close(os.open(f"{folder}/source-file-{i % 1000:03d}.c", os.O_CREAT | os.O_WRONLY, 0o644))


def memory(m):
    """Bytes of their own that the server and the guest's agent have."""
    def of(pid):
        with open(f"/proc/{pid}/status") as f:
            return int(next(line.split()[1] for line in f if line.startswith("RssAnon"))) * KB
    return of(m.children()["server"]), of(m.process.pid)


def walk(top):
    """Looks at each name, as find(1) does that asks for more than names."""
    found = subprocess.run(["find", top, "-type", "f", "-size", "-1", "-printf", "x"], capture_output=True, check=True)
    return len(found.stdout)


def walk_and_forget(m, count, host_max, guest_max):
    """All nodes known, at most so many bytes each; then the kernel forgets them, and the memory comes back."""
    before = memory(m)
    assert walk(m.guest) == count
    time.sleep(1.2)  # listings are kept for less than a second
    known = memory(m)
    host, guest = ((now - then) / count for now, then in zip(known, before))
    print(f"{count} nodes: {host:.1f} bytes each on the host, {guest:.1f} in the guest")
    assert 90 < host <= host_max and 90 < guest <= guest_max  # less: somebody else had them forgotten
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("2")
    wait_until(lambda: all(now - then < 10_000 * KB for now, then in zip(memory(m), before)), 120,
               f"the memory of {count} nodes back ({before}, {known})", every=0.5)
    print(f"forgotten: {[(now - then) // KB for now, then in zip(memory(m), before)]} KiB more than before")
    assert os.stat(f"{m.guest}/folder-0000/source-file-000.c").st_size == 0


@pytest.mark.timeout(120)
def test_many_nodes_are_small_and_their_memory_comes_back(tmp_path):
    """More than one FORGET could hold; what both sides need besides, some MiB, is counted to the nodes here."""
    with Mounted(tmp_path) as m:
        tree_make(m.host, 70_000)
        walk_and_forget(m, 70_000, 180, 270)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_million_nodes_cost_150_bytes_each_on_the_host_and_200_in_the_guest(tmp_path):
    with Mounted(tmp_path) as m:
        tree_make(m.host, 1_000_000)
        walk_and_forget(m, 1_000_000, 150, 200)


def changing(top, who, end):
    """Names that come, move and go beside those that stay, until `end` is set; how many."""
    for i in itertools.count():
        if end.is_set():
            return i
        name = f"{top}/{who}-{i % 1000}"
        with open(name, "w"):
            pass
        os.rename(name, name + ".moved")
        if i % 3:
            os.unlink(name + ".moved")


def listed_completely(m, count):
    """A folder's names, each once, at rest and while others come and go on both sides; in little memory."""
    top = m.host + "/folder"
    os.mkdir(top)
    names = [f"file-{i:07d}" for i in range(count)]
    for name in names:
        os.close(os.open(f"{top}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
    before, began = memory(m), time.monotonic()
    assert sorted(os.listdir(m.guest + "/folder")) == names
    took, used = time.monotonic() - began, [(now - then) // KB for now, then in zip(memory(m), before)]
    print(f"{count} names in {took:.1f} s, {used} KiB more on the host and in the guest")
    end = threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        others = [pool.submit(changing, *where, end) for where in ((top, "host"), (m.guest + "/folder", "guest"))]
        try:
            for _ in range(2):
                found = sorted(name for name in os.listdir(m.guest + "/folder") if name.startswith("file-"))
                assert found == names
        finally:
            end.set()
        assert all(one.result() > 0 for one in others)
    assert max(used) < 64_000


def test_a_large_folder_is_listed_completely_while_it_changes(tmp_path):
    with Mounted(tmp_path) as m:
        listed_completely(m, 20_000)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_folder_of_a_million_is_listed_completely_while_it_changes(tmp_path):
    with Mounted(tmp_path) as m:
        listed_completely(m, 1_000_000)
