# SPDX-License-Identifier: MIT
"""The guest's agent dies, or makes way for another: its mounts stay, and the next one goes on with them."""
import contextlib
import errno
import os
import re
import signal
import struct
import subprocess
import time

import pytest

from conftest import mount_helpers, serves, wait_until
from lab import BUILD_AT

CACHE = "{}/.cache/homeport"

# alias of the guest, its user there, how the mount is mounted there
WAYS = [("guest", "me"), ("guest-plain", "plain"), ("guest-root", "root")]


def found(guest, *starts):
    return {outer: line for outer, (_, line) in guest.processes().items() if any(s in line for s in starts)}


def kill_serve(guest, sig=signal.SIGKILL):
    old = serves(guest)
    assert old
    for outer in old:
        os.kill(outer, sig)
    wait_until(lambda: not set(old) & set(serves(guest)), what="the agent has gone")


def connected(homeport):
    status = homeport.status()
    return status and status["state"] == "connected" and all(m["state"] == "mounted" for m in status["mounts"])


def mounts(guest):
    """Mount points, and who stands by them: the same as long as they are the same mounts. (Their numbers are used again.)"""
    return [m[0] for m in guest.mounts("fuse.homeport")], sorted(mount_helpers(guest))


def taken_up(homeport, guest, before):
    """Connected again, and every mount is the one it was."""
    wait_until(lambda: serves(guest) and connected(homeport), timeout=20, what="another agent serves")
    assert mounts(guest) == before


def keep_sockets(guest, user="me"):
    done = guest.cmd(f"ls {CACHE.format(guest.home(user))} | grep ^keep-", user=user, check=False)
    return done.stdout.split()


@pytest.fixture
def tree(host_home):
    for i in range(20):
        for j in range(10):
            host_home.write(f"tree/d{i}/sub/f{j}", f"{i} {j}\n")
    host_home.write("note", "from the host\n")
    return host_home


@pytest.mark.parametrize("alias, user", WAYS)
def test_it_is_killed_and_the_next_one_goes_on(homeport, guest, tree, alias, user):
    target = guest.home(user) + "/there"
    homeport.up("--mount", f"~:{target}:w", host=alias)
    before = mounts(guest)
    assert len(before[0]) == len(before[1]) == 1
    shell = guest.popen(f"cd {target}/tree/d3/sub && echo ready && read x && cat f7 && echo new > made && cat made && ls .. && pwd",
                        user=user, stdin=-1, stdout=-1, text=True)
    assert shell.stdout.readline() == "ready\n"
    listed = guest.cmd(f"cd {target} && find . | sort", user=user).stdout
    kill_serve(guest)
    # Asked while nobody is there, and answered by the next one.
    assert guest.cmd(f"cat {target}/note", user=user, timeout=20).stdout == "from the host\n"
    taken_up(homeport, guest, before)
    assert guest.cmd(f"cd {target} && find . | sort", user=user).stdout == listed
    out, _ = shell.communicate("\n", timeout=20)
    assert out == f"3 7\nnew\nsub\n{target}/tree/d3/sub\n"
    with open(tree / "tree/d3/sub/made") as f:
        assert f.read() == "new\n"
    homeport.down()
    assert not guest.mounts("fuse") and not keep_sockets(guest, user)


def open_fds(guest, *starts):
    """How many descriptors of each kind those processes have."""
    kinds = [os.readlink(f"/proc/{outer}/fd/{fd}").split(":")[0] for outer in found(guest, *starts) for fd in os.listdir(f"/proc/{outer}/fd")]
    return sorted((k, kinds.count(k)) for k in set(kinds))


