# SPDX-License-Identifier: MIT
"""A guest with nothing but sshd: `homeport up` brings homeport-guest along, uses it again, and never a wrong one."""
import contextlib
import os
import re
import shutil
import subprocess

import pytest

from conftest import Homeport, mount_helpers, serves, wait_until
from lab import BUILD_AT

LAB = dict(guest_binary=False)
CACHE = "/home/me.guest/.cache"
HERE_BUILD = os.environ.get("HOMEPORT_BUILD") or os.path.join(os.path.dirname(__file__), "../../build")
BROUGHT = r"guest: homeport-guest \(\w+, \d+ bytes\) is brought to the guest"
SHELLS = {"bash": "/bin/bash", "dash": "/bin/dash", "csh": "/bin/bsd-csh", "tcsh": "/bin/tcsh", "fish": "/usr/bin/fish"}


@pytest.fixture(autouse=True)
def bare(guest):
    """As it was before the first `up`."""
    yield
    guest.cmd(f"rm -rf {CACHE} /tmp/homeport-2000 /usr/local/bin/homeport-guest")


def build(homeport):
    """What the host brings: its path on the host's side, and its build id."""
    arch = os.uname().machine
    path = homeport.lab.host.path(os.path.dirname(homeport.binary) + f"/guests/{arch}/homeport-guest")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return path, re.fullmatch(r"homeport-guest [\d.]+ build ([0-9a-f]{40})\n", said).group(1)


def times_brought(homeport):
    return len(re.findall(BROUGHT, homeport.logs()))


@pytest.fixture
def other(lab, homeport, tmp_path):
    """A homeport whose homeport-guest is another build, and of another version: the same program with other names."""
    folder = f"/tmp/homeport-other-{os.getpid()}"
    arch = os.uname().machine
    path, own = build(homeport)
    data = open(path, "rb").read()
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.split()[1].encode()
    assert data.count(bytes.fromhex(own)) == 1
    data = data.replace(bytes.fromhex(own), bytes(20)).replace(version + b"\0", b"0.0.1\0")
    os.makedirs(f"{folder}/guests/{arch}")
    os.chmod(folder, 0o755)
    shutil.copy(lab.host.path(BUILD_AT + "/homeport"), folder)
    with open(f"{folder}/guests/{arch}/homeport-guest", "wb") as f:
        f.write(data)
        os.fchmod(f.fileno(), 0o755)
    host = open(f"{folder}/homeport", "rb").read().replace(version + b"\0", b"0.0.1\0")
    open(f"{folder}/homeport", "wb").write(host)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("way", ["sudo", "fusermount3"])
def test_an_agent_whose_program_was_removed_mounts_all_the_same(homeport, guest, host_home, way):
    host_home.write("more/note", "from the host\n")
    homeport.up("--mount", "~")
    guest.cmd(f"rm -r {CACHE}/homeport")
    if way == "fusermount3":
        guest.cmd("mv /etc/sudoers /etc/sudoers.away")
        guest.cmd("mkdir -p /home/me.guest/by-fusermount3", user="me")
    try:
        done = homeport.run("mount", "guest", f"~/more:/home/me.guest/by-{way}")
        assert (done.returncode, done.stderr) == (0, "")
        assert guest.cmd(f"cat /home/me.guest/by-{way}/note", user="me").stdout == "from the host\n"
    finally:
        if way == "fusermount3":
            guest.cmd("mv /etc/sudoers.away /etc/sudoers")


def test_it_is_brought_once_and_used_again(homeport, guest, host_home):
    host_home.write("note", "from the host\n")
    homeport.up()
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    _, own = build(homeport)
    stat = guest.cmd(f"stat -c '%n %a %U' {CACHE}/homeport {CACHE}/homeport/{own} {CACHE}/homeport/{own}/*").stdout
    assert stat == (f"{CACHE}/homeport 700 me\n{CACHE}/homeport/{own} 700 me\n"
                    f"{CACHE}/homeport/{own}/homeport-guest 700 me\n")
    assert guest.cmd(["ls", "-A", f"{CACHE}/homeport/{own}"]).stdout == "homeport-guest\n"
    homeport.down()
    wait_until(lambda: not serves(guest))
    homeport.up()
    assert times_brought(homeport) == 1
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"


