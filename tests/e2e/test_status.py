# SPDX-License-Identifier: MIT
"""status, logs and their kin: what a program and a person read of a session."""
import json
import os
import re
import subprocess
import time

import pytest

from conftest import wait_until

KEYS = {"name": str, "pid": int, "state": str, "since": str, "reconnects": int, "guest": dict, "mounts": list,
        "ports": list}
GUEST_KEYS = {"host": str, "port": int, "user": str, "host_key": str, "rtt_us": int, "agent_version": str}
MOUNT_KEYS = {"source": str, "target": str, "writable": bool, "by_hand": bool, "state": str, "error": type(None), "requests": int}
PORT_KEYS = {"proto": str, "guest": str, "host": list, "state": str, "reason": (str, type(None)),
             "process": (str, type(None)), "by_hand": bool, "connections": int, "bytes_in": int, "bytes_out": int}


def assert_keys(found, keys):
    for key, kind in keys.items():
        assert isinstance(found[key], kind), (key, found[key])


@pytest.fixture
def server(guest):
    """A web server of the guest on port 8094."""
    process = guest.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8094"], user="me", cwd="/tmp",
                          stdout=-3, stderr=-3)
    wait_until(lambda: "127.0.0.1:8094" in guest.listeners())
    yield process
    process.kill()


def test_status_json_has_what_the_contract_says(homeport, lab, guest, host, host_home, server):
    host_home.write("a", "a")
    homeport.up()
    guest.cmd("cat /home/me/a", user="me")
    host.cmd(["curl", "-s", "http://127.0.0.1:8094/"], user="me")
    found = homeport.status()
    assert_keys(found, KEYS)
    assert_keys(found["guest"], GUEST_KEYS)
    assert (found["name"], found["state"], found["reconnects"]) == ("guest", "connected", 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["since"])
    assert found["guest"]["host"] == lab.guest.address and found["guest"]["port"] == 22
    assert found["guest"]["host_key"].startswith("SHA256:")
    assert 0 < found["guest"]["rtt_us"] < 1000000
    mount, = found["mounts"]
    assert_keys(mount, MOUNT_KEYS)
    assert (mount["source"], mount["target"], mount["writable"], mount["state"]) == \
        ("/home/me", "/home/me", False, "mounted")
    assert mount["requests"] > 0
    port = next(p for p in found["ports"] if p["guest"] == "127.0.0.1:8094")
    assert_keys(port, PORT_KEYS)
    assert (port["proto"], port["host"], port["state"], port["reason"]) == \
        ("tcp", ["127.0.0.1:8094", "[::1]:8094"], "forwarded", None)
    assert port["bytes_in"] > 0 and port["bytes_out"] > 0
    ssh = next(p for p in found["ports"] if p["guest"] == "0.0.0.0:22")
    assert (ssh["state"], ssh["host"]) == ("ignored", [])


def test_a_path_that_is_not_utf8_is_printed_twice(homeport, host, lab, host_home):
    odd = os.fsencode(host_home.here) + b"/caf\xe9"
    os.mkdir(odd)
    os.chown(odd, 1000, 1000)
    done = lab.host.cmd([homeport.binary, "up", "-F", lab.ssh_config(), "--mount", b"/home/me/caf\xe9:/odd", "guest"],
                        user="me", env=homeport.env, check=False, timeout=70, text=False)
    homeport.name = "guest"
    assert done.returncode == 0, done.stderr
    mount, = homeport.status()["mounts"]
    assert mount["source"] == "/home/me/caf\ufffd"
    assert mount["source_bytes"] == "L2hvbWUvbWUvY2Fm6Q=="
    assert "target_bytes" not in mount


def test_the_human_status_shows_the_same(homeport, host_home, server):
    homeport.up()
    done = homeport.run("status", "guest")
    assert done.returncode == 0
    assert re.match(r"guest: connected, me@10\.\d+\.0\.2 port 22, for \d+ s, round trip \d+\.\d\d ms\n", done.stdout)
    assert re.search(r"^  /home/me  /home/me     read-only  \d+ +mounted$", done.stdout, re.M)
    assert re.search(r"^  tcp 127\.0\.0\.1:8094 +(python3)? +localhost:8094 +0 +0 B +0 B +forwarded$",
                     done.stdout, re.M)


def test_what_is_wrong_stands_below_its_row_and_80_columns_are_enough(homeport, host, guest, host_home, server):
    host.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8094"], user="me", cwd="/tmp", stdout=-3, stderr=-3)
    wait_until(lambda: "127.0.0.1:8094" in host.listeners())
    guest.cmd("mkdir -p /tmp/full && touch /tmp/full/x")
    homeport.up("--mount", "~:/tmp/full", check=False)
    wait_until(lambda: "python3" in (homeport.status()["ports"][-1]["reason"] or ""))
    lines = homeport.run("status", "guest").stdout.splitlines()
    assert not [line for line in lines if len(line) > 80]
    at = next(i for i, line in enumerate(lines) if re.match(r"  tcp 127\.0\.0\.1:8094 .* localhost:8094 +conflict$", line))
    assert re.fullmatch(r" {6}127\.0\.0\.1:8094 is in use by python3 \(pid \d+\)", lines[at + 1])
    at = next(i for i, line in enumerate(lines) if re.match(r"  /tmp/full +/home/me .* failed$", line))
    assert " ".join(line.strip() for line in lines[at + 1:at + 4]).startswith(
        "/tmp/full: the folder is not empty, and the mount would hide what is in it; empty it, or choose another mount point")


