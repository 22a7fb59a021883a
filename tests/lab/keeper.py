# SPDX-License-Identifier: MIT
"""The keeper: makes the two machines of a lab out of namespaces, and holds them until it ends.

A lab is two machines, "host" and "guest", joined by one veth cable. Each is a pid, mount, network, uts and ipc
namespace whose pid 1 is a small reaper forked by the keeper:

    whoever asked (a test, the demo, the bench)
      └ keeper            SIGTERM when its parent dies, or when the lab is taken down
          ├ host  pid 1   SIGKILL when the keeper dies: the kernel then ends every process of the namespace,
          └ guest pid 1   and with the last process its mounts, interfaces and addresses

So nothing has to be undone by hand and nothing can be forgotten, however the asker ends. The cable is made inside
the namespaces: the machine's own network, mounts and processes are never touched, and all labs use the same addresses.

Each machine has its own root: an overlay of this machine's `/` with a tmpfs on top, so that whatever is installed here
is installed there and whatever is written there is gone with it. /home, /root, /tmp, /run, /dev, /proc and /sys are
its own. The host keeps this machine's /tmp (to exchange files with the tests) and has its homes on a real disk, below
the lab's folder; with `real_host` it keeps this machine's whole file tree, users and homes (the demo).
"""
import ctypes
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import traceback

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000)
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
BUILD_AT = "/opt/homeport"  # where both machines see what is built


def check(result, what):
    if result != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"{what}: {os.strerror(err)}")


def mount(source, target, fstype=None, flags=0, options=None):
    enc = [s.encode() if s is not None else None for s in (source, target, fstype)]
    check(libc.mount(enc[0], enc[1], enc[2], ctypes.c_ulong(flags), options.encode() if options else None),
          f"mount {fstype or 'bind'} on {target}")


def tmpfs(target, mode="755"):
    os.makedirs(target, exist_ok=True)
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode}")


def bind(source, target):
    os.makedirs(target, exist_ok=True)
    mount(source, target, None, MS_BIND)


def write(path, text, mode=0o644, owner=(0, 0)):
    with open(path, "w") as f:
        os.fchmod(f.fileno(), mode)
        f.write(text)
    os.chown(path, *owner)


# ------------------------------------------------------------------------------------------------ a machine's inside


