# SPDX-License-Identifier: MIT
"""kill -9 of each process, in turn: what survives it, what comes back by itself, and what is left."""
import os
import signal
import time

import pytest

from conftest import wait_until


def find(machine, start):
    """{pid here: command line} of a machine's processes whose command line begins with `start`."""
    return {outer: line for outer, (_, line) in machine.processes().items() if line.startswith(start)}


def kill_9(machine, start):
    found = find(machine, start)
    assert found, f"no process {start!r} in {machine.name}: {sorted(l for _, l in machine.processes().values())}"
    for outer in found:
        os.kill(outer, signal.SIGKILL)
    return found


def reads(guest, want="from the host\n"):
    done = guest.cmd("cat /home/me/note", user="me", check=False, timeout=10)
    return done.stdout == want


def connected(homeport):
    status = homeport.status()
    return status and status["state"] == "connected" and all(m["state"] == "mounted" for m in status["mounts"])


@pytest.fixture
def up(homeport, host_home):
    host_home.write("note", "from the host\n")
    homeport.up()
    return homeport


@pytest.mark.parametrize("process", ["homeport-guest attach", "sshd: me"])
def test_the_connection_dies_and_nobody_above_notices(up, lab, guest, process):
    """An open file and a working folder in the mount go on; so does a process that is reading."""
    reader = guest.popen("cd /home/me && exec 3<note && read line <&3 && echo one && sleep 3 && cat note && pwd",
                         user="me", stdout=-1, text=True)
    assert reader.stdout.readline() == "one\n"
    kill_9(guest, process)
    wait_until(lambda: up.status()["reconnects"] >= 1, timeout=10)
    wait_until(lambda: connected(up), timeout=10)
    assert reader.stdout.read() == "from the host\n/home/me\n"
    assert reader.wait() == 0
    assert reads(guest)
    assert len(guest.mounts("fuse.homeport")) == 1


def test_the_file_server_dies_and_another_takes_its_place(up, host, guest):
    for _ in range(3):
        kill_9(host, "homeport sftp-server")
        wait_until(lambda: reads(guest), timeout=10)
    status = up.status()
    assert (status["state"], status["reconnects"]) == ("connected", 0)
    assert status["mounts"][0]["state"] == "mounted"


def test_a_file_server_that_keeps_dying_is_refused_and_status_says_why(up, host, guest):
    def dies_once_more():
        for outer in find(host, "homeport sftp-server"):
            os.kill(outer, signal.SIGKILL)
        return up.status()["mounts"][0]["error"] == "its file server was ended by signal 9 (Killed)"

    wait_until(dies_once_more)
    wait_until(lambda: reads(guest), timeout=25)
    assert up.status()["mounts"][0]["error"] is None


def test_the_guests_agent_dies_and_everything_is_asked_for_again(up, guest):
    kill_9(guest, "homeport-guest serve")
    wait_until(lambda: up.status()["reconnects"] >= 1, timeout=10)
    wait_until(lambda: connected(up), timeout=10)
    wait_until(lambda: reads(guest), timeout=10)
    assert len(guest.mounts("fuse.homeport")) == 1


@pytest.mark.parametrize("alias, user", [("guest", "me"), ("guest-plain", "plain")])
def test_the_guests_agent_and_its_helper_die_and_their_dead_mount_is_taken_away(homeport, lab, guest, host_home, alias,
                                                                                user):
    host_home.write("note", "from the host\n")
    guest.cmd(["mkdir", "-p", f"/tmp/of-{user}"], user=user)
    homeport.up("--mount", f"~:/tmp/of-{user}", host=alias)
    for process in ("/opt/homeport/homeport-guest helper", "homeport-guest serve"):
        kill_9(guest, process)

    def there():
        return guest.cmd(["cat", f"/tmp/of-{user}/note"], user=user, check=False).stdout == "from the host\n"

    wait_until(lambda: homeport.status()["reconnects"] >= 1 and connected(homeport) and there())
    assert len(guest.mounts("fuse.homeport")) == 1


def test_the_hosts_agent_dies_and_its_successor_finds_the_mount(up, lab, host, guest):
    holder = guest.popen("cd /home/me && sleep 60", user="me")
    wait_until(lambda: find(guest, "sleep 60"))
    kill_9(host, "homeport run")
    wait_until(lambda: not find(host, "homeport sftp-server"), what="its file servers end with it")
    wait_until(lambda: not [name for name in host.listeners() if not name.endswith(":22")])
    assert len(guest.mounts("fuse.homeport")) == 1, "programs in the guest wait, they do not fail"
    done = up.run("status", "guest")
    assert (done.returncode, done.stderr) == (3, "homeport: status: guest is not running\n")
    up.up()
    assert reads(guest)
    assert len(guest.mounts("fuse.homeport")) == 1
    assert guest.cmd("readlink /proc/$(pgrep -f '^sleep 60')/cwd", user="me").stdout == "/home/me\n"
    holder.kill()
    holder.wait()


def test_a_lost_link_keeps_the_mount_and_its_readers_wait(up, lab, guest):
    lab.link_cut()
    wait_until(lambda: up.status()["state"] == "reconnecting", timeout=15)
    assert len(guest.mounts("fuse.homeport")) == 1
    reader = guest.popen(["cat", "/home/me/note"], user="me", stdout=-1, text=True)
    time.sleep(0.5)
    assert reader.poll() is None
    lab.link_restore()
    assert reader.communicate(timeout=15)[0] == "from the host\n"
    assert connected(up)


def test_down_without_a_connection_ends_here_and_says_what_stays(up, lab, guest):
    lab.link_cut()
    wait_until(lambda: up.status()["state"] == "reconnecting", timeout=15)
    began = time.monotonic()
    up.down()
    assert time.monotonic() - began < 3
    assert "the guest cannot be reached; what it mounted stays" in up.logs()
    lab.link_restore()
    up.up()
    assert reads(guest)


def test_a_paused_guest_comes_back_as_if_nothing_was(up, lab, guest):
    lab.pause()
    wait_until(lambda: up.status()["state"] == "reconnecting", timeout=15)
    lab.resume()
    wait_until(lambda: connected(up), timeout=15)
    assert reads(guest)