def test_nothing_piles_up_from_one_agent_to_the_next(homeport, guest, tree):
    """Descriptors, here and in the helper; sockets in the folder."""
    homeport.up("--mount", "~:/tmp/there:w")
    before, seen = mounts(guest), []
    for _ in range(5):
        kill_serve(guest)
        taken_up(homeport, guest, before)
        assert guest.cmd("cat /tmp/there/note", user="me", timeout=20).stdout == "from the host\n"
        seen.append((open_fds(guest, "homeport-guest helper"), len(open_fds(guest, "homeport-guest serve")), keep_sockets(guest)))
    wait_until(lambda: open_fds(guest, "homeport-guest serve") and len(serves(guest)) == 1)
    assert seen[1:] == seen[:-1]


LOAD = """
    cd {0}/tree || exit 1
    while [ ! -e /tmp/enough ]; do
        find . -type f | while read f; do [ "$(cat $f)" ] || echo "no $f"; done
        ls -lR . >/dev/null || echo "no list"
    done"""


def under_load(homeport, guest, times):
    before = mounts(guest)
    load = guest.popen(LOAD.format("/tmp/there"), user="me", stdout=-1, stderr=-2, text=True)
    for _ in range(times):
        time.sleep(0.2)
        kill_serve(guest)
        taken_up(homeport, guest, before)
    guest.cmd("touch /tmp/enough")
    said, _ = load.communicate(timeout=30)
    guest.cmd("rm /tmp/enough")
    assert said == ""


@pytest.mark.long
@pytest.mark.timeout(240)
def test_twenty_times_under_load(homeport, guest, tree):
    """A walk through it all goes on, and meets no error; nor do those who open files by their names."""
    homeport.up("--mount", "~:/tmp/there:w")
    under_load(homeport, guest, 20)


@pytest.fixture
def older_kernel(guest):
    """homeport-guest as it is on a kernel before 6.9, which sends nothing once more."""
    wrapper = "/tmp/homeport-guest"
    with open(guest.path(wrapper), "w") as f:
        f.write(f'#!/bin/sh\nHOMEPORT_FEATURES=-resend exec {BUILD_AT}/homeport-guest "$@"\n')
    os.chmod(guest.path(wrapper), 0o755)
    yield ["--guest-command", wrapper]
    os.unlink(guest.path(wrapper))


@pytest.fixture
def again(request):
    return [] if request.param == "resend" else request.getfixturevalue("older_kernel")


@pytest.mark.parametrize("again", ["replay", pytest.param("resend", marks=pytest.mark.long)], indirect=True)
def test_what_waited_is_answered_and_what_may_have_been_done_is_not_done_twice(homeport, lab, host, guest, tree, again):
    """The agent has read the requests, and dies before the host has answered."""
    homeport.up("--mount", "~:/tmp/there:w", *again)
    guest.cmd("ls /tmp/there/tree/d1/sub >/dev/null; sleep 1.2", user="me")
    before = mounts(guest)
    lab.link_cut()
    asked = {what: guest.popen(f"cd /tmp/there/tree && {what}", user="me", stdout=-1, stderr=-2, text=True) for what in (
        "cat d1/sub/f1", "ls d2/sub | tail -n 1", "mkdir made", "rm d1/sub/f2", "stat -c %s d4/sub/f9", "echo 1 > d5/sub/new")}
    time.sleep(1.5)
    kill_serve(guest)
    lab.link_restore()
    said = {what: p.communicate(timeout=30)[0] for what, p in asked.items()}
    taken_up(homeport, guest, before)
    assert said["cat d1/sub/f1"] == "1 1\n"
    assert said["ls d2/sub | tail -n 1"] == "f9\n"
    assert said["stat -c %s d4/sub/f9"] == "4\n"
    for what in ("mkdir made", "rm d1/sub/f2", "echo 1 > d5/sub/new"):
        assert said[what] == "" or "Input/output error" in said[what], said
    if not said["mkdir made"]:
        assert os.path.isdir(tree / "tree/made")


