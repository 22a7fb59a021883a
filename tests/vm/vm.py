# SPDX-License-Identifier: MIT
"""Virtual machines with a kernel and a systemd of their own: two of them, and a cable.

Both boot the same image, a small Debian of this machine's release, because the packages built here are for that. It is
made by mmdebstrap out of apt's own sources (`image`), and kept in a cache folder under a hash of what it is made from.
What a machine writes goes to an overlay that lasts as long as the test.

A machine has two network cards: by the first this process logs in (ssh, through a port of loopback; nothing leads out),
the second is the cable to the other machine (a pair of unix sockets). What it says on its serial console is in
FOLDER/NAME.log. QMP stops it, goes on, resets it and cuts the cable. With this process, however that ends, it ends too.
"""
import hashlib
import inspect
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"]

# ------------------------------------------------------------------------------------------------------------- the image

PACKAGES = ("systemd", "systemd-sysv", "udev", "dbus", "dbus-user-session", "libpam-systemd", "linux-image-amd64",
            "initramfs-tools", "openssh-server", "openssh-client", "sudo", "fuse3", "iproute2", "procps", "python3",
            # what the host's package depends on
            "libssh-4", "libssl3", "libevent-core-2.1-7", "libyaml-0-2", "libseccomp2")
ADDRESS = {"host": "10.77.0.1", "guest": "10.77.0.2"}
MAC_LOGIN = "52:54:00:77:00:00"
MAC = {"host": "52:54:00:77:00:01", "guest": "52:54:00:77:00:02"}


def network(mac, address):
    return f"[Match]\nMACAddress={mac}\n[Network]\nAddress={address}/24\nLinkLocalAddressing=no\n"


# Before the packages, as the initrd is made when the kernel is installed: it needs the disk's driver and no more.
EARLY = {
    "/etc/initramfs-tools/conf.d/small": "MODULES=list\n",
    "/etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}
FILES = {
    "/etc/fstab": "",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{a} {name}\n" for name, a in ADDRESS.items()),
    "/etc/systemd/network/login.network": network(MAC_LOGIN, "10.0.2.15"),
    **{f"/etc/systemd/network/{name}.network": network(mac, ADDRESS[name]) for name, mac in MAC.items()},
    # Of each boot: the next one is asked how the last one ended.
    "/var/log/journal/.keep": "",
}
SYSTEMCTL = ("enable systemd-networkd.service", "disable systemd-networkd-wait-online.service",
             "mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service "
             "fstrim.timer getty@tty1.service serial-getty@ttyS0.service systemd-timesyncd.service "
             # Root logs in often here, and without a manager of its own that is quick.
             "user@0.service")
SPARE = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def said_by(*argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **kw).stdout


def release():
    """This machine's, by its code name."""
    with open("/etc/os-release") as f:
        return re.search(r"^VERSION_CODENAME=(\w+)$", f.read(), re.M).group(1)


def apt_sources():
    """Where this machine's apt has its release from, with updates, as lines of a sources.list."""
    lines = said_by("apt-get", "indextargets", "--format", "deb $(SITE) $(RELEASE) $(COMPONENT)", "Origin: Debian",
                    "Created-By: Packages").splitlines(True)
    found = sorted({line for line in lines if line.split()[2].startswith(release())})
    if not found or os.uname().machine != "x86_64":
        raise RuntimeError("the VMs are Debian's for x86_64, made from apt's own sources: not on this machine")
    return "".join(found)


def write_files(root, files):
    for path, text in files.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w") as f:
            f.write(text)


def image(cache):
    """An Image in the folder, made if there is none of what it is to be made from."""
    sources = apt_sources()
    versions = re.findall("Candidate: .*", said_by("apt-cache", "policy", *PACKAGES, env={**os.environ, "LC_ALL": "C"}))
    made_from = [sources, versions, EARLY, FILES, SYSTEMCTL, SPARE, inspect.getsource(build_image)]
    known = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
    made = Image(os.path.join(cache, known))
    if not os.path.exists(made.folder):
        shutil.rmtree(cache, ignore_errors=True)
        os.makedirs(cache)
        build_image(made.folder, sources)
    return made


def build_image(folder, sources):
    """In a folder beside it, which has its name when all is in it."""
    fresh = folder + ".new"
    root = fresh + "/root"
    os.makedirs(fresh)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", fresh + "/key"], check=True)
    write_files(fresh + "/early", EARLY)
    subprocess.run([*ENDS_WITH_US, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory",
                    "--include=" + ",".join(PACKAGES), *(f"--dpkgopt=path-exclude={path}" for path in SPARE),
                    f"--setup-hook=cp -R {shlex.quote(fresh)}/early/. \"$1\"", release(), root, "-"],
                   check=True, input=sources, text=True)
    shutil.rmtree(root + "/etc/dpkg/dpkg.cfg.d")  # what was left out is not to be left out for ever
    write_files(root, FILES)
    os.makedirs(root + "/root/.ssh", 0o700, exist_ok=True)
    shutil.copy(fresh + "/key.pub", root + "/root/.ssh/authorized_keys")
    for words in SYSTEMCTL:
        subprocess.run(["systemctl", "--quiet", f"--root={root}", *words.split()], check=True)
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(f"{root}/{name}", f"{fresh}/{name}")
    shutil.copy(root + "/etc/ssh/ssh_host_ed25519_key.pub", fresh + "/host_key.pub")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, fresh + "/disk", "3G"], check=True)
    shutil.rmtree(root)
    os.rename(fresh, folder)


