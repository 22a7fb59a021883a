# SPDX-License-Identifier: MIT
"""A VM lived with from its first day to its last: a bare login, installed for good, reboots, sleep, shutdowns, an
upgrade, and all of it taken away. Both machines are run by a systemd of their own, with Debian's own kernel."""
import json
import re
import subprocess
import threading
import time

import pytest

from vm import REPOSITORY, release

KERNEL = {"bookworm": "6.1."}
UNIT = "homeport@guest.service"
AGENT, HELPER, SOCKET = "homeport-guest@me.service", "homeport-helper@*.service", "homeport-helper.socket"

# Of a folder: each name below it, what it is, its mode, size, time and content.
TREE = r"""
import hashlib, os, stat, sys
os.chdir(sys.argv[1])
for folder, dirs, files in os.walk(b"."):
    dirs.sort()
    for name in sorted(dirs + files):
        path = os.path.join(folder, name)
        st = os.lstat(path)
        what = (os.readlink(path) if stat.S_ISLNK(st.st_mode) else
                hashlib.sha256(open(path, "rb").read()).hexdigest() if stat.S_ISREG(st.st_mode) else "")
        print(path, oct(st.st_mode), st.st_nlink, st.st_size if stat.S_ISREG(st.st_mode) else "", st.st_mtime_ns, what)
"""
# A line each 0.1 s, each appended, flushed and read back; what goes wrong ends it.
WRITER = r"""
import os, sys, time
for n in range(int(sys.argv[2])):
    with open(sys.argv[1], "a") as f:
        f.write(f"{n}\n")
        f.flush()
        os.fsync(f.fileno())
    assert open(sys.argv[1]).read().split()[-1] == str(n)
    time.sleep(0.1)
"""
# An open file and a listing, over and over.
READER = r"""
import os, time
f = open("/home/me/note", "rb")
for _ in range(60):
    assert os.pread(f.fileno(), 4, 0) == b"from" and os.listdir("/home/me")
    time.sleep(0.1)
"""


def python(machine, program, *args, user="me", **kw):
    return machine.cmd(f"python3 - {' '.join(args)}", user=user, input=program, **kw)


def wait_until(condition, timeout=240, what="the condition"):
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"not within {timeout} s: {what}")
        time.sleep(0.5)
    return value


def mounts(guest):
    """{mount point: options} of homeport's."""
    found = guest.cmd("grep ' fuse.homeport ' /proc/self/mounts", check=False).stdout
    return {line.split()[1]: line.split()[3] for line in found.splitlines()}


def status(host, name="guest"):
    done = host.cmd(f"homeport status {name} --json", user="me", check=False)
    return json.loads(done.stdout)[0] if done.returncode == 0 else None


def is_whole(host):
    """Connected, with all its mounts."""
    found = status(host)
    return found and found["state"] == "connected" and all(m["state"] == "mounted" for m in found["mounts"])


def journal(machine, *args, user="root"):
    return machine.cmd("journalctl --no-pager -o short-iso " + " ".join(args), user=user).stdout


def unit_says(machine, unit, prop, user="root"):
    manager = "--user " if user == "me" else ""
    return machine.cmd(f"systemctl {manager}show --value -P {prop} '{unit}'", user=user).stdout.strip()


def helpers(guest):
    """The units that stand behind mounts, and behind the watch of ports."""
    return guest.cmd(f"systemctl list-units --plain --no-legend '{HELPER}' | cut -d' ' -f1").stdout.split()


def agents(guest):
    """The pids of the agents that serve there."""
    return guest.cmd("pgrep -f '^[^ ]*homeport-guest serve'", check=False).stdout.split()


def answers(host, port, path="", timeout=240):
    """What a web server says on the host's localhost, once it answers."""
    fetch = f"import urllib.request as u; print(u.urlopen('http://localhost:{port}/{path}', timeout=20).read().decode())"
    return wait_until(lambda: host.cmd(f'python3 -c "{fetch}"', user="me", check=False).stdout, timeout,
                      f"localhost:{port} answers")


def web_server(guest, port, folder):
    """Of root's, so that it is there after each boot too."""
    guest.cmd("cat >/etc/systemd/system/web.service && systemctl enable --now web", input=f"""
[Service]
ExecStart=python3 -m http.server --bind 127.0.0.1 --directory {folder} {port}
[Install]
WantedBy=multi-user.target
""")


def doctor(host):
    """{(side, name): [(what, do)]} of what doctor finds wrong."""
    done = host.cmd("homeport doctor --json guest", user="me", check=False)
    return {(one["side"], one["name"]): (one["what"], one["do"]) for one in json.loads(done.stdout)
            if one["verdict"] == "problem"}