@pytest.mark.long
@pytest.mark.parametrize("again", ["replay", "resend"], indirect=True)
def test_changes_that_the_host_was_not_asked_for_are_made(homeport, host, guest, tree, again):
    """They were read by an agent whose host was away, and made by the next one."""
    homeport.up("--mount", "~:/tmp/there:w", *again)
    guest.cmd("ls /tmp/there/tree >/dev/null", user="me")
    before = mounts(guest)
    for outer in found(host, "homeport run"):
        os.kill(outer, signal.SIGKILL)
    wait_until(lambda: not found(host, "homeport sftp-server"))
    time.sleep(1.2)
    asked = guest.popen("cd /tmp/there/tree && mkdir made && mv d1 moved && rm d2/sub/f1 && echo done", user="me",
                        stdout=-1, stderr=-2, text=True)
    time.sleep(0.3)
    kill_serve(guest)
    homeport.up("--mount", "~:/tmp/there:w", *again)
    assert asked.communicate(timeout=30)[0] == "done\n"
    assert mounts(guest) == before
    assert os.path.isdir(tree / "tree/made") and os.path.isdir(tree / "tree/moved")
    assert not os.path.exists(tree / "tree/d1") and not os.path.exists(tree / "tree/d2/sub/f1")


OPEN = """
import errno, mmap, os, sys
def tried(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
os.chdir(sys.argv[1])
r = os.open("long", os.O_RDONLY)
w = os.open("written", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_EXCL)
os.write(w, b"before")
os.fsync(w)
a = os.open("appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(a, b"before")
m = mmap.mmap(r, 0, prot=mmap.PROT_READ)
gone, replaced, moved = (os.open(n, os.O_RDWR | os.O_CREAT) for n in ("gone", "replaced", "moved"))
os.unlink("gone")
d = os.open("tree", os.O_RDONLY)
first = os.scandir(d)
print(next(first) and "ready", flush=True)
sys.stdin.readline()
print(tried(os.pread, r, 4, 3000000), m[2000000:2000004], tried(os.fstat, r).st_size)
print(tried(os.write, w, b" after"), tried(os.fsync, w), tried(os.pread, w, 20, 0), tried(os.ftruncate, w, 9), tried(os.close, w))
print(tried(os.write, a, b" after"), tried(os.lseek, r, 0, os.SEEK_HOLE), tried(os.close, a))
print(tried(os.pread, gone, 4, 0), tried(os.pread, replaced, 4, 0), tried(os.write, moved, b"moved"), tried(os.close, moved))
print(sum(1 for _ in first), len(os.listdir(d)), open("written").read(), open("appended").read(), open("replaced").read())
"""


def test_open_files_and_open_folders_go_on(homeport, guest, tree):
    """A file that has no name any more, or another's, is stale."""
    tree.write("long", "x" * 4000000)
    homeport.up("--mount", "~:/tmp/there:w")
    before = mounts(guest)
    program = guest.popen(["python3", "-c", OPEN, "/tmp/there"], user="me", stdin=-1, stdout=-1, stderr=-2, text=True)
    assert program.stdout.readline() == "ready\n"
    for again in range(2):
        os.rename(tree / "moved", tree / ("moved2" if again else "replaced2"))
        os.rename(tree / ("moved2" if again else "replaced2"), tree / "moved")
        if not again:
            os.unlink(tree / "replaced")
            tree.write("replaced", "another")
        kill_serve(guest)
        taken_up(homeport, guest, before)
    said = program.communicate("\n", timeout=20)[0].splitlines()
    assert said == ["b'xxxx' b'xxxx' 4000000", "6 None b'before after' None None", "6 4000000 None",
                    "ESTALE ESTALE 5 None", "19 20 before af before after another"], said
    with open(tree / "moved") as f:
        assert f.read() == "moved"
    # Nothing of it is remembered for ever.
    kill_serve(guest)
    taken_up(homeport, guest, before)
    assert guest.cmd("cat /tmp/there/written /tmp/there/moved", user="me").stdout == "before afmoved"


