# SPDX-License-Identifier: MIT
"""`locks: host`: programs of the guest and of the host keep each other out, by fcntl's locks and by flock's; a lock ends
with who held it; what it protects is seen as it is. Without it the guest's programs keep out each other alone."""
import errno
import fcntl
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import pytest

import native_client as native
from conftest import stop_process
from mounted import HOST, USER, Mounted, as_user

pytestmark = pytest.mark.root

# Who holds locks: a process that does as it is told, a line each, and answers ok or the errno's name.
HOLDER = r"""
import errno, fcntl, os, signal, struct, sys
signal.signal(signal.SIGUSR1, lambda *a: (_ for _ in ()).throw(InterruptedError(errno.EINTR, "signal")))
files = {}
def flocks(kind, start, length):
    return struct.pack("hhqqi4x", kind, 0, start, length, 0)
for line in sys.stdin:
    verb, name, *args = line.split()
    try:
        answer = "ok"
        if verb == "open":
            files[name] = os.open(args[0], os.O_RDONLY if len(args) > 1 else os.O_RDWR)
        elif verb == "close":
            os.close(files.pop(name))
        elif verb == "flock":
            fcntl.flock(files[name], eval(args[0], vars(fcntl)))
        elif verb == "test":
            kind, _, start, length, _ = struct.unpack("hhqqi4x", fcntl.fcntl(files[name], fcntl.F_GETLK,
                                                      flocks(*[eval(a, vars(fcntl)) for a in args])))
            answer = f"{kind} {start} {length}"
        else:
            command = {"set": fcntl.F_SETLK, "wait": fcntl.F_SETLKW, "ofd": fcntl.F_OFD_SETLK}[verb]
            fcntl.fcntl(files[name], command, flocks(*[eval(a, vars(fcntl)) for a in args]))
    except OSError as e:
        answer = errno.errorcode[e.errno]
    print(answer, flush=True)
"""


class Holder:
    def __init__(self, path, *how):
        self.process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.ask(f"open f {path} {' '.join(how)}") == "ok"

    def send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line):
        self.send(line)
        return self.process.stdout.readline().strip()

    def end(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def holders():
    made = []

    def make(*args):
        made.append(Holder(*args))
        return made[-1]

    yield make
    for h in made:
        if h.process.poll() is None:
            h.end()


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path, options=["-o", "locks"], server=["--locks"]) as one:
        with open(f"{one.host}/f", "w") as f:
            f.write("x" * 1000)
        yield one


