# SPDX-License-Identifier: MIT
"""homeport guest install, guest uninstall: what they put into a guest, and that all of it goes again, whatever happens.

The guest's own files are changed, and no other machine's: it has a /etc, a /home and a /usr/local of its own.
"""
import os
import re
import select
import socket

import pytest

from conftest import wait_until
from lab import BUILD_AT

LAB = dict(guest_binary=False, same_home=True)
PROGRAM = "/usr/local/bin/homeport-guest"
MANUAL = "/usr/local/share/man/man8/homeport-guest.8"
UNIT = "/usr/local/lib/systemd/system/homeport-guest@.service"
RECORD = "/var/lib/homeport/installed"
GUEST = f"{BUILD_AT}/guests/{os.uname().machine}/homeport-guest"
# What an install may touch, and the folders in which it makes something. Contents, owners and modes; no times.
TREE = ("find /home /usr/local/bin /usr/local/share/man /usr/local/lib/systemd /etc /var/lib/homeport -maxdepth 4 "
        "-path '*/.cache' -prune -o -not -name .pwd.lock -printf '%p %y %m %U %G %l\\n' 2>/dev/null | sort; "
        "cat /etc/passwd /etc/fuse.conf /etc/apparmor.d/local/* 2>/dev/null | md5sum")


def tree(guest):
    return guest.cmd(TREE).stdout


def command(homeport, what, *args, login="guest", **kw):
    return homeport.run("guest", what, "-F", homeport.lab.ssh_config(), *args, login, **kw)


def install(homeport, *args, **kw):
    done = command(homeport, "install", "--yes", *args, **kw)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def uninstall(homeport, **kw):
    done = command(homeport, "uninstall", "--yes", **kw)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def login_home(lab, user="me"):
    """Where a login by sshd lands: it fails where sshd does not find the key."""
    return lab.host.cmd(lab.guest.ssh_args(user) + ["pwd"], user="me", check=False).stdout.strip()


@pytest.fixture(scope="module")
def as_made(lab):
    return tree(lab.guest)


@pytest.fixture(autouse=True)
def as_before(as_made, guest):
    """Each test finds the guest as it was made; what one leaves behind is its failure."""
    yield
    after = tree(guest)
    if after != as_made:
        guest.cmd([GUEST, "uninstall", "--yes"], check=False)
        pytest.fail("the guest is not as it was before:\n" + "\n".join(
            sorted(set(as_made.splitlines()) ^ set(after.splitlines()))))


# ------------------------------------------------------------------------------------------------------ files, and away


@pytest.mark.parametrize("login", ["guest", "guest-root"])
def test_it_is_put_in_place_used_and_taken_away(homeport, guest, host_home, login):
    said = install(homeport, login=login)
    assert f"  {PROGRAM}: written, this program (root's, mode 0755)\n" in said
    assert f"  {MANUAL}: written, its manual (root's, mode 0644)\n" in said
    assert "no systemd here, so no service" in said
    assert guest.cmd(["stat", "-c", "%a %U %G", PROGRAM, MANUAL, RECORD]).stdout == (
        "755 root root\n644 root root\n644 root root\n")
    assert guest.cmd(["sha1sum", PROGRAM]).stdout.split()[0] == guest.cmd(["sha1sum", GUEST]).stdout.split()[0]
    assert ".Nm homeport-guest" in guest.cmd(["cat", MANUAL]).stdout
    guest.cmd("rm -rf /home/me/.cache /root/.cache")
    homeport.up("--no-mount", host=login)
    assert "is brought to the guest" not in homeport.logs(), "the installed one is used"
    homeport.down()
    said = uninstall(homeport, login=login)
    assert f"  {PROGRAM}: removed\n" in said
    assert command(homeport, "uninstall", login=login).stdout == "Nothing to do: nothing is installed.\n"


def test_a_second_install_has_nothing_to_do(homeport, guest):
    install(homeport)
    before = guest.cmd(["stat", "-c", "%i %y", PROGRAM, RECORD]).stdout
    assert install(homeport) == "Nothing to do: all of it is in place.\n"
    assert guest.cmd(["stat", "-c", "%i %y", PROGRAM, RECORD]).stdout == before
    uninstall(homeport)


def test_a_dry_run_says_it_and_does_nothing(homeport, guest):
    before = tree(guest)
    done = command(homeport, "install", "--dry-run", "--move-home", "--allow-other")
    assert done.returncode == 0
    assert f"  {PROGRAM}: written" in done.stdout and "/home/me: renamed to /home/me.guest" in done.stdout
    assert "user_allow_other" in done.stdout
    assert tree(guest) == before
    install(homeport)
    before = tree(guest)
    done = command(homeport, "uninstall", "--dry-run")
    assert done.returncode == 0 and f"  {PROGRAM}: removed\n" in done.stdout
    assert tree(guest) == before
    uninstall(homeport)


