# SPDX-License-Identifier: MIT
"""The lab keeps its promises: a guest as good as a VM for our purpose, and nothing of it left afterwards."""
import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from conftest import wait_until
from lab import HERE, PREFIX, Lab

pytestmark = pytest.mark.root


@pytest.mark.parametrize("host_user", ["me", "root"])
@pytest.mark.parametrize("user", ["root", "me", "plain"])
def test_ssh_works(lab, host_user, user):
    done = lab.host.cmd(lab.guest.ssh_args(user, host_user) + ["id -un; hostname"], user=host_user)
    assert done.stdout.split() == [user, "lab-guest"]


@pytest.mark.parametrize("alias", ["guest", "guest6"])
def test_ssh_works_over_both_families(lab, alias):
    where = lab.host.cmd(["ssh", "-F", lab.ssh_config(), alias, "echo $SSH_CONNECTION"], user="me").stdout.split()
    assert where[2] == (lab.guest.address if alias == "guest" else lab.guest.address6)


def test_ssh_uses_the_home_of_the_lab_and_not_of_this_machine(lab, host_home):
    lab.use_home_ssh("me")
    assert lab.host.cmd(["ssh", "guest", "id -un"], user="me").stdout == "me\n"


def test_fuse_device_is_open_to_everybody_and_works(guest):
    node = os.stat(guest.path("/dev/fuse"))
    assert stat.S_IMODE(node.st_mode) == 0o666
    assert node.st_rdev == os.makedev(10, 229)
    guest.cmd("exec 3<>/dev/fuse", user="plain")


@pytest.mark.parametrize("user", ["root", "me", "plain"])
def test_fuse_mounts_work_for_everybody(guest, user):
    """By mount(2) for root, by the set-uid fusermount3 for the others; sshfs stands for any FUSE server."""
    folder = f"/tmp/mount-{user}"
    guest.cmd(["mkdir", folder], user=user)
    server = guest.popen("coproc S { exec /usr/lib/openssh/sftp-server; };"
                         f"exec sshfs -f -o passive :/etc {folder} <&${{S[0]}} >&${{S[1]}}", user=user)
    wait_until(lambda: guest.mounts("fuse.sshfs"), what="the mount")
    assert guest.cmd(["cat", folder + "/hostname"], user=user).stdout == "lab-guest\n"
    guest.cmd(["fusermount3", "-u", folder], user=user)
    assert not guest.mounts("fuse.sshfs")
    server.wait(timeout=5)


def test_sudo_is_for_me_alone(guest):
    assert guest.cmd(["sudo", "-n", "id", "-u"], user="me").stdout == "0\n"
    assert guest.cmd(["sudo", "-n", "id", "-u"], user="plain", check=False).returncode != 0


def test_guest_has_folders_of_its_own(lab, host, guest, host_home):
    host_home.write("secret", "x")
    for folder in ("/tmp", "/run", "/root", "/home/me.guest"):
        guest.cmd(f"echo guest > {folder}/only-here")
        assert not os.path.exists(folder + "/only-here")
        assert not os.path.exists(host.path(folder) + "/only-here")
    assert not os.path.exists(guest.path(host_home.inside))
    assert not os.path.exists(guest.path(lab.dir))


def test_written_system_files_are_the_guests_alone(guest):
    guest.cmd("echo changed > /etc/lab-was-here; rm /etc/services")
    assert not os.path.exists("/etc/lab-was-here")
    assert os.path.exists("/etc/services")


def test_processes_of_one_machine_are_unseen_by_the_other(host, guest):
    sleeper = guest.popen(["sleep", "61.5"], user="plain")
    wait_until(lambda: "sleep 61.5" in [line for _, line in guest.processes().values()])
    assert "sleep 61.5" not in host.cmd(["ps", "ax"]).stdout
    sleeper.kill()
    wait_until(lambda: "sleep 61.5" not in [line for _, line in guest.processes().values()],
               what="a command dies with the one who started it")


def answers(lab, timeout=1):
    done = lab.host.cmd(["ssh", "-F", lab.ssh_config(), "-o", f"ConnectTimeout={timeout}", "guest", "true"], user="me",
                        check=False)
    return done.returncode == 0