COPY = """
import os, sys
i = os.open(sys.argv[1] + "/note", os.O_RDONLY)
o = os.open(sys.argv[1] + "/copy", os.O_RDWR | os.O_CREAT)
print("ready", flush=True)
sys.stdin.readline()
print(os.copy_file_range(i, o, 100), os.pread(o, 100, 0))
"""


def test_a_copy_between_two_open_files_goes_on(homeport, guest, tree):
    """The one request with two handles, each of a file of its own."""
    homeport.up("--mount", "~:/tmp/there:w")
    before = mounts(guest)
    program = guest.popen(["python3", "-c", COPY, "/tmp/there"], user="me", stdin=-1, stdout=-1, stderr=-2, text=True)
    assert program.stdout.readline() == "ready\n"
    kill_serve(guest)
    taken_up(homeport, guest, before)
    assert program.communicate("\n", timeout=20)[0] == "14 b'from the host\\n'\n"


@contextlib.contextmanager
def traced(guest, calls, what):
    """strace(1) meddles with what the agent asks of /dev/fuse."""
    [agent] = serves(guest)
    tracer = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(agent), "-P", "/dev/fuse", "-e", "trace=" + calls,
                               "-e", f"inject={calls}:{what}"])
    wait_until(lambda: "TracerPid:\t0\n" not in open(f"/proc/{agent}/status").read(), what="the agent is watched")
    yield
    tracer.wait(timeout=10)
    assert agent not in serves(guest)


def test_who_was_about_to_be_answered_is_answered_by_the_next_one(homeport, guest, tree, older_kernel):
    """The agent dies at the very call that answers. An older kernel does not ask again by itself."""
    homeport.up("--mount", "~:/tmp/there:w", *older_kernel)
    before = mounts(guest)
    with traced(guest, "writev", "signal=KILL"):
        asked = guest.popen("cat /tmp/there/tree/d1/sub/f1", user="me", stdout=-1, stderr=-2, text=True)
    taken_up(homeport, guest, before)
    assert asked.communicate(timeout=20)[0] == "1 1\n"


def test_who_was_just_heard_is_answered_by_the_next_one(homeport, guest, tree, older_kernel):
    """The agent dies before the call returns by which it reads a request."""
    homeport.up("--mount", "~:/tmp/there:w", *older_kernel)
    before = mounts(guest)
    with traced(guest, "read,readv", "delay_exit=3s"):
        asked = guest.popen("cat /tmp/there/tree/d1/sub/f1", user="me", stdout=-1, stderr=-2, text=True)
        time.sleep(0.5)
        kill_serve(guest)
    taken_up(homeport, guest, before)
    assert asked.communicate(timeout=20)[0] == "1 1\n"


CROWD = """
import errno, os, sys, threading
def ask(i):
    try:
        os.stat(f"{sys.argv[1]}/{i}")
    except OSError as e:
        said.append(e.errno)
threading.stack_size(65536)
said = []
crowd = [threading.Thread(target=ask, args=[i]) for i in range(1500)]
for t in crowd:
    t.start()
print("ready", flush=True)
for t in crowd:
    t.join()
print(len(said), *sorted(errno.errorcode[e] for e in set(said)))
"""


@pytest.mark.parametrize("again", ["replay", pytest.param("resend", marks=pytest.mark.long)], indirect=True)
def test_a_crowd_that_waits_is_told(homeport, lab, guest, tree, again):
    """More requests than the agent can write down: where the kernel does not ask again, nobody is left to wait for ever."""
    homeport.up("--mount", "~:/tmp/there:w", *again)
    lab.link_cut()
    crowd = guest.popen(["python3", "-c", CROWD, "/tmp/there"], user="me", stdout=-1, stderr=-2, text=True)
    assert crowd.stdout.readline() == "ready\n"
    time.sleep(0.5)
    kill_serve(guest)
    lab.link_restore()
    wait_until(lambda: serves(guest) and connected(homeport), timeout=20)
    said = crowd.communicate(timeout=20)[0].split()
    assert said[0] == "1500" and set(said[1:]) <= ({"ENOENT", "ENOTCONN", "ECONNABORTED"} if again else {"ENOENT"}), said


