# SPDX-License-Identifier: MIT
"""The link to the guest: each way it can fail has its own line and its own advice, and it comes back by itself."""
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import net
from conftest import wait_until
from link_probe import Running, run

FAKE_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHgSpv0fU1vNfX6kk0pW0ZrZ5cYxXkSg3bF8lT5P3o4W"


@pytest.fixture
def keys(lab, host):
    """A folder on the host for keys and known_hosts of one test, and the fingerprint of the guest's key."""
    folder = f"{lab.dir}/keys-of-test"
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder, 0o700)
    os.chown(folder, host.users["me"]["uid"], host.users["me"]["uid"])
    return folder


@pytest.fixture
def fingerprint(lab):
    done = subprocess.run(["ssh-keygen", "-lf", f"{lab.dir}/keys/host.pub"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def host_key(lab):
    return open(f"{lab.dir}/keys/host.pub").read().split()[1]


def assert_fails(lab, args, kind, sentence, advice, command="true", **kw):
    """One failure, with exactly these lines."""
    status, lines, stderr = run(lab, *args, "guest", command, **kw)
    failed = [line for line in lines if line.startswith(("failed ", "advice: "))]
    assert failed == [f"failed {kind}: {sentence}", f"advice: {advice}"], stderr
    assert status in (1, 3)
    return lines


def make_key(host, path, *args):
    host.cmd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path, *args], user="me")


# ----------------------------------------------------------------------------------------------- what can go wrong


def test_it_connects_and_says_where_and_how(lab, fingerprint):
    status, lines, _ = run(lab, "-r", "6", "guest", "echo hello")
    assert status == 0
    assert lines[0] == f"connected {lab.guest.address} 22 me {fingerprint} aes128-gcm@openssh.com"
    assert lines[2].startswith("received 6 bytes")


@pytest.mark.parametrize("name, answers, kind, why, advice", [
    ("nosuch.example", True, "permanent", "Name or service not known", "check the spelling, or that its Host entry in "
     "~/.ssh/config has a HostName"),
    ("nosuch.local", True, "passing", "Name or service not known", "check the spelling, or that its Host entry in "
     "~/.ssh/config has a HostName"),
    ("nosuch.example", False, "passing", "Temporary failure in name resolution", "is the network up, and its name server?"),
])
def test_a_name_that_means_nothing(lab, name, answers, kind, why, advice):
    with net.name_server(lab.host, answers):
        status, lines, _ = run(lab, name, "true", config=False)
    assert status == 1
    assert lines[:2] == [f"failed resolve {kind}: {name}: the name {name} cannot be resolved: {why}", f"advice: {advice}"]


def test_a_port_where_nothing_listens(lab, guest):
    assert_fails(lab, ["-p", "9"], "refused passing", f"guest: {guest.address} port 9: connection refused",
                 "is sshd running there, and on this port?")


def test_a_network_that_leads_nowhere(lab):
    assert_fails(lab, ["-o", "HostName=192.0.2.1"], "no-route passing",
                 "guest: 192.0.2.1 port 22: Network is unreachable", "is the machine running, and is the network up?")


def test_a_machine_that_is_silent(lab, guest):
    lab.link_cut()
    try:
        began = time.monotonic()
        assert_fails(lab, ["-o", "ConnectTimeout=2"], "timeout passing",
                     f"guest: {guest.address} port 22: no answer within 2 s",
                     "is the machine running, and does a firewall stand between?")
        assert 1.8 < time.monotonic() - began < 4
    finally:
        lab.link_restore()


@pytest.mark.long
def test_a_machine_that_is_silent_for_longer_than_there_are_addresses(lab, guest):
    """A fresh attempt each second beside the old ones: more of them than a host can have addresses."""
    lab.link_cut()
    try:
        assert_fails(lab, ["-o", "ConnectTimeout=12"], "timeout passing",
                     f"guest: {guest.address} port 22: no answer within 12 s",
                     "is the machine running, and does a firewall stand between?")
    finally:
        lab.link_restore()


LISTENER = """
import socket, sys
s = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(sys.argv[2].encode() * int(sys.argv[3]))
    kept = c if sys.argv[4] == "stay" else c.close()
"""


@pytest.fixture
def listener(guest):
    started = []

    def start(port, text, times=1, then="stay"):
        p = guest.popen(["/usr/bin/python3", "-c", LISTENER, str(port), text, str(times), then], stdout=subprocess.PIPE)
        started.append(p)
        assert p.stdout.readline() == b"ready\n"

    yield start
    for p in started:
        p.kill()
        p.wait()