def test_cut_link_swallows_packets_silently_and_comes_back(lab):
    held = lab.host.popen(lab.guest.ssh_args() + ["cat"], user="me", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    held.stdin.write(b"before\n")
    held.stdin.flush()
    assert held.stdout.readline() == b"before\n"
    lab.link_cut()
    assert not answers(lab)
    assert "LOWER_UP" in lab.host.cmd(["ip", "link", "show", "eth0"]).stdout
    held.stdin.write(b"after\n")
    held.stdin.flush()
    lab.link_restore()
    assert held.stdout.readline() == b"after\n"
    assert answers(lab)
    held.kill()
    held.communicate()


def test_route_that_goes_away_comes_back(lab):
    lab.route_down()
    assert not answers(lab)
    lab.route_up()
    assert answers(lab)
    assert lab.host.cmd(["ssh", "-F", lab.ssh_config(), "guest6", "true"], user="me", check=False).returncode == 0


def test_paused_guest_stands_still(lab):
    ticks = lab.guest.popen("while sleep 0.02; do date +%s%N > /tmp/tick; done")
    tick = lab.guest.path("/tmp/tick")
    wait_until(lambda: os.path.exists(tick) and os.path.getsize(tick))
    lab.pause()
    time.sleep(0.1)
    first = open(tick).read()
    time.sleep(0.3)
    assert open(tick).read() == first
    lab.resume()
    wait_until(lambda: open(tick).read() not in (first, ""))
    assert answers(lab)
    ticks.kill()


def test_two_labs_at_once(lab, make_lab):
    other = make_lab(guest_name="second", same_home=True, user_allow_other=True, sshd_options=["PermitRootLogin no"])
    for one, name in ((lab, "lab-guest"), (other, "second")):
        assert one.host.cmd(one.guest.ssh_args() + ["hostname"], user="me").stdout == name + "\n"
    assert other.guest.home("me") == other.host.home("me")
    assert "user_allow_other" in open(other.guest.path("/etc/fuse.conf")).read()
    assert other.host.cmd(other.guest.ssh_args("root") + ["true"], user="me", check=False).returncode == 255


def mentions(folder):
    """Processes and mounts of this machine that have to do with a lab."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if folder in open(f"/proc/{pid}/mountinfo").read() + open(f"/proc/{pid}/cmdline").read():
                found.append(pid)
        except OSError:
            pass
    return found


def links():
    return sorted(os.listdir("/sys/class/net"))


def test_nothing_is_left_after_teardown():
    before = links()
    lab = Lab()
    assert links() == before
    assert mentions(lab.dir)
    lab.guest.popen(["sleep", "1000"])
    lab.host.cmd("setsid sleep 1000 >/dev/null 2>&1 &")
    lab.down()
    assert not mentions(lab.dir)
    assert not os.path.exists(lab.dir)
    assert links() == before


@pytest.mark.parametrize("victim", ["maker", "keeper"])
def test_nothing_is_left_after_kill_9(victim):
    code = ("import json, sys, time; sys.path.insert(0, sys.argv[1]); from lab import Lab; lab = Lab();"
            "lab.guest.popen(['sleep', '1000']); lab.host.cmd('setsid sleep 1000 >/dev/null 2>&1 &');"
            "print(json.dumps([lab.dir, lab._keeper_pid]), flush=True); time.sleep(1000)")
    maker = subprocess.Popen([sys.executable, "-B", "-c", code, HERE], stdout=subprocess.PIPE, text=True)
    folder, keeper = json.loads(maker.stdout.readline())
    assert mentions(folder)
    os.kill(maker.pid if victim == "maker" else keeper, signal.SIGKILL)
    wait_until(lambda: not mentions(folder), what="every process and mount of the lab is gone")
    maker.kill()
    maker.wait()
    maker.stdout.close()
    if victim == "maker":
        wait_until(lambda: not os.path.exists(folder), what="the keeper removes the folder")
    else:
        os.utime(folder, (0, 0))
        Lab().down()
        assert not os.path.exists(folder)


def test_command_line_makes_finds_and_ends_a_lab():
    name = f"cli-{os.getpid()}"
    tool = os.path.join(HERE, "lab.py")
    subprocess.run([tool, "up", name], check=True, stdout=subprocess.DEVNULL)
    try:
        done = subprocess.run([tool, "exec", "-u", "me", name, "guest", "id", "-un"], check=True, capture_output=True)
        assert done.stdout == b"me\n"
    finally:
        subprocess.run([tool, "down", name], check=True)
    assert not os.path.exists(PREFIX + name)
    missing = subprocess.run([tool, "exec", name, "guest", "id"], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr) == (3, f"lab.py: there is no lab named {name}\n")
