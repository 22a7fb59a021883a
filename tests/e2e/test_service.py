# SPDX-License-Identifier: MIT
"""A session as a service: enable and disable, the units, and what the service manager is told.

No machine of the tests has systemd as its first process. What systemctl is asked is recorded by a script in its place;
and a real `systemd --user` runs on the lab's host where control groups can be made there, so that the unit is seen to
start, mount, be watched and be restricted as it is written.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from conftest import wait_until
from lab import BUILD_AT, REPOSITORY

UNITS = {"homeport@.service": ("host-agent/homeport.1", ["--user"]),
         "homeport-guest@.service": ("guest-agent/homeport-guest.8", []),
         "homeport-guest@me.service": ("guest-agent/homeport-guest.8", []),
         "homeport-helper@.service": ("guest-agent/homeport-guest.8", [])}
# Of a unit of one user's alone: its template, and what `homeport-guest install` lays beside it.
DROP_INS = {"homeport-guest@me.service": ("homeport-guest@.service", "homeport-guest-hardened.conf")}
# What `systemd-analyze security` of systemd 252 says of each; less is welcome.
EXPOSED = {"homeport@.service": 6.7, "homeport-guest@.service": 7.9, "homeport-guest@me.service": 1.9,
           "homeport-helper@.service": 3.2}


def in_guest(guest, command, user="me"):
    return guest.cmd(command, user=user, check=False, timeout=10)


# ------------------------------------------------------------------------------------------------------- enable, disable


class Fake:
    """A systemctl that writes down what it is asked, and answers by `exits` and `says`: {verb: ...}."""

    def __init__(self, homeport):
        self.homeport = homeport
        self.asked_file = homeport.folder + "/asked"
        self.folder = homeport.folder + "/fake"
        os.mkdir(self.folder)
        self.answer()

    def answer(self, exits=None, says=None):
        cases = "".join(f'*" {verb} "*) echo "{text}" ;;\n' for verb, text in (says or {}).items())
        codes = "".join(f'*" {verb} "*) echo "no {verb}" >&2; exit {code} ;;\n'
                        for verb, code in (exits or {}).items())
        path = self.folder + "/systemctl"
        with open(path, "w") as f:
            f.write(f'#!/bin/sh\necho "$*" >>{self.asked_file}\ncase " $* " in\n{cases}esac\n'
                    f'case " $* " in\n{codes}esac\n')
        os.chmod(path, 0o755)
        open(self.asked_file, "w").close()
        os.chmod(self.asked_file, 0o666)

    def run(self, command, *argv):
        """homeport, with this systemctl; and what that was asked, without questions. Nothing it starts is waited for."""
        argv = (command, "--timeout", "1", *argv) if command == "enable" else (command, *argv)
        done = self.homeport.run(*argv, env={"PATH": f"{self.folder}:/usr/sbin:/usr/bin:/sbin:/bin"})
        asked = [line for line in open(self.asked_file).read().splitlines()
                 if "show-environment" not in line and "is-active" not in line]
        open(self.asked_file, "w").close()
        return done, asked


@pytest.fixture
def fake(homeport, host_home):
    return Fake(homeport)


def config_file(homeport, name):
    return homeport.env["XDG_CONFIG_HOME"] + f"/homeport/{name}.yaml"


ENABLED = ["--user --quiet enable homeport@dev.service", "--user --quiet start --no-block homeport@dev.service"]


def test_enable_writes_the_file_enables_and_starts(fake, homeport, host_home):
    host_home.write("src/a", "a\n")
    done, asked = fake.run("enable", "--name", "dev", "-p", "2222", "--mount", "~/src:/src:w", "me@vm")
    path = config_file(homeport, "dev")
    assert done.stdout.splitlines() == [
        f"{path}: written",
        "homeport@dev.service: enabled and started",
        "it runs while you are logged in; to have it from boot on, also without a login: loginctl enable-linger",
        "dev: see `homeport status dev`"]
    assert (done.returncode, done.stderr, asked) == (0, "", ENABLED)
    assert os.stat(path).st_mode & 0o777 == 0o600
    shown = homeport.run("config", "show", "dev").stdout
    assert 'host: "vm"' in shown and "port: 2222" in shown and 'location: "/home/me/src"' in shown
    assert homeport.run("config", "check", "dev").returncode == 0


def test_a_file_that_says_the_same_is_used(fake, homeport):
    path = homeport.write_config("dev", "ssh: {host: vm}\n# mine\n")
    done, asked = fake.run("enable", "dev")
    assert (done.returncode, asked) == (0, ENABLED)
    assert done.stdout.startswith(f"{path}: is there already, and says so\n")
    assert open(path).read() == "ssh: {host: vm}\n# mine\n"


def test_a_file_that_says_something_else_is_not_touched(fake, homeport):
    path = homeport.write_config("dev", "ssh: {host: vm}\n")
    done, asked = fake.run("enable", "--name", "dev", "--no-mount", "other")
    assert (done.returncode, done.stdout, asked) == (1, "", [])
    first, *rest = done.stderr.splitlines()
    assert first == f"homeport: enable: {path} says something else; change it, or enable under another --name:"
    assert rest == ['ssh.host: "vm" here, "other" wanted', "mount /home/me: /home/me, read-only here, not mounted wanted"]
    assert open(path).read() == "ssh: {host: vm}\n"


def test_a_wrong_configuration_is_told_and_nothing_is_done(fake, homeport):
    path = homeport.write_config("dev", "mounts: [{location: ~/nope}]\nport: 1\n")
    done, asked = fake.run("enable", "dev")
    assert (done.returncode, done.stdout, asked) == (2, "", [])
    assert done.stderr.startswith(f"{path}:")
    done, asked = fake.run("enable", "--mount", "/nope", "vm")
    assert (done.returncode, asked, os.path.exists(config_file(homeport, "vm"))) == (2, [], False)


@pytest.mark.parametrize("missing", ["no systemctl", "no answer"])
def test_without_a_service_manager_there_is_one_line_and_nothing_is_done(fake, homeport, missing):
    fake.answer(exits={"show-environment": 1})
    if missing == "no systemctl":
        os.unlink(fake.folder + "/systemctl")
        os.symlink("/nowhere", fake.folder + "/systemctl")  # as if there were none in PATH
        fake.folder += ":/nowhere"
    for command in ("enable", "disable"):
        done = homeport.run(command, "vm", env={"PATH": fake.folder})
        assert done.returncode == 1
        assert done.stderr == (f"homeport: {command}: no service manager of this user answers (systemctl --user); "
                               "`homeport up` needs none, and homeport(1) says how other init systems run it\n")
    assert not os.path.exists(homeport.env["XDG_CONFIG_HOME"] + "/homeport")


def test_what_was_written_goes_again_when_the_unit_cannot_be_enabled(fake, homeport):
    fake.answer(exits={"enable": 1})
    done, asked = fake.run("enable", "vm")
    assert (done.returncode, len(asked)) == (1, 1)
    assert done.stderr == "homeport: enable: homeport@vm.service: cannot enable it: no enable\n"
    assert not os.path.exists(config_file(homeport, "vm"))


DISABLED = ["--user --quiet disable --now homeport@dev.service"]


@pytest.mark.parametrize("change, left", [
    (None, "removed"),
    (lambda path: open(path, "a").write("maxForwards: 1\n"), "stays; it was changed since `homeport enable` wrote it"),
    (os.unlink, None),
])
def test_disable_takes_back_what_enable_did_and_no_more(fake, homeport, change, left):
    path = config_file(homeport, "dev")
    fake.run("enable", "--name", "dev", "vm")
    if change:
        change(path)
    done, asked = fake.run("disable", "dev")
    assert (done.returncode, asked) == (0, DISABLED)
    lines = [f"{path}: {left}"] if left else []
    assert done.stdout.splitlines() == ["homeport@dev.service: stopped and disabled", *lines]
    assert os.path.exists(path) == bool(left and left.startswith("stays"))


def test_a_file_of_the_users_own_stays(fake, homeport):
    path = homeport.write_config("dev", "ssh: {host: vm}\n")
    fake.run("enable", "dev")
    done, _ = fake.run("disable", "dev")
    assert done.stdout.splitlines()[1] == f"{path}: stays; `homeport enable` did not write it"
    assert os.path.exists(path)


def test_a_session_that_is_up_by_hand_is_left_alone(fake, homeport, lab):
    homeport.up("--no-mount", "--no-ports")
    before = homeport.status()["pid"]
    fake.answer(says={"is-active": "inactive"})
    done, asked = fake.run("enable", "-F", lab.ssh_config(), "--no-mount", "--no-ports", "guest")
    assert (done.returncode, asked) == (0, ["--user --quiet enable homeport@guest.service"])
    assert "guest is up by hand until you log out" in done.stdout
    assert homeport.status()["pid"] == before


@pytest.mark.parametrize("state, ended, journal", [
    ("active", "", True), ("failed", "", True),
    ("inactive", "", False), ("inactive", "@1", False), ("inactive", "@9999999999", True),
])
def test_logs_are_of_whoever_ran_the_session_last(fake, homeport, lab, state, ended, journal):
    """`up` has left a file; the unit's are in the journal."""
    homeport.up("--no-mount", "--no-ports")
    homeport.down()
    fake.answer(says={"is-active": state, "show": ended})
    with open(fake.folder + "/journalctl", "w") as f:
        f.write('#!/bin/sh\necho "journal: $*"\n')
    os.chmod(fake.folder + "/journalctl", 0o755)
    lab.host.cmd("mkdir -p /run/systemd/system")
    done, _ = fake.run("logs", "guest", "-f") if journal else fake.run("logs", "guest")
    lab.host.cmd("rmdir /run/systemd/system")
    assert done.returncode == 0, done.stderr
    if journal:
        assert done.stdout == "journal: --user --no-pager -o short-iso -u homeport@guest.service -f --no-tail\n"
    else:
        assert "session guest: connected" in done.stdout


