# SPDX-License-Identifier: MIT
"""What Tab offers, in each shell: commands, options, and names of sessions. Needs nothing but the program."""
import os
import socket
import subprocess
import threading

import pytest

from lab import REPOSITORY
from link_probe import folder

BASH = """
source "$1/homeport.bash-completion"; shift
COMP_LINE=$*; COMP_POINT=${#COMP_LINE}
compopt() { :; }
_homeport homeport
word=${COMP_LINE##*[ :=]}
for reply in "${COMPREPLY[@]}"; do printf '%s\\n' "$reply"; done
"""

# The functions of zsh's own completion, as far as they are called: what they would offer is printed.
ZSH = """
setopt no_nomatch
compset() { prefix=${words[CURRENT]#*=}; }
_files() { local p; for p in $prefix*(N${1:+/}); do print -r -- $p; done; }
_describe() { print -rl -- ${(P)2} | sed 's/\\\\:/\\x01/g; s/:.*//; s/\\x01/:/g'; }
file=$1/homeport.zsh-completion; shift
words=("$@"); CURRENT=$#words; prefix=$words[-1]
source $file
"""

FISH = """
source $argv[1]/homeport.fish
complete -C "$argv[2]" | string replace -r '\\t.*' ''
"""


@pytest.fixture(params=["bash", "zsh", "fish"])
def offered(request, tmp_path):
    """What is offered for the last of some words; three sessions are known: one running, one configured, one past."""
    (tmp_path / "config/homeport").mkdir(parents=True)
    (tmp_path / "config/homeport/configured.yaml").write_text("")
    (tmp_path / "run/homeport/running").mkdir(parents=True, mode=0o700)
    (tmp_path / "run/homeport/past").mkdir()
    for name in ("past", "running"):
        (tmp_path / f"state/homeport/{name}").mkdir(parents=True, mode=0o700)
        (tmp_path / f"state/homeport/{name}/instance").write_text("")
    (tmp_path / "state/homeport/.run").mkdir()
    for name in ("vm", "_config"):
        (tmp_path / f".lima/{name}").mkdir(parents=True)
        (tmp_path / f".lima/{name}/lima.yaml").write_text("")
    (tmp_path / "files/folder").mkdir(parents=True)
    (tmp_path / "files/file").write_text("")
    agent = Agent(str(tmp_path / "run/homeport/running/control"))
    env = {"PATH": os.path.abspath(folder()) + ":" + os.environ["PATH"], "HOME": str(tmp_path),
           "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_RUNTIME_DIR": str(tmp_path / "run"),
           "XDG_STATE_HOME": str(tmp_path / "state")}
    scripts = REPOSITORY + "/host-agent"

    def ask(*words):
        command = {"bash": ["bash", "-uc", BASH, "-", scripts, "homeport", *words],
                   "zsh": ["zsh", "-fc", ZSH, "-", scripts, "homeport", *words],
                   "fish": ["fish", "--no-config", "-c", FISH, scripts, " ".join(["homeport", *words])]}
        done = subprocess.run(command[request.param], env=env, cwd=tmp_path / "files", capture_output=True, text=True,
                              timeout=20)
        assert done.stderr == ""
        found = {line.rstrip("/") for line in done.stdout.split()}
        if request.param == "bash":  # which replaces what stands behind the last : or = of the word
            cut = words[-1][:max(words[-1].rfind(":"), words[-1].rfind("=")) + 1]
            found = {cut + line for line in found}
        elif words[-1].startswith("--") and "=" in words[-1]:  # and these the whole word, but for paths
            cut = words[-1][:words[-1].find("=") + 1]
            found = {line if line.startswith(cut) else cut + line for line in found}
        return found

    yield ask
    agent.close()


class Agent:
    """Answers as the agent of a session with two mounts and two ports does."""

    ANSWERS = {"config": ["mounts:", '- location: "/src"', '- location: "/data"', '  mountPoint: "/far"'],
               "ports json": ['[{"proto":"tcp","host":["127.0.0.1:8080","[::1]:8080"],"bytes_in":0},'
                              '{"proto":"tcp","host":[],"state":"ignored"},{"host":["127.0.0.2:80"]}]']}

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client = self.socket.accept()[0]
            except OSError:
                return
            with client:
                lines = self.ANSWERS[client.recv(100).decode().strip()]
                client.sendall("".join(f"o {line}\n" for line in lines).encode() + b"x 0\n")

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def test_commands_are_offered_first(offered):
    assert {"up", "down", "status", "enable", "init", "config", "sftp-server"} <= offered("")
    assert offered("st") == {"status"}
    assert offered("--v") == {"--version"}
    assert offered("config", "") == {"check", "show", "schema"}
    assert offered("guest", "") == {"install", "uninstall"}


def test_the_options_of_each_command_are_its_own(offered):
    assert {"--mount", "--timeout", "-F", "--verbose"} <= offered("up", "-")
    assert "--timeout" not in offered("run", "--")
    assert "--verbose" not in offered("enable", "--")
    assert offered("status", "--j") == offered("doctor", "--j") == {"--json"}
    assert offered("top", "--") == {"--interval", "--count", "--json", "--help"}
    assert offered("top", "--interval", "") == set()
    assert "-F" in offered("doctor", "-")
    assert offered("config", "check", "--") == {"--help", "--lima"}
    assert {"--move-home", "--dry-run", "-F"} <= offered("guest", "install", "-")
    assert "--move-home" not in offered("guest", "uninstall", "--")
    assert {"--writable", "--cross", "--sandbox"} <= offered("sftp-server", "--")


def test_names_are_of_sessions_that_the_command_is_about(offered):
    for command in ("up", "run", "enable", "disable", "doctor"):
        assert offered(command, "") == {"configured"}
    assert offered("up", "--lima", "") == offered("config", "check", "--lima", "v") == {"vm"}
    assert offered("up", "--lima", "vm", "") == set()
    assert offered("config", "show", "") == {"configured"}
    assert offered("guest", "install", "") == {"configured"}
    for command in ("down", "reload", "mount", "umount", "forward", "unforward", "status", "ports", "events", "top", "shell"):
        assert offered(command, "") == {"running"}
    assert offered("logs", "") == {"past", "running"}
    assert offered("status", "--json", "r") == {"running"}
    assert offered("down", "running", "") == offered("shell", "running", "") == offered("shell", "running", "-") == set()


def test_values_are_files_folders_and_words(offered):
    assert offered("up", "-F", "f") == {"file", "folder"}
    assert offered("up", "--mount", "f") == offered("sftp-server", "f") == {"folder"}
    assert offered("up", "--mount=f") == {"--mount=folder"}
    assert offered("sftp-server", "--sandbox=b") == {"--sandbox=best-effort"}
    assert offered("sftp-server", "--sandbox", "") == {"enforce", "best-effort"}
    assert offered("mount", "running", "f") == {"folder"}
    assert offered("up", "--name", "") == set()
    assert offered("up", "--name", "x", "c") == {"configured"}


def test_mounts_and_ports_are_those_of_the_session_named_before(offered):
    assert offered("umount", "running", "") == {"/src", "/far"}
    assert offered("unforward", "running", "") == {"127.0.0.1:8080", "[::1]:8080", "127.0.0.2:80"}
    assert offered("unforward", "running", "127.0.0.1:8") == {"127.0.0.1:8080"}
    assert offered("umount", "past", "") == set()