def test_a_listener_that_says_nothing(lab, guest, listener):
    listener(2201, "")
    assert_fails(lab, ["-p", "2201", "-o", "ConnectTimeout=1"], "timeout passing",
                 f"guest: {guest.address} port 2201: no SSH server answers within 1 s", "")


@pytest.mark.parametrize("text, times, then", [
    ("HTTP/1.0 200 OK\r\n\r\n", 1, "close"),
    ("", 1, "close"),
    ("SSH-2.0-x\r\n" + "\x00" * 16, 1000, "close"),
    ("a" * 1000, 1000, "close"),
], ids=["http", "nothing", "garbage", "endless"])
def test_a_listener_that_speaks_no_ssh(lab, guest, listener, text, times, then):
    listener(2202, text.replace("\x00", "z"), times, then)
    status, lines, _ = run(lab, "-p", "2202", "-o", "ConnectTimeout=2", "guest", "true")
    assert status == 1
    assert re.match(rf"failed (protocol|timeout) passing: guest: {guest.address} port 2202: no SSH", lines[0])


def test_a_host_key_never_seen(lab, guest, keys, fingerprint):
    known = keys + "/known"
    assert_fails(lab, ["-o", f"UserKnownHostsFile={known}"], "host-key-unknown permanent",
                 f"guest: host key {fingerprint} is not known",
                 f"add it with 'ssh-keyscan -t ed25519 {guest.address} >> {known}' or give --host-key {fingerprint}")


def test_the_advice_for_a_host_key_never_seen_works(lab, host, keys):
    known = keys + "/known"
    _, lines, _ = run(lab, "-o", f"UserKnownHostsFile={known}", "guest", "true")
    command = re.search("'(ssh-keyscan .*?)'", lines[1]).group(1)
    host.cmd(command, user="me")
    status, lines, _ = run(lab, "-o", f"UserKnownHostsFile={known}", "-r", "1", "guest", "echo")
    assert status == 0, lines


def test_the_advice_for_a_host_key_with_an_alias_works(lab, host, keys):
    known = keys + "/known"
    args = ["-o", f"UserKnownHostsFile={known}", "-o", "HostKeyAlias=vm"]
    _, lines, _ = run(lab, *args, "guest", "true")
    host.cmd(re.search("'(echo .*?)'", lines[1]).group(1), user="me")
    status, lines, _ = run(lab, *args, "-r", "1", "guest", "echo")
    assert status == 0, lines


def test_a_host_key_never_seen_where_none_are_kept(lab, fingerprint):
    assert_fails(lab, ["-o", "UserKnownHostsFile=/dev/null"], "host-key-unknown permanent",
                 f"guest: host key {fingerprint} is not known", f"give --host-key {fingerprint}")


def test_a_host_key_that_has_changed(lab, guest, keys, fingerprint):
    known = keys + "/known"
    with open(known, "w") as f:
        f.write(f"# one line\n{guest.address} ssh-ed25519 {FAKE_KEY}\n")
    assert_fails(lab, ["-o", f"UserKnownHostsFile={known}"], "host-key-changed permanent",
                 f"guest: host key has changed: it is {fingerprint}, {known}:2 has another",
                 "somebody may be listening in; if the host was made anew, remove the old key with "
                 f"'ssh-keygen -f {known} -R \"{guest.address}\"'")


def test_a_host_key_that_is_revoked(lab, guest, keys, fingerprint):
    known = keys + "/known"
    with open(known, "w") as f:
        f.write(f"{guest.address} ssh-ed25519 {host_key(lab)}\n@revoked * ssh-ed25519 {host_key(lab)}\n")
    assert_fails(lab, ["-o", f"UserKnownHostsFile={known}"], "host-key-changed permanent",
                 f"guest: host key {fingerprint} is revoked by {known}:2", "")


def test_a_host_key_that_is_not_the_pinned_one(lab, fingerprint):
    pinned = "SHA256:" + "A" * 43
    assert_fails(lab, ["-k", pinned], "host-key-changed permanent",
                 f"guest: host key is {fingerprint}, but {pinned} is the one to expect",
                 "somebody may be listening in; if the host was made anew, give its new key")


