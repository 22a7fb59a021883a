# SPDX-License-Identifier: MIT
"""`make demo` shows what it says, for root and for an ordinary user, and leaves nothing.

It runs on the lab's host, so that the homes it shows are the lab's and not those of whoever runs the tests.
"""
import os

import pytest

from conftest import wait_until
from lab import BUILD_AT, REPOSITORY


@pytest.mark.parametrize("user", ["root", "me"])
@pytest.mark.timeout(120)
def test_demo_shows_everything_and_leaves_nothing(host, user):
    env = {"BUILD": BUILD_AT, "TMPDIR": f"/run/demo-{user}"}
    if user != "root":
        env.update(SUDO_USER=user, SUDO_UID=str(host.users[user]["uid"]))
    host.cmd(["mkdir", env["TMPDIR"]])
    home = host.path(host.home(user))
    with open(home + "/of-the-host.txt", "w") as f:
        f.write("x")
    before = sorted(os.listdir(home))
    done = host.cmd([REPOSITORY + "/tests/lab/demo.sh"], env=env, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok: ") == 8 and "FAILED" not in done.stdout
    assert f"{host.home(user)} in the guest, at the same path" in done.stdout
    wait_until(lambda: host.processes() == {}, timeout=5, what="no process is left")  # one may just be dying
    assert sorted(os.listdir(home)) == before
    assert os.listdir(host.path(env["TMPDIR"])) == []
