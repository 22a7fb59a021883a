# SPDX-License-Identifier: MIT
"""What listens in the guest answers on the host: two agents, a real sshd between them, real sockets on both sides."""
import hashlib
import os
import random
import socket
import threading
import time

import pytest

from conftest import wait_until
from net import answers, connect, descriptors_of, listen, read_to_end, reset


@pytest.fixture
def up(homeport):
    homeport.up("--no-mount")
    return homeport


def ports_of(homeport):
    """{guest address: row} of status."""
    return {row["guest"]: row for row in homeport.status()["ports"]}


def forwarded(host, port, address="127.0.0.1"):
    wait_until(lambda: answers(host, port, address), timeout=3, every=0.005, what=f"port {port} answers")


def gone(host, port, address="127.0.0.1"):
    wait_until(lambda: not answers(host, port, address), timeout=3, every=0.005, what=f"port {port} is closed")


def test_a_web_server_of_the_guest_answers_on_both_loopbacks_of_the_host(up, host, guest):
    guest.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8000"], user="me", cwd="/etc", stdout=-3, stderr=-3)
    forwarded(host, 8000)
    for url in ("http://127.0.0.1:8000/hostname", "http://[::1]:8000/hostname", "http://localhost:8000/hostname"):
        done = host.cmd(["curl", "-gs", "--max-time", "5", url], user="me")
        assert done.stdout == open(guest.path("/etc/hostname")).read()
    row = ports_of(up)["127.0.0.1:8000"]
    assert (row["state"], row["host"]) == ("forwarded", ["127.0.0.1:8000", "[::1]:8000"])
    assert row["process"] == "python3"
    assert row["bytes_out"] > 0


def test_only_loopback_listens_on_the_host(up, host, guest):
    server = listen(guest, 8001, "0.0.0.0")
    before = {name for name in host.listeners() if not name.endswith(":8001")}
    forwarded(host, 8001)
    assert host.listeners() - before == {"127.0.0.1:8001", "[::1]:8001"}
    with pytest.raises(ConnectionRefusedError):
        connect(guest, 8001, host.address)
    server.close()


@pytest.mark.parametrize("others", [0, 1000])
def test_a_listener_is_there_and_gone_within_150_ms(homeport, host, guest, others):
    homeport.up("--no-mount", host="guest-plain")  # who cannot call root polls
    crowd = [listen(guest, 20000 + i) for i in range(others)]
    if crowd:
        forwarded(host, 20000 + others - 1)
    took = []
    for _ in range(4):
        time.sleep(random.uniform(1, 1.3))  # until the watch has slowed down, and out of step with it
        began = time.monotonic()
        server = listen(guest, 8002)
        while not answers(host, 8002):
            assert time.monotonic() < began + 3
            time.sleep(0.002)
        took.append(time.monotonic() - began)
        time.sleep(random.uniform(1, 1.3))
        began = time.monotonic()
        server.close()
        while answers(host, 8002):
            assert time.monotonic() < began + 3
            time.sleep(0.002)
        took.append(time.monotonic() - began)
    for one in crowd:
        one.close()
    took.sort()
    print(f"with {others} others: {took[4] * 1000:.0f} ms, the slowest of eight {took[-1] * 1000:.0f} ms")
    # One of eight may have met a machine that was busy with other things.
    assert took[-2] < 0.150 and took[-1] < 1


def test_what_maps_to_one_port_is_counted(up, host, guest):
    four, six = listen(guest, 8003, "0.0.0.0"), listen(guest, 8003, "::")
    forwarded(host, 8003)
    wait_until(lambda: len([g for g in ports_of(up) if g.endswith(":8003")]) == 2)
    four.close()
    wait_until(lambda: len([g for g in ports_of(up) if g.endswith(":8003")]) == 1)
    assert answers(host, 8003) and answers(host, 8003, "::1")
    six.close()
    gone(host, 8003)


