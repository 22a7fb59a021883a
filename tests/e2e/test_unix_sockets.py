# SPDX-License-Identifier: MIT
"""Unix sockets as ends of a forward: the guest's, the host's, and both."""
import json
import os
import re
import socket
import stat
import time

import pytest

from conftest import wait_until
from net import answers, connect, descriptors_of, listen, read_to_end

# What container engines do on their sockets: HTTP, and a connection that is taken over, of which either end may close
# its direction first.
HTTP_SERVER = r"""
import os, socket, sys, threading

def serve(conn):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(4096)
        if not piece:
            return
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    if b"upgrade: tcp" not in head.lower():
        body = head.split(b" ")[1]
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        conn.close()
        return
    conn.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    while True:
        conn.sendall(rest.upper())
        rest = conn.recv(65536)
        if not rest:
            break
    conn.sendall(b"the end")
    conn.close()

path = sys.argv[1]
if os.path.exists(path):
    os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(64)
while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
"""


def up(homeport, rules, **also):
    text = f"ssh:\n  configFile: {homeport.lab.ssh_config()}\nmounts: []\nportForwards:\n"
    for rule in rules:
        text += "- {" + ", ".join(f'{key}: {value}' for key, value in rule.items()) + "}\n"
    homeport.write_config("guest", text + "".join(f"{key}: {value}\n" for key, value in also.items()))
    homeport.name = "guest"
    done = homeport.run("up", "guest")
    assert done.returncode == 0, done.stderr + homeport.logs()
    return done


def row_of(homeport, guest_end):
    return next((row for row in homeport.status()["ports"] if row["guest"] == guest_end), None)


def host_path(homeport, name):
    return f"{homeport.env['XDG_RUNTIME_DIR']}/homeport/guest/sock/{name}"


def http_server(guest, path, user="me"):
    there = guest.path(path)
    server = guest.popen(["python3", "-c", HTTP_SERVER, path], user=user)
    wait_until(lambda: os.path.exists(there) and talks(there), what="the server is there")
    return server


def talks(path):
    try:
        dial(path).close()
        return True
    except OSError:
        return False


def dial(path, timeout=5):
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(timeout)
    made.connect(path)
    return made