# ------------------------------------------------------------------------------------------------------------ day one


def test_both_have_debians_own_kernel_and_systemd_as_the_first_process(host, guest):
    for machine in (host, guest):
        assert machine.cmd("uname -r").stdout.startswith(KERNEL[release()])
        assert machine.cmd("cat /proc/1/comm").stdout == "systemd\n"
        assert machine.cmd("systemctl is-system-running", check=False).stdout == "running\n"


def test_the_package_is_installed_and_switches_nothing_on(host, deb):
    host.put(deb, "/var/tmp/homeport.deb")
    host.cmd("dpkg -i /var/tmp/homeport.deb")
    assert host.cmd(f"systemctl --user is-enabled {UNIT}", user="me", check=False).stdout == "disabled\n"
    assert host.cmd("dpkg --verify homeport").stdout == ""


def test_a_login_and_fuse_are_all_a_guest_needs(host, guest):
    """No sudo, nothing installed: by fusermount3, beside the login's own home, which has the same path."""
    host.cmd("mkdir src && echo 'from the host' >note", user="me")
    done = host.cmd("homeport up guest", user="me")
    assert "/home/me/host" in done.stdout
    assert guest.cmd("cat host/note", user="me").stdout == "from the host\n"
    guest.cmd("systemd-run --quiet --unit=once python3 -m http.server --bind 127.0.0.1 --directory /etc 8123")
    assert "Debian" in answers(host, 8123, "os-release")
    guest.cmd("systemctl stop once")
    assert doctor(host) == {}
    host.cmd("homeport down guest", user="me")
    assert mounts(guest) == {}


def test_guest_install_moves_the_home_aside_for_good(host, guest):
    guest.cmd("echo 'me ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/me")
    said = host.cmd("homeport guest install --move-home --helper --yes guest", user="me").stdout
    assert "/home/me.guest" in said
    guest.reboot()
    assert guest.cmd("pwd", user="me").stdout == "/home/me.guest\n"
    wait_until(lambda: unit_says(guest, AGENT, "ActiveState") == "active", what="the agent is there from boot on")
    assert unit_says(guest, SOCKET, "ActiveState") == "active"
    guest.cmd("rm /etc/sudoers.d/me")


# ------------------------------------------------------------------------------------------------------ as a service


def test_enabled_with_lingering_it_is_up_and_ready(host, guest):
    host.cmd("loginctl enable-linger me")
    said = host.cmd("homeport enable --mount '~' --mount '~/src:w' guest", user="me").stdout
    assert "enable-linger" not in said and "mount /home/me" in said
    assert unit_says(host, UNIT, "ActiveState", "me") == "active"
    assert unit_says(host, UNIT, "StatusText", "me") == "connected"
    assert unit_says(host, UNIT, "NRestarts", "me") == "0"
    assert "me" == guest.cmd(f"ps -o user= -p {unit_says(guest, AGENT, 'MainPID')}").stdout.strip()
    assert {"nosuid", "nodev"} <= set(mounts(guest)["/home/me"].split(","))
    of_both = helpers(guest)
    assert len(of_both) == 2  # of the mount, and of the watch of ports
    assert {unit_says(guest, helper, "ActiveState") for helper in of_both} == {"active"}
    wait_until(lambda: status(host)["guest"]["direct"], what="the session goes beside ssh")


def test_the_tree_is_the_same_in_the_guest(host, guest):
    host.cmd(r"""mkdir -p src/tree/'a b' src/tree/.hidden && cd src/tree && printf 'x%.0s' $(seq 5000) >big &&
        cp /bin/ls program; printf '' >empty; ln -s ../big 'a b/link'; ln -s /nowhere gone;
        ln big hard; mkfifo fifo; printf 'n' >$'new\nline'; printf 'u' >$'\xff\xfe'; echo é >ünï; chmod 600 empty;
        touch -d '2001-02-03 04:05:06.789012345' empty; for n in $(seq 50); do echo $n >.hidden/$n; done""", user="me")
    here = python(host, TREE, "/home/me/src/tree").stdout
    assert len(here.splitlines()) > 50
    assert python(guest, TREE, "/home/me/src/tree").stdout == here


