# SPDX-License-Identifier: MIT
"""`homeport doctor`, `homeport-guest doctor`: each thing that can be wrong is made wrong, and told by its name."""
import contextlib
import json
import os
import re

import pytest

from conftest import Homeport, wait_until

BIN = "/usr/local/bin/homeport-guest"
SAID = {"ok", "note", "problem"}


def by_name(text):
    """{name: [(verdict, what, do)]} of what was found."""
    found = {}
    for one in json.loads(text):
        assert set(one) == {"side", "name", "verdict", "what", "do"} and one["verdict"] in SAID, one
        found.setdefault(one["name"], []).append((one["verdict"], one["what"], one["do"]))
    return found


def problems(found):
    return sorted(name for name, all_of_it in found.items() for verdict, _, _ in all_of_it if verdict == "problem")


@pytest.fixture
def doctor(homeport, lab, host_home):
    """Runs it with the lab's ssh_config; exit status and problems must agree."""
    def run(*args, host="guest", **kw):
        done = homeport.run("doctor", "--json", "-F", lab.ssh_config(), *args, host, **kw)
        assert done.stderr == "", done.stderr
        found = by_name(done.stdout)
        assert done.returncode == (1 if problems(found) else 0), done.stdout
        return found
    return run


@contextlib.contextmanager
def wrong(machine, command, undo):
    machine.cmd(command)
    try:
        yield
    finally:
        machine.cmd(undo)


def guest_says(guest, *words, user="plain", before=()):
    done = guest.cmd([*before, "homeport-guest", "doctor", "--json", *words], user=user, check=False)
    found = by_name(done.stdout)
    assert (done.returncode, done.stderr) == (1 if problems(found) else 0, "")
    return found


def test_all_is_well_before_and_beside_a_session(homeport, lab, guest, host_home, doctor):
    done = homeport.run("doctor", "-F", lab.ssh_config(), "guest")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.match(r"this machine\n(  (OK|NOTE) +[a-z -]+: .+\n)+the guest\n(  (OK|NOTE) +[a-zA-Z/ -]+: .+\n)+0 problems, \d+ notes?\n$",
                    done.stdout), done.stdout
    assert not os.path.exists(homeport.env["XDG_RUNTIME_DIR"] + "/homeport"), "it makes nothing here"
    assert guest.cmd("ls -d /home/me", check=False).returncode != 0, "nor there"
    homeport.up()
    before = homeport.status()
    done = homeport.run("doctor", "--json")
    found = by_name(done.stdout)
    assert "mount" not in found and "port" not in found and found["session"][0][0] == "ok"
    assert done.returncode == 0 and found["configuration"] == [("ok", "of guest, as it runs", None)]
    assert found["mount point"] == [("ok", "/home/me is mounted by homeport", None)]
    assert found["way to mount"] == [("ok", "by sudo, without a password", None)]
    after = homeport.status()
    assert (after["pid"], after["reconnects"], after["since"]) == (before["pid"], 0, before["since"])
    assert doctor(host="guest-plain")["mount point"] == [
        ("problem", "/home/me is taken: mounted there is fuse.homeport, for another user",
         "unmount that, or choose another mount point")]


def test_what_a_session_could_not_do(homeport, host, guest, host_home):
    for machine in (host, guest):
        machine.popen(["python3", "-m", "http.server", "-b", "127.0.0.1", "8097"], user="me", cwd="/", stdout=-3, stderr=-3)
        wait_until(lambda: "127.0.0.1:8097" in machine.listeners())
    homeport.up("--mount", "~:/etc/passwd", check=False)
    wait_until(lambda: homeport.status()["guest"]["direct"])
    found = by_name(homeport.run("doctor", "--json").stdout)
    assert found["session"] == [("ok", "guest runs, and is connected directly, beside ssh", None)]
    assert found["mount"] == [("problem", "/etc/passwd: not a place for a mount: it is the system's", None)]
    assert problems(found) == ["mount", "mount point"]
    verdict, what, todo = found["port"][0]
    assert (verdict, todo) == ("note", "free the port, or have another one: homeport forward NAME HOST:GUEST")
    assert re.match(r"tcp 127\.0\.0\.1:8097 of the guest does not answer here: .*python3", what), what


