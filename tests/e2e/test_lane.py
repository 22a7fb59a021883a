# SPDX-License-Identifier: MIT
"""Bulk moves to a connection of its own, live, and nobody who talks through it notices: no byte is lost, doubled or out of
its place, an end is told as the end it was, and what is small does not wait for what is large."""
import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import threading
import time

import pytest

from conftest import serves, stop_process, wait_until
from net import connect, listen, new_socket, read_to_end, reset
from test_direct import CLOSED, direct, nft
from test_unix_sockets import dial, host_path, listen_at, row_of, up as up_with

MIB = 1 << 20
BEGUN = "bulk has a connection of its own"
TUNNEL = "bulk goes on through the session's own connection"
NONE = "bulk has no connection of its own"

SO_SNDBUFFORCE = 32

# No power of two: what is repeated or left out by whole buffers does not look like what belongs there.
BLOCK = random.Random(7).randbytes(3 * MIB + 4099)
PIECE = 256 << 10
DOUBLE = BLOCK + BLOCK[:PIECE]


# ------------------------------------------------------------------------------------------------ bytes on their way


def content(seed, at, n):
    """n bytes, at most PIECE, at this place of this stream."""
    begin = (at + seed * 1000003) % len(BLOCK)
    return DOUBLE[begin:begin + n]


class Task(threading.Thread):
    """A function on a thread; value() is what it returned, or raises what it raised."""

    def __init__(self, function, *args, **kw):
        super().__init__(daemon=True)
        self.call = lambda: function(*args, **kw)
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.call()
        except BaseException as e:  # for whoever asks
            self.error = e

    def value(self, timeout=30):
        self.join(timeout)
        assert not self.is_alive(), f"a transfer has not come to its end within {timeout} s"
        if self.error:
            raise self.error
        return self.result


def send(sock, seed, size=None, halt=None, pace=0.0, fin=True):
    """So many bytes of a stream, or as many as go until `halt` is set; returns how many it was."""
    at = 0
    while at != size and not (halt and halt.is_set()):
        piece = content(seed, at, PIECE if size is None else min(PIECE, size - at))
        sock.sendall(piece)
        at += len(piece)
        if pace:
            time.sleep(pace)
    if fin:
        sock.shutdown(socket.SHUT_WR)
    return at


def receive(sock, seed, pauses=(), size=None):
    """Reads to the end, or so many bytes; each is compared with what belongs in its place. pauses: (after so many bytes,
    seconds). Returns how many it was."""
    at, pauses = 0, sorted(pauses)
    while at != size:
        if pauses and at >= pauses[0][0]:
            time.sleep(pauses.pop(0)[1])
        piece = sock.recv(PIECE if size is None else min(PIECE, size - at))
        if not piece:
            return at
        if piece != content(seed, at, len(piece)):
            wanted = content(seed, at, len(piece))
            raise AssertionError(f"wrong at byte {at + next(i for i in range(len(piece)) if piece[i] != wanted[i])}")
        at += len(piece)
    return at


class Both:
    """A connection with a stream of bytes each way (or one: ways="up", the client sends; "down"); without a size they go on
    until finish()."""

    def __init__(self, client, server, size=None, ways=("up", "down"), seed=0, pace=0.0, pauses=(), patient=True):
        """patient: who has nothing to send ends its direction after the other, not at the beginning."""
        self.client, self.server = client, server
        self.halt = threading.Event()
        self.size = size
        self.tasks = {}
        for sock in (client, server):
            sock.settimeout(60)
        for way, source, target in sorted((("up", client, server), ("down", server, client)), key=lambda w: w[0] not in ways):
            at = seed * 2 + (way == "down")
            if way in ways:
                sender = Task(send, source, at, size, self.halt, pace)
            else:
                sender = Task(self.only_end, source, self.tasks[ways[0]][1] if patient else None)
            self.tasks[way] = (sender, Task(receive, target, at, pauses))

    @staticmethod
    def only_end(sock, after):
        if after:
            after.join()
        sock.shutdown(socket.SHUT_WR)
        return 0

    def finish(self, timeout=40):
        """Ends both streams, insists on every byte, closes, and returns {way: bytes}."""
        if self.size is None:
            self.halt.set()
        count = {way: (sent.value(timeout), got.value(timeout)) for way, (sent, got) in self.tasks.items()}
        self.client.close()
        self.server.close()
        assert all(sent == got for sent, got in count.values()), count
        return {way: sent for way, (sent, _) in count.items()}

    def failures(self, timeout=20):
        """What each end met: {"up sender": error, ...}; for a connection that does not end well."""
        found = {}
        for way, (sent, got) in self.tasks.items():
            for name, task in ((f"{way} sender", sent), (f"{way} reader", got)):
                task.join(timeout)
                assert not task.is_alive(), f"{name} waits for ever"
                assert not isinstance(task.error, AssertionError), task.error
                found[name] = task.error
        self.client.close()
        self.server.close()
        return found

    def was_reset(self):
        """Both ends. A socket tells of it once: to whoever asks first, who reads or who writes."""
        found = self.failures()
        for end in (("up sender", "down reader"), ("down sender", "up reader")):
            assert any(isinstance(found[task], (ConnectionResetError, BrokenPipeError)) for task in end), found


