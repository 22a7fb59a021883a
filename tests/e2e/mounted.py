# SPDX-License-Identifier: MIT
"""A share mounted by `homeport-guest mount` over a socketpair, without ssh and without a lab: needs root and /dev/fuse."""
import os
import pwd
import shutil
import signal
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BUILD = os.environ.get("HOMEPORT_BUILD", ROOT + "/build")
GUEST = BUILD + "/homeport-guest"
HOST = BUILD + "/homeport"
USER = pwd.getpwnam("daemon").pw_uid  # fusermount3 wants one that has a name


class Mounted:
    """`with Mounted(tmp_path) as m:` m.host is the folder on the host, m.guest the same in the guest.

    command: what serves, instead of `homeport sftp-server [--writable] HOST`; options: of homeport-guest mount.
    """

    def __init__(self, folder, writable=True, options=(), command=None, server=()):
        self.host = f"{folder}/host"
        self.guest = f"{folder}/guest"
        os.makedirs(self.host, exist_ok=True)
        self.log_path = f"{folder}/mount.log"
        command = command or [HOST, "sftp-server", *(["--writable"] if writable else []), *server, self.host]
        self.argv = [GUEST, "mount", *options, self.guest, "--", *command]
        self.process = None

    def __enter__(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while not self.is_mounted():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(f"not mounted (exit {self.process.returncode}): {self.log()}")
            time.sleep(0.01)
        return self

    def is_mounted(self):
        with open("/proc/self/mountinfo") as f:
            return any(line.split()[4] == self.guest for line in f)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def children(self):
        """{name: pid} of the processes that the mount started."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                with open(f"/proc/{pid}/cmdline") as f:
                    line = f.read().split("\0")
            except OSError:
                continue
            if int(fields[1]) == self.process.pid:
                found["server" if "sftp-server" in line else "helper" if "helper" in line else line[0]] = int(pid)
        return found

    def wait(self, timeout=10):
        return self.process.wait(timeout)

    def unmount(self):
        """As a user would; the exit status of the mount. It ends with the last copy of it, and a test beside this one may
        just have made mounts of its own, with all of this machine's in them."""
        subprocess.run(["fusermount3", "-u", self.guest], check=True, timeout=10)
        return self.wait(70)

    def kill(self):
        """Whatever has happened, nothing stays."""
        if self.is_mounted():
            subprocess.run(["umount", "-l", self.guest], timeout=10)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def __exit__(self, kind, *_):
        status = None
        try:
            if kind is None and self.process.poll() is None:
                status = self.unmount()
        finally:
            self.kill()
        assert status in (0, None), f"exit {status}: {self.log()}"
        assert "malformed" not in self.log() and "Sanitizer" not in self.log(), self.log()


class MountedByUser(Mounted):
    """As an ordinary user, in a mount namespace of its own: this machine's /dev/fuse may be root's alone, and the folder
    with what is built, of which copies are run."""

    def __init__(self, folder, **kw):
        super().__init__(folder, **kw)
        os.mkdir(f"{folder}/dev")
        for path in (self.host, self.guest):
            os.makedirs(path, exist_ok=True)
            os.chown(path, USER, USER)
        self.argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-ec",
                     'mount -t tmpfs dev "$0"; mknod -m 666 "$0/fuse" c 10 229; mount --bind "$0/fuse" /dev/fuse; '
                     'umount -l "$0"; exec "$@"', f"{folder}/dev", *as_user(),
                     *[shutil.copy(arg, folder) if arg in (GUEST, HOST) else arg for arg in self.argv]]

    def inside(self):
        return ["nsenter", "--mount", f"--target={self.process.pid}"]

    def is_mounted(self):
        try:
            with open(f"/proc/{self.process.pid}/mountinfo") as f:
                return any(line.split()[4] == self.guest for line in f)
        except OSError:
            return False

    def unmount(self):
        subprocess.run([*self.inside(), "umount", self.guest], check=True, timeout=10)
        return self.wait()

    def kill(self):
        if self.is_mounted():
            subprocess.run([*self.inside(), "umount", "-l", self.guest], timeout=10)
        super().kill()


class MountedVirtual(Mounted):
    """By root, from an ordinary user's server that records owners: the guest's root is the host's USER."""

    def __init__(self, folder, options=(), server=(), **kw):
        super().__init__(folder, options=("-o", ",".join((f"hostuid={USER},hostgid={USER},ownership=virtual", *options))),
                         server=("--ownership=virtual", *server), **kw)
        os.chown(self.host, USER, USER)
        at = self.argv.index("--") + 1
        self.argv[at:] = [*as_user(), shutil.copy(HOST, folder), *self.argv[at + 1:]]


def faulty(folder, **env):
    """What to put before a server's command so that its disk is faulty, as env says (faulty.c)."""
    library = f"{folder}/faulty.so"
    source = os.path.join(os.path.dirname(os.path.realpath(__file__)), "faulty.c")
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", library, source], check=True, timeout=60)
    return ["env", f"LD_PRELOAD={library}", *(f"{name}={value}" for name, value in env.items())]


def as_user():
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--groups=3001"]


def attempt(call, *args, **kw):
    """0, or its errno."""
    try:
        call(*args, **kw)
        return 0
    except OSError as e:
        return e.errno


def as_id(uid, gid, call, *args):
    """call() in a child of these ids; 0 or its errno."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os._exit(attempt(call, *args))
        except BaseException:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