WRITER = """
import errno, os, sys, time
w = os.open(sys.argv[1] + "/lost", os.O_RDWR | os.O_CREAT)
o = os.open(sys.argv[1] + "/lost", os.O_RDWR)
os.write(w, b"acknowledged")
os.fsync(w)
c = os.open(sys.argv[1] + "/clean", os.O_RDWR | os.O_CREAT)
os.write(c, b"clean")
time.sleep(1)
print("ready", flush=True)
sys.stdin.readline()
print(os.write(w, b" and not"), flush=True)
sys.stdin.readline()
for fd in (w, o, c):
    for f in (os.fsync, os.fsync, os.close):
        try:
            print(f(fd), end=" ")
        except OSError as e:
            print(errno.errorcode[e.errno], end=" ")
"""


def test_what_was_written_and_never_came_to_the_host_is_told(homeport, lab, guest, tree):
    """write(2) was answered, the host did not have it yet, and the agent dies: once to each who has the file open."""
    homeport.up("--mount", "~:/tmp/there:w")
    before = mounts(guest)
    program = guest.popen(["python3", "-c", WRITER, "/tmp/there"], user="me", stdin=-1, stdout=-1, stderr=-2, text=True)
    assert program.stdout.readline() == "ready\n"
    lab.link_cut()
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "8\n"
    kill_serve(guest)
    lab.link_restore()
    taken_up(homeport, guest, before)
    said = program.communicate("\n", timeout=20)[0]
    assert said == "EIO None None EIO None None None None None ", said
    with open(tree / "lost") as f:
        assert f.read() in ("acknowledged", "acknowledged and not")
    assert guest.cmd("cat /tmp/there/clean", user="me").stdout == "clean"


@pytest.mark.long
def test_a_program_that_runs_from_there_goes_on(homeport, host, guest, tree):
    """Its pages are read when it comes to them."""
    with open("/usr/bin/python3", "rb") as f:
        tree.write("python", f.read(), 0o755)
    homeport.up("--mount", "~:/tmp/there")
    before = mounts(guest)
    program = guest.popen(["/tmp/there/python", "-c", "import sys; print('ready', flush=True); sys.stdin.readline(); "
                           "import json, decimal, ast, re; print(decimal.Decimal(2).sqrt(), re.sub('a+', 'b', 'aa'))"],
                          user="me", stdin=-1, stdout=-1, stderr=-2, text=True)
    assert program.stdout.readline() == "ready\n"
    kill_serve(guest)
    taken_up(homeport, guest, before)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")
    assert program.communicate("\n", timeout=20)[0] == "1.414213562373095048801688724 b\n"