def test_either_loopback_of_the_guest_is_reached(up, host, guest):
    servers = {"127.0.0.1": listen(guest, 8004), "::1": listen(guest, 8004, "::1")}
    wait_until(lambda: len([g for g in ports_of(up) if g.endswith(":8004")]) == 2)
    for address, server in servers.items():
        client = connect(host, 8004, address)
        accepted, _ = server.accept()
        assert accepted.getsockname()[0] == address
        client.close()
        accepted.close()
        server.close()


def test_half_close_passes_both_ways(up, host, guest):
    server = listen(guest, 8005)
    forwarded(host, 8005)
    server.accept()[0].close()
    for first_is_client in (True, False):
        client = connect(host, 8005)
        accepted, _ = server.accept()
        first, second = (client, accepted) if first_is_client else (accepted, client)
        first.sendall(b"question")
        first.shutdown(socket.SHUT_WR)
        assert read_to_end(second) == b"question"
        second.sendall(b"answer")
        second.close()
        assert read_to_end(first) == b"answer"
        first.close()
    server.close()


def test_a_reset_passes_both_ways(up, host, guest):
    server = listen(guest, 8006)
    forwarded(host, 8006)
    server.accept()[0].close()
    for client_resets in (True, False):
        client = connect(host, 8006)
        accepted, _ = server.accept()
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        reset(client if client_resets else accepted)
        with pytest.raises(ConnectionResetError):
            (accepted if client_resets else client).recv(1)
    server.close()


def test_a_connection_nobody_takes_in_the_guest_is_reset_at_once(homeport, host):
    homeport.up("--no-mount", "--port-forward", "8007:8007,static")
    began = time.monotonic()
    with pytest.raises(ConnectionResetError):  # by either call
        connect(host, 8007).recv(1)
    assert time.monotonic() - began < 2


def test_a_port_can_be_forwarded_to_another(homeport, host, guest):
    server = listen(guest, 8008)
    homeport.up("--no-mount", "--port-forward", "18008:8008")
    forwarded(host, 18008)
    server.accept()[0].close()
    assert not answers(host, 8008)
    server.close()
    gone(host, 18008)


def test_a_reader_that_stops_stops_nobody_else(up, host, guest):
    bulk, echo = listen(guest, 8009), listen(guest, 8010)
    forwarded(host, 8009)
    forwarded(host, 8010)
    bulk.accept()[0].close()
    echo.accept()[0].close()
    stuck = []
    for _ in range(32):
        client = connect(host, 8009)
        accepted, _ = bulk.accept()
        accepted.setblocking(False)
        stuck.append((client, accepted))
    for _ in range(100):
        for _, accepted in stuck:
            try:
                accepted.send(bytes(1 << 16))
            except BlockingIOError:
                pass
        time.sleep(0.01)
    client = connect(host, 8010)
    accepted, _ = echo.accept()
    took = []
    for _ in range(200):
        began = time.monotonic()
        client.sendall(b"ping")
        assert accepted.recv(4) == b"ping"
        accepted.sendall(b"pong")
        assert client.recv(4) == b"pong"
        took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.02
    for pair in stuck:
        pair[0].close()
        pair[1].close()


def exchange(client, server_side, megabytes):
    """Sends both ways at once; returns whether each side got the other's bytes, by digest."""
    sent, got = {}, {}

    def send(name, sock):
        digest = hashlib.sha256()
        for i in range(megabytes * 16):
            block = os.urandom(16) * 4096
            digest.update(block)
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        sent[name] = digest.digest()

    def receive(name, sock):
        digest = hashlib.sha256()
        while True:
            piece = sock.recv(1 << 16)
            if not piece:
                break
            digest.update(piece)
        got[name] = digest.digest()

    threads = [threading.Thread(target=send, args=("up", client)), threading.Thread(target=receive, args=("down", client)),
               threading.Thread(target=send, args=("down", server_side)),
               threading.Thread(target=receive, args=("up", server_side))]
    for thread in threads:
        thread.start()
    return threads, lambda: sent == got and len(got) == 2


