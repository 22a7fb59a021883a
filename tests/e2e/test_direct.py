# SPDX-License-Identifier: MIT
"""The connection beside SSH: when there is one, that the bytes go there, that it hangs on the login, and that without
it all is as before."""
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import time

import pytest

from conftest import wait_until

SIZE = 8 << 20

# Everything new but ssh is dropped, without a word.
CLOSED = """table inet closed {
  chain in { type filter hook input priority 0; iif lo accept; tcp flags & (syn|ack) == syn tcp dport != 22 drop; }
}"""

# What a VM's user-mode network does: a port of the host's loopback is sshd's, and the guest finds the host's loopback at
# the address its connections come from.
SLIRP = """table ip slirp {
  chain in { type nat hook prerouting priority dstnat; ip daddr %s tcp dport >= 1024 dnat to 127.0.0.1; }
}"""


# A port of the machine it runs on that is a port of another.
FORWARDER = """
import asyncio, sys
host, port, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def pass_on(a, b):
    try:
        while data := await a.read(65536):
            b.write(data)
            await b.drain()
    except OSError:
        pass
    b.close()
async def serve(reader, writer):
    far = await asyncio.open_connection(host, port)
    await asyncio.gather(pass_on(reader, far[1]), pass_on(far[0], writer))
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", own) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def nft(machine, rules):
    machine.cmd(["nft", "-f", "-"], input=rules)


def link(homeport):
    return homeport.status()["guest"]


def direct(homeport):
    wait_until(lambda: link(homeport)["direct"], timeout=8, what="a direct connection")


def through_ssh(homeport):
    wait_until(lambda: link(homeport)["direct_reason"], timeout=12, what="a reason for none")
    assert not link(homeport)["direct"]
    return link(homeport)["direct_reason"]


def sshd_read(guest):
    """Bytes that the login's sshd has read so far."""
    total = 0
    for pid, (_, line) in guest.processes().items():
        if re.match(r"sshd: (me|root)\b", line):
            with contextlib.suppress(OSError):
                total += int(open(f"/proc/{pid}/io").read().split("rchar: ")[1].split()[0])
    return total


def a_file(host_home, name="big"):
    data = os.urandom(1 << 20) * (SIZE >> 20)
    with open(host_home / name, "wb") as f:
        f.write(data)
    return hashlib.sha256(data).hexdigest()


def digest(guest, path):
    return guest.cmd(["sha256sum", path], user="me").stdout.split()[0]


@pytest.fixture
def firewall(host, guest):
    yield
    for machine in (host, guest):
        machine.cmd(["nft", "flush", "ruleset"])


@pytest.mark.parametrize("alias", ["guest", "guest6", "guest-root"])
def test_the_bytes_go_there_and_nothing_listens_for_it_any_more(homeport, host, guest, host_home, alias):
    wanted = a_file(host_home)
    before = set(guest.listeners()) | set(host.listeners())
    homeport.up("--mount", f"{host_home.inside}:/srv/home", host=alias)
    direct(homeport)
    assert link(homeport)["direct_reason"] is None
    assert set(guest.listeners()) | set(host.listeners()) == before
    read = sshd_read(guest)
    assert digest(guest, "/srv/home/big") == wanted
    assert sshd_read(guest) - read < SIZE // 100
    assert "reached directly" in homeport.run("status", alias).stdout
    assert homeport.status()["reconnects"] == 0
    ours = [p for p in homeport.status()["ports"] if p["process"] and "homeport" in p["process"]]
    assert not ours


