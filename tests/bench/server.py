#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The guest's server of the port rows: takes or gives a stream of a stated length (echo.c is for latency). Listens where
told on stdin ("listen PORT", "close PORT"), and says the monotonic time at which each was done."""
import socket
import sys
import threading
import time

listeners = {}


def serve(s):
    buffer = bytearray(1 << 20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with s:
        while True:
            head = s.recv(1)
            if not head:
                return
            size = b""
            while len(size) < 8:
                size += s.recv(8 - len(size))
            left = int.from_bytes(size, "big")
            while left:
                if head == b"s":
                    got = s.recv_into(buffer)
                    if not got:
                        return
                    left -= got
                else:
                    part = min(left, len(buffer))
                    s.sendall(memoryview(buffer)[:part])
                    left -= part
            if head == b"s":
                s.sendall(b"k")


def serve_until_gone(s):
    try:
        serve(s)
    except ConnectionError:
        pass  # the load is killed in the midst of its stream


def accept(listener):
    while True:
        try:
            s, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve_until_gone, args=(s,), daemon=True).start()


def main():
    for line in sys.stdin:
        verb, port = line.split()
        if verb == "listen":
            listener = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
            threading.Thread(target=accept, args=(listener,), daemon=True).start()
            listeners[port] = listener
        else:
            listener = listeners.pop(port)
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        print(time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)


main()
