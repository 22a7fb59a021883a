# SPDX-License-Identifier: MIT
"""`homeport up` when there is no way to the guest: one line that says what, why and what to do; nothing is left."""
import os
import pty
import re
import subprocess
import time

import pytest

import net

FAKE_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHgSpv0fU1vNfX6kk0pW0ZrZ5cYxXkSg3bF8lT5P3o4W"
PINNED = "SHA256:" + "A" * 43


@pytest.fixture
def words(lab, host):
    """What the rows below name in braces."""
    shown = subprocess.run(["ssh-keygen", "-lf", f"{lab.dir}/keys/host.pub"], capture_output=True, text=True, check=True)
    files = f"{lab.dir}/errors"
    host.cmd(f"mkdir -p {files} && chmod 755 {files}")
    with open(files + "/changed", "w") as f:
        f.write(f"{lab.guest.address} ssh-ed25519 {FAKE_KEY}\n")
    host.cmd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", files + "/stranger"], check=False)
    host.cmd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", files + "/locked"], check=False)
    host.cmd(f"chown me {files}/stranger {files}/locked")
    return {"guest": lab.guest.address, "key": shown.stdout.split()[1], "files": files, "pinned": PINNED}


# Options of up, and the line; what fails for good fails at once, the rest when the time given is over.
FOR_GOOD = {
    "unknown host key": (["-o", "UserKnownHostsFile={files}/none"],
                         "guest: host key {key} is not known; add it with 'ssh-keyscan -t ed25519 {guest} >> "
                         "{files}/none' or give --host-key {key}"),
    "changed host key": (["-o", "UserKnownHostsFile={files}/changed"],
                         "guest: host key has changed: it is {key}, {files}/changed:1 has another; somebody may be "
                         "listening in; if the host was made anew, remove the old key with 'ssh-keygen -f "
                         "{files}/changed -R \"{guest}\"'"),
    "not the pinned host key": (["--host-key", "{pinned}"],
                                "guest: host key is {key}, but {pinned} is the one to expect; somebody may be "
                                "listening in; if the host was made anew, give its new key"),
    "no homeport-guest there": (["--guest-command", "homeport-guest-x"],
                                "guest: homeport-guest-x was not found in the guest: bash: line 1: exec: "
                                "homeport-guest-x: not found; correct --guest-command, or leave it out: homeport "
                                "brings its own along"),
    "no such name": (["-o", "HostName=nosuch.example"],
                     "guest: the name nosuch.example cannot be resolved: Name or service not known; check the "
                     "spelling, or that its Host entry in ~/.ssh/config has a HostName"),
    "an option of ssh": (["-o", "RevokedHostKeys=/x"],
                         "guest: ssh's option RevokedHostKeys /x cannot be honoured here; give -o "
                         "RevokedHostKeys=none, or set it so for this host"),
    "a mistake in an option of ssh": (["-o", "Nonsense=1"],
                                      "guest: ssh does not accept its configuration: command-line: line 0: Bad "
                                      "configuration option: nonsense"),
}
PASSING = {
    "refused": (["-p", "9"], "guest: {guest} port 9: connection refused; is sshd running there, and on this port?"),
    "no route": (["-o", "HostName=192.0.2.1"],
                 "guest: 192.0.2.1 port 22: Network is unreachable; is the machine running, and is the network up?"),
    "no answer": (["-o", "ConnectTimeout=1"],
                  "guest: {guest} port 22: no answer within 1 s; is the machine running, and does a firewall stand "
                  "between?"),
    "no answer yet": ([], "guest does not answer"),
    "a name of a machine that is not there yet": (["-o", "HostName=nosuch.local"],
                                                  "guest: the name nosuch.local cannot be resolved: Name or service "
                                                  "not known; check the spelling, or that its Host entry in "
                                                  "~/.ssh/config has a HostName"),
    "no name server": (["-o", "HostName=nosuch.example"],
                       "guest: the name nosuch.example cannot be resolved: Temporary failure in name resolution; is "
                       "the network up, and its name server?"),
}


def filled(texts, words):
    return [text.format(**words) for text in texts]


@pytest.fixture
def around(lab, host, row):
    """What is so around the lab's host while a row is tried."""
    if row.startswith("no answer"):
        lab.link_cut()
    with net.name_server(host, answers=row != "no name server"):
        yield
    lab.link_restore()


@pytest.mark.parametrize("row", FOR_GOOD)
def test_what_only_a_person_can_mend_is_told_at_once(homeport, host_home, words, around, row):
    options, line = FOR_GOOD[row]
    began = time.monotonic()
    done = homeport.up("--no-mount", *filled(options, words), check=False, timeout=20)
    assert done.stderr == f"homeport: {line.format(**words)}\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert time.monotonic() - began < 15
    assert homeport.left() == []


@pytest.mark.parametrize("row", PASSING)
def test_what_may_pass_is_told_when_the_time_is_over(homeport, host_home, words, around, row):
    options, line = PASSING[row]
    began = time.monotonic()
    done = homeport.up("--no-mount", "--timeout", "2", *filled(options, words), check=False, timeout=20)
    assert done.stderr == f"homeport: up: gave up: {line.format(**words)}\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert time.monotonic() - began >= 2
    assert homeport.left() == []


def read_all(fd):
    text = b""
    while True:
        try:
            part = os.read(fd, 4096)
        except OSError:  # EIO: nobody has the terminal any more
            return text.decode()
        if not part:
            return text.decode()
        text += part


@pytest.mark.parametrize("columns", [200, 60])
def test_a_terminal_shows_why_it_is_tried_again_and_then_the_last_word_alone(homeport, lab, host_home, words, columns):
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", str(columns)], stdin=theirs, check=True)
    up = homeport.popen("up", "-F", lab.ssh_config(), "--no-mount", "--timeout", "2", "-p", "9", "guest", stderr=theirs,
                        stdout=subprocess.DEVNULL)
    os.close(theirs)
    lines = re.split(r"\r\x1b\[K", read_all(ours).rstrip("\r\n"))
    os.close(ours)
    assert up.wait(10) == 1
    why = f"guest: {words['guest']} port 9: connection refused"
    trying = f"{why}; trying again ..."
    if len(trying) >= columns:
        trying = trying[:columns - 4] + "..."
    assert lines[0] == "connecting to guest ..." or lines[0] == trying
    assert set(lines[1:-1]) == {trying}
    assert lines[-1] == f"homeport: up: gave up: {why}; is sshd running there, and on this port?"
    assert homeport.left() == []


@pytest.mark.parametrize("key, line", [
    ("stranger", "none of your keys is accepted for me; put one there with 'ssh-copy-id me@{guest}'"),
    ("locked", "the key {files}/locked has a passphrase, and the ssh-agent does not hold it; add it to the ssh-agent: "
               "'ssh-add {files}/locked'"),
    (None, "there is no key to log in with as me; make one with 'ssh-keygen', put it there with "
           "'ssh-copy-id me@{guest}'"),
])
def test_a_login_that_is_refused(homeport, lab, host_home, words, key, line):
    chosen = ["-i", f"{words['files']}/{key}"] if key else []
    done = homeport.run("up", "--no-mount", "-o", f"UserKnownHostsFile={lab.dir}/ssh-me/known_hosts", *chosen,
                        f"me@{words['guest']}", timeout=20)
    assert done.stderr == f"homeport: {words['guest']}: {line.format(**words)}\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert homeport.left() == []