def test_what_is_written_in_a_writable_mount_is_on_the_host(host, guest):
    guest.cmd("cd /home/me/src && mkdir out && echo there >out/a && mv out/a out/b && cp -r /etc/systemd out/ && sync",
              user="me")
    assert host.cmd("stat -c '%U %a' src/out/b; cat src/out/b", user="me").stdout == "me 644\nthere\n"
    guest.cmd("diff -r /etc/systemd /home/me/src/out/systemd", user="me")
    assert guest.cmd("touch /home/me/no", user="me", check=False).returncode == 1


def test_a_web_server_of_the_guest_answers_on_the_hosts_localhost(host, guest):
    web_server(guest, 8124, "/etc")
    assert "Debian" in answers(host, 8124, "os-release")


def test_doctor_finds_nothing_wrong(host, guest):
    for machine in (host, guest):  # a clock that QEMU emulates on a busy machine is late by seconds, as doctor would say
        machine.cmd(f"date -s @{time.time():.3f}")
    assert doctor(host) == {}


def test_the_units_are_no_more_exposed_than_the_documents_say(host, guest):
    """The real ones, as their manager has them."""
    helper = helpers(guest)[0]
    with open(REPOSITORY + "/docs/services.md") as f:
        told = dict(re.findall(r"^\| `(homeport[a-z-]*@(?:me)?)\.service` \| ([0-9.]+) \|", f.read(), re.M))
    assert len(told) == 4
    for machine, user, unit in ((host, "me", UNIT), (guest, "root", AGENT), (guest, "root", helper)):
        manager = "--user " if user == "me" else ""
        said = machine.cmd(f"systemd-analyze {manager}--no-pager security '{unit}'", user=user).stdout
        found = float(re.search(r"exposure level for .*: ([0-9.]+)", said).group(1))
        assert found <= float(told["homeport-guest@me" if unit == AGENT else unit.split("@")[0] + "@"]), said


# ------------------------------------------------------------------------------------------------- sleep and reboots


@pytest.mark.parametrize("which", ["guest", "host"])
def test_nothing_fails_when_a_machine_is_suspended(machines, host, guest, which):
    """For longer than a lost link takes to be noticed, in the middle of work."""
    path = f"/home/me/src/lines-{which}"
    ended = []
    writer = threading.Thread(target=lambda: ended.append(python(guest, WRITER, path, "80", check=False)))
    writer.start()
    wait_until(lambda: host.cmd(f"test -s {path}", user="me", check=False).returncode == 0)
    machines[which].qmp("stop")
    time.sleep(12)
    machines[which].qmp("cont")
    writer.join()
    assert (ended[0].returncode, ended[0].stderr) == (0, "")
    assert host.cmd(f"cat {path}", user="me").stdout.split() == [str(n) for n in range(80)]
    wait_until(lambda: is_whole(host), what="the session is whole")
    assert "Debian" in answers(host, 8124, "os-release")
    assert unit_says(host, UNIT, "NRestarts", "me") == "0"


def shutdown_of(machine):
    """What systemd said in the boot before this one. Nothing it stopped had to be killed."""
    said = journal(machine, "-b", "-1", "-o", "cat", "_PID=1")
    assert "timed out" not in said
    return said.splitlines()


def test_after_a_reboot_of_the_guest_all_is_back_by_itself(host, guest):
    """A program was at work in a mount; that was gone before the network."""
    pid = unit_says(host, UNIT, "MainPID", "me")
    guest.cmd("systemd-run --quiet -p User=me -p WorkingDirectory=/home/me/src sleep 1000")
    guest.reboot()
    wait_until(lambda: is_whole(host), what="the mounts are back")
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    assert "Debian" in answers(host, 8124, "os-release")
    assert unit_says(host, UNIT, "MainPID", "me") == pid
    lines = shutdown_of(guest)
    gone = max(n for n, line in enumerate(lines) if AGENT in line and "Stopped" in line)
    assert gone < min(n for n, line in enumerate(lines) if "Stopped target network.target" in line)
    assert agents(guest) == [unit_says(guest, AGENT, "MainPID")], "the host, which is back first, has waited for the unit"


def test_after_a_crash_of_the_agent_it_is_the_units_again(host, guest):
    """Under what keeps that in; a program that reads waits for it."""
    first = unit_says(guest, AGENT, "MainPID")
    ended = []
    work = threading.Thread(target=lambda: ended.append(python(guest, READER, check=False)))
    work.start()
    time.sleep(1)
    guest.cmd(f"kill -9 {first}")
    wait_until(lambda: unit_says(guest, AGENT, "MainPID") not in ("0", first) and is_whole(host), what="all is back")
    work.join()
    assert (ended[0].returncode, ended[0].stderr) == (0, "")
    assert agents(guest) == [unit_says(guest, AGENT, "MainPID")]
    assert guest.cmd(f"grep NoNewPrivs: /proc/{agents(guest)[0]}/status").stdout.split()[1] == "1"


