# SPDX-License-Identifier: MIT
"""A guest that reports whatever ports it likes: what the host listens on is what the rules say, on loopback alone."""
import os
import time

import pytest

from conftest import wait_until
from raw_peer import hostile

MAX_FORWARDS = 4096      # the default
KEPT = 4 * MAX_FORWARDS  # rows; the rest is dropped

# In this order, of each port: the address, and whether the rule with all defaults forwards it.
ADDRESSES = [("127.0.0.1", True), ("10.1.2.3", False), ("0.0.0.0", True), ("fe80::1", False), ("::1", True),
             ("2001:db8::1", False), ("::", True), ("::ffff:127.0.0.1", True), ("::ffff:10.1.2.3", False)]

REPORT = f"""
import socket
ADDRESSES = [(4, socket.inet_pton(socket.AF_INET, a)) if ":" not in a else (6, socket.inet_pton(socket.AF_INET6, a))
             for a in {[a for a, _ in ADDRESSES]!r}]
key = 0

def add(number, which):
    global key
    key += 1
    family, address = ADDRESSES[which]
    return message(PORT_ADD, struct.pack(">QBB16sIHBBIQI", key, 6, family, address, 3 if address[:2] == b"\\xfe\\x80" else 0,
                                         number, 0, 0, 1000, key, 1) + string(b"x" * 31) + string(b"me") + string(b""))

def snapshot(epoch, numbers):
    p.control(PORTS_BEGIN, struct.pack(">Q", epoch))
    for number in numbers:
        p.control_many([add(number, which) for which in range(len(ADDRESSES))])
    p.control(PORTS_END, struct.pack(">Q", epoch))

def wait_for(path):
    while not os.path.exists(path):
        p.step(0.05)
"""


def bound_by(numbers):
    """The host ports that the rules and their two caps leave of what is reported in this order."""
    bound, kept, holding = set(), 0, 0
    for number in numbers:
        for _, forwarded in ADDRESSES:
            kept += 1
            if kept > KEPT or not forwarded or number == 22 or holding == MAX_FORWARDS:
                continue
            holding += 1
            bound |= {f"127.0.0.1:{number}", f"[::1]:{number}"}
    return bound


def agent(host):
    """(pid, CPU seconds, MiB of memory) of the host's agent."""
    pid = next(outer for outer, (_, line) in host.processes().items() if line.startswith("homeport run"))
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    with open(f"/proc/{pid}/statm") as f:
        return pid, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(f.read().split()[1]) * 4 / 1024


def let(guest, name):
    open(guest.path(f"/tmp/{name}"), "w").close()


@pytest.fixture
def low_ports(host):
    """The host's user may have every port, so that those below 1024 are no exception."""
    path = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    before = host.cmd(["cat", path]).stdout
    host.cmd(f"echo 0 > {path}")
    yield
    host.cmd(f"echo {before.strip()} > {path}")


@pytest.mark.timeout(180)
def test_every_port_at_every_address(homeport, host, guest, host_home, low_ports):
    """All 65,535 of them, from above and from below: exactly what the rules say is bound, and the agent stays small."""
    before = host.listeners()
    with hostile(guest, REPORT + """
p.greet()
p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
snapshot(1, range(65535, 0, -1))
wait_for("/tmp/second")
snapshot(2, range(1, 65536))
wait_for("/tmp/third")
snapshot(3, [])
p.serve(100)
""") as args:
        homeport.up("--timeout", "2m", *args, timeout=130)

        def settled(expected):
            wait_until(lambda: host.listeners() - before == expected, timeout=60, every=0.5, what="just these are bound")

        settled(bound_by(range(65535, 0, -1)))
        assert homeport.status()["state"] == "connected"
        let(guest, "second")
        settled(bound_by(range(1, 65536)))
        _, seconds, size = agent(host)
        assert size < 100 and seconds < 60
        let(guest, "third")
        settled(set())
        wait_until(lambda: homeport.status()["ports"] == [], timeout=20)


@pytest.mark.timeout(120)
def test_a_hundred_thousand_flaps(homeport, host, guest, host_home):
    """Ports that come and go as fast as they can be told: the user is heard, the log is short, nothing stays behind."""
    with hostile(guest, REPORT + """
p.greet()
p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
snapshot(1, [])
for i in range(100000):
    number = 20000 + i % 50
    p.control_many([add(number, 0), message(PORT_REMOVE, struct.pack(">Q", key))])
open("/tmp/flapped", "w").close()
p.serve(100)
""") as args:
        homeport.up(*args)
        pid, _, _ = agent(host)
        before = len(os.listdir(f"/proc/{pid}/fd"))
        while not os.path.exists(guest.path("/tmp/flapped")):
            began = time.monotonic()
            assert homeport.status()["state"] == "connected"
            assert time.monotonic() - began < 5
            time.sleep(0.2)
        wait_until(lambda: homeport.status()["ports"] == [], timeout=20)
        assert not [at for at in host.listeners() if ":200" in at]
        assert len(os.listdir(f"/proc/{pid}/fd")) <= before + 1
        _, seconds, size = agent(host)
        assert size < 100 and seconds < 40
        assert len(homeport.logs()) < 100_000
