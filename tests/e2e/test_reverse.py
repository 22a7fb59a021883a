# SPDX-License-Identifier: MIT
"""Services of the host that answer in the guest, at a port or a socket; and what the guest cannot make of that."""
import os
import signal
import socket
import stat
import time

import pytest

import test_udp as udp
from conftest import wait_until
from net import answers, connect, listen, read_to_end
from raw_peer import hostile
from test_unix_sockets import dial, exchange, listen_at, row_of, up


def reverse(**rule):
    return dict(rule, reverse="true")


def service(host, path):
    """A socket of the host's user."""
    return listen_at(host, path)


def test_a_port_of_the_host_answers_in_the_guest(homeport, host, guest):
    server = listen(host, 5432)
    done = up(homeport, [reverse(guestPort=5432)])
    assert "reverse 127.0.0.1:5432: guest 127.0.0.1:5432" in done.stdout
    exchange(connect(guest, 5432), server)
    with pytest.raises(ConnectionRefusedError):
        connect(guest, 5432, guest.address)
    row = row_of(homeport, "127.0.0.1:5432")
    assert (row["proto"], row["host"], row["state"], row["reverse"]) == ("tcp", ["127.0.0.1:5432"], "forwarded", True)
    assert (row["bytes_in"], row["bytes_out"]) == (len("answer"), len("question"))
    assert "reverse, forwarded" in homeport.run("ports", "guest").stdout
    # What listens there is we: it does not come back as a port of the guest's.
    assert [r["guest"] for r in homeport.status()["ports"] if r["guest"].endswith(":5432")] == ["127.0.0.1:5432"]
    server.close()
    with pytest.raises(ConnectionResetError):
        connect(guest, 5432).recv(1)
    assert "127.0.0.1:5432" not in host.listeners()
    homeport.down()
    assert not answers(guest, 5432)


def test_down_returns_when_the_guest_listens_no_more(homeport, host, guest):
    """Also where the guest's agent is late; but not without end."""
    for patient in (True, False):
        up(homeport, [reverse(guestPort=5432)])
        assert answers(guest, 5432)
        wait_until(lambda: homeport.status()["guest"]["direct"], what="the session has found its way")
        serve = next(p for p, (_, line) in guest.processes().items() if "homeport-guest serve" in line)
        os.kill(serve, signal.SIGSTOP)
        down = homeport.popen("down", "guest", stdout=-1, stderr=-1, text=True)
        try:
            if patient:
                time.sleep(0.5)
                assert down.poll() is None
            else:
                down.wait(timeout=20)
        finally:
            os.kill(serve, signal.SIGCONT)
        assert down.communicate(timeout=20) == ("guest: stopped\n", "")
        if patient:
            assert "127.0.0.1:5432" not in guest.listeners()
        wait_until(lambda: "127.0.0.1:5432" not in guest.listeners())


def test_other_ports_and_addresses_and_both_loopbacks_of_the_host(homeport, host, guest):
    up(homeport, [reverse(guestPort=8001, hostPort=9001, hostIP="localhost"),
                  reverse(guestPort=8002, guestIP="'::1'", hostPort=9002, hostIP=host.address),
                  reverse(guestPort=8003, guestIP="0.0.0.0", hostPort=9003)])
    servers = {port: listen(host, port, address) for port, address in
               ((9001, "::1"), (9002, host.address), (9003, "127.0.0.1"))}
    exchange(connect(guest, 8001), servers[9001])
    servers[9001].close()
    servers[9001] = listen(host, 9001)
    exchange(connect(guest, 8001), servers[9001])
    exchange(connect(guest, 8002, "::1"), servers[9002])
    exchange(connect(guest, 8003), servers[9003])
    exchange(connect(guest, 8003, guest.address), servers[9003])
    for server in servers.values():
        server.close()


@pytest.mark.parametrize("guest_end, host_end", [("socket", "socket"), ("socket", "port"), ("port", "socket")])
def test_sockets_as_either_end(homeport, host, guest, host_home, guest_end, host_end):
    rule = {"guestSocket": "'{{.Home}}/in/agent.sock'"} if guest_end == "socket" else {"guestPort": 8004}
    rule |= {"hostSocket": "'{{.Home}}/agent.sock'"} if host_end == "socket" else {"hostPort": 9004}
    server = service(host, host.home() + "/agent.sock") if host_end == "socket" else listen(host, 9004)
    up(homeport, [reverse(**rule)])
    there = guest.path(guest.home() + "/in/agent.sock")
    if guest_end == "socket":
        assert stat.S_IMODE(os.stat(there).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(there)).st_mode) == 0o700
        assert os.stat(there).st_uid == 2000
    exchange(dial(there) if guest_end == "socket" else connect(guest, 8004), server)
    homeport.down()
    wait_until(lambda: not os.path.exists(there), what="the guest's agent has heard of it")
    server.close()