def test_a_pinned_host_key_needs_no_known_hosts(lab, fingerprint):
    status, lines, _ = run(lab, "-k", fingerprint, "-o", "UserKnownHostsFile=/dev/null", "-r", "1", "guest", "echo")
    assert status == 0, lines


def test_a_hashed_known_host_is_known(lab, host, guest, keys):
    known = keys + "/known"
    with open(known, "w") as f:
        f.write(f"{guest.address} ssh-ed25519 {host_key(lab)}\n")
    host.cmd(["ssh-keygen", "-q", "-H", "-f", known], user="root")
    os.chmod(known, 0o644)
    assert "|1|" in open(known).read()
    status, lines, _ = run(lab, "-o", f"UserKnownHostsFile={known}", "-r", "1", "guest", "echo")
    assert status == 0, lines


def test_no_key_at_all(lab, guest, keys):
    status, lines, _ = run(lab, "-i", f"{keys}/none", "-o", f"UserKnownHostsFile={lab.dir}/ssh-me/known_hosts",
                           f"me@{guest.address}", "true", config=False)
    assert status == 1
    assert lines == [f"failed auth permanent: {guest.address}: there is no key to log in with as me",
                     f"advice: make one with 'ssh-keygen', put it there with 'ssh-copy-id me@{guest.address}'"]


def with_key(lab, guest, key):
    """Arguments that offer this key alone, without the lab's configuration."""
    return ["-i", key, "-o", f"UserKnownHostsFile={lab.dir}/ssh-me/known_hosts", f"me@{guest.address}"]


def test_a_key_the_guest_does_not_know(lab, host, guest, keys):
    make_key(host, keys + "/id")
    status, lines, _ = run(lab, *with_key(lab, guest, keys + "/id"), "true", config=False)
    assert status == 1
    assert lines == [f"failed auth permanent: {guest.address}: none of your keys is accepted for me",
                     f"advice: put one there with 'ssh-copy-id me@{guest.address}'"]


def test_a_key_with_a_passphrase(lab, host, guest, keys):
    make_key(host, keys + "/id", "-N", "secret")
    status, lines, _ = run(lab, *with_key(lab, guest, keys + "/id"), "true", config=False)
    assert status == 1
    assert lines == [f"failed auth permanent: {guest.address}: the key {keys}/id has a passphrase, "
                     "and the ssh-agent does not hold it", f"advice: add it to the ssh-agent: 'ssh-add {keys}/id'"]


def test_a_key_others_can_read(lab, guest, keys):
    shutil.copy(f"{lab.dir}/ssh-me/id_ed25519", keys + "/id")
    os.chown(keys + "/id", 1000, 1000)
    os.chmod(keys + "/id", 0o644)
    status, lines, _ = run(lab, *with_key(lab, guest, keys + "/id"), "true", config=False)
    assert status == 1
    assert lines == [f"failed auth permanent: {guest.address}: the key {keys}/id can be read by others and is not used",
                     f"advice: 'chmod 600 {keys}/id'"]


def test_a_command_that_is_not_there(lab):
    lines = assert_fails(lab, [], "command permanent",
                         "guest: homeport-guest-x was not found in the guest: "
                         "bash: line 1: homeport-guest-x: command not found",
                         "correct --guest-command, or leave it out: homeport brings its own along",
                         command="homeport-guest-x attach")
    assert lines[1].startswith("closed 0 after 0 bytes: ")


def test_a_command_that_cannot_be_run(lab):
    assert_fails(lab, [], "command permanent",
                 "guest: /etc/passwd cannot be run in the guest: bash: line 1: /etc/passwd: Permission denied",
                 "correct --guest-command, or leave it out: homeport brings its own along",
                 command="/etc/passwd attach")


def test_a_command_that_fails(lab):
    assert_fails(lab, [], "command passing",
                 "guest: homeport-guest failed in the guest with status 3: the last word", "",
                 command="exec sh -c 'echo first >&2; echo the last word >&2; exit 3'")


# What the guest sends within 0.2 s comes at once.
BATCHED = """
import os, select, socket, sys, time
far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for fd in select.select([0, far], [], [])[0]:
        if fd is far:
            time.sleep(0.2)
        data = far.recv(1 << 20) if fd is far else os.read(0, 1 << 20)
        if not data:
            sys.exit()
        os.write(1, data) if fd is far else far.sendall(data)
"""


