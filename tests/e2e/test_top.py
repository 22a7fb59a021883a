# SPDX-License-Identifier: MIT
"""homeport top: what goes on in a session, counted on both sides, for a person and for a program."""
import json
import os
import re
import select
import signal
import termios
import time

import pytest

from conftest import wait_until
from net import answers, connect, listen
from raw_peer import hostile


class Top:
    """`homeport top --json`, read interval by interval."""

    def __init__(self, homeport, *options):
        self.process = homeport.popen("top", "guest", "--json", "--interval", "0.2", *options, stdout=-1, stderr=-1,
                                      text=True)
        self.next()  # from here on it is watched

    def next(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def until(self, holds):
        """The intervals up to the first that holds, added up: of each kind what was counted, of all times the last."""
        kinds = {}
        for _ in range(200):
            interval = self.next()
            for op in interval["operations"] or []:
                known = kinds.setdefault(op["kind"], {"count": 0, "at_once": 0, "host": 0, "p50": 0, "p99": 0, "host_p50": 0})
                known["count"] += op["count"]
                known["at_once"] += op["at_once"]
                known["host"] += op["host"]["count"]
                known["p50"] = op["p50_us"] or known["p50"]
                known["p99"] = op["p99_us"] or known["p99"]
                known["host_p50"] = op["host"]["p50_us"] or known["host_p50"]
            if holds(interval, kinds):
                return interval, kinds
        raise AssertionError(kinds)

    def end(self):
        self.process.kill()
        self.process.wait(timeout=10)


def test_known_operations_are_counted_and_timed(homeport, guest, host_home):
    for i in range(50):
        host_home.write(f"many/{i}", "x")
    homeport.up("--mount", "~:w")
    top = Top(homeport)
    work = """
import os
for i in range(50):
    os.mkdir(f"made{i}")
    fd = os.open(f"many/{i}", os.O_RDONLY)
    os.read(fd, 10)
    os.fsync(fd)
    os.close(fd)
"""
    guest.cmd(["python3", "-c", work], user="me", cwd="/home/me")
    interval, kinds = top.until(lambda _, kinds: kinds["create"]["count"] >= 50 and kinds["close"]["count"] >= 50)
    assert kinds["create"]["count"] == 50 and kinds["create"]["host"] == 50 and kinds["create"]["at_once"] == 0
    assert kinds["open"]["count"] >= 50 and kinds["open"]["host"] >= 50
    assert kinds["read"]["count"] == kinds["read"]["at_once"] == 50, "what is small came with OPEN"
    assert kinds["read"]["host"] == 0
    for kind in ("create", "open"):
        assert 0 < kinds[kind]["host_p50"] <= kinds[kind]["p50"] <= kinds[kind]["p99"] < 10_000_000, kind
    assert kinds["rename"] == {"count": 0, "at_once": 0, "host": 0, "p50": 0, "p99": 0, "host_p50": 0}
    mount, = interval["mounts"]
    assert (mount["target"], mount["state"]) == ("/home/me", "mounted")
    assert (interval["name"], interval["state"], interval["waiting"]) == ("guest", "connected", 0)
    assert 100 <= interval["interval_ms"] and 0 < interval["rtt_us"] < 10_000_000
    top.end()


def test_what_waits_is_seen_while_it_waits(homeport, guest, lab, host_home):
    host_home.write("a", "a")
    homeport.up()
    top = Top(homeport)
    assert top.next()["waiting"] == 0
    (server, _), = [(inner, line) for inner, line in lab.host.processes().values() if "sftp-server" in line]
    lab.host.kill(server, signal.SIGSTOP)
    reader = guest.popen(["cat", "/home/me/a"], user="me", stdout=-3)
    top.until(lambda interval, _: interval["waiting"] == 1)
    lab.host.kill(server, signal.SIGCONT)
    assert reader.wait(timeout=10) == 0
    top.until(lambda interval, _: interval["waiting"] == 0)
    top.end()


def test_bytes_of_files_and_ports(homeport, host, guest, host_home):
    host_home.write("big", "x" * 300_000)
    server = listen(guest, 8451)
    homeport.up("--mount", "~:w")
    wait_until(lambda: answers(host, 8451))
    server.accept()[0].close()
    top = Top(homeport)
    guest.cmd("dd if=big of=copy bs=100000 conv=fsync", user="me", cwd="/home/me")
    client = connect(host, 8451)
    inner, _ = server.accept()
    client.sendall(b"x" * 70_000)
    got = 0
    while got < 70_000:
        got += len(inner.recv(65536))
    inner.sendall(b"y" * 50_000)
    seen = {"read": 0, "written": 0, "in": 0, "out": 0}

    def all_there(interval, _):
        seen["read"] += interval["mounts"][0]["bytes_read"]
        seen["written"] += interval["mounts"][0]["bytes_written"]
        port = next(p for p in interval["ports"] if p["guest"] == "127.0.0.1:8451")
        seen["in"] += port["bytes_in"]
        seen["out"] += port["bytes_out"]
        return seen["written"] >= 300_000 and seen["out"] >= 50_000 and port["connections"] == 1

    top.until(all_there)
    assert seen == {"read": 300_000, "written": 300_000, "in": 70_000, "out": 50_000}
    top.end()
    for sock in (client, inner, server):
        sock.close()


def test_it_goes_on_over_a_reconnect(homeport, lab, guest, host_home):
    host_home.write("a", "a")
    homeport.up()
    top = Top(homeport)
    lab.link_cut()
    try:
        interval, _ = top.until(lambda interval, _: interval["state"] == "reconnecting")
        interval = top.next()
        assert interval["operations"] is None and interval["waiting"] is None and interval["rtt_us"] == 0
    finally:
        lab.link_restore()
    top.until(lambda interval, _: interval["state"] == "connected" and interval["operations"])
    guest.cmd("mkdir /home/me/x; cat /home/me/a", user="me", check=False)
    _, kinds = top.until(lambda _, kinds: kinds.get("open", {}).get("count"))
    assert kinds["open"]["count"] < 50, "what was counted before is not counted again"
    top.end()


def test_a_session_that_ends_is_a_sentence_and_3(homeport, host_home):
    done = homeport.run("top", "guest")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "homeport: top: guest is not running\n")
    homeport.up()
    for name, status in (("INT", 0), ("TERM", 128 + signal.SIGTERM), ("HUP", 128 + signal.SIGHUP)):
        done = homeport.lab.host.cmd(["env", "--default-signal=INT", "timeout", "--preserve-status", "-s", name, "0.5", homeport.binary, "top"],
                                     user="me", env=homeport.env, check=False)
        assert (done.returncode, done.stderr) == (status, ""), name
    top = Top(homeport)
    homeport.down()
    assert top.process.wait(timeout=10) == 3
    assert top.process.stderr.read() == "homeport: top: the session guest has ended\n"
    assert homeport.run("top", "guest").returncode == 3
    for wrong, why in (("--interval=0", '--interval: "0" is no number of seconds; write 0.1 to 3600'),
                       ("--interval=1s", '--interval: "1s" is no number of seconds; write 0.1 to 3600'),
                       ("--count=0", '--count: "0" is no number; write 1 or more')):
        done = homeport.run("top", wrong)
        assert (done.returncode, done.stderr) == (2, f"homeport: {why}\n")