# ------------------------------------------------------------------------------------------------------------- the units


@pytest.fixture(scope="module")
def units(lab):
    """A folder of the lab's host with the units as they are installed there."""
    folder = "/root/units"
    os.makedirs(lab.host.path(folder))
    for unit in UNITS:
        template, drop_in = DROP_INS.get(unit, (unit, None))
        text = open(f"{REPOSITORY}/systemd/{template}").read().replace("/usr/local/bin", BUILD_AT)
        assert BUILD_AT in text
        with open(lab.host.path(f"{folder}/{unit}"), "w") as f:
            f.write(text)
        if drop_in:
            os.mkdir(lab.host.path(f"{folder}/{unit}.d"))
            shutil.copy(f"{REPOSITORY}/systemd/{drop_in}", lab.host.path(f"{folder}/{unit}.d/hardened.conf"))
    return folder


def analyze(lab, *argv):
    return lab.host.cmd(["systemd-analyze", "--no-pager", *argv], env={"XDG_RUNTIME_DIR": "/run"}, check=False)


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_has_no_mistakes(lab, units, unit):
    done = analyze(lab, "verify", "--man=no", *UNITS[unit][1], f"{units}/{unit}")
    assert (done.returncode, done.stderr) == (0, "")


def manual_section(page, section):
    text = open(f"{REPOSITORY}/{page}").read().split(f".Sh {section}", 1)[1].split("\n.Sh ", 1)[0]
    return re.sub(r"[^A-Za-z@-]+", " ", text)


