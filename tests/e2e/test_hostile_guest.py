# SPDX-License-Identifier: MIT
"""A guest that speaks the protocol, and means harm: it can end its own session, and nothing else."""
import os
import threading
import time

from conftest import wait_until
from raw_peer import hostile
from test_link_hostile import cpu

LAB = dict(sshd_options=["Port 22", "Port 2222"])


def servers(host):
    return [line for _, line in host.processes().values() if line.startswith("homeport sftp-server")]


class Watch:
    """The most there was of something, looked at all the time."""

    def __init__(self, look):
        self.look = look
        self.most = 0
        self.going = True
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()

    def run(self):
        while self.going:
            self.most = max(self.most, self.look())
            time.sleep(0.02)


def log_size(homeport):
    return sum(os.path.getsize(os.path.join(folder, name))
               for folder, _, names in os.walk(homeport.env["XDG_STATE_HOME"]) for name in names if "log" in name)


def test_ten_thousand_streams_are_no_ten_thousand_processes(homeport, host, guest, host_home):
    """Each sftp stream is a process of the host: the guest decides how many streams, the host how many processes."""
    with hostile(guest, """
            p.greet()
            target = struct.pack(">II", p.mounts[0], 0)
            for _ in range(100):
                p.send(b"".join(p.open_frame(KIND_SFTP, target) for _ in range(100)))
            p.serve(2)
            refused = sum(1 for s in p.seen if s[1] == REFUSE)
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORTS_END, struct.pack(">Q", 1))
            p.serve(20)
            """) as args, Watch(lambda: len(servers(host))) as watch:
        assert homeport.up(*args).returncode == 0
    assert 1 <= watch.most <= 8
    assert homeport.status()["state"] == "connected"


def test_a_mount_point_of_the_guests_writes_no_lines_of_ours(homeport, guest, host_home):
    """The path the guest says it mounted at goes to a person's terminal, and to the log."""
    with hostile(guest, """
            p.greet(version=b"1\\x1b]0;x\\x07")
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/m\\nx 3\\n\\x1b[2J\\xc2\\x9b2J", b""))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORTS_END, struct.pack(">Q", 1))
            p.serve(30)
            """) as args:
        done = homeport.up(*args)
        assert done.returncode == 0
        shown = done.stdout + homeport.run("status", "guest").stdout
        assert len(done.stdout.splitlines()) == 1
        for bad in ("\x1b", "\x9b", "\x07"):
            assert bad not in shown + homeport.logs()


def test_a_failure_that_cannot_be_said_twice_is_not_logged_ten_thousand_times(homeport, guest, host_home):
    with hostile(guest, """
            p.greet()
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORTS_END, struct.pack(">Q", 1))
            for i in range(300):
                text = b"%d" % i + b"x" * 400
                p.control_many([message(MOUNT_STATE, mount_state(p.mounts[0], s, b"/home/me", text))
                                for s in (FAILED, MOUNTED, UNMOUNTED) for _ in range(10)])
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            p.serve(30)
            """) as args:
        homeport.up(*args, check=False)
        wait_until(lambda: homeport.status()["mounts"][0]["state"] == "mounted")
        assert log_size(homeport) < 200_000


def test_the_log_has_an_end_whatever_the_guest_says(homeport, guest, host_home):
    """Lines of the guest's pass at a bounded rate; and a log that is full begins anew."""
    with hostile(guest, """
            p.greet()
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORTS_END, struct.pack(">Q", 1))
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            end = time.monotonic() + 6
            while time.monotonic() < end:
                p.control_many([message(LOG, b"\\0" + string(b"x" * 1000))] * 50)
                p.step(0.01)
            p.serve(30)
            """) as args:
        homeport.up(*args)
        path = [os.path.join(folder, "log") for folder, _, names in os.walk(homeport.env["XDG_STATE_HOME"])
                if "log" in names][0]
        with open(path, "a") as f:
            f.write(("y" * 99 + "\n") * 50000)  # as after a day of it
        wait_until(lambda: os.path.exists(path + ".1") and os.path.getsize(path) < 1_000_000)
        time.sleep(2)
        assert 0 < os.path.getsize(path) < 1_000_000