def test_connections_outlive_a_cut_cable(up, lab, host, guest):
    server = listen(guest, 8011)
    forwarded(host, 8011)
    server.accept()[0].close()
    client = connect(host, 8011, timeout=40)
    accepted, _ = server.accept()
    accepted.settimeout(40)
    threads, equal = exchange(client, accepted, 64)
    for _ in range(2):
        time.sleep(0.1)
        lab.link_cut()
        time.sleep(0.5)
        lab.link_restore()
    for thread in threads:
        thread.join()
    assert equal()
    assert answers(host, 8011)
    server.close()


@pytest.mark.timeout(120)
def test_ten_thousand_connections_leave_no_descriptor(up, host, guest):
    server = listen(guest, 8012)
    forwarded(host, 8012)
    server.accept()[0].close()
    count = 10000 if os.environ.get("HOMEPORT_TEST_LONG") else 1000
    time.sleep(0.5)
    before = descriptors_of(host, "homeport"), descriptors_of(guest, "homeport-guest")
    for i in range(count):
        client = connect(host, 8012)
        client.sendall(b"x")
        accepted, _ = server.accept()
        assert accepted.recv(1) == b"x"
        if i % 2:
            client.close()
            assert accepted.recv(1) == b""
            accepted.close()
        else:
            reset(accepted)
            client.close()
    wait_until(lambda: (descriptors_of(host, "homeport"), descriptors_of(guest, "homeport-guest")) == before, timeout=5,
               what="the descriptors are as many as before")
    server.close()


def test_a_thousand_ports_at_once(homeport, lab, host, guest):
    # As a login shell starts it: with a soft limit of descriptors that two thousand listeners do not fit in.
    host.cmd(["prlimit", "--nofile=1024:16384", "--", homeport.binary, "up", "-F", lab.ssh_config(), "--no-mount", "guest"],
             user="me", env=homeport.env)
    homeport.name = "guest"
    servers = [listen(guest, 21000 + i) for i in range(1000)]
    began = time.monotonic()
    for i in range(1000):
        while not answers(host, 21000 + i, ("127.0.0.1", "::1")[i % 2]):
            assert time.monotonic() < began + 5
    print(f"all answer after {(time.monotonic() - began) * 1000:.0f} ms")
    for server in servers:
        server.close()
    wait_until(lambda: not [name for name in host.listeners() if ":21" in name], timeout=5)


def test_the_guest_agent_is_killed_and_the_ports_stay(up, host, guest):
    server = listen(guest, 8013)
    forwarded(host, 8013)
    server.accept()[0].close()
    client = connect(host, 8013, timeout=20)
    accepted, _ = server.accept()
    for inner in [inner for inner, line in guest.processes().values() if "homeport-guest" in line]:
        try:
            guest.kill(inner)
        except (AssertionError, ProcessLookupError):
            pass  # its parent's end was its own
    with pytest.raises(ConnectionResetError):
        client.recv(1)

    def works():
        try:
            with connect(host, 8013) as again:
                again.sendall(b"x")
                server.settimeout(0.2)
                return server.accept()[0].recv(1) == b"x"
        except OSError:
            return False

    wait_until(works, timeout=15, every=0.2, what="the forward works again")
    server.close()
    gone(host, 8013)


