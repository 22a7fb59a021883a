# SPDX-License-Identifier: MIT
"""A running session changes: only what differs is touched, and what stays keeps its connections and its open files."""
import os
import re
import signal
import socket

import pytest

from conftest import wait_until
from net import answers, connect, listen


class Configured:
    """A session of a file, dev.yaml, whose text a test changes."""

    def __init__(self, homeport):
        self.homeport = homeport

    def write(self, rest, mode=0o600):
        text = f"ssh:\n  host: guest\n  configFile: {self.homeport.lab.ssh_config()}\n{rest}"
        return self.homeport.write_config("dev", text, mode)

    def up(self, rest):
        self.write(rest)
        done = self.homeport.run("up", "dev")
        self.homeport.name = "dev"
        assert done.returncode == 0, done.stderr + self.homeport.logs()

    def reload(self, rest=None, status=0):
        if rest is not None:
            self.write(rest)
        done = self.homeport.run("reload", "dev")
        assert done.returncode == status, done.stdout + done.stderr + self.homeport.logs()
        return done


@pytest.fixture
def dev(homeport):
    return Configured(homeport)


def mounts_of(homeport):
    return {m["target"]: m for m in homeport.status()["mounts"]}


def ports_of(homeport):
    return {p["guest"]: p for p in homeport.status()["ports"]}