def test_two_mounts_and_nested_shares_with_a_working_folder_in_each(homeport, guest, tree):
    tree.write("inner/deep/f", "inner\n")
    tree.write("second/s/f", "second\n")
    homeport.up("--mount", "~:/tmp/there", "--mount", "~/inner:/tmp/there/way/to/inner:w", "--mount", "~/second:/tmp/second:w")
    before = mounts(guest)
    assert len(before[0]) == len(before[1]) == 2
    places = ["/tmp/there/way/to/inner/deep", "/tmp/there/way/to/inner", "/tmp/there/way", "/tmp/there/tree/d1", "/tmp/there",
              "/tmp/second/s"]
    guest.cmd("cd /tmp/there/tree/d1/sub && mkdir -p /tmp/bound && echo b > /tmp/bound/b")
    guest.cmd(["mount", "--bind", "/tmp/bound", "/tmp/there/tree/d1/sub"])
    shells = {p: guest.popen(f"cd {p} && echo ready && read x && ls && /bin/pwd", user="me", stdin=-1, stdout=-1, stderr=-2,
                             text=True) for p in places}
    for shell in shells.values():
        assert shell.stdout.readline() == "ready\n"
    for _ in range(2):
        kill_serve(guest)
        taken_up(homeport, guest, before)
        time.sleep(1.1)
        assert guest.cmd("cat /tmp/there/tree/d1/sub/b", user="me").stdout == "b\n", "what is mounted below stays"
    guest.cmd(["umount", "/tmp/there/tree/d1/sub"])
    said = {p: shell.communicate("\n", timeout=20)[0] for p, shell in shells.items()}
    assert said == {"/tmp/there/way/to/inner/deep": "f\n/tmp/there/way/to/inner/deep\n",
                    "/tmp/there/way/to/inner": "deep\n/tmp/there/way/to/inner\n",
                    "/tmp/there/way": "to\n/tmp/there/way\n", "/tmp/there/tree/d1": "sub\n/tmp/there/tree/d1\n",
                    "/tmp/there": "inner\nnote\nsecond\ntree\nway\n/tmp/there\n", "/tmp/second/s": "f\n/tmp/second/s\n"}
    assert guest.cmd("echo more > /tmp/there/way/to/inner/deep/g; cat /tmp/second/s/f", user="me").stdout == "second\n"
    homeport.down()
    assert not guest.mounts("fuse") and not keep_sockets(guest)


@pytest.mark.long
def test_a_folder_that_was_replaced_meanwhile_is_not_the_one_it_was(homeport, guest, tree):
    homeport.up("--mount", "~:/tmp/there:w")
    before = mounts(guest)
    shell = guest.popen("cd /tmp/there/tree/d3/sub && echo ready && read x && ls; cat f1; cd $PWD && cat f1", user="me", stdin=-1,
                        stdout=-1, stderr=-2, text=True)
    assert shell.stdout.readline() == "ready\n"
    os.rename(tree / "tree/d3", tree / "tree/was")
    tree.write("tree/d3/sub/f1", "another\n")
    kill_serve(guest)
    taken_up(homeport, guest, before)
    time.sleep(1.1)
    said = shell.communicate("\n", timeout=20)[0]
    assert said.count("Stale file handle") >= 1 and said.endswith("another\n") and "3 1" not in said, said


@pytest.mark.long
def test_it_makes_way_when_it_is_asked_to(homeport, guest, tree):
    """As systemctl restart asks; nothing that waits is lost."""
    homeport.up("--mount", "~:/tmp/there:w")
    before = mounts(guest)
    shell = guest.popen("cd /tmp/there/tree/d3/sub && echo ready && read x && cat f7", user="me", stdin=-1, stdout=-1, text=True)
    assert shell.stdout.readline() == "ready\n"
    old = serves(guest)
    kill_serve(guest, signal.SIGUSR1)
    taken_up(homeport, guest, before)
    assert not set(old) & set(serves(guest))
    assert shell.communicate("\n", timeout=20)[0] == "3 7\n"
    kill_serve(guest, signal.SIGTERM)
    wait_until(lambda: mounts(guest) != before, what="asked to end, it unmounts")
    wait_until(lambda: connected(homeport))


def test_the_hosts_agent_is_restarted_and_the_mount_stays(homeport, host, guest, tree):
    homeport.up("--mount", "~:/tmp/there:w")
    before, old = mounts(guest), serves(guest)
    for outer in found(host, "homeport run"):
        os.kill(outer, signal.SIGUSR1)
    wait_until(lambda: not found(host, "homeport run"))
    assert mounts(guest) == before
    assert homeport.run("status", "guest").returncode == 3
    homeport.up("--mount", "~:/tmp/there:w")
    assert mounts(guest) == before and serves(guest) == old
    assert guest.cmd("cat /tmp/there/note", user="me").stdout == "from the host\n"