def test_a_rule_may_ask_who_listens(homeport, host, guest):
    """By the name of the user, which is always known, and of the process, which is where it is the login user's."""
    homeport.write_config("dev", "ssh:\n  host: guest\n  configFile: %s\nmounts: []\nportForwards:\n"
                          "- user: root\n  ignore: true\n- process: ^sleep\n  guestPortRange: [1, 60000]\n"
                          "  hostPortRange: [2, 60001]\n- user: nobody\n  ignore: true\n" % homeport.lab.ssh_config("me"))
    script = ("import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('there', flush=True)\n"
              "open('/proc/self/comm', 'w').write(sys.argv[2]); time.sleep(60)")
    for user, port, name in (("root", 8090, "python3"), ("me", 8091, "sleeper"), ("me", 8093, "waker")):
        assert guest.popen(["python3", "-c", script, str(port), name], user=user, stdout=-1).stdout.readline()
    assert homeport.run("up", "dev").returncode == 0
    homeport.name = "dev"
    wait_until(lambda: ports_of(homeport)["127.0.0.1:8091"]["host"] == ["127.0.0.1:8092"], timeout=3)
    rows = ports_of(homeport)
    assert (rows["127.0.0.1:8090"]["state"], rows["127.0.0.1:8090"]["user"]) == ("ignored", "root")
    assert (rows["127.0.0.1:8091"]["user"], rows["127.0.0.1:8091"]["process"]) == ("me", "sleeper")
    assert rows["127.0.0.1:8093"]["state"] == "forwarded" and rows["127.0.0.1:8093"]["host"][-1] == "[::1]:8093"


def as_uid(uid):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]


def test_with_access_self_other_users_of_the_host_are_reset(homeport, host, guest):
    homeport.write_config("dev", "ssh:\n  host: guest\n  configFile: %s\nmounts: []\nportForwards:\n- guestPort: 8095\n"
                          "- access: self\n  hostIP: localhost\n" % homeport.lab.ssh_config("me"))
    guest.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8094"], user="me", cwd="/etc", stdout=-3, stderr=-3)
    guest.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8095"], user="me", cwd="/etc", stdout=-3, stderr=-3)
    assert homeport.run("up", "dev").returncode == 0
    homeport.name = "dev"
    wait_until(lambda: len([r for r in ports_of(homeport).values() if r["state"] == "forwarded"]) == 2, timeout=3)

    def fetch(port, uid, address="127.0.0.1"):
        return host.cmd([*as_uid(uid), "curl", "-gs", "--max-time", "5", "-o", "/dev/null", f"http://{address}:{port}/hostname"],
                        check=False).returncode

    assert fetch(8094, 1000) == fetch(8094, 1000, "[::1]") == fetch(8095, 1500) == 0
    for uid in (1500, 0):
        assert fetch(8094, uid) in (7, 52, 56), "a reset: at once, before the reply or in it"
        assert fetch(8094, uid, "[::1]") in (7, 52, 56)
    assert "a connection of uid" in homeport.logs()
    row = ports_of(homeport)["127.0.0.1:8094"]
    assert row["connections"] == 0


def test_with_access_self_other_users_datagrams_are_dropped(homeport, host, guest):
    homeport.write_config("dev", "ssh:\n  host: guest\n  configFile: %s\nmounts: []\nportForwards:\n"
                          "- access: self\n  hostIP: localhost\n" % homeport.lab.ssh_config("me"))
    echo = ("import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 8096)); print('there', flush=True)\n"
            "while True: s.sendto(*s.recvfrom(64))")
    ask = ("import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(1); s.sendto(b'hello', ('127.0.0.1', 8096))\n"
           "print(s.recv(64).decode())")
    assert guest.popen(["python3", "-c", echo], user="me", stdout=-1).stdout.readline()
    assert homeport.run("up", "dev").returncode == 0
    homeport.name = "dev"
    wait_until(lambda: ports_of(homeport)["127.0.0.1:8096"]["state"] == "forwarded", timeout=3)
    assert host.cmd(["python3", "-c", ask], user="me").stdout == "hello\n"
    for uid in (1500, 0):
        assert "TimeoutError" in host.cmd([*as_uid(uid), "python3", "-c", ask], check=False).stderr
    assert host.cmd(["python3", "-c", ask], user="me").stdout == "hello\n"
