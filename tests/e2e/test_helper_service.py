# SPDX-License-Identifier: MIT
"""The helper that systemd starts for a connection: root mounts for whom /etc/homeport/mounts.conf names, without sudo.
And the agent that needs nothing else, as the drop-in of `homeport-guest install --helper` keeps it in.

The units run as they are, under a real systemd: a manager of root's own in the guest, as it has no systemd as pid 1."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import wait_until
from lab import BUILD_AT, REPOSITORY
from net import answers, connect, listen
import test_udp as udp
from test_unix_sockets import dial, exchange, listen_at

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


AGENT = "homeport-guest@plain.service"
# What the first process has made and this manager has not: the files that hide others, a way for the user to tell it
# that it is ready, and mounts that are passed on.
LIKE_PID_1 = ("mkdir -p -m 0 /run/systemd/inaccessible/dir && touch /run/systemd/inaccessible/reg && "
              "chmod 0 /run/systemd/inaccessible/reg && chmod 777 /run/manager/systemd/notify && mount --make-rshared /")


@pytest.fixture
def agent(service, homeport, guest):
    """The agent of `plain` in its unit with the drop-in, started again before a host is back."""
    folder = guest.path("/root/.config/systemd/user")
    os.makedirs(f"{folder}/{AGENT}.d")
    with open(f"{folder}/homeport-guest@.service", "w") as f:
        f.write(open(f"{REPOSITORY}/systemd/homeport-guest@.service").read().replace("/usr/local/bin", BUILD_AT))
    shutil.copy(f"{REPOSITORY}/systemd/homeport-guest-hardened.conf", f"{folder}/{AGENT}.d/hardened.conf")
    with open(f"{folder}/{AGENT}.d/soon.conf", "w") as f:
        f.write("[Service]\nRestartSec=100ms\nStandardError=append:/tmp/agent.log\n")
    guest.cmd(LIKE_PID_1)
    wait_until(lambda: not any("homeport-guest serve" in line for _, line in guest.processes().values()))
    service("daemon-reload")
    service("start", AGENT)
    assert service("is-active", AGENT) == "active", service("status", AGENT) + guest.cmd("cat /tmp/agent.log").stdout
    yield service
    service("stop", AGENT)
    guest.cmd("mount --make-rprivate /; rm -rf /tmp/agent.log /run/systemd/inaccessible")


def agent_pid(service):
    return int(service("show", "--property=MainPID", "--value", AGENT))


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
    # What the unit leaves it is enough to mount it otherwise.
    for more, is_read_only in (("", True), (":w", False)):
        assert homeport.run("mount", homeport.name, "~:/far/away" + more).returncode == 0
        [(_, _, options)] = guest.mounts("fuse.homeport")
        assert ("ro" in options.split(",")) is is_read_only
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


# ------------------------------------------------------------------------------------------------- the hardened agent


def sees(guest, pid, target):
    """Whether a process has the mount in its view of the system."""
    return f" {target} " in guest.cmd(["cat", f"/proc/{pid}/mountinfo"]).stdout


def serves(service, guest):
    """The unit's own process serves the host, and is kept in."""
    pid = agent_pid(service)
    status = guest.cmd(["cat", f"/proc/{pid}/status"]).stdout
    assert re.search("NoNewPrivs:\t1\nSeccomp:\t2", status) and re.search("CapBnd:\t0+\n", status)
    assert service("show", "--property=StatusText", "--value", AGENT) == "1 host"
    return pid


def test_a_hardened_agent_mounts_by_the_helper_for_all_to_see(agent, policy, homeport, guest, host_home):
    host_home.write("a", "a\n")
    policy("plain /far\n")
    assert up(homeport, "/far/away")["state"] == "mounted"
    pid = serves(agent, guest)
    assert guest.cmd("cat /far/away/a", user="me").stdout == "a\n"
    assert guest.cmd("echo b > /far/away/b; cat /far/away/b", user="plain").stdout == "b\n"
    assert sees(guest, pid, "/far/away")
    started = time.monotonic()
    homeport.down()
    assert time.monotonic() - started < 15, "its own view of the mount keeps nobody waiting"
    assert not guest.mounts("fuse") and not sees(guest, pid, "/far/away")


