# SPDX-License-Identifier: MIT
"""`homeport shell`: the user's ssh, in the same folder of the guest, with exactly the words that were typed."""
import contextlib
import json
import os
import pty
import re
import select
import signal
import time

import pytest

from conftest import wait_until

LINE = "homeport: shell: "


@pytest.fixture
def shell(homeport):
    """Runs `homeport shell guest -- WORD...` in a folder of the host."""
    def run(*words, cwd=None, **kw):
        return homeport.run("shell", "guest", "--", *words, cwd=cwd, timeout=30, **kw)
    return run


def kill(pid):
    with contextlib.suppress(ProcessLookupError):  # it went with another
        os.kill(pid, signal.SIGKILL)


def result(done):
    return done.returncode, done.stdout, done.stderr


def test_the_folder_the_status_and_the_words_are_the_same(homeport, host, host_home, shell):
    host_home.write("src/it's a folder/x", "")
    host.cmd("mkdir -p /srv/b")
    homeport.up("--mount", "~/src", "--mount", "~/src/it's a folder:/far:w")
    inside = "/home/me/src"
    assert result(shell("pwd", cwd=inside)) == (0, inside + "\n", "")
    assert result(shell("pwd", cwd=inside + "/it's a folder")) == (0, "/far\n", ""), "the deepest has it"
    assert result(shell("pwd", cwd="/srv/b")) == (0, "/home/me.guest\n", ""), "not said where nobody reads it"
    assert result(shell("sh", "-c", "echo out; echo err >&2; exit 9")) == (9, "out\n", "err\n")
    assert shell("sh", "-c", "kill -TERM $$").returncode == 143
    assert shell("homeport-none").returncode == 127
    odd = ["", " ", "a'b\"c", "\\n\n", "$(id)", "*", "~", "-x", "!!", "\x7f\t", "caf\u00e9", "--"]
    assert result(shell("printf", "<%s>", *odd)) == (0, "".join(f"<{word}>" for word in odd), "")
    assert result(shell("A=1 2", "B=", "sh", "-c", "echo \"$A,$B\" \"$@\"", "-", "C=3")) == (0, "1 2, C=3\n", "")
    assert result(shell("tr", "a-z", "A-Z", input="what goes in\n")) == (0, "WHAT GOES IN\n", "")
    done = homeport.run("shell", "--", "tty")
    assert result(done) == (1, "not a tty\n", ""), "the only session, and no terminal"
    assert result(homeport.run("shell", input="echo in the shell\n", cwd=inside)) == (0, "in the shell\n", "")


@pytest.mark.parametrize("login", ["/bin/bsd-csh", "/usr/bin/fish"])
def test_any_login_shell_will_do(homeport, guest, host_home, shell, login):
    host_home.write("a/x", "")
    homeport.up("--mount", "~/a")
    guest.cmd(["sed", "-i", f"s,^\\(me:.*:\\).*,\\1{login},", "/etc/passwd"])
    try:
        done = shell("K=it's", "sh", "-c", "printf '%s|' \"$PWD\" \"$K\" \"$@\"; exit 5", "-", "a b", "'!$\\\n", cwd="/home/me/a")
        assert result(done) == (5, "/home/me/a|it's|a b|'!$\\\n|", "")
        done = homeport.run("shell", "guest", input="pwd\n", cwd="/home/me/a")
        assert (done.returncode, done.stdout) == (0, "/home/me/a\n"), done.stderr
    finally:
        guest.cmd(["sed", "-i", "s,^\\(me:.*:\\).*,\\1/bin/bash,", "/etc/passwd"])


def test_a_folder_that_is_not_there_as_expected_is_told_in_a_line(homeport, guest, host_home, shell):
    host_home.write("a/.ssh/x", "")
    host_home.write("b/c/x", "")
    host_home.write("other/x", "")
    host_home.write(".ssh/x", "")
    homeport.up("--mount", "~:/all", "--mount", "~/b:/etc/passwd", "--mount", "~/other:/all/b", check=False)
    home = "; this begins in the home of the login\n"
    assert result(shell("pwd", cwd="/home/me/b/c")) == (
        0, "/home/me.guest\n", LINE + "/home/me/b/c lies under another mount of guest" + home)
    assert result(shell("pwd", cwd="/home/me/.ssh")) == (
        0, "/home/me.guest\n", LINE + "/all/.ssh cannot be entered in the guest" + home), "it is masked"
    assert result(shell("pwd", cwd="/home/me/other")) == (0, "/all/b\n", "")
    homeport.down()
    homeport.up("--mount", "~/b:/etc/passwd", check=False)
    assert result(shell("pwd", cwd="/home/me/b")) == (
        0, "/home/me.guest\n", LINE + "/home/me/b is not mounted in guest" + home)
    assert result(shell("pwd", cwd="/home/me")) == (0, "/home/me.guest\n", "")