# ---------------------------------------------------------------------------------------------------- what there is


def links(host, guest):
    """{(port of the host, port of the guest)} of established connections between the two, but sshd's."""
    found = set()
    for line in host.cmd(["ss", "-Htn", "state", "established"]).stdout.splitlines():
        address, there = line.split()[3].rsplit(":", 1)
        here = line.split()[2].rpartition(":")[2]
        if address.strip("[]") in (guest.address, guest.address6) and "22" not in (here, there):
            found.add((int(here), int(there)))
    return found


class Session:
    """A session that goes directly, what its agents consist of before bulk comes, and what came since."""

    def __init__(self, homeport, host, guest, name="guest"):
        self.homeport, self.host, self.guest, self.name = homeport, host, guest, name
        direct(homeport)
        # A command may have had a thread for its answer; a watch for ports has descriptors, once it is there.
        wait_until(lambda: "ports: what listens" in homeport.logs(), timeout=5, what="the watch for ports")
        time.sleep(0.2)
        self.own = links(host, guest)
        self.threads = self.count("task")
        self.servers = []

    def agents(self):
        ours = [pid for pid, (_, line) in self.host.processes().items() if line.startswith("homeport run")]
        return {"host": ours[0], "guest": next(iter(serves(self.guest)))}

    def count(self, what):
        """How many threads ("task") or descriptors ("fd") each agent has."""
        return {side: len(os.listdir(f"/proc/{pid}/{what}")) for side, pid in self.agents().items()}

    def lane(self):
        """The port pairs of connections that have come beside the session's own."""
        return links(self.host, self.guest) - self.own

    def said(self, what):
        return self.homeport.logs().count(what)

    def wait_for_lane(self, times=1):
        wait_until(lambda: self.said(BEGUN) == times, timeout=8, what=f"bulk has a connection of its own, time {times}")
        wait_until(lambda: len(self.lane()) == 1, what="one more connection of the two")
        return self.lane()

    def row(self, port):
        return next(row for row in self.homeport.status(self.name)["ports"] if row["guest"].endswith(f":{port}"))

    def passed(self, port):
        row = self.row(port)
        return {"up": row["bytes_in"], "down": row["bytes_out"]}

    def idle(self, port):
        wait_until(lambda: self.row(port)["connections"] == 0, timeout=5, what="no connection is left in the row")

    def as_before(self, before):
        wait_until(lambda: self.count("fd") == before, timeout=5,
                   what=f"as many descriptors as before: {before}; now {self.count('fd')}")

    def forward(self, port, at=None):
        """A server of the guest that answers on the host."""
        server = listen(self.guest, port)
        server.settimeout(15)
        self.servers.append(server)
        wait_until(lambda: f"127.0.0.1:{at or port}" in self.host.listeners(), timeout=5, what=f"port {at or port}")
        return Pairs(self, server, port, at or port)

    def reconnects(self):
        return self.homeport.status(self.name)["reconnects"]


