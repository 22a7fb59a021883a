# SPDX-License-Identifier: MIT
"""The link is cut again and again under load, and nobody above it notices: no operation fails, no byte is lost or doubled.

Two kinds of cut. "killed": the guest's end of the ssh connection dies (the process is killed), which the host sees at
once. "silent": packets vanish without a word for longer than the session waits, as with a suspended VM."""
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import wait_until

CUTS = 50
SILENT_EVERY = 10  # of which each takes the 4 s in which the loss is noticed

# Works in the mount until told to stop, each step checked at once, and says at the end what must be there.
FILE_WORK = r"""
import hashlib, json, os, random, select, sys
root, seed = sys.argv[1], int(sys.argv[2])
rng = random.Random(seed)
top = os.path.join(root, f"worker{seed}")
os.mkdir(top)
expect, appended, steps = {}, 0, 0
log = os.path.join(top, "log")
while not select.select([sys.stdin], [], [], 0)[0]:
    steps += 1
    name = f"file{steps % 40}"
    data = rng.randbytes(rng.choice([0, 1, 4095, 70000, 300000]))
    path = os.path.join(top, name)
    if steps % 3 == 0:
        with open(path + ".new", "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.rename(path + ".new", path)
    else:
        with open(path, "wb") as f:
            for at in range(0, len(data), 5000):
                f.write(data[at:at + 5000])
    expect[name] = hashlib.sha256(data).hexdigest()
    with open(log, "a") as f:
        f.write(f"{steps}\n")
    if steps % 5 == 0:
        victim = rng.choice(sorted(expect))
        with open(os.path.join(top, victim), "rb") as f:
            assert hashlib.sha256(f.read()).hexdigest() == expect[victim], victim
    if steps % 7 == 0:
        victim = rng.choice(sorted(expect))
        os.unlink(os.path.join(top, victim))
        del expect[victim]
        assert not os.path.exists(os.path.join(top, victim))
print(json.dumps({"steps": steps, "files": expect}), flush=True)
"""

# Sends back what it gets, on any number of connections.
ECHO = r"""
import socket, threading
listener = socket.create_server(("127.0.0.1", 7070), backlog=64)
def serve(s):
    with s:
        while True:
            data = s.recv(65536)
            if not data:
                return
            s.sendall(data)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# One connection: sends random bytes until told to stop, then half-closes, and insists on getting exactly those back.
STREAM = r"""
import hashlib, random, select, socket, sys, threading
rng = random.Random(int(sys.argv[1]))
s = socket.create_connection(("127.0.0.1", 7070))
sent, got = hashlib.sha256(), hashlib.sha256()
count = {"sent": 0, "got": 0}
def read():
    while True:
        data = s.recv(65536)
        if not data:
            return
        got.update(data)
        count["got"] += len(data)
reader = threading.Thread(target=read)
reader.start()
while not select.select([sys.stdin], [], [], 0)[0]:
    data = rng.randbytes(rng.randrange(1, 40000))
    s.sendall(data)
    sent.update(data)
    count["sent"] += len(data)
