#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A guest made on this machine, for tests, demo and bench; needs root and nothing else.

    with Lab() as lab:
        lab.guest.cmd(["id", "-un"], user="me").stdout          # a command in the guest
        lab.host.cmd(["ssh", "-F", lab.ssh_config("me"), "guest", "true"], user="me")
        lab.link_cut(); lab.link_restore()                      # packets vanish silently, both ways
        lab.pause(); lab.resume()                               # the guest stands still, and so does the cable

How the two machines are made, and why nothing of them can be left behind: keeper.py. By hand:

    lab.py up NAME · lab.py shell NAME [USER] · lab.py exec [-u USER] NAME host|guest COMMAND… · lab.py down NAME
"""
import argparse
import glob
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
PREFIX = os.path.join(tempfile.gettempdir(), "homeport-lab.")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD_AT = "/opt/homeport"

# The ids differ on purpose: nothing may depend on the same person having the same number on both sides.
HOST_USERS = {"root": {"uid": 0, "home": "/root"}, "me": {"uid": 1000, "home": "/home/me"}}
GUEST_USERS = {"root": {"uid": 0, "home": "/root"}, "me": {"uid": 2000, "home": "/home/me.guest", "sudo": True},
               "plain": {"uid": 2001, "home": "/home/plain.guest"}}


class Machine:
    """One side of a lab, seen from outside: run commands in it, look at its processes, mounts and listeners."""

    def __init__(self, lab, name, state):
        self.lab = lab
        self.name = name
        self.pid = state["pid"]
        self.address = state["address"]
        self.address6 = state["address6"]
        self.mac = state["mac"]
        self.users = state["users"]
        self._pid_ns = os.readlink(f"/proc/{self.pid}/ns/pid")

    def home(self, user="me"):
        return self.users[user]["home"]

    def path(self, path):
        """Where this process finds a file of the machine. Not for files below a mount under test: a hung mount would
        hang the caller; ask with cmd() and a timeout."""
        return f"/proc/{self.pid}/root{path}"

    def argv(self, argv, user="root", env=None, cwd=None):
        """The full command that runs argv in the machine; it is killed when the one who started it ends."""
        who = self.users[user]
        variables = {"PATH": PATH, "HOME": who["home"], "USER": user, "LOGNAME": user, "SHELL": "/bin/bash",
                     "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}
        variables.update(passed_on())
        variables.update(env or {})
        uid, gid = who["uid"], who.get("gid", who["uid"])
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--",
                "setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--pdeathsig", "KILL", "--",
                "env", "-i", "-C", cwd or who["home"], *(f"{k}={v}" for k, v in variables.items() if v is not None),
                *argv]

    def cmd(self, argv, user="root", check=True, input=None, timeout=30, env=None, cwd=None, text=True):
        """Runs a command to its end and returns it with stdout and stderr; raises, with both in the message, if it
        fails and `check`."""
        if isinstance(argv, str):
            argv = ["bash", "-c", argv]
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(self.argv(argv, user, env, cwd), capture_output=True, text=text, timeout=timeout, **stdin)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {argv} as {user}: exit {done.returncode}\n"
                                 f"stdout: {done.stdout}\nstderr: {done.stderr}")
        return done

    def popen(self, argv, user="root", env=None, cwd=None, **kw):
        """Starts a command and leaves it running; it ends with the lab, at the latest."""
        if isinstance(argv, str):
            argv = ["bash", "-c", argv]
        kw.setdefault("stdin", subprocess.DEVNULL)
        self.lab.started.append(subprocess.Popen(self.argv(argv, user, env, cwd), **kw))
        return self.lab.started[-1]

    def ip(self, *args):
        """Changes the machine's network; works whatever state its processes and mounts are in."""
        subprocess.run(["nsenter", "-t", str(self.pid), "-n", "--", "ip", *args], check=True)

    def processes(self):
        """{pid here: (pid in the machine, command line)}, without the machine's pid 1 and without zombies."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == self.pid:
                continue
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") != self._pid_ns:
                    continue
                status = open(f"/proc/{entry}/status").read()
                line = open(f"/proc/{entry}/cmdline", "rb").read()
            except OSError:
                continue
            if "\nState:\tZ" in status:
                continue
            inner = int(status.split("\nNSpid:")[1].split("\n")[0].split()[-1])
            found[int(entry)] = (inner, line.replace(b"\0", b" ").decode(errors="replace").strip())
        return found

    def outer_pid(self, inner):
        """The pid here of a process the machine knows as `inner`; None if there is none."""
        return next((outer for outer, (pid, _) in self.processes().items() if pid == inner), None)

    def kill(self, inner, sig=signal.SIGKILL):
        outer = self.outer_pid(inner)
        assert outer, f"{self.name}: no process {inner}"
        os.kill(outer, sig)

    def descriptors(self, inner):
        """What the open descriptors of a process are, sorted: `socket:[1234]`, `/dev/fuse`, ..."""
        folder = f"/proc/{self.outer_pid(inner)}/fd"
        found = []
        for fd in os.listdir(folder):
            try:
                found.append(os.readlink(f"{folder}/{fd}"))
            except FileNotFoundError:
                pass  # closed meanwhile
        return sorted(found)

    def mounts(self, fstype=None):
        """[(mount point, type, options)] of the machine, sorted; of one type (a prefix), if given."""
        rows = []
        for line in open(f"/proc/{self.pid}/mountinfo"):
            before, after = line.rstrip("\n").split(" - ")
            kind = after.split(" ")[0]
            if not fstype or kind.startswith(fstype):
                rows.append((before.split(" ")[4], kind, before.split(" ")[5] + "," + after.split(" ")[2]))
        return sorted(rows)

    def listeners(self):
        """{"127.0.0.1:8080", "[::1]:8080", ...}: what listens on TCP."""
        return {line.split()[3] for line in self.cmd(["ss", "-Hltn"]).stdout.splitlines()}

    def signal_all(self, sig):
        for outer in self.processes():
            try:
                os.kill(outer, sig)
            except ProcessLookupError:
                pass


class Guest(Machine):
    def ssh_args(self, user="me", host_user="me"):
        """The ssh command that logs in here from the lab's host, to be run there as host_user."""
        return ["ssh", "-F", self.lab.ssh_config(host_user), f"{user}@guest"]

    def sshd_log(self):
        return open(self.path("/var/log/sshd.log"), errors="replace").read()