def test_a_guest_shuts_down_while_its_host_is_away(host, guest):
    """With a program that waits for the host in vain."""
    host.qmp("stop")
    try:
        guest.cmd("systemd-run --quiet -p User=me cat /home/me/src/lines-host /home/me/src/tree/.hidden/7")
        time.sleep(3)
        guest.power_off()
    finally:
        host.qmp("cont")
    guest.boot()
    shutdown_of(guest)
    wait_until(lambda: is_whole(host), what="the mounts are back")


def test_after_a_reboot_of_the_host_all_is_back_without_a_login(host, guest):
    """It goes down while its guest is away."""
    guest.qmp("stop")
    try:
        host.reboot()
    finally:
        guest.qmp("cont")
    wait_until(lambda: mounts(guest) and "from the host\n" ==
               guest.cmd("timeout 5 cat /home/me/note", user="me", check=False).stdout, what="the home is back")
    wait_until(lambda: unit_says(host, UNIT, "ActiveState", "me") == "active", what="the unit is up")
    assert "Debian" in answers(host, 8124, "os-release")
    shutdown_of(host)


# ------------------------------------------------------------------------------------------------------- the last days


def newer(deb, folder):
    """The package of a later version, with programs of another build."""
    unpacked = f"{folder}/later"
    subprocess.run(["dpkg-deb", "-R", deb, unpacked], check=True)
    with open(unpacked + "/DEBIAN/control") as f:
        control = f.read()
    with open(unpacked + "/DEBIAN/control", "w") as f:
        f.write(re.sub("^Version: .*$", "Version: 99", control, flags=re.M))
    programs = subprocess.run(["find", unpacked, "-type", "f", "-perm", "-100", "-name", "homeport*"], check=True,
                              capture_output=True, text=True).stdout.split()
    for program in programs:
        notes = subprocess.run(["readelf", "-n", program], check=True, capture_output=True, text=True).stdout
        build = bytes.fromhex(re.search(r"Build ID: (\w+)", notes).group(1))
        with open(program, "rb") as f:
            image = f.read()
        with open(program, "wb") as f:
            f.write(image.replace(build, bytes(255 - byte for byte in build)))
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", unpacked, unpacked + ".deb"], check=True,
                   stdout=subprocess.DEVNULL)
    return unpacked + ".deb"


def test_an_upgrade_disturbs_no_session_and_the_next_one_is_of_the_new_build(host, guest, deb, tmp_path):
    pid = unit_says(host, UNIT, "MainPID", "me")
    host.put(newer(deb, tmp_path), "/var/tmp/later.deb")
    host.cmd("dpkg -i /var/tmp/later.deb")
    assert unit_says(host, UNIT, "MainPID", "me") == pid and is_whole(host)
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    host.cmd(f"systemctl --user daemon-reload && systemctl --user restart {UNIT}", user="me")
    wait_until(lambda: is_whole(host), what="the mounts are back")
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    serving = guest.cmd("pgrep -u me -f 'homeport-guest serve'").stdout.split()
    assert set(serving) - {unit_says(guest, AGENT, "MainPID")}, "it has brought its own"


def test_what_is_installed_in_the_guest_is_renewed(host, guest):
    guest.cmd("echo 'me ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/me")
    host.cmd("homeport guest install --move-home --helper --yes guest", user="me")
    new = host.cmd("/usr/libexec/homeport/x86_64/homeport-guest --version").stdout
    assert guest.cmd("/usr/local/bin/homeport-guest --version").stdout == new
    wait_until(lambda: is_whole(host), what="the mounts are back")
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"


def test_all_of_it_is_taken_away_again(host, guest):
    host.cmd("homeport disable guest", user="me")
    assert mounts(guest) == {}
    host.cmd("homeport guest uninstall --yes guest", user="me")
    assert guest.cmd("getent passwd me | cut -d: -f6").stdout == "/home/me\n"
    left = "find / -xdev -name '*homeport*' ! -path '/proc/*' ! -path '/home/me/.cache/*' ! -path '/var/log/*'"
    assert guest.cmd(left).stdout == ""
    host.cmd("dpkg -P homeport")
    assert host.cmd(left + " ! -path '/var/tmp/*' ! -path '/home/*'").stdout == ""
    for machine in (host, guest):
        assert machine.cmd("systemctl --failed --no-legend --plain").stdout == ""
