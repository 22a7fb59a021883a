# SPDX-License-Identifier: MIT
"""The file rows: homeport beside reverse sshfs and beside the folder itself, on one tree, each in its own mount.

A candidate mounts the host's folder in the guest at a path and takes it away again. "Cold" is a fresh mount (nothing of
it in the guest's kernel or in the agents), the host's page cache warm for all alike; "warm" is the same command again."""
import socket

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
CIPHER = "aes128-gcm@openssh.com"


class Native:
    """The folder without a mount: what a local file system does. Not a peer but the ruler."""
    name = "native"

    def __init__(self, bench):
        self.bench = bench

    def mount(self, folder):
        return folder

    def umount(self):
        pass

    def side(self):
        return "host"


class Sshfs:
    """Reverse sshfs: OpenSSH's sftp-server on the host, `sshfs -o passive` in the guest, one ssh between them."""

    def __init__(self, bench, name, options):
        self.bench, self.name, self.options = bench, name, options

    def side(self):
        return "guest"

    def mount(self, folder):
        lab, point = self.bench.lab, "/home/me.guest/sshfs"
        lab.guest.cmd(["mkdir", "-p", point], user="me")
        ours, theirs = socket.socketpair()
        # SFTP has no working directory in passive mode: sshfs asks for the path itself.
        self.server = lab.host.popen([SFTP_SERVER], user="me", stdin=ours, stdout=ours)
        self.ssh = lab.host.popen(lab.guest.ssh_args("me") + ["-c", CIPHER, f"sshfs -f -o passive,idmap=user{self.options} :{folder} {point}"],
                                  user="me", stdin=theirs, stdout=theirs)
        ours.close()
        theirs.close()
        self.bench.wait(lambda: any(m[0] == point for m in lab.guest.mounts("fuse")), "sshfs to mount")
        self.point = point
        return point

    def umount(self):
        self.bench.lab.guest.cmd(["fusermount3", "-uz", self.point], user="me", check=False)
        for process in (self.ssh, self.server):
            process.terminate()
            process.wait(timeout=10)


class Homeport:
    name = "homeport"

    def __init__(self, bench):
        self.bench = bench

    def side(self):
        return "guest"

    def mount(self, folder):
        self.point = "/srv/hp"
        self.bench.homeport_start(["--mount", f"{folder}:{self.point}:w", "--no-ports"])
        return self.point

    def umount(self):
        self.bench.homeport_stop()


# name, cold, script ($D: the folder, $T: a scratch place outside of it), and what it works on: "scratch" is emptied
# before each run, "tree" is only read, "big" is one file of BIG MiB.
BIG = 256
MEMORY = 4 * BIG  # MiB: the file, one written beside it, both in the guest's kernel too
ROWS = [
    ("write, sequential", "cold", "scratch", f"dd if=/dev/zero of=$D/scratch/big bs=1M count={BIG} conv=fsync status=none"),
    ("read, sequential, cold", "cold", "big", "dd if=$D/big of=/dev/null bs=1M status=none"),
    ("read, sequential, warm", "warm", "big", "dd if=$D/big of=/dev/null bs=1M status=none"),
    ("read, random 4 KiB", "cold", "big", "fio --name=r --filename=$D/big --rw=randread --bs=4k --size=256m --io_size=32m "
     "--randseed=7 --ioengine=psync --invalidate=0 --output=/dev/null"),
    ("untar", "cold", "scratch", "tar -C $D/scratch -xf $T/tree.tar"),
    ("create 1,000 files", "cold", "scratch", "cd $D/scratch; for i in {1..1000}; do echo $i > f$i; done"),
    ("find, cold", "cold", "tree", "find $D/tree -newer /etc/passwd -size +1000k"),
    ("ls -lR, cold", "cold", "tree", "ls -lR $D/tree"),
    ("ls -lR, warm", "warm", "tree", "ls -lR $D/tree"),
    ("git status, cold", "cold", "tree", "git -C $D/tree -c core.fileMode=true status --porcelain"),
    ("grep -r, cold", "cold", "tree", "grep -r no-such-word $D/tree || true"),
    ("grep -r, warm", "warm", "tree", "grep -r no-such-word $D/tree || true"),
    ("rm -rf", "cold", "full scratch", "rm -rf $D/scratch/tree"),
]