@pytest.mark.parametrize("together", [False, True], ids=["", "and its end comes with the answer to exec"])
def test_a_command_that_is_killed(lab, keys, together):
    with open(keys + "/batched.py", "w") as f:
        f.write(BATCHED)
    options = ["-o", f"ProxyCommand=/usr/bin/python3 {keys}/batched.py %h %p"] if together else []
    _, lines, _ = run(lab, *options, "guest", "exec sh -c 'kill -9 $$'")
    assert lines[-1] == "closed -104 after 0 bytes: guest: homeport-guest was ended in the guest by SIGKILL"


def test_what_the_command_complains_about_is_logged_and_bounded(lab):
    _, _, stderr = run(lab, "guest", r"seq 100000 >&2; printf '\033[31mred\n' >&2")
    lines = [line for line in stderr.splitlines() if "guest: guest: " in line]
    assert lines[0].endswith("guest: guest: 1")
    assert len(lines) < 100
    assert "\033" not in stderr


def test_a_login_shell_that_never_stops_talking_is_only_data(lab):
    status, lines, _ = run(lab, "-r", str(64 << 20), "guest", "cat /dev/zero")
    assert status == 0
    assert any(line.startswith("received ") for line in lines)


# ------------------------------------------------------------------------------------------------- how it connects


def test_a_key_in_the_agent_is_used(lab, host, guest, keys):
    make_key(host, keys + "/id", "-N", "secret")
    public = open(keys + "/id.pub").read()
    guest.cmd(f"echo '{public.strip()}' >> /root/.ssh/authorized_keys")
    host.cmd("printf '#!/bin/sh\\necho secret\\n' > " + keys + "/ask; chmod 700 " + keys + "/ask", user="me")
    agent = host.popen(["ssh-agent", "-D", "-a", keys + "/agent"], user="me", stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: os.path.exists(keys + "/agent"), what="the agent")
        env = {"SSH_AUTH_SOCK": keys + "/agent", "SSH_ASKPASS": keys + "/ask", "SSH_ASKPASS_REQUIRE": "force"}
        host.cmd(["ssh-add", "-q", keys + "/id"], user="me", env=env)
        known = ["-o", f"UserKnownHostsFile={lab.dir}/ssh-me/known_hosts", "-r", "1"]
        where = f"root@{guest.address}"
        # The agent of the environment, the agent of the option, and a locked key file the agent holds.
        assert run(lab, *known, where, "echo", config=False, env=env)[0] == 0
        assert run(lab, *known, "-o", f"IdentityAgent={keys}/agent", where, "echo", config=False)[0] == 0
        assert run(lab, *known, "-o", "IdentitiesOnly=yes", "-i", keys + "/id", where, "echo", config=False,
                   env=env)[0] == 0
        assert run(lab, *known, "-o", "IdentityAgent=none", where, "echo", config=False, env=env)[0] == 1
    finally:
        agent.kill()
        agent.wait()


def test_a_certificate_is_used(lab, host, guest, keys):
    make_key(host, keys + "/ca")
    make_key(host, keys + "/id")
    host.cmd(["ssh-keygen", "-q", "-s", keys + "/ca", "-I", "me", "-n", "plain", keys + "/id.pub"], user="me")
    ca = open(keys + "/ca.pub").read().strip()
    guest.cmd(f"echo 'cert-authority {ca}' >> ~plain/.ssh/authorized_keys")
    known = ["-o", f"UserKnownHostsFile={lab.dir}/ssh-me/known_hosts", "-r", "1"]
    where = f"plain@{guest.address}"
    assert run(lab, *known, "-i", keys + "/id", where, "echo", config=False)[0] == 0
    os.rename(keys + "/id-cert.pub", keys + "/elsewhere.pub")
    assert run(lab, *known, "-i", keys + "/id", where, "echo", config=False)[0] == 1
    assert run(lab, *known, "-i", keys + "/id", "-o", f"CertificateFile={keys}/elsewhere.pub", where, "echo",
               config=False)[0] == 0


def test_the_second_address_is_used_when_the_first_is_silent(lab, host, guest):
    """10.77.0.9 exists for nobody: its neighbour entry leads into nothing, so packets to it vanish."""
    subprocess.run(["nsenter", "-t", str(host.pid), "-n", "--", "ip", "neighbour", "replace", "10.77.0.9", "lladdr",
                    "02:77:ff:ff:ff:fe", "dev", "eth0", "nud", "permanent"], check=True)
    hosts = host.path("/etc/hosts")
    before = open(hosts).read()
    try:
        with open(hosts, "a") as f:
            f.write(f"\n10.77.0.9 many\n{guest.address} many\n")
        began = time.monotonic()
        status, lines, _ = run(lab, "-o", "HostName=many", "-o", f"HostKeyAlias={guest.address}", "-r", "1", "guest",
                               "echo")
        assert status == 0, lines
        assert time.monotonic() - began < 2
    finally:
        with open(hosts, "w") as f:
            f.write(before)