s.shutdown(socket.SHUT_WR)
reader.join()
assert count["sent"] == count["got"], count
assert sent.digest() == got.digest()
print(count["sent"], flush=True)
"""


def start(machine, script, *args):
    return machine.popen(["/usr/bin/python3", "-c", script, *args], user="me", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)


def finish(process, what):
    out, err = process.communicate("stop\n", timeout=60)
    assert process.returncode == 0, f"{what} failed:\n{err}"
    return out


def kill_ssh_connection(guest):
    """Kills the sshd processes (the login user's half) that carry the session, as a crash would: after a silent cut the
    one of the old connection may still be there."""
    carriers = [outer for outer, (_, line) in guest.processes().items() if line.startswith("sshd: me@notty")]
    for outer in carriers:
        with contextlib.suppress(ProcessLookupError):  # the old one may just have ended by itself
            os.kill(outer, signal.SIGKILL)
    return carriers


def connected(homeport, reconnects):
    now = homeport.status()
    return now and now["state"] == "connected" and now["reconnects"] >= reconnects and now


@pytest.mark.timeout(300)
def test_fifty_cuts_under_load_lose_and_double_nothing(lab, homeport, host_home):
    server = start(lab.guest, ECHO)
    homeport.up("--mount", f"{host_home.inside}:/srv/home:w")
    wait_until(lambda: "127.0.0.1:7070" in lab.host.listeners(), what="the echo server's port")
    workers = [start(lab.guest, FILE_WORK, "/srv/home", str(n)) for n in range(2)]
    streams = [start(lab.host, STREAM, str(n)) for n in range(3)]
    rng = random.Random(5)
    for cut in range(CUTS):
        time.sleep(rng.uniform(0, 1.2))
        if cut % SILENT_EVERY == SILENT_EVERY - 1:
            lab.link_cut()
            time.sleep(4.5)
            lab.link_restore()
        else:
            wait_until(lambda: kill_ssh_connection(lab.guest), what="an ssh connection to kill")
        wait_until(lambda: connected(homeport, cut + 1), timeout=15, what=f"reconnect {cut + 1}")
    results = [json.loads(finish(w, "file work")) for w in workers]
    for n, stream in enumerate(streams):
        assert int(finish(stream, f"stream {n}")) > 0
    server.kill()
    server.wait()
    for n, result in enumerate(results):
        assert result["steps"] > 50, "hardly anything was done between the cuts"
        top = host_home / f"worker{n}"
        found = {name: hashlib.sha256(open(os.path.join(top, name), "rb").read()).hexdigest() for name in os.listdir(top)}
        log = open(os.path.join(top, "log")).read()
        assert log == "".join(f"{i + 1}\n" for i in range(result["steps"]))
        del found["log"]
        assert found == result["files"]


@pytest.mark.timeout(120)
def test_twenty_reconnects_with_the_default_authorized_keys_and_the_same_user_name(make_lab):
    """The login's own home lies beside the mounted one and sshd must go on finding its keys there, mount or no mount."""
    from conftest import Homeport
    lab = make_lab()
    lab.use_home_ssh("me")
    one = Homeport(lab)
    one.up()
    home = lab.host.home("me")
    assert [m["target"] for m in one.status()["mounts"]] == [home]
    for n in range(20):
        wait_until(lambda: kill_ssh_connection(lab.guest), what="an ssh connection to kill")
        wait_until(lambda: connected(one, n + 1), timeout=15, what=f"reconnect {n + 1}")
        lab.guest.cmd(["ls", home], user="me", timeout=5)
    one.finish()


def test_nothing_is_written_below_the_mount_while_the_link_is_down(lab, homeport, host_home):
    homeport.up("--mount", f"{host_home.inside}:/srv/home:w")
    lab.link_cut()
    try:
        wait_until(lambda: homeport.status()["state"] == "reconnecting", what="the loss to be noticed")
        time.sleep(0.5)  # in the guest as well
        assert lab.guest.cmd(["stat", "-f", "/srv/home"], user="me", timeout=3).returncode == 0
        touch = lab.guest.popen(["touch", "/srv/home/while-cut"], user="me")
        time.sleep(1)
        assert touch.poll() is None, "it waits"
    finally:
        lab.link_restore()
    assert touch.wait(timeout=15) == 0
    wait_until(lambda: os.path.exists(host_home / "while-cut"), what="the file on the host")
    homeport.down()
    below = lab.guest.cmd(["ls", "-A", "/srv/home"], user="root", check=False).stdout
    assert below == "", "the mount point is as empty as before"


def test_a_waiting_request_ends_when_its_caller_is_killed(lab, homeport, host_home):
    homeport.up("--mount", f"{host_home.inside}:/srv/home:w")
    lab.link_cut()
    try:
        waiting = lab.guest.popen(["ls", "-l", "/srv/home/no-such-file"], user="me")
        time.sleep(0.5)
        assert waiting.poll() is None
        waiting.kill()
        assert waiting.wait(timeout=5) != 0
        wait_until(lambda: not any("no-such-file" in line for _, line in lab.guest.processes().values()), timeout=5,
                   what="the killed process to be gone")
    finally:
        lab.link_restore()
