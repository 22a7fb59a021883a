# SPDX-License-Identifier: MIT
"""As many connections through one forward as a machine of developers makes in a long day, one after the other and at once."""
import os

import pytest

from conftest import wait_until
from net import answers

pytestmark = pytest.mark.long

ECHO = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 8100, backlog=1024)
    await server.serve_forever()
asyncio.run(main())
"""

ONE_AFTER_THE_OTHER = """
import socket, sys
for i in range(int(sys.argv[1])):
    s = socket.create_connection(("127.0.0.1", 8100), timeout=30)
    s.sendall(b"%d" % i)
    assert s.recv(16) == b"%d" % i
    s.close()
print("all")
"""

AT_ONCE = """
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
async def ask(pair, what):
    pair[1].write(what)
    assert await pair[0].readexactly(len(what)) == what
async def talk(pair, n):
    for i in range(50):
        await ask(pair, b"%d of %d " % (i, n))
async def main():
    pairs = []
    for _ in range(90):
        pairs += await asyncio.gather(*(asyncio.open_connection("127.0.0.1", 8100) for _ in range(100)))
    await asyncio.gather(*(ask(p, b"here") for p in pairs))
    print("open", flush=True)
    await asyncio.gather(*(talk(p, n) for n, p in enumerate(pairs[:1000])))
    await asyncio.gather(*(ask(p, b"still here") for p in pairs[1000:]))
    for p in pairs:
        p[1].close()
    print("all")
asyncio.run(main())
"""


@pytest.fixture
def agents(homeport, lab, host, guest):
    """Both agents within 20,000 descriptors, and the server in the guest: (descriptors, MiB) of each agent."""
    host.cmd(["prlimit", "--nofile=20000", "--", homeport.binary, "up", "-F", lab.ssh_config(), "--no-mount", "guest"],
             user="me", env=homeport.env)
    homeport.name = "guest"
    guest.popen(["prlimit", "--nofile=20000", "/usr/bin/python3", "-c", ECHO], user="me")
    wait_until(lambda: answers(host, 8100), timeout=10)
    wait_until(lambda: [row["connections"] for row in homeport.status()["ports"] if row["guest"].endswith(":8100")] == [0])

    def look():
        found = []
        for machine, command in ((host, "homeport run"), (guest, "homeport-guest serve")):
            pid = next(pid for pid, (_, line) in machine.processes().items() if command in line)
            with open(f"/proc/{pid}/statm") as f:
                found.append((len(os.listdir(f"/proc/{pid}/fd")), int(f.read().split()[1]) * 4 // 1024))
        return found
    return look


def settled(agents, before, room):
    wait_until(lambda: [now[0] for now in agents()] == [then[0] for then in before], timeout=20, what="no descriptor is left")
    for then, now in zip(before, agents()):
        assert now[1] <= then[1] + room, (before, agents())


@pytest.mark.timeout(300)
def test_a_hundred_thousand_one_after_the_other(agents, host):
    client = ["/usr/bin/python3", "-c", ONE_AFTER_THE_OTHER]
    assert host.cmd([*client, "1000"], user="me", timeout=60).stdout == "all\n"
    before = agents()
    running = [host.popen([*client, "25000"], user="me", stdout=-1, text=True) for _ in range(4)]
    assert [one.communicate(timeout=280)[0] for one in running] == ["all\n"] * 4
    settled(agents, before, room=8)


@pytest.mark.timeout(180)
def test_a_thousand_that_talk_beside_eight_thousand_that_do_not(agents, host):
    before = agents()
    client = ["prlimit", "--nofile=20000", "/usr/bin/python3", "-c", AT_ONCE]
    assert host.cmd(client, user="me", timeout=160).stdout == "open\nall\n"
    settled(agents, before, room=64)
