# SPDX-License-Identifier: MIT
"""A mount must not hide the home of the guest's login: without its .ssh nobody could log in any more."""
import subprocess

import pytest

from conftest import wait_until

# The same user name and the same home on both sides, and sshd as it comes: keys in the user's home.
LAB = dict(same_home=True, sshd_options=["AuthorizedKeysFile .ssh/authorized_keys"])


def logs_in(lab):
    return lab.host.cmd(lab.guest.ssh_args() + ["true"], user="me", check=False).returncode == 0


def test_the_default_mount_goes_to_the_folder_host_of_the_guests_home(homeport, lab, guest, host_home):
    host_home.write("note", "from the host\n")
    done = homeport.up()
    lines = done.stdout.splitlines()
    assert lines[0] == "mount /home/me/host: /home/me, read-only"
    assert "login user's own home" in lines[1] and "/home/me/host" in lines[1]
    assert guest.cmd("cat /home/me/host/note", user="me").stdout == "from the host\n"
    assert homeport.status()["mounts"][0]["target"] == "/home/me/host"
    assert logs_in(lab)


@pytest.mark.parametrize("target", ["/home", "/"])
def test_a_mount_above_the_home_is_refused(homeport, lab, guest, host_home, target):
    done = homeport.up("--mount", f"~:{target}", check=False)
    assert done.returncode in (2, 4)
    assert target in done.stderr
    assert guest.mounts("fuse.homeport") == []
    assert logs_in(lab)


def test_a_mount_over_the_agents_own_socket_is_refused(homeport, lab, guest, host_home):
    done = homeport.up("--mount", "~:/home/me/.cache", check=False)
    assert done.returncode == 4
    assert done.stderr == ("homeport: mount: /home/me/.cache: it would hide /home/me/.cache/homeport, "
                           "where homeport-guest has its socket\n")
    assert logs_in(lab)


@pytest.mark.timeout(120)
def test_twenty_reconnects_with_the_mount_up(homeport, lab, guest, host_home):
    """Each one logs in anew with the key in the home beside the mount."""
    host_home.write("note", "from the host\n")
    homeport.up()
    for number in range(1, 21):
        for outer, (_, line) in guest.processes().items():
            if line.startswith("homeport-guest attach"):
                subprocess.run(["kill", "-9", str(outer)], check=False)
        wait_until(lambda: homeport.status()["reconnects"] >= number, timeout=10)
        wait_until(lambda: homeport.status()["state"] == "connected", timeout=10)
        assert guest.cmd("cat /home/me/host/note", user="me").stdout == "from the host\n"
    assert len(guest.mounts("fuse.homeport")) == 1
