# SPDX-License-Identifier: MIT
"""Ports that are not forwarded, and why: taken on the host, ignored by a rule, not allowed."""
import time

import pytest

from conftest import wait_until
from net import answers, connect, listen


def ports_of(homeport):
    return {row["guest"]: row for row in homeport.status()["ports"]}


def row_when(homeport, guest_address, state, timeout=3):
    def look():
        row = ports_of(homeport).get(guest_address)
        return row if row and row["state"] == state else None
    return wait_until(look, timeout=timeout, what=f"{guest_address} is {state}")


def test_a_port_taken_on_the_host_is_shown_with_its_holder_and_never_stolen(homeport, host, guest):
    holder = host.popen(["python3", "-c", "import socket, time\ns = socket.create_server(('127.0.0.1', 8100))\n"
                         "while True: s.accept()[0].sendall(b'mine')"], user="me")
    wait_until(lambda: answers(host, 8100))
    server = listen(guest, 8100)
    homeport.up("--no-mount")
    row_when(homeport, "127.0.0.1:8100", "conflict")
    row = wait_until(lambda: (lambda r: r if "python3 (pid " in (r["reason"] or "") else None)(
        ports_of(homeport)["127.0.0.1:8100"]), timeout=3, what="the holder is named")
    assert row["reason"].startswith("127.0.0.1:8100 is in use by python3 (pid ")
    assert connect(host, 8100).recv(4) == b"mine"
    assert answers(host, 8100, "::1")  # which is free
    time.sleep(0.3)
    began = time.monotonic()
    holder.kill()
    holder.wait()
    while True:
        try:
            client = connect(host, 8100)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < began + 2
    took = time.monotonic() - began
    assert server.accept()
    client.close()
    row_when(homeport, "127.0.0.1:8100", "forwarded")
    assert took < 0.5, took  # tried every 50 ms
    server.close()


def test_a_holder_of_another_user_is_named_by_its_user(homeport, host, guest):
    taken, server = listen(host, 8101, "0.0.0.0"), listen(guest, 8101)
    homeport.up("--no-mount")
    row_when(homeport, "127.0.0.1:8101", "conflict")
    wait_until(lambda: ports_of(homeport)["127.0.0.1:8101"]["reason"] ==
               "127.0.0.1:8101 is in use by a process of root", timeout=3)
    taken.close()
    row_when(homeport, "127.0.0.1:8101", "forwarded")
    server.close()


def test_a_port_that_another_session_has_is_shown_with_its_name(homeport, guest):
    """It is the second one's as soon as the first has gone."""
    first, second = listen(guest, 8103), listen(guest, 8104)
    homeport.up("--no-mount", "--name", "dev", "--port-forward", "18103:8103", "--port-forward", "18199:8104")
    homeport.up("--no-mount", "--name", "test", "--port-forward", "18103:8104", "--port-forward", "18198:8103")
    row = wait_until(lambda: next((p for p in homeport.status("test")["ports"] if p["guest"] == "127.0.0.1:8104"
                                   and "homeport" in (p["reason"] or "")), None), timeout=5)
    assert (row["state"], row["reason"]) == ("conflict", "127.0.0.1:18103 is in use by homeport dev")
    assert not [p for p in homeport.status("dev")["ports"] if p["state"] == "conflict"]
    homeport.down("dev")
    wait_until(lambda: not [p for p in homeport.status("test")["ports"] if p["state"] == "conflict"])
    homeport.down("test")
    homeport.name = "test"
    for server in (first, second):
        server.close()


def test_the_guests_ssh_port_is_never_forwarded(homeport, host, guest):
    homeport.up("--no-mount")
    row = row_when(homeport, "0.0.0.0:22", "ignored")
    assert "22" in row["reason"]
    assert not answers(host, 22)