def test_without_a_terminal_it_wants_a_yes(homeport, guest):
    before = tree(guest)
    done = command(homeport, "install")
    assert (done.returncode, done.stderr) == (
        2, "homeport: guest: nothing is done without --yes where there is no terminal to ask at\n")
    assert tree(guest) == before


def test_another_program_under_its_name_is_left_alone(homeport, guest):
    guest.cmd(f"echo mine >{PROGRAM}")
    try:
        done = command(homeport, "install", "--yes")
        assert done.returncode == 1 and f"homeport: guest: {PROGRAM}: another one is there" in done.stderr
        assert guest.cmd(["cat", PROGRAM]).stdout == "mine\n"
        assert guest.cmd(["ls", "/var/lib/homeport"], check=False).returncode == 2, "nothing was done"
    finally:
        guest.cmd(["rm", PROGRAM])


def test_an_older_one_of_ours_is_replaced_at_once(homeport, guest):
    """Its record says that it is ours; whoever runs it goes on running it."""
    install(homeport)
    old = guest.path("/tmp/older")
    with open(guest.path(GUEST), "rb") as f:
        data = f.read()
    build = guest.cmd([GUEST, "--version"]).stdout.split()[3]
    with open(old, "wb") as f:
        f.write(data.replace(bytes.fromhex(build), bytes(20)))
        os.fchmod(f.fileno(), 0o755)
    uninstall(homeport)
    guest.cmd(["/tmp/older", "install", "--user", "me", "--yes"])
    inode = guest.cmd(["stat", "-c", "%i", PROGRAM]).stdout
    said = install(homeport)
    assert f"  {PROGRAM}: written" in said and MANUAL not in said
    assert guest.cmd(["stat", "-c", "%i", PROGRAM]).stdout != inode
    assert guest.cmd([PROGRAM, "--version"]).stdout.split()[3] == build
    uninstall(homeport)


def test_what_was_changed_since_is_told_and_kept(homeport, guest):
    install(homeport)
    guest.cmd(f"echo changed >>{MANUAL}; touch /usr/local/share/man/man8/other.8")
    said = uninstall(homeport)
    assert f"  {MANUAL}: stays: it was changed since it was installed\n" in said
    assert guest.cmd(["tail", "-1", MANUAL]).stdout == "changed\n"
    assert guest.cmd(["ls", "/usr/local/share/man/man8"]).stdout == "homeport-guest.8\nother.8\n"
    guest.cmd("rm -r /usr/local/share/man/man8")


def test_a_record_that_is_not_understood_stops_it(homeport, guest):
    install(homeport)
    guest.cmd(f"sed -i.kept 's/installed 1/installed 2/' {RECORD}")
    for what in ("install", "uninstall"):
        done = command(homeport, what, "--yes")
        assert done.returncode == 1 and "another version wrote it" in done.stderr
    guest.cmd(f"mv {RECORD}.kept {RECORD}; chown me {RECORD}")
    assert command(homeport, "uninstall", "--yes").returncode == 1, "a record is root's"
    guest.cmd(f"chown root {RECORD}")
    uninstall(homeport)


@pytest.mark.parametrize("before", ["", "# mine\nmount_max = 10", "user_allow_other\n", None])
def test_fuse_conf_gets_its_line_and_is_restored_to_the_byte(homeport, guest, before):
    path = guest.path("/etc/fuse.conf")
    kept = open(path).read()
    if before is None:
        os.unlink(path)
    else:
        open(path, "w").write(before)
    guest.cmd("chmod 640 /etc/fuse.conf || true")
    try:
        install(homeport, "--allow-other")
        lines = open(path).read().splitlines()
        assert lines.count("user_allow_other") == 1
        assert open(path).read().endswith(before or "")
        assert install(homeport, "--allow-other").startswith("Nothing to do")
        uninstall(homeport)
        assert (open(path).read() if os.path.exists(path) else None) == before
        if before is not None:
            assert os.stat(path).st_mode & 0o777 == 0o640
    finally:
        open(path, "w").write(kept)
        os.chmod(path, 0o644)


def test_a_file_that_is_replaced_keeps_its_label(homeport, guest):
    """SELinux's, which a new file would have of its folder."""
    label = ["getfattr", "--only-values", "-n", "security.selinux", "/etc/fuse.conf"]
    guest.cmd("setfattr -n security.selinux -v system_u:object_r:other_t:s0 /etc/fuse.conf")
    install(homeport, "--allow-other")
    assert guest.cmd(label).stdout == "system_u:object_r:other_t:s0"
    uninstall(homeport)
    assert guest.cmd(label).stdout == "system_u:object_r:other_t:s0"
    guest.cmd("setfattr -x security.selinux /etc/fuse.conf")