def test_it_is_brought_to_a_guest_that_has_none(homeport, guest, doctor):
    with wrong(guest, f"mv {BIN} {BIN}.gone", f"mv {BIN}.gone {BIN}; rm -rf /home/me.guest/.cache"):
        assert problems(doctor()) == []
        assert guest.cmd("ls /home/me.guest/.cache/homeport/*/homeport-guest").stdout


def test_what_fuse_needs(guest):
    with wrong(guest, "mv /dev/fuse /dev/gone", "mv /dev/gone /dev/fuse"):
        found = guest_says(guest)
        assert problems(found) == ["/dev/fuse"] and found["/dev/fuse"][0][1:] == (
            "it cannot be opened: No such file or directory", "sudo modprobe fuse; in a container, give it the device")
    with wrong(guest, "chmod 600 /dev/fuse", "chmod 666 /dev/fuse"):
        assert guest_says(guest)["/dev/fuse"][0][:2] == ("problem", "this user may not open it")
        assert guest_says(guest, user="me")["/dev/fuse"][0][:2] == ("ok", "root can open it")
    with wrong(guest, "mv /usr/bin/fusermount3 /usr/bin/gone", "mv /usr/bin/gone /usr/bin/fusermount3"):
        found = guest_says(guest, "/srv/x")
        assert problems(found) == ["way to mount"] and "no fusermount3" in found["way to mount"][0][1]
        assert "mount point" not in found and problems(guest_says(guest, user="me")) == []
    with wrong(guest, "chmod u-s /usr/bin/fusermount3", "chmod u+s /usr/bin/fusermount3"):
        assert "of no use: it is not setuid root" in guest_says(guest)["way to mount"][0][1]
    found = guest_says(guest, before=["setpriv", "--no-new-privs"])
    assert "no_new_privs" in found["way to mount"][0][1]
    assert guest_says(guest)["other users"][0][0] == "note"
    with wrong(guest, "cp /etc/fuse.conf /tmp/kept; echo user_allow_other >>/etc/fuse.conf", "mv /tmp/kept /etc/fuse.conf"):
        assert guest_says(guest)["other users"][0][0] == "ok"
    assert guest_says(guest, user="root")["way to mount"] == [("ok", "as root", None)]
    assert guest_says(guest, user="root", before=["setpriv", "--bounding-set", "-sys_admin"])["way to mount"] == [
        ("problem", "no mounts, ports only: nobody here may mount, not even root",
         "start the container with --cap-add SYS_ADMIN --device /dev/fuse")]


def test_a_helper_that_systemd_starts_for_who_may_ask(guest):
    serve = ("import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); os.umask(0); "
             "s.bind('/run/homeport-helper'); s.listen(); time.sleep(1000)")
    server = guest.popen(["python3", "-c", serve])
    with wrong(guest, "mv /usr/bin/fusermount3 /usr/bin/gone; mkdir -p /etc/homeport; echo plain /srv/x >/etc/homeport/mounts.conf",
               "mv /usr/bin/gone /usr/bin/fusermount3; rm -r /etc/homeport /run/homeport-helper"):
        wait_until(lambda: "ok" == guest_says(guest)["way to mount"][0][0])
        found = guest_says(guest, "/srv/x", "/srv/y")
        assert found["way to mount"][0][1] == "by homeport-helper.socket, where /etc/homeport/mounts.conf allows it, else not at all"
        (first, _, _), (second, what, todo) = found["mount point"]
        assert (first, second) == ("ok", "problem") and what.startswith("/srv/y: ") and "mounts.conf" in todo
        server.kill()
        server.wait()
        assert problems(guest_says(guest)) == ["way to mount"], "one that nobody listens at is none"