@pytest.mark.parametrize("unit", UNITS)
def test_what_a_unit_leaves_open_is_explained_in_the_manual(lab, units, unit):
    page, options = UNITS[unit]
    done = analyze(lab, "security", "--offline=yes", "--json=short", *options, f"{units}/{unit}")
    found = json.loads(done.stdout)
    names = {re.match(r"[A-Za-z]+", row["name"]).group(0) for row in found if float(row.get("exposure") or 0) > 0}
    words = manual_section(page, "SERVICES" if unit == "homeport@.service" else "SERVICE").split()
    assert names, "nothing is open at all?"
    assert sorted(names - set(words)) == []
    total = analyze(lab, "security", "--offline=yes", *options, f"{units}/{unit}").stdout
    figure = re.search(r"exposure level for .*: ([0-9.]+)", total).group(1)
    assert float(figure) <= EXPOSED[unit]
    assert f"\n| `{unit}` | {figure} | " in open(f"{REPOSITORY}/docs/services.md").read()


@pytest.mark.parametrize("user, alias", [("me", "guest"), ("plain", "guest-plain"), ("root", "guest-root")])
def test_the_guests_unit_leaves_what_mounting_takes(homeport, lab, guest, host_home, user, alias):
    """By sudo, by fusermount3 and as root, with no capability to be had but the unit's."""
    unit = open(f"{REPOSITORY}/systemd/homeport-guest@.service").read()
    kept = [name[4:].lower() for line in re.findall("^CapabilityBoundingSet=(.*)", unit, re.M) for name in line.split()]
    uid = guest.users[user]["uid"]
    guest.popen(["setpriv", "--bounding-set", ",".join(["-all", *("+" + name for name in kept)]), f"--reuid={uid}",
                 f"--regid={uid}", "--init-groups", f"{BUILD_AT}/homeport-guest", "serve"],
                env={"HOME": guest.home(user), "USER": user})
    target = "/tmp/unit" if user == "plain" else "/unit"
    if user == "plain":
        guest.cmd(["mkdir", "-p", target], user="plain")
    wait_until(lambda: any("serve" in line for _, line in guest.processes().values()))
    host_home.write("a", "a\n")
    homeport.up("--mount", f"~:{target}", host=alias)
    [agent] = [inner for inner, line in guest.processes().values() if "serve" in line]
    assert in_guest(guest, f"cat {target}/a", user=user).stdout == "a\n"
    homeport.down()
    guest.kill(agent, signal.SIGTERM)