@pytest.mark.long
def test_what_no_host_wants_any_more_is_given_up(homeport, host, guest, tree):
    homeport.up("--mount", "~:/tmp/there:w", "--mount", "~/tree:/tmp/tree")
    for outer in found(host, "homeport run"):
        os.kill(outer, signal.SIGKILL)
    kill_serve(guest)
    assert len(guest.mounts("fuse")) == 2
    homeport.up("--mount", "~/tree:/tmp/tree")
    wait_until(lambda: mounts(guest)[0] == ["/tmp/tree"], timeout=15)
    assert len(keep_sockets(guest)) == 1


@pytest.mark.parametrize("how", ["down", "sigterm"])
def test_what_was_not_taken_up_yet_goes_with_the_rest(homeport, host, guest, tree, how):
    """The next agent is there, but not yet what is shared: nobody waits in there for a mount that is given up."""
    homeport.up("--mount", "~/tree:/tmp/there:w")
    os.rename(tree / "tree", tree / "elsewhere")
    old = serves(guest)
    for outer in found(host, "homeport sftp-server"):
        os.kill(outer, signal.SIGKILL)
    kill_serve(guest)
    wait_until(lambda: serves(guest) and (homeport.status() or {}).get("state") == "connected", timeout=20)
    assert guest.mounts("fuse") and not set(old) & set(serves(guest))
    if how == "down":
        homeport.down()
    else:
        for outer in found(host, "homeport run"):
            os.kill(outer, signal.SIGKILL)
        kill_serve(guest, signal.SIGTERM)
    wait_until(lambda: not guest.mounts("fuse") and not found(guest, "homeport-guest helper"))
    assert not keep_sockets(guest)


@pytest.mark.parametrize("how", [pytest.param("time", marks=pytest.mark.long), "sigterm"])
def test_nobody_comes_and_the_helper_gives_it_up(homeport, host, guest, tree, how):
    if how == "time":
        config = homeport.env["XDG_CONFIG_HOME"] + "/homeport"
        os.makedirs(config)
        with open(config + "/short.yaml", "w") as f:
            f.write(f"ssh: {{host: guest, configFile: {homeport.lab.ssh_config('me')}}}\nsessionTimeout: 2s\n"
                    "mounts: [{location: '~', mountPoint: /tmp/there}]\n")
        homeport.lab.host.cmd(["chown", "-R", "me:", homeport.env["XDG_CONFIG_HOME"]])
        assert homeport.run("up", "short").returncode == 0
    else:
        homeport.up("--mount", "~:/tmp/there")
    for outer in found(host, "homeport run"):
        os.kill(outer, signal.SIGKILL)
    helper = mount_helpers(guest)
    kill_serve(guest)
    assert guest.mounts("fuse") and helper == mount_helpers(guest)
    waiting = guest.popen("cat /tmp/there/note", user="me", stderr=-1, text=True)
    time.sleep(0.3)
    for outer in helper if how == "sigterm" else []:
        os.kill(outer, signal.SIGTERM)
    wait_until(lambda: not guest.mounts("fuse"), timeout=10)
    wait_until(lambda: not mount_helpers(guest))
    assert waiting.communicate(timeout=10)[1].strip().endswith(("not connected", "connection abort"))


@pytest.mark.long
def test_one_of_another_version_is_mounted_anew(homeport, guest, tree):
    homeport.up("--mount", "~:/tmp/there:w")
    before = mounts(guest)
    [helper] = mount_helpers(guest)
    folder = f"/proc/{helper}/fd"
    [memory] = [fd for fd in os.listdir(folder) if "memfd:homeport-mount" in os.readlink(f"{folder}/{fd}")]
    with open(f"{folder}/{memory}", "r+b") as f:
        f.seek(8)
        f.write(struct.pack("=I", 99))
    kill_serve(guest)
    wait_until(lambda: serves(guest) and connected(homeport))
    assert mounts(guest)[0] == before[0] and mounts(guest)[1] != before[1]
    assert guest.cmd("cat /tmp/there/note", user="me").stdout == "from the host\n"
    assert "what an earlier agent left cannot be gone on with: it is of another version of homeport-guest" in homeport.logs()