def test_tables_for_what_is_no_terminal(homeport, guest, host_home):
    host_home.write("a", "a")
    homeport.up("--mount", "~:/tmp/" + "a long name of a mount point/" * 4)
    server = listen(guest, 8452)
    wait_until(lambda: "8452" in homeport.run("ports", "guest").stdout)
    guest.cmd("ls -l /tmp/a*/*/*/*", user="me", check=False)
    done = homeport.run("top", "guest", "--interval", "0.2", "--count", "2")
    assert done.returncode == 0 and done.stderr == "" and "\033" not in done.stdout
    first, second = done.stdout.split("\n\nguest: connected")
    second = "guest: connected" + second
    assert re.match(r"guest: connected, round trip \d+\.\d\d ms, 0 requests waiting +\d\d:\d\d:\d\d\n\n"
                    r"OPERATION +/s +AT ONCE +p50 +p99 +HOST /s +p50 +p99\n", first), first
    for table in (first, second):
        assert max(map(len, table.splitlines())) <= 80, table
        assert re.search(r"^MOUNT +REQUESTS/s +READ/s +WRITTEN/s\n/tmp/a long name.*\.\.\. ", table, re.M), table
        assert re.search(r"^tcp 127\.0\.0\.1:8452( \(python3\))? +0 +0 B +0 B$", table, re.M), table
    server.close()


