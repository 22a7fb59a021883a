# SPDX-License-Identifier: MIT
"""UDP servers of the guest answer on the host: each client by a socket of its own, and nothing but servers."""
import socket
import threading
import time

import pytest

from conftest import wait_until
from net import answers, connect, descriptors_of, family_of, listen, network
from raw_peer import hostile

IP_RECVERR = 11
LARGEST = 65507  # RFC 768, over IPv4


@pytest.fixture
def up(homeport):
    homeport.up("--no-mount")
    return homeport


def udp(machine, address="127.0.0.1", timeout=5):
    with network(machine):
        made = socket.socket(family_of(address), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.settimeout(timeout)
    return made


def serve(machine, port, address="127.0.0.1"):
    made = udp(machine, address)
    if ":" in address:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    return made


def client(machine, port, address="127.0.0.1", timeout=5):
    """Connected, so that it hears of errors, and of nobody else."""
    made = udp(machine, address, timeout)
    made.connect((address, port))
    return made


def rows(homeport, port):
    return [row for row in homeport.status()["ports"] if row["proto"] == "udp" and row["guest"].endswith(f":{port}")]


def forwarded(homeport, port, count=1):
    wait_until(lambda: [r["state"] for r in rows(homeport, port)] == ["forwarded"] * count, timeout=3, what=f"UDP port {port}")


def is_open(machine, port, address="127.0.0.1"):
    """Whether a UDP socket is bound there: else the second datagram meets ICMP's answer to the first."""
    one = client(machine, port, address)
    try:
        one.send(b"")
        one.send(b"")
        return True
    except ConnectionRefusedError:
        return False
    finally:
        one.close()


def exchange(one, server, data=b"question"):
    """The question as the server got it from whom, and its answer as the client got it."""
    one.send(data)
    heard, sender = server.recvfrom(1 << 16)
    assert heard == data
    server.sendto(data[::-1], sender)
    assert one.recv(1 << 16) == data[::-1]
    return sender


def test_a_server_answers_on_both_loopbacks(up, host, guest):
    server = serve(guest, 9000)
    forwarded(up, 9000)
    for address in ("127.0.0.1", "::1"):
        exchange(client(host, 9000, address), server)
    row = rows(up, 9000)[0]
    assert row["host"] == ["127.0.0.1:9000", "[::1]:9000"]
    assert (row["connections"], row["bytes_in"], row["bytes_out"]) == (2, 16, 16)


def test_a_server_at_ipv6_alone_and_one_at_every_address(up, host, guest):
    six, every = serve(guest, 9001, "::1"), serve(guest, 9002, "0.0.0.0")
    forwarded(up, 9001)
    forwarded(up, 9002)
    assert exchange(client(host, 9001), six)[0] == "::1"
    assert exchange(client(host, 9002), every)[0] == "127.0.0.1"


def test_each_client_has_a_socket_of_its_own_and_hears_its_own_answers(up, host, guest):
    server = serve(guest, 9003)
    forwarded(up, 9003)
    clients = [client(host, 9003) for _ in range(20)]
    for i, one in enumerate(clients):
        one.send(b"%d" % i)
    senders = {}
    for _ in clients:
        data, sender = server.recvfrom(64)
        senders[data] = sender
    assert len(set(senders.values())) == 20
    for data, sender in reversed(senders.items()):
        server.sendto(b"to " + data, sender)
    for i, one in enumerate(clients):
        assert one.recv(64) == b"to %d" % i
        one.settimeout(0)
        with pytest.raises(BlockingIOError):
            one.recv(64)
    # A stranger in the guest cannot answer in the server's place.
    stranger = udp(guest)
    stranger.sendto(b"lie", senders[b"0"])
    server.sendto(b"truth", senders[b"0"])
    clients[0].settimeout(5)
    assert clients[0].recv(64) == b"truth"


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, LARGEST])
def test_datagrams_keep_their_size(up, host, guest, size):
    server = serve(guest, 9004)
    forwarded(up, 9004)
    data = bytes(i * 7 & 0xff for i in range(size))
    one = client(host, 9004)
    for _ in range(3):
        exchange(one, server, data)


def test_what_is_too_large_for_the_other_family_is_dropped_alone(up, host, guest):
    server = serve(guest, 9005)
    forwarded(up, 9005)
    one = client(host, 9005, "::1")
    one.send(b"x" * 65527)
    exchange(one, server, b"next")


def test_sockets_of_clients_are_no_servers(up, host, guest):
    server, marker = serve(guest, 9006), listen(guest, 9007)
    auto, connected = udp(guest), udp(guest)
    auto.sendto(b"x", ("127.0.0.1", 9006))
    connected.bind(("127.0.0.1", 9008))
    connected.connect(("127.0.0.1", 9006))
    forwarded(up, 9006)
    wait_until(lambda: answers(host, 9007))
    port = auto.getsockname()[1]
    wait_until(lambda: rows(up, port))
    assert rows(up, port)[0]["state"] == "ignored" and "client" in rows(up, port)[0]["reason"]
    assert not rows(up, 9008)
    assert not is_open(host, port) and not is_open(host, 9008)
    server.close()
    marker.close()


