# SPDX-License-Identifier: MIT
"""A client of the native requests, small and blocking: raw(type, body) at the wire, one method a request above it.

    with Client.spawn([HOMEPORT, "sftp-server", path]) as c:
        node, attr = c.lookup(ROOT, b"file")
        fh, attr, first = c.open(node, want=65536)

A refused request raises OSError with the server's errno. send() and wait() have several requests under way. What came,
replies and invalidations, is in `arrived` in this order: ("reply", id, stamp) and Invalidation.
"""
import collections
import os
import select
import socket
import stat
import struct
import subprocess

ROOT = 1
REPLY, INVALIDATE = 192, 193
(LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK, MKDIR, MKNOD, UNLINK, RMDIR, RENAME, LINK, OPEN, CREATE, READ,
 WRITE, RELEASE, FSYNC, OPENDIR, READDIR, STATFS, CANCEL, FALLOCATE, SEEK, COPY,
 GETXATTR, SETXATTR, LISTXATTR, REMOVEXATTR, LOCK) = range(128, 158)
TMPFILE = 160
O_READ, O_WRITE, O_APPEND, O_TRUNC, O_EXCL, O_SYNC, O_DSYNC = (1 << i for i in range(7))
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME, SET_ATIME_NOW, SET_MTIME_NOW = (1 << i for i in range(8))
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
AT_THE_END = 2**64 - 1  # the offset of a WRITE that appends
ENTRY_GONE, ATTR_CHANGED, RANGE_CHANGED, SUBTREE_CHANGED, ALL_CHANGED = range(1, 6)

ATTR = struct.Struct(">QQQIIIIIIIIqIqIqIqI")
Attr = collections.namedtuple("Attr", "ino size blocks mode nlink uid gid rdev_major rdev_minor dev flags "
                              "atime atime_ns mtime mtime_ns ctime ctime_ns btime btime_ns")
CHANGE = struct.Struct(">QqIqI")
Change = collections.namedtuple("Change", "size mtime mtime_ns ctime ctime_ns after")
Invalidation = collections.namedtuple("Invalidation", "kind stamp node name offset length")
Entry = collections.namedtuple("Entry", "cookie ino type name node attr")


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, fmt):
        s = fmt if isinstance(fmt, struct.Struct) else struct.Struct(">" + fmt)
        values = s.unpack_from(self.data, self.at)
        self.at += s.size
        return values

    def u64(self):
        return self.take("Q")[0]

    def u32(self):
        return self.take("I")[0]

    def u8(self):
        return self.take("B")[0]

    def string(self):
        n = self.u32()
        assert self.at + n <= len(self.data)
        self.at += n
        return bytes(self.data[self.at - n:self.at])

    def attr(self):
        return Attr(*self.take(ATTR))

    def change(self):
        return Change(*self.take(CHANGE), self.attr())

    def done(self):
        assert self.at == len(self.data), f"{len(self.data) - self.at} bytes too many"


def string(data):
    return struct.pack(">I", len(data)) + data


