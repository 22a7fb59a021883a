# SPDX-License-Identifier: MIT
"""The libssh in use rejects what was changed on the way. Version numbers do not tell: vanilla 0.10.6 does not verify
GCM tags (CVE-2026-59847) and Debian's of the same number does, so a proxy flips one bit of a running connection."""
import subprocess

import pytest

from link_probe import run

# Forwards to the guest; flips a bit of one direction's byte number `at`, if `at` is not negative.
PROXY = """
import select, socket, sys
guest, direction, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
listener = socket.create_server(("127.0.0.1", 2222))
print("ready", flush=True)
client, _ = listener.accept()
server = socket.create_connection((guest, 22))
ends = {client: (server, "up"), server: (client, "down")}
seen = {"up": 0, "down": 0}
while True:
    for s in select.select(list(ends), [], [])[0]:
        to, way = ends[s]
        data = bytearray(s.recv(65536))
        if not data:
            sys.exit()
        if way == direction and seen[way] <= at < seen[way] + len(data):
            data[at - seen[way]] ^= 0x04
            print("flipped", flush=True)
        seen[way] += len(data)
        to.sendall(data)
"""

SIZE = 8 << 20
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]


class Proxy:
    def __init__(self, lab, direction, at):
        self._process = lab.host.popen(["/usr/bin/python3", "-c", PROXY, lab.guest.address, direction, str(at)],
                                       stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        assert self._process.stdout.readline() == "ready\n"
        return self

    def flipped(self):
        self._process.kill()
        return self._process.stdout.read() == "flipped\n"

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def pull(lab, cipher, direction, at, *args, command=f"head -c {SIZE} /dev/zero"):
    with Proxy(lab, direction, at) as proxy:
        status, lines, _ = run(lab, "-o", "HostName=127.0.0.1", "-p", "2222", "-o", f"HostKeyAlias={lab.guest.address}",
                               "-o", f"Ciphers={cipher}", "-z", *(args or ("-r", str(SIZE))), "guest", command)
        return status, lines, proxy.flipped()


@pytest.mark.parametrize("cipher", CIPHERS)
def test_untouched_everything_arrives(lab, cipher):
    status, lines, _ = pull(lab, cipher, "down", -1)
    assert status == 0
    assert lines[0].endswith(cipher)
    assert any(line.startswith(f"received {SIZE} bytes") for line in lines)


@pytest.mark.parametrize("cipher", CIPHERS)
# Three places far apart in a stream of packets of 32 KiB, and a run of neighbours that covers a length, or a tag.
@pytest.mark.parametrize("at", [100_000, 1_234_567, 5_000_000])
def test_a_flipped_bit_ends_the_connection(lab, cipher, at):
    status, lines, flipped = pull(lab, cipher, "down", at)
    assert flipped
    assert status == 3
    closed = next(line for line in lines if line.startswith("closed "))
    received = int(closed.split()[3])
    assert closed.startswith("closed -104 after") and "the connection was lost" in closed
    assert received <= at
    assert not [line for line in lines if "not zero" in line]


@pytest.mark.timeout(180)
def test_a_flipped_bit_at_each_place_of_a_packet_ends_the_connection(lab):
    """A packet of 100 bytes of data is 132 bytes on the wire: 4 of length, 112 encrypted, 16 of tag."""
    for at in range(8_000, 8_132, 11):
        status, lines, flipped = pull(lab, CIPHERS[0], "down", at,
                                      command="for i in $(seq 400); do head -c 100 /dev/zero; sleep 0.002; done; sleep 5")
        assert flipped
        assert status == 3, lines
        assert int(next(line for line in lines if line.startswith("closed ")).split()[3]) <= at


def test_the_guest_rejects_a_flipped_bit_too(lab):
    status, lines, flipped = pull(lab, CIPHERS[0], "up", 3_000_000, "-s", str(SIZE), "-r", "1", command="cat > /dev/null")
    assert flipped
    assert status == 3
    assert any(line.startswith("closed -104") for line in lines)
