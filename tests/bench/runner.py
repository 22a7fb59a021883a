#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs commands where the bench wants them timed: in the guest, without the cost of entering it each time.

One JSON object a line on stdin, {"sh": SCRIPT, "cwd": DIR} or {"py": NAME, ...}; one a line on stdout: seconds of wall
time, exit status, the end of stderr."""
import concurrent.futures
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import time


def run_shell(job):
    before = time.perf_counter()
    done = subprocess.run(["bash", "-ec", job["sh"]], cwd=job.get("cwd", "/"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=job.get("timeout", 300))
    return {"s": time.perf_counter() - before, "status": done.returncode,
            "stderr": done.stderr.decode(errors="replace")[-400:]}


def stat_all(folder, count):
    """Seconds of a stat of a name that is not there, each another: nobody has the answer but the host."""
    times = []
    for i in range(count):
        before = time.perf_counter()
        try:
            os.lstat(f"{folder}/none-{os.getpid()}-{before}-{i}")
        except FileNotFoundError:
            pass
        times.append(time.perf_counter() - before)
    return times


def transfer(host, port, mode, size):
    """MiB/s of one stream: mode s (we send, the far end confirms with one byte) or r (we receive)."""
    buffer = bytearray(1 << 20)
    with socket.create_connection((host, port), timeout=60) as s:
        before = time.perf_counter()
        s.sendall(mode.encode() + size.to_bytes(8, "big"))
        left = size
        if mode == "s":
            while left:
                part = min(left, len(buffer))
                s.sendall(memoryview(buffer)[:part])
                left -= part
            if s.recv(1) != b"k":
                raise OSError("not confirmed")
        else:
            while left:
                got = s.recv_into(buffer)
                if not got:
                    raise OSError("ended early")
                left -= got
        return size / (1 << 20) / (time.perf_counter() - before)


def transfers(host, port, mode, size, streams):
    """MiB/s of so many at once, which share the size."""
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        before = time.perf_counter()
        list(pool.map(lambda _: transfer(host, port, mode, size // streams), range(streams)))
        return size / (1 << 20) / (time.perf_counter() - before)


def connections(count, runs):
    """Connections to itself that this process makes in a second of its CPU time: the best of some runs. So what others
    on the machine take is not counted, and what a hook in the kernel adds to each is."""
    end_at_once = struct.pack("ii", 1, 0)  # no port rests in TIME_WAIT
    best = 0
    with socket.create_server(("127.0.0.1", 7100), backlog=16) as server:
        time.sleep(0.7)  # whoever watches what listens has seen this one, and rests
        for _ in range(runs):
            before = time.process_time()
            for _ in range(count):
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, end_at_once)
                s.connect(server.getsockname())
                accepted, _ = server.accept()
                s.close()
                accepted.close()
            best = max(best, count / (time.process_time() - before))
    return best


def touch(mib):
    """Has so much memory there, once: in a VM the first use of a page waits for the hypervisor, and whichever candidate
    comes first would pay for it. What is given back here becomes page cache, buffers and processes of the rows."""
    with mmap.mmap(-1, mib << 20) as memory:
        memory[::mmap.PAGESIZE] = b"x" * (len(memory) // mmap.PAGESIZE)


def run_python(job):
    name, args = job["py"], job.get("args", [])
    return {"value": {"stat": stat_all, "transfer": transfer, "transfers": transfers, "connections": connections,
                      "touch": touch}[name](*args), "status": 0}


def main():
    os.environ["GIT_OPTIONAL_LOCKS"] = "0"
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = run_shell(job) if "sh" in job else run_python(job)
        except Exception as error:
            answer = {"status": -1, "stderr": f"{type(error).__name__}: {error}", "s": 0}
        print(json.dumps(answer), flush=True)


main()
