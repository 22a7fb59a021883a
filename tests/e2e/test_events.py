# SPDX-License-Identifier: MIT
"""homeport events: each change as a line, from now on, for whoever reads in time."""
import json
import re
import signal

from conftest import wait_until
from net import answers, listen

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def readers(homeport):
    """How many commands are connected to the agent."""
    return homeport.lab.host.cmd(["ss", "-xH", "state", "connected"]).stdout.count("homeport/guest/control")


def start(homeport, *options):
    before = readers(homeport)
    process = homeport.popen("events", *options, stdout=-1, stderr=-1, text=True)
    wait_until(lambda: readers(homeport) > before)
    return process


class Events:
    """The events of the session as they come."""

    def __init__(self, homeport):
        self.process = start(homeport, "guest", "--json")
        self.seen = []

    def until(self, **want):
        """Reads to the first event that has these values, and returns it."""
        while line := self.process.stdout.readline():
            event = json.loads(line)
            assert re.fullmatch(TIME, event["time"]) and event["name"]
            self.seen.append(event)
            if all(event.get(key) == value for key, value in want.items()):
                return event
        raise AssertionError(f"no {want} among {self.seen}")


def test_ports_and_mounts_are_told_as_they_change(homeport, host, guest, host_home):
    host_home.write("src/x", "x\n")
    taken = listen(host, 8402, "127.0.0.1")
    homeport.up("--mount", "~:/tmp/home")
    events = Events(homeport)
    server = listen(guest, 8401)
    event = events.until(event="port", guest="127.0.0.1:8401")
    assert (event["state"], event["host"], event["proto"]) == ("forwarded", ["127.0.0.1:8401", "[::1]:8401"], "tcp")
    conflict = listen(guest, 8402)
    event = events.until(event="port", guest="127.0.0.1:8402", state="conflict")
    assert "127.0.0.1:8402 is in use by" in event["reason"]
    taken.close()
    events.until(event="port", guest="127.0.0.1:8402", state="forwarded")
    homeport.run("forward", "guest", "18401:8401")
    event = events.until(event="port", guest="127.0.0.1:8401", state="forwarded")
    assert event["host"] == ["127.0.0.1:18401", "[::1]:18401"]
    homeport.run("unforward", "guest", "18401")
    events.until(event="port", guest="127.0.0.1:8401", state="forwarded", host=["127.0.0.1:8401", "[::1]:8401"])
    homeport.run("unforward", "guest", "8401")
    assert "unforward 8401" in events.until(event="port", guest="127.0.0.1:8401", state="ignored")["reason"]
    server.close()
    events.until(event="port", guest="127.0.0.1:8401", state="gone")
    homeport.run("mount", "guest", "~/src:/tmp/home/src:w")
    event = events.until(event="mount", target="/tmp/home/src", state="mounted")
    assert (event["source"], event["writable"], event["error"]) == ("/home/me/src", True, None)
    homeport.run("umount", "guest", "/tmp/home/src")
    events.until(event="mount", target="/tmp/home/src", state="unmounted")
    homeport.run("mount", "guest", "~/src:/etc")
    assert "/etc" in events.until(event="mount", target="/etc", state="failed")["error"]
    homeport.down()
    events.until(event="mount", target="/tmp/home", state="unmounted")
    events.until(event="session", state="stopped")
    assert events.process.wait(timeout=5) == 0 and events.process.stdout.read() == ""
    conflict.close()


def test_a_session_that_is_lost_and_found_is_told(homeport, lab, host_home):
    homeport.up()
    events = Events(homeport)
    lab.link_cut()
    try:
        event = events.until(event="session", state="reconnecting")
        assert event["error"] is None or isinstance(event["error"], str)
    finally:
        lab.link_restore()
    events.until(event="session", state="connected")
    events.process.send_signal(signal.SIGTERM)
    assert events.process.wait(timeout=5) != 0


def test_a_person_reads_lines(homeport, guest):
    homeport.up("--no-mount")
    reader, server = start(homeport), listen(guest, 8411)
    line = reader.stdout.readline()
    assert re.fullmatch(TIME + r" port tcp 127\.0\.0\.1:8411( \(python3\))?: forwarded at 127\.0\.0\.1:8411, "
                        r"\[::1\]:8411\n", line), line
    homeport.down()
    rest = reader.stdout.read()
    assert rest.endswith(" session guest: stopped\n") and reader.wait(timeout=5) == 0
    server.close()


def test_a_reader_that_does_not_read_is_let_go_and_nobody_waits_for_it(homeport, host, guest):
    homeport.up("--no-mount")
    slow, events = start(homeport, "--json"), Events(homeport)
    churn = guest.popen(["python3", "-c", """
import socket, time
for turn in range(40):
    held = [socket.create_server(("127.0.0.1", 20000 + i)) for i in range(200)]
    time.sleep(0.15)
    for s in held: s.close()
    time.sleep(0.15)
last = socket.create_server(("127.0.0.1", 8431))
time.sleep(60)
"""], user="me")
    events.until(event="port", guest="127.0.0.1:8431", state="forwarded")
    assert answers(host, 8431)
    out, err = slow.communicate(timeout=20)
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["event"] == "dropped" and {e["event"] for e in lines[:-1]} == {"port"}
    assert err == "homeport: events: this reader is too slow; what follows is missing\n"
    assert slow.returncode == 1
    assert homeport.status()["state"] == "connected"
    churn.kill()
    churn.wait()
    events.process.kill()
    events.process.wait()


def test_watched_ports_show_the_last_state_to_a_slow_reader(homeport, guest):
    homeport.up("--no-mount")
    watching = homeport.popen("ports", "--json", "--watch", stdout=-1, text=True)
    assert json.loads(watching.stdout.readline())
    server = listen(guest, 8441)
    while not any(p["guest"] == "127.0.0.1:8441" for p in json.loads(watching.stdout.readline())):
        pass
    server.close()
    while any(p["guest"] == "127.0.0.1:8441" for p in json.loads(watching.stdout.readline())):
        pass
    homeport.down()
    assert watching.wait(timeout=5) == 0