def way_to_mount(guest):
    """What doctor says to plain, whose login could mount by fusermount3."""
    done = guest.cmd([f"{BUILD_AT}/homeport-guest", "doctor", "--json"], user="plain", check=False)
    return next([c["verdict"], c["what"], c["do"]] for c in json.loads(done.stdout) if c["name"] == "way to mount")


def test_where_the_helper_does_not_mount_a_hardened_agent_does_not_either(agent, policy, homeport, guest, host_home):
    """Neither sudo nor fusermount3 would: it says whose word it is."""
    policy("plain /far\n")
    homeport.run("up", "-F", homeport.lab.ssh_config("me"), "--mount", "~:/home/plain.guest/x", "guest-plain")
    homeport.name = "guest-plain"
    mount = homeport.status()["mounts"][0]
    assert (mount["state"], mount["error"]) == (
        "failed", "/home/plain.guest/x: /etc/homeport/mounts.conf does not give it to plain")
    assert way_to_mount(guest) == ["ok", "by homeport-helper.socket, where /etc/homeport/mounts.conf allows it, else not at all", None]
    homeport.down()
    agent("stop", "homeport-helper.socket")
    verdict, what, todo = way_to_mount(guest)
    assert verdict == "problem" and "does not answer" in what and todo == "sudo systemctl start homeport-helper.socket"
    homeport.run("up", "-F", homeport.lab.ssh_config("me"), "--mount", "~:/far", "guest-plain")
    assert "/run/homeport-helper does not answer" in homeport.status()["mounts"][0]["error"]
    homeport.down()


def test_the_next_hardened_agent_goes_on_with_the_mounts(agent, policy, homeport, lab, guest, host_home):
    """They wait for it while it is started, whose view of the system they are in; as it is asked to go, and as it dies."""
    host_home.write("a", "a\n")
    host_home.write("work/b", "b\n")
    policy("plain /far\n")
    up(homeport, "/far/away")
    first = serves(agent, guest)
    script = "import os, sys\nf = open('/far/away/a')\nfor _ in sys.stdin: print(os.pread(f.fileno(), 9, 0), os.listdir('.'), flush=True)"
    user = guest.popen(["python3", "-c", script], user="me", cwd="/far/away/work", stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, text=True)
    device = guest.cmd("stat -c %d /far/away").stdout

    def is_used():
        user.stdin.write("\n")
        user.stdin.flush()
        return user.stdout.readline() == "b'a\\n' ['b']\n"

    assert is_used()
    host_home.write("new", "")  # what the kernel has of the top is no longer valid
    for end in (lambda: agent("restart", AGENT), lambda: guest.kill(first, signal.SIGKILL)):
        lab.link_cut()  # or else the host's next connection may start one that is in no unit
        end()
        following = wait_until(lambda: agent_pid(agent) not in (0, first) and agent_pid(agent))
        assert sees(guest, following, "/far/away")
        lab.link_restore()
        wait_until(lambda: agent("show", "--property=StatusText", "--value", AGENT) == "1 host", timeout=20)
        assert is_used() and serves(agent, guest) == following
        first = following
    assert guest.cmd("stat -c %d /far/away").stdout == device, "it is the very same mount"
    user.stdin.close()
    user.wait(timeout=10)
    user.stdout.close()
    homeport.down()
    assert not guest.mounts("fuse")