class Lab:
    """Two machines and a cable. Arguments:

    name              for `lab.py` alone: one that can be found again, and that outlives its maker
    sshd_options      lines put first into the guest's sshd_config
    user_allow_other  the guest's /etc/fuse.conf allows it
    same_home         the guest's user `me` has the home path the host's has (it would be hidden by a mount there)
    guest_binary      homeport-guest is in the guest's PATH
    real_host         the host side sees this machine's own files, users and homes, in a network of its own
    build             the build folder, seen by both machines at /opt/homeport
    hide              further folders of this machine the machines must not see through their roots
    """

    def __init__(self, name=None, sshd_options=(), user_allow_other=False, same_home=False, guest_binary=True,
                 real_host=False, build=None, hide=(), host_name="lab-host", guest_name="lab-guest"):
        if os.geteuid() != 0:
            raise PermissionError("the lab makes namespaces and mounts: it needs root")
        self.started = []
        sweep()
        if name:
            self.dir = PREFIX + name
            os.mkdir(self.dir, 0o755)
        else:
            self.dir = tempfile.mkdtemp(prefix=os.path.basename(PREFIX), dir=os.path.dirname(PREFIX))
            os.chmod(self.dir, 0o755)
        guest_users = json.loads(json.dumps(GUEST_USERS))
        if same_home:
            guest_users["me"]["home"] = HOST_USERS["me"]["home"]
        if real_host:  # nobody's home there is where this machine's home is to appear
            for user in guest_users.values():
                if user["home"] == pwd.getpwuid(invoking_uid()).pw_dir:
                    user["home"] += ".guest"
        host_users = real_users() if real_host else HOST_USERS
        login_uid = invoking_uid() if real_host else HOST_USERS["me"]["uid"]
        build = os.path.realpath(build or os.environ.get("HOMEPORT_BUILD") or os.path.join(REPOSITORY, "build"))
        os.makedirs(build, exist_ok=True)
        want = {"dir": self.dir, "parent": 0 if name else os.getpid(), "build": build, "repository": REPOSITORY,
                "sshd_options": list(sshd_options), "env": passed_on(), "user_allow_other": user_allow_other,
                "guest_binary": guest_binary, "real_host": real_host, "hide": list(hide), "host_name": host_name,
                "guest_name": guest_name, "host_users": host_users, "guest_users": guest_users,
                "ssh_users": {n: u for n, u in host_users.items() if u["uid"] in (0, login_uid)}}
        self._keeper = subprocess.Popen(["/usr/bin/python3", "-B", HERE + "/keeper.py"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, start_new_session=True, cwd="/")
        with open(self.dir + "/keeper", "w") as f:
            f.write(f"{self._keeper.pid} {start_time(self._keeper.pid)}")
        json.dump(want, self._keeper.stdin)
        self._keeper.stdin.close()
        answer = json.loads(self._keeper.stdout.readline() or '{"error": "its keeper died"}')
        if "error" in answer:
            self.down()
            raise RuntimeError(f"the lab could not be made: {answer['error']}")
        self._take(answer)

    @classmethod
    def find(cls, name):
        """A lab made earlier under a name."""
        self = cls.__new__(cls)
        self.dir = PREFIX + name
        self._keeper = None
        self.started = []
        with open(self.dir + "/state.json") as f:
            self._take(json.load(f))
        return self

    def _take(self, state):
        self._keeper_pid = state["keeper"]
        self.host = Machine(self, "host", state["host"])
        self.guest = Guest(self, "guest", state["guest"])

    def end_started(self):
        """Ends what popen() started on either side and is still running."""
        while self.started:
            process = self.started.pop()
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    def down(self):
        """Ends every process of both machines, and with them their mounts and interfaces, and removes the folder."""
        if self._keeper:
            self.end_started()
            self._keeper.terminate()
            self._keeper.wait(timeout=20)
            self._keeper.stdout.close()
        else:
            os.kill(self._keeper_pid, signal.SIGTERM)
            while os.path.isdir(self.dir):
                time.sleep(0.02)

    def ssh_config(self, host_user="me"):
        """A file for `ssh -F` and `homeport -F`: hosts guest, guest6, guest-root, guest-plain."""
        return f"{self.dir}/ssh-{host_user}/config"

    def use_home_ssh(self, host_user="me"):
        """Puts key, known_hosts and config where ssh looks by itself: ~/.ssh of a user of the host."""
        folder = self.host.path(self.host.home(host_user) + "/.ssh")
        shutil.copytree(f"{self.dir}/ssh-{host_user}", folder)
        uid = self.host.users[host_user]["uid"]
        for path in [folder] + glob.glob(folder + "/*"):
            os.chown(path, uid, uid)

    # The cable. A wrong link address makes the far end drop each packet without a word, while both ends stay up and
    # keep their routes: what a vanished VM, a suspended laptop or a dead switch looks like from either side.

    def _neighbours(self, host_sees, guest_sees):
        for machine, other, mac in ((self.host, self.guest, host_sees), (self.guest, self.host, guest_sees)):
            for address in (other.address, other.address6):
                machine.ip("neighbour", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent")

    def link_cut(self):
        self._neighbours("02:77:ff:ff:ff:ff", "02:77:ff:ff:ff:fe")

    def link_restore(self):
        self._neighbours(self.guest.mac, self.host.mac)

    def route_down(self):
        """The host's interface goes down, and its routes with it: connecting fails at once."""
        self.host.ip("link", "set", "eth0", "down")

    def route_up(self):
        """The interface, its addresses and routes come back, as when a laptop joins its network again."""
        self.host.ip("link", "set", "eth0", "up")
        self.host.ip("address", "replace", self.host.address6 + "/64", "dev", "eth0", "nodad")

    def pause(self):
        """Every process of the guest stops and nothing answers on the cable, as when a VM is paused."""
        self.link_cut()
        self.guest.signal_all(signal.SIGSTOP)

    def resume(self):
        self.guest.signal_all(signal.SIGCONT)
        self.link_restore()


def passed_on():
    """Variables that reach every process of both machines: how sanitizers report, where coverage is counted."""
    return {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k.startswith("GCOV_")}


def real_users():
    return {p.pw_name: {"uid": p.pw_uid, "gid": p.pw_gid, "home": p.pw_dir} for p in pwd.getpwall()}


def invoking_uid():
    """Who asked: the user behind sudo, if there is one."""
    return int(os.environ.get("SUDO_UID") or os.getuid())


def start_time(pid):
    """Field 22 of /proc/PID/stat: with it a pid means one process for ever. None for one that has ended."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return fields[19] if fields[0] != "Z" else None


def sweep():
    """Removes the folders of labs whose keeper was killed before it could; everything else of them is gone already."""
    for folder in glob.glob(PREFIX + "*"):
        try:
            if os.lstat(folder).st_uid != 0 or time.time() - os.stat(folder).st_mtime < 5:
                continue
            pid, started = open(folder + "/keeper").read().split()
            alive = start_time(pid) == started
        except (OSError, ValueError):
            alive = False
        if not alive:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="A guest made of namespaces on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="make a lab that stays")
    up.add_argument("name")
    up.add_argument("--real-host", action="store_true", help="the host side sees this machine's own files")
    shell = commands.add_parser("shell", help="log in to the guest")
    shell.add_argument("name")
    shell.add_argument("user", nargs="?", default="me")
    run = commands.add_parser("exec", help="run a command on one side")
    run.add_argument("-u", "--user", default="root")
    run.add_argument("name")
    run.add_argument("side", choices=["host", "guest"])
    run.add_argument("argv", nargs=argparse.REMAINDER)
    commands.add_parser("down", help="end a lab").add_argument("name")
    args = parser.parse_args()

    if args.command == "up":
        # The guest must see a person's files through homeport or not at all.
        hide = (REPOSITORY, pwd.getpwuid(invoking_uid()).pw_dir) if args.real_host else ()
        lab = Lab(name=args.name, real_host=args.real_host, hide=hide)
        who = pwd.getpwuid(invoking_uid()).pw_name if args.real_host else "root"
        print(f"guest {lab.guest.address} {lab.guest.address6}, ssh configuration {lab.ssh_config(who)}")
        return 0
    try:
        lab = Lab.find(args.name)
    except FileNotFoundError:
        print(f"lab.py: there is no lab named {args.name}", file=sys.stderr)
        return 3
    if args.command == "down":
        lab.down()
        return 0
    if args.command == "shell":
        argv = lab.host.argv(lab.guest.ssh_args(args.user, "root") + ["-t"], user="root", cwd="/")
    else:
        argv = getattr(lab, args.side).argv(args.argv or ["bash"], user=args.user)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())
