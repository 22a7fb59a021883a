# SPDX-License-Identifier: MIT
"""Servers people run in a VM, in the guest, and their own clients and benchmarks on the host, across the forward."""
import json
import os

import pytest

from conftest import wait_until
from net import answers

pytestmark = pytest.mark.long


@pytest.fixture
def up(homeport):
    """A server of iperf3's binds its UDP port when the client's first datagram is under way."""
    homeport.write_config("guest", f"""ssh: {{configFile: {homeport.lab.ssh_config()}}}
mounts: []
portForwards:
- {{guestPort: 5201, proto: udp, static: true}}
""")
    homeport.name = "guest"
    assert homeport.run("up", "guest").returncode == 0, homeport.logs()
    return homeport


@pytest.fixture
def serve(up, host, guest):
    """Starts a server in a folder of its own in the guest, as its user, and waits for its port on the host; without
    a connection, of which that of iperf3 takes one at a time."""
    def start(argv, port, prepare=None):
        folder = f"{guest.home()}/{port}"
        guest.cmd(["mkdir", folder], user="me")
        if prepare:
            guest.cmd("set -e; " + prepare, user="me", cwd=folder, timeout=60)
        with open(guest.path(folder) + "/output", "w") as output:
            guest.popen(argv, user="me", cwd=folder, stdout=output, stderr=output)
        wait_until(lambda: any(row["guest"].endswith(f":{port}") and row["proto"] == "tcp" and row["state"] == "forwarded"
                               for row in up.status()["ports"]), timeout=20, what=f"port {port} is forwarded")
        return folder
    return start


def client(host, argv, timeout=60, **kw):
    return host.cmd(argv, user="me", timeout=timeout, **kw).stdout


@pytest.mark.timeout(90)
def test_iperf3(serve, host):
    """Both directions, one stream and eight; what one end sent is what the other got."""
    serve(["iperf3", "-s", "-p", "5201"], 5201)
    for options in ([], ["-R"], ["-P", "8"], ["-R", "-P", "8"], ["--bidir"]):
        found = json.loads(client(host, ["iperf3", "-J", "-c", "127.0.0.1", "-p", "5201", "-t", "2", *options]))
        assert "error" not in found
        sums = found["end"]
        assert sums["sum_received"]["bytes"] > 10_000_000
    found = json.loads(client(host, ["iperf3", "-J", "-u", "-b", "50M", "-l", "1400", "-c", "127.0.0.1", "-p", "5201", "-t", "2"]))
    assert found["end"]["sum"]["lost_percent"] < 5


@pytest.mark.timeout(120)
def test_redis(serve, host):
    serve(["redis-server", "--port", "6380", "--save", "", "--appendonly", "no"], 6380)
    redis = ["redis-cli", "-p", "6380"]
    assert client(host, [*redis, "set", "name", "value"]) == "OK\n"
    assert client(host, [*redis, "get", "name"]) == "value\n"
    for extra in ([], ["-P", "16"], ["-c", "500"], ["-d", "100000", "-n", "2000"]):
        out = client(host, ["redis-benchmark", "-p", "6380", "-q", "-t", "set,get", "-n", "20000", *extra])
        assert out.count("requests per second") == 2 and "rror" not in out
    assert client(host, [*redis, "shutdown", "nosave"]) == ""
    wait_until(lambda: not answers(host, 6380), timeout=5)


@pytest.mark.timeout(180)
def test_postgresql(serve, host):
    prepare = """bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
        $bin/initdb -D data -A trust -U me --no-instructions >/dev/null; ln -s $bin bin"""
    serve("exec bin/postgres -D data -p 5433 -k $PWD -c listen_addresses=localhost", 5433, prepare)
    there = {"PGHOST": "localhost", "PGPORT": "5433", "PGUSER": "me", "PGDATABASE": "postgres"}
    wait_until(lambda: host.cmd(["psql", "-Atc", "select 1"], user="me", env=there, check=False).stdout == "1\n", timeout=20)
    client(host, ["pgbench", "-q", "-i", "-s", "2"], env=there)
    for options in (["-c", "8", "-t", "200"], ["-C", "-c", "4", "-t", "50"], ["-S", "-M", "prepared", "-c", "8", "-t", "500"]):
        assert "number of failed transactions: 0 " in client(host, ["pgbench", "-n", *options], env=there)
    # A bulk each way: COPY.
    client(host, "psql -qAtc 'copy pgbench_accounts to stdout' > /tmp/accounts && psql -q -c 'create table copied (like pgbench_accounts)'"
           " -c '\\copy copied from /tmp/accounts'; rm /tmp/accounts", env=there)
    same = "select count(*), sum(hashtext(t::text)) from {} t"
    assert client(host, ["psql", "-Atc", same.format("copied")], env=there) \
        == client(host, ["psql", "-Atc", same.format("pgbench_accounts")], env=there)