def test_a_signal_to_another_users_program_interrupts_nothing(agent, policy, homeport, lab, guest, host_home):
    """The agent has to look whether it was killed: ProtectProc= would have it find nothing there."""
    host_home.write("a", "a\n")
    policy("plain /far\n")
    up(homeport, "/far/away", "--no-ports")
    serves(agent, guest)
    guest.cmd("cat /far/away/a", user="me")
    script = ("import os,signal; signal.signal(signal.SIGALRM, lambda *a: None);"
              "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05); print(flush=True); os.link('/far/away/x', '/far/away/y');"
              "signal.setitimer(signal.ITIMER_REAL, 0)")
    guest.cmd("touch /far/away/x", user="plain")
    lab.link_cut()
    linker = guest.popen(["python3", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    linker.stdout.readline()
    time.sleep(0.5)
    assert linker.poll() is None
    lab.link_restore()
    said = linker.communicate(timeout=20)[1]
    assert (linker.returncode, said) == (0, "")


@pytest.mark.parametrize("named", ["named", "polled"])
def test_a_hardened_agent_forwards_all_there_is(agent, policy, homeport, host, guest, host_home, named):
    policy("plain\n" if named == "named" else "me\n")
    server, echo = listen(guest, 8471), udp.serve(guest, 8472)
    for path in ("/tmp/a.sock", "/dev/shm/a.sock", "/home/plain.guest/a.sock"):
        listen_at(guest, path, user="plain").close()
    back = listen(host, 9473)
    homeport.write_config("guest-plain", f"""
ssh: {{configFile: {homeport.lab.ssh_config()}}}
mounts: []
portForwards:
- {{guestSocket: /tmp/a.sock, hostSocket: tmp.sock}}
- {{guestSocket: /dev/shm/a.sock, hostSocket: shm.sock}}
- {{guestSocket: /home/plain.guest/a.sock, hostSocket: home.sock}}
- {{guestPort: 8473, hostPort: 9473, reverse: true}}
- {{guestPort: 8474, hostPort: 9474, proto: udp, reverse: true}}
- {{guestSocket: /tmp/back.sock, hostPort: 9473, reverse: true}}
- {{guestSocket: /home/plain.guest/in/back.sock, hostPort: 9473, reverse: true}}
""")
    homeport.name = "guest-plain"
    done = homeport.run("up", "guest-plain")
    assert done.returncode == 0, done.stderr + homeport.logs()
    serves(agent, guest)
    wait_until(lambda: homeport.status()["guest"]["direct"], what="a way beside ssh")
    wait_until(lambda: watched(guest))
    assert named == "named" or "polled" in watched(guest)
    wait_until(lambda: answers(host, 8471))
    server.accept()[0].close()
    exchange(connect(host, 8471), server)
    udp.forwarded(homeport, 8472)
    udp.exchange(udp.client(host, 8472), echo)
    for path, name in (("/tmp/a.sock", "tmp"), ("/dev/shm/a.sock", "shm"), ("/home/plain.guest/a.sock", "home")):
        local = listen_at(guest, path, user="plain")
        exchange(dial(f"{homeport.env['XDG_RUNTIME_DIR']}/homeport/guest-plain/sock/{name}.sock"), local)
        local.close()
        os.unlink(guest.path(path))
    exchange(connect(guest, 8473), back)
    udp.exchange(udp.client(guest, 8474), udp.serve(host, 9474))
    for path in ("/tmp/back.sock", "/home/plain.guest/in/back.sock"):
        exchange(dial(guest.path(path)), back)
    own = guest.popen(["python3", "-m", "http.server", "--bind", "127.0.0.1", "8475"], user="plain", stderr=-3)
    row = wait_until(lambda: next((r for r in homeport.status()["ports"] if r["guest"] == "127.0.0.1:8475" and r["process"]), None))
    assert row["process"] == "python3", "its own user's processes are there to be looked up"
    own.kill()
    own.wait()
    for one in (server, echo, back):
        one.close()
    homeport.down()
    wait_until(lambda: not os.path.exists(guest.path("/tmp/back.sock")))
