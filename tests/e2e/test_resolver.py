# SPDX-License-Identifier: MIT
"""The host's name servers in the guest: hostResolver. Questions and answers are made by hand, byte for byte."""
import contextlib
import os
import socket
import struct
import threading

import pytest

from conftest import wait_until
from net import connect, network
from raw_peer import hostile
from test_env import up, write
from test_unix_sockets import row_of

ON = "hostResolver: {enabled: true}\n"


def question(name, kind=1, number=0x1234, more=b""):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, int(bool(more))) + labels + struct.pack(">xHH", kind, 1) + more


def answer(asked, data):
    """Whatever data is: the relay is not to look at it."""
    return asked[:2] + b"\x81\x80" + asked[4:] + data


class NameServer:
    """On UDP and TCP; `reply` makes an answer of a question, None: it says nothing."""

    def __init__(self, machine, address, reply):
        self.reply, self.asked = reply, []
        with network(machine):
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (self.udp, self.tcp):
            one.bind((address, 53))
            one.settimeout(0.1)
        self.tcp.listen(10)
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def serve_udp(self):
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                asked, sender = self.udp.recvfrom(1 << 16)
                self.asked.append(asked)
                said = self.reply(asked)
                if said is not None:
                    self.udp.sendto(said, sender)

    def serve_tcp(self):
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self.tcp.accept()
                with client, client.makefile("rb") as stream:
                    asked = stream.read(struct.unpack(">H", stream.read(2))[0])
                    said = self.reply(asked)
                    client.sendall(struct.pack(">H", len(said)) + said)

    def close(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        self.udp.close()
        self.tcp.close()


@contextlib.contextmanager
def name_servers(host, **servers):
    """resolv.conf of the host, and those that it names: a="127.0.0.53" with what it replies."""
    path = host.path("/etc/resolv.conf")
    before = open(path).read() if os.path.exists(path) else None
    made = [NameServer(host, address, reply) for address, reply in servers.values() if reply]
    resolv_conf(host, *[address for address, _ in servers.values()])
    try:
        yield made
    finally:
        for one in made:
            one.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if before is not None:
            with open(path, "w") as f:
                f.write(before)


def resolv_conf(host, *addresses):
    path = host.path("/etc/resolv.conf")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(path + ".new", "w") as f:
        f.write("".join(f"nameserver {address}\n" for address in addresses))
    os.rename(path + ".new", path)


def ask(guest, asked, port=1053, timeout=10):
    with network(guest):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(timeout)
        client.connect(("127.0.0.153", port))
        client.send(asked)
        return client.recv(1 << 16)


def ask_again(guest, asked):
    """As a resolver does: what a flood leaves no room for is lost on the way."""
    for _ in range(20):
        with contextlib.suppress(TimeoutError):
            return ask(guest, asked, timeout=0.5)
    pytest.fail("no answer to any of twenty")


def ask_tcp(guest, asked, port=1053):
    with connect(guest, port, "127.0.0.153") as client, client.makefile("rb") as stream:
        client.sendall(struct.pack(">H", len(asked)) + asked)
        return stream.read(struct.unpack(">H", stream.read(2))[0])


def test_any_question_and_answer_pass_as_they_are(homeport, host, guest):
    large = os.urandom(4000)
    with name_servers(host, a=("127.0.0.53", lambda asked: answer(asked, large))) as (server,):
        done = up(homeport, ON)
        assert "resolver the name servers: guest 127.0.0.153:1053" in done.stdout
        edns = b"\0" + struct.pack(">HHIH", 41, 4096, 0x8000, 0)
        for asked in (question("example.com"), question("_sip._udp.example", 33), question("x", 65280, 7, edns)):
            assert ask(guest, asked) == answer(asked, large)
            assert server.asked[-1] == asked
            assert ask_tcp(guest, asked) == answer(asked, large)
        rows = [row for row in homeport.status()["ports"] if row["guest"] == "127.0.0.153:1053"]
        assert [(r["proto"], r["process"], r["host"], r["state"]) for r in rows] == [
            ("udp", "resolver", [], "forwarded"), ("tcp", "resolver", [], "forwarded")]
        assert rows[0]["bytes_in"] > 3 * len(large)
        assert "resolver" in homeport.run("status", "guest").stdout
        write(homeport, "")
        assert homeport.run("reload", "guest").stdout == "guest: 1 change made\n"
        wait_until(lambda: not any(row["process"] == "resolver" for row in homeport.status()["ports"]))


def test_as_root_it_is_dnss_own_port_and_libc_can_use_it(homeport, host, guest):
    path = guest.path("/etc/resolv.conf")
    before = open(path).read() if os.path.exists(path) else None
    address = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes((10, 9, 8, 7))

    def reply(asked):
        if asked[-4:-2] != b"\0\1":
            return answer(asked, b"")
        return answer(asked[:6] + b"\0\1" + asked[8:], address)

    with name_servers(host, a=("127.0.0.53", reply)):
        up(homeport, ON, host="guest-root", args=["--no-ports"])
        resolv_conf(guest, "127.0.0.153")
        try:
            found = guest.cmd(["python3", "-c", "import socket; print(socket.gethostbyname('somewhere.example'))"])
        finally:
            os.unlink(path)
            if before is not None:
                with open(path, "w") as f:
                    f.write(before)
        assert found.stdout == "10.9.8.7\n"


def test_one_that_is_silent_or_gone_gives_way_and_the_one_that_answers_is_asked_first(homeport, host, guest):
    with name_servers(host, a=("127.0.0.53", lambda asked: None), b=("127.0.0.54", None),
                      c=("127.0.0.55", lambda asked: answer(asked, b"c"))) as (silent, good):
        up(homeport, ON)
        for number in range(3):
            asked = question("a.b", number=number)
            assert ask(guest, asked) == answer(asked, b"c")
        assert (len(silent.asked), len(good.asked)) == (1, 3)
        # TCP: the one that answers goes first.
        assert ask_tcp(guest, question("t")) == answer(question("t"), b"c")


def test_resolv_conf_is_followed_and_without_anybody_it_fails_at_once(homeport, host, guest):
    with name_servers(host, a=("127.0.0.53", lambda asked: answer(asked, b"a")),
                      b=("127.0.0.54", lambda asked: answer(asked, b"b"))):
        up(homeport, ON)
        asked = question("a.b")
        resolv_conf(host, "127.0.0.54")
        assert ask(guest, asked) == answer(asked, b"b")
        resolv_conf(host, "127.0.0.53")
        assert ask(guest, asked) == answer(asked, b"a")
        resolv_conf(host, "127.0.0.56", "127.0.0.57")
        failed = ask(guest, asked, timeout=1)
        assert failed == asked[:2] + b"\x81\x82" + asked[4:]


def test_names_of_the_configuration_are_answered_here(homeport, host, guest):
    with name_servers(host, a=("127.0.0.53", lambda asked: answer(asked, b"far"))) as (server,):
        up(homeport, "hostResolver:\n  enabled: true\n  hosts: {db.example: 10.1.2.3, db6.example: \"fd00::1\"}\n")
        asked = question("DB.example")
        assert ask(guest, asked)[-4:] == bytes((10, 1, 2, 3))
        assert ask(guest, question("db6.example", 28))[-16:] == bytes([0xfd, 0] + [0] * 13 + [1])
        none = ask(guest, question("db.example", 28))
        assert none[3] & 0xf == 0 and none[6:8] == b"\0\0"
        assert server.asked == []
        assert ask(guest, question("db.example.com")) == answer(question("db.example.com"), b"far")


def test_questions_without_an_answer_are_bounded_and_keep_nobody_from_theirs(homeport, host, guest):
    with name_servers(host, a=("127.0.0.53", lambda asked: answer(asked, b"!") if b"loud" in asked else None)) as (server,):
        up(homeport, ON)
        with network(guest):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.connect(("127.0.0.153", 1053))
            for number in range(2000):
                client.send(question("silent", number=number))
            assert ask_again(guest, question("loud")) == answer(question("loud"), b"!")
        agent = [pid for pid, (_, line) in host.processes().items() if "homeport run" in line]
        assert max(len(os.listdir(f"/proc/{pid}/fd")) for pid in agent) < 600
        # What is no question is asked of nobody.
        before = len(server.asked)
        with network(guest):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.connect(("127.0.0.153", 1053))
            for data in (b"", b"x" * 11, answer(question("loud"), b""), b"\0" * 5000):
                client.send(data)
            assert ask_again(guest, question("loud", number=9)) == answer(question("loud", number=9), b"!")
        assert all(b"silent" in one or one[12:] == question("loud")[12:] for one in server.asked[before:])


def test_a_hostile_guest_reaches_name_servers_alone(homeport, host, guest):
    """It opens what it was given the number of, with words that are no DNS; and whatever it says, goes to port 53."""
    with name_servers(host, a=("127.0.0.53", lambda asked: answer(asked, b""))) as (server,):
        homeport.write_config("guest", f"ssh:\n  configFile: {homeport.lab.ssh_config()}\n{ON}")
        homeport.name = "guest"
        with hostile(guest, """
                p.greet()
                p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
                p.control(PORTS_BEGIN, struct.pack(">Q", 1))
                p.control(PORTS_END, struct.pack(">Q", 1))
                while len(p.listens) < 2:
                    p.step(None)
                for number in p.listens:
                    p.control(LISTEN_STATE, struct.pack(">II", number, 0))
                stream = p.next_id
                p.send(p.open_frame(KIND_REVERSE, struct.pack(">I", p.listens[0])))
                for data in (b"", b"x", b"\\xff" * 200, struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + b"\\xc0\\x0c\\0\\1\\0\\1"):
                    p.send(mux(stream, MUX_DATA, struct.pack(">H", len(data)) + data))
                p.send(mux(stream, FIN))
                p.serve(1)
                open("/tmp/done", "w").close()
                p.serve(30)
                """) as args:
            assert homeport.run("up", *args, "guest").returncode == 0, homeport.logs()
            wait_until(lambda: os.path.exists(guest.path("/tmp/done")))
            assert homeport.status()["state"] == "connected"
            assert all(one[2] & 0x80 == 0 for one in server.asked)


@pytest.mark.parametrize("text, why", [
    ("hostResolver: true\n", "hostResolver: expected keys with values, found text"),
    ("hostResolver: {hosts: {a..b: 1.2.3.4}}\n", "hosts: \"a..b\" is no name of a machine"),
    ("hostResolver: {hosts: {a: b}}\n", "hosts: expected an IP address for a"),
])
def test_mistakes_are_told_with_their_place(homeport, text, why):
    homeport.write_config("bad", text)
    done = homeport.run("config", "check")
    assert done.returncode == 2 and why in done.stderr + done.stdout