@pytest.mark.long
def test_what_was_agreed_on_with_the_kernel_is_kept_or_else_mounted_anew(homeport, guest, tree, older_kernel):
    """An agent that would agree on more goes on with less; one that would not agree on what the kernel does cannot."""
    wrapper = guest.path(older_kernel[1])

    def without(features):
        with open(wrapper) as f:
            script = f.read()
        with open(wrapper, "w") as f:
            f.write(re.sub("FEATURES=\\S*", "FEATURES=" + features, script))

    without("-direct-mmap")
    homeport.up("--mount", "~:/tmp/there:w", *older_kernel)
    before = mounts(guest)
    without("")
    kill_serve(guest)
    taken_up(homeport, guest, before)
    homeport.down()
    homeport.up("--mount", "~:/tmp/there:w", *older_kernel)
    before = mounts(guest)
    without("-direct-mmap")
    kill_serve(guest)
    wait_until(lambda: serves(guest) and connected(homeport))
    assert mounts(guest)[0] == before[0] and mounts(guest)[1] != before[1]
    assert guest.cmd("cat /tmp/there/note", user="me").stdout == "from the host\n"
    assert "agrees on something else with the kernel" in homeport.logs()


ASK = """
import socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(5)
s.connect(sys.argv[1])
kind, target, value = int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4])
try:
    s.send(struct.pack(">BI", kind, len(target)) + target + struct.pack(">IB", value, 0))
    data, fds, _, _ = socket.recv_fds(s, 4096, 4)
except OSError as e:
    data, fds = b"", []
print(struct.unpack_from(">BI", data) if data else None, len(fds))
"""


def test_what_is_kept_is_given_to_its_user_alone(homeport, host, guest, tree):
    homeport.up("--mount", "~:/tmp/there:w")
    folder = CACHE.format(guest.home("me"))
    [name] = keep_sockets(guest)
    def ask(user, kind, target="/tmp/there", value=1):
        return guest.cmd(["python3", "-c", ASK, f"{folder}/{name}", str(kind), target, str(value)], user=user, check=False, timeout=20)

    assert "Permission denied" in ask("plain", 4).stderr
    for outer in found(host, "homeport run"):
        os.kill(outer, signal.SIGKILL)
    kill_serve(guest)
    # As if the folder and the socket were open to all.
    guest.cmd(["chmod", "711", guest.home("me"), guest.home("me") + "/.cache", folder])
    guest.cmd(["chmod", "777", f"{folder}/{name}"])
    assert ask("plain", 4).stdout == "None 0\n"
    assert ask("plain", 2).stdout == "None 0\n"
    assert guest.mounts("fuse")
    guest.cmd(["chmod", "700", folder])
    # Its own user: of a version, a target, or a kind that is not known here. None of it loses the mount.
    assert ask("me", 4, value=2).stdout == f"(4, {errno.EPROTO}) 0\n"
    assert ask("me", 4, target="/tmp/elsewhere").stdout == f"(4, {errno.ENOENT}) 0\n"
    assert ask("me", 200).stdout == f"(200, {errno.ENOSYS}) 0\n"
    assert ask("me", 1, target="/tmp/other").stdout == f"(1, {errno.EBUSY}) 0\n"
    assert ask("me", 4).stdout == "(4, 0) 2\n"
    before = mounts(guest)
    homeport.up("--mount", "~:/tmp/there:w")
    assert mounts(guest) == before
    assert guest.cmd("cat /tmp/there/note", user="me").stdout == "from the host\n"