def test_ipv6_works(lab, guest, fingerprint):
    status, lines, _ = run(lab, "-r", "1", "guest6", "echo")
    assert status == 0
    assert lines[0].split()[1] == guest.address6


# ------------------------------------------------------------------------------------------------ how it comes back


def sshd_of_me(guest):
    """The processes here of the guest's sshd that serve the user me."""
    return [outer for outer, (_, line) in guest.processes().items() if line.startswith("sshd: me@")]


def test_a_broken_connection_is_replaced_at_once(lab, guest):
    with Running(lab, "guest", "cat") as probe:
        wait_until(lambda: probe.count("connected") == 1, what="the first connection")
        for again in range(2, 5):
            for pid in sshd_of_me(guest):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: probe.count("connected") == again, timeout=3, what="the next connection")
        assert probe.count("failed") == 0


def test_a_guest_that_comes_up_is_found_within_the_pause(lab, guest):
    with Running(lab, "-p", "2203", "guest", "echo; cat") as probe:
        wait_until(lambda: probe.count("failed refused") >= 4, what="a few failures")
        sshd = guest.popen(["/usr/sbin/sshd", "-D", "-p", "2203", "-o", "PidFile=none"])
        try:
            # The key is known for the bare name, which counts where nothing is known for name and port.
            wait_until(lambda: probe.count("connected") == 1, timeout=4, what="the connection")
        finally:
            sshd.terminate()
            sshd.wait()


def test_pauses_grow_while_nobody_answers(lab):
    with Running(lab, "-p", "9", "guest", "true") as probe:
        time.sleep(4.5)
        # 0, 50, 150, 350, 750, 1550, 3150 ms, and the time ssh takes to say where to connect.
        assert 5 <= probe.count("failed refused") <= 8


def test_a_network_that_comes_back_is_used_at_once(lab):
    lab.route_down()
    try:
        with Running(lab, "guest", "cat") as probe:
            wait_until(lambda: probe.count("failed no-route") >= 7, timeout=15, what="pauses of 2 s")
            began = time.monotonic()
            lab.route_up()
            wait_until(lambda: probe.count("connected") == 1, timeout=3, what="the connection")
            assert time.monotonic() - began < 1.5
    finally:
        lab.route_up()


def test_an_attempt_that_hangs_goes_on_when_the_cable_is_back(lab):
    lab.link_cut()
    try:
        with Running(lab, "guest", "cat") as probe:
            time.sleep(4.2)  # past the kernel's second and third SYN, long before its fourth
            assert probe.lines == []
            lab.link_restore()
            wait_until(lambda: probe.count("connected") == 1, timeout=2, what="the connection")
    finally:
        lab.link_restore()


def test_an_attempt_that_hangs_keeps_nobody_from_ending(lab):
    lab.link_cut()
    try:
        with Running(lab, "guest", "cat") as probe:
            time.sleep(0.5)
            inner = next(pid for pid, line in lab.host.processes().values() if "link_probe" in line)
            lab.host.kill(inner, signal.SIGTERM)
            assert probe.process.wait(timeout=2) == 0
    finally:
        lab.link_restore()


def test_reconnecting_leaves_no_descriptor_and_no_process_behind(lab, guest):
    with Running(lab, "guest", "cat") as probe:
        wait_until(lambda: probe.count("connected") == 1, what="the first connection")
        pid = next(outer for outer, (_, line) in lab.host.processes().items() if "link_probe" in line)

        def descriptors():
            return len(os.listdir(f"/proc/{pid}/fd"))

        before = descriptors()
        for again in range(2, 8):
            for sshd in sshd_of_me(guest):
                os.kill(sshd, signal.SIGKILL)
            wait_until(lambda: probe.count("connected") == again, timeout=5, what="the next connection")
        wait_until(lambda: descriptors() <= before, what=f"{before} descriptors again")
        assert len([1 for _, line in lab.host.processes().values() if line.startswith("ssh ")]) == 0