class Pairs:
    """Connections through one forward, both of whose ends are here."""

    def __init__(self, session, server, guest_port, port):
        self.session, self.server, self.guest_port, self.port = session, server, guest_port, port

    def pair(self, buffer=0):
        client = new_socket(self.session.host, "127.0.0.1", timeout=60)
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            client.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 * MIB)
        client.connect(("127.0.0.1", self.port))
        accepted, _ = self.server.accept()
        accepted.settimeout(60)
        return client, accepted

    def both(self, *args, **kw):
        return Both(*self.pair(), *args, **kw)

    def resets(self, who, times):
        """Connections that end with a reset, each a little later, so that some are about to move."""
        for turn in range(times):
            client, server = self.pair()
            near, far = (client, server) if who == "client" else (server, client)
            reader = Task(receive, far, turn)
            send(near, turn, 2 * MIB + turn % 30 * PIECE // 2, fin=False)
            reset(near)
            with pytest.raises(ConnectionResetError):
                reader.value(10)
            far.close()

    def warm(self, times=1):
        """Bulk until there is a lane, and a moment more."""
        flow = self.both(pace=0.002)
        self.session.wait_for_lane(times)
        time.sleep(0.2)
        flow.finish()
        self.session.idle(self.guest_port)


@pytest.fixture
def session(homeport, host, guest):
    homeport.up("--no-mount")
    made = Session(homeport, host, guest)
    yield made
    for server in made.servers:
        server.close()


@pytest.fixture
def firewall(host, guest):
    yield
    for machine in (host, guest):
        machine.cmd(["nft", "flush", "ruleset"])


def kill_link(host, pair):
    """The kernel ends a connection of the host's with a reset, as a router that has forgotten it would."""
    done = host.cmd(["ss", "-Ktn", "state", "established", f"sport = :{pair[0]} and dport = :{pair[1]}"], check=False)
    assert f":{pair[0]}" in done.stdout, done


def drop_link(machine, pair):
    """Its packets vanish, both ways, without a word; those of others pass."""
    a, b = pair
    nft(machine, "table inet cut { chain in { type filter hook input priority 0; tcp sport %d tcp dport %d drop; }; "
                 "chain out { type filter hook output priority 0; tcp sport %d tcp dport %d drop; }; }" % (b, a, a, b))


# ------------------------------------------------------------------------------------------------------ it is exact


@pytest.mark.parametrize("first", ["up", "down"], ids=["to the guest", "from the guest"])
def test_bulk_moves_to_a_connection_of_its_own_and_every_byte_arrives(session, host, first):
    forward, total = session.forward(9100), {"up": 0, "down": 0}
    for ways in ([first], ["up", "down"]):
        flow = forward.both(200 * MIB, ways=ways)
        lane = next(iter(session.wait_for_lane()))
        assert session.row(9100)["connections"] == 1
        total = {way: n + 200 * MIB * (way in ways) for way, n in total.items()}
        assert flow.finish() == {way: 200 * MIB * (way in ways) for way in total}
        session.idle(9100)
        assert session.passed(9100) == total
        assert session.count("task") == {side: n + 1 for side, n in session.threads.items()}
        # It is there that the bytes went, not beside it.
        told = host.cmd(["ss", "-Htni", "state", "established", f"sport = :{lane[0]} and dport = :{lane[1]}"]).stdout
        for way, field in (("up", "bytes_acked"), ("down", "bytes_received")):
            if way in ways:
                assert int(re.search(rf"{field}:(\d+)", told).group(1)) > total[way] - 50 * MIB, told
    assert session.lane() == {lane} and session.said(BEGUN) == 1
    assert session.reconnects() == 0


def test_many_at_once_some_short_some_long(session):
    forward = session.forward(9101)
    sizes = [1, 70000, 2 * MIB, 4 * MIB, 4 * MIB + 1, 9 * MIB, 30 * MIB, 48 * MIB]
    for turn in range(2):
        flows = [forward.both(size, seed=seed) for seed, size in enumerate(sizes)]
        for flow in flows:
            flow.finish()
    session.idle(9101)
    assert session.passed(9101) == {"up": 2 * sum(sizes), "down": 2 * sum(sizes)}
    session.wait_for_lane()


def test_what_ends_at_about_the_time_it_moves_ends_as_it_would(session):
    """4 MiB are what it takes: FIN and LEAVE cross on their way, in every order."""
    forward = session.forward(9102)
    forward.warm()
    before, total = session.count("fd"), session.passed(9102)
    rng = random.Random(3)
    for turn in range(60):
        size = 4 * MIB + rng.choice([-1, 0, 1, -PIECE, PIECE, rng.randrange(2 * MIB)])
        ways = rng.choice([["up"], ["down"], ["up", "down"]])
        done = forward.both(size, ways=ways, seed=turn, patient=turn % 3 > 0).finish()
        total = {way: total[way] + done[way] for way in total}
    session.idle(9102)
    assert session.passed(9102) == total
    session.as_before(before)


def test_a_reader_that_stops_while_it_would_move_reads_on(session):
    forward = session.forward(9103)
    for turn in range(2):  # when there is none yet, and when there is one
        flows = [forward.both(16 * MIB, seed=i, pauses=[(at, 1.3)])
                 for i, at in enumerate([MIB, 2 * MIB - 1, 3 * MIB, 4 * MIB - PIECE, 4 * MIB, 4 * MIB + PIECE, 6 * MIB])]
        for flow in flows:
            flow.finish()
    session.idle(9103)
    assert session.passed(9103) == {"up": 14 * 16 * MIB, "down": 14 * 16 * MIB}
    session.wait_for_lane()


def test_question_and_answer_of_64_kib_go_on_while_it_moves(session):
    """Nothing is queued when it leaves, and each waits for the other: whoever forgot to read or to tell would hang."""
    forward = session.forward(9104)
    client, server = forward.pair()

    def answer():
        at = 0
        while receive_exactly(server, 1, at, 65536):
            server.sendall(content(2, at, 65536))
            at += 65536
        server.close()
        return at

    def receive_exactly(sock, seed, at, n):
        data = b""
        while len(data) < n:
            piece = sock.recv(n - len(data))
            if not piece:
                assert not data
                return False
            data += piece
        assert data == content(seed, at, n)
        return True

    task, at = Task(answer), 0
    while at < 160 * MIB:
        client.sendall(content(1, at, 65536))
        assert receive_exactly(client, 2, at, 65536)
        at += 65536
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    assert task.value() == at
    client.close()
    session.wait_for_lane()


def test_a_half_closed_connection_gets_its_answer(session):
    forward = session.forward(9105)
    for _ in range(2):  # without a lane yet, and with one
        client, server = forward.pair()

        def digest(server=server):
            total = hashlib.sha256()
            while piece := server.recv(PIECE):
                total.update(piece)
            server.sendall(total.digest())
            server.close()

        task = Task(digest)
        send(client, 5, 64 * MIB)
        wanted = hashlib.sha256()
        for at in range(0, 64 * MIB, PIECE):
            wanted.update(content(5, at, PIECE))
        assert read_to_end(client) == wanted.digest()
        task.value()
        client.close()
        session.wait_for_lane()
    session.idle(9105)


# ------------------------------------------------------------------------------------------------- how it ends


def test_a_reset_while_it_rides_is_a_reset_on_the_other_side(session):
    forward = session.forward(9106)
    forward.warm()
    before = session.count("fd")
    for turn in range(10):
        client, server = forward.pair()
        near, far = (client, server) if turn % 2 else (server, client)
        sender = Task(send, near, 1, 8 * MIB, fin=False)
        assert receive(far, 1, size=8 * MIB) == 8 * MIB
        sender.value()
        reset(near)
        with pytest.raises(ConnectionResetError):
            far.recv(1)
        far.close()
    session.idle(9106)
    session.as_before(before)
    assert session.said(BEGUN) == 1 and len(session.lane()) == 1


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_in_the_middle_of_the_stream_is_no_end_of_file(session, who):
    """Whatever the reader has by then, it must not take it for all there is."""
    forward = session.forward(9107)
    forward.warm()
    before = session.count("fd")
    forward.resets(who, 90)
    session.idle(9107)
    session.as_before(before)


@pytest.fixture
def small_buffers(host):
    """What a reader does not read is with the agent, not with the kernel."""
    usual = host.cmd(["sysctl", "-n", "net.ipv4.tcp_wmem"]).stdout.strip()
    host.cmd(["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 16384 65536"])
    yield
    host.cmd(["sysctl", "-qw", f"net.ipv4.tcp_wmem={usual}"])


@pytest.mark.parametrize("owed", [0, 300 << 10], ids=["nothing was on its way to it", "something was on its way to it"])
def test_a_client_that_resets_just_when_it_moves_is_a_reset_for_the_server(session, small_buffers, owed):
    """The guest's agent stands still, and so the host's has said that the connection leaves, and waits for the answer. What
    is on its way to the client cannot be written then."""
    forward = session.forward(9108)
    forward.warm()
    before, agent, passed = session.count("fd"), session.agents()["guest"], session.passed(9108)["down"]
    client, server = forward.pair(buffer=4096)
    server.sendall(bytes(owed))
    time.sleep(0.1)
    sent = 4 * MIB - (64 << 10) - (session.passed(9108)["down"] - passed)  # it moves with the second two MiB
    sender = Task(send, client, 1, sent, fin=False)
    assert receive(server, 1, size=sent) == sent
    sender.value()
    stop_process(agent)
    try:
        client.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            client.sendall(content(1, sent, PIECE) * 8)
        reset(client)
        time.sleep(0.1)
    finally:
        os.kill(agent, signal.SIGCONT)
    with pytest.raises(ConnectionResetError):
        while server.recv(PIECE):
            pass
    server.close()
    session.idle(9108)
    session.as_before(before)


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.long)],
                         ids=["a moment after it began", "a while after"])
