# SPDX-License-Identifier: MIT
"""The rows of the guest's watch: how soon a listener there is reached on the host, and gone there, polled (a user who
cannot call root) and by BPF (root), and what the watch costs a guest that does nothing but connect to itself."""
import json
import os
import random
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../e2e"))

from net import LIBC, network  # noqa: E402

CHANGES = 15        # of each kind, a round
CONNECTIONS = 1000  # a run
RUNS = 60
WAYS = {"polled": "plain", "by BPF": "root"}
AGAIN_S = 50e-6     # between two attempts to connect: more often they would take the agents' processors from them
PR_SET_TIMERSLACK = 29


def reached(bench, port):
    """When a client on the host has connected to the port."""
    with network(bench.lab.host):
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    return time.monotonic()
            time.sleep(AGAIN_S)


def gone(events, port):
    """When `homeport events` has said that a port is gone."""
    for line in events.stdout:
        event = json.loads(line)
        if event["event"] == "port" and event["guest"].endswith(f":{port}") and event["state"] == "gone":
            return time.monotonic()
    raise EOFError("homeport events has ended")


def changes(bench, port):
    """Seconds to appear and to vanish, of servers that start and stop now and then."""
    command, env = bench.agent
    events = bench.lab.host.popen(command + ["events", "bench", "--json"], user="me", env=env, stdout=subprocess.PIPE,
                                  text=True)
    bench.wait(lambda: "homeport/bench/control" in bench.lab.host.cmd(["ss", "-xH", "state", "connected"]).stdout, "events")
    LIBC.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    appeared, vanished = [], []
    for port in range(port, port + CHANGES):
        time.sleep(random.uniform(0.03, 0.12))
        began = bench.server("listen", port)
        appeared.append(reached(bench, port) - began)
        time.sleep(random.uniform(0.03, 0.12))
        began = bench.server("close", port)
        vanished.append(gone(events, port) - began)
    events.kill()
    events.wait()
    return appeared, vanished


def rate(bench):
    return bench.python("guest", "connections", CONNECTIONS, RUNS)


def one_round(bench, turn, samples):
    for way, user in WAYS.items():
        row = samples.setdefault(f"guest's own connections/s of CPU, {way}", {"no agent": [], "homeport": []})
        row["no agent"].append(rate(bench))
        bench.homeport_start(["--no-mount"], user)
        row["homeport"].append(rate(bench))
        appeared, vanished = changes(bench, 7200 + 20 * turn)
        bench.homeport_stop()
        row["no agent"].append(rate(bench))
        samples.setdefault(f"listener appears, {way}", {"homeport": []})["homeport"] += appeared
        samples.setdefault(f"listener vanishes, {way}", {"homeport": []})["homeport"] += vanished


def add_p99(samples):
    """Of all rounds together; the median is what the table shows of the other rows."""
    for row in [row for row in samples if row.startswith("listener ")]:
        times = sorted(samples[row]["homeport"])
        samples[row + ", p99"] = {"homeport": [times[len(times) * 99 // 100]]}