def test_a_full_disk_is_told_and_what_was_done_can_be_taken_back(homeport, guest):
    guest.cmd("mount -t tmpfs -o size=100k x /usr/local/bin")
    try:
        done = command(homeport, "install", "--yes")
        assert done.returncode == 1
        assert f"homeport: guest: {PROGRAM}: No space left on device\n" in done.stderr
        assert "begin again to go on, or uninstall to take it back" in done.stderr
        assert guest.cmd(["ls", "-A", "/usr/local/bin"]).stdout == ""
        uninstall(homeport)
    finally:
        guest.cmd("umount /usr/local/bin")


# ---------------------------------------------------------------------------------------------------------- who may


class Terminal:
    """homeport on a terminal of its own, answered like a person: `expects` is looked for in all that was shown."""

    def __init__(self, homeport, *args):
        self.here, there = os.openpty()
        self.process = homeport.popen("guest", *args, stdin=there, stdout=there, stderr=there)
        os.close(there)
        self.shown = ""

    def expect(self, text):
        def seen():
            while select.select([self.here], [], [], 0)[0]:
                try:
                    data = os.read(self.here, 4096)
                except OSError:
                    data = b""
                if not data:
                    break
                self.shown += data.decode().replace("\r\n", "\n")
            return text in self.shown
        wait_until(seen, 20, f"{text!r} on the terminal; there is:\n{self.shown}")

    def type(self, text):
        os.write(self.here, text.encode())

    def end(self):
        status = self.process.wait(timeout=20)
        self.expect("")
        os.close(self.here)
        return status


def test_on_a_terminal_it_asks(homeport, guest):
    config = homeport.lab.ssh_config()
    before = tree(guest)
    one = Terminal(homeport, "install", "-F", config, "guest")
    one.expect("Do this? [y/N] ")
    assert f"  {PROGRAM}: written" in one.shown
    one.type("\n")
    assert one.end() == 1 and "nothing was done" in one.shown
    assert tree(guest) == before
    one = Terminal(homeport, "install", "-F", config, "guest")
    one.expect("Do this? [y/N] ")
    one.type("y\n")
    assert one.end() == 0
    assert guest.cmd(["stat", "-c", "%U", PROGRAM]).stdout == "root\n"
    uninstall(homeport)


def test_where_sudo_wants_a_password_it_is_asked_by_sudo_itself(homeport, guest):
    """And nowhere else: without a terminal the line says what to do."""
    before = tree(guest)
    done = command(homeport, "install", "--yes", "--allow-other", login="guest-plain")
    assert done.returncode == 1 and "sudo wants a password" in done.stderr
    line = done.stderr.strip().split("as root in the guest: ")[1]
    assert re.fullmatch(r"/home/plain.guest/.cache/homeport/[0-9a-f]{40}/homeport-guest install --yes --allow-other "
                        r"--mount-point /home/me --user plain", line)
    guest.cmd("cp /etc/sudoers /root/sudoers; cp /etc/shadow /root/shadow; "
              "sed -i \"s,^plain:[^:]*,plain:$(openssl passwd -6 secret),\" /etc/shadow; "
              "echo 'plain ALL=(ALL:ALL) ALL' >>/etc/sudoers")
    try:
        one = Terminal(homeport, "install", "-F", homeport.lab.ssh_config(), "guest-plain")
        one.expect("password for plain: ")
        one.type("secret\n")
        one.expect("Do this? [y/N] ")
        one.type("y\n")
        assert one.end() == 0, one.shown
        assert f"  {PROGRAM}: written" in one.shown
        guest.cmd(line.replace("install --yes --allow-other --mount-point /home/me", "uninstall --yes"))
    finally:
        guest.cmd("cat /root/sudoers >/etc/sudoers; cat /root/shadow >/etc/shadow; rm /root/shadow /root/sudoers")
    assert tree(guest) == before


def test_without_sudo_it_says_what_root_may_type(homeport, guest):
    guest.cmd("mv /usr/bin/sudo /usr/bin/sudo.away")
    try:
        done = command(homeport, "install", "--yes")
    finally:
        guest.cmd("mv /usr/bin/sudo.away /usr/bin/sudo")
    assert done.returncode == 1
    assert re.fullmatch(r"homeport: guest: there is no sudo here; as root in the guest: \S+/homeport-guest install --yes "
                        r"--mount-point /home/me --user me\n", done.stderr)