def test_the_guests_agent_is_killed_under_load(session, guest, again):
    """again: the next session goes directly, which the one of a connection that broke at once would not."""
    time.sleep(11 if again else 0)
    forward = session.forward(9109)
    flow = forward.both(pace=0.002)
    session.wait_for_lane()
    os.kill(session.agents()["guest"], signal.SIGKILL)
    flow.was_reset()
    wait_until(lambda: serves(guest) and session.homeport.status()["state"] == "connected", timeout=15)
    wait_until(lambda: session.row(9109)["state"] == "forwarded", what="the port is there again")
    session.idle(9109)
    if again:
        direct(session.homeport)
    passed = session.passed(9109)
    flow = forward.both(64 * MIB)
    flow.finish()
    session.idle(9109)
    assert session.passed(9109) == {way: n + 64 * MIB for way, n in passed.items()}
    if again:
        assert session.said(BEGUN) == 2


def test_down_while_it_rides_ends_it_and_leaves_nothing(session, host, guest):
    forward = session.forward(9110)
    flows = [forward.both(pace=0.002, seed=i) for i in range(3)]
    session.wait_for_lane()
    time.sleep(0.2)
    began = time.monotonic()
    session.homeport.down()
    assert time.monotonic() - began < 3
    for flow in flows:
        flow.was_reset()
    wait_until(lambda: not links(host, guest), what="no connection is left between the two")
    wait_until(lambda: not [line for _, line in host.processes().values() if line.startswith("homeport run")], timeout=2,
               what="the agent has ended")
    assert session.said(TUNNEL) == 0, "it ends, and does not go on"


