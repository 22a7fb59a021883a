# SPDX-License-Identifier: MIT
"""up, down and what a person sees of them: through a real sshd, with a real mount and real sockets."""
import os
import re
import stat
import time
import urllib.request

import pytest

from conftest import wait_until


def in_guest(guest, command, user="me"):
    return guest.cmd(command, user=user, check=False, timeout=10)


def serve_in_guest(guest, port, address="127.0.0.1"):
    """A web server in the guest; ends with the lab at the latest."""
    server = guest.popen(["python3", "-m", "http.server", "-b", address, str(port)], user="me", cwd="/",
                         stdout=-3, stderr=-3)
    wait_until(lambda: any(name.endswith(f":{port}") for name in guest.listeners()))
    return server


def fetch(host, url):
    return host.cmd(["curl", "-gs", "--max-time", "3", "-o", "/dev/null", "-w", "%{http_code}", url], user="me",
                    check=False).stdout


def test_up_mounts_the_home_at_the_same_path_and_says_so(homeport, guest, host_home):
    host_home.write("hello.txt", "hello from the host\n")
    done = homeport.up()
    assert done.stdout == "mount /home/me: /home/me, read-only\n"
    assert done.stderr == ""
    assert in_guest(guest, "cat /home/me/hello.txt").stdout == "hello from the host\n"


def test_a_change_on_the_host_shows_within_a_second(homeport, guest, host_home):
    path = host_home.write("note", "one\n")
    homeport.up()
    assert in_guest(guest, "cat /home/me/note").stdout == "one\n"
    with open(path, "w") as f:
        f.write("two, and longer\n")
    assert in_guest(guest, "cat /home/me/note").stdout == "two, and longer\n"
    host_home.write("new", "x")
    wait_until(lambda: in_guest(guest, "ls /home/me").stdout == "new\nnote\n", timeout=3)


def test_a_read_only_mount_cannot_be_written(homeport, guest, host_home):
    host_home.write("note", "one\n", mode=0o666)
    homeport.up()
    assert "Read-only file system" in in_guest(guest, "echo x > /home/me/note").stderr
    assert "Read-only file system" in in_guest(guest, "rm /home/me/note").stderr
    assert os.path.exists(host_home / "note")


def test_a_writable_mount_elsewhere_is_written_through(homeport, guest, host_home):
    host_home.write("src/a", "a\n")
    done = homeport.up("--mount", "~/src:/far:w")
    assert done.stdout == "mount /far: /home/me/src, writable\n"
    in_guest(guest, "echo from the guest > /far/b && mkdir /far/d && mv /far/a /far/d/")
    wait_until(lambda: os.path.exists(host_home / "src/d/a"))
    assert open(host_home / "src/b").read() == "from the guest\n"
    assert os.stat(host_home / "src/b").st_uid == os.stat(host_home.here).st_uid


def test_nested_shares_are_one_mount_with_two_rights(homeport, guest, host_home):
    host_home.write("src/a", "a\n")
    host_home.write("top", "top\n")
    done = homeport.up("--mount", "~", "--mount", "~/src:w")
    assert done.stdout.splitlines() == ["mount /home/me: /home/me, read-only", "mount /home/me/src: /home/me/src, writable"]
    assert len(guest.mounts("fuse.homeport")) == 1
    assert in_guest(guest, "echo new > /home/me/src/b").returncode == 0
    assert "Read-only" in in_guest(guest, "echo new > /home/me/b").stderr
    assert open(host_home / "src/b").read() == "new\n"
    assert "Invalid cross-device link" in in_guest(guest, "ln /home/me/src/a /home/me/link").stderr


def test_a_web_server_of_the_guest_answers_on_both_loopbacks(homeport, host, guest, host_home):
    homeport.up()
    server = serve_in_guest(guest, 8091)
    wait_until(lambda: fetch(host, "http://127.0.0.1:8091/") == "200")
    assert fetch(host, "http://[::1]:8091/") == "200"
    server.kill()
    wait_until(lambda: not any(name.endswith(":8091") for name in host.listeners()))


def test_up_prints_a_line_for_each_port(homeport, guest, host_home):
    server = serve_in_guest(guest, 8092)
    done = homeport.up("--no-mount")
    assert re.fullmatch(r"port 127.0.0.1:8092, \[::1\]:8092: guest 127.0.0.1:8092( \(python3\))?\n", done.stdout)
    server.kill()


def test_without_mounts_and_ports_there_is_a_connection_and_nothing_else(homeport, guest, host_home):
    done = homeport.up("--no-mount", "--no-ports")
    assert (done.stdout, done.stderr) == ("", "")
    assert homeport.status()["ports"] == []
    assert guest.mounts("fuse.homeport") == []


def test_down_unmounts_and_closes_and_leaves_nothing(homeport, host, guest, host_home):
    host_home.write("note", "one\n")
    server = serve_in_guest(guest, 8093)
    homeport.up()
    assert "127.0.0.1:8093" in host.listeners()
    done = homeport.down()
    assert (done.stdout, done.stderr) == ("guest: stopped\n", "")
    assert guest.mounts("fuse.homeport") == []
    assert "127.0.0.1:8093" not in host.listeners()
    assert homeport.status() is None
    server.kill()