def test_a_port_taken_in_the_guest_is_shown_and_had_when_it_is_free(homeport, host, guest):
    taken, server = listen(guest, 8005), listen(host, 9005)
    up(homeport, [reverse(guestPort=8005, hostPort=9005), reverse(guestPort=80, hostPort=9005)])
    row = row_of(homeport, "127.0.0.1:8005")
    assert (row["state"], row["reason"]) == ("conflict", "127.0.0.1:8005 is in use in the guest")
    if guest.cmd(["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]).stdout.strip() == "1024":
        row = row_of(homeport, "127.0.0.1:80")
        assert row["state"] == "failed"
        assert row["reason"] == "127.0.0.1:80: only root may listen on this port in the guest"
    taken.close()
    wait_until(lambda: row_of(homeport, "127.0.0.1:8005")["state"] == "forwarded", timeout=3)
    exchange(connect(guest, 8005), server)
    server.close()


def test_a_file_of_the_guest_is_never_replaced_by_a_socket(homeport, host, guest):
    path = guest.home() + "/precious"
    with open(guest.path(path), "w") as f:
        f.write("precious")
    up(homeport, [reverse(guestSocket=path, hostPort=9006)])
    row = row_of(homeport, path)
    assert (row["state"], row["reason"]) == ("conflict", f"{path} is there in the guest, and is no socket")
    assert open(guest.path(path)).read() == "precious"
    os.unlink(guest.path(path))
    wait_until(lambda: row_of(homeport, path)["state"] == "forwarded", timeout=3)


@pytest.mark.timeout(90)
def test_it_outlives_a_cut_cable_and_comes_back_with_either_agent(homeport, lab, host, guest):
    server = listen(host, 9007)
    rule = reverse(guestPort=8007, hostPort=9007)
    up(homeport, [rule])
    client = connect(guest, 8007, timeout=30)
    accepted, _ = server.accept()
    accepted.settimeout(30)
    lab.link_cut()
    client.sendall(b"while it is cut")
    waiting = connect(guest, 8007, timeout=30)
    time.sleep(1)
    lab.link_restore()
    assert accepted.recv(100) == b"while it is cut"
    server.settimeout(30)
    second, _ = server.accept()
    second.sendall(b"x")
    assert waiting.recv(1) == b"x"
    # The guest's agent dies, with what listens; its next one listens again.
    for inner in [inner for inner, line in guest.processes().values() if "homeport-guest" in line]:
        try:
            guest.kill(inner)
        except (AssertionError, ProcessLookupError):
            pass  # its parent's end was its own
    with pytest.raises(ConnectionResetError):
        accepted.recv(1)
    wait_until(lambda: answers(guest, 8007) and row_of(homeport, "127.0.0.1:8007")["state"] == "forwarded", timeout=20,
               every=0.2)
    # The host's agent is started anew.
    homeport.down()
    wait_until(lambda: not answers(guest, 8007), what="the guest's agent has heard of it")
    up(homeport, [rule])
    server.close()
    server = listen(host, 9007)
    exchange(connect(guest, 8007), server)
    server.close()


def test_the_host_has_a_name_where_the_agent_is_root(homeport, host, guest):
    path = guest.path("/etc/hosts")
    before = open(path, "rb").read()
    server = listen(host, 9008)
    rules = f"portForwards:\n- {{guestPort: 8008, hostPort: 9008, reverse: true}}\n"
    homeport.write_config("guest-root", f"ssh:\n  configFile: {homeport.lab.ssh_config()}\nmounts: []\n{rules}")
    homeport.name = "guest-root"
    assert homeport.run("up", "guest-root").returncode == 0, homeport.logs()
    now = open(path, "rb").read()
    assert now.endswith(before) and now.startswith(b"127.0.0.1 host.homeport.internal # homeport ")
    assert os.stat(path).st_mode & 0o7777 == 0o644
    assert guest.cmd(["getent", "hosts", "host.homeport.internal"]).stdout.split()[0] == "127.0.0.1"
    exchange(connect(guest, 8008), server)
    homeport.down()
    wait_until(lambda: open(path, "rb").read() == before, what="the guest's agent has heard of it")
    # As the login user it is left alone.
    up(homeport, [reverse(guestPort=8008, hostPort=9008)])
    assert open(path, "rb").read() == before
    server.close()


def test_a_guest_opens_nothing_that_no_reverse_rule_names(homeport, host, guest):
    """Numbers that were not given, those of other rules, another kind's arguments: each is refused."""
    server, secret = listen(host, 9009), listen(host, 9010)
    homeport.write_config("guest", f"""ssh:
  configFile: {homeport.lab.ssh_config()}
portForwards:
- {{guestPort: 9010, hostPort: 19010, static: true}}
- {{guestPort: 8009, hostPort: 9009, reverse: true}}
- {{guestSocket: /run/a.sock, hostSocket: a.sock}}
""")
    homeport.name = "guest"
    with hostile(guest, """
            p.greet()
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORTS_END, struct.pack(">Q", 1))
            while not p.listens:
                p.step(None)
            p.control(LISTEN_STATE, struct.pack(">II", p.listens[0], 0))
            tries = [struct.pack(">I", n) for n in (0, 2, 3, 4, 0xffffffff)] + [b"", b"\\0\\0\\0", b"\\0\\0\\0\\1x"]
            for args in tries:
                p.send(p.open_frame(KIND_REVERSE, args))
            address = struct.pack(">B16sIH", 4, bytes((127, 0, 0, 1)), 0, 9010)
            for kind in (KIND_TCP, KIND_UNIX, 4, 7):
                p.send(p.open_frame(kind, address))
            p.send(p.open_frame(KIND_UNIX, string(b"/run/secret")))
            p.send(p.open_frame(KIND_REVERSE, struct.pack(">I", 1)))
            p.serve(1)
            answers = {s[0]: (s[1], s[2]) for s in p.seen if s[0] % 2 == 0}
            with open("/tmp/answers", "w") as f:
                f.write(" ".join(f"{answers[s][0]}:{answers[s][1].hex()}" for s in sorted(answers)))
            p.serve(30)
            """) as args:
        assert homeport.run("up", *args, "guest").returncode == 0, homeport.logs()
        server.accept()[0].close()
        wait_until(lambda: os.path.exists(guest.path("/tmp/answers")) and open(guest.path("/tmp/answers")).read())
        found = open(guest.path("/tmp/answers")).read().split()
        assert len(found) == 14
        assert found[:13] == ["3:01"] * 13  # REFUSE, prohibited
        assert not found[13].startswith("3:")
        secret.settimeout(0.1)
        with pytest.raises(TimeoutError):
            secret.accept()
        assert homeport.status()["state"] == "connected"
    server.close()
    secret.close()


def test_a_guest_that_answers_for_what_it_was_not_told_ends_its_session(homeport, host, guest):
    homeport.write_config("guest", f"""ssh:
  configFile: {homeport.lab.ssh_config()}
portForwards:
- {{guestPort: 8011, hostPort: 9011, reverse: true}}
""")
    homeport.name = "guest"
    with hostile(guest, """
            p.greet()
            while not p.listens:
                p.step(None)
            p.control(LISTEN_STATE, struct.pack(">II", p.listens[0] + 1, 0))
            p.serve(30)
            """) as args:
        homeport.run("up", *args, "--timeout", "3s", "guest")
        assert "protocol error" in homeport.logs()


def test_rules_that_make_no_sense_are_told_with_their_place(homeport):
    for rule, why in (("guestSocket: /a, hostPort: 1, proto: udp", "guestSocket: carries no datagrams; remove it or proto: udp"),
                      ("guestPortRange: [1, 2]", "reverse: needs one port or socket at each end, not a range of ports"),
                      ("guestPort: 1, static: true", "reverse: goes not with static; remove one of the two")):
        homeport.write_config("bad", f"portForwards:\n- {{{rule}, reverse: true}}\n")
        done = homeport.run("config", "check")
        assert done.returncode == 2 and why in done.stderr + done.stdout


def test_a_udp_service_of_the_host_answers_each_client_in_the_guest(homeport, host, guest):
    server, other = udp.serve(host, 9012), udp.serve(host, 9012, "::1")
    taken = udp.serve(guest, 8014)
    tcp = listen(guest, 8012)
    up(homeport, [reverse(guestPort=8012, hostPort=9012, proto="udp"),
                  reverse(guestPort=8013, guestIP="0.0.0.0", hostPort=9012, hostIP="'::1'", proto="udp"),
                  reverse(guestPort=8014, hostPort=9012, proto="udp")])
    rows = {r["guest"]: r for r in homeport.status()["ports"] if r["reverse"]}
    assert [(r["proto"], r["state"]) for r in rows.values()] == [("udp", "forwarded"), ("udp", "forwarded"), ("udp", "conflict")]
    clients = [udp.client(guest, 8012) for _ in range(3)]
    senders = [udp.exchange(one, server) for one in clients]
    assert len(set(senders)) == 3
    server.sendto(b"", senders[2])
    server.sendto(b"x" * udp.LARGEST, senders[0])
    assert clients[0].recv(1 << 16) == b"x" * udp.LARGEST and clients[2].recv(1) == b""
    # A server bound to every address answers from the one that was asked.
    for address in ("127.0.0.1", guest.address):
        udp.exchange(udp.client(guest, 8013, address), other)
    row = next(r for r in homeport.status()["ports"] if r["reverse"] and r["guest"] == "127.0.0.1:8012")
    assert row["connections"] == 3 and row["bytes_in"] == 24 + udp.LARGEST and row["bytes_out"] == 24
    # The same number of TCP's is another port; what the agent bound is not forwarded back.
    wait_until(lambda: answers(host, 8012), timeout=3)
    assert not udp.is_open(host, 8012)
    tcp.close()
    taken.close()
    wait_until(lambda: row_of(homeport, "127.0.0.1:8014")["state"] == "forwarded", timeout=5)
    udp.exchange(udp.client(guest, 8014), server)
    homeport.down()
    wait_until(lambda: not udp.is_open(guest, 8012), what="the guest's agent has heard of it")
    server.close()
    other.close()


def test_a_udp_service_that_is_not_there_ends_the_flow_and_one_that_comes_is_had(homeport, host, guest):
    up(homeport, [reverse(guestPort=8015, hostPort=9015, proto="udp")])
    one = udp.client(guest, 8015, timeout=0.3)
    one.send(b"nobody")
    wait_until(lambda: row_of(homeport, "127.0.0.1:8015")["bytes_in"] == 0)
    server = udp.serve(host, 9015)
    wait_until(lambda: udp_answers(one, server), what="the server answers", timeout=5)
    server.close()


def udp_answers(client, server):
    server.settimeout(0.3)
    try:
        udp.exchange(client, server)
        return True
    except (TimeoutError, AssertionError):
        return False


def test_a_reload_changes_what_differs_and_leaves_the_rest(homeport, host, guest):
    stays, goes, comes = (listen(host, port) for port in (5450, 5451, 5452))
    up(homeport, [reverse(guestPort=5450), reverse(guestPort=5451)])
    kept = connect(guest, 5450)
    accepted, _ = stays.accept()
    standing = connect(guest, 5451)
    other, _ = goes.accept()
    # 5451 of the guest leads elsewhere now, a socket comes, and the first rule is where it was.
    up_text = [reverse(guestPort=5452), reverse(guestPort=5450), reverse(guestPort=5451, hostPort=5452)]
    text = f"ssh:\n  configFile: {homeport.lab.ssh_config()}\nmounts: []\nportForwards:\n"
    for rule in up_text:
        text += "- {" + ", ".join(f'{key}: {value}' for key, value in rule.items()) + "}\n"
    homeport.write_config("guest", text)
    done = homeport.run("reload", "guest")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: [r["state"] for r in homeport.status()["ports"] if r["reverse"]] == ["forwarded"] * 3, timeout=3)
    for port in (5451, 5452):
        exchange(connect(guest, port), comes)
    for client, server in ((kept, accepted), (standing, other)):
        client.sendall(b"still here")
        assert server.recv(16) == b"still here"
    assert row_of(homeport, "127.0.0.1:5450")["connections"] == 1
    homeport.write_config("guest", text.split("portForwards")[0])
    assert homeport.run("reload", "guest").returncode == 0
    wait_until(lambda: not [r for r in homeport.status()["ports"] if r["reverse"]], timeout=3)
    for port in (5450, 5451, 5452):
        wait_until(lambda port=port: not answers(guest, port), timeout=3)
    kept.sendall(b"and here")
    assert accepted.recv(16) == b"and here"
    for server in (stays, goes, comes):
        server.close()