@pytest.mark.parametrize("how", ["unforward", "reload"])
def test_what_rides_outlives_its_rule_as_any_connection_does(homeport, host, guest, how):
    rest = {"guestPort": 9112, "ignore": "true"}
    up_with(homeport, [rest] if how == "unforward" else [{"guestPort": 9111, "hostPort": 19111}, rest])
    if how == "unforward":
        assert homeport.run("forward", "guest", "19111:9111").returncode == 0
    session = Session(homeport, host, guest)
    forward = session.forward(9111, at=19111)
    with contextlib.closing(forward.server):
        forward.warm()
        before = session.count("fd")
        flows = [forward.both(pace=0.002, seed=i) for i in range(2)]
        time.sleep(0.4)
        if how == "unforward":
            done = homeport.run("unforward", "guest", "19111")
        else:
            up_text = "ssh: {configFile: %s}\nmounts: []\nportForwards: [{guestPort: 9111, ignore: true}, {guestPort: 9112, ignore: true}]\n"
            homeport.write_config("guest", up_text % homeport.lab.ssh_config())
            done = homeport.run("reload", "guest")
        assert done.returncode == 0, done
        wait_until(lambda: "127.0.0.1:19111" not in host.listeners(), timeout=5, what="the rule has gone")
        time.sleep(0.3)
        for flow in flows:
            assert min(flow.finish().values()) > 4 * MIB
    wait_until(lambda: all(n <= before[side] for side, n in session.count("fd").items()), timeout=5,
               what=f"no more descriptors than before: {before}; now {session.count('fd')}")
    assert session.reconnects() == 0 and session.lane()


# --------------------------------------------------------------------------------------------------------- what breaks


@pytest.mark.parametrize("side", ["host", "guest"])
def test_the_lanes_own_connection_is_killed_and_bulk_goes_on_through_the_sessions(session, host, guest, side):
    forward = session.forward(9113)
    flows = [forward.both(pace=0.002, seed=i) for i in range(2)]
    pair = next(iter(session.wait_for_lane()))
    time.sleep(0.2)
    kill_link(host if side == "host" else guest, pair if side == "host" else pair[::-1])
    wait_until(lambda: session.said(TUNNEL) == 1, timeout=3, what="the log says so")
    time.sleep(0.5)
    late = forward.both(20 * MIB, seed=9)
    late.finish()
    done = [flow.finish() for flow in flows]
    session.idle(9113)
    assert session.passed(9113) == {way: sum(one[way] for one in done) + 20 * MIB for way in ("up", "down")}
    assert all(n > 4 * MIB for one in done for n in one.values()), done
    assert session.reconnects() == 0 and not session.lane()