def test_the_agent_outlives_its_connection_and_is_found_by_the_next(homeport, guest, host_home):
    host_home.write("note", "from the host\n")
    homeport.up()
    before = serves(guest)
    reader = guest.popen("cd /home/me && exec 3<note && sleep 2 && cat <&3 && pwd", user="me", stdout=-1, text=True)
    for outer, (_, line) in guest.processes().items():
        if "sshd: me" in line or "homeport-guest attach" in line:
            with contextlib.suppress(ProcessLookupError):  # its end may be the last one's
                os.kill(outer, 9)
    wait_until(lambda: homeport.status()["reconnects"] >= 1 and homeport.status()["state"] == "connected")
    assert reader.communicate(timeout=10)[0] == "from the host\n/home/me\n"
    assert serves(guest) == before and len(before) == 1
    assert len(guest.mounts("fuse.homeport")) == 1


def test_one_session_of_sshd_is_enough(make_lab):
    """One channel for everything, also on the way there."""
    lab = make_lab(guest_binary=False, sshd_options=["MaxSessions 1"])
    one = Homeport(lab)
    one.up()
    one.down()
    one.finish()


def test_a_restricted_key_is_enough(homeport, guest, host_home):
    path = guest.path("/home/me.guest/.ssh/authorized_keys")
    keys = open(path).read()
    with open(path, "w") as f:
        f.write("".join(f"restrict {key}\n" for key in keys.splitlines()))
    try:
        homeport.up()
    finally:
        with open(path, "w") as f:
            f.write(keys)


def set_shell(guest, shell):
    guest.cmd(["sed", "-i", f"s,^\\(me:.*:\\).*,\\1{shell},", "/etc/passwd"])


def brought_once_and_used_again(homeport):
    homeport.up("--no-mount")
    assert times_brought(homeport) == 1
    homeport.down()
    homeport.up("--no-mount")
    assert times_brought(homeport) == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_will_do(homeport, guest, host_home, shell):
    assert os.path.exists(SHELLS[shell]), "tests/deps.sh installs it"
    set_shell(guest, SHELLS[shell])
    try:
        brought_once_and_used_again(homeport)
    finally:
        set_shell(guest, "/bin/bash")


def test_a_guest_that_has_busybox_and_no_other_program(homeport, guest, host_home):
    """Another libc's tools, another sh, nothing of coreutils."""
    guest.cmd("mkdir -p /opt/bb && busybox --install -s /opt/bb && rm -f /opt/bb/homeport-guest && "
              "printf '#!/opt/bb/sh\\nexport PATH=/opt/bb\\nexec /opt/bb/sh \"$@\"\\n' >/opt/bb.login && chmod 755 /opt/bb.login")
    set_shell(guest, "/opt/bb.login")
    try:
        brought_once_and_used_again(homeport)
    finally:
        set_shell(guest, "/bin/bash")
        guest.cmd("rm -r /opt/bb /opt/bb.login")


def test_a_shell_that_prints_is_no_hindrance(homeport, guest, host_home):
    rc = guest.path("/home/me.guest/.bashrc")
    with open(rc, "w") as f:
        f.write("printf 'no end of line'; echo homeport-bring: >&2\n")
    try:
        homeport.up("--no-mount")
    finally:
        os.unlink(rc)
    assert "printed, before homeport-guest: no end of line" in homeport.logs()