def test_snapshots_without_end_leave_the_agent_its_loop(homeport, host, guest, host_home):
    """4,096 forwards' worth of rows, then a million snapshots that begin: the agent still answers."""
    with hostile(guest, """
            p.greet()
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control_many([message(PORT_ADD, port(i, 1 + i % 60000, bytes((10, 1, i >> 8 & 255, i & 255))))
                            for i in range(16000)])
            p.control(PORTS_END, struct.pack(">Q", 1))
            p.control_many([message(PORTS_BEGIN, struct.pack(">Q", 2))] * 300000)
            p.serve(30)
            """) as args:
        homeport.up(*args)
        agent = next(pid for pid, (_, line) in host.processes().items() if "homeport run" in line)
        for _ in range(20):
            spent = cpu(agent)
            assert homeport.status()
            assert cpu(agent) - spent < 1, "what it did before it answered"
            time.sleep(0.1)


def test_the_port_we_dial_is_not_the_guests_to_have(homeport, host, guest, host_home):
    """Often it is one of this host's loopback, of whoever runs the VM: the guest would answer our own connection."""
    with hostile(guest, """
            p.greet(ssh_port=22)
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORT_ADD, port(1, 2222))
            p.control(PORT_ADD, port(2, 2223))
            p.control(PORTS_END, struct.pack(">Q", 1))
            p.serve(30)
            """) as args:
        homeport.up("-p", "2222", *args)
        assert [p["state"] for p in homeport.status()["ports"]] == ["ignored", "forwarded"]
        assert "127.0.0.1:2222" not in host.listeners()


def test_without_descriptors_the_agent_still_hears_its_user(homeport, host, guest, host_home):
    """The guest's listeners are descriptors of the host's agent: it may use up all there are."""
    limited = ["prlimit", "--nofile=48", homeport.binary, "up", "-F", homeport.lab.ssh_config("me"), "guest"]
    host.cmd(limited, user="me", env=homeport.env, timeout=60)
    homeport.name = "guest"
    outer = next(pid for pid, (_, line) in host.processes().items() if "homeport run" in line)
    guest.popen(["python3", "-c", "import socket, time\n"
                 "all = [socket.create_server(('127.0.0.1', 9000 + i)) for i in range(60)]\ntime.sleep(60)"], user="me")
    wait_until(lambda: len(os.listdir(f"/proc/{outer}/fd")) == 48, what="its last descriptor is used")
    for _ in range(3):
        assert homeport.status()["state"] == "connected"
    assert homeport.run("down", "guest", timeout=10).returncode == 0


def test_a_direct_connection_leads_to_nobody_else(homeport, host, guest, host_home):
    """The guest names a port of its own that is another program's: it hears a ClientHello, and the session goes on."""
    with hostile(guest, """
            import socket
            server = socket.create_server(("10.77.0.2", 0))
            p.greet(mounts=False)
            while not p.directs:
                p.step(None)
            number, way, port, key = p.directs[0]
            assert (way, port) == (1, 0)
            p.control(DIRECT_STATE, struct.pack(">IHI", number, server.getsockname()[1], 0))
            one, _ = server.accept()
            heard = one.recv(4096)
            assert heard[0] == 22 and key not in heard
            one.sendall(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n")
            one.close()
            while len(p.directs) < 2:
                p.step(None)
            assert p.directs[1][1] == 2 and p.directs[1][2] and p.directs[1][3] != key
            # An answer to what nobody waits for any more, and one to this.
            p.control(DIRECT_STATE, struct.pack(">IHI", number, 0, 111))
            p.control(DIRECT_STATE, struct.pack(">IHI", p.directs[1][0], 0, 113))
            p.control(DIRECT_STATE, struct.pack(">IHI", p.directs[1][0], 0, 113))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORTS_END, struct.pack(">Q", 1))
            p.serve(20)
            """) as args:
        homeport.up("--no-mount", *args)
    wait_until(lambda: homeport.status()["guest"]["direct_reason"], what="the host has given up")
    assert homeport.status()["guest"]["direct_reason"] == "No route to host"
    assert homeport.status()["state"] == "connected" and homeport.status()["reconnects"] == 0


def test_an_answer_to_what_was_never_asked_ends_the_session(homeport, guest, host_home):
    with hostile(guest, """
            p.greet(mounts=False)
            p.control(DIRECT_STATE, struct.pack(">IHI", 7, 22, 0))
            p.serve(20)
            """) as args:
        up = homeport.popen("up", "-F", homeport.lab.ssh_config("me"), "--no-mount", *args, "guest")
    wait_until(lambda: "a control message of the guest could not be taken" in homeport.logs(), what="the session is over")
    homeport.down("guest")
    up.wait(timeout=10)