class Terminal:
    """A command on a terminal of its own, which `script` makes for it in the lab."""

    def __init__(self, homeport, command, env=None):
        self.here, there = os.openpty()
        termios.tcsetwinsize(there, (24, 80))
        self.process = homeport.lab.host.popen(["env", "--default-signal=INT", "script", "-qefc", command, "/dev/null"], user="me", stdin=there,
                                               stdout=there, stderr=there,
                                               env={**homeport.env, "TERM": "xterm", **(env or {})})
        os.close(there)
        self.seen = b""

    def until(self, text, timeout=15):
        end = time.monotonic() + timeout
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.here], [], [], 0.1)[0]:
                self.seen += os.read(self.here, 65536)

    def type(self, keys):
        os.write(self.here, keys)


def test_a_terminal_is_as_it_was_however_it_ends(homeport, host_home):
    homeport.up()
    for keys in (b"q", b"\x03"):
        page = Terminal(homeport, f"stty -a | md5sum; {homeport.binary} top guest --interval 0.2; echo status $?; "
                                  "stty -a | md5sum; echo done")
        page.until(b"AT ONCE")
        page.until(b"MOUNT")
        assert b"\033[?1049h\033[?25l" in page.seen and b"\033[1m" in page.seen
        page.type(keys)
        page.until(b"done\r\n")
        before, shown = page.seen.split(b"\033[?1049h", 1)
        assert b"\033[?25h\033[?1049l" in shown and b"status 0\r\n" in shown
        sums = re.findall(rb"[0-9a-f]{32}", before + shown)
        assert len(sums) == 2 and sums[0] == sums[1], "keys are lines again, and echoed"
        page.process.wait(timeout=5)
        os.close(page.here)
    page = Terminal(homeport, f"{homeport.binary} top guest --interval 0.2", env={"NO_COLOR": "1"})
    page.until(b"MOUNT")
    assert b"\033[1m" not in page.seen and b"\033[?1049h" in page.seen
    homeport.down()
    page.until(b"homeport: top: the session guest has ended\r\n")
    assert page.seen.index(b"\033[?1049l") < page.seen.index(b"homeport: top:"), "it is read on the shell's page"
    assert page.process.wait(timeout=5) == 3
    os.close(page.here)


COUNTED = """
def counters(number, value, buckets=range(144)):
    value = struct.pack(">Q", value)
    kind = value + value + bytes([len(buckets)]) + b"".join(bytes([i]) + value for i in buckets)
    return struct.pack(">II", number, 2**32 - 1) + kind * 15
p.greet(mounts=False)
def answer(number, *what):
    while len(p.counts) < number:
        p.step(None)
    p.control(COUNTERS, counters(number, *what))
"""


def test_what_a_hostile_guest_counts_is_only_numbers(homeport, guest, host_home):
    with hostile(guest, COUNTED + """
answer(1, 1, ())
answer(2, 2**64 - 1)
answer(3, 3)
p.serve(60)
""") as args:
        homeport.up(*args, "--no-ports", "--no-mount")
        done = homeport.run("top", "guest", "--interval", "0.1", "--count", "2")
        assert done.returncode == 0 and done.stdout.count("4294967295 requests waiting") == 2, done.stdout + done.stderr
        assert re.search(r"^lookup +999T +100 % ", done.stdout, re.M) and re.search(r"^lookup +0 +- ", done.stdout, re.M)
        assert max(map(len, done.stdout.splitlines())) <= 80, done.stdout
        done = homeport.run("top", "guest", "--interval", "0.1", "--count", "1")
        assert done.returncode == 0 and "the guest does not say what it counts" in done.stdout, "it is not waited for"
        homeport.down()


@pytest.mark.parametrize("said", ["answer(1, 0, ()); p.control(COUNTERS, counters(2, 0, ()))", "answer(1, 1, (144,))"])
def test_what_is_no_answer_ends_the_session_and_nothing_else(homeport, guest, host_home, said):
    with hostile(guest, COUNTED + said + "\np.serve(60)") as args:
        homeport.up(*args, "--no-ports", "--no-mount", "--timeout", "2", check=False)
        done = homeport.run("top", "guest", "--interval", "0.1", "--count", "3")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: "a control message of the guest could not be taken" in homeport.logs())
        homeport.down()