def test_without_a_connection_it_says_so_and_does_not_wait_for_mounts(homeport, lab, host, host_home, shell):
    """The agent's way to the guest is gone, ssh's is not."""
    host_home.write("proxy", "#!/bin/sh\n[ -e /home/me/cut ] && [ ! \"$AROUND\" ] && exit 1\n"
                    f"exec ssh -F {lab.ssh_config()} -W $1:$2 guest-plain\n", 0o755)
    host_home.write("a/x", "")
    homeport.up("--mount", "~/a", "--no-ports", "-o", "ProxyCommand=/home/me/proxy %h %p")
    host_home.write("cut", "")
    for outer, (_, line) in host.processes().items():
        if line.startswith("ssh ") and line.endswith(" guest-plain"):
            kill(outer)
    wait_until(lambda: homeport.status()["state"] == "reconnecting", timeout=20)
    assert result(shell("pwd", cwd="/home/me/a", env={"AROUND": "1"})) == (
        0, "/home/me.guest\n",
        LINE + "guest is reconnecting, and its mounts wait for that; this begins in the home of the login\n")
    assert shell("pwd", cwd="/home/me/a").returncode == 255
    found = json.loads(homeport.run("doctor", "--json", "guest", env={"AROUND": "1"}).stdout)
    wrong = [(one["name"], one["what"]) for one in found if one["verdict"] == "problem"]
    assert len(wrong) == 1 and wrong[0][0] == "session" and wrong[0][1].startswith("guest is reconnecting: "), wrong
    os.unlink(host_home / "cut")
    wait_until(lambda: homeport.status()["state"] == "connected", timeout=20)
    assert result(shell("pwd", cwd="/home/me/a")) == (0, "/home/me/a\n", "")


def test_a_pinned_key_is_the_only_one_for_ssh_too(homeport, guest, host_home, shell):
    """A second sshd, which shows its first key to whoever knows none: the second is the one that is pinned."""
    guest.cmd("cd /etc/ssh && mkdir -p two && for k in ed25519 rsa rsa_new; do ssh-keygen -qt ${k%_new} -N '' -f two/$k; done")
    start = ["/usr/sbin/sshd", "-D", "-f", "/etc/ssh/two.conf", "-p", "2202", "-o", "PidFile=none"]

    def sshd(*keys):
        conf = open(guest.path("/etc/ssh/sshd_config")).read().replace("HostKey /etc/ssh/lab_host_key", "")
        with open(guest.path("/etc/ssh/two.conf"), "w") as f:
            f.write("".join(f"HostKey /etc/ssh/two/{key}\n" for key in keys) + conf)
        server = guest.popen(start)
        wait_until(lambda: "0.0.0.0:2202" in guest.listeners())
        return server

    def end(server):
        server.kill()
        server.wait()
        for outer, (_, line) in guest.processes().items():
            if "two.conf" in line or line.startswith("sshd: me"):
                kill(outer)
        wait_until(lambda: "0.0.0.0:2202" not in guest.listeners())

    keep = guest.popen(["homeport-guest", "serve"], user="me")  # else one is left that waits for its host
    wait_until(lambda: guest.cmd("homeport-guest status", user="me", check=False).returncode == 0)
    pinned = guest.cmd("ssh-keygen -lf /etc/ssh/two/rsa").stdout.split()[1]
    server = sshd("ed25519", "rsa")
    homeport.up("--no-mount", "--no-ports", "-p", "2202", "--host-key", pinned, "-o", "UserKnownHostsFile=/home/me/none")
    assert result(shell("echo", "it is it")) == (0, "it is it\n", "")
    end(server)
    server = sshd("ed25519", "rsa_new")
    done = shell("echo", "not this one")
    assert (done.returncode, done.stdout) == (255, "") and "Host key verification failed" in done.stderr
    end(server)
    keep.kill()
    assert not os.path.exists(host_home / "none")


class Terminal:
    """A command of the host's with a terminal of its own."""

    def __init__(self, homeport, *words, cwd=None):
        self.fd, theirs = pty.openpty()
        self.process = homeport.popen(*words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, start_new_session=True)
        os.close(theirs)
        self.text = ""

    def expect(self, pattern, timeout=20):
        end = time.monotonic() + timeout
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, f"{pattern} not in {self.text!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:
                    assert re.search(pattern, self.text), f"{pattern} not in {self.text!r}"
        self.text = self.text[found.end():]
        return found

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


def test_on_a_terminal_it_is_a_shell_with_one_and_ctrl_c_is_the_programs(homeport, host_home):
    host_home.write("a/x", "")
    homeport.up("--mount", "~/a", "--no-ports")
    t = Terminal(homeport, "shell", "guest", cwd="/home/me/a")
    try:
        t.type("echo at:$PWD:$(tty); shopt -q login_shell && echo login\r")
        t.expect(r"at:/home/me/a:/dev/pts/\d+\r\n.*login\r\n")
        t.type("exit 3\r")
        assert t.process.wait(timeout=20) == 3
    finally:
        t.close()
    t = Terminal(homeport, "shell", "guest", "sh", "-c", "tty; exec sleep 1000", cwd="/")
    try:
        t.expect(r"homeport: shell: / is in no mount of guest; this begins in the home of the login\r\n")
        t.expect(r"/dev/pts/\d+\r\n")
        t.type("\x03")
        assert t.process.wait(timeout=20) == 130
    finally:
        t.close()


def test_a_name_that_does_not_run_is_told_with_what_helps(homeport, host_home):
    assert result(homeport.run("shell")) == (
        3, "", LINE + "nothing is running; start a session with `homeport up HOST`\n")
    assert result(homeport.run("shell", "dev", "ls")) == (
        3, "", LINE + "dev is not running; start it with `homeport up dev`\n")
    homeport.up("--no-mount", "--no-ports")
    assert result(homeport.run("shell", "ls", "-l")) == (
        3, "", LINE + "ls is not running; start it with `homeport up ls`, or run a command in guest with "
        "`homeport shell -- ls`\n")
    done = homeport.run("shell", "guest", "true", *["x" * 1000] * 200)
    assert result(done) == (2, "", LINE + "the command is too long; put it in a file, and run that\n")