@pytest.mark.parametrize("options, what", [("noexec", "may not be executed"), ("size=1m", "has no room"), ("ro", "is read-only")])
def test_where_the_home_will_not_do_another_folder_does(homeport, guest, host_home, options, what):
    guest.cmd(f"install -d -o me -g me {CACHE} && mount -t tmpfs -o {options},mode=1777 x {CACHE}")
    try:
        homeport.up("--no-mount")
        _, own = build(homeport)
        assert guest.cmd(["stat", "-c", "%a %U", "/tmp/homeport-2000"]).stdout == "700 me\n"
        assert guest.cmd(["ls", "-A", f"/tmp/homeport-2000/{own}"]).stdout == "homeport-guest\n"
        assert guest.cmd(["find", CACHE, "-name", ".[0-9]*"]).stdout == "", "nothing half is left"
        homeport.down()
        wait_until(lambda: not serves(guest))
        before = times_brought(homeport)
        homeport.up("--no-mount")
        if options != "size=1m":  # a full disk may have been emptied: that is found out each time
            assert times_brought(homeport) == before
        homeport.down()
        wait_until(lambda: not serves(guest))
    finally:
        guest.cmd(f"umount {CACHE}")


def test_a_link_in_tmp_is_not_followed(homeport, guest, host_home):
    """Anybody may make it; what it leads to would be executed."""
    guest.cmd(f"install -d -o me -g me {CACHE} && mount -t tmpfs -o noexec,mode=1777 x {CACHE}")
    guest.cmd("mkdir -m 777 /tmp/trap && ln -s /tmp/trap /tmp/homeport-2000", user="plain")
    try:
        done = homeport.up("--no-mount", check=False)
        assert done.returncode == 1 and "/tmp/homeport-2000: it belongs to another user" in done.stderr
        assert guest.cmd(["ls", "-A", "/tmp/trap"]).stdout == ""
    finally:
        guest.cmd(f"umount {CACHE}; rm -r /tmp/homeport-2000 /tmp/trap")


@pytest.mark.parametrize("damage", ["truncate -s 0", "truncate -s 100k", "chmod 600", "dd if=/dev/zero conv=notrunc bs=64k count=1 of="])
def test_what_a_crash_left_of_it_is_not_used(homeport, guest, host_home, damage):
    homeport.up("--no-mount")
    homeport.down()
    wait_until(lambda: not serves(guest))
    _, own = build(homeport)
    guest.cmd(f"{damage}{'' if damage.endswith('=') else ' '}{CACHE}/homeport/{own}/homeport-guest")
    homeport.up("--no-mount")
    assert times_brought(homeport) == 2


def test_an_installed_one_of_another_version_is_left_alone_and_told(homeport, guest, host_home, other):
    shutil.copy(f"{other}/guests/{os.uname().machine}/homeport-guest", guest.path("/usr/local/bin/homeport-guest"))
    homeport.up("--no-mount")
    assert times_brought(homeport) == 1
    assert ("the guest has another version installed (homeport-guest 0.0.1 build " + 40 * "0" +
            "): the one brought along is used") in homeport.logs()


def test_an_installed_one_of_this_build_is_used(homeport, guest, host_home):
    shutil.copy(build(homeport)[0], guest.path("/usr/local/bin/homeport-guest"))
    homeport.up("--no-mount")
    assert times_brought(homeport) == 0
    assert guest.cmd(["find", CACHE, "-name", "homeport-guest"]).stdout == ""


def test_an_older_agent_hands_over_what_it_has_mounted_for_this_host(homeport, lab, host, guest, host_home, other):
    """The host's program is replaced while its agent dies: nothing is mounted twice, and who is in it goes on."""
    host_home.write("d/note", "from the host\n")
    host_home.write("note", "from the host\n")
    host.cmd([f"{other}/homeport", "up", "-F", lab.ssh_config(), "guest"], user="me", env=homeport.env)
    holder = guest.popen("cd /home/me/d && exec 3<note && echo ready && read x && cat note <&3 && pwd", user="me", stdin=-1,
                         stdout=-1, text=True)
    assert holder.stdout.readline() == "ready\n"
    old, mounted = serves(guest), mount_helpers(guest)
    for outer, (_, line) in host.processes().items():
        if line.startswith("homeport run"):
            os.kill(outer, 9)
    assert len(guest.mounts("fuse.homeport")) == len(mounted) == 1
    homeport.up()
    assert len(guest.mounts("fuse.homeport")) == 1
    assert mount_helpers(guest) == mounted
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    wait_until(lambda: not set(old) & set(serves(guest)), what="the old agent has nothing left to do")
    assert len(serves(guest)) == 1
    assert holder.communicate("\n", timeout=20)[0] == "from the host\n/home/me/d\n"


