# SPDX-License-Identifier: MIT
"""Close-to-open: a file that is opened again is whole and of now, however and whenever the host changed it."""
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time

import pytest

from mounted import HOST, Mounted

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

TRIALS = 60
PATTERN = bytes(n % 251 + 1 for n in range(2_000_000))


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path) as one:
        yield one


def put(path, data, how):
    """In place, or by a rename over it."""
    target = path + ".new" if how == "rename" else path
    fd = os.open(target, os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))
    os.close(fd)
    if how == "rename":
        os.rename(target, path)


def check(path, want, k):
    """Opens and reads by several ways, by turns; all that is seen is `want`."""
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size if k & 1 else None
    got = b""
    while part := os.read(fd, 64 if k & 2 else 65536):
        got += part
    size = os.fstat(fd).st_size if size is None else size
    mapped = b""
    if size == len(want):
        with mmap.mmap(fd, size, prot=mmap.PROT_READ) as area:
            mapped = area[:]
    os.close(fd)
    assert (got, size, os.stat(path).st_size, mapped) == (want, len(want), len(want), want)


def sizes(kind, k):
    scale = 1000 if k % 4 == 3 else 1
    before, after = {"grow": (10, 20), "shrink": (20, 10)}.get(kind, (10, 20 if kind == "rename" else 10))
    return before * scale, after * scale


