# SPDX-License-Identifier: MIT
"""The user's ssh-agent at one path of the guest, when asked: ssh.forwardAgent."""
import os
import signal
import stat

import pytest

from conftest import wait_until
from test_env import shell
from test_unix_sockets import row_of

PATH = "/home/me.guest/.cache/homeport/guest.agent"


def up(homeport, env, more="  forwardAgent: true\n"):
    homeport.write_config("guest", f"ssh:\n  configFile: {homeport.lab.ssh_config()}\n{more}mounts: []\n")
    homeport.name = "guest"
    done = homeport.run("up", "guest", env=env)
    assert done.returncode == 0, done.stderr + homeport.logs()
    return done


@pytest.fixture
def agent(host, host_home):
    """The environment of one that has a key, and that key as ssh-add shows it."""
    socket = "/home/me/agent.sock"
    running = host.popen(["ssh-agent", "-D", "-a", socket], user="me")
    wait_until(lambda: os.path.exists(host.path(socket)), what="ssh-agent is there")
    env = {"SSH_AUTH_SOCK": socket}
    host.cmd("ssh-keygen -qt ed25519 -N '' -C marked -f ~/key && ssh-add -q ~/key", user="me", env=env)
    yield env
    for outer, (_, line) in host.processes().items():
        if line.startswith("ssh-agent -D"):
            os.kill(outer, signal.SIGTERM)
    running.wait()


def keys(homeport, guest, path=PATH):
    return guest.cmd(["ssh-add", "-l"], user="me", env={"SSH_AUTH_SOCK": path}, check=False).stdout


def test_it_answers_there_when_asked_and_outlives_the_connection(homeport, lab, host, guest, agent):
    done = up(homeport, agent)
    assert f"ssh-agent /home/me/agent.sock: guest {PATH}" in done.stdout
    assert " marked (ED25519)" in keys(homeport, guest)
    there = os.stat(guest.path(PATH))
    assert (stat.S_IMODE(there.st_mode), there.st_uid) == (0o600, 2000)
    assert row_of(homeport, PATH)["process"] == "ssh-agent"
    done = shell(homeport, "sh", "-c", "echo $SSH_AUTH_SOCK; ssh-add -l")
    assert done.stdout.startswith(PATH + "\n") and " marked (ED25519)" in done.stdout
    lab.link_cut()
    wait_until(lambda: homeport.status()["state"] == "reconnecting", timeout=20)
    lab.link_restore()
    wait_until(lambda: homeport.status()["state"] == "connected", timeout=20)
    assert " marked (ED25519)" in keys(homeport, guest)
    assert os.stat(guest.path(PATH)).st_ino == there.st_ino
    homeport.down()
    wait_until(lambda: not os.path.exists(guest.path(PATH)), what="the guest's agent has heard of it")


def test_it_is_not_there_unasked_and_one_that_is_missing_is_told(homeport, guest, agent):
    up(homeport, agent, "")
    assert not os.path.exists(guest.path(PATH))
    assert shell(homeport, "sh", "-c", "echo ${SSH_AUTH_SOCK-none}").stdout == "none\n"
    homeport.down()
    up(homeport, {"SSH_AUTH_SOCK": ""})
    done = shell(homeport, "sh", "-c", "echo ${SSH_AUTH_SOCK-none}")
    assert (done.stdout, done.stderr) == (
        "none\n", "homeport: shell: without the ssh-agent: SSH_AUTH_SOCK is not set for homeport here\n")
    assert "there is no ssh-agent to forward" in homeport.logs()