def test_the_lanes_own_connection_dies_silently_and_bulk_goes_on(session, host, firewall):
    forward = session.forward(9114)
    flow = forward.both(pace=0.004)
    pair = next(iter(session.wait_for_lane()))
    time.sleep(0.2)
    drop_link(host, pair)
    wait_until(lambda: session.said(TUNNEL) == 1, timeout=8, what="the loss is noticed")
    passed = session.passed(9114)
    wait_until(lambda: all(n > passed[way] + 8 * MIB for way, n in session.passed(9114).items()), timeout=5, every=0.1,
               what="it goes on")
    done = flow.finish()
    session.idle(9114)
    assert session.passed(9114) == done
    assert session.reconnects() == 0


@pytest.mark.parametrize("what", ["the connection", "the login"])
def test_with_the_sessions_connection_or_its_login_the_lanes_is_given_up_and_bulk_goes_on(session, host, guest, what):
    forward = session.forward(9115)
    flow = forward.both(pace=0.002)
    lane = session.wait_for_lane()
    if what == "the connection":
        kill_link(host, next(iter(session.own)))
    else:
        guest.cmd("pkill -KILL -f '^sshd: me'")
    wait_until(lambda: session.reconnects() == 1, what="the session has noticed")
    wait_until(lambda: not lane & links(host, guest), what="the lane's connection is gone")
    time.sleep(0.5)
    done = flow.finish()
    session.idle(9115)
    assert session.passed(9115) == done


def test_the_whole_link_is_cut_under_load_and_comes_back(session, lab):
    """For a moment, which nobody notices, and for longer than either session waits."""
    forward = session.forward(9116)
    flows = [forward.both(pace=0.002, seed=i) for i in range(3)]
    session.wait_for_lane()
    for seconds in (1, 5):
        time.sleep(0.2)
        lab.link_cut()
        time.sleep(seconds)
        lab.link_restore()
        wait_until(lambda: session.homeport.status()["state"] == "connected", timeout=15)
        passed = session.passed(9116)
        wait_until(lambda: all(n > passed[way] + 4 * MIB for way, n in session.passed(9116).items()), timeout=15, every=0.1,
                   what="it goes on")
    done = [flow.finish() for flow in flows]
    session.idle(9116)
    assert session.passed(9116) == {way: sum(one[way] for one in done) for way in ("up", "down")}


def test_after_all_that_could_break_has_broken_in_turn_it_is_exact(session, lab, host, guest):
    """The lane's connection, then, while it goes through the session's, that one, the login, and the cable."""
    forward = session.forward(9117)
    flow = forward.both(pace=0.004)
    kill_link(host, next(iter(session.wait_for_lane())))
    wait_until(lambda: session.said(TUNNEL) >= 1, timeout=3, what="it goes on through the session")
    time.sleep(0.3)
    for link in links(host, guest):
        kill_link(host, link)
    wait_until(lambda: session.reconnects() == 1, what="the session has noticed")
    time.sleep(0.3)
    for pid, (_, line) in guest.processes().items():
        if line.startswith("sshd: me@notty"):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: session.reconnects() == 2, what="a new login")
    time.sleep(0.3)
    lab.link_cut()
    time.sleep(5)
    lab.link_restore()
    wait_until(lambda: session.homeport.status()["state"] == "connected", timeout=15)
    passed = session.passed(9117)
    wait_until(lambda: all(n > passed[way] for way, n in session.passed(9117).items()), timeout=15, every=0.1,
               what="it goes on")
    done = flow.finish()
    session.idle(9117)
    assert session.passed(9117) == done
    fresh = forward.both(8 * MIB, seed=3)
    fresh.finish()


def test_an_agent_that_stands_still_for_a_moment_loses_nothing(session):
    forward = session.forward(9118)
    flows = [forward.both(24 * MIB, seed=i, pace=0.002) for i in range(4)]
    agents = session.agents()
    for side in ("host", "guest") * 3:
        pid = agents[side]
        time.sleep(0.05)
        stop_process(pid)
        time.sleep(0.2)
        os.kill(pid, signal.SIGCONT)
    for flow in flows:
        flow.finish()
    session.idle(9118)
    assert session.passed(9118) == {"up": 96 * MIB, "down": 96 * MIB}


# -------------------------------------------------------------------------------------------------------- who has one


