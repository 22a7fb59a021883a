# SPDX-License-Identifier: MIT
"""Sockets of this process that live in the network of a lab's machine: a test talks on both sides itself, and times
what happens by one clock."""
import contextlib
import ctypes
import os
import socket
import struct
import threading

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network(machine):
    """What is created inside belongs to the machine's network, and stays there."""
    with open("/proc/self/ns/net") as own, open(f"/proc/{machine.pid}/ns/net") as there:
        if LIBC.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            LIBC.setns(own.fileno(), CLONE_NEWNET)


@contextlib.contextmanager
def name_server(machine, answers=True):
    """The machine asks a name server of its own, which knows no name; or, without answers, one that is not there."""
    files = {"/etc/resolv.conf": "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n", "/etc/nsswitch.conf": "hosts: files dns\n"}
    before = {}
    for name, text in files.items():
        path = machine.path(name)
        with contextlib.suppress(OSError):
            before[path] = open(path).read()
            os.unlink(path)
        with open(path, "w") as f:
            f.write(text)
    with network(machine):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    ended = threading.Event()
    thread = threading.Thread(target=answer_no_such_name, args=[server, ended], daemon=True)
    if answers:
        server.bind(("127.0.0.53", 53))
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if answers:
            thread.join()  # it holds the address for as long as it reads
        server.close()
        for path, text in before.items():
            with open(path, "w") as f:
                f.write(text)


def answer_no_such_name(server, ended):
    """RFC 1035: the question, with the bits of an answer and NXDOMAIN."""
    server.settimeout(0.1)
    while not ended.is_set():
        try:
            question, sender = server.recvfrom(512)
        except TimeoutError:
            continue
        server.sendto(question[:2] + bytes([0x81, 0x83]) + question[4:6] + bytes(6) + question[12:], sender)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def new_socket(machine, address, timeout=5):
    with network(machine):
        made = socket.socket(family_of(address), socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.settimeout(timeout)
    return made


def listen(machine, port, address="127.0.0.1", v6only=True, reuse_port=False):
    made = new_socket(machine, address)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if ":" in address:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    made.bind((address, port))
    made.listen(1024)
    return made


def connect(machine, port, address="127.0.0.1", timeout=5):
    made = new_socket(machine, address, timeout)
    made.connect((address, port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def answers(machine, port, address="127.0.0.1"):
    """Whether anybody listens there: connecting is refused if not (and reset when it ends at this very moment)."""
    try:
        connect(machine, port, address).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        pass
    return True


def reset(sock):
    """Closes as a process does that died with unread data: the other side sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_to_end(sock):
    data = b""
    while True:
        piece = sock.recv(1 << 16)
        if not piece:
            return data
        data += piece


def descriptors_of(machine, command):
    """How many descriptors each process has whose command line holds `command`."""
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid, (_, line) in machine.processes().items() if command in line}