def test_exit_statuses_tell_connected_not_running_and_not_connected(homeport, lab, host_home):
    assert homeport.run("status").returncode == 3
    assert homeport.run("status", "guest").returncode == 3
    homeport.up()
    assert homeport.run("status").returncode == 0
    lab.link_cut()
    try:
        wait_until(lambda: homeport.status()["state"] == "reconnecting", timeout=15)
        assert homeport.run("status", "guest").returncode == 4
    finally:
        lab.link_restore()
    wait_until(lambda: homeport.status()["state"] == "connected", timeout=15)
    assert homeport.status()["reconnects"] >= 1


def test_status_without_a_name_lists_every_session(homeport, lab, host_home):
    assert json.loads(homeport.run("status", "--json").stdout) == []
    homeport.up("--no-mount", "--name", "one")
    homeport.up("--no-mount", "--name", "two")
    assert sorted(s["name"] for s in json.loads(homeport.run("status", "--json").stdout)) == ["one", "two"]
    done = homeport.run("down")
    assert done.returncode == 2
    assert "several are running, say which: " in done.stderr
    for name in ("one", "two"):
        homeport.down(name)


def test_watched_status_tells_each_change_as_a_line(homeport, lab, guest, host_home):
    homeport.up()
    watching = homeport.popen("status", "--json", "--watch", stdout=-1, text=True)
    first = json.loads(watching.stdout.readline())
    assert first["state"] == "connected"
    server = guest.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8095"], user="me", cwd="/tmp", stdout=-3,
                         stderr=-3)
    while not any(p["guest"] == "127.0.0.1:8095" for p in json.loads(watching.stdout.readline())["ports"]):
        pass
    homeport.down()
    rest = watching.stdout.read()
    assert watching.wait(timeout=5) == 0
    assert all(json.loads(line) for line in rest.splitlines())
    server.kill()


def test_logs_show_what_happened_and_follow(homeport, host_home):
    homeport.up()
    done = homeport.run("logs", "guest")
    assert done.returncode == 0
    assert "homeport: mount /home/me: mounted" in done.stdout
    following = homeport.popen("logs", "-f", stdout=-1, text=True)
    homeport.down()
    for line in following.stdout:
        if "session guest: stopped" in line:
            break
    following.kill()
    following.wait()
    assert "session guest: stopped" in homeport.run("logs", "guest").stdout


def test_logs_are_followed_behind_a_rotation(homeport, host_home):
    homeport.up("--no-mount", "--no-ports")
    homeport.down()
    path = homeport.env["XDG_STATE_HOME"] + "/homeport/guest/log"
    following = homeport.popen("logs", "-f", "guest", stdout=-1, stderr=-3, text=True)
    while "session guest: stopped" not in following.stdout.readline():
        pass
    for number in range(5):
        with open(path, "a") as log:
            log.write(f"the last of {number}\n")
        os.rename(path, path + ".1")
        with open(path, "w") as log:
            log.write(f"the first of {number + 1}\n")
        assert following.stdout.readline() == f"the last of {number}\n"
        assert following.stdout.readline() == f"the first of {number + 1}\n"
    following.kill()



def test_the_guests_own_status_names_the_host_and_its_mounts(homeport, guest, host_home):
    none = guest.cmd(["homeport-guest", "status"], user="plain", check=False)
    assert (none.returncode, none.stderr) == (3, "homeport-guest: status: nothing is running\n")
    homeport.up()
    shown = guest.cmd(["homeport-guest", "status"], user="me").stdout
    assert "host guest (me): connected\n  /home/me: mounted\n" in shown


@pytest.mark.parametrize("command", ["down", "events", "ports", "reload", "status"])
def test_commands_without_a_session_say_so(homeport, command):
    done = homeport.run(command, "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"homeport: {command}: nobody is not running\n")
    done = homeport.run(command)
    assert (done.returncode, done.stderr) == (3, f"homeport: {command}: nothing is running\n")


def test_every_command_says_how_it_is_used(homeport, guest):
    for command in ("up", "run", "down", "reload", "mount", "umount", "forward", "unforward", "events", "status", "ports", "logs", "config check", "config show", "doctor", "shell", "sftp-server"):
        done = homeport.run(*command.split(), "--help")
        assert (done.returncode, done.stderr) == (0, "") and f"homeport {command} " in done.stdout, command
    for command in ("attach", "doctor", "serve", "helper", "mount", "ports", "status"):
        done = guest.cmd(["homeport-guest", command, "--help"], user="me", check=False)
        assert (done.returncode, done.stderr) == (0, "") and f"usage: homeport-guest {command} " in done.stdout, command