def test_a_unix_socket_carries_bulk_there_too(homeport, host, guest):
    path = "/run/lock/bulk.sock"
    server = listen_at(guest, path)
    up_with(homeport, [{"guestSocket": path, "hostSocket": "bulk.sock"}])
    session = Session(homeport, host, guest)
    client = dial(host.path(host_path(homeport, "bulk.sock")), timeout=60)
    flow = Both(client, server.accept()[0])
    session.wait_for_lane()
    time.sleep(0.3)
    done = flow.finish()
    wait_until(lambda: row_of(homeport, path)["connections"] == 0)
    row = row_of(homeport, path)
    assert {"up": row["bytes_in"], "down": row["bytes_out"]} == done
    # And its resets, where only one kind of socket has them.
    client = dial(host.path(host_path(homeport, "bulk.sock")), timeout=60)
    accepted, _ = server.accept()
    accepted.settimeout(60)
    flow = Both(client, accepted, 96 * MIB)
    flow.finish()
    server.close()


def test_a_reverse_forward_carries_bulk_there_too(homeport, host, guest):
    server = listen(host, 9120)
    server.settimeout(15)
    up_with(homeport, [{"guestPort": 9121, "hostPort": 9120, "reverse": "true"}])
    session = Session(homeport, host, guest)
    client = connect(guest, 9121, timeout=60)
    flow = Both(client, server.accept()[0])
    session.wait_for_lane()
    time.sleep(0.3)
    done = flow.finish()
    wait_until(lambda: row_of(homeport, "127.0.0.1:9121")["connections"] == 0)
    row = row_of(homeport, "127.0.0.1:9121")
    assert {"down": row["bytes_in"], "up": row["bytes_out"]} == done
    # A reset of either end while it rides.
    for client_resets in (True, False):
        client = connect(guest, 9121, timeout=60)
        accepted, _ = server.accept()
        accepted.settimeout(60)
        near, far = (client, accepted) if client_resets else (accepted, client)
        sender = Task(send, near, 4, 12 * MIB, fin=False)
        receive(far, 4, size=12 * MIB)
        sender.value()
        reset(near)
        with pytest.raises(ConnectionResetError):
            far.recv(1)
        far.close()
    wait_until(lambda: row_of(homeport, "127.0.0.1:9121")["connections"] == 0)
    server.close()


@pytest.mark.parametrize("alias, way", [("guest6", "in"), ("guest", "out")], ids=["IPv6", "the host listens"])
def test_it_comes_about_as_the_sessions_own_did(homeport, host, guest, firewall, alias, way):
    if way == "out":
        nft(guest, CLOSED)
    before = set(guest.listeners()) | set(host.listeners())
    homeport.up("--no-mount", host=alias)
    session = Session(homeport, host, guest, alias)
    forward = session.forward(9119)
    with contextlib.closing(forward.server):
        flow = forward.both(pace=0.002)
        session.wait_for_lane()
        assert {at for at in (set(guest.listeners()) | set(host.listeners())) - before if not at.endswith(":9119")} == set()
        kill_link(host, next(iter(session.lane())))
        wait_until(lambda: session.said(TUNNEL) == 1, timeout=3, what="the log says so")
        time.sleep(0.3)
        done = flow.finish()
        session.idle(9119)
        assert session.passed(9119) == done
    assert {row["guest"].rpartition(":")[2] for row in homeport.status()["ports"]} <= {"22", "9119"}, "it is no port of the guest's"


def test_without_a_direct_connection_bulk_stays_where_it_is(homeport, host, guest):
    homeport.write_config("guest", f"ssh: {{host: guest, configFile: {homeport.lab.ssh_config()}, direct: false}}\nmounts: []\n")
    homeport.name = "guest"
    assert homeport.run("up", "guest").returncode == 0
    server = listen(guest, 9122)
    wait_until(lambda: "127.0.0.1:9122" in host.listeners(), timeout=5)
    client = connect(host, 9122)
    Both(client, server.accept()[0], 48 * MIB).finish()
    server.close()
    assert not links(host, guest)
    assert BEGUN not in homeport.logs() and NONE not in homeport.logs()