def test_a_port_below_1024_says_that_only_root_may(homeport, host, guest):
    server = listen(guest, 80)
    homeport.up("--no-mount")
    if host.cmd(["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]).stdout.strip() == "1024":
        assert "only root" in row_when(homeport, "127.0.0.1:80", "failed")["reason"]
        assert not answers(host, 80)
    else:
        row_when(homeport, "127.0.0.1:80", "forwarded")
    server.close()


def test_a_listener_on_another_address_of_the_guest_is_left_alone(homeport, host, guest):
    server = listen(guest, 8102, guest.address)
    homeport.up("--no-mount")
    row_when(homeport, f"{guest.address}:8102", "ignored")
    assert not answers(host, 8102)
    server.close()


@pytest.mark.parametrize("limit", [2])
def test_no_more_than_max_forwards(homeport, host, guest, limit):
    homeport.write_config("guest", f"ssh:\n  configFile: {homeport.lab.ssh_config()}\nmounts: []\nmaxForwards: {limit}\n")
    servers = [listen(guest, 8110 + i) for i in range(3)]
    done = homeport.run("up", "guest")
    homeport.name = "guest"
    assert done.returncode == 0, done.stderr
    states = wait_until(lambda: (lambda rows: rows if len(rows) == 3 else None)(
        {g: r for g, r in ports_of(homeport).items() if ":811" in g}))
    failed = [g for g, r in states.items() if r["state"] == "failed"]
    assert len(failed) == 1 and "maxForwards" in states[failed[0]]["reason"]
    next(s for s in servers if f"127.0.0.1:{s.getsockname()[1]}" != failed[0]).close()
    row_when(homeport, failed[0], "forwarded")
    for server in servers:
        server.close()


def test_rules_of_the_file_are_obeyed(homeport, host, guest):
    homeport.write_config("guest", f"""ssh:
  configFile: {homeport.lab.ssh_config()}
mounts: []
portForwards:
- guestPort: 8120
  ignore: true
- guestPortRange: [8121, 8122]
  hostPortRange: [18121, 18122]
  hostIP: 127.0.0.1
""")
    servers = [listen(guest, 8120 + i) for i in range(4)]
    assert homeport.run("up", "guest").returncode == 0
    homeport.name = "guest"
    wait_until(lambda: answers(host, 8123))
    rows = ports_of(homeport)
    assert rows["127.0.0.1:8120"]["state"] == "ignored"
    assert "portForwards[0]" in rows["127.0.0.1:8120"]["reason"]
    assert rows["127.0.0.1:8122"]["host"] == ["127.0.0.1:18122"]
    assert not answers(host, 8120) and not answers(host, 8121)
    assert answers(host, 18121) and answers(host, 18122) and not answers(host, 18122, "::1")
    for server in servers:
        server.close()


def test_the_guests_own_command_shows_what_listens(guest):
    server = listen(guest, 8130, "::1")
    done = guest.cmd(["homeport-guest", "ports"], user="me")
    assert "tcp [::1]:8130" in done.stdout
    rows = guest.cmd(["homeport-guest", "ports", "--json"], user="me").stdout
    assert '"guest":"[::1]:8130"' in rows
    assert guest.cmd(["homeport-guest", "ports", "--wrong"], user="me", check=False).returncode == 2
    server.close()


def by_sysctl(homeport, host):
    host.cmd("echo 80 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
    yield
    host.cmd("echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start")


def by_capability(homeport, host):
    """A copy, for the builds are everybody's."""
    host.cmd(f"cp {homeport.binary} /usr/local/bin/homeport && setcap cap_net_bind_service=ep /usr/local/bin/homeport")
    homeport.binary = "/usr/local/bin/homeport"
    yield
    host.cmd("rm /usr/local/bin/homeport")


def test_a_low_port_that_the_service_manager_opened(homeport, host, guest):
    """systemd-socket-activate(1) passes sockets as the manager does. What it passes is used, given back and kept."""
    homeport.write_config("low", f"ssh: {{host: guest, configFile: {homeport.lab.ssh_config('me')}}}\nmounts: []\n")
    homeport.name = "low"
    server = listen(guest, 83)
    with open(f"{homeport.folder}/log", "w") as log:
        host.popen(["systemd-socket-activate", "-l", "127.0.0.1:83", "-l", "[::1]:83", "-l", f"{homeport.folder}/not-tcp",
                    "setpriv", "--reuid=me", "--regid=me", "--init-groups", "env",
                    *(f"{name}={value}" for name, value in homeport.env.items()), f"HOME={host.home()}",
                    homeport.binary, "run", "low"], stderr=log)
    wait_until(lambda: {"127.0.0.1:83", "[::1]:83"} <= host.listeners())
    for address in ("127.0.0.1", "::1"):  # the first one starts it, and waits
        client = connect(host, 83, address, timeout=20)
        server.settimeout(20)
        accepted, _ = server.accept()
        accepted.sendall(b"here")
        assert client.recv(4) == b"here"
    row_when(homeport, "127.0.0.1:83", "forwarded")
    # Nothing in the guest: reset at once, although the socket is the manager's and goes on to listen.
    server.close()
    wait_until(lambda: "127.0.0.1:83" not in ports_of(homeport), timeout=5)
    with pytest.raises(ConnectionResetError):
        connect(host, 83).recv(1)
    server = listen(guest, 83)
    row_when(homeport, "127.0.0.1:83", "forwarded")
    client = connect(host, 83)
    accepted, _ = server.accept()
    accepted.close()
    assert client.recv(1) == b""
    server.close()
    text = open(f"{homeport.folder}/log").read()
    assert "[::1]:83: the service manager's socket" in text
    assert "descriptor 5 of the service manager's is left alone: no listening TCP socket" in text
    # Nobody the agent started has them.
    held = host.cmd("ss -Hltnp '( sport = :83 )'").stdout
    assert "ssh" not in held and "sftp-server" not in held
    homeport.down()


@pytest.mark.parametrize("way", [by_sysctl, by_capability])
def test_a_low_port_is_had_in_the_ways_the_manual_names(homeport, host, guest, host_home, way):
    host_home.write("file", "text")
    server = listen(guest, 81)
    for _ in way(homeport, host):
        homeport.up("--mount", "~:/mnt/home")
        row_when(homeport, "127.0.0.1:81", "forwarded")
        client = connect(host, 81)
        accepted, _ = server.accept()
        accepted.sendall(b"here")
        assert client.recv(4) == b"here"
        assert guest.cmd("cat /mnt/home/file", user="me").stdout == "text"
        homeport.down()
    server.close()