class Client:
    def __init__(self, sock, process=None, native=True):
        self.sock = sock
        self.process = process
        self.buffer = bytearray()
        self.replies = {}
        self.arrived = []
        self.last = 0
        self.request = 0
        pairs = string(b"native@homeport") + string(b"1") if native else b""
        self.packet(struct.pack(">BI", 1, 3) + pairs)
        version = Reader(self.receive())
        assert version.take("BI") == (2, 3)
        self.extensions = {}
        while version.at < len(version.data):
            name = version.string()
            self.extensions[name] = version.string()
        if native:
            assert self.extensions[b"native@homeport"] == b"1"

    @classmethod
    def spawn(cls, argv, native=True, **kw):
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, **kw)
        try:
            return cls(ours, process, native)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def close(self):
        self.sock.close()
        if self.process:
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- packets

    def packet(self, data):
        self.sock.sendall(struct.pack(">I", len(data)) + data)

    def receive(self, timeout=20):
        while len(self.buffer) < 4 or len(self.buffer) < 4 + int.from_bytes(self.buffer[:4], "big"):
            if not select.select([self.sock], [], [], timeout)[0]:
                raise TimeoutError("no reply")
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError("the server has gone")
            self.buffer += data
        n = int.from_bytes(self.buffer[:4], "big")
        packet = bytes(self.buffer[4:4 + n])
        del self.buffer[:4 + n]
        return packet

    def send(self, kind, body=b""):
        """Sends one request and returns its id for wait()."""
        self.last += 1
        self.packet(struct.pack(">BI", kind, self.last) + body)
        return self.last

    def send_unanswered(self, kind, body):
        self.packet(struct.pack(">BI", kind, 0) + body)

    def wait(self, request, timeout=20):
        """(errno, stamp, Reader of the body) of a request sent."""
        while request not in self.replies:
            packet = self.receive(timeout)
            if packet[0] == INVALIDATE:
                self.arrived.append(self.invalidation(packet))
                continue
            kind, number = struct.unpack_from(">BI", packet)
            assert kind == REPLY, f"a packet of type {kind}: {packet[:80]!r}"
            error, stamp = struct.unpack_from(">IQ", packet, 5)
            self.arrived.append(("reply", number, stamp))
            assert error == 0 or len(packet) == 17
            self.replies[number] = (error, stamp, Reader(packet[17:]))
        return self.replies.pop(request)

    @staticmethod
    def invalidation(packet):
        r = Reader(packet)
        _, kind, stamp, node = r.take("BBQQ")
        found = Invalidation(kind, stamp, node, r.string(), *r.take("QQ"))
        r.done()
        return found

    def told(self):
        """The invalidations since it was last asked, as (kind, node, name)."""
        found = [(i.kind, i.node, i.name) for i in self.arrived if isinstance(i, Invalidation)]
        self.arrived = []
        return found

    def raw(self, kind, body=b"", timeout=20):
        return self.wait(self.send(kind, body), timeout)

    def ask(self, kind, body=b"", timeout=20):
        error, _, reader = self.raw(kind, body, timeout)
        if error:
            raise OSError(error, os.strerror(error))
        return reader

    def caller(self, uid=None, gid=None):
        self.request += 1
        return struct.pack(">QII", self.request, os.geteuid() if uid is None else uid,
                           os.getegid() if gid is None else gid)

    # ---- requests

    def lookup(self, parent, name):
        r = self.ask(LOOKUP, struct.pack(">Q", parent) + string(name))
        found = r.u64(), r.attr()
        r.done()
        return found

    def walk(self, path):
        node = ROOT
        for name in path.split(b"/"):
            node, attr = self.lookup(node, name)
        return node, attr

    def forget(self, *nodes):
        self.send_unanswered(FORGET, struct.pack(">I", len(nodes)) + b"".join(struct.pack(">QQ", n, c) for n, c in nodes))

    def getattr(self, node, fh=0):
        r = self.ask(GETATTR, struct.pack(">QQ", node, fh))
        attr = r.attr()
        r.done()
        return attr

    def setattr(self, node, fh=0, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None, mask=0):
        for bit, value in ((SET_MODE, mode), (SET_UID, uid), (SET_GID, gid), (SET_SIZE, size), (SET_ATIME, atime),
                           (SET_MTIME, mtime)):
            mask |= bit if value is not None else 0
        r = self.ask(SETATTR, self.caller() + struct.pack(">QQIIIIQqIqI", node, fh, mask, mode or 0, uid or 0, gid or 0,
                                                          size or 0, *(atime or (0, 0)), *(mtime or (0, 0))))
        change = r.change()
        r.done()
        return change

    def readlink(self, node):
        r = self.ask(READLINK, struct.pack(">Q", node))
        target = r.string()
        r.done()
        return target

    def _made(self, kind, body, **kw):
        r = self.ask(kind, self.caller(**kw) + body)
        made = r.u64(), r.attr(), r.change()
        r.done()
        return made

    def symlink(self, parent, name, target):
        return self._made(SYMLINK, struct.pack(">Q", parent) + string(name) + string(target))

    def mkdir(self, parent, name, mode=0o755, **kw):
        return self._made(MKDIR, struct.pack(">Q", parent) + string(name) + struct.pack(">I", mode), **kw)

    def mknod(self, parent, name, mode=stat.S_IFREG | 0o644, major=0, minor=0):
        return self._made(MKNOD, struct.pack(">Q", parent) + string(name) + struct.pack(">III", mode, major, minor))

    def link(self, node, parent, name):
        return self._made(LINK, struct.pack(">QQ", node, parent) + string(name))

    def unlink(self, parent, name):
        r = self.ask(UNLINK, self.caller() + struct.pack(">Q", parent) + string(name))
        change = r.change()
        attr = r.attr() if r.u8() else None
        r.done()
        return change, attr

    def rmdir(self, parent, name):
        r = self.ask(RMDIR, self.caller() + struct.pack(">Q", parent) + string(name))
        change = r.change()
        r.done()
        return change

    def rename(self, parent, name, to, new, flags=0):
        r = self.ask(RENAME, self.caller() + struct.pack(">Q", parent) + string(name) + struct.pack(">Q", to) +
                     string(new) + struct.pack(">I", flags))
        changes = r.change(), r.change()
        r.done()
        return changes

    def open(self, node, flags=O_READ, want=0):
        r = self.ask(OPEN, self.caller() + struct.pack(">QII", node, flags, want))
        opened = r.u64(), r.attr(), r.string()
        r.done()
        return opened

    def create(self, parent, name, flags=O_READ | O_WRITE | O_EXCL, mode=0o644, **kw):
        r = self.ask(CREATE, self.caller(**kw) + struct.pack(">Q", parent) + string(name) +
                     struct.pack(">II", flags, mode))
        made = r.u64(), r.attr(), r.u64(), r.change()
        r.done()
        return made

    def tmpfile(self, parent, flags=O_READ | O_WRITE, mode=0o644, **kw):
        r = self.ask(TMPFILE, self.caller(**kw) + struct.pack(">QII", parent, flags, mode))
        made = r.u64(), r.attr(), r.u64()
        r.done()
        return made

    def read(self, fh, offset, length):
        r = self.ask(READ, struct.pack(">QQI", fh, offset, length))
        data = r.string()
        r.done()
        return data

    def write(self, fh, offset, data, **kw):
        r = self.ask(WRITE, self.caller(**kw) + struct.pack(">QQ", fh, offset) + string(data))
        written = r.u32(), r.change()
        r.done()
        return written

    def release(self, fh):
        self.send_unanswered(RELEASE, struct.pack(">Q", fh))

    def fsync(self, fh, data_only=False):
        self.ask(FSYNC, struct.pack(">QB", fh, data_only)).done()

    def opendir(self, node):
        r = self.ask(OPENDIR, struct.pack(">QIB", node, 0, 0))
        opened = r.u64(), r.attr()
        assert r.take("BI") == (0, 0)
        r.done()
        return opened

    def readdir(self, fh, cookie=0, length=32768, plus=True):
        r = self.ask(READDIR, struct.pack(">QQIB", fh, cookie, length, plus))
        end, count, entries = r.u8(), r.u32(), []
        for _ in range(count):
            cookie, ino, kind, flags = r.take("QQBB")
            name = r.string()
            entries.append(Entry(cookie, ino, kind, name, r.u64() if flags else None, r.attr() if flags else None))
        r.done()
        return bool(end), entries

    def listdir(self, node, plus=True, length=32768):
        """Every entry, through as many requests as it takes."""
        fh, _ = self.opendir(node)
        found, cookie, end = [], 0, False
        while not end:
            end, some = self.readdir(fh, cookie, length, plus)
            found += some
            cookie = some[-1].cookie if some else cookie
        self.release(fh)
        return found

    def statfs(self, node=ROOT):
        r = self.ask(STATFS, struct.pack(">Q", node))
        values = r.take("QQQQQQQI")
        r.done()
        return values

    def fallocate(self, fh, mode, offset, length):
        r = self.ask(FALLOCATE, self.caller() + struct.pack(">QIQQ", fh, mode, offset, length))
        change = r.change()
        r.done()
        return change

    def seek(self, fh, offset, what):
        r = self.ask(SEEK, struct.pack(">QQB", fh, offset, what))
        found = r.u64()
        r.done()
        return found

    def copy(self, to, to_offset, source, source_offset, length):
        r = self.ask(COPY, self.caller() + struct.pack(">QQQQQ", to, to_offset, source, source_offset, length))
        copied = r.u64(), r.change()
        r.done()
        return copied

    def lock(self, fh, what, owner, kind, type_, start, length):
        """The attributes; of a test, which lock is in the way."""
        r = self.ask(LOCK, struct.pack(">QBQBBQQ", fh, what, owner, kind, type_, start, length))
        found = r.take("QBBQQ") if what == 1 else r.attr()
        r.done()
        return found

    def getxattr(self, node, name, size=65536):
        r = self.ask(GETXATTR, struct.pack(">Q", node) + string(name) + struct.pack(">I", size))
        found = r.u32(), r.string()
        r.done()
        return found

    def listxattr(self, node, size=65536):
        r = self.ask(LISTXATTR, struct.pack(">QI", node, size))
        found = r.u32(), r.string()
        r.done()
        return found

    def setxattr(self, node, name, value, flags=0):
        r = self.ask(SETXATTR, self.caller() + struct.pack(">Q", node) + string(name) + string(value) +
                     struct.pack(">I", flags))
        change = r.change()
        r.done()
        return change

    def removexattr(self, node, name):
        r = self.ask(REMOVEXATTR, self.caller() + struct.pack(">Q", node) + string(name))
        change = r.change()
        r.done()
        return change

    def cancel(self, request):
        self.send_unanswered(CANCEL, struct.pack(">I", request))