def test_where_a_second_connection_does_not_come_about_bulk_stays_where_it_is(session, host, guest, firewall):
    """What is allowed no more when the session has its own: said once, and not asked for again with each connection."""
    forward = session.forward(9123)
    for machine in (host, guest):
        nft(machine, "table inet closed { chain in { type filter hook input priority 0; iif lo accept; "
                     "tcp flags & (syn|ack) == syn drop; }; }")
    flow = forward.both(pace=0.004)
    wait_until(lambda: session.said(NONE) == 1, timeout=12, what="it is said why there is none")
    done = flow.finish()
    more = forward.both(32 * MIB)
    more.finish()
    session.idle(9123)
    assert session.passed(9123) == {way: n + 32 * MIB for way, n in done.items()}
    assert session.said(NONE) == 1 and session.said(BEGUN) == 0 and not session.lane()
    assert session.reconnects() == 0


def test_two_sessions_to_one_guest_have_one_each(homeport, host, guest):
    sessions = []
    for name, port in (("one", 19124), ("two", 19125)):
        homeport.up("--no-mount", "--name", name, "--port-forward", f"{port}:9124")
        direct(homeport)
    server = listen(guest, 9124)
    server.settimeout(15)
    wait_until(lambda: {"127.0.0.1:19124", "127.0.0.1:19125"} <= host.listeners(), timeout=5)
    own = links(host, guest)
    assert len(own) == 2
    flows = []
    for i in range(4):
        client = connect(host, 19124 + i % 2)
        flows.append(Both(client, server.accept()[0], seed=i, pace=0.002))
    wait_until(lambda: len(links(host, guest) - own) == 2, timeout=8, what="one more connection for each session")
    time.sleep(0.3)
    # What one of them loses is not the other's.
    homeport.down("one")
    flows[0].was_reset()
    flows[2].was_reset()
    for flow in (flows[1], flows[3]):
        flow.finish()
    assert len(links(host, guest)) == 2
    homeport.name = "two"
    assert homeport.status()["reconnects"] == 0
    server.close()
    homeport.down("two")


# -------------------------------------------------------------------------------------------- what is small is quick

ECHO = r"""
import socket
listener = socket.create_server(("127.0.0.1", 9130))
print("there", flush=True)
while True:
    s = listener.accept()[0]
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := s.recv(4096):
        s.sendall(data)
"""

PING = r"""
import socket, statistics, time
s = socket.create_connection(("127.0.0.1", 9130))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
took = []
for i in range(300):
    message = b"%064d" % i
    began = time.monotonic()
    s.sendall(message)
    assert s.recv(64) == message
    took.append(time.monotonic() - began)
    time.sleep(0.002)
print(statistics.median(took))
"""


def test_what_is_small_does_not_wait_for_what_is_large(homeport, host, guest, host_home):
    data = os.urandom(MIB)
    host_home.write("file", data)
    homeport.up("--mount", f"{host_home.inside}:/srv/home")
    session = Session(homeport, host, guest)
    assert guest.popen(["python3", "-c", ECHO], user="me", stdout=-1).stdout.readline()
    forward = session.forward(9131)
    wait_until(lambda: "127.0.0.1:9130" in host.listeners(), timeout=5)
    flows = [forward.both(ways=["up"] if i % 2 else ["down"], seed=i) for i in range(4)]
    session.wait_for_lane()
    time.sleep(0.3)
    median = float(host.cmd(["python3", "-c", PING], user="me").stdout)
    digest = guest.cmd(["sha256sum", "/srv/home/file"], user="me", timeout=10).stdout.split()[0]
    done = [flow.finish() for flow in flows]
    print(f"beside {sum(sum(one.values()) for one in done) >> 20} MiB of bulk an echo takes {median * 1e6:.0f} µs")
    assert digest == hashlib.sha256(data).hexdigest()
    assert median < 0.005
    assert session.reconnects() == 0


# ------------------------------------------------------------------------------------------------ and it goes again


@pytest.mark.long
@pytest.mark.timeout(150)
def test_a_lane_that_carries_nothing_ends_and_the_next_bulk_begins_another(session):
    forward = session.forward(9140)
    client, server = session.forward(9141).pair()  # an idle connection is none of its business
    before = session.count("fd")
    forward.warm()
    forward.resets("server", 60)  # what was about to move and did not is not waited for
    for times in (2, 3):
        time.sleep(25)
        assert len(session.lane()) == 1, "it stays for a while"
        wait_until(lambda: not session.lane(), timeout=45, every=0.2, what="it ends")
        wait_until(lambda: session.count("task") == session.threads, timeout=3, what="its threads have gone")
        session.as_before(before)
        forward.warm(times)
    client.sendall(b"still there")
    assert server.recv(100) == b"still there"
    client.close()
    server.close()
