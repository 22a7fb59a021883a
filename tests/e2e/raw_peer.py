# SPDX-License-Identifier: MIT
"""The guest's end of the protocol, small and by hand, for tests in which the guest is hostile.

The host runs it in the guest in place of homeport-guest (`--guest-command "python3 SCRIPT"`): it speaks banner, HELLO,
session frames and mux frames on stdin and stdout, and says whatever a test wants. No more than the standard library.

    with hostile(guest, '''
        p.greet()
        p.control(MOUNT_STATE, mount_state(1, MOUNTED, b"/x", b""))
        p.serve(5)
    ''') as args:
        homeport.up(*args)
"""
import contextlib
import os
import select
import struct
import sys
import time

BANNER = b"\x00homeport\r\n\x01"
HELLO, DATA, ACK, PING, PONG, GOODBYE = range(1, 7)
OPEN, ACCEPT, REFUSE, MUX_DATA, CREDIT, LIMITED, FIN, RESET = range(1, 9)
CONFIG, MOUNT, UNMOUNT, GUEST, MOUNT_STATE, PORTS_BEGIN, PORT_ADD, PORT_REMOVE, PORTS_END, LOG = range(1, 11)
LISTEN, LISTEN_STATE = 11, 12
COUNT, COUNTERS = 18, 19
DIRECT, DIRECT_STATE = 20, 21
KIND_CONTROL, KIND_SFTP, KIND_TCP, KIND_UNIX, KIND_REVERSE = 1, 2, 3, 5, 6
MOUNTING, MOUNTED, FAILED, UNMOUNTED = range(4)
UNKNOWN_SESSION = 4


def string(data):
    return struct.pack(">I", len(data)) + data


def frame(kind, payload):
    return struct.pack(">I", kind << 24 | len(payload)) + payload


def mux(stream, kind, payload=b""):
    return struct.pack(">II", stream, kind << 24 | len(payload)) + payload


def message(kind, body):
    return struct.pack(">IB", len(body) + 1, kind) + body


def mount_state(mount, status, target, text, error=0):
    return struct.pack(">IBI", mount, status, error) + string(target) + string(text)


def port(key, number, address=bytes((127, 0, 0, 1)), process=b"", proto=6, uid=1000, user=b"me", unit=b""):
    return struct.pack(">QBB16sIHBBIQI", key, proto, 4 if len(address) == 4 else 6, address, 0, number, 0, 0, uid, key,
                       1) + string(process) + string(user) + string(unit)


def guest_message(version=b"0.1.0", user=b"me", hostname=b"guest", home=b"/home/me", ssh_port=22):
    return string(version) + string(user) + string(hostname) + string(home) + struct.pack(">IIH", 1000, 1000, ssh_port)