def listen_at(machine, path, user="me"):
    """A server of this process at a path of the machine's, which the user may connect to."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(5)
    if os.path.exists(machine.path(path)):
        os.unlink(machine.path(path))
    made.bind(machine.path(path))
    os.chown(machine.path(path), machine.users[user]["uid"], -1)
    made.listen(64)
    return made


def exchange(client, server):
    accepted, _ = server.accept()
    accepted.settimeout(5)
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(accepted) == b"question"
    accepted.sendall(b"answer")
    accepted.close()
    assert read_to_end(client) == b"answer"
    client.close()


def curl(host, path, url, user="me"):
    return host.cmd(["curl", "-gs", "--max-time", "5", "--unix-socket", path, url], user=user, check=False)


def test_http_through_a_socket_on_both_sides(homeport, host, guest):
    http_server(guest, "/run/lock/docker.sock")
    done = up(homeport, [{"guestSocket": "/run/lock/docker.sock", "hostSocket": "docker.sock"}])
    path = host_path(homeport, "docker.sock")
    assert f"socket {path}: guest /run/lock/docker.sock" in done.stdout
    for i in range(20):
        assert curl(host, path, f"http://engine/v1/{i}").stdout == f"/v1/{i}"
    row = row_of(homeport, "/run/lock/docker.sock")
    assert (row["proto"], row["host"], row["state"], row["reason"]) == ("unix", [path], "forwarded", None)
    assert row["bytes_in"] > 0 and row["bytes_out"] > 0 and row["reverse"] is False
    wait_until(lambda: row_of(homeport, "/run/lock/docker.sock")["connections"] == 0)
    assert f"unix /run/lock/docker.sock" in homeport.run("ports", "guest").stdout
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    homeport.down()
    assert not os.path.exists(os.path.dirname(path))


def test_an_upgraded_connection_is_half_closed_and_goes_on(homeport, host, guest):
    """`docker attach` with its input at the end: what the other side still has to say arrives."""
    http_server(guest, "/run/lock/docker.sock")
    up(homeport, [{"guestSocket": "/run/lock/docker.sock", "hostSocket": "docker.sock"}])
    client = dial(host_path(homeport, "docker.sock"))
    client.sendall(b"POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst ")
    client.sendall(b"second")
    got = b""
    while not got.endswith(b"FIRST SECOND"):
        piece = client.recv(4096)
        assert piece, got
        got += piece
    assert got.startswith(b"HTTP/1.1 101 ")
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == b"the end"


def test_a_socket_that_goes_and_comes_is_found_again(homeport, host, guest):
    up(homeport, [{"guestSocket": "/run/lock/a.sock", "hostSocket": "a.sock"}])
    path = host_path(homeport, "a.sock")
    began = time.monotonic()
    assert dial(path).recv(1) == b""  # nobody is there: over at once
    assert time.monotonic() - began < 1
    for _ in range(2):
        server = listen_at(guest, "/run/lock/a.sock")
        exchange(dial(path), server)
        server.close()
        assert dial(path).recv(1) == b""  # its file is there, and nobody accepts
        os.unlink(guest.path("/run/lock/a.sock"))
        assert dial(path).recv(1) == b""
    row = row_of(homeport, "/run/lock/a.sock")
    assert row["state"] == "forwarded"


def test_a_socket_of_another_user_of_the_guest_is_not_reached(homeport, guest):
    up(homeport, [{"guestSocket": "/run/lock/root.sock", "hostSocket": "root.sock"}])
    server = listen_at(guest, "/run/lock/root.sock", user="root")
    os.chmod(guest.path("/run/lock/root.sock"), 0o600)
    assert dial(host_path(homeport, "root.sock")).recv(1) == b""
    server.settimeout(0.3)
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


def test_a_socket_of_the_guest_answers_at_a_port(homeport, host, guest):
    server = listen_at(guest, "/run/lock/b.sock")
    up(homeport, [{"guestSocket": "/run/lock/b.sock", "hostPort": 2375, "hostIP": "localhost"},
                  {"guestSocket": "/run/lock/b.sock", "hostPort": 2376}])
    for port, address in ((2375, "127.0.0.1"), (2375, "::1"), (2376, "127.0.0.1")):
        exchange(connect(host, port, address), server)
    assert not answers(host, 2376, "::1")
    rows = [row["host"] for row in homeport.status()["ports"] if row["guest"] == "/run/lock/b.sock"]
    assert sorted(rows) == [["127.0.0.1:2375", "[::1]:2375"], ["127.0.0.1:2376"]]
    server.close()


def test_a_port_of_the_guest_answers_at_a_socket_while_somebody_listens(homeport, host, guest):
    up(homeport, [{"guestPort": 5433, "hostSocket": "pg.sock"}])
    path = host_path(homeport, "pg.sock")
    assert not os.path.exists(path)
    four, six = listen(guest, 5433), listen(guest, 5433, "::1")
    wait_until(lambda: len([r for r in homeport.status()["ports"] if r["host"] == [path]]) == 2)
    assert not answers(host, 5433)
    six.close()
    wait_until(lambda: row_of(homeport, "[::1]:5433") is None)
    exchange(dial(path), four)
    assert row_of(homeport, "127.0.0.1:5433")["proto"] == "tcp"
    four.close()
    wait_until(lambda: not os.path.exists(path))


def test_templates_are_each_sides_own(homeport, host, guest, host_home):
    server = listen_at(guest, guest.home("me") + "/2000-me.sock")
    up(homeport, [{"guestSocket": "'{{.Home}}/{{.UID}}-{{.User}}.sock'",
                   "hostSocket": "'{{.Home}}/deep/er/{{.UID}}-{{.Name}}.sock'"}])
    path = host_home / "deep/er/1000-guest.sock"
    exchange(dial(path), server)
    for folder in ("deep", "deep/er"):
        assert stat.S_IMODE(os.stat(host_home / folder).st_mode) == 0o700
    homeport.down()
    assert not os.path.exists(path) and os.path.isdir(host_home / "deep/er")
    server.close()


def test_who_has_a_socket_that_is_in_the_way_is_told(homeport, host, guest, host_home):
    """A process of the same user by its name, another session by its own."""
    server = listen_at(guest, "/run/lock/w.sock")
    path = host_home / "w.sock"
    code = ("import os, socket, sys, time; os.chdir('/home/me'); s = socket.socket(socket.AF_UNIX); s.bind('w.sock');"
            "s.listen(); time.sleep(1000)")
    holder = host.popen(["python3", "-c", code], user="me")
    wait_until(lambda: os.path.exists(path))
    rule = {"guestSocket": "/run/lock/w.sock", "hostSocket": "/home/me/w.sock"}
    up(homeport, [rule])
    wait_until(lambda: re.fullmatch(r"/home/me/w\.sock is in use by python3 \(pid \d+\)",
                                    row_of(homeport, "/run/lock/w.sock")["reason"] or ""), timeout=5)
    holder.kill()
    holder.wait()
    wait_until(lambda: row_of(homeport, "/run/lock/w.sock")["state"] == "forwarded", timeout=5)
    first = homeport.name
    homeport.write_config("second", json.dumps({"ssh": {"host": "guest", "configFile": homeport.lab.ssh_config()}, "mounts": [],
                                                "portForwards": [rule]}))
    assert homeport.run("up", "second").returncode == 0
    homeport.name = "second"
    wait_until(lambda: row_of(homeport, "/run/lock/w.sock")["reason"] == f"/home/me/w.sock is in use by homeport {first}",
               timeout=5)
    for name in (first, "second"):
        homeport.down(name)
    server.close()


def test_a_socket_left_behind_is_replaced_and_no_other_file_ever_is(homeport, host, guest):
    server = listen_at(guest, "/run/lock/c.sock")
    path = host_path(homeport, "c.sock")
    rule = {"guestSocket": "/run/lock/c.sock", "hostSocket": "c.sock"}
    up(homeport, [rule])
    for inner, line in list(host.processes().values()):
        if line.startswith("homeport run") or " run " in line and "homeport" in line:
            host.kill(inner)
    wait_until(lambda: homeport.status() is None or not talks(path))
    assert os.path.exists(path)
    up(homeport, [rule])
    exchange(dial(path), server)
    homeport.down()
    # Somebody's: not taken, and had as soon as it is free.
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    os.chown(os.path.dirname(path), 1000, 1000)
    taken = socket.socket(socket.AF_UNIX)
    taken.bind(path)
    os.chown(path, 1000, 1000)
    taken.listen(5)
    up(homeport, [rule])
    row = row_of(homeport, "/run/lock/c.sock")  # of a network namespace that is not the host's: nobody can say whose
    assert (row["state"], row["reason"]) == ("conflict", f"{path} is in use by another process")
    taken.setblocking(False)
    time.sleep(0.3)
    with pytest.raises(BlockingIOError):
        taken.accept()  # it is not bothered with that
    taken.close()
    wait_until(lambda: row_of(homeport, "/run/lock/c.sock")["state"] == "forwarded", timeout=2)
    exchange(dial(path), server)
    homeport.down()
    # A file.
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    os.chown(os.path.dirname(path), 1000, 1000)
    with open(path, "w") as f:
        f.write("precious")
    up(homeport, [rule])
    row = row_of(homeport, "/run/lock/c.sock")
    assert (row["state"], row["reason"]) == ("conflict", f"{path} is there, and is no socket")
    homeport.down()
    assert open(path).read() == "precious"
    os.unlink(path)
    server.close()


def test_a_path_no_socket_can_have_is_a_row_that_says_so(homeport, guest):
    up(homeport, [{"guestSocket": "/run/lock/d.sock", "hostSocket": "x" * 90},
                  {"guestSocket": "'{{.Home}}/" + "y" * 100 + "'", "hostSocket": "d.sock"}])
    rows = {row["guest"][:14]: row for row in homeport.status()["ports"] if row["proto"] == "unix"}
    for guest_end in ("/run/lock/d.so", "/home/me.guest"):
        assert rows[guest_end]["state"] == "failed"
        assert rows[guest_end]["reason"] == "the path is longer than 107 bytes, which no socket's can be"


@pytest.mark.parametrize("how", ["clients end", "servers end"])
def test_a_thousand_connections_leave_no_descriptor(homeport, host, guest, how):
    server = listen_at(guest, "/run/lock/e.sock")
    up(homeport, [{"guestSocket": "/run/lock/e.sock", "hostSocket": "e.sock"}])
    path = host_path(homeport, "e.sock")
    exchange(dial(path), server)
    time.sleep(0.5)
    before = descriptors_of(host, "homeport"), descriptors_of(guest, "homeport-guest")
    for _ in range(1000):
        client = dial(path)
        accepted, _ = server.accept()
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        first, second = (client, accepted) if how == "clients end" else (accepted, client)
        first.close()
        assert second.recv(1) == b""
        second.close()
    wait_until(lambda: (descriptors_of(host, "homeport"), descriptors_of(guest, "homeport-guest")) == before,
               what="the descriptors are as many as before")
    server.close()