def make_dev(root):
    """A /dev of the machine's own: this machine's /dev/fuse may be closed to ordinary users."""
    dev = root + "/dev"
    mount("dev", dev, "tmpfs", MS_NOSUID, "mode=755")
    nodes = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
             "fuse": (10, 229)}
    for name, number in nodes.items():
        os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(*number))
        os.chmod(f"{dev}/{name}", 0o666)
    tmpfs(dev + "/shm", "1777")
    os.mkdir(dev + "/pts")
    mount("devpts", dev + "/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    os.symlink("pts/ptmx", dev + "/ptmx")
    for name, target in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        os.symlink(target, f"{dev}/{name}")


def make_users(root, users):
    """Replaces the ordinary users of the copied /etc by the machine's own. "*" is no password, yet not locked."""
    def kept(name):
        rows = open(f"{root}/etc/{name}").read().splitlines()
        return [r for r in rows if r.count(":") > 2 and not 1000 <= int(r.split(":")[2]) < 60000
                and r.split(":")[0] not in users]

    people = {n: u for n, u in users.items() if n != "root"}
    write(root + "/etc/passwd", "".join(r + "\n" for r in kept("passwd") if not r.startswith("root:"))
          + "".join(f"{n}:x:{u['uid']}:{u['uid']}::{u['home']}:/bin/bash\n" for n, u in users.items()))
    write(root + "/etc/group", "".join(r + "\n" for r in kept("group"))
          + "".join(f"{n}:x:{u['uid']}:\n" for n, u in people.items()))
    names = [r.split(":")[0] for r in open(root + "/etc/passwd")]
    write(root + "/etc/shadow", "".join(f"{n}:*:19000:0:99999:7:::\n" for n in names), 0o640)
    sudo = [n for n, u in users.items() if u.get("sudo")]
    write(root + "/etc/sudoers", 'Defaults env_keep += "GCOV_PREFIX GCOV_PREFIX_STRIP"\n'
          'Defaults secure_path="/usr/local/bin:/usr/sbin:/usr/bin"\n'
          "root ALL=(ALL:ALL) ALL\n" + "".join(f"{n} ALL=(ALL:ALL) NOPASSWD: ALL\n" for n in sudo), 0o440)
    for name, user in users.items():
        os.makedirs(root + user["home"], exist_ok=True)
        os.chown(root + user["home"], user["uid"], user["uid"])
        os.chmod(root + user["home"], 0o700 if name == "root" else 0o755)


def make_root(plan):
    """The machine's own root; afterwards this process and its children live in it."""
    base = f"{plan['dir']}/{plan['name']}"
    tmpfs(base + "/mnt")
    upper, work, root = (f"{base}/mnt/{d}" for d in ("upper", "work", "root"))
    for d in (upper, work, root):
        os.mkdir(d)
    if plan["name"] == "guest":
        # Empty without being a mount: a mount of the host's may go there, and it would not go upon another.
        os.mkdir(upper + "/root", 0o700)
        os.setxattr(upper + "/root", "trusted.overlay.opaque", b"y")
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    if plan["name"] == "host":
        tmpfs(root + "/root")
    for d in ("/home", "/run", "/mnt", "/srv", "/var/tmp") + tuple(plan["hide"]):
        if d != "/root" and os.path.isdir(root + d):
            tmpfs(root + d, "1777" if d == "/var/tmp" else "755")
    tmpfs(root + "/run/lock", "1777")
    tmpfs(root + "/run/user")
    if plan["name"] == "host":
        for shared in {"/tmp", os.path.dirname(plan["dir"])}:
            bind(shared, root + shared)
        bind(base + "/home", root + "/home")
        bind(base + "/root", root + "/root")
        if not os.path.isdir(root + plan["repository"]):
            bind(plan["repository"], root + plan["repository"])
    else:
        tmpfs(root + "/tmp", "1777")
    bind(plan["build"], root + BUILD_AT)
    make_dev(root)
    make_users(root, plan["users"])
    write(root + "/etc/hostname", plan["hostname"] + "\n")
    write(root + "/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {plan['hostname']}\n")
    write(root + "/etc/fuse.conf", "user_allow_other\n" if plan["user_allow_other"] else "")
    if plan["guest_binary"]:
        link = root + "/usr/local/bin/homeport-guest"
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(BUILD_AT + "/homeport-guest", link)

    os.mkdir(root + "/.old")
    subprocess.run(["pivot_root", root, root + "/.old"], check=True)
    os.chdir("/")


def make_kernel_views():
    """Fresh /proc and /sys: they show the namespaces of whoever mounts them. After the pivot, as the kernel lets a
    process mount them only where they are visible already."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # As a VM of today has it, wherever it is here. Bound: mounted anew, this machine's cgroup2 would get other options.
    for place in ("/.old/sys/fs/cgroup/unified", "/.old/sys/fs/cgroup"):
        if os.path.exists(place + "/cgroup.controllers"):
            mount(place, "/sys/fs/cgroup", None, MS_BIND)
            break


def machine_inside(plan):
    """pid 1 of a machine, up to the point where it is ready."""
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    name = plan["hostname"].encode()
    check(libc.sethostname(name, len(name)), "sethostname")
    if plan["own_root"]:
        make_root(plan)
        make_kernel_views()
        check(libc.umount2(b"/.old", 2), "umount")
        os.rmdir("/.old")
    else:
        make_kernel_views()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    set_sysctl("net/ipv4/tcp_congestion_control", "reno")  # bbr, where it is the default, distorts a veth
    set_sysctl("net/ipv4/ping_group_range", "0 2147483647")


def set_sysctl(name, value):
    try:
        with open("/proc/sys/" + name, "w") as f:
            f.write(value)
    except OSError:
        pass  # not every kernel has or allows each; none is needed for what the lab promises


def reap_forever():
    """What is left for pid 1 to do. A handler and a wake-up pipe, as children inherit a blocked signal."""
    r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(w, warn_on_full_buffer=False)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        select.select([r], [], [])
        try:
            os.read(r, 4096)
        except BlockingIOError:
            pass


def machine_start(plan):
    """Forks a machine's pid 1 and waits until it is ready. Returns its pid as seen from here."""
    r, w = os.pipe()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    check(libc.unshare(CLONE_NEWPID), "unshare")
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            signal.set_wakeup_fd(-1)
            for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(sig, signal.SIG_DFL)
            machine_inside(plan)
            os.write(w, b"ready")
            os.close(w)
            reap_forever()
        except BaseException:
            os.write(w, traceback.format_exc().encode())
            os._exit(1)
    check(libc.setns(own, CLONE_NEWPID), "setns")
    os.close(own)
    os.close(w)
    with os.fdopen(r, "rb") as pipe:
        said = pipe.read().decode()
    if said != "ready":
        raise RuntimeError(f"the lab's {plan['name']} could not be made:\n{said}")
    return pid


# --------------------------------------------------------------------------------------------------- the lab as a whole


def inside(pid, *argv, **kw):
    """Runs a command in all namespaces of a machine, as its root."""
    return subprocess.run(["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "--", *argv], check=True,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, **kw)


def in_net(pid, *argv):
    """Runs a command in a machine's network alone: pids named in it are those seen from here."""
    subprocess.run(["nsenter", "-t", str(pid), "-n", "--", *argv], check=True, stdin=subprocess.DEVNULL)


def make_cable(state):
    host, guest = state["host"]["pid"], state["guest"]["pid"]
    in_net(host, "ip", "link", "add", "eth0", "address", state["host"]["mac"], "type", "veth",
           "peer", "name", "eth0", "address", state["guest"]["mac"], "netns", str(guest))
    for pid, side in ((host, "host"), (guest, "guest")):
        in_net(pid, "ip", "address", "add", state[side]["address"] + "/24", "dev", "eth0")
        if os.path.exists("/proc/sys/net/ipv6"):
            in_net(pid, "ip", "address", "add", state[side]["address6"] + "/64", "dev", "eth0", "nodad")
        in_net(pid, "ip", "link", "set", "eth0", "up")


def make_keys(state, want):
    """The guest's host key, a key for each host user that may log in as anybody there, and what `ssh -F` needs."""
    keys = state["dir"] + "/keys"
    os.mkdir(keys, 0o700)
    new_key(keys + "/host")
    host_key = " ".join(open(keys + "/host.pub").read().split()[:2])
    known = "".join(f"{state['guest'][a]} {host_key}\n" for a in ("address", "address6"))
    authorized = ""
    for name, user in want["ssh_users"].items():
        folder = f"{state['dir']}/ssh-{name}"
        os.mkdir(folder, 0o700)
        new_key(folder + "/id_ed25519")
        authorized += open(folder + "/id_ed25519.pub").read()
        write(folder + "/known_hosts", known)
        write(folder + "/config", ssh_config(state, folder))
        for path in [folder] + [f"{folder}/{f}" for f in os.listdir(folder)]:
            os.chown(path, user["uid"], user.get("gid", user["uid"]))
    return authorized


def new_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", path], check=True)


def ssh_config(state, folder):
    text = ""
    for alias, address, user in (("guest", "address", "me"), ("guest6", "address6", "me"),
                                 ("guest-root", "address", "root"), ("guest-plain", "address", "plain")):
        text += f"Host {alias}\n    HostName {state['guest'][address]}\n    User {user}\n\n"
    return text + (f"Host *\n    IdentityFile {folder}/id_ed25519\n    IdentitiesOnly yes\n"
                   f"    UserKnownHostsFile {folder}/known_hosts\n    GlobalKnownHostsFile /dev/null\n"
                   "    StrictHostKeyChecking yes\n    BatchMode yes\n")


def make_sshd(state, want, authorized):
    root = f"/proc/{state['guest']['pid']}/root"
    shutil.copy(state["dir"] + "/keys/host", root + "/etc/ssh/lab_host_key")
    options = list(want["sshd_options"])
    if want["env"]:
        options.append("SetEnv " + " ".join(f'"{k}={v}"' for k, v in want["env"].items()))
    if not any(o.lower().startswith("subsystem sftp ") for o in options):  # sshd refuses a second one
        options.append("Subsystem sftp internal-sftp")
    write(root + "/etc/ssh/sshd_config", "".join(o + "\n" for o in options)
          + "HostKey /etc/ssh/lab_host_key\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
          "UseDNS no\nMaxStartups 1000\nMaxSessions 100\nPidFile /run/sshd.pid\n")
    os.mkdir(root + "/run/sshd", 0o755)
    for user in state["guest"]["users"].values():
        folder = root + user["home"] + "/.ssh"
        os.mkdir(folder, 0o700)
        write(folder + "/authorized_keys", authorized, 0o600, (user["uid"], user["uid"]))
        os.chown(folder, user["uid"], user["uid"])
    inside(state["guest"]["pid"], "/usr/sbin/sshd", "-E", "/var/log/sshd.log")


def make_lab(want):
    """Makes everything `want` asks for; returns the state a Lab object works from."""
    state = {"dir": want["dir"], "keeper": os.getpid()}
    shared = {k: want[k] for k in ("dir", "build", "repository", "user_allow_other", "hide")}
    for number, name in ((1, "host"), (2, "guest")):
        base = f"{want['dir']}/{name}"
        os.mkdir(base)
        for d in ("mnt", "home", "root"):
            os.mkdir(f"{base}/{d}")
        plan = dict(shared, name=name, hostname=want[name + "_name"], users=want[name + "_users"],
                    own_root=name == "guest" or not want["real_host"],
                    guest_binary=name == "guest" and want["guest_binary"])
        state[name] = {"pid": machine_start(plan), "address": f"10.77.0.{number}", "address6": f"fd77::{number}",
                       "mac": f"02:77:00:00:00:0{number}", "users": plan["users"]}
    make_cable(state)
    make_sshd(state, want, make_keys(state, want))
    return state


def take_down(state):
    for name in ("host", "guest"):
        pid = state.get(name, {}).get("pid")
        if pid:
            os.kill(pid, signal.SIGKILL)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    shutil.rmtree(state["dir"], ignore_errors=True)


def main():
    """Reads what is wanted as JSON on stdin, answers one line of JSON, and holds the lab until SIGTERM."""
    want = json.load(sys.stdin)
    stop_r, stop_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    # By the wake-up pipe: a handler of Python's own runs only after the select() that the signal came too early for.
    signal.set_wakeup_fd(stop_w)
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, lambda *_: None)
    if want["parent"]:
        check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM), "prctl")
        if os.getppid() != want["parent"]:
            sys.exit(1)
    state = {"dir": want["dir"]}
    try:
        state = make_lab(want)
        answer = state
    except Exception as err:
        answer = {"error": getattr(err, "stderr", None) or str(err)}
    with open(want["dir"] + "/state.json", "w") as f:
        json.dump(answer, f)
    print(json.dumps(answer), flush=True)
    if "error" not in answer:
        os.close(1)
        select.select([stop_r], [], [])
    take_down(state)


if __name__ == "__main__":
    main()