class Peer:
    def __init__(self, rfd=0, wfd=1):
        self.rfd, self.wfd = rfd, wfd
        self.buffer = bytearray()
        self.stream = bytearray()  # of the session: mux frames
        self.received = 0
        self.next_id = 2
        self.seen = []  # mux frames that came: (stream, type, payload)
        self.mounts = []  # ids the host asked for
        self.listens = []  # of LISTEN
        self.counts = []  # of COUNT
        self.directs = []  # (number, way, port, key) of DIRECT
        self.messages = bytearray()
        self.credit = 256 << 10  # of the control stream

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.wfd, view):]

    def fill(self, timeout):
        if not select.select([self.rfd], [], [], timeout)[0]:
            return False
        data = os.read(self.rfd, 1 << 18)
        if not data:
            sys.exit(0)
        self.buffer += data
        return True

    def take(self, n):
        while len(self.buffer) < n:
            self.fill(None)
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def greet(self, mounts=True, **told):
        """Banner, HELLO, control stream, GUEST; returns when the host has asked for its mounts, if it has any."""
        assert self.take(12) == BANNER
        head = struct.unpack(">I", self.take(4))[0]
        hello = self.take(head & 0xffffff)
        version, features = struct.unpack_from(">IQ", hello)
        names, (epoch, _, resume, timeout) = hello[12:76], struct.unpack_from(">QQBI", hello, 76)
        if resume:
            self.write(BANNER + frame(GOODBYE, struct.pack(">I", UNKNOWN_SESSION) + string(b"")))
            sys.exit(0)
        own = struct.pack(">IQ", version, features) + names + struct.pack(">QQBI", epoch, 0, 0, timeout) + \
            string(b"0.1.0")
        self.write(BANNER + frame(HELLO, own))
        while not any(s[:2] == (1, OPEN) for s in self.seen):
            self.step(None)
        self.send(mux(1, ACCEPT))
        self.control(GUEST, guest_message(**told))
        while mounts and not self.mounts:
            self.step(None)

    def step(self, timeout):
        """Takes one frame of the session, if one comes in time."""
        end = None if timeout is None else time.monotonic() + timeout
        while len(self.buffer) < 4 or len(self.buffer) < 4 + (struct.unpack_from(">I", self.buffer)[0] & 0xffffff):
            left = None if end is None else max(0, end - time.monotonic())
            if not self.fill(left):
                return False
        head = struct.unpack(">I", self.take(4))[0]
        self.on_frame(head >> 24, self.take(head & 0xffffff))
        return True

    def on_frame(self, kind, payload):
        if kind == PING:
            self.write(frame(PONG, payload))
        elif kind == GOODBYE:
            sys.exit(0)
        elif kind == DATA:
            self.received += len(payload)
            self.stream += payload
            self.write(frame(ACK, struct.pack(">Q", self.received)))
            while len(self.stream) >= 8:
                stream, head = struct.unpack_from(">II", self.stream)
                n = 8 + (head & 0xffffff)
                if len(self.stream) < n:
                    break
                self.on_mux(stream, head >> 24, bytes(self.stream[8:n]))
                del self.stream[:n]

    def on_mux(self, stream, kind, payload):
        self.seen.append((stream, kind, payload))
        if (stream, kind) == (1, CREDIT):
            self.credit += struct.unpack(">I", payload)[0]
        if stream != 1 or kind != MUX_DATA:
            return
        self.messages += payload
        while len(self.messages) >= 5:
            n, what = struct.unpack_from(">IB", self.messages)
            if len(self.messages) < 4 + n:
                break
            if what == MOUNT:
                self.mounts.append(struct.unpack_from(">I", self.messages, 5)[0])
            if what == LISTEN:
                self.listens.append(struct.unpack_from(">I", self.messages, 5)[0])
            if what == COUNT:
                self.counts.append(struct.unpack_from(">I", self.messages, 5)[0])
            if what == DIRECT:
                number, way, port, _lane, key = struct.unpack_from(">IBHB32s", self.messages, 5)
                self.directs.append((number, way, port, key))
            del self.messages[:4 + n]

    def send(self, data):
        """Mux frames, in DATA frames of the session."""
        for at in range(0, len(data), 32768):
            self.write(frame(DATA, data[at:at + 32768]))

    def control(self, kind, body):
        self.control_many([message(kind, body)])

    def control_many(self, messages, chunk=16384):
        """Many messages, in as few mux frames as go; waits for credit as a peer must."""
        data = b"".join(messages)
        for at in range(0, len(data), chunk):
            piece = data[at:at + chunk]
            while self.credit < len(piece):
                self.step(None)
            self.send(mux(1, MUX_DATA, piece))
            self.credit -= len(piece)

    def open_frame(self, kind, args):
        made = mux(self.next_id, OPEN, bytes((kind,)) + args)
        self.next_id += 2
        return made

    def serve(self, seconds):
        """Answers PINGs and keeps what comes in `seen`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step(max(0, end - time.monotonic()))


@contextlib.contextmanager
def hostile(guest, body, name="hostile.py"):
    """Puts a script that is the guest where the guest finds it; gives the options of `up` that have it run."""
    import inspect
    import textwrap

    folder = "/srv"
    with open(__file__) as f:
        library = f.read()
    os.makedirs(guest.path(folder), exist_ok=True)
    with open(guest.path(f"{folder}/raw_peer.py"), "w") as f:
        f.write(library)
    with open(guest.path(f"{folder}/{name}"), "w") as f:
        f.write("import sys\nsys.path.insert(0, '/srv')\nfrom raw_peer import *\np = Peer()\n" +
                textwrap.dedent(inspect.cleandoc(body)) + "\n")
    yield ["--guest-command", f"python3 {folder}/{name}"]