def make_data(bench):
    """A repository of 1,500 files in 150 folders, its tar, and one big file; the same bytes in every run."""
    lab, home = bench.lab, bench.folder
    # In memory: a disk is as slow for everybody, and ext4 makes creating slow for seconds after a removal.
    lab.host.cmd(f"mkdir -p {home} && mount -t tmpfs -o size=2g,mode=755,uid=1000,gid=1000 bench {home}")
    lab.host.cmd(f"""
        mkdir -p {home}/tree {home}/scratch && cd {home}/tree
        for d in $(seq 150); do
            mkdir -p src/part$((d % 10))/unit$d
            for f in 0 1 2 3 4 5 6 7 8 9; do
                yes "line of file $f in unit $d" | head -c $((500 + (d * 131 + f * 977) % 16000)) > src/part$((d % 10))/unit$d/file$f.c
            done
        done
        git init -q . && git add -A && git -c user.name=b -c user.email=b@localhost commit -qm tree
        head -c {BIG}M /dev/urandom > {home}/big""", user="me", timeout=120)
    for side in (lab.host, lab.guest):
        side.cmd("mkdir -p /tmp/bench && chmod 777 /tmp/bench")
    lab.host.cmd(f"tar -C {home} --exclude=.git -cf /tmp/bench/tree.tar tree && cp /tmp/bench/tree.tar {home}/tree.tar", user="me")
    tar = lab.host.cmd(["cat", "/tmp/bench/tree.tar"], user="me", text=False).stdout
    with open(lab.guest.path("/tmp/bench/tree.tar"), "wb") as f:
        f.write(tar)


def run(bench, rows, rounds):
    """Samples {row: {candidate: [seconds]}}, the candidates in turn in every round, and CPU seconds alike."""
    candidates = [Native(bench), Sshfs(bench, "sshfs", ""), Homeport(bench)]
    if bench.best:
        candidates.insert(2, Sshfs(bench, "sshfs, best options", ",kernel_cache,dcache_timeout=3600"))
    samples, cpu, requests, memory = {}, {}, {}, {}
    for turn in range(rounds):
        for c in candidates[turn % len(candidates):] + candidates[:turn % len(candidates)]:
            for name, temperature, needs, script in rows:
                reset(bench, needs)
                where = c.mount(bench.folder)
                try:
                    script_here = script.replace("$D", where).replace("$T", "/tmp/bench")
                    if temperature == "warm":
                        bench.timed(c.side(), script_here)
                        bench.timed(c.side(), script_here)
                    ours = c.name == "homeport"
                    asked = bench.homeport_requests() if ours else 0
                    used = bench.cpu_so_far()
                    took = bench.timed(c.side(), script_here)
                    cpu.setdefault(name, {}).setdefault(c.name, []).append(bench.cpu_since(used))
                    samples.setdefault(name, {}).setdefault(c.name, []).append(took)
                    memory.setdefault(name, {}).setdefault(c.name, []).append(bench.memory_mib())
                    if ours:
                        requests.setdefault(name, []).append(bench.homeport_requests() - asked)
                finally:
                    c.umount()
            bench.say(f"files: round {turn + 1} of {rounds}, {c.name}")
    return samples, cpu, requests, memory


def reset(bench, needs):
    folder = bench.folder
    if "scratch" in needs:
        script = f"rm -rf {folder}/scratch && mkdir {folder}/scratch"
        if needs == "full scratch":
            script += f" && tar -C {folder}/scratch -xf /tmp/bench/tree.tar"
        bench.lab.host.cmd(script, user="me", timeout=60)
