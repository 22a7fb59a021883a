# SPDX-License-Identifier: MIT
"""Several at once: two `up` of one session, two sessions to one guest, and what an earlier agent left behind."""
import os
import socket
import time

from conftest import serves, wait_until


def test_two_ups_at_once_start_one_agent(homeport, host, lab, guest, host_home):
    both = [homeport.popen("up", "-F", lab.ssh_config(), "guest", stdout=-1, stderr=-1, text=True) for _ in range(2)]
    homeport.name = "guest"
    outputs = [p.communicate(timeout=30) for p in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    said = sorted(out for out, _ in outputs)
    assert said == ["guest is already up\nmount /home/me: /home/me, read-only\n", "mount /home/me: /home/me, read-only\n"]
    agents = [line for _, line in host.processes().values() if line.startswith("homeport run")]
    assert len(agents) == 1
    assert len(guest.mounts("fuse.homeport")) == 1


def test_two_sessions_to_one_guest_share_its_agent(homeport, guest, host_home):
    host_home.write("a/x", "1\n")
    host_home.write("b/x", "2\n")
    homeport.up("--name", "one", "--no-ports", "--mount", "~/a:/tmp/one")
    homeport.up("--name", "two", "--no-ports", "--mount", "~/b:/tmp/two")
    assert guest.cmd("cat /tmp/one/x /tmp/two/x", user="me").stdout == "1\n2\n"
    assert len(serves(guest)) == 1
    homeport.down("one")
    assert guest.cmd("cat /tmp/two/x", user="me").stdout == "2\n"
    homeport.down("two")


def test_the_second_session_is_told_that_the_place_is_taken(homeport, guest, host_home):
    host_home.write("a/x", "1\n")
    homeport.up("--name", "one", "--no-ports", "--mount", "~/a:/tmp/one")
    done = homeport.up("--name", "two", "--no-ports", "--mount", "~/a:/tmp/one", check=False)
    assert done.returncode == 4
    assert done.stderr == "homeport: mount: /tmp/one: something is mounted there; unmount it, or choose another mount point\n"
    assert guest.cmd("cat /tmp/one/x", user="me").stdout == "1\n"
    homeport.down("two")
    homeport.down("one")


def test_a_stale_control_socket_is_replaced(homeport, host_home):
    folder = homeport.env["XDG_RUNTIME_DIR"] + "/homeport/guest"
    os.makedirs(folder, 0o700)
    for path in (os.path.dirname(folder), folder):
        os.chown(path, 1000, 1000)
        os.chmod(path, 0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(folder + "/control")
    left.close()
    with open(folder + "/pid", "w") as f:
        f.write("1\n")
    os.chown(folder + "/pid", 1000, 1000)
    os.chown(folder + "/control", 1000, 1000)
    done = homeport.run("status", "guest")
    assert (done.returncode, done.stderr) == (3, "homeport: status: guest is not running\n")
    homeport.up("--no-mount")
    assert homeport.status()["state"] == "connected"


def test_up_is_as_quick_as_logging_in_and_mounting(homeport, host_home):
    began = time.monotonic()
    homeport.up()
    assert time.monotonic() - began < 3


def test_an_interrupted_up_leaves_nothing_running(homeport, lab, host, host_home):
    lab.link_cut()
    try:
        up = homeport.popen("up", "-F", lab.ssh_config(), "guest", stderr=-1, text=True)
        wait_until(lambda: any(line.startswith("homeport run") for _, line in host.processes().values()))
        inner = next(pid for pid, line in host.processes().values() if line.startswith("/opt/homeport/homeport up"))
        time.sleep(0.3)
        host.kill(inner, 2)
        assert up.wait(timeout=10) == 1
        assert up.stderr.read() == "homeport: up: interrupted; nothing is left running\n"
        assert not any("homeport run" in line for _, line in host.processes().values())
    finally:
        lab.link_restore()
