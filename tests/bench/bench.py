#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make bench: homeport beside its peers, on this machine, in one run.

    bench.py [--rounds N] [--only files|ports] [--row TEXT]... [--no-best]

Everything runs in one lab (tests/lab): a host and a guest with a cable between them, one cipher everywhere, TCP's reno,
the memory that the rows use touched beforehand.
The candidates take turns within each round; the median of the rounds counts; every sample is kept. Written to
BUILD/bench/: results.json, results.md, files.svg, ports.svg. The rows where homeport is slower come first."""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lab"))

import files
import ports
import report
from lab import BUILD_AT, Lab


ECHO = f"{BUILD_AT}/bench/echo"


class Bench:
    def __init__(self, lab, best):
        self.lab, self.best = lab, best
        self.folder = lab.host.home("me") + "/bench"
        self.runners = {}
        for side, machine in (("host", lab.host), ("guest", lab.guest)):
            self.runners[side] = self.start_script(machine, "runner.py")
        self._server = self.start_script(lab.guest, "server.py")
        self.agent = None

    def start_script(self, machine, name):
        """Puts a script into the machine and starts it there."""
        place = f"/tmp/{name}"
        with open(os.path.join(HERE, name)) as source, open(machine.path(place + ".new"), "w") as copy:
            copy.write(source.read())
        os.rename(machine.path(place + ".new"), machine.path(place))  # one that starts now reads a whole one
        return machine.popen(["/usr/bin/python3", "-B", place], user="me", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)

    @staticmethod
    def ask(process, line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline()

    def timed(self, side, script):
        """Seconds that a shell script takes on one side."""
        answer = json.loads(self.ask(self.runners[side], json.dumps({"sh": script})))
        if answer["status"]:
            raise RuntimeError(f"on the {side}: {script}: exit {answer['status']}: {answer['stderr']}")
        return answer["s"]

    def python(self, side, name, *args):
        answer = json.loads(self.ask(self.runners[side], json.dumps({"py": name, "args": args})))
        if answer["status"]:
            raise RuntimeError(f"on the {side}: {name}{args}: {answer['stderr']}")
        return answer["value"]

    def echo_server(self, port):
        """Has echo.c serve in the guest, for as long as the bench lives."""
        self._echo = self.lab.guest.popen([ECHO, "serve", str(port)], user="me", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._echo.stdout.readline()

    def echo(self, side, verb, port, *count):
        """Seconds of each, sorted: see echo.c."""
        machine = self.lab.host if side == "host" else self.lab.guest
        done = machine.cmd([ECHO, verb, "127.0.0.1", str(port), *map(str, count)], user="me", timeout=300)
        return sorted(float(line) for line in done.stdout.split())

    @contextlib.contextmanager
    def load(self, port, streams):
        """Streams through a forward, half of them each way, for as long as this lasts."""
        processes = [self.start_script(self.lab.host, "runner.py") for _ in range(streams)]
        try:
            for i, process in enumerate(processes):
                process.stdin.write(json.dumps({"py": "transfer", "args": ["127.0.0.1", port, "sr"[i % 2], 64 << 30]}) + "\n")
                process.stdin.flush()
            time.sleep(0.3)
            yield
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def server(self, verb, port):
        return float(self.ask(self._server, f"{verb} {port}"))

    def wait(self, condition, what, seconds=15):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s for {what}")
            time.sleep(0.01)

    def homeport_start(self, options, user="me"):
        env = {"XDG_RUNTIME_DIR": "/run/user/1000", "XDG_STATE_HOME": self.lab.host.home("me") + "/.local/state"}
        self.lab.host.cmd("mkdir -p /run/user/1000 && chown 1000:1000 /run/user/1000 && chmod 700 /run/user/1000")
        self.agent = [f"{BUILD_AT}/homeport"], env
        self.lab.host.cmd(self.agent[0] + ["up", "-F", self.lab.ssh_config("me"), "--name", "bench", *options, f"{user}@guest"],
                          user="me", env=env, timeout=70)

    def homeport_stop(self):
        self.lab.host.cmd(self.agent[0] + ["down", "bench"], user="me", env=self.agent[1])

    def homeport_requests(self):
        """Requests of its mounts so far; 0 while nothing of it runs."""
        if not self.agent:
            return 0
        done = self.lab.host.cmd(self.agent[0] + ["status", "bench", "--json"], user="me", env=self.agent[1], check=False)
        return sum(m["requests"] for s in json.loads(done.stdout or "[]") for m in s["mounts"])

    def memory_mib(self):
        """The most memory each process of a candidate has had, all together."""
        total = 0
        for machine in (self.lab.host, self.lab.guest):
            for pid, (_, line) in machine.processes().items():
                if any(name in line for name in ("homeport", "sftp", "sshfs", "ssh -F")) and "nsenter" not in line:
                    try:
                        status = open(f"/proc/{pid}/status").read()
                    except OSError:
                        continue
                    total += int(status.split("VmHWM:")[1].split()[0]) if "VmHWM:" in status else 0
        return total / 1024

    def cpu_so_far(self):
        """{pid: CPU seconds} of everything in both machines but what the bench itself runs."""
        ours = {p.pid for p in (*self.runners.values(), self._server)}
        used = {}
        for machine in (self.lab.host, self.lab.guest):
            for pid, (_, line) in machine.processes().items():
                if pid in ours or "runner.py" in line or "server.py" in line:
                    continue
                try:
                    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return used

    def cpu_since(self, before):
        """CPU seconds since cpu_so_far(); what has ended meanwhile is not counted, least of all as less than nothing."""
        return sum(used - before.get(pid, 0) for pid, used in self.cpu_so_far().items())

    @staticmethod
    def say(line):
        print(line, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["files", "ports"])
    parser.add_argument("--row", action="append", help="only file rows whose name holds this text")
    parser.add_argument("--no-best", action="store_true", help="leave out sshfs with its best options")
    args = parser.parse_args()
    rows = [r for r in files.ROWS if not args.row or any(text in r[0] for text in args.row)]
    results = {"rounds": args.rounds, "cores": os.cpu_count(), "kernel": os.uname().release, "date": time.strftime("%F %T")}
    with Lab(user_allow_other=True, build=args.build) as lab:
        for machine in (lab.host, lab.guest):
            subprocess.run(["nsenter", "-t", str(machine.pid), "-n", "--", "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno"],
                           check=True)
        bench = Bench(lab, not args.no_best)
        for side in ("host", "guest"):
            bench.python(side, "touch", files.MEMORY)
        if args.only != "ports":
            files.make_data(bench)
            results["files"], results["files_cpu"], results["requests"], results["memory"] = files.run(bench, rows, args.rounds)
        if args.only != "files":
            if args.only == "ports":
                files.make_data(bench)
            results["ports"], results["ports_cpu"] = ports.run(bench, args.rounds)
    report.write(results, os.path.join(args.build, "bench"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