def test_a_profile_of_fusermount3_that_may_refuse_a_mount(guest):
    assert "AppArmor" not in guest_says(guest, "/srv/x")
    with wrong(guest, "mount -t tmpfs x /sys/module && mkdir -p /sys/module/apparmor/parameters /etc/apparmor.d/local && "
               "echo Y >/sys/module/apparmor/parameters/enabled && touch /etc/apparmor.d/fusermount3",
               "umount /sys/module; rm -f /etc/apparmor.d/fusermount3 /etc/apparmor.d/local/fusermount3"):
        verdict, what, todo = guest_says(guest, "/mnt", "/srv/x")["AppArmor"][0]
        assert (verdict, what) == ("problem", "the profile of fusermount3 may refuse a mount at /srv/x") and "local" in todo
        assert guest_says(guest, "/mnt", "/home/plain.guest/x")["AppArmor"][0][0] == "ok"
        assert guest_says(guest, "/home/me")["AppArmor"][0][0] == "problem", "below a home, not on one"
        guest.cmd("touch /etc/apparmor.d/local/fusermount3")
        assert guest_says(guest, "/srv/x")["AppArmor"][0][0] == "ok"


def test_mount_points_that_will_not_do(guest, doctor):
    make = ("mkdir -p /p/full/x /p/taken /p/others /p/mine /p/roots && chown plain /p/mine && chown me /p/others && "
            "touch /p/file && ln -s mine /p/link && mount -t tmpfs x /p/taken")
    with wrong(guest, make, "umount /p/taken; rm -r /p"):
        places = {"/p/full": "/p/full is not empty, and a mount would hide what is in it",
                  "/p/taken": "/p/taken is taken: mounted there is tmpfs",
                  "/p/others": "/p/others belongs to another user",
                  "/p/file": "/p/file is a file or a link",
                  "/p/link": "/p/link cannot be reached: a link or a file is in the way",
                  "/p/file/x": "/p/file/x cannot be reached: a link or a file is in the way",
                  "/p/roots": "/p/roots cannot be written by this user, as fusermount3 wants it",
                  "/p/new/x": "/p/new/x is not there, and this user cannot make it in /p",
                  "/etc/x": "/etc/x is not a place for a mount: it is the system's",
                  "/home": "/home: /home contains the login user's home /home/plain.guest, whose .ssh it would hide: choose "
                           "another mount point"}
        found = guest_says(guest, *places)["mount point"]
        assert [what for _, what, _ in found] == list(places.values())
        assert {verdict for verdict, _, _ in found} == {"problem"} and all(todo for _, _, todo in found)
        theirs = guest_says(guest, "/p/mine/x", "/p/roots", user="me")["mount point"]
        assert [what for _, what, _ in theirs] == ["/p/mine/x cannot be reached: a folder on the way belongs to another user",
                                                   "/p/roots is there, and empty"]
        good = guest_says(guest, "/p/mine", "/home/plain.guest/new")
        assert [verdict for verdict, _, _ in good["mount point"]] == ["ok", "ok"]
        found = doctor("--mount", "~:/p/full", "--mount", "~:/p/mine", "--mount", "~:/home/plain.guest", host="guest-plain")
        assert problems(found) == ["mount point"] and [v for v, _, _ in found["mount point"]] == ["note", "problem", "ok"]
        assert "is the login user's own home" in found["mount point"][0][1]