class Holder:
    """A program of the guest with a file open for writing and its working folder in a mount."""

    def __init__(self, guest, folder):
        self.guest = guest
        self.process = guest.popen(["python3", "-uc", f"""
import os
import re
os.chdir({folder!r})
f = open("held", "w+")
print("there", flush=True)
for i, _ in enumerate(iter(input, "end")):
    f.write(f"{{i}}\\n"); f.flush(); os.fsync(f.fileno())
    print(os.listdir(".").count("held"), flush=True)
f.close()
print("closed", flush=True)
"""], user="me", stdin=-1, stdout=-1, stderr=-1, text=True)
        assert self.process.stdout.readline() == "there\n"

    def works(self):
        self.process.stdin.write("on\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "1\n"

    def end(self):
        self.process.stdin.write("end\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        self.process.wait(timeout=10)
        return said == "closed\n"


def cat(guest, path):
    done = guest.cmd(["cat", path], user="me", check=False, timeout=10)
    return done.stdout if done.returncode == 0 else done.stderr.strip().rsplit(": ", 1)[1]


# ----------------------------------------------------------------------------------------------------------- reload


def test_a_reload_adds_and_removes_mounts_and_disturbs_no_other(dev, homeport, guest, host_home):
    for name in "abc":
        host_home.write(f"{name}/x", f"{name}\n")
    a, b, c = (f"- location: ~/{n}\n  mountPoint: /tmp/{n}\n  writable: true\n" for n in "abc")
    dev.up("mounts:\n" + a + b)
    held = Holder(guest, "/tmp/a")
    assert dev.reload("mounts:\n" + a + c).stdout == "dev: 2 changes made\n"
    assert sorted(mounts_of(homeport)) == ["/tmp/a", "/tmp/c"]
    assert sorted(m[0] for m in guest.mounts("fuse.homeport")) == ["/tmp/a", "/tmp/c"]
    assert cat(guest, "/tmp/c/x") == "c\n"
    assert cat(guest, "/tmp/b/x") == "No such file or directory"
    assert held.works()
    assert dev.reload().stdout == "dev: nothing has changed\n"
    assert held.works() and held.end()
    assert open(host_home / "a/held").read() == "0\n1\n"
    assert homeport.status()["reconnects"] == 0


def test_a_folder_added_below_a_mount_appears_in_it_and_goes_again(dev, homeport, guest, host_home):
    """No second mount, and files open in the first one stay open."""
    host_home.write("top/src/hidden", "hidden\n")
    host_home.write("other/x", "other\n")
    top = "mounts:\n- location: ~/top\n  mountPoint: /tmp/top\n  writable: true\n"
    below = "- location: ~/other\n  mountPoint: /tmp/top/{}\n  writable: true\n"
    dev.up(top)
    held = Holder(guest, "/tmp/top")
    assert cat(guest, "/tmp/top/src/hidden") == "hidden\n"
    dev.reload(top + below.format("src") + below.format("way/deep"))
    assert len(guest.mounts("fuse.homeport")) == 1
    assert cat(guest, "/tmp/top/src/x") == cat(guest, "/tmp/top/way/deep/x") == "other\n"
    assert cat(guest, "/tmp/top/src/hidden") == "No such file or directory"
    assert held.works()
    nested = Holder(guest, "/tmp/top/src")
    assert nested.works()
    dev.reload(top + below.format("src"))
    assert nested.works()
    assert wait_until(lambda: cat(guest, "/tmp/top/way/deep/x") == "No such file or directory")
    dev.reload(top)
    assert wait_until(lambda: cat(guest, "/tmp/top/src/hidden") == "hidden\n")
    assert not nested.works() and "Stale file handle" in nested.process.stderr.read()
    dev.reload(top + below.format("src"))
    assert wait_until(lambda: cat(guest, "/tmp/top/src/x") == "other\n")
    assert held.works() and held.end()


def test_a_folder_becomes_writable_and_read_only_again(dev, homeport, guest, host_home):
    host_home.write("a/x", "a\n")
    mount = "mounts:\n- location: ~/a\n  mountPoint: /tmp/a\n"
    dev.up(mount)
    write = ["sh", "-c", "echo new >/tmp/a/new"]
    assert "Read-only" in guest.cmd(write, user="me", check=False).stderr
    dev.reload(mount + "  writable: true\n")
    wait_until(lambda: guest.cmd(write, user="me", check=False).returncode == 0)
    dev.reload(mount)
    assert "Read-only" in guest.cmd(write, user="me", check=False).stderr
    assert cat(guest, "/tmp/a/new") == "new\n"
    assert len(guest.mounts("fuse.homeport")) == 1


def test_a_mount_that_shows_another_folder_shows_it_at_once(dev, homeport, guest, host_home):
    host_home.write("a/x", "a\n")
    host_home.write("b/x", "b\n")
    dev.up("mounts:\n- location: ~/a\n  mountPoint: /tmp/m\n")
    assert cat(guest, "/tmp/m/x") == "a\n"
    dev.reload("mounts:\n- location: ~/b\n  mountPoint: /tmp/m\n")
    assert wait_until(lambda: cat(guest, "/tmp/m/x") == "b\n", timeout=3)
    assert mounts_of(homeport)["/tmp/m"]["source"].endswith("/b")


def test_a_mount_above_others_is_made_when_they_have_gone(dev, homeport, guest, host_home):
    """It would hide those that are mounted: they stay, and so do the files that are open in them."""
    host_home.write("a/x", "a\n")
    host_home.write("b/x", "b\n")
    below = "- location: ~/b\n  mountPoint: /tmp/over/below\n  writable: true\n"
    both = "mounts:\n" + below + "- location: ~/a\n  mountPoint: /tmp/over\n"
    guest.cmd("mkdir -p /tmp/over/below && chown me /tmp/over/below")
    dev.up("mounts:\n" + below)
    held = Holder(guest, "/tmp/over/below")
    why = "/tmp/over contains /tmp/over/below, which is mounted: `homeport umount dev` that one first"
    assert f"homeport: mount: {why}\n" in dev.reload(both, status=4).stderr
    assert mounts_of(homeport)["/tmp/over"]["error"] == why
    dev.reload(both + "- location: ~/a\n  mountPoint: /tmp/over/c\n", status=4)
    assert {m: row["state"] for m, row in mounts_of(homeport).items()} == \
        {"/tmp/over": "failed", "/tmp/over/below": "mounted", "/tmp/over/c": "mounted"}
    assert held.works() and held.end()
    dev.reload("mounts: []\n")
    guest.cmd("rmdir /tmp/over/below /tmp/over/c || ls -la /tmp/over")
    dev.reload(both)
    assert [m[0] for m in guest.mounts("fuse.homeport")] == ["/tmp/over"]
    assert (cat(guest, "/tmp/over/x"), cat(guest, "/tmp/over/below/x")) == ("a\n", "b\n")
    dev.reload("mounts:\n" + below)
    assert [m[0] for m in guest.mounts("fuse.homeport")] == ["/tmp/over/below"]
    assert cat(guest, "/tmp/over/below/x") == "b\n"


def test_a_mount_that_is_refused_takes_no_other_along(dev, homeport, guest, host_home):
    """At first, and in a session that runs; with the session begun anew it is asked for again."""
    host_home.write("a/x", "a\n")
    mounts = "mounts:\n- {location: ~/a, mountPoint: /home}\n- {location: ~/a, mountPoint: /home/a, writable: true}\n"
    dev.write(mounts + "- {location: ~/a, mountPoint: /home/a/deep}\n")
    done = homeport.run("up", "dev")
    homeport.name = "dev"
    assert done.returncode == 4 and "contains the login user's home" in done.stderr
    assert {m: row["state"] for m, row in mounts_of(homeport).items()} == \
        {"/home": "failed", "/home/a": "mounted", "/home/a/deep": "mounted"}
    assert [m[0] for m in guest.mounts("fuse.homeport")] == ["/home/a"] and cat(guest, "/home/a/deep/x") == "a\n"
    held = Holder(guest, "/home/a")
    dev.reload("mounts:\n- {location: ~/a, mountPoint: /home/a, writable: true}\n")
    dev.reload(mounts, status=4)
    assert held.works() and held.end()


def test_new_rules_move_ports_and_leave_connections_of_the_others_alone(dev, homeport, host, guest):
    stays, moves, goes = listen(guest, 8201), listen(guest, 8202), listen(guest, 8203)
    rules = "mounts: []\nportForwards:\n"
    dev.up(rules + "- {guestPort: 8203, hostPort: 18203}\n- {guestPort: 9001, hostPort: 19001, static: true}\n")
    wait_until(lambda: answers(host, 8202) and answers(host, 18203) and "127.0.0.1:8201" in host.listeners())
    client = connect(host, 8201)
    server, _ = stays.accept()
    static = homeport.lab.host.listeners()
    assert "127.0.0.1:19001" in static
    dev.reload(rules + "- {guestPort: 8202, hostPort: 18202, hostIP: localhost}\n- {guestPort: 8203, ignore: true}\n"
               "- {guestPort: 9002, hostPort: 19002, static: true}\n")
    rows = ports_of(homeport)
    assert rows["127.0.0.1:8202"]["host"] == ["127.0.0.1:18202", "[::1]:18202"]
    assert rows["127.0.0.1:8203"]["state"] == "ignored" and "portForwards[1]" in rows["127.0.0.1:8203"]["reason"]
    assert answers(host, 18202) and not answers(host, 8202) and not answers(host, 18203)
    now = host.listeners()
    assert "127.0.0.1:19002" in now and "127.0.0.1:19001" not in now
    client.sendall(b"ping")
    assert server.recv(4) == b"ping"
    server.sendall(b"pong")
    assert client.recv(4) == b"pong"
    for one in (client, server, stays, moves, goes):
        one.close()


def test_what_is_in_a_listeners_queue_is_served_after_a_reload(dev, homeport, host, guest):
    """The rule of the port changes, its place does not: the listener is never closed."""
    web = listen(guest, 8211)
    dev.up("mounts: []\n")
    wait_until(lambda: answers(host, 8211))
    inode = [line.split()[9] for line in host.cmd(["cat", "/proc/net/tcp"]).stdout.splitlines() if ":2013 " in line
             and " 0A " in line]
    dev.reload("mounts: []\nportForwards:\n- {guestPort: 8211}\n")
    again = [line.split()[9] for line in host.cmd(["cat", "/proc/net/tcp"]).stdout.splitlines() if ":2013 " in line
             and " 0A " in line]
    assert len(inode) == 1 and again == inode
    assert ports_of(homeport)["127.0.0.1:8211"]["host"] == ["127.0.0.1:8211"]
    web.close()


def test_a_faulty_configuration_changes_nothing_and_says_why(dev, homeport, guest, host_home):
    host_home.write("a/x", "a\n")
    dev.up("mounts:\n- location: ~/a\n  mountPoint: /tmp/a\n")
    done = dev.reload("mounts:\n- location: ~/a\n  mountPoint: /tmp/b\n- location: ~/missing\n  writable: flase\n", status=2)
    assert "dev.yaml:8:13: writable: expected true or false" in done.stderr
    assert done.stderr.endswith("homeport: reload: dev: nothing was changed\n")
    assert "nothing was changed" in homeport.logs() and "dev.yaml:8:13" in homeport.logs()
    assert list(mounts_of(homeport)) == ["/tmp/a"] and cat(guest, "/tmp/a/x") == "a\n"
    dev.write("mounts: []\n", mode=0o666)
    assert "can be written by others" in dev.reload(status=2).stderr
    os.unlink(homeport.env["XDG_CONFIG_HOME"] + "/homeport/dev.yaml")
    assert "the file dev.yaml is gone" in dev.reload(status=2).stderr
    assert cat(guest, "/tmp/a/x") == "a\n"


def test_what_takes_a_new_session_is_named_and_left_alone(dev, homeport, guest, host_home):
    dev.up("mounts: []\n")
    done = dev.reload("  port: 2222\nmounts: []\nsessionTimeout: 1h\nportForwards:\n- {guestPort: 8221, ignore: true}\n",
                      status=1)
    assert "ssh.port: nothing here, 2222 wanted" in done.stderr and "sessionTimeout: 24h here, 1h wanted" in done.stderr
    assert "`homeport down dev` and `homeport up dev`" in done.stderr
    assert done.stdout == "dev: 1 change made\n"
    server = listen(guest, 8221)
    wait_until(lambda: ports_of(homeport).get("127.0.0.1:8221", {}).get("state") == "ignored")
    assert homeport.status()["state"] == "connected"
    server.close()


def test_a_hangup_reloads_and_the_manager_hears_of_it(dev, homeport, host, guest, host_home):
    host_home.write("a/x", "a\n")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(homeport.folder + "/notify")
    os.chmod(homeport.folder + "/notify", 0o666)
    manager.settimeout(10)
    dev.write("mounts: []\n")
    running = homeport.popen("run", "dev", env={"NOTIFY_SOCKET": homeport.folder + "/notify"}, stderr=-3)
    homeport.name = "dev"
    while manager.recv(4096) != b"READY=1":
        pass
    dev.write("mounts:\n- location: ~/a\n  mountPoint: /tmp/a\n")
    host.kill(homeport.status()["pid"], signal.SIGHUP)
    while not (said := manager.recv(4096)).startswith(b"RELOADING=1\nMONOTONIC_USEC="):
        assert said.startswith(b"STATUS=")
    while manager.recv(4096) != b"READY=1":
        pass
    wait_until(lambda: mounts_of(homeport).get("/tmp/a", {}).get("state") == "mounted")
    assert cat(guest, "/tmp/a/x") == "a\n"
    homeport.down()
    assert running.wait(timeout=10) == 0
    manager.close()


def test_a_reload_without_a_connection_is_for_when_there_is_one(dev, homeport, lab, guest, host_home):
    host_home.write("a/x", "a\n")
    dev.up("mounts: []\n")
    lab.link_cut()
    try:
        wait_until(lambda: homeport.status()["state"] == "reconnecting", timeout=15)
        done = dev.reload("mounts:\n- location: ~/a\n  mountPoint: /tmp/a\n")
        assert done.stdout == "dev: 1 change made, for when the guest is connected\n"
    finally:
        lab.link_restore()
    wait_until(lambda: mounts_of(homeport)["/tmp/a"]["state"] == "mounted", timeout=15)
    assert cat(guest, "/tmp/a/x") == "a\n"


def test_what_was_typed_in_some_folder_is_found_again_from_there(homeport, lab, host_home):
    folder, name = os.path.split(lab.ssh_config())
    assert homeport.run("up", "-F", name, "--no-mount", "guest", cwd=folder).returncode == 0
    homeport.name = "guest"
    done = homeport.run("reload", "guest", cwd="/")
    assert (done.returncode, done.stdout) == (0, "guest: nothing has changed\n"), done.stderr


def test_up_says_that_a_reload_would_do(dev, homeport, host_home):
    dev.up("mounts: []\n")
    dev.write("mounts: []\nportForwards:\n- {guestPort: 8221, ignore: true}\n")
    done = homeport.run("up", "dev")
    assert done.returncode == 1 and "`homeport reload dev` reads the file again" in done.stderr
    dev.reload()
    assert homeport.run("up", "dev").stdout.startswith("dev is already up\n")
    dev.write("  port: 23\nmounts: []\n")
    assert "`homeport down dev` first, to change" in homeport.run("up", "dev").stderr


# ------------------------------------------------------------------------------------------------------------ by hand


def by_hand(homeport):
    status = homeport.status()
    return status["by_hand"], [m["target"] for m in status["mounts"] if m["by_hand"]], \
        [p["guest"] for p in status["ports"] if p["by_hand"]]


def test_a_folder_is_mounted_and_unmounted_by_hand(homeport, guest, host_home):
    """Below the default mount, whose open files stay open."""
    host_home.write("src/x", "x\n")
    homeport.up("--no-ports", "--mount", "~:/tmp/home:w")
    held = Holder(guest, "/tmp/home")
    done = homeport.run("mount", "guest", "~/src:/tmp/home/deep/er:w")
    assert (done.returncode, done.stdout, done.stderr) == \
        (0, "mount /tmp/home/deep/er: /home/me/src, writable\n", "")
    assert cat(guest, "/tmp/home/deep/er/x") == "x\n"
    assert homeport.run("mount", "guest", "~/src:/tmp/alone").stdout == "mount /tmp/alone: /home/me/src, read-only\n"
    assert cat(guest, "/tmp/alone/x") == "x\n"
    words = ["mount /home/me/src:/tmp/home/deep/er:w", "mount /home/me/src:/tmp/alone"]
    assert by_hand(homeport) == (words, ["/tmp/alone", "/tmp/home/deep/er"], [])
    shown = homeport.run("status", "guest").stdout
    assert f"  changed by hand: {words[0]}\n" in shown and "mounted, by hand" in shown
    assert homeport.run("umount", "guest", "/tmp/home/deep/er/").stdout == "unmounted /tmp/home/deep/er\n"
    assert homeport.run("umount", "guest", "/tmp/alone").returncode == 0
    assert by_hand(homeport) == ([], [], [])
    assert wait_until(lambda: cat(guest, "/tmp/home/deep/er/x") == "No such file or directory")
    assert held.works() and held.end()
    done = homeport.run("umount", "guest", "/tmp/home")
    assert done.stdout == "unmounted /tmp/home\n" and not guest.mounts("fuse.homeport")
    assert by_hand(homeport) == (["umount /tmp/home"], [], [])
    assert homeport.run("mount", "guest", "~:/tmp/home:w").returncode == 0
    assert by_hand(homeport) == ([], [], []), "it is as it was configured"


def test_a_path_of_any_bytes_is_mounted_by_hand(homeport, lab, guest, host_home):
    odd = os.fsencode(host_home.here) + b"/od%d \xe9\n"
    os.mkdir(odd)
    os.chown(odd, 1000, 1000)
    homeport.up("--no-ports", "--no-mount")
    done = lab.host.cmd([homeport.binary, "mount", "guest", b"~/od%d \xe9\n:/tmp/odd"], user="me", env=homeport.env,
                        check=False, text=False)
    assert done.returncode == 0, done.stderr
    assert mounts_of(homeport)["/tmp/odd"]["source_bytes"] == "L2hvbWUvbWUvb2QlZCDpCg=="
    assert homeport.run("umount", "guest", "/tmp/odd").returncode == 0


@pytest.mark.timeout(120)
def test_folders_come_and_go_more_often_than_a_mount_has_room_for(homeport, guest, host_home):
    """Of a mount's 64 places those are used again in which nobody stands: open files of the rest stay open."""
    host_home.write("src/x", "x\n")
    homeport.up("--no-ports", "--mount", "~:/tmp/home:w")
    held = Holder(guest, "/tmp/home")
    assert homeport.run("mount", "guest", "~/src:/tmp/home/stays:w").returncode == 0
    stays = Holder(guest, "/tmp/home/stays")
    assert homeport.run("umount", "guest", "/tmp/home/stays").returncode == 0
    for i in range(70):
        assert homeport.run("mount", "guest", f"~/src:/tmp/home/way{i}").returncode == 0
        if i % 8 == 0:
            assert cat(guest, f"/tmp/home/way{i}/x") == "x\n"
        assert homeport.run("umount", "guest", f"/tmp/home/way{i}").returncode == 0
    assert held.works() and held.end(), "it is still the same mount"
    assert not stays.works() and "Stale file handle" in stays.process.stderr.read()
    assert homeport.run("mount", "guest", "~/src:/tmp/home/last:w").returncode == 0
    assert cat(guest, "/tmp/home/last/x") == "x\n" and len(guest.mounts("fuse.homeport")) == 1
    last = Holder(guest, "/tmp/home/last")
    serve = next(p for p, (_, line) in guest.processes().items() if "homeport-guest serve" in line)
    os.kill(serve, signal.SIGKILL)
    assert last.works() and last.end(), "the next agent knows whose the place is now"
    assert homeport.run("mount", "guest", "~/src:/tmp/home/more:w").returncode == 0
    assert cat(guest, "/tmp/home/more/x") == "x\n" and cat(guest, "/tmp/home/last/x") == "x\n"
    assert homeport.run("umount", "guest", "/tmp/home/more").returncode == 0
    servers = [line for _, line in homeport.lab.host.processes().values() if " sftp-server " in line]
    wait_until(lambda: len([line for _, line in homeport.lab.host.processes().values()
                            if " sftp-server " in line]) == 2, what=f"two servers, not {servers}")


def test_what_cannot_be_mounted_says_why(homeport, guest, host_home):
    host_home.write("src/x", "x\n")
    homeport.up("--no-ports", "--no-mount")
    done = homeport.run("mount", "guest", "~/src:/etc")
    assert done.returncode == 1 and done.stderr.startswith("homeport: mount: /etc: ")
    assert by_hand(homeport) == ([], [], []) and not mounts_of(homeport), "it is taken back"
    assert homeport.run("umount", "guest", "/etc").returncode == 1
    for word, said in (("~/none", "No such file"), ("src", "not an absolute path"), ("~/src:../x", "absolute DST")):
        done = homeport.run("mount", "guest", word)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    done = homeport.run("umount", "guest", "/nothing")
    assert (done.returncode, done.stderr) == (1, "homeport: umount: nothing is mounted at /nothing\n")
    assert homeport.run("umount", "guest", "x").returncode == 2
    assert homeport.run("mount", "nobody", "~/src").returncode == 3
    assert by_hand(homeport) == ([], [], [])


def test_a_mount_that_is_refused_leaves_all_as_it_was_before(dev, homeport, guest, host_home):
    """By the guest and here, and where an earlier mount by hand, or the file's, was to be replaced."""
    for name in "ab":
        host_home.write(f"{name}/x", f"{name}\n")
    dev.up("mounts:\n- {location: ~/a, mountPoint: /tmp/over/file}\n")
    path = homeport.env["XDG_CONFIG_HOME"] + "/homeport/dev.yaml"
    before = open(path).read()
    for point, said in (("/home", "contains the login user's home"), ("/tmp/over", "contains /tmp/over/file, which is")):
        for save in ([], ["--save"]):
            done = homeport.run("mount", "dev", f"~/b:{point}", *save)
            assert (done.returncode, done.stdout) == (1, "") and said in done.stderr
            assert by_hand(homeport) == ([], [], []) and list(mounts_of(homeport)) == ["/tmp/over/file"]
    assert open(path).read() == before
    assert homeport.run("mount", "dev", "~/b:/tmp/over/file").returncode == 0
    assert homeport.run("mount", "dev", "~/b:/tmp/over").returncode == 1
    assert by_hand(homeport)[0] == ["mount /home/me/b:/tmp/over/file"] and cat(guest, "/tmp/over/file/x") == "b\n"


def test_ports_are_forwarded_and_closed_by_hand(homeport, host, guest):
    servers = [listen(guest, 8301), listen(guest, 8302)]
    homeport.up("--no-mount", "--port-forward", "18302:8302")
    wait_until(lambda: answers(host, 8301) and answers(host, 18302))
    done = homeport.run("forward", "guest", "18301:8301")
    assert (done.returncode, done.stdout) == (0, "port 127.0.0.1:18301, [::1]:18301: guest 127.0.0.1:8301\n")
    assert answers(host, 18301) and not answers(host, 8301)
    assert by_hand(homeport) == (["forward 18301:8301"], [], ["127.0.0.1:8301"])
    assert "forwarded, by hand" in homeport.run("ports", "guest").stdout
    assert homeport.run("unforward", "guest", "18301").stdout == "18301 does not answer any more\n"
    assert answers(host, 8301) and not answers(host, 18301)
    for port in (8301, 18302):
        assert homeport.run("unforward", "guest", str(port)).returncode == 0
        assert not answers(host, port)
    assert wait_until(lambda: answers(host, 8302)), "the rule has gone, and the default holds"
    assert by_hand(homeport)[0] == ["unforward 8301", "unforward 18302"]
    assert "ignored by homeport unforward 8301" in ports_of(homeport)["127.0.0.1:8301"]["reason"]
    assert homeport.run("forward", "guest", "8301:8301").returncode == 0
    assert answers(host, 8301)
    done = homeport.run("unforward", "guest", "9999")
    assert (done.returncode, done.stderr) == (1, "homeport: unforward: nothing of guest answers there\n")
    done = homeport.run("forward", "guest", "18305:8305")
    assert done.stdout == "18305:8305: it answers as soon as something listens there in the guest\n"
    assert homeport.run("forward", "guest", "18306:8306,static").returncode == 0 and answers(host, 18306)
    assert homeport.run("unforward", "guest", "18306").returncode == 0 and not answers(host, 18306)
    assert homeport.run("forward", "guest", "x:1").returncode == 2
    for server in servers:
        server.close()


def test_a_port_that_is_taken_says_so_at_once(homeport, host, guest):
    taken, server = listen(host, 18311, "127.0.0.1"), listen(guest, 8311)
    homeport.up("--no-mount")
    wait_until(lambda: answers(host, 8311))
    done = homeport.run("forward", "guest", "18311:8311")
    assert done.returncode == 1 and "127.0.0.1:18311 is in use by" in done.stderr
    taken.close()
    server.close()


def test_a_reload_keeps_what_was_changed_by_hand(dev, homeport, host, guest, host_home):
    for name in "abc":
        host_home.write(f"{name}/x", f"{name}\n")
    a, b, c = (f"- location: ~/{n}\n  mountPoint: /tmp/{n}\n" for n in "abc")
    dev.up("mounts:\n" + a)
    assert homeport.run("mount", "dev", "~/b:/tmp/b").returncode == 0
    assert homeport.run("umount", "dev", "/tmp/a").returncode == 0
    assert homeport.run("forward", "dev", "18321:8321,static").returncode == 0
    dev.reload("mounts:\n" + a + c)
    assert sorted(mounts_of(homeport)) == ["/tmp/b", "/tmp/c"] and answers(host, 18321)
    dev.reload("mounts:\n" + b + c)
    assert by_hand(homeport) == (["forward 18321:8321,static"], [], ["127.0.0.1:8321"]), "the rest is configured now"


def test_without_a_connection_it_is_for_when_there_is_one(homeport, lab, guest, host_home):
    host_home.write("src/x", "x\n")
    homeport.up("--no-mount")
    lab.link_cut()
    try:
        wait_until(lambda: homeport.status()["state"] == "reconnecting", timeout=15)
        done = homeport.run("mount", "guest", "~/src:/tmp/src")
        assert (done.returncode, done.stderr) == \
            (4, "homeport: mount: guest is not connected; it is mounted when it is\n")
        assert homeport.run("forward", "guest", "18331:8331").returncode == 4
    finally:
        lab.link_restore()
    wait_until(lambda: mounts_of(homeport)["/tmp/src"]["state"] == "mounted", timeout=15)
    assert cat(guest, "/tmp/src/x") == "x\n"


SAVED = """# mine
ssh:
  host: guest
  configFile: {config}
# what I work on
mounts:
- location: "~/a"   # the first
  mountPoint: /tmp/a

portForwards:   # few
# never mind this one
- guestPort: 8341
  ignore: true
sessionTimeout: 1h # short
"""


def test_what_was_changed_by_hand_is_saved_and_nothing_else(homeport, host, guest, host_home):
    for name in "ab":
        host_home.write(f"{name}/x", f"{name}\n")
    text = SAVED.format(config=homeport.lab.ssh_config())
    path = homeport.write_config("dev", text)
    homeport.name = "dev"
    assert homeport.run("up", "dev").returncode == 0
    done = homeport.run("mount", "--save", "dev", "~/b:/tmp/b:w")
    assert done.stdout == f"saved in {path}\nmount /tmp/b: /home/me/b, writable\n"
    done = homeport.run("forward", "dev", "18342:8342,static", "--save")
    assert done.returncode == 0, done.stderr
    added = '- location: "~/b"\n  mountPoint: "/tmp/b"\n  writable: true\n'
    rule = '- guestPort: 8342\n  hostPort: 18342\n  hostIP: "localhost"\n  proto: tcp\n  static: true\n'
    want = text.replace("/tmp/a\n", "/tmp/a\n" + added).replace("# few\n", "# few\n" + rule)
    assert open(path).read() == want
    assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(path).st_uid == 1000
    assert os.listdir(os.path.dirname(path)) == ["dev.yaml"]
    assert by_hand(homeport) == ([], [], [])
    dev = Configured(homeport)
    assert dev.reload().stdout == "dev: nothing has changed\n"
    assert homeport.run("umount", "dev", "/tmp/b", "--save").returncode == 0
    assert homeport.run("unforward", "dev", "18342", "--save").returncode == 0
    assert open(path).read() == text
    assert homeport.run("umount", "dev", "/tmp/a", "--save").returncode == 0
    assert "mounts: []\n" in open(path).read()
    assert homeport.run("up", "dev").stdout == "dev is already up\n"
    assert not guest.mounts("fuse.homeport")


def test_what_cannot_be_saved_safely_is_said(dev, homeport, guest, host_home):
    for name in "ab":
        host_home.write(f"{name}/x", f"{name}\n")
    dev.up("mounts: [{location: ~/a, mountPoint: /tmp/a}]\n")
    path = homeport.env["XDG_CONFIG_HOME"] + "/homeport/dev.yaml"
    before = open(path).read()
    done = homeport.run("mount", "dev", "~/b:/tmp/b", "--save")
    assert done.returncode == 1 and done.stdout == "mount /tmp/b: /home/me/b, read-only\n"
    assert done.stderr == (f"homeport: mount: not saved: {path}:4: the list is in brackets; add this by hand: "
                           '{location: "~/b",  mountPoint: "/tmp/b"}\n')
    assert open(path).read() == before
    assert by_hand(homeport)[0] == ["mount /home/me/b:/tmp/b"]
    homeport.up("--no-mount", "--no-ports")
    assert "the session has no file" in homeport.run("mount", "guest", "~/b:/tmp/c", "--save").stderr
    homeport.down("guest")
    homeport.name = "dev"


def test_any_bytes_on_the_control_socket_do_no_harm(homeport, host):
    homeport.up("--no-mount")
    path = homeport.env["XDG_RUNTIME_DIR"] + "/homeport/guest/control"
    pid = os.fork()
    if pid == 0:
        os.setresuid(1000, 1000, 1000)
        for line in (b"mount", b"mount %", b"mount %0", b"mount x y z", b"forward %00", b"unforward 1 save save",
                     b"\xff" * 300, b" ", b"", b"umount " + b"%2F" * 5000, b"mount " + b"a" * 20000):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                s.sendall(line + b"\n")
                while s.recv(4096):
                    pass
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert homeport.status()["state"] == "connected" and by_hand(homeport) == ([], [], [])


# ---------------------------------------------------------------------------------------------------------- onForward


def test_a_program_is_told_of_each_port_and_no_shell_sees_what_the_guest_says(dev, homeport, guest, host_home):
    host_home.write("told.sh", """#!/bin/sh
echo "$1|$HOMEPORT_EVENT|$HOMEPORT_NAME|$HOMEPORT_PROTO|$HOMEPORT_GUEST|$HOMEPORT_HOST|$HOMEPORT_PROCESS" >>~/told
[ "$HOMEPORT_GUEST" != 127.0.0.1:8502 ] || exec sleep 1000
""", mode=0o755)

    def told():
        try:
            return open(host_home / "told").read().splitlines()
        except FileNotFoundError:
            return []

    dev.up("mounts: []\nonForward: [~/told.sh, \"; touch ~/$(id)\"]\n")
    first, stuck = listen(guest, 8501), listen(guest, 8502)
    wait_until(lambda: len(told()) == 2)
    line = next(line for line in told() if "8501" in line)
    assert re.fullmatch(r"; touch ~/\$\(id\)\|forwarded\|dev\|tcp\|127\.0\.0\.1:8501\|127\.0\.0\.1:8501 "
                        r"\[::1\]:8501\|(\w+)?", line), line
    first.close()
    wait_until(lambda: any("|gone|dev|tcp|127.0.0.1:8501|127.0.0.1:8501 [::1]:8501|" in line for line in told()))
    dev.reload("mounts: []\n")
    third = listen(guest, 8503)
    wait_until(lambda: ports_of(homeport).get("127.0.0.1:8503", {}).get("state") == "forwarded")
    assert len(told()) == 3 and sorted(os.listdir(host_home.here)) == ["told", "told.sh"]
    homeport.down()
    assert not [line for _, line in homeport.lab.host.processes().values() if line == "sleep 1000"]
    for server in (stuck, third):
        server.close()