def test_ports_of_the_guest_s_own_network_take_a_rule(homeport, host, guest):
    homeport.write_config("dev", "ssh:\n  host: guest\n  configFile: %s\nmounts: []\nportForwards:\n"
                          "- guestPort: 5353\n  hostPort: 15353\n  proto: udp\n"
                          "- guestPort: 41000\n- guestPort: 9010\n  proto: tcp\n  hostPort: 19010\n"
                          % homeport.lab.ssh_config("me"))
    servers = [serve(guest, port, "0.0.0.0") for port in (5353, 5355, 123, 41000, 9010)]
    resolver = serve(guest, 53, "127.0.0.53")
    assert homeport.run("up", "dev").returncode == 0
    homeport.name = "dev"
    forwarded(homeport, 41000)
    forwarded(homeport, 9010)  # the rule for TCP is none for it
    exchange(client(host, 15353), servers[0])
    exchange(client(host, 41000), servers[3])
    exchange(client(host, 9010), servers[4])
    assert rows(homeport, 5353)[0]["host"] == ["127.0.0.1:15353"]
    for port in (53, 123, 5355):
        assert rows(homeport, port)[0]["state"] == "ignored" and "own network" in rows(homeport, port)[0]["reason"]
        assert not is_open(host, port)
    resolver.close()


def test_a_server_that_is_gone_is_gone_on_the_host(up, host, guest):
    server = serve(guest, 9011)
    forwarded(up, 9011)
    one = client(host, 9011)
    exchange(one, server)
    server.close()
    wait_until(lambda: not is_open(host, 9011), timeout=3)
    with pytest.raises(ConnectionRefusedError):
        one.send(b"x")
        one.recv(16)
    again = serve(guest, 9011)
    forwarded(up, 9011)
    exchange(one, again)


def test_a_server_hears_that_a_client_is_gone(up, host, guest):
    server = serve(guest, 9012)
    server.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    forwarded(up, 9012)
    one, other = client(host, 9012), client(host, 9012)
    sender = exchange(one, server)
    exchange(other, server)
    one.close()

    def is_refused():
        try:
            server.sendto(b"hello?", sender)
        except ConnectionRefusedError:
            return True
        return False

    wait_until(is_refused, timeout=3)
    exchange(other, server)
    assert rows(up, 9012)[0]["connections"] == 1


def test_a_port_that_is_taken_is_a_conflict_until_it_is_free(up, host, guest):
    with network(host):
        holder = host.popen(["python3", "-c", "import socket, time; s = socket.socket(type=2); s.bind(('127.0.0.1', 9013));"
                             "print('bound', flush=True); time.sleep(60)"], user="me", stdout=-1)
    assert holder.stdout.readline()
    server = serve(guest, 9013)
    wait_until(lambda: rows(up, 9013) and rows(up, 9013)[0]["state"] == "conflict", timeout=3)
    wait_until(lambda: "python3 (pid" in rows(up, 9013)[0]["reason"], timeout=3)
    listener = listen(guest, 9013)  # TCP's port of the number is another one
    wait_until(lambda: answers(host, 9013), timeout=3)
    holder.kill()
    holder.wait()
    forwarded(up, 9013)
    exchange(client(host, 9013), server)
    listener.close()


def test_clients_are_bounded_and_the_oldest_gives_way(up, host, guest):
    server = serve(guest, 9014)
    forwarded(up, 9014)
    clients = [client(host, 9014) for _ in range(1100)]
    first = exchange(clients[0], server)
    for one in clients[1:]:
        exchange(one, server)
    assert rows(up, 9014)[0]["connections"] == 1024
    assert max(descriptors_of(guest, "homeport-guest serve").values()) < 1024 + 100
    # Who had to give way is served again, as a new client.
    assert exchange(clients[0], server) != first
    exchange(clients[-1], server)


def test_a_flood_is_dropped_and_stands_in_nobodys_way(up, host, guest):
    server, echo = serve(guest, 9015), listen(guest, 9016)
    forwarded(up, 9015)
    wait_until(lambda: answers(host, 9016))
    echo.accept()[0].close()
    one = client(host, 9015)
    sender = exchange(one, server)
    ended = threading.Event()

    def flood():
        while not ended.is_set():
            server.sendto(b"x" * 8192, sender)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        tcp = connect(host, 9016)
        accepted, _ = echo.accept()
        slowest = 0
        for _ in range(100):
            began = time.monotonic()
            tcp.sendall(b"x")
            accepted.sendall(accepted.recv(1))
            assert tcp.recv(1) == b"x"
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1
    finally:
        ended.set()
        thread.join()
    # Nobody read it: it was dropped where it did not fit, and what comes now comes at once.
    while True:
        one.settimeout(0.5)
        try:
            one.recv(1 << 16)
        except TimeoutError:
            break
    one.settimeout(5)
    exchange(one, server)