# ------------------------------------------------------------------------------------------------------- a real manager

MANAGER = """
set -e
mkdir -p /run/systemd/system /sys/fs/cgroup
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "$GROUP" && chown -R "$USER" "$GROUP" && echo $$ >"$GROUP/cgroup.procs"
exec setpriv --reuid="$USER" --regid="$USER" --init-groups /lib/systemd/systemd --user --log-target=null
"""


@pytest.fixture
def manager(lab, homeport):
    """`systemd --user` of the host's user, with the unit, started again soon and watched closely."""
    folder = homeport.env["XDG_CONFIG_HOME"] + "/systemd/user"
    group = f"/sys/fs/cgroup/{os.path.basename(lab.dir)}"
    uid = lab.host.users["me"]["uid"]
    os.makedirs(folder + "/homeport@.service.d")
    with open(folder + "/homeport@.service", "w") as f:
        f.write(open(f"{REPOSITORY}/systemd/homeport@.service").read().replace("/usr/local/bin", BUILD_AT))
    with open(folder + "/homeport@.service.d/soon.conf", "w") as f:
        f.write(f"[Service]\nRestartSec=100ms\nWatchdogSec=2s\nStandardError=append:{homeport.folder}/unit.log\n")
    subprocess.run(["chown", "-R", f"{uid}:{uid}", homeport.folder], check=True)
    env = {**homeport.env, "HOME": lab.host.home("me"), "GROUP": group, "USER": str(uid)}
    there = lab.host.cmd(["mountpoint", "-q", "/sys/fs/cgroup"], check=False).returncode == 0
    running = lab.host.popen(["bash", "-c", MANAGER], env=env, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: running.poll() or os.path.exists(homeport.env["XDG_RUNTIME_DIR"] + "/systemd/private"))
    if running.poll():
        pytest.skip("no control groups can be made here: " + running.stderr.read().strip())

    def systemctl(*argv):
        return lab.host.cmd(["systemctl", "--user", *argv], user="me", check=False, env=homeport.env).stdout.strip()

    yield systemctl
    systemctl("exit")
    running.wait(timeout=20)
    lab.host.cmd(["find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"], check=False)
    if not there:
        lab.host.cmd(["umount", "/sys/fs/cgroup"])


def agent_pid(manager):
    return int(manager("show", "--property=MainPID", "--value", "homeport@guest"))


def test_the_unit_is_up_when_all_is_mounted_and_comes_back_when_it_dies_or_hangs(manager, homeport, lab, guest,
                                                                              host_home):
    host_home.write("src/a", "a\n")
    proxy = f"ProxyCommand=ssh -F {lab.ssh_config()} -W %h:%p guest"
    done = homeport.run("enable", "-F", lab.ssh_config(), "-o", proxy, "--mount", "~/src:/far:w", "guest")
    homeport.name = "guest"
    assert done.returncode == 0, done.stderr + open(homeport.folder + "/unit.log").read()
    assert done.stdout.splitlines()[-1] == "mount /far: /home/me/src, writable"
    assert manager("is-active", "homeport@guest") == "active"
    assert manager("is-enabled", "homeport@guest") == "enabled"
    assert manager("show", "--property=StatusText", "--value", "homeport@guest") == "connected"
    assert in_guest(guest, "mkdir /far/d && chmod g+s /far/d && echo b >/far/d/b && chgrp 2000 /far/d/b").stderr == ""
    assert os.stat(host_home / "src/d").st_mode & 0o2000
    pid = agent_pid(manager)
    status = open(lab.host.path(f"/proc/{pid}/status")).read()
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    for sig in (signal.SIGKILL, signal.SIGSTOP):
        lab.host.kill(pid, sig)
        wait_until(lambda: agent_pid(manager) not in (0, pid), timeout=20)
        pid = agent_pid(manager)
        wait_until(lambda: manager("is-active", "homeport@guest") == "active", timeout=20)
        assert in_guest(guest, "cat /far/d/b").stdout == "b\n"
    done = homeport.run("disable", "guest")
    assert done.returncode == 0
    assert manager("is-active", "homeport@guest") == "inactive"
    assert guest.mounts("fuse.homeport") == []
    assert not os.path.exists(config_file(homeport, "guest"))