def test_git(serve, host, guest):
    """git:// out of the guest and back into it."""
    prepare = """git -c init.defaultBranch=main init -q work; cd work; git config user.name n; git config user.email e@x
        for i in $(seq 300); do head -c 20000 /dev/urandom | base64 > file$i; done
        git add .; git commit -qm first; cd ..; git clone -q --bare work bare; touch bare/git-daemon-export-ok"""
    folder = serve(["/usr/lib/git-core/git-daemon", "--port=9418", "--base-path=.", "--enable=receive-pack", "--reuseaddr"], 9418, prepare)
    url = "git://127.0.0.1/bare"
    client(host, f"""set -e; rm -rf clone; git clone -q {url} clone; cd clone; git fsck --strict
        git config user.name n; git config user.email e@x
        echo more > more; git add .; git commit -qm second; git push -q; cd ..; rm -rf clone""", cwd=host.home())
    log = guest.cmd(["git", "-C", folder + "/bare", "log", "--format=%s"], user="me").stdout
    assert log == "second\nfirst\n"


ECHO = """
import asyncio, websockets
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 8765, max_size=None):
        await asyncio.Future()
asyncio.run(main())
"""

TALK = """
import asyncio, os, websockets
async def one(n):
    async with websockets.connect("ws://localhost:8765", max_size=None) as socket:
        for size in (0, 1, 125, 126, 65535, 65536, 3_000_000):
            sent = os.urandom(size) if n % 2 else "x" * size
            await socket.send(sent)
            assert await socket.recv() == sent
        await (await socket.ping())
async def main():
    await asyncio.gather(*(one(n) for n in range(20)))
    print("alike")
asyncio.run(main())
"""


def test_a_websocket(serve, host):
    serve(["/usr/bin/python3", "-c", ECHO], 8765)
    assert client(host, ["/usr/bin/python3", "-c", TALK]) == "alike\n"


def test_ssh(serve, lab, host, guest):
    """Another sshd of the guest's, by the forward: a shell's status, a copy each way, a tunnel within the tunnel."""
    home = guest.home()
    prepare = f"""ssh-keygen -q -t ed25519 -N '' -f key
        printf '%s\\n' 'Port 2200' 'ListenAddress 127.0.0.1' "HostKey $PWD/key" 'UsePAM no' 'PidFile none' \\
            'StrictModes no' 'Subsystem sftp internal-sftp' > config"""
    serve(["/usr/sbin/sshd", "-D", "-f", f"{home}/2200/config"], 2200, prepare)
    options = ["-F", lab.ssh_config(), "-p", "2200", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "HostName=127.0.0.1", "-o", "HostKeyAlias=none", "-o", "LogLevel=ERROR"]
    assert host.cmd(["ssh", *options, "guest", "echo inside; exit 7"], user="me", check=False).stdout == "inside\n"
    assert host.cmd(["ssh", *options, "guest", "exit 7"], user="me", check=False).returncode == 7
    data = os.urandom(5_000_000)
    there = host.cmd(["ssh", *options, "guest", "cat > copy; sha256sum < copy; cat copy"], user="me", input=data, text=False).stdout
    assert there.endswith(data)


def test_curl_and_a_web_server(serve, host):
    serve(["/usr/bin/python3", "-m", "http.server", "8080"], 8080, "head -c 30000000 /dev/urandom > big; sha256sum big > sum")
    for family in ("-4", "-6"):
        fetch = f"curl {family} -fsS http://localhost:8080/"
        assert client(host, f"{fetch}big | sha256sum").split()[0] == client(host, f"{fetch}sum").split()[0]
    # Sixteen at once, each from where it had got to.
    many = " ".join(f"-r {i * 100000}-{i * 100000 + 99999} http://localhost:8080/big -o /dev/null" for i in range(16))
    client(host, f"curl -fsS --parallel {many}")
