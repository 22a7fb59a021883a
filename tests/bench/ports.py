# SPDX-License-Identifier: MIT
"""The port rows: a forward of homeport beside `ssh -L`, with and without the pseudo-terminal that keeps ssh from waiting
for a delayed acknowledgement (Nagle's algorithm) on each new connection."""
import os
import statistics

import files
import watch
from files import CIPHER

MIB = 512
STREAMS = 8
OPEN = 500
GUEST_PORT, ECHO_PORT = 7001, 7002


FAR_MS = 10  # a round trip to a machine that is not this one


def far(bench):
    """Options of ssh and of homeport: what they send goes through a proxy that holds it for half a round trip."""
    place = "/tmp/delayed.py"
    with open(os.path.join(os.path.dirname(os.path.dirname(__file__)), "e2e/delayed.py")) as source:
        with open(bench.lab.host.path(place), "w") as copy:
            copy.write(source.read())
    passing = "'exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'"
    return ["-o", f"ProxyCommand=/usr/bin/python3 {place} {FAR_MS / 2} bash -c {passing}"]


class SshL:
    def __init__(self, bench, name, extra, port):
        self.bench, self.name, self.extra = bench, name, extra
        self.port, self.echo_port = port, port + 10

    def start(self):
        lab, forwards = self.bench.lab, []
        for here, there in ((self.port, GUEST_PORT), (self.echo_port, ECHO_PORT)):
            forwards += ["-L", f"127.0.0.1:{here}:127.0.0.1:{there}"]
        self.process = lab.host.popen(lab.guest.ssh_args("me") + ["-c", CIPHER, *forwards] + self.extra, user="me")
        self.bench.wait(lambda: f"127.0.0.1:{self.echo_port}" in lab.host.listeners(), self.name)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=10)


class Homeport:
    name = "homeport"
    port, echo_port = GUEST_PORT, ECHO_PORT

    def __init__(self, bench, extra=()):
        self.bench, self.extra = bench, extra

    def start(self):
        self.bench.homeport_start(["--no-mount", *self.extra])
        self.bench.wait(lambda: f"127.0.0.1:{self.echo_port}" in self.bench.lab.host.listeners(), "the forward")

    def stop(self):
        self.bench.homeport_stop()


class Native:
    """No forward at all: client and server in the guest. What this takes, each of the others takes too."""
    name = "native"
    side = "guest"
    port, echo_port = GUEST_PORT, ECHO_PORT

    def start(self):
        pass

    def stop(self):
        pass


def run(bench, rounds):
    """Samples {row: {candidate: [value]}}: seconds, but MiB/s for throughput; and CPU seconds of the throughput rows."""
    candidates = [SshL(bench, "ssh -L", ["-N"], 17001), SshL(bench, "ssh -L, -tt", ["-tt", "sleep 600"], 17002), Homeport(bench),
                  Native()]
    samples, cpu = {}, {}
    bench.server("listen", GUEST_PORT)
    bench.echo_server(ECHO_PORT)

    def note(row, c, value):
        samples.setdefault(row, {}).setdefault(c.name, []).append(value)

    for turn in range(rounds):
        at = turn % len(candidates)
        for c in candidates[at:] + candidates[:at]:
            c.start()
            try:
                throughput_rows(bench, c, note, cpu)
                latency_rows(bench, c, note)
            finally:
                c.stop()
        far_row(bench, turn, note)
        stat_rows(bench, turn, note)
        watch.one_round(bench, turn, samples)
        bench.say(f"ports: round {turn + 1} of {rounds}")
    bench.server("close", GUEST_PORT)
    watch.add_p99(samples)
    return samples, cpu


def throughput_rows(bench, c, note, cpu):
    for mode, way in (("s", "to"), ("r", "from")):
        for streams in (1, STREAMS):
            row = f"forward, {way} the guest, {streams} stream{'s' if streams > 1 else ''}, MiB/s"
            used = bench.cpu_so_far()
            note(row, c, bench.python(getattr(c, "side", "host"), "transfers", "127.0.0.1", c.port, mode, MIB << 20, streams))
            if c.name != "native":
                cpu.setdefault(row, {}).setdefault(c.name, []).append(bench.cpu_since(used))


def p99(times):
    return times[len(times) * 99 // 100]


def latency_rows(bench, c, note):
    side = getattr(c, "side", "host")
    note("new connection, first byte", c, statistics.median(bench.echo(side, "connect", c.echo_port, 500)))
    note(f"new connection beside {OPEN} open ones", c, statistics.median(bench.echo(side, "connect", c.echo_port, 200, OPEN)))
    idle = bench.echo(side, "byte", c.echo_port, 3000)
    note("echo round trip", c, statistics.median(idle))
    note("echo round trip, p99", c, p99(idle))
    if c.name == "native":
        return
    with bench.load(c.port, STREAMS):
        row = f"echo beside {STREAMS} bulk streams, p99"
        note(row, c, p99(bench.echo(side, "byte", c.echo_port, 300)))
        if c.name == "homeport":  # what waiting for a processor alone costs there
            note(row, Native, p99(bench.echo("guest", "byte", c.echo_port, 300)))


def far_row(bench, turn, note):
    """What counts there is how many round trips a connection waits for."""
    delay = far(bench)
    candidates = [SshL(bench, "ssh -L", [*delay, "-N"], 17001), SshL(bench, "ssh -L, -tt", [*delay, "-tt", "sleep 600"], 17002),
                  Homeport(bench, delay)]
    for c in candidates[turn % 3:] + candidates[:turn % 3]:
        c.start()
        try:
            note(f"new connection over {FAR_MS} ms, first byte", c, statistics.median(bench.echo("host", "connect", c.echo_port, 20)))
        finally:
            c.stop()


LOAD_STREAMS = 3
STATS = 150


class Loaded:
    """A mount and a forward at once, for what a small request suffers while streams fill the link."""

    def __init__(self, bench, mount, forward):
        self.bench, self.mount, self.forward, self.name = bench, mount, forward, mount.name

    def measure(self):
        bench = self.bench
        if self.name == "homeport":
            point = self.mount.point = "/srv/hp"
            bench.homeport_start(["--mount", f"{bench.folder}:{point}"])
            bench.wait(lambda: f"127.0.0.1:{self.forward.port}" in bench.lab.host.listeners(), "the forward")
        else:
            point = self.mount.mount(bench.folder)
            self.forward.start()
        try:
            idle = bench.python("guest", "stat", point, STATS)
            with bench.load(self.forward.port, LOAD_STREAMS):
                return idle, bench.python("guest", "stat", point, STATS)
        finally:
            self.mount.umount()
            if self.name != "homeport":
                self.forward.stop()


def stat_rows(bench, turn, note):
    peers = [Loaded(bench, files.Sshfs(bench, "sshfs beside ssh -L", ""), SshL(bench, "ssh -L", ["-N"], 17001)),
             Loaded(bench, files.Homeport(bench), Homeport(bench))]
    for c in peers[turn % 2:] + peers[:turn % 2]:
        idle, loaded = (sorted(times) for times in c.measure())
        note("stat, idle link", c, statistics.median(idle))
        note("stat beside 3 bulk streams", c, statistics.median(loaded))
        note("stat beside 3 bulk streams, p99", c, loaded[len(loaded) * 99 // 100])
