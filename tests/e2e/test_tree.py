# SPDX-License-Identifier: MIT
"""A tree on the host and through the mount compare equal: bytes, names, nanoseconds, links, holes; both ways."""
import json

import pytest

# Makes 10,000 names below the working directory: deep, long, of any bytes, alike but for case, with links and holes.
MAKE = r"""
import os, random
rng = random.Random(11)
folders = [b"."]
alphabet = [bytes([c]) for c in range(1, 256) if c != 0x2f]
def name(k):
    kind = k % 10
    if kind == 0:
        return b"%d-" % k + b"".join(rng.choice(alphabet) for _ in range(rng.randint(1, 60)))
    if kind == 1:
        return (b"%d-" % k + b"long" * 70)[:rng.choice([254, 255])]
    if kind == 2:
        return f"{k} \u00fcml\u00e4ut \u65e5\u672c e\u0301".encode()
    if kind == 3:
        return b" %d leading and trailing " % k
    if kind == 4:
        return b"-%d\n*?[$(x)`'\"\\" % k
    if kind == 5:
        return b"CASE%d" % (k // 10)
    if kind == 6:
        return b"case%d" % (k // 10)
    return b"file%d.txt" % k
files = []
for k in range(10000):
    path = os.path.join(rng.choice(folders[-80:]) if rng.random() < .5 else rng.choice(folders), name(k))
    r = rng.random()
    if r < .06 and len(path) < 2500:
        os.mkdir(path)
        folders.append(path)
        continue
    if r < .10:
        os.symlink(rng.choice([b"nowhere", b"../..", b"/etc/passwd", b"a\xff\xfeb", b"x" * 300]), path)
    elif r < .14 and files:
        os.link(rng.choice(files), path)
        continue
    else:
        with open(path, "wb") as f:
            if r < .17:
                f.truncate(rng.randrange(1 << 22))
                f.seek(rng.randrange(1 << 22))
                f.write(b"after a hole")
            else:
                f.write(rng.randbytes(rng.choice([0, 1, 100, 4096, 4097, 20000])))
        files.append(path)
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o444, 0o400, 0o640]))
    os.utime(path, ns=(rng.randrange(2 ** 31 * 10 ** 9), rng.randrange(2 ** 31 * 10 ** 9)), follow_symlinks=False)
for k, path in enumerate(reversed(folders)):
    os.utime(path, ns=(10 ** 18 + k, 10 ** 18 + 123456789 + k))
"""

# One line an object, sorted: all that must be equal.
LIST = r"""
import hashlib, json, os, stat, sys
root = os.fsencode(sys.argv[1])
rows, groups = [], {}
for top, dirs, names in os.walk(root):
    dirs.sort()
    for n in sorted(names + dirs) + ([b"."] if top == root else []):
        path = os.path.join(top, n)
        s = os.lstat(path)
        row = [os.path.relpath(path, root).hex(), stat.S_IFMT(s.st_mode), stat.S_IMODE(s.st_mode), s.st_mtime_ns]
        if stat.S_ISREG(s.st_mode):
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOATIME", 0) if os.geteuid() == 0 else os.O_RDONLY)
            digest = hashlib.sha256()
            while data := os.read(fd, 1 << 20):
                digest.update(data)
            os.close(fd)
            row += [s.st_nlink, s.st_size, digest.hexdigest(), groups.setdefault(s.st_ino, len(groups)), s.st_blocks if len(sys.argv) > 2 else 0]
        elif stat.S_ISLNK(s.st_mode):
            row += [s.st_size, os.readlink(path).hex()]
        rows.append(row)
print(json.dumps(rows))
"""


def listing(machine, root, user="me", blocks=True):
    done = machine.cmd(["/usr/bin/python3", "-c", LIST, root] + (["blocks"] if blocks else []), user=user, timeout=120)
    return json.loads(done.stdout)


def differences(a, b):
    one, two = {r[0]: r for r in a}, {r[0]: r for r in b}
    lines = [f"{bytes.fromhex(k)!r}: {one.get(k)} / {two.get(k)}" for k in sorted(one.keys() | two.keys())
             if one.get(k) != two.get(k)]
    return "\n".join(lines[:10]) + f"\n{len(lines)} differ" if lines else ""


@pytest.mark.timeout(240)
def test_ten_thousand_names_made_on_the_host_are_equal_in_the_guest(lab, homeport, host_home):
    lab.host.cmd(f"mkdir {host_home.inside}/tree", user="me")
    lab.host.cmd(["/usr/bin/python3", "-c", MAKE], user="me", cwd=host_home.inside + "/tree", timeout=120)
    homeport.up("--mount", f"{host_home.inside}:/srv/home")
    there, here = listing(lab.host, host_home.inside + "/tree"), listing(lab.guest, "/srv/home/tree")
    assert len(there) > 9000
    assert differences(there, here) == ""


@pytest.mark.timeout(240)
def test_ten_thousand_names_made_in_the_guest_are_equal_on_the_host(lab, homeport, host_home):
    homeport.up("--mount", f"{host_home.inside}:/srv/home:w")
    lab.guest.cmd("mkdir /srv/home/tree", user="me")
    lab.guest.cmd(["/usr/bin/python3", "-c", MAKE], user="me", cwd="/srv/home/tree", timeout=200)
    lab.guest.cmd("mkdir /tmp/tree", user="me")
    lab.guest.cmd(["/usr/bin/python3", "-c", MAKE], user="me", cwd="/tmp/tree", timeout=120)
    on_host, local = listing(lab.host, host_home.inside + "/tree", blocks=False), listing(lab.guest, "/tmp/tree", blocks=False)
    assert len(on_host) > 9000
    assert differences(local, on_host) == "", "what the mount left on the host is what a local file system holds"
    assert differences(on_host, listing(lab.guest, "/srv/home/tree", blocks=False)) == ""


def test_holes_stay_holes(lab, homeport, host_home):
    homeport.up("--mount", f"{host_home.inside}:/srv/home:w")
    lab.guest.cmd("truncate -s 1G /srv/home/sparse && printf x | dd of=/srv/home/sparse bs=1 seek=500000000 conv=notrunc status=none",
                  user="me")
    blocks = int(lab.host.cmd(["stat", "-c", "%b", host_home.inside + "/sparse"]).stdout)
    assert blocks * 512 < 1 << 20
    assert int(lab.guest.cmd(["stat", "-c", "%b", "/srv/home/sparse"], user="me").stdout) == blocks