def test_another_session_does_not_take_it_for_a_port(homeport, guest, host_home):
    """Both are one agent in the guest, which looks for what listens there for either."""
    homeport.up("--name", "first", "--no-mount")
    direct(homeport)
    seen = homeport.popen("events", "first", "--json", stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    for _ in range(4):
        homeport.up("--name", "second", "--no-mount")
        direct(homeport)
        homeport.down("second")
    seen.terminate()
    events = [json.loads(line) for line in seen.stdout.read().splitlines()]
    assert not [e for e in events if e["event"] == "port"]


def test_without_it_all_goes_through_ssh(homeport, guest, host_home):
    wanted = a_file(host_home)
    homeport.write_config("vm", f"ssh: {{host: guest, direct: false}}\nmounts: [{{location: {host_home.inside}, mountPoint: /srv/home}}]\n")
    homeport.up(host="vm")
    assert through_ssh(homeport) == "the configuration says so"
    read = sshd_read(guest)
    assert digest(guest, "/srv/home/big") == wanted
    assert sshd_read(guest) - read > SIZE
    assert "reached directly" not in homeport.run("status", "vm").stdout


@pytest.mark.parametrize("alias", ["guest", "guest6"])
def test_a_guest_that_lets_nobody_in_comes_to_the_host(homeport, guest, host_home, firewall, alias):
    wanted = a_file(host_home)
    nft(guest, CLOSED)
    homeport.up("--mount", f"{host_home.inside}:/srv/home", host=alias)
    direct(homeport)
    assert digest(guest, "/srv/home/big") == wanted


def test_where_neither_lets_the_other_in_ssh_is_left(homeport, host, guest, host_home, firewall):
    wanted = a_file(host_home)
    nft(guest, CLOSED)
    nft(host, CLOSED)
    before = set(guest.listeners()) | set(host.listeners())
    homeport.up("--mount", f"{host_home.inside}:/srv/home")
    assert digest(guest, "/srv/home/big") == wanted
    assert through_ssh(homeport)
    assert set(guest.listeners()) | set(host.listeners()) == before
    assert "through ssh: " in homeport.run("doctor", "guest").stdout


def test_a_port_of_loopback_that_is_a_vms_sshd(homeport, host, guest, host_home, firewall):
    """As QEMU's user-mode network has it: the guest cannot be reached, and finds the host behind its gateway."""
    wanted = a_file(host_home)
    host.cmd(["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"])
    nft(host, SLIRP % host.address)
    forwarded = host.popen(["/usr/bin/python3", "-c", FORWARDER, guest.address, "22", "2200"])
    wait_until(lambda: "127.0.0.1:2200" in host.listeners())
    try:
        homeport.up("--mount", f"{host_home.inside}:/srv/home", "-o", "HostName=127.0.0.1", "-o", "Port=2200",
                    "-o", "NoHostAuthenticationForLocalhost=yes")
        direct(homeport)
        assert digest(guest, "/srv/home/big") == wanted
    finally:
        homeport.down(check=False)
        forwarded.terminate()
        forwarded.wait()


def test_a_proxy_is_not_gone_around(homeport, lab):
    homeport.up("--no-mount", "-o", f"ProxyCommand=ssh -F {lab.ssh_config()} -W %h:%p guest")
    assert through_ssh(homeport) == "ssh goes through a proxy"


def sshd_of(guest):
    return [pid for pid, (_, line) in guest.processes().items() if line.startswith("sshd: me") and "[priv]" not in line]


def test_with_the_login_it_ends_and_comes_back_with_the_next(homeport, guest, host_home):
    wanted = a_file(host_home)
    homeport.up("--mount", f"{host_home.inside}:/srv/home")
    for turn in range(3):
        direct(homeport)
        for pid in sshd_of(guest):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: homeport.status()["reconnects"] == turn + 1, what="a new login")
        assert digest(guest, "/srv/home/big") == wanted
    direct(homeport)


def test_a_cut_in_the_middle_loses_nothing(homeport, lab, guest, host_home):
    """Silent: the loss is noticed by the session, on whichever connection it is; and the SSH one goes with it."""
    wanted = a_file(host_home)
    homeport.up("--mount", f"{host_home.inside}:/srv/home")
    direct(homeport)
    reader = guest.popen("for i in {1..8}; do dd if=/srv/home/big bs=1M iflag=direct status=none | sha256sum; done",
                         user="me", stdout=subprocess.PIPE, text=True)
    time.sleep(0.2)
    lab.link_cut()
    time.sleep(5)
    lab.link_restore()
    out, _ = reader.communicate(timeout=40)
    assert out.split()[::2] == [wanted] * 8
    wait_until(lambda: homeport.status()["state"] == "connected", timeout=20)
    assert homeport.status()["reconnects"] >= 1


def test_what_breaks_at_once_is_not_tried_again_and_again(homeport, host, guest, host_home, firewall):
    """Something between the two that lets a connection come about and then no more through."""
    homeport.up("--mount", f"{host_home.inside}:/srv/home")
    direct(homeport)
    nft(host, "table inet cut { chain in { type filter hook input priority 0; tcp sport 22 accept; "
              "ip saddr %s drop; }; }" % guest.address)
    wait_until(lambda: homeport.status()["reconnects"] >= 1, timeout=20, what="the loss was noticed")
    wait_until(lambda: homeport.status()["state"] == "connected", timeout=20)
    assert through_ssh(homeport) == "a direct connection broke a moment after it began"
    guest.cmd(["ls", "/srv/home"], user="me")


def test_a_stranger_at_the_door_gets_nothing(homeport, host, guest, host_home, firewall):
    """Whoever finds the port in the moment it is open: no answer to what is no TLS, and the session goes on."""
    nft(guest, CLOSED)  # so that the host listens, and nobody but us finds it: the guest's way there is closed, too
    nft(host, CLOSED)
    seen = []

    def at_the_door():
        for at in host.listeners():
            address, _, port = at.rpartition(":")
            if address == host.address and int(port) > 1024:
                seen.append(int(port))
                return True
        return False

    up = homeport.popen("up", "-F", homeport.lab.ssh_config("me"), "--no-mount", "guest", stdout=subprocess.DEVNULL)
    homeport.name = "guest"
    wait_until(at_the_door, timeout=15, every=0.002, what="the host listens")
    answer = host.cmd(["bash", "-c", f"exec 3<>/dev/tcp/{host.address}/{seen[0]}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; "
                                     "timeout 5 cat <&3 | head -c 100 | xxd -p"], check=False)
    # A TLS alert at most: 7 bytes, and the end.
    assert up.wait(timeout=20) == 0
    assert len(answer.stdout.strip()) <= 2 * 7
    assert through_ssh(homeport)
    assert homeport.status()["state"] == "connected"