def test_a_static_port_is_there_before_its_server(homeport, host, guest):
    homeport.write_config("guest", f"""ssh: {{configFile: {homeport.lab.ssh_config()}}}
mounts: []
portForwards:
- {{guestPort: 9030, hostPort: 9130, proto: udp, static: true}}
""")
    homeport.name = "guest"
    assert homeport.run("up", "guest").returncode == 0, homeport.logs()
    forwarded(homeport, 9030)
    one = client(host, 9130, timeout=0.3)
    server = serve(guest, 9030)
    exchange(one, server)
    # The socket itself is no second row, and its end closes nothing.
    assert len(rows(homeport, 9030)) == 1
    server.close()
    server = serve(guest, 9030)
    exchange(client(host, 9130), server)
    forwarded(homeport, 9030)
    server.close()


def test_a_rule_s_address_answers_from_itself(homeport, host, guest):
    homeport.write_config("dev", "ssh:\n  host: guest\n  configFile: %s\nmounts: []\nportForwards:\n"
                          "- guestPort: 9017\n  hostIP: 0.0.0.0\n" % homeport.lab.ssh_config("me"))
    server = serve(guest, 9017)
    assert homeport.run("up", "dev").returncode == 0
    homeport.name = "dev"
    forwarded(homeport, 9017)
    exchange(client(host, 9017), server)
    # A connected client takes an answer from no other address.
    exchange(client(host, 9017, "127.0.0.5"), server)
    exchange(client(guest, 9017, host.address), server)


def test_a_guest_that_sends_no_datagrams_ends_that_client_s_stream_alone(homeport, host, guest, host_home):
    """The first client gets a length beyond any datagram's, the second a FIN, the third a flood, the fourth an answer."""
    with hostile(guest, """
            p.greet()
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORT_ADD, port(1, 9020, proto=17))
            p.control(PORTS_END, struct.pack(">Q", 1))
            ACCEPT, FIN, RESET = 2, 7, 8
            answers = [mux(0, MUX_DATA, b"\\xff\\xff" * 100), mux(0, FIN),
                       mux(0, MUX_DATA, b"\\0\\0" * 8000), mux(0, MUX_DATA, b"\\0\\4fine")]
            streams = []
            while True:
                p.step(None)
                for stream, kind, payload in p.seen:
                    if kind == OPEN and payload[0] == 4:
                        streams.append(stream)
                        p.send(mux(stream, ACCEPT))
                        p.send(struct.pack(">I", stream) + answers[len(streams) - 1][4:])
                    if kind == RESET and stream in streams:
                        with open("/tmp/resets", "a") as f:
                            f.write(f"{streams.index(stream)}\\n")
                p.seen.clear()
            """) as args:
        homeport.up(*args)
        clients = [client(host, 9020) for _ in range(4)]
        for one in clients:
            one.send(b"x")
        assert clients[3].recv(16) == b"fine"
        assert clients[2].recv(16) == b""
        assert homeport.status()["state"] == "connected" and homeport.status()["reconnects"] == 0
        wait_until(lambda: open(guest.path("/tmp/resets")).read() == "0\n1\n", timeout=3)
        assert rows(homeport, 9020)[0]["connections"] == 2


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_client_that_is_silent_is_forgotten(up, host, guest):
    server = serve(guest, 9018)
    forwarded(up, 9018)
    one, other = client(host, 9018), client(host, 9018)
    first, second = exchange(one, server), exchange(other, server)
    for _ in range(10):
        time.sleep(9.5)
        assert exchange(other, server) == second
    assert rows(up, 9018)[0]["connections"] == 1
    assert exchange(one, server) != first


@pytest.mark.long
def test_a_name_server_of_the_guest(up, host, guest):
    """dig(1) of the host asks one that answers over UDP."""
    server = serve(guest, 5300)
    forwarded(up, 5300)

    def answer():
        question, sender = server.recvfrom(512)
        end = question.index(b"\0", 12) + 5
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7])
        server.sendto(question[:2] + b"\x85\x80\0\1\0\1\0\0\0\0" + question[12:end] + record, sender)

    thread = threading.Thread(target=answer)
    thread.start()
    done = host.cmd(["dig", "@127.0.0.1", "-p", "5300", "+short", "+tries=1", "+noedns", "vm.example"], user="me")
    thread.join()
    assert done.stdout == "192.0.2.7\n"
