# SPDX-License-Identifier: MIT
"""The helper that systemd starts for a connection: root mounts for whom /etc/homeport/mounts.conf names, without sudo.

The units run as they are, under a real systemd: a manager of root's own in the guest, as it has no systemd as pid 1."""
import os
import re
import subprocess

import pytest

from conftest import wait_until
from lab import BUILD_AT, REPOSITORY
from net import answers, listen

POLICY = "/etc/homeport/mounts.conf"

MANAGER = """
set -e
export XDG_RUNTIME_DIR=/run/manager
mkdir -p /run/systemd/system /run/manager /sys/fs/cgroup
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "$GROUP" && echo $$ >"$GROUP/cgroup.procs"
exec /lib/systemd/systemd --user --log-target=null
"""


@pytest.fixture
def policy(guest):
    """Writes the file; it is gone in the end."""
    def write(text, mode=0o644, uid=0):
        os.makedirs(guest.path("/etc/homeport"), exist_ok=True)
        with open(guest.path(POLICY), "w") as f:
            f.write(text)
        os.chmod(guest.path(POLICY), mode)
        os.chown(guest.path(POLICY), uid, 0)
    yield write
    guest.cmd(["rm", "-rf", "/etc/homeport"])


@pytest.fixture
def service(lab, guest):
    folder, group = "/root/.config/systemd/user", f"/sys/fs/cgroup/{os.path.basename(lab.dir)}-helper"
    guest.cmd(["mkdir", "-p", folder])
    for unit in ("homeport-helper.socket", "homeport-helper@.service"):
        with open(guest.path(f"{folder}/{unit}"), "w") as f:
            f.write(open(f"{REPOSITORY}/systemd/{unit}").read().replace("/usr/local/bin", BUILD_AT))
    there = guest.cmd(["mountpoint", "-q", "/sys/fs/cgroup"], check=False).returncode == 0
    running = guest.popen(["bash", "-c", MANAGER], env={"HOME": "/root", "GROUP": group}, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: running.poll() or os.path.exists(guest.path("/run/manager/systemd/private")))
    if running.poll():
        pytest.skip("no control groups can be made here: " + running.stderr.read().strip())

    def systemctl(*argv):
        return guest.cmd(["systemctl", "--user", *argv], check=False, env={"XDG_RUNTIME_DIR": "/run/manager"}).stdout.strip()

    systemctl("start", "homeport-helper.socket")
    assert os.path.exists(guest.path("/run/homeport-helper"))
    yield systemctl
    systemctl("exit")
    running.wait(timeout=20)
    guest.cmd(["find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"], check=False)
    if not there:
        guest.cmd(["umount", "/sys/fs/cgroup"])
    guest.cmd("rm -rf /run/homeport-helper /run/manager /root/.config/systemd; rmdir -p /far/away /far", check=False)


def up(homeport, target, *options):
    homeport.up("--mount", f"~:{target}:w", *options, host="guest-plain")
    return homeport.status()["mounts"][0]


def test_who_is_named_has_a_mount_of_roots_that_all_may_see(service, policy, homeport, guest, host_home):
    host_home.write("a", "a\n")
    policy("# who may\nplain /far\n")
    mount = up(homeport, "/far/away")
    assert (mount["state"], mount["error"]) == ("mounted", None)
    assert guest.cmd("cat /far/away/a", user="me").stdout == "a\n"  # another user
    assert guest.cmd("echo b > /far/away/b; cat /far/away/b", user="plain").stdout == "b\n"
    [options] = [line.split()[3] for line in guest.cmd(["cat", "/proc/mounts"]).stdout.splitlines() if line.split()[1] == "/far/away"]
    assert {"nosuid", "nodev", "allow_other", "default_permissions"} <= set(options.split(","))
    assert "homeport-helper@" in service("list-units", "--plain", "--no-legend", "homeport-helper@*")
    # Nobody takes it away while it is served; its end is the agent's.
    service("stop", "homeport-helper@*.service", "--no-block")
    assert guest.cmd("cat /far/away/a", user="me").stdout == "a\n"
    homeport.down()
    assert not guest.mounts("fuse")


def watched(guest):
    """What the agent of `plain` says of how it knows of ports."""
    text = guest.cmd(["homeport-guest", "status"], user="plain").stdout
    return next((line.split("ports: ", 1)[1] for line in text.splitlines() if line.startswith("  ports: ")), None)


def test_who_is_named_has_ports_watched_by_root_and_who_is_not_does_not(service, policy, homeport, host, guest):
    policy("plain /nowhere/else\n")
    homeport.up("--no-mount", host="guest-plain")
    wait_until(lambda: watched(guest))
    # Or what the helper says of a kernel that cannot.
    assert re.fullmatch("what listens is (watched by BPF, with root's help|polled, not watched by BPF: "
                        "(the kernel .*|no cgroup2 .*|in a container.*))", watched(guest))
    server = listen(guest, 8471)
    wait_until(lambda: answers(host, 8471))
    server.close()
    homeport.down()
    wait_until(lambda: not service("list-units", "--plain", "--no-legend", "homeport-helper@*"))
    policy("me\n")
    homeport.up("--no-mount", host="guest-plain")
    wait_until(lambda: watched(guest) ==
               "what listens is polled, not watched by BPF: /etc/homeport/mounts.conf does not name plain")


def test_the_agent_is_killed_and_the_mount_goes_with_it(service, policy, homeport, guest, host_home):
    host_home.write("a", "a\n")
    policy("2001\n")
    up(homeport, "/far")
    for inner, line in list(guest.processes().values()):
        if "homeport-guest serve" in line or "homeport-guest attach" in line:
            guest.cmd(["kill", "-9", str(inner)], check=False)
    # The next one mounts anew, by the same way.
    wait_until(lambda: guest.cmd("cat /far/a", user="me", check=False).stdout == "a\n", timeout=30, every=0.2)


@pytest.mark.parametrize("text, mode, uid", [
    ("me /far\n", 0o644, 0),                 # somebody else
    ("plain /near /farther\n", 0o644, 0),    # elsewhere
    ("plain /far\n", 0o666, 0),              # anybody may write it
    ("plain /far\n", 0o644, 2001),           # it is the user's own
    ("plain /far\nother not-a-path\n", 0o644, 0),
    ("plain /far\nother /etc\n", 0o644, 0),
    (None, 0, 0),
])
def test_who_is_not_named_has_none(service, policy, homeport, guest, host_home, text, mode, uid):
    if text is not None:
        policy(text, mode, uid)
    homeport.run("up", "-F", homeport.lab.ssh_config("me"), "--mount", "~:/far", "guest-plain")
    homeport.name = "guest-plain"
    assert homeport.status()["mounts"][0]["state"] == "failed"
    assert not guest.mounts("fuse") and not os.path.exists(guest.path("/far"))
    # By fusermount3 as before, where that may.
    homeport.down()
    guest.cmd(["mkdir", "-p", "/home/plain.guest/there"], user="plain")
    assert up(homeport, "/home/plain.guest/there")["state"] == "mounted"


def test_named_or_not_the_systems_and_other_peoples_folders_are_out_of_reach(service, policy, homeport, guest, host_home):
    policy("plain\n")
    for target in ("/etc/homeport-x", "/usr", "/home/me.guest/x", "/root/x"):
        homeport.run("up", "-F", homeport.lab.ssh_config("me"), "--mount", f"~:{target}", "guest-plain")
        homeport.name = "guest-plain"
        assert homeport.status()["mounts"][0]["state"] == "failed", target
        homeport.down()
    assert not guest.mounts("fuse")