def test_a_host_that_goes_before_it_said_go_does_nothing(guest):
    before = tree(guest)
    done = guest.cmd([GUEST, "install", "--yes", "--to-host"], user="me", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert tree(guest) == before


def test_two_at_once_do_not_meet(homeport, guest):
    install(homeport)
    holder = guest.popen(["flock", "-F", "/var/lib/homeport", "sh", "-c", "echo locked; exec sleep 60"], stdout=-1)
    assert holder.stdout.readline() == b"locked\n"
    done = command(homeport, "uninstall", "--yes")
    assert done.returncode == 1 and "another install or uninstall is under way" in done.stderr
    holder.kill()
    holder.wait()
    holder.stdout.close()
    wait_until(lambda: command(homeport, "uninstall", "--yes").returncode == 0)


HOSTILE = {
    "escapes": (r"printf 'o \033]0;owned\007\nq \033[2J?\nx 0\n'; read a; exit 0", 0, r"\x1b]0;owned\x07", ""),
    "an end without a word": ("exit 0", 1, "", "homeport: guest: homeport-guest-of-mine ended in the guest"),
    "statuses that are none": (r"printf 'x 256\nx -1\nx 1x\nx \n'; exit 3", 1, "", "failed in the guest with status 3"),
    "no end": ("yes 'o again'", 1, "again", "homeport: guest: homeport-guest prints without end"),
    "questions without end": ("while :; do echo 'q sure?' || exit; done", 1, "", "homeport: guest: homeport-guest "),
    "letters that mean nothing": (r"printf 'z x\n\n \noo\nx 0\n'", 0, "", ""),
    "a path that is a command": (r"printf 's /x;reboot\np do it\nx 1\n'", 1, "", "homeport: guest: do it"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_guest_that_says_anything_does_no_harm(homeport, guest, what):
    script, status, shown, told = HOSTILE[what]
    with open(guest.path("/usr/local/bin/homeport-guest-of-mine"), "w") as f:
        f.write(f"#!/bin/sh\nread go\n{script}\n")
        os.fchmod(f.fileno(), 0o755)
    homeport.write_config("dev", f"guestCommand: homeport-guest-of-mine\nssh:\n  host: guest\n"
                                 f"  configFile: {homeport.lab.ssh_config()}\n")
    try:
        done = homeport.run("guest", "install", "--yes", "dev")
    finally:
        guest.cmd("rm /usr/local/bin/homeport-guest-of-mine; pkill -x yes; true")
    assert done.returncode == status, done.stdout + done.stderr
    assert told in done.stderr and shown in done.stdout
    assert "\033" not in done.stdout + done.stderr and "\007" not in done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------------------ services


@pytest.fixture
def systemd(guest):
    """A guest that looks booted by systemd. What systemctl is asked is written down; the real one enables and disables,
    as it does where no systemd runs."""
    with open(guest.path("/usr/local/sbin/systemctl"), "w") as f:
        f.write("#!/bin/sh\necho \"$*\" >>/run/asked\ncase $1 in *able*) "
                "SYSTEMD_OFFLINE=1 exec /usr/bin/systemctl --root=/ \"$1\" \"$2\" ;; esac\n")
        os.fchmod(f.fileno(), 0o755)
    guest.cmd("mkdir -p /run/systemd/system")
    kept = open(guest.path("/etc/sudoers")).read()
    guest.cmd("sed -i s,secure_path=\\\",secure_path=\\\"/usr/local/sbin:, /etc/sudoers")

    def asked():
        said = guest.cmd("cat /run/asked; rm -f /run/asked", check=False).stdout.splitlines()
        return [line for line in said if not line.startswith("is-enabled")]
    yield asked
    guest.cmd("rm -rf /run/systemd/system /usr/local/sbin/systemctl /run/asked")
    open(guest.path("/etc/sudoers"), "w").write(kept)


def test_where_systemd_runs_the_agent_is_a_service(homeport, guest, systemd):
    said = install(homeport)
    assert f"  {UNIT}: written, its systemd unit" in said
    assert "  homeport-guest@me.service: enabled and started: the agent is there from boot on\n" in said
    assert systemd() == ["daemon-reload", "enable homeport-guest@me.service",
                         "restart homeport-guest@me.service --no-block"]
    with open(os.path.join(os.path.dirname(__file__), "../../systemd/homeport-guest@.service")) as f:
        assert guest.cmd(["cat", UNIT]).stdout == f.read()
    wanted = "/etc/systemd/system/multi-user.target.wants/homeport-guest@me.service"
    assert guest.cmd(["readlink", wanted]).stdout == UNIT + "\n"
    assert install(homeport).startswith("Nothing to do")
    assert systemd() == []
    said = uninstall(homeport)
    assert "  homeport-guest@me.service: stopped and disabled\n" in said
    assert systemd() == ["disable homeport-guest@me.service --now", "daemon-reload"]


def test_a_service_whose_home_moves_is_started_anew_and_ended_before_it_moves_back(guest, systemd):
    guest.cmd([GUEST, "install", "--user", "me", "--yes"])
    systemd()
    said = guest.cmd([GUEST, "install", "--user", "me", "--yes", "--move-home"]).stdout
    assert "a service manager that lingers, until `systemctl restart user@2000.service`" in said
    assert systemd() == ["enable homeport-guest@me.service", "restart homeport-guest@me.service --no-block"]
    said = guest.cmd([GUEST, "uninstall", "--yes"]).stdout
    assert said.index("homeport-guest@me.service: stopped") < said.index("/home/me: the mount point, removed")


def hardened_of(user):
    return f"/etc/systemd/system/homeport-guest@{user}.service.d/hardened.conf"


def test_a_login_user_without_sudo_gets_the_helper(homeport, guest, systemd):
    """The units, the socket, and the users one after the other; all of it goes again."""
    conf, units = "/etc/homeport/mounts.conf", "/usr/local/lib/systemd/system"
    said = install(homeport, "--helper")
    assert f"  {conf}: says for whom root mounts: me\n" in said
    assert "  homeport-helper.socket: enabled and started: root mounts for who may ask, from boot on\n" in said
    assert f"  {hardened_of('me')}: written, what keeps its service in (root's, mode 0644)\n" in said
    asked = systemd()
    assert "enable homeport-helper.socket" in asked
    assert asked.index("daemon-reload") < asked.index("restart homeport-guest@me.service --no-block")
    for unit, path in (("homeport-helper.socket", f"{units}/homeport-helper.socket"),
                       ("homeport-helper@.service", f"{units}/homeport-helper@.service"),
                       ("homeport-guest-hardened.conf", hardened_of("me"))):
        with open(os.path.join(os.path.dirname(__file__), "../../systemd", unit)) as f:
            assert guest.cmd(["cat", path]).stdout == f.read()
    assert install(homeport, "--helper").startswith("Nothing to do")
    assert install(homeport).startswith("Nothing to do")
    systemd()
    guest.cmd(["sh", "-c", f"echo other /srv >> {conf}"])
    said = guest.cmd([GUEST, "install", "--user", "plain", "--yes", "--helper"]).stdout
    assert f"  {conf}: says for whom root mounts: me plain\n" in said
    assert f"  {hardened_of('plain')}: written" in said and hardened_of("me") not in said
    lines = guest.cmd(["cat", conf]).stdout.splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["me", "plain", "other /srv"]
    assert guest.cmd(["stat", "-c", "%a %u", conf]).stdout == "644 0\n"
    guest.cmd(["sed", "-i", "/^other/d", conf])
    uninstall(homeport)
    assert "disable homeport-helper.socket --now" in systemd()
    assert not os.path.exists(guest.path("/etc/homeport"))


def test_root_who_mounts_by_itself_is_not_kept_in(guest, systemd):
    said = guest.cmd([GUEST, "install", "--user", "root", "--yes", "--helper"]).stdout
    assert "homeport-guest@root.service: enabled" in said and "hardened" not in said
    guest.cmd([GUEST, "uninstall", "--yes"])


def test_a_user_of_a_name_service_is_told_to_the_helper_by_number(guest, systemd):
    """It is a static program, and knows /etc/passwd alone: the system's id(1) knows more."""
    done = guest.cmd([GUEST, "install", "--user", "of-ldap", "--yes", "--helper"], check=False)
    assert done.returncode == 1 and "--helper: nobody here knows the login user" in done.stderr
    with open(guest.path("/usr/local/sbin/id"), "w") as f:
        f.write('#!/bin/sh\n[ "$*" = "-u -- of-ldap" ] && echo 424242\n')
        os.fchmod(f.fileno(), 0o755)
    try:
        for said in ("says for whom root mounts: 424242\n", "Nothing to do"):
            assert said in guest.cmd([GUEST, "install", "--user", "of-ldap", "--yes", "--helper"]).stdout
        assert "424242\n" in guest.cmd(["cat", "/etc/homeport/mounts.conf"]).stdout
        assert os.path.exists(guest.path(hardened_of("of-ldap")))
        guest.cmd([GUEST, "uninstall", "--yes"])
        assert not os.path.exists(guest.path("/etc/homeport"))
    finally:
        os.unlink(guest.path("/usr/local/sbin/id"))


def test_an_upgrade_renews_what_keeps_services_in_but_nothing_that_was_taken_away_or_changed(guest, systemd):
    """It may need a system call that an older one does not let through, whatever is asked for this time."""
    with open(guest.path(GUEST), "rb") as f:
        data = f.read()
    with open(guest.path("/tmp/older"), "wb") as f:
        f.write(data.replace(b"LockPersonality=yes\nMemory", b"LockPersonality=no \nMemory"))
        os.fchmod(f.fileno(), 0o755)
    users = ("me", "plain", "mail", "news")
    for user in users:
        guest.cmd(["/tmp/older", "install", "--user", user, "--yes", "--helper"])
    guest.cmd(["rm", hardened_of("plain")])
    guest.cmd(f"echo '# mine' >>{hardened_of('mail')}")
    said = guest.cmd([GUEST, "install", "--user", "news", "--yes"]).stdout
    assert re.findall("/etc/systemd/system/homeport-guest@(.*).service.d/hardened.conf: written", said) == ["me", "news"]
    assert "LockPersonality=yes" in guest.cmd(["cat", hardened_of("me")]).stdout
    assert not os.path.exists(guest.path(hardened_of("plain")))
    assert "LockPersonality=no" in guest.cmd(["cat", hardened_of("mail")]).stdout
    assert guest.cmd([GUEST, "install", "--user", "news", "--yes"]).stdout.startswith("Nothing to do")
    said = guest.cmd([GUEST, "uninstall", "--yes"]).stdout
    assert f"  {hardened_of('mail')}: stays: it was changed since it was installed\n" in said
    guest.cmd(["rm", "-r", os.path.dirname(hardened_of("mail"))])


def test_without_systemd_there_is_no_helper(homeport):
    done = command(homeport, "install", "--yes", "--helper")
    assert done.returncode == 1 and "--helper: there is no systemd here, which would start it" in done.stderr


def test_an_upgrade_starts_every_user_s_service_anew(guest, systemd):
    with open(guest.path(GUEST), "rb") as f:
        data = f.read()
    build = guest.cmd([GUEST, "--version"]).stdout.split()[3]
    with open(guest.path("/tmp/older"), "wb") as f:
        f.write(data.replace(bytes.fromhex(build), bytes(20)))
        os.fchmod(f.fileno(), 0o755)
    for user in ("me", "plain"):
        guest.cmd(["/tmp/older", "install", "--user", user, "--yes"])
    systemd()
    guest.cmd([GUEST, "install", "--user", "me", "--yes"])
    assert [line for line in systemd() if line.startswith("restart")] == [
        "restart homeport-guest@me.service --no-block", "restart homeport-guest@plain.service --no-block"]
    guest.cmd([GUEST, "uninstall", "--yes"])
    assert systemd() == ["disable homeport-guest@plain.service --now", "disable homeport-guest@me.service --now",
                         "daemon-reload"]


def test_the_service_waits_for_an_agent_that_a_connection_started(homeport, guest, host_home):
    homeport.up("--no-mount")
    before = guest.cmd([GUEST, "status"], user="me").stdout
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(guest.path("/tmp/notify"))
        os.chmod(guest.path("/tmp/notify"), 0o666)
        manager.settimeout(10)
        service = guest.popen([GUEST, "serve"], user="me", env={"NOTIFY_SOCKET": "/tmp/notify"}, stderr=-3)
        assert "STATUS=waiting: an agent that a connection started serves this user" in manager.recv(4096).decode()
        assert guest.cmd([GUEST, "status"], user="me").stdout.splitlines()[0] == before.splitlines()[0]
        homeport.down()
        wait_until(lambda: "waiting" not in manager.recv(4096).decode(), what="the service takes over")
        homeport.up("--no-mount")
        assert guest.cmd([GUEST, "status"], user="me").stdout.splitlines()[0] != before.splitlines()[0]
        homeport.down()
        service.terminate()
        service.wait(timeout=10)
    os.unlink(guest.path("/tmp/notify"))


# ------------------------------------------------------------------------------------------------------------ AppArmor


@pytest.fixture
def apparmor(guest):
    """A guest whose fusermount3 is confined as Ubuntu does it from 25.04 on, as far as files tell; no kernel does."""
    guest.cmd("mount -t tmpfs x /sys/module && mkdir -p /sys/module/apparmor/parameters && "
              "echo Y >/sys/module/apparmor/parameters/enabled && mv /etc/apparmor.d /etc/apparmor.d.kept; "
              "mkdir -p /etc/apparmor.d/local && touch /etc/apparmor.d/fusermount3 && "
              "printf '#!/bin/sh\\necho \"$*\" >>/run/asked\\n[ ! -e /run/refuse ] || { echo no such rule; exit 1; }\\n' "
              ">/usr/local/bin/apparmor_parser && chmod 755 /usr/local/bin/apparmor_parser")
    yield "/etc/apparmor.d/local/fusermount3"
    guest.cmd("umount /sys/module; rm -rf /etc/apparmor.d /usr/local/bin/apparmor_parser /run/asked /run/refuse; "
              "mv /etc/apparmor.d.kept /etc/apparmor.d || true")


@pytest.mark.parametrize("before", [None, "# mine\n/opt/x r,"])
def test_apparmor_is_told_where_mounts_go(homeport, guest, apparmor, before):
    path = guest.path(apparmor)
    if before:
        open(path, "w").write(before)
    said = install(homeport)
    assert f"  {apparmor}: allows fusermount3 to mount at /home/me, which AppArmor forbids it here" in said
    text = open(path).read()
    assert "mount fstype=fuse.homeport options=(nosuid,nodev,ro) -> /home/me/,\n" in text
    assert "umount /home/me/,\n" in text and text.endswith(before or "# homeport: end\n")
    assert guest.cmd(["cat", "/run/asked"]).stdout == "-r /etc/apparmor.d/fusermount3\n"
    assert install(homeport).startswith("Nothing to do")
    uninstall(homeport)
    assert (open(path).read() if os.path.exists(path) else None) == before
    assert guest.cmd(["cat", "/run/asked"]).stdout == 2 * "-r /etc/apparmor.d/fusermount3\n"


def test_a_rule_that_apparmor_does_not_take_does_not_stay(homeport, guest, apparmor):
    guest.cmd("touch /run/refuse")
    done = command(homeport, "install", "--yes")
    assert done.returncode == 1 and "no such rule" in done.stderr
    assert not os.path.exists(guest.path(apparmor))
    guest.cmd("rm /run/refuse")
    uninstall(homeport)


# ------------------------------------------------------------------------------------------------------- moving the home


def passwd_home(guest):
    return guest.cmd("grep ^me: /etc/passwd").stdout.split(":")[5]


def test_the_home_moves_and_the_host_s_home_comes_to_the_same_path(homeport, lab, guest, host_home):
    host_home.write("note", "from the host\n")
    guest.cmd("echo here >~/file; mkdir -p ~/.config; echo 'PATH=/home/me/bin:$PATH' >~/.profile", user="me")
    mode = os.stat(guest.path("/home/me")).st_mode
    try:
        said = install(homeport, "--move-home")
        assert "  /home/me: renamed to /home/me.guest, the home of me from then on (in /etc/passwd too)\n" in said
        assert "  /home/me: made anew, empty, for the host's home to be mounted there (root's, mode 0555)\n" in said
        assert "  note: /home/me/.profile names /home/me: it will mean the host's\n" in said
        assert login_home(lab) == "/home/me.guest"
        assert guest.cmd(["stat", "-c", "%a %U", "/home/me"]).stdout == "555 root\n"
        homeport.up()
        assert homeport.status()["mounts"][0]["target"] == "/home/me"
        assert guest.cmd("cat /home/me/note /home/me.guest/file", user="me", cwd="/").stdout == "from the host\nhere\n"
        done = command(homeport, "uninstall", "--yes")
        assert done.returncode == 1 and "homeport: guest: /home/me: something is mounted there: `homeport down`" in done.stderr
        homeport.down()
        uninstall(homeport)
        assert (login_home(lab), passwd_home(guest)) == ("/home/me", "/home/me")
        assert os.stat(guest.path("/home/me")).st_mode == mode
        assert guest.cmd("cat ~/file", user="me").stdout == "here\n"
    finally:
        guest.cmd("rm -r ~/file ~/.config ~/.profile", user="me", check=False)


def test_who_mounts_by_fusermount3_gets_a_mount_point_of_its_own(homeport, lab, guest, host_home):
    """It insists on one that its caller can write to."""
    host_home.write("note", "from the host\n")
    kept = open(guest.path("/etc/sudoers")).read()
    guest.cmd("sed -i /^me/d /etc/sudoers")
    try:
        guest.cmd([GUEST, "install", "--user", "me", "--move-home", "--yes"])
        assert guest.cmd(["stat", "-c", "%a %U", "/home/me"]).stdout == "755 me\n"
        homeport.up()
        assert guest.cmd("cat /home/me/note", user="me", cwd="/").stdout == "from the host\n"
        homeport.down()
        guest.cmd([GUEST, "uninstall", "--yes"])
    finally:
        open(guest.path("/etc/sudoers"), "w").write(kept)


REFUSALS = {
    "another program": ("", r"/home/me: other programs of me's have files there: sleep \(\d+\); log out"),
    "a target that is there": ("mkdir /home/me.guest", r"/home/me\.guest: is there already"),
    "a mount in it": ("mkdir /home/me/m && mount -t tmpfs x /home/me/m", r"/home/me/m: something is mounted there"),
    "a home that is a mount": ("mount --bind /home/me /home/me", "/home/me: something is mounted there"),
    "another's home in it": ("echo o:x:3000:3000::/home/me/o:/bin/sh >>/etc/passwd", "/home/me: is also the home of the user o"),
    "keys by an absolute path": ("echo 'AuthorizedKeysFile /home/%u/.ssh/authorized_keys' >>/etc/ssh/sshd_config",
                                 "AuthorizedKeysFile in sshd_config is /home/%u/.ssh/authorized_keys: the move would lock me out"),
    "a home that is another's": ("chown plain /home/me", "/home/me: does not belong to me"),
    "a link on the way": ("mv /home/me /home/real && ln -s real /home/me", "/home/me: is no folder, or leads through a link"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_home_that_cannot_move_stays(homeport, guest, what):
    prepare, why = REFUSALS[what]
    guest.cmd("cp -p /etc/passwd /etc/ssh/sshd_config /root/")
    before = tree(guest)
    other = guest.popen(["sleep", "60"], user="me", cwd="/home/me") if not prepare else None
    if other:
        wait_until(lambda: any(line == "sleep 60" for _, line in guest.processes().values()))
    else:
        guest.cmd(prepare)
    try:
        done = guest.cmd([GUEST, "install", "--user", "me", "--move-home", "--yes"], check=False)
        assert done.returncode == 1 and re.search(f"^homeport-guest: install: {why}", done.stderr, re.M), done.stderr
        assert not os.path.exists(guest.path(PROGRAM)), "nothing of it was done"
    finally:
        if other:
            other.kill()
            other.wait()
            guest.cmd("pkill -f 'sleep 60'", check=False)
        guest.cmd("umount /home/me/m /home/me; rmdir /home/me/m /home/me.guest; rm /home/me; mv /home/real /home/me; "
                  "chown me /home/me; cat /root/passwd >/etc/passwd; cat /root/sshd_config >/etc/ssh/sshd_config; "
                  "rm /root/passwd /root/sshd_config", check=False)
    assert tree(guest) == before


def test_a_move_that_fails_on_the_way_is_taken_back(lab, guest):
    """/etc/passwd cannot be replaced: it is mounted by itself, as in some containers."""
    guest.cmd("mount --bind /etc/passwd /etc/passwd")
    try:
        done = guest.cmd([GUEST, "install", "--user", "me", "--move-home", "--yes"], check=False)
        assert done.returncode == 1
        assert "homeport-guest: install: /home/me: cannot be moved: Device or resource busy\n" in done.stderr
        assert login_home(lab) == "/home/me"
        assert guest.cmd(["ls", "/home"]).stdout == "me\nplain.guest\n"
    finally:
        guest.cmd("umount /etc/passwd")
    guest.cmd([GUEST, "uninstall", "--yes"])


def test_the_home_of_root_and_one_that_no_folder_goes_to_stay(homeport, lab, guest):
    done = command(homeport, "install", "--yes", "--move-home", login="guest-root")
    assert done.returncode == 0 and "note: /root: stays where it is: no folder of the host goes there" in done.stdout
    uninstall(homeport, login="guest-root")
    done = guest.cmd([GUEST, "install", "--user", "root", "--move-home", "--yes"], check=False)
    assert done.returncode == 1 and "the home of root stays where it is" in done.stderr
    said = guest.cmd([GUEST, "install", "--user", "plain", "--move-home", "--yes"]).stdout
    assert "/home/plain" not in said, "it is a .guest already"
    guest.cmd([GUEST, "uninstall", "--yes"])


CALLS = "symlink,renameat2,rename,unlink,rmdir,mkdir,fchmod,chmod"


def calls_of(guest, *argv):
    """What the command changes, in its order: [(system call, the how manieth of its kind), ...]."""
    guest.cmd(["strace", "-o", "/tmp/calls", "-e", f"trace={CALLS}", GUEST, *argv])
    names = re.findall(r"^(\w+)\(", guest.cmd(["cat", "/tmp/calls"]).stdout, re.M)
    return [(name, names[:i + 1].count(name)) for i, name in enumerate(names)]


def kill_at(guest, call, *argv):
    """The command, killed as it makes this call."""
    guest.cmd(["strace", "-o", "/dev/null", "-e", f"trace={call[0]}", "-e",
               f"inject={call[0]}:signal=KILL:when={call[1]}", GUEST, *argv], check=False)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 8])
def test_killed_anywhere_the_login_works_and_a_rerun_completes(lab, guest, step):
    """At each eighth place in the short run; at all of them in the long one."""
    user = ["--user", "me", "--yes"]
    put, away = ["install", *user, "--move-home", "--allow-other"], ["uninstall", *user]
    whole = tree(guest)
    to_put, to_away = calls_of(guest, *put), calls_of(guest, *away)
    assert tree(guest) == whole
    assert [n for n, _ in to_put if n in ("symlink", "renameat2")] == ["symlink", "renameat2"]
    states = set()
    for number, call in enumerate(to_put[step // 2::step]):
        kill_at(guest, call, *put)
        home = login_home(lab)
        assert home in ("/home/me", "/home/me.guest"), f"no login after {call}"
        states.add((home, tuple(sorted(os.listdir(guest.path("/home"))))))
        if number % 2:
            guest.cmd([GUEST, *put])
            assert (login_home(lab), os.path.exists(guest.path(PROGRAM))) == ("/home/me.guest", True), call
        guest.cmd([GUEST, *away])
        assert tree(guest) == whole, call
    for call in to_away[step // 2::step]:
        guest.cmd([GUEST, *put])
        kill_at(guest, call, *away)
        home = login_home(lab)
        assert home in ("/home/me", "/home/me.guest"), f"no login after {call}"
        guest.cmd([GUEST, *away])
        assert tree(guest) == whole, call
    assert len(states) > (3 if step == 1 else 1), states
