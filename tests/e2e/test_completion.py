# SPDX-License-Identifier: MIT
"""What Tab offers: commands, options, and names of sessions. Needs nothing but the program."""
import os
import socket
import subprocess

import pytest

from lab import REPOSITORY
from link_probe import folder

SCRIPT = """
source "$1"; program=$2; shift 2
COMP_WORDS=(homeport "$@"); COMP_CWORD=$#
compopt() { :; }
_homeport "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path):
    """What is offered for the last of some words; three sessions are known: one running, one configured, one past."""
    (tmp_path / "config/homeport").mkdir(parents=True)
    (tmp_path / "config/homeport/configured.yaml").write_text("")
    (tmp_path / "run/homeport/running").mkdir(parents=True)
    (tmp_path / "run/homeport/past").mkdir()
    (tmp_path / "state/homeport/past").mkdir(parents=True)
    (tmp_path / "state/homeport/.run").mkdir()
    (tmp_path / "files/folder").mkdir(parents=True)
    (tmp_path / "files/file").write_text("")
    control = socket.socket(socket.AF_UNIX)
    control.bind(str(tmp_path / "run/homeport/running/control"))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"),
           "XDG_RUNTIME_DIR": str(tmp_path / "run"), "XDG_STATE_HOME": str(tmp_path / "state")}

    def ask(*words):
        done = subprocess.run(["bash", "-uc", SCRIPT, "-", REPOSITORY + "/host-agent/homeport.bash-completion",
                               os.path.abspath(folder()) + "/homeport", *words], env=env, cwd=tmp_path / "files",
                              capture_output=True, text=True, timeout=10)
        assert done.stderr == ""
        return set(done.stdout.split())

    yield ask
    control.close()


def test_commands_are_offered_first(offered):
    assert {"up", "down", "status", "config", "sftp-server", "--version"} <= offered("")
    assert offered("st") == {"status"}
    assert offered("config", "") == {"check", "show"}


def test_the_options_of_each_command_are_its_own(offered):
    assert {"--mount", "--timeout", "-F", "--verbose"} <= offered("up", "-")
    assert "--timeout" not in offered("run", "--")
    assert offered("status", "--j") == {"--json"}
    assert offered("config", "check", "--") == {"--help"}
    assert {"--writable", "--cross", "--sandbox"} <= offered("sftp-server", "--")


def test_names_are_of_sessions_that_the_command_is_about(offered):
    assert offered("up", "") == {"configured"}
    assert offered("config", "show", "") == {"configured"}
    for command in ("down", "reload", "mount", "umount", "forward", "unforward", "status", "ports", "events"):
        assert offered(command, "") == {"running"}
    assert offered("logs", "") == {"past"}


def test_values_are_files_folders_and_words(offered):
    assert offered("up", "-F", "f") == {"file", "folder"}
    assert offered("up", "--mount", "f") == offered("sftp-server", "f") == {"folder"}
    assert offered("sftp-server", "--sandbox", "=", "b") == {"best-effort"}
    assert offered("sftp-server", "--sandbox", "=") == {"enforce", "best-effort"}
    assert offered("mount", "running", "f") == {"folder"}
    assert offered("up", "--name", "") == set()