def test_the_rest_of_the_guest(guest):
    cache = "/home/plain.guest/.cache"
    for options, verdict in (("noexec", "note"), ("size=16k", "problem")):
        with wrong(guest, f"mkdir -p {cache} && mount -t tmpfs -o {options} x {cache}", f"umount {cache}"):
            assert guest_says(guest)["cache folder"][0][0] == verdict
    assert guest_says(guest, before=["prlimit", "--nofile=100"])["descriptors"][0][0] == "note"
    fake = "printf '#!/bin/sh\\necho yes\\n' >/usr/local/bin/loginctl; chmod 755 /usr/local/bin/loginctl"
    with wrong(guest, f"mkdir -p /run/systemd/system /var/lib/systemd/linger; {fake}",
               "rmdir /run/systemd/system; rm -f /usr/local/bin/loginctl /var/lib/systemd/linger/plain"):
        assert guest_says(guest)["after the login"][0][::2] == ("note", "to keep them: sudo loginctl enable-linger plain")
        guest.cmd("touch /var/lib/systemd/linger/plain")
        assert guest_says(guest)["after the login"][0][0] == "ok"
    done = guest.cmd(["homeport-guest", "doctor", "--lines"], user="plain", check=False, input="mount /x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "homeport-guest: doctor: --lines is for homeport, which asks on standard input\n"


def test_each_step_of_the_way_to_the_guest(homeport, host, guest, doctor):
    steps = ["ssh configuration", "connection", "host key", "login", "commands in the guest"]
    host.cmd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/home/me/other"], user="me")
    keys = guest.path("/home/me.guest/.ssh/authorized_keys")
    kept = open(keys).read()

    def ends_at(step, what, *args, **kw):
        found = doctor(*args, **kw)
        assert problems(found) == [step] and re.search(what, found[step][0][1]), found[step]
        assert [found.get(name, [("none",)])[0][0] for name in steps] == [
            "ok" if name in steps[:steps.index(step)] else "problem" if name == step else "none" for name in steps]
        return found[step][0][2]

    ends_at(steps[0], "ProxyUseFdpass yes cannot be honoured", "-o", "ProxyUseFdpass=yes")
    ends_at(steps[1], "connection refused", "-p", "1")
    assert "ssh-keyscan" in ends_at(steps[2], "is not known", "-o", "UserKnownHostsFile=/home/me/none")
    ends_at(steps[2], "is the one to expect", "--host-key", "SHA256:" + "A" * 43)
    assert "ssh-copy-id" in ends_at(steps[3], "none of your keys", "-o", "User=ghost")
    ends_at(steps[4], "no-such|not found", "--guest-command", "no-such-program")
    for option, what in (('command="echo only this"', 'it printed "only this"'), ('command="exit 0"', "printed nothing")):
        with open(keys, "w") as f:
            f.write("".join(f"{option} {key}\n" for key in kept.splitlines()))
        try:
            ends_at(steps[4], what)
        finally:
            with open(keys, "w") as f:
                f.write(kept)
    with wrong(guest, "echo 'echo Welcome' >/home/me.guest/.bashrc", "rm /home/me.guest/.bashrc"):
        verdict, what, todo = doctor()[steps[4]][0]
        assert (verdict, what) == ("note", "they run, but the login shell prints before them: Welcome") and "sftp" in todo


def test_a_clock_that_goes_wrong(guest, doctor):
    late = f"#!/bin/sh\n{BIN} \"$@\" | awk '/^clock/ {{ printf \"clock %.6f\\n\", $2 - 100; next }} {{ print }}'\n"
    with open(guest.path("/tmp/late"), "w") as f:
        f.write(late)
    os.chmod(guest.path("/tmp/late"), 0o755)
    found = doctor("--guest-command", "/tmp/late")
    assert problems(found) == ["clock"]
    assert re.match(r"the guest's is (99|100)\.\d s behind: ", found["clock"][0][1]) and "chrony" in found["clock"][0][2]
    assert "other users" not in found and found["kernel"][1][0] == "ok", "the rest is told"


@pytest.mark.parametrize("say, what", [
    ("echo hello", "what answers there is not homeport-guest doctor"),
    ("head -c 10000 /dev/zero | tr '\\0' x", "what answers there is not homeport-guest doctor"),
    ("echo clock 1e999; yes 'ok kernel x' | head -n 1000", "what answers there does not stop"),
    ("echo clock nan; printf 'ok %%1B%%5B2J \\033[2J%%0A\\n'; echo done", None),
    ("echo clock 1; echo ok a b; exit 1", "it ended before it was through"),
], ids=["something else", "no lines", "no end", "escapes", "half of it"])
def test_a_guest_that_says_anything(homeport, guest, lab, doctor, say, what):
    with open(guest.path("/tmp/says"), "w") as f:
        f.write(f"#!/bin/sh\n{say}\n")
    os.chmod(guest.path("/tmp/says"), 0o755)
    found = doctor("--guest-command", "/tmp/says")
    if what:
        assert found["homeport-guest doctor"] == [("problem", what, "run `homeport-guest doctor` in the guest")]
    done = homeport.run("doctor", "-F", lab.ssh_config(), "--guest-command", "/tmp/says", "guest")
    assert done.returncode == 1 and re.fullmatch(r"[\n -~]+", done.stdout), "nothing reaches the terminal as it is"


def test_this_machine(homeport, lab, host, host_home):
    def here(env=None, before=()):
        done = host.cmd([*before, homeport.binary, "doctor", "--json"], user="me", env={**homeport.env, **(env or {})}, check=False)
        assert done.returncode == (1 if problems(by_name(done.stdout)) else 0)
        return by_name(done.stdout)

    assert problems(here()) == []
    done = homeport.run("doctor")
    assert "no session runs, and no host was named: only this machine was looked at" in done.stdout
    assert here(env={"XDG_RUNTIME_DIR": "/proc/1/x"})["folders"][0][0] == "problem"
    host.cmd("install -d -m 755 -o me /tmp/open/homeport")
    assert "nobody else can enter" in here(env={"XDG_RUNTIME_DIR": "/tmp/open"})["folders"][0][1]
    with wrong(host, "mkdir -p /mnt/small && mount -t tmpfs -o size=16k,mode=777 x /mnt/small", "umount /mnt/small"):
        found = here(env={"XDG_STATE_HOME": "/mnt/small"})
        assert problems(found) == ["folders"] and re.search(r"^/mnt/small: only \d+ KiB are left", found["folders"][0][1])
    assert here(before=["prlimit", "--nofile=1000"])["descriptors"][0][0] == "note"
    with wrong(host, "sysctl -qw net.ipv4.ip_unprivileged_port_start=80", "sysctl -qw net.ipv4.ip_unprivileged_port_start=1024"):
        assert here()["low ports"][0][0] == "ok"
    assert here()["low ports"][0][0] == "note"
    host.cmd("mkdir -p /tmp/alone /tmp/fake && cp /opt/homeport/homeport /tmp/alone && "
             "printf '#!/bin/sh\\nprintf 0.10.6-0+deb12u1\\n' >/tmp/fake/dpkg-query && chmod 755 /tmp/fake/dpkg-query")
    alone = by_name(host.cmd(["/tmp/alone/homeport", "doctor", "--json"], user="me", env=homeport.env, check=False).stdout)
    assert problems(alone) == ["homeport-guest"] and "install homeport whole" in alone["homeport-guest"][0][2]
    if here()["libssh"][0][1].startswith("0.10.6"):  # of another one the number says enough
        assert here(env={"PATH": "/tmp/fake:/usr/bin"})["libssh"][0][:2] == (
            "problem", "0.10.6-0+deb12u1 does not verify what it decrypts")
    assert problems(here(env={"PATH": "/nowhere"})) == ["ssh"]


def test_a_configuration_is_told_with_each_of_its_mistakes(homeport, lab, host_home):
    path = homeport.write_config("dev", "ssh:\n  hots: guest\nmounts:\n- location: /nowhere\n  writable: flase\n")
    done = homeport.run("doctor", "--json", "dev")
    found = by_name(done.stdout)
    assert done.returncode == 1 and problems(found) == ["configuration", "configuration"]
    assert [what.split(": ")[0] for _, what, _ in found["configuration"]] == [f"{path}:2:3", f"{path}:5:13"]
    homeport.write_config("dev", f"ssh:\n  host: guest\n  configFile: {lab.ssh_config()}\nmounts:\n- location: /nowhere\n")
    found = by_name(homeport.run("doctor", "--json", "dev").stdout)
    assert problems(found) == ["configuration"] and "/nowhere" in found["configuration"][0][1]
    assert found["login"][0][0] == "ok"
    assert homeport.run("doctor", "a b").returncode == 2
    done = homeport.run("doctor", "-p", "22")
    assert (done.returncode, done.stderr) == (
        2, "homeport: doctor: options of a login need a host: see homeport doctor --help\n")


def test_an_sshd_that_allows_no_session(make_lab):
    lab = make_lab(sshd_options=["MaxSessions 0"])
    one = Homeport(lab)
    found = by_name(one.run("doctor", "--json", "-F", lab.ssh_config(), "guest").stdout)
    assert problems(found) == ["commands in the guest"] and found["login"][0][0] == "ok"
    assert found["commands in the guest"][0][2] == "see MaxSessions in sshd_config of the guest"
    one.finish()
