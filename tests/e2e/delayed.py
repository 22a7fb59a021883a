# SPDX-License-Identifier: MIT
"""python3 delayed.py MILLISECONDS COMMAND...: runs COMMAND, and what passes through its stdin and stdout takes so long."""
import collections
import os
import select
import subprocess
import sys
import time


def main():
    delay, command = float(sys.argv[1]) / 1000, sys.argv[2:]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    ways = [(0, child.stdin.fileno(), collections.deque()), (child.stdout.fileno(), 1, collections.deque())]
    live = {0, child.stdout.fileno()}
    while live or any(q for _, _, q in ways):
        due = min((q[0][0] for _, _, q in ways if q), default=None)
        wait = None if due is None else max(0.0, due - time.monotonic())
        for fd in select.select(list(live), [], [], wait)[0]:
            queue = next(q for source, _, q in ways if source == fd)
            data = os.read(fd, 1 << 20)
            queue.append((time.monotonic() + delay, data))
            if not data:
                live.discard(fd)
        for _, target, queue in ways:
            while queue and queue[0][0] <= time.monotonic():
                data = queue.popleft()[1]
                if not data:
                    os.close(target)
                while data:
                    data = data[os.write(target, data):]
        if child.stdout.fileno() not in live and not ways[1][2]:
            break
    sys.exit(child.wait())


try:
    main()
except BrokenPipeError:  # whoever ran this has gone
    sys.exit(1)