def test_down_unmounts_although_somebody_stands_in_it(homeport, guest, host_home):
    host_home.write("note", "one\n")
    homeport.up()
    holder = guest.popen("cd /home/me && exec 3<note && sleep 60", user="me")
    wait_until(lambda: any("sleep 60" in line for _, line in guest.processes().values()))
    homeport.down()
    assert guest.mounts("fuse.homeport") == []
    holder.kill()


def test_down_through_a_proxy_ends_the_session_in_the_guest_too(homeport, lab, guest, host_home):
    """The goodbye is still in the proxy's hands when the agent has nothing more to do."""
    proxy = f"ProxyCommand=ssh -F {lab.ssh_config()} -W %h:%p guest"
    for _ in range(3):
        homeport.up("-o", proxy, "--no-mount", "--no-ports")
        homeport.down()
        wait_until(lambda: not any("serve" in line for _, line in guest.processes().values()), timeout=5)


def test_up_again_with_the_same_options_says_so(homeport, host_home):
    homeport.up("--mount", "~")
    done = homeport.up("--mount", "~")
    assert done.returncode == 0
    assert done.stdout == "guest is already up\nmount /home/me: /home/me, read-only\n"


def test_up_again_with_other_options_says_which(homeport, host_home):
    host_home.write("src/a", "a\n")
    homeport.up("--mount", "~")
    before = homeport.status()
    done = homeport.up("--mount", "~/src:w", check=False)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "homeport: up: guest is already up, with other options; `homeport down guest` first, to change:"
    assert any(line.startswith("mount") for line in lines[1:]), lines
    assert homeport.status()["pid"] == before["pid"]


def test_run_in_the_foreground_ends_cleanly_on_a_signal(homeport, host, lab, guest, host_home):
    running = homeport.popen("run", "-F", lab.ssh_config(), "guest", stderr=-1, text=True)
    homeport.name = "guest"
    wait_until(lambda: guest.mounts("fuse.homeport"))
    inner = homeport.status()["pid"]
    host.kill(inner, 15)
    assert running.wait(timeout=10) == 0
    assert guest.mounts("fuse.homeport") == []
    assert "mount /home/me: mounted" in running.stderr.read()


def test_run_refuses_to_be_the_second(homeport, lab, host_home):
    homeport.up()
    pid = homeport.status()["pid"]
    done = homeport.run("run", "-F", lab.ssh_config(), "guest")
    assert (done.returncode, done.stderr) == (1, f"homeport: run: guest is already running, as process {pid}\n")


def test_run_tells_the_service_manager_when_all_is_there(homeport, lab, guest, host_home):
    import socket

    path = homeport.folder + "/notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    os.chmod(path, 0o777)
    running = homeport.popen("run", "-F", lab.ssh_config(), "guest",
                             env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}, stderr=-3)
    homeport.name = "guest"
    manager.settimeout(10)
    heard = []
    while "READY=1" not in heard or heard.count("WATCHDOG=1") < 3:
        heard.append(manager.recv(4096).decode())
    assert guest.mounts("fuse.homeport")
    assert "STATUS=connecting" in heard[:heard.index("READY=1")] or "STATUS=connected" in heard
    homeport.down()
    assert running.wait(timeout=10) == 0


def test_files_of_a_session_are_the_users_alone(homeport, host_home):
    homeport.up("--no-mount")
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        folder = homeport.env[variable] + "/homeport/guest"
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for name in os.listdir(folder):
            assert stat.S_IMODE(os.lstat(f"{folder}/{name}").st_mode) == 0o600, name


def test_nobody_else_on_the_host_may_speak_to_the_agent(homeport, host, host_home):
    homeport.up("--no-mount")
    control = homeport.env["XDG_RUNTIME_DIR"] + "/homeport/guest/control"
    code = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect(sys.argv[1]);"
            "s.sendall(b'down\\n'); print(s.recv(100))")
    assert host.cmd(["python3", "-c", code, control], user="root", check=False).stdout in ("b''\n", "")
    assert homeport.status()["state"] == "connected"


def test_a_configuration_file_is_a_session_of_its_name(homeport, lab, guest, host_home):
    host_home.write("src/a", "a\n")
    homeport.write_config("dev", f"ssh: {{host: guest, configFile: {lab.ssh_config()}}}\n"
                                 "mounts: [{location: \"~/src\", mountPoint: /dev-src, writable: true}]\n")
    done = homeport.run("up", "dev")
    assert (done.returncode, done.stdout) == (0, "mount /dev-src: /home/me/src, writable\n"), done.stderr
    assert in_guest(guest, "cat /dev-src/a").stdout == "a\n"
    assert homeport.run("down", "dev").returncode == 0


@pytest.mark.parametrize("alias", ["guest-root", "guest-plain", "guest6"])
def test_every_kind_of_login_mounts(homeport, lab, guest, host_home, alias):
    """root mounts by itself, a user with sudo through it, one without through fusermount3."""
    host_home.write("hello.txt", "hello\n")
    user = {"guest-root": "root", "guest-plain": "plain"}.get(alias, "me")
    target = "/tmp/here" if user == "plain" else "/home/me"
    if user == "plain":
        guest.cmd(["mkdir", "-p", target], user="plain")
    done = homeport.up("--mount", f"~:{target}", host=alias)
    assert done.returncode == 0
    assert in_guest(guest, f"cat {target}/hello.txt", user=user).stdout == "hello\n"