def test_what_cannot_begin_is_tried_again_until_it_can(manager, homeport, lab, guest, host_home):
    """A folder on a disk that is not there yet when the user logs in."""
    homeport.write_config("guest", f"ssh: {{configFile: {lab.ssh_config()}}}\nmounts: [{{location: ~/later, mountPoint: /later}}]\n")
    manager("start", "--no-block", "homeport@guest")
    homeport.name = "guest"
    wait_until(lambda: int(manager("show", "--property=NRestarts", "--value", "homeport@guest")) > 6)
    host_home.write("later/a", "a\n")
    wait_until(lambda: manager("is-active", "homeport@guest") == "active")
    assert in_guest(guest, "cat /later/a").stdout == "a\n"


# ------------------------------------------------------------------------------------------------------- without systemd


def test_a_loop_of_sh_is_a_service_manager_too(homeport, lab, guest, host_home):
    """The manual's recipe for any init, in its own words, but for how long it waits."""
    page = open(f"{REPOSITORY}/host-agent/homeport.1").read()
    [loop] = re.findall(r"^until homeport run dev; do sleep 10; done$", page, re.M)
    loop = loop.replace("homeport", homeport.binary).replace("sleep 10", "sleep 0.1")
    homeport.write_config("dev", f"ssh: {{host: guest, configFile: {lab.ssh_config()}}}\n"
                                 "mounts: [{location: ~/late, mountPoint: /late}]\n")
    env = {name: value for name, value in homeport.env.items() if name != "XDG_RUNTIME_DIR"}
    running = lab.host.popen(["sh", "-c", loop], user="me", env=env, stderr=-3, stdout=-3)
    homeport.env = env
    homeport.name = "dev"
    host_home.write("late/a", "a\n")

    def pid():
        status = homeport.status()
        return status and status["state"] == "connected" and status["mounts"][0]["state"] == "mounted" and status["pid"]

    first = wait_until(pid, timeout=20)
    lab.host.kill(first, signal.SIGKILL)
    wait_until(lambda: pid() not in (first, None, False), timeout=20)
    assert in_guest(guest, "cat /late/a").stdout == "a\n"
    assert homeport.down().returncode == 0
    assert running.wait(timeout=10) == 0
    homeport.env["XDG_RUNTIME_DIR"] = homeport.folder + "/run"


# ------------------------------------------------------------------------------------------------- what a manager is told


def test_ready_is_told_when_the_mounts_are_there_and_not_before(homeport, lab, guest, host_home):
    path = homeport.folder + "/notify"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(path)
    os.chmod(path, 0o777)
    lab.link_cut()
    running = homeport.popen("run", "-F", lab.ssh_config(), "guest", env={"NOTIFY_SOCKET": path}, stderr=-3)
    homeport.name = "guest"
    listening.settimeout(1.5)
    heard = []
    try:
        while True:
            heard.append(listening.recv(4096).decode())
    except TimeoutError:
        pass
    lab.link_restore()
    assert any(line.startswith("STATUS=connecting") for line in heard) and "READY=1" not in heard
    listening.settimeout(20)
    while heard[-1] != "READY=1":
        heard.append(listening.recv(4096).decode())
    assert [mount[0] for mount in guest.mounts("fuse.homeport")] == ["/home/me"]
    homeport.down()
    assert running.wait(timeout=10) == 0
    assert "STOPPING=1" in [listening.recv(4096).decode() for _ in range(3)]