class Image:
    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        """disk, vmlinuz, initrd.img, host_key.pub, and key, which root logs in with."""
        return os.path.join(self.folder, name)


# ------------------------------------------------------------------------------------------------------------ a machine

QEMU = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
# Without KVM on a busy machine a boot may take minutes, and is none the worse for it.
KERNEL = "root=/dev/vda rw console=ttyS0 mitigations=off quiet systemd.default_timeout_start_sec=600"
KVM_S = 15


def accelerator(image):
    """KVM where it boots a kernel; it may be there and not do so. Without a disk the kernel panics, and QEMU ends."""
    kvm = ["-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256"]
    argv = [*ENDS_WITH_US, *QEMU, *kvm, "-no-reboot", "-kernel", image.path("vmlinuz"),
            "-append", "panic=-1"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=KVM_S)
    except subprocess.TimeoutExpired:
        return ["-machine", "q35,accel=tcg", "-cpu", "max"]
    return kvm[:-2] if done.returncode == 0 else ["-machine", "q35,accel=tcg", "-cpu", "max"]


class Vm:
    """One machine. `name` is host or guest.

    boot()                    until root can log in; power_off() asks it to go, and waits
    cmd("id -un", user="me")  a login, with what pam_systemd gives; raises with all that was said, if `check`
    reboot()                  asks it to, and waits until it is there again
    qmp("stop"), qmp("cont")  and whatever else QEMU is told
    cable(False)              and True again: packets vanish, or do not
    """

    def __init__(self, name, image, accel, folder, sockets):
        self.name = name
        self.image = image
        self.accel = accel
        self.log = f"{folder}/{name}.log"
        self.disk = f"{folder}/{name}.qcow2"
        self.sockets = sockets
        self.running = None
        self.boots = 0  # that were waited for: each has connections of its own
        open(self.log, "w").close()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.path("disk"), self.disk],
                       check=True)

    def argv(self):
        other = {"host": "guest", "guest": "host"}[self.name]
        return [*QEMU, *self.accel, "-name", self.name, "-m", "768", "-kernel", self.image.path("vmlinuz"),
                "-initrd", self.image.path("initrd.img"), "-append", f"{KERNEL} systemd.hostname={self.name}",
                "-drive", f"file={self.disk},if=virtio,cache=unsafe",
                "-chardev", f"file,id=console,path={self.log},append=on", "-serial", "chardev:console",
                "-qmp", f"unix:{self.sockets}/{self.name}.qmp,server=on,wait=off", "-device", "virtio-rng-pci",
                "-netdev", "user,id=login,restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
                "-device", f"virtio-net-pci,netdev=login,mac={MAC_LOGIN},romfile=",
                "-netdev", f"dgram,id=cable,local.type=unix,local.path={self.sockets}/{self.name},"
                           f"remote.type=unix,remote.path={self.sockets}/{other}",
                "-device", f"virtio-net-pci,id=card,netdev=cable,mac={MAC[self.name]},romfile="]

    def start(self):
        for left in (f"{self.sockets}/{self.name}", f"{self.sockets}/{self.name}.qmp"):
            if os.path.exists(left):
                os.unlink(left)
        self.running = subprocess.Popen([*ENDS_WITH_US, *self.argv()],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._connect()
        usernet = self.qmp("human-monitor-command", **{"command-line": "info usernet"})
        self.port = int(re.search(r"HOST_FORWARD\S*\s+\d+\s+127\.0\.0\.1\s+(\d+)", usernet).group(1))

    def boot(self, timeout=600):
        self.start()
        self.wait(timeout)

    def wait(self, timeout=600, after=None):
        """Until root can log in; `after` is the boot it was in before."""
        end = time.monotonic() + timeout
        while True:
            self.boots += 1
            try:
                if self.boot_id(timeout=60) not in ("", after):
                    return
            except subprocess.TimeoutExpired:
                pass
            if self.running.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not come up:\n{self.tail()}")
            time.sleep(1)

    def boot_id(self, timeout=120):
        return self.cmd("cat /proc/sys/kernel/random/boot_id", check=False, timeout=timeout).stdout.strip()

    def reboot(self):
        before = self.boot_id()
        self.cmd("systemctl reboot", check=False)
        self.wait(after=before)

    def power_off(self):
        self.cmd("systemctl poweroff", check=False)
        self.running.wait(300)

    def kill(self):
        if self.running:
            self.running.kill()
            self.running.wait()

    def ssh(self, user):
        """The words of a login, one connection for all of a user's."""
        options = {"BatchMode": "yes", "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null",
                   "LogLevel": "ERROR", "ConnectTimeout": "60", "ControlMaster": "auto", "ControlPersist": "yes",
                   "ControlPath": f"{self.sockets}/{self.name}-{user}-{self.boots}", "ServerAliveInterval": "10",
                   "ServerAliveCountMax": "12"}
        return ["ssh", "-F", "/dev/null", "-i", self.image.path("key"), "-p", str(self.port),
                *(f"-o{key}={value}" for key, value in options.items()), f"{user}@127.0.0.1"]

    def cmd(self, command, user="root", check=True, timeout=300, input=None):
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run([*self.ssh(user), command], capture_output=True, text=True, timeout=timeout, **stdin)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {user}: {command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def put(self, path, to):
        with open(path, "rb") as f:
            subprocess.run([*self.ssh("root"), f"cat >{to}"], stdin=f, check=True, timeout=240)

    def qmp(self, command, **arguments):
        self._qmp.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._qmp.flush()
        return self._answer()

    def cable(self, plugged):
        self.qmp("set_link", name="card", up=plugged)

    def tail(self, lines=40):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def _connect(self):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        for _ in range(200):
            try:
                self._socket.connect(f"{self.sockets}/{self.name}.qmp")
                break
            except OSError:
                if self.running.poll() is not None:
                    raise RuntimeError(f"{self.name}: QEMU ended:\n{self.running.stdout.read().decode()}") from None
                time.sleep(0.05)
        self._qmp = self._socket.makefile("rwb")
        self._qmp.readline()  # the greeting
        self.qmp("qmp_capabilities")

    def _answer(self):
        while True:
            said = json.loads(self._qmp.readline())
            if "error" in said:
                raise RuntimeError(f"{self.name}: QEMU: {said['error']['desc']}")
            if "return" in said:
                return said["return"]


def two_machines(folder):
    """A host and a guest, booting; their image and logs are in the folder."""
    made = image(folder + "/image")
    accel = accelerator(made)
    sockets = tempfile.mkdtemp(prefix="homeport-vm.")  # whose names must be short
    return [Vm(name, made, accel, folder, sockets) for name in ADDRESS]


def put_away(both):
    for one in both:
        one.kill()
    shutil.rmtree(both[0].sockets, ignore_errors=True)  # ssh removes its own as it ends