def test_an_older_agent_that_does_not_know_how_gives_it_up(homeport, lab, host, guest, host_home, other):
    """What it has mounted, the newer one mounts anew."""
    name = f"{other}/guests/{os.uname().machine}/homeport-guest"
    data = open(name, "rb").read()
    open(name, "wb").write(data.replace(b"hand-over %.32s", b"hand-upon %.32s"))  # what the other does not know
    host_home.write("note", "from the host\n")
    homeport.up()
    old, mounted = serves(guest), mount_helpers(guest)
    for outer, (_, line) in host.processes().items():
        if line.startswith("homeport run"):
            os.kill(outer, 9)
    host.cmd([f"{other}/homeport", "up", "-F", lab.ssh_config(), "guest"], user="me", env=homeport.env)
    assert len(guest.mounts("fuse.homeport")) == 1 and not mount_helpers(guest).keys() & mounted.keys()
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    wait_until(lambda: not set(old) & set(serves(guest)), what="the old agent has nothing left to do")


def test_hosts_of_two_versions_each_have_their_agent(homeport, lab, host, guest, host_home, other):
    host_home.write("a/note", "a\n")
    host_home.write("b/note", "b\n")
    older = [f"{other}/homeport", "up", "-F", lab.ssh_config(), "--name", "older", "--mount", "~/a:/tmp/a", "guest"]
    host.cmd(older, user="me", env=homeport.env)
    homeport.up("--name", "newer", "--mount", "~/b:/tmp/b")
    assert guest.cmd("cat /tmp/a/note /tmp/b/note", user="me").stdout == "a\nb\n"
    assert (homeport.status("older")["reconnects"], homeport.status("older")["state"]) == (0, "connected")
    _, own = build(homeport)
    shown = guest.cmd([f"{CACHE}/homeport/{own}/homeport-guest", "status"], user="me").stdout
    assert "host older (me): connected\n  /tmp/a: mounted\n" in shown
    assert "host newer (me): connected\n  /tmp/b: mounted\n" in shown
    assert len(re.findall(r"^homeport-guest 0\.\S+, process \d+$", shown, re.M)) == 2
    homeport.down("older")
    assert guest.cmd("cat /tmp/b/note", user="me").stdout == "b\n"
    homeport.down("newer")


def test_builds_that_nobody_uses_are_removed_after_a_day(homeport, guest, host_home):
    homeport.up("--no-mount")
    homeport.down()
    wait_until(lambda: not serves(guest))
    _, own = build(homeport)
    old, recent = 40 * "1", 40 * "2"
    guest.cmd(f"cd {CACHE}/homeport && for b in {old} {recent} notabuild; do mkdir $b && cp {own}/homeport-guest $b/; done && "
              f"touch {own}/.123 {own}/.124 && touch -d '2 days ago' {own}/.123 {own} {old} notabuild", user="me")
    homeport.up("--no-mount")
    left = guest.cmd(f"cd {CACHE}/homeport && ls -d *[0-9a-z] && ls -A {own}").stdout.split()
    assert set(left) >= {own, recent, "notabuild", ".124", "homeport-guest"} and not {old, ".123"} & set(left)
    assert "build 11111111 of homeport-guest is removed: it was not used for a day" in guest.cmd(
        f"cat {CACHE}/homeport/log-*").stdout


def test_without_a_service_manager_that_answers_it_is_started_all_the_same(homeport, guest, host_home):
    """A guest that looks booted by systemd, whose logind cannot be asked."""
    guest.cmd("mkdir -p /run/systemd/system")
    try:
        homeport.up("--no-mount")
        assert len(serves(guest)) == 1
    finally:
        guest.cmd("rmdir /run/systemd/system")


