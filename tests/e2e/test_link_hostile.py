# SPDX-License-Identifier: MIT
"""An sshd that is not what it seems cannot exhaust the host."""
import os
import re
import subprocess
import time

import pytest

from conftest import wait_until
from link_probe import Running, compile_once

# Forwards everything to the server on port 2300, but stops taking the client's bytes when told to on stdin.
PROXY = """
import select, socket, sys
listener = socket.create_server(("127.0.0.1", 2222))
print("ready", flush=True)
client, _ = listener.accept()
server = socket.create_connection(("127.0.0.1", 2300))
ends = {client: server, server: client}
while True:
    for s in select.select([*ends, *([sys.stdin] if client in ends else [])], [], [])[0]:
        if s is sys.stdin:
            ends.pop(client)
            continue
        data = s.recv(65536)
        if not data:
            sys.exit()
        ends[s].sendall(data)
""".replace("ends[s]", "(server if s is client else client)")


# Else the sanitizer keeps what was freed, and the process grows without a leak.
MEASURABLE = {"ASAN_OPTIONS": "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}


@pytest.fixture
def hostile(lab, host):
    """Starts the server and the proxy before it; returns the proxy, whose stdin closes the way back."""
    binary = compile_once("hostile_sshd", 0)
    key = f"{lab.dir}/ssh-me/hostile"
    started = []

    def start(opens):
        if not os.path.exists(key):
            host.cmd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], user="me")
        for argv in ([binary, "2300", key, str(opens)], ["/usr/bin/python3", "-c", PROXY]):
            started.append(host.popen(argv, user="me", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert started[-1].stdout.readline() == "ready\n"
        shown = host.cmd(["ssh-keygen", "-lf", key], user="me").stdout.split()[1]
        return started[1], ["-o", "HostName=127.0.0.1", "-p", "2222", "-k", shown, "guest", "true"]

    yield start
    for p in started:
        p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()


def probe_pid(host):
    return next(outer for outer, (_, line) in host.processes().items() if "link_probe" in line)


def rss(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) * 1024


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_channels_the_guest_opens_are_refused_and_cost_nothing(lab, host, hostile):
    _, args = hostile(20000)
    with Running(lab, *args, env=MEASURABLE) as probe:
        wait_until(lambda: probe.count("connected") == 1, what="the connection")
        pid = probe_pid(host)
        before = rss(pid)
        time.sleep(2)
        assert probe.count("closed") == 0
        assert rss(pid) - before < 8 << 20


def test_answers_nobody_reads_do_not_pile_up(lab, host, hostile):
    proxy, args = hostile(1000000)
    with Running(lab, *args, env=MEASURABLE) as probe:
        wait_until(lambda: probe.count("connected") == 1, what="the connection")
        proxy.stdin.write("\n")
        proxy.stdin.flush()
        pid = probe_pid(host)
        before = rss(pid)
        time.sleep(5)
        used = cpu(pid)
        time.sleep(1)
        assert cpu(pid) - used < 0.2, "the loop spins"
        assert rss(pid) - before < 16 << 20