def within(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


@pytest.mark.parametrize("first, second", [("host", "guest"), ("guest", "host"), ("guest", "guest")])
def test_ranges_of_fcntl_keep_the_other_side_out(m, holders, first, second):
    a, b = holders(f"{getattr(m, first)}/f"), holders(f"{getattr(m, second)}/f")
    assert a.ask("set f F_WRLCK 100 100") == "ok"
    assert b.ask("set f F_WRLCK 0 100") == "ok"
    assert b.ask("set f F_WRLCK 200 0") == "ok"
    assert b.ask("set f F_RDLCK 150 10") in ("EAGAIN", "EACCES")
    assert b.ask("test f F_RDLCK 0 0") == f"{fcntl.F_WRLCK} 100 100"
    assert a.ask("set f F_RDLCK 100 50") == "ok", "the first half is shared from here on"
    assert b.ask("set f F_RDLCK 100 50") == "ok"
    assert b.ask("set f F_WRLCK 100 50") in ("EAGAIN", "EACCES")
    assert a.ask("set f F_UNLCK 0 0") == "ok"
    assert b.ask("set f F_WRLCK 0 0") == "ok"
    assert a.ask("test f F_WRLCK 5 1") == f"{fcntl.F_WRLCK} 0 0"


@pytest.mark.parametrize("first, second", [("host", "guest"), ("guest", "host"), ("guest", "guest")])
def test_flock_keeps_the_other_side_out(m, holders, first, second):
    a, b = holders(f"{getattr(m, first)}/f"), holders(f"{getattr(m, second)}/f")
    assert a.ask("flock f LOCK_SH") == "ok"
    assert b.ask("flock f LOCK_SH|LOCK_NB") == "ok"
    assert b.ask("flock f LOCK_EX|LOCK_NB") == "EAGAIN"
    assert a.ask("flock f LOCK_UN") == "ok"
    assert b.ask("flock f LOCK_EX|LOCK_NB") == "ok"
    assert a.ask("flock f LOCK_SH|LOCK_NB") == "EAGAIN"
    assert a.ask("set f F_WRLCK 0 0") == "ok", "the two kinds know nothing of each other, as locally"


def test_descriptions_of_the_guest_are_owners_too(m, holders):
    a = holders(f"{m.guest}/f")
    assert a.ask(f"open g {m.guest}/f") == "ok"
    assert a.ask("ofd f F_WRLCK 0 10") == "ok"
    assert a.ask("ofd g F_WRLCK 5 10") == "EAGAIN"
    assert holders(f"{m.host}/f").ask("set f F_WRLCK 9 1") in ("EAGAIN", "EACCES")
    assert a.ask("close f") == "ok"
    within(2, lambda: a.ask("ofd g F_WRLCK 0 10") == "ok")


def test_a_lock_ends_with_its_owner(m, holders):
    host = holders(f"{m.host}/f")
    for take in ("set f F_WRLCK 0 0", "ofd f F_WRLCK 0 0", "flock f LOCK_EX"):
        guest = holders(f"{m.guest}/f")
        attempt = "flock f LOCK_EX|LOCK_NB" if take.startswith("flock") else "set f F_WRLCK 0 0"
        assert guest.ask(take) == "ok"
        assert host.ask(attempt) in ("EAGAIN", "EACCES"), take
        guest.end()
        within(2, lambda: host.ask(attempt) == "ok")
        assert host.ask("flock f LOCK_UN") == "ok" and host.ask("set f F_UNLCK 0 0") == "ok"


def test_closing_any_descriptor_ends_a_processs_locks_and_before_close_returns(m, holders):
    guest, host = holders(f"{m.guest}/f"), holders(f"{m.host}/f")
    assert guest.ask(f"open g {m.guest}/f ro") == "ok"
    for _ in range(20):
        assert guest.ask("set f F_WRLCK 3 4") == "ok"
        assert host.ask("set f F_WRLCK 3 4") in ("EAGAIN", "EACCES")
        assert guest.ask("close g") == "ok"
        assert host.ask("set f F_WRLCK 3 4") == "ok"
        assert host.ask("set f F_UNLCK 0 0") == "ok"
        assert guest.ask(f"open g {m.guest}/f ro") == "ok"


def test_who_waits_gets_the_lock_when_it_is_free(m, holders):
    a, b, host = holders(f"{m.guest}/f"), holders(f"{m.guest}/f"), holders(f"{m.host}/f")
    assert host.ask("set f F_WRLCK 0 0") == "ok"
    a.send("wait f F_WRLCK 0 0")
    time.sleep(0.3)
    b.send("wait f F_WRLCK 0 0")
    time.sleep(0.1)
    # The agents go on meanwhile.
    assert open(f"{m.guest}/f").read(1) == "x"
    began = time.monotonic()
    assert host.ask("set f F_UNLCK 0 0") == "ok"
    (ready, *_), _, _ = select.select([h.process.stdout for h in (a, b)], [], [], 5)
    winner, loser = (a, b) if ready is a.process.stdout else (b, a)
    assert ready.readline().strip() == "ok" and time.monotonic() - began < 1
    began = time.monotonic()
    assert winner.ask("set f F_UNLCK 0 0") == "ok"
    assert loser.process.stdout.readline().strip() == "ok"
    assert time.monotonic() - began < 0.1, "who is in the guest does not wait for its next turn"


def test_a_signal_ends_the_waiting_and_leaves_no_lock(m, holders):
    for line in ("wait f F_WRLCK 0 0", "flock f LOCK_EX"):
        guest, host = holders(f"{m.guest}/f"), holders(f"{m.host}/f")
        assert host.ask("set f F_WRLCK 0 0") == "ok" and host.ask("flock f LOCK_EX") == "ok"
        guest.send(line)
        time.sleep(0.2)
        began = time.monotonic()
        guest.process.send_signal(signal.SIGUSR1)
        assert guest.process.stdout.readline().strip() == "EINTR"
        assert time.monotonic() - began < 1
        assert host.ask("set f F_UNLCK 0 0") == "ok" and host.ask("flock f LOCK_UN") == "ok"
        time.sleep(0.3)
        other = holders(f"{m.host}/f")
        assert other.ask("set f F_WRLCK 0 0") == "ok" and other.ask("flock f LOCK_EX|LOCK_NB") == "ok"
        other.end()


def test_a_killed_holder_goes_and_its_lock_with_it_although_the_host_does_not_answer(m, holders):
    guest, host = holders(f"{m.guest}/f"), holders(f"{m.host}/f")
    assert guest.ask("set f F_WRLCK 0 0") == "ok"
    server = m.children()["server"]
    stop_process(server)
    try:
        began = time.monotonic()
        guest.end()
        assert time.monotonic() - began < 3
        assert host.ask("set f F_WRLCK 0 0") in ("EAGAIN", "EACCES")
    finally:
        os.kill(server, signal.SIGCONT)
    within(3, lambda: host.ask("set f F_WRLCK 0 0") == "ok")


COUNT = r"""
import fcntl, mmap, os, sys
path, how, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(path, os.O_RDWR)
memory = mmap.mmap(fd, 20, prot=mmap.PROT_READ)
take = fcntl.flock if how == "flock" else fcntl.lockf
for _ in range(times):
    take(fd, fcntl.LOCK_EX)
    value = int(memory[:] if how == "mmap" else os.pread(fd, 20, 0))
    os.pwrite(fd, b"%019d\n" % (value + 1), 0)
    take(fd, fcntl.LOCK_UN)
"""


@pytest.mark.parametrize("how", ["lockf", "flock", "mmap"])
def test_what_a_lock_protects_is_seen_as_it_is(m, how):
    with open(f"{m.host}/count", "w") as f:
        f.write("%019d\n" % 0)
    sides = [subprocess.Popen([sys.executable, "-c", COUNT, f"{side}/count", how, str(times)])
             for side, times in ((m.host, 3000), (m.guest, 150), (m.guest, 150))]
    assert [s.wait(60) for s in sides] == [0, 0, 0]
    assert int(open(f"{m.host}/count").read()) == 3300


MAPPED = r"""
import fcntl, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 20, prot=mmap.PROT_READ)
for line in sys.stdin:
    fcntl.lockf(fd, fcntl.LOCK_EX)
    print(memory[:].decode(), end="", flush=True)
    fcntl.lockf(fd, fcntl.LOCK_UN)
"""


def test_a_mapping_is_of_what_the_last_holder_left(m):
    reader = None
    for turn in range(20):
        with open(f"{m.host}/count", "r+" if turn else "w") as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            f.write("%019d\n" % turn)
            f.flush()
            fcntl.lockf(f, fcntl.LOCK_UN)
        reader = reader or subprocess.Popen([sys.executable, "-c", MAPPED, f"{m.guest}/count"], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, text=True)
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert int(reader.stdout.readline()) == turn
    reader.stdin.close()
    assert reader.wait(10) == 0
    reader.stdout.close()


INSERT = r"""
import sqlite3, sys
path, who, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(path, timeout=60, isolation_level=None)
for i in range(times):
    db.execute("BEGIN IMMEDIATE")
    n, = db.execute("SELECT count(*) FROM t").fetchone()
    db.execute("INSERT INTO t VALUES (?, ?, ?)", (n, who, "x" * 500))
    db.execute("COMMIT")
"""


def test_sqlite_from_both_sides_at_once(m):
    db = sqlite3.connect(f"{m.host}/db")
    db.execute("CREATE TABLE t (n INTEGER UNIQUE, who TEXT, text TEXT)")
    db.commit()
    sides = [subprocess.Popen([sys.executable, "-c", INSERT, f"{getattr(m, side)}/db", side, "40"]) for side in ("host", "guest")]
    assert [s.wait(90) for s in sides] == [0, 0]
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT who, count(*) FROM t GROUP BY who ORDER BY who").fetchall() == [("guest", 40), ("host", 40)]
    db.close()


def test_without_it_locks_stay_in_the_guest(tmp_path, holders):
    with Mounted(tmp_path) as m:
        open(f"{m.host}/f", "w").close()
        a, b, host = holders(f"{m.guest}/f"), holders(f"{m.guest}/f"), holders(f"{m.host}/f")
        assert a.ask("set f F_WRLCK 0 0") == "ok" and a.ask("flock f LOCK_EX") == "ok"
        assert b.ask("set f F_WRLCK 0 0") == "EAGAIN" and b.ask("flock f LOCK_EX|LOCK_NB") == "EAGAIN"
        assert host.ask("set f F_WRLCK 0 0") == "ok" and host.ask("flock f LOCK_EX|LOCK_NB") == "ok"
        for h in (a, b):
            h.end()


def test_locks_of_folders_stay_in_the_guest(m, holders):
    """Its kernel has no request for them."""
    here, there = os.open(m.guest, os.O_RDONLY), os.open(m.host, os.O_RDONLY)
    fcntl.flock(here, fcntl.LOCK_EX)
    again = os.open(m.guest, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for fd in (here, there, again):
        os.close(fd)


def test_a_read_only_share_can_be_locked_for_reading(tmp_path, holders):
    with Mounted(tmp_path, writable=False, options=["-o", "ro,locks"], server=["--locks"]) as m:
        with open(f"{m.host}/f", "w") as f:
            f.write("x")
        guest, host = holders(f"{m.guest}/f", "ro"), holders(f"{m.host}/f")
        assert guest.ask("set f F_RDLCK 0 0") == "ok"
        assert guest.ask("set f F_WRLCK 0 0") == "EBADF"
        assert host.ask("set f F_WRLCK 0 0") in ("EAGAIN", "EACCES")
        assert guest.ask("flock f LOCK_EX") == "ok"
        assert host.ask("flock f LOCK_SH|LOCK_NB") == "EAGAIN"
        guest.end()


SET, TEST, FCNTL, FLOCK, NONE, READ, WRITE = 0, 1, 0, 1, 0, 1, 2


def test_at_the_wire(tmp_path):
    with open(tmp_path / "f", "w") as f:
        f.write("x" * 10)

    def refused(code, fn, *args):
        with pytest.raises(OSError) as e:
            fn(*args)
        assert e.value.errno == code, (errno.errorcode[e.value.errno], args)

    with native.Client.spawn([HOST, "sftp-server", "--writable", "--locks", str(tmp_path)]) as c:
        node, _ = c.lookup(native.ROOT, b"f")
        fh = c.open(node, native.O_READ | native.O_WRITE)[0]
        reader = c.open(node, native.O_READ)[0]
        assert c.lock(fh, SET, 7, FCNTL, WRITE, 0, 5).size == 10
        assert c.lock(reader, TEST, 8, FCNTL, READ, 0, 0) == (8, FCNTL, WRITE, 0, 5)
        assert c.lock(reader, TEST, 7, FCNTL, WRITE, 0, 0)[2] == NONE, "its own is in nobody's way"
        refused(errno.EAGAIN, c.lock, reader, SET, 8, FCNTL, READ, 4, 1)
        refused(errno.EBADF, c.lock, reader, SET, 9, FCNTL, WRITE, 6, 1)
        refused(errno.EBADF, c.lock, 4711, SET, 9, FCNTL, READ, 6, 1)
        for what, kind, type_, start, length in ((2, 0, 1, 0, 0), (0, 2, 1, 0, 0), (0, 0, 3, 0, 0), (0, 0, 1, 2**63, 0),
                                                 (0, 0, 1, 2**62, 2**62), (1, FLOCK, READ, 0, 0), (1, FCNTL, NONE, 0, 0)):
            refused(errno.EINVAL, c.lock, fh, what, 7, kind, type_, start, length)
        assert c.lock(fh, SET, 7, FCNTL, NONE, 0, 0).size == 10
        assert c.lock(reader, SET, 8, FCNTL, READ, 4, 1).size == 10
        # Of owners without end some are refused; what serves goes on.
        owners = 0
        while owners < 5000:
            try:
                c.lock(reader, SET, 1000 + owners, FCNTL, READ, 0, 0)
            except OSError as e:
                assert e.errno == errno.ENOLCK
                break
            owners += 1
        assert 16 < owners < 5000
        assert c.open(node, native.O_READ)
    with native.Client.spawn([HOST, "sftp-server", "--writable", str(tmp_path)]) as c:
        fh = c.open(c.lookup(native.ROOT, b"f")[0], native.O_READ | native.O_WRITE)[0]
        refused(errno.EOPNOTSUPP, c.lock, fh, SET, 7, FCNTL, READ, 0, 0)


@pytest.fixture
def of_a_user():
    """A client of an ordinary user's server, and the folder."""
    with tempfile.TemporaryDirectory(prefix="homeport-locks-") as top:
        os.chmod(top, 0o755)
        os.mkdir(top + "/share")
        os.chown(top + "/share", USER, USER)
        server = [*as_user(), shutil.copy(HOST, top), "sftp-server", "--writable", "--locks", top + "/share"]
        with native.Client.spawn(server) as c:
            yield c, top + "/share"


def test_a_file_that_may_not_be_opened_again_is_locked_through_its_handle(of_a_user, holders):
    """Its mode forbids it. One owner is lent the handle's own description; for the others there is no other."""
    c, share = of_a_user
    _, _, fh, _ = c.create(native.ROOT, b"f", mode=0o400)
    c.lock(fh, SET, 7, FCNTL, WRITE, 0, 10)
    host = holders(f"{share}/f")
    assert host.ask("set f F_RDLCK 5 1") in ("EAGAIN", "EACCES")
    assert c.lock(fh, TEST, 8, FCNTL, READ, 0, 0) == (8, FCNTL, WRITE, 0, 10)
    c.lock(fh, SET, 8, FCNTL, READ, 20, 5)
    for code, type_, start in ((errno.EAGAIN, READ, 0), (errno.ENOLCK, WRITE, 30)):
        with pytest.raises(OSError) as e:
            c.lock(fh, SET, 8, FCNTL, type_, start, 5)
        assert e.value.errno == code
    c.lock(fh, SET, 7, FLOCK, WRITE, 0, 0)
    assert host.ask("flock f LOCK_SH|LOCK_NB") == "EAGAIN"
    c.lock(fh, SET, 7, FLOCK, NONE, 0, 0)
    assert host.ask("flock f LOCK_SH|LOCK_NB") == "ok"
    # It goes with the last unlock, though the handle stays; then the next owner may have it.
    c.lock(fh, SET, 7, FCNTL, NONE, 0, 0)
    assert host.ask("set f F_WRLCK 0 15") == "ok"
    c.lock(fh, SET, 8, FCNTL, WRITE, 30, 5)
    assert host.ask("set f F_RDLCK 30 1") in ("EAGAIN", "EACCES")
    assert host.ask("set f F_WRLCK 20 1") in ("EAGAIN", "EACCES"), "what it had is locked as before"
    c.lock(fh, SET, 8, FCNTL, NONE, 0, 0)
    assert host.ask("set f F_WRLCK 0 0") == "ok"


@pytest.mark.parametrize("ranges, refused", [(16, False), (17, True)])
def test_what_was_locked_to_read_is_still_when_it_can_be_written(of_a_user, holders, ranges, refused):
    c, share = of_a_user
    node, _, fh, _ = c.create(native.ROOT, b"f", mode=0o400)
    c.release(fh)
    reader = c.open(node, native.O_READ)[0]
    for i in range(ranges):
        c.lock(reader, SET, 7, FCNTL, READ, 10 * i, 5)
    os.chmod(share + "/f", 0o600)
    writer = c.open(node, native.O_READ | native.O_WRITE)[0]
    if refused:
        with pytest.raises(OSError) as e:
            c.lock(writer, SET, 7, FCNTL, WRITE, 1000, 1)
        assert e.value.errno == errno.ENOLCK
    else:
        c.lock(writer, SET, 7, FCNTL, WRITE, 1000, 1)
    host = holders(f"{share}/f")
    for i in range(ranges):
        assert host.ask(f"set f F_WRLCK {10 * i + 4} 1") in ("EAGAIN", "EACCES")
        assert host.ask(f"set f F_WRLCK {10 * i + 5} 5") == "ok"
    assert host.ask("set f F_RDLCK 1000 1") in (("ok",) if refused else ("EAGAIN", "EACCES"))


@pytest.mark.timeout(90)
def test_as_the_configuration_says(homeport, guest, host, host_home):
    """Of nested shares all do as soon as one does; a mount beside them does not."""
    for place in ("a/f", "a/b/f", "c/f"):
        host_home.write(place, "x")
    home = host_home.inside
    homeport.write_config("guest", f"ssh: {{configFile: {homeport.lab.ssh_config()}}}\nmounts:\n"
                          f"- {{location: ~/a, mountPoint: {home}/m, writable: true}}\n"
                          f"- {{location: ~/a/b, mountPoint: {home}/m/n, writable: true, locks: host}}\n"
                          f"- {{location: ~/c, mountPoint: {home}/o, writable: true}}\n")
    homeport.up("--name", "guest")
    for there, here, free in (("m/f", "a/f", False), ("m/n/f", "a/b/f", False), ("o/f", "c/f", True)):
        hold = guest.popen(["flock", f"{home}/{there}", "-c", "echo held; cat"], user="me", stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, text=True)
        assert hold.stdout.readline() == "held\n"
        attempt = ["flock", "-n", f"{home}/{here}", "-c", "true"]
        assert (host.cmd(attempt, user="me", check=False).returncode == 0) is free, there
        hold.stdin.close()
        assert hold.wait(10) == 0
        assert host.cmd(attempt, user="me", check=False).returncode == 0, there


def test_what_was_closed_is_free_for_the_next_one(m):
    """Also for a program that asks at once, by another descriptor."""
    for turn in range(300):
        one, other = os.open(m.guest + "/f", os.O_RDWR), os.open(m.guest + "/f", os.O_RDWR)
        fcntl.flock(one, fcntl.LOCK_EX)
        os.close(one)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


GIT = r"""
cd "$0"; export HOME=$PWD GIT_AUTHOR_NAME=me GIT_AUTHOR_EMAIL=me@example.org GIT_COMMITTER_NAME=me GIT_COMMITTER_EMAIL=me@example.org
for i in $(seq "$2"); do
    echo "$1 $i" >"$1-$i"
    # A commit of some paths may undo what another process added meanwhile: locally, too.
    until error=$(git add "$1-$i" 2>&1 && git commit -qm x -- "$1-$i" 2>&1); do
        case $error in *.lock*|*"cannot lock ref"*|*"did not match any file"*) sleep 0.0$((RANDOM % 9 + 1));; *) echo "$error"; exit 1;; esac
    done
done
"""


def test_git_from_both_sides_at_once(m):
    """Its lock files are made with O_EXCL, and what they protect is read behind them: no commit takes another's place."""
    subprocess.run(["git", "init", "-q", m.host], check=True)
    sides = [subprocess.Popen(["bash", "-c", GIT, getattr(m, side), side, "5"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) for side in ("host", "guest")]
    said = [side.communicate(timeout=50)[0] for side in sides]
    assert [side.returncode for side in sides] == [0, 0] and said == ["", ""], said
    for there in (m.host, m.guest):
        def git(*args):
            return subprocess.run(["git", "-c", "safe.directory=*", "-C", there, *args], capture_output=True, text=True, check=True).stdout
        assert git("rev-list", "--count", "HEAD") == "10\n"
        assert len(git("ls-tree", "--name-only", "HEAD").split()) == 10
        assert git("status", "--porcelain") == "?? f\n"
        git("fsck", "--strict", "--no-dangling")


DPKG = """
cd "$0"
mkdir -p p/DEBIAN root/var/lib/dpkg/info root/var/lib/dpkg/updates; touch root/var/lib/dpkg/status
printf 'Package: thing\\nVersion: 1\\nArchitecture: all\\nMaintainer: me <me@example.org>\\nDescription: x\\n' >p/DEBIAN/control
dpkg-deb -b p thing.deb >/dev/null
"""


@pytest.mark.parametrize("holder, other", [("host", "guest"), ("guest", "host")])
def test_dpkg_waits_for_nobody_and_says_who_is_there(m, holders, holder, other):
    """Its lock files are fcntl's: an installation on one side keeps the other's out."""
    subprocess.run(["sh", "-ec", DPKG, m.host], check=True, timeout=30)

    def install(side):
        return subprocess.run(["dpkg", f"--root={getattr(m, side)}/root", "--log=/dev/null", "-i", m.host + "/thing.deb"],
                              capture_output=True, text=True, timeout=30)

    busy = getattr(m, holder) + "/root/var/lib/dpkg/lock-frontend"
    open(busy, "a").close()
    one = holders(busy)
    assert one.ask("set f F_WRLCK 0 0") == "ok"
    refused = install(other)
    assert refused.returncode == 2 and "frontend lock was locked by another process" in refused.stderr
    one.end()
    within(5, lambda: install(other).returncode == 0)