def test_where_logins_are_cleaned_up_and_no_scope_can_be_had_it_is_started_all_the_same(homeport, guest, host_home):
    """logind says that it ends what logins leave; the real systemd-run finds no manager of the user's."""
    guest.cmd("mkdir -p /run/systemd/system && printf '#!/bin/sh\\necho yes\\n' >/usr/local/bin/loginctl && "
              "chmod 755 /usr/local/bin/loginctl")
    try:
        homeport.up("--no-mount")
        assert len(serves(guest)) == 1
        log = guest.cmd(f"cat {CACHE}/homeport/log-*").stdout
        assert "bus" in log, "systemd-run was tried first: " + log
    finally:
        guest.cmd("rmdir /run/systemd/system; rm /usr/local/bin/loginctl")


@pytest.fixture
def systemctl(guest):
    """systemctl(text): a guest that looks booted by systemd, of whose units `systemctl show` says this. Gives what it was
    asked."""
    def says(text):
        guest.cmd(f"mkdir -p /run/systemd/system; echo '{text}' >/tmp/says; chmod 644 /tmp/says")
        with open(guest.path("/usr/local/bin/systemctl"), "w") as f:
            f.write('#!/bin/sh\necho "$*" >>/tmp/asked\ncat /tmp/says\n')
            os.fchmod(f.fileno(), 0o755)
        return lambda: guest.cmd("cat /tmp/asked", check=False).stdout.splitlines()
    yield says
    guest.cmd("rm -rf /run/systemd/system /usr/local/bin/systemctl /tmp/says /tmp/asked")


def test_an_agent_that_systemd_is_about_to_start_is_waited_for(homeport, guest, host_home, systemctl):
    """As its unit's it is kept in and kept up; one that is started beside it would be neither."""
    homeport.up("--no-mount")
    homeport.down()
    wait_until(lambda: not serves(guest))
    asked = systemctl("SubState=auto-restart")
    up = homeport.popen("up", "-F", homeport.lab.ssh_config("me"), "--no-mount", "guest")
    homeport.name = "guest"
    wait_until(asked)
    assert not serves(guest)
    guest.popen([f"{CACHE}/homeport/{build(homeport)[1]}/homeport-guest", "serve"], user="me", stderr=subprocess.DEVNULL)
    assert up.wait(timeout=20) == 0
    assert [line.split()[1:] for line in serves(guest).values()] == [["serve"]]
    assert set(asked()) == {"show --property=SubState --property=Job homeport-guest@me.service"}


def test_an_agent_that_systemd_runs_and_is_of_another_build_is_not_waited_for(homeport, guest, host_home, systemctl):
    asked = systemctl("SubState=running")
    homeport.up("--no-mount")
    assert len(asked()) == 1 and len(serves(guest)) == 1


OTHER_ARCH = f"{BUILD_AT}/guests/aarch64/homeport-guest"
if os.uname().machine != "aarch64" and os.path.exists(f"{HERE_BUILD}/guests/aarch64/homeport-guest"):

    @pytest.mark.long
    def test_a_guest_of_another_architecture(homeport, lab, host, guest, host_home):
        """By emulation, what that can: the session, the mux and a connection to a port; neither netlink nor mounts. The
        emulator starts no program of its own kind, so the agent is started here."""
        run = ["qemu-aarch64-static", OTHER_ARCH]
        with open(f"{HERE_BUILD}/guests/aarch64/homeport-guest", "rb") as f:
            data = f.read()
        said = guest.cmd(run + ["--version"], user="me").stdout.split()
        assert (said[0], said[2]) == ("homeport-guest", "build") and bytes.fromhex(said[3]) in data
        guest.popen(run + ["serve"], user="me", stderr=subprocess.DEVNULL)
        guest.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8099"], user="me", cwd="/", stdout=-3, stderr=-3)
        wait_until(lambda: guest.cmd(run + ["status"], user="me", check=False).returncode == 0)
        homeport.popen("run", "-F", lab.ssh_config(), "--no-mount", "--port-forward", "8099:8099,static", "--guest-command",
                       " ".join(run), "guest", stderr=subprocess.DEVNULL)
        fetch = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8099/"]
        wait_until(lambda: host.cmd(fetch, user="me", check=False).stdout == "200")
        assert "host guest (me): connected\n" in guest.cmd(run + ["status"], user="me").stdout
        homeport.down("guest")