@pytest.mark.parametrize("kind", ["grow", "shrink", "same size", "rename", "mapped", "mtime put back", "tick"])
def test_a_change_on_the_host_is_seen_whole_at_the_next_open(m, kind):
    for k in range(TRIALS if kind != "tick" else 12):
        before, after = sizes(kind, k)
        here, there = f"{m.guest}/{k}", f"{m.host}/{k}"
        put(there, b"A" * before, "in place")
        fd = os.open(here, os.O_RDONLY)
        assert os.read(fd, 1 << 20) == b"A" * before
        stat = os.stat(here)
        area = mmap.mmap(fd, before, prot=mmap.PROT_READ) if kind == "mapped" else None
        if area:
            assert area[:1] == b"A"
        os.close(fd)
        put(there, b"B" * after, "rename" if kind == "rename" else "in place")
        if kind == "mtime put back":
            os.utime(there, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            os.stat(here)
        if kind == "tick":
            time.sleep(0.15)
        check(here, b"B" * after, k)
        if area:
            assert area[:] == b"B" * before
            area.close()


def test_a_stat_in_between_does_not_hide_a_change(m):
    """The same size, the time put back, and nothing of it so young that it would be asked for again anyway."""
    for k in range(8):
        put(f"{m.host}/{k}", b"A" * 10, "in place")
    time.sleep(0.15)
    for k in range(8):
        assert read_all(f"{m.guest}/{k}", k) == b"A" * 10
        stat = os.stat(f"{m.guest}/{k}")
        put(f"{m.host}/{k}", b"B" * 10, "in place")
        os.utime(f"{m.host}/{k}", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    time.sleep(1.1)
    for k in range(8):
        os.stat(f"{m.guest}/{k}")
        check(f"{m.guest}/{k}", b"B" * 10, k)


def appender(path, seconds, told):
    """Appends byte i % 251 + 1 at offset i; `told` holds the length that is surely there."""
    fd, size, i = os.open(path, os.O_WRONLY | os.O_APPEND), 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and size < len(PATTERN) - 3000:
        size += os.write(fd, PATTERN[size:size + 1 + i * 7919 % 3000])
        told.value = size
        i += 1
        time.sleep(i * 31 % 4000 / 1e6)


def replacer(path, seconds, told):
    """Replaces the file by version after version: its number in 8 digits, again and again."""
    version = 10000000
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        version += 1
        put(path, b"%08d" % version * (version * 37 % 2500 + 1), "rename")
        told.value = version
        time.sleep(version * 31 % 400 / 1e6)


def read_all(path, k):
    fd = os.open(path, os.O_RDONLY)
    got = b""
    while part := os.read(fd, 1000 if k & 2 else 65536):
        got += part
    os.close(fd)
    return got


def run_beside(writer, path, look):
    told = multiprocessing.Value("q", 0)
    other = multiprocessing.Process(target=writer, args=(path, 4, told))
    other.start()
    seen = 0
    try:
        while other.is_alive():
            look(told.value, seen)
            seen += 1
    finally:
        other.kill()
        other.join()
    assert seen > 100


def test_a_file_that_the_host_appends_to_is_never_torn(m):
    put(m.host + "/log", b"", "in place")

    def look(known, k):
        got = read_all(m.guest + "/log", k)
        assert len(got) >= known, "what was there at open is missing"
        assert got == PATTERN[:len(got)]

    run_beside(appender, m.host + "/log", look)


def reader(path, seconds, told, result):
    end, opens, wrong = time.monotonic() + seconds, 0, []
    while time.monotonic() < end:
        known = told.value
        fd = os.open(path, os.O_RDONLY)
        got, size = os.read(fd, 1 << 20), os.fstat(fd).st_size
        os.close(fd)
        opens += 1
        if len(got) < known or got != PATTERN[:len(got)] or size < known:
            wrong.append((known, len(got), size))
    result.put((opens, wrong))


def test_programs_that_open_a_growing_file_at_once_all_find_what_was_there(m):
    """What one of them finds out has the kernel forget, in the midst of what it tells the others."""
    put(m.host + "/log", b"", "in place")
    told, result = multiprocessing.Value("q", 0), multiprocessing.Queue()
    readers = [multiprocessing.Process(target=reader, args=(m.guest + "/log", 3, told, result)) for _ in range(3)]
    for one in readers:
        one.start()
    fd, size = os.open(m.host + "/log", os.O_WRONLY | os.O_APPEND), 0
    while any(one.is_alive() for one in readers) and result.qsize() < 3:
        size += os.write(fd, PATTERN[size:size + 1])
        told.value = size
        time.sleep(0.0005)
    os.close(fd)
    results = [result.get() for _ in readers]
    for one in readers:
        one.join()
    wrong = [one for _, found in results for one in found]
    # It was one open in twenty. A reader that is kept from its processor for longer than open_order.h waits is still told
    # too little, a few in ten thousand.
    assert len(wrong) * 500 <= sum(opens for opens, _ in results), f"{size} bytes, {wrong[:9]}"


def test_a_file_that_the_host_replaces_is_always_one_whole_version(m):
    put(m.host + "/f", b"10000000", "in place")

    def look(known, k):
        got = read_all(m.guest + "/f", k)
        version = int(got[:8])
        assert got == got[:8] * (version * 37 % 2500 + 1 if version > 10000000 else 1)
        assert version >= known, "older than what was there at open"

    run_beside(replacer, m.host + "/f", look)


def test_our_own_writes_are_seen_at_once_everywhere(m):
    """Through the descriptor, by another open, by stat, on the host after close."""
    for k in range(200):
        data = os.urandom(1 + k * 997 % 20000)
        fd = os.open(m.guest + "/own", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.write(fd, data)
        assert os.stat(m.guest + "/own").st_size == len(data)
        assert os.pread(fd, 1 << 20, 0) == data
        assert read_all(m.guest + "/own", k) == data
        os.close(fd)
        with open(m.host + "/own", "rb") as f:
            assert f.read() == data


def test_a_map_ends_where_the_host_truncated_once_that_is_known(m):
    """There is no watch: a map is as it was until somebody asks for the file. From then on it is as locally."""
    with open(m.host + "/f", "wb") as f:
        f.write(b"a" * 12288)
    fd = os.open(m.guest + "/f", os.O_RDWR)
    shared, private = mmap.mmap(fd, 12288), mmap.mmap(fd, 12288, flags=mmap.MAP_PRIVATE)
    assert shared[9000:9001] == private[9000:9001] == b"a"
    os.truncate(m.host + "/f", 5000)
    time.sleep(1.1)
    assert os.fstat(fd).st_size == 5000
    for area in (shared, private):
        assert [faults(area, at) for at in (100, 4999, 8191, 8192, 9000)] == [False] * 3 + [True] * 2
        assert area[4999:5001] == b"a\0"
    os.truncate(m.host + "/f", 12288)
    time.sleep(1.1)
    assert os.fstat(fd).st_size == 12288
    assert shared[9000:9001] == b"\0" and not faults(shared, 9000)
    shared.close(), private.close(), os.close(fd)


def faults(area, at):
    """Whether a byte of the map raises SIGBUS."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        area[at]
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGBUS)
    return status != 0


# Runs a server; requests that have argv[1] in them wait until the file `go` is there, all others pass them by.
HOLD = """
import os, subprocess, sys, threading, time
name, folder = sys.argv[1].encode(), sys.argv[2]
server = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE)
one = threading.Lock()

def send(packet):
    with one:
        server.stdin.write(packet)
        server.stdin.flush()

def held(packet):
    open(folder + "/held", "w").close()
    while not os.path.exists(folder + "/go"):
        time.sleep(0.002)
    send(packet)

while head := sys.stdin.buffer.read(4):
    packet = head + sys.stdin.buffer.read(int.from_bytes(head, "big"))
    if name in packet:
        threading.Thread(target=held, args=(packet,), daemon=True).start()
    else:
        send(packet)
server.stdin.close()
server.wait()
"""


def until_there(path):
    end = time.monotonic() + 10
    while not os.path.exists(path):
        assert time.monotonic() < end, path
        time.sleep(0.002)


def test_an_answer_that_the_kernel_did_not_take_does_not_hide_a_change(tmp_path):
    """Two look a file up at once, by two names. The kernel takes the answer it has first; of the other it takes nothing,
    for that may be the older one. It is not: the file has got its content in between."""
    command = [sys.executable, "-c", HOLD, "slow", str(tmp_path), HOST, "sftp-server", "--writable", f"{tmp_path}/host"]
    with Mounted(tmp_path, command=command) as m:
        os.close(os.open(m.host + "/f", os.O_WRONLY | os.O_CREAT))
        os.link(m.host + "/f", m.host + "/slow")
        slow = threading.Thread(target=os.stat, args=(m.guest + "/slow",))
        slow.start()
        until_there(f"{tmp_path}/held")
        assert os.stat(m.guest + "/f").st_size == 0
        os.truncate(m.host + "/f", 100)
        (tmp_path / "go").touch()
        slow.join()
        began = time.monotonic()
        fd = os.open(m.guest + "/f", os.O_RDONLY)
        got, size = len(os.read(fd, 200)), os.fstat(fd).st_size
        os.close(fd)
        assert time.monotonic() - began < 0.5, "what the kernel had has run out by itself"
        assert (got, size) == (100, 100)
