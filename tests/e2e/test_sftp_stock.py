# SPDX-License-Identifier: MIT
"""What stock clients see: sftp, scp, sshfs and rclone, straight to the server and through a sshd's Subsystem line."""
import filecmp
import os
import shlex
import socket
import stat
import struct
import subprocess

import pytest

import native_client as nc
from conftest import wait_until
from lab import BUILD_AT, REPOSITORY
from native_client import Client, Reader, string

HOMEPORT = os.path.join(os.environ.get("HOMEPORT_BUILD") or os.path.join(REPOSITORY, "build"), "homeport")
SHARE = "/home/me.guest/share"
LAB = dict(sshd_options=[f"Subsystem sftp {BUILD_AT}/homeport sftp-server --writable {SHARE}"])


def command(path, *options):
    return shlex.join([HOMEPORT, "sftp-server", "--no-mask", *options, str(path)])


def sftp(path, *lines, options=("--writable",), check=True):
    """Runs lines of `sftp -b -`; its output."""
    done = subprocess.run(["sftp", "-q", "-b", "-", "-D", command(path, *options)], input="\n".join(lines) + "\n",
                          capture_output=True, text=True, timeout=30)
    if check and done.returncode:
        pytest.fail(done.stdout + done.stderr)
    return done.stdout + done.stderr


@pytest.fixture
def share(tmp_path):
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("inside")
    return folder


def test_sftp_does_all_it_knows(share, tmp_path):
    data = os.urandom(3_000_001)
    (tmp_path / "up").write_bytes(data)
    (tmp_path / "start").write_bytes(data[:1_000_000])
    out = sftp(share, "pwd", f"put {tmp_path}/up big", f"get big {tmp_path}/down", "mkdir d", "rename big d/big",
               "ln d/big hard", "symlink sub/file soft", "ln -s /sub/file absolute", "chmod 600 d/big", "rm hard",
               "ls -l", "cd d", "pwd", "ls -ln", "df -h", f"get /absolute {tmp_path}/through",
               f"put -p {tmp_path}/up kept", f"put {tmp_path}/start rest", f"reput {tmp_path}/up rest", "mkdir x",
               "rmdir x")
    assert (tmp_path / "down").read_bytes() == data
    assert (share / "d" / "big").read_bytes() == (share / "d" / "rest").read_bytes() == data
    assert stat.S_IMODE(os.stat(share / "d" / "big").st_mode) == 0o600
    assert os.stat(share / "d" / "big").st_nlink == 1
    assert os.readlink(share / "soft") == "sub/file"
    assert (tmp_path / "through").read_text() == "inside"
    assert os.stat(share / "d" / "kept").st_mtime == int(os.stat(tmp_path / "up").st_mtime)
    assert "Remote working directory: /\n" in out and "Remote working directory: /d\n" in out


def test_modes_of_what_is_made_obey_the_servers_umask(share, tmp_path):
    (tmp_path / "up").write_text("x")
    os.chmod(tmp_path / "up", 0o666)
    before = os.umask(0o027)
    try:
        sftp(share, "mkdir made", f"put {tmp_path}/up file")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(share / "made").st_mode) == 0o750
    assert stat.S_IMODE(os.stat(share / "file").st_mode) == 0o640


def test_the_longest_name_and_the_strangest_are_listed(share):
    names = ["n" * 255, "ä b\t", "-rf", "\\"]
    for name in names:
        (share / name).touch()
    out = sftp(share, "ls -l", "ls -1")
    for name in ["n" * 255, "-rf"]:
        assert out.count(name) == 2
    many = share / "many"
    many.mkdir()
    for i in range(1234):
        (many / f"f{i}").touch()
    assert len([line for line in sftp(share, "ls -1 many").splitlines() if "/f" in line]) == 1234


def test_a_read_only_share_is_read_only(share, tmp_path):
    (tmp_path / "up").write_text("x")
    for line in (f"put {tmp_path}/up new", "mkdir d", "rm sub/file", "rmdir sub", "rename sub s", "ln sub/file h",
                 "symlink a b", "chmod 777 sub/file", f"put {tmp_path}/up sub/file"):
        out = sftp(share, line, options=(), check=False)
        assert "ermission denied" in out, f"{line}: {out}"
    assert sorted(os.listdir(share)) == ["sub"] and (share / "sub" / "file").read_text() == "inside"
    sftp(share, f"get sub/file {tmp_path}/got", options=())


def test_scp_copies_both_ways(share, tmp_path):
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for i in range(20):
        (tree / "a" / "b" / str(i)).write_bytes(os.urandom(1000 * i))
    # scp takes a program's path, not a command line.
    wrapper = tmp_path / "server"
    wrapper.write_text(f"#!/bin/sh\nexec {command(share, '--writable')}\n")
    wrapper.chmod(0o755)
    subprocess.run(["scp", "-q", "-rp", "-D", wrapper, str(tree), "x:/copy"], check=True, timeout=30)
    subprocess.run(["scp", "-q", "-rp", "-D", wrapper, "x:/copy", str(tmp_path / "back")], check=True, timeout=30)
    for folder in (share / "copy", tmp_path / "back"):
        compared = filecmp.dircmp(tree / "a" / "b", folder / "a" / "b")
        assert len(compared.same_files) == 20 and not compared.diff_files


# ---- the wire: what no client sends but any could


def stock(path, *options):
    return Client.spawn([HOMEPORT, "sftp-server", "--no-mask", *options, str(path)], native=False)


def ask(client, kind, body=b""):
    """(type, Reader of what follows the id)."""
    client.last += 1
    client.packet(struct.pack(">BI", kind, client.last) + body)
    reader = Reader(client.receive())
    answer, number = reader.take("BI")
    assert number == client.last
    return answer, reader


def status(client, kind, body=b""):
    answer, reader = ask(client, kind, body)
    assert answer == 101
    return reader.u32()


def test_every_extension_of_openssh_that_is_announced_is_there(share):
    with stock(share, "--writable") as c:
        assert {name: value for name, value in c.extensions.items() if b"homeport" not in name} == {
            b"posix-rename@openssh.com": b"1", b"statvfs@openssh.com": b"2", b"fstatvfs@openssh.com": b"2",
            b"hardlink@openssh.com": b"1", b"fsync@openssh.com": b"1", b"lsetstat@openssh.com": b"1",
            b"limits@openssh.com": b"1", b"expand-path@openssh.com": b"1", b"home-directory": b"1"}
        answer, r = ask(c, 200, string(b"limits@openssh.com"))
        assert answer == 201 and r.take("QQQQ")[1:3] == (1 << 20, 1 << 20)
        answer, r = ask(c, 200, string(b"expand-path@openssh.com") + string(b"~/sub/../sub"))
        assert answer == 104 and r.u32() == 1 and r.string() == b"/sub"
        answer, r = ask(c, 200, string(b"home-directory") + string(b"root"))
        assert answer == 104 and r.u32() == 1 and r.string() == b"/"
        answer, r = ask(c, 200, string(b"statvfs@openssh.com") + string(b"/"))
        assert answer == 201 and len(r.data) == 5 + 11 * 8
        answer, r = ask(c, 3, string(b"/sub/file") + struct.pack(">II", 1 | 2, 0))
        handle = r.string()
        assert answer == 102
        assert status(c, 200, string(b"fsync@openssh.com") + string(handle)) == 0
        assert ask(c, 200, string(b"fstatvfs@openssh.com") + string(handle))[0] == 201
        assert status(c, 200, string(b"posix-rename@openssh.com") + string(b"/sub/file") + string(b"/f")) == 0
        assert status(c, 200, string(b"hardlink@openssh.com") + string(b"/f") + string(b"/g")) == 0
        os.symlink("nowhere", share / "l")
        assert status(c, 200, string(b"lsetstat@openssh.com") + string(b"/l") + struct.pack(">III", 8, 5, 6)) == 0
        assert os.lstat(share / "l").st_mtime == 6
        assert status(c, 200, string(b"nothing@example.com")) == 8
        assert status(c, 77) == 8


def test_a_client_that_does_not_ask_for_native_requests_gets_none(share):
    with stock(share) as c:
        assert status(c, nc.GETATTR, struct.pack(">QQ", 1, 0)) == 8


def test_paths_are_refused_once_native_requests_are_agreed_on(share):
    with Client.spawn([HOMEPORT, "sftp-server", "--no-mask", str(share)]) as c:
        for kind in (3, 7, 9, 11, 13, 14, 16, 17, 18, 19, 20):
            assert status(c, kind, string(b"/sub") * 2) == 8


def test_renaming_onto_a_file_is_refused_unless_asked_for(share):
    (share / "other").write_text("kept")
    with stock(share, "--writable") as c:
        assert status(c, 18, string(b"/sub/file") + string(b"/other")) == 4
        assert (share / "other").read_text() == "kept"
        assert status(c, 200, string(b"posix-rename@openssh.com") + string(b"/sub/file") + string(b"/other")) == 0
        assert (share / "other").read_text() == "inside"


def test_reading_at_the_end_says_so_and_past_a_handles_end_it_is_unknown(share):
    with stock(share) as c:
        _, r = ask(c, 3, string(b"/sub/file") + struct.pack(">II", 1, 0))
        handle = r.string()
        answer, r = ask(c, 5, string(handle) + struct.pack(">QI", 2, 100))
        assert answer == 103 and r.string() == b"side"
        assert status(c, 5, string(handle) + struct.pack(">QI", 6, 100)) == 1
        assert status(c, 4, string(handle)) == 0
        assert status(c, 5, string(handle) + struct.pack(">QI", 0, 100)) == 2
        assert status(c, 5, string(b"") + struct.pack(">QI", 0, 100)) == 5


@pytest.mark.parametrize("length", [0, (1 << 20) + 4097, 0xFFFFFFFF])
def test_what_is_no_packet_ends_the_stream_and_is_told_in_one_line(share, length):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen([HOMEPORT, "sftp-server", "--no-mask", str(share)], stdin=theirs, stdout=theirs,
                                   stderr=subprocess.PIPE, text=True)
        ours.sendall(struct.pack(">I", length) + b"x" * 10)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1 and err.count("\n") == 1 and err.startswith("homeport: sftp-server: input: ")


@pytest.mark.parametrize("args,status,words", [
    ([], 2, "which folder"),
    (["/", "/"], 2, "one folder"),
    (["--wirtable", "/"], 2, "--wirtable"),
    (["--sandbox=maybe", "/"], 2, "maybe"),
    (["--log-level=loud", "/"], 2, "loud"),
    (["--counters-fd=x", "/"], 2, "x"),
    (["/nonexistent/folder"], 1, "/nonexistent/folder: No such file or directory"),
    (["/etc/passwd"], 1, "/etc/passwd: Not a directory"),
])
def test_wrong_usage_is_one_line(args, status, words):
    done = subprocess.run([HOMEPORT, "sftp-server", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=10)
    assert done.returncode == status and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("homeport: ") and words in done.stderr


# ---- through sshd, and sshfs


@pytest.fixture
def guest_share(guest):
    folder = guest.path(SHARE)
    guest.cmd(f"rm -rf {SHARE}; mkdir -p {SHARE}/sub; echo inside > {SHARE}/sub/file", user="me")
    yield folder


def test_an_sshd_serves_it_by_its_subsystem_line(lab, host, guest_share, host_home):
    host_home.write("up", os.urandom(100_000))
    config = lab.ssh_config("me")
    host.cmd(["sftp", "-q", "-b", "-", "-F", config, "guest"], user="me", input="put up sub/up\nget sub/file\n")
    host.cmd(["scp", "-q", "-F", config, "guest:/sub/up", "again"], user="me")
    assert filecmp.cmp(host_home / "up", os.path.join(guest_share, "sub/up"), shallow=False)
    assert filecmp.cmp(host_home / "up", host_home / "again", shallow=False)
    assert open(host_home / "file").read() == "inside\n"


def test_rclone_works_on_it(lab, host, guest_share, host_home):
    for i in range(30):
        host_home.write(f"tree/{i % 3}/{i}", os.urandom(1000))
    key = f"{lab.dir}/ssh-me"
    identity = next(os.path.join(key, n) for n in os.listdir(key) if n.startswith("id_") and not n.endswith(".pub"))
    remote = f":sftp,host={lab.guest.address},user=me,key_file={identity},shell_type=none:"
    for args in (["copy", "tree", remote + "/copied"], ["check", "tree", remote + "/copied", "--download"]):
        host.cmd(["rclone", "--config", "/dev/null", *args], user="me", timeout=50)
    assert sum(len(files) for _, _, files in os.walk(os.path.join(guest_share, "copied"))) == 30


@pytest.fixture
def sshfs(lab):
    """sshfs -o passive in the lab's host, on its /root/mnt; what it serves is its /root/served."""
    host = lab.host
    host.cmd("mkdir -p /root/mnt /root/served/sub; echo inside > /root/served/sub/file")
    ours, theirs = socket.socketpair()
    server = host.popen([BUILD_AT + "/homeport", "sftp-server", "--no-mask", "--writable", "/root/served"],
                        stdin=theirs, stdout=theirs)
    mount = host.popen(["sshfs", "-f", "-o", "passive", "x:/", "/root/mnt"], stdin=ours, stdout=ours)
    ours.close()
    theirs.close()
    wait_until(lambda: any(m[0] == "/root/mnt" for m in host.mounts("fuse")), what="sshfs is mounted")
    yield host
    host.cmd(["umount", "-l", "/root/mnt"], check=False)
    for process in (mount, server):
        process.kill()
        process.wait()
    host.cmd("rm -r /root/mnt /root/served")


def test_sshfs_mounts_it(sshfs):
    sshfs.cmd("""set -e; cd /root/mnt
        test "$(cat sub/file)" = inside
        dd if=/dev/urandom of=big bs=100k count=50 status=none
        cmp big ../served/big
        mkdir d; mv big d/; ln -s d/big l; cmp l ../served/d/big
        chmod 640 d/big; test "$(stat -c %a ../served/d/big)" = 640
        truncate -s 1000 d/big; test "$(stat -c %s ../served/d/big)" = 1000
        touch -d @1000 d/big; test "$(stat -c %Y ../served/d/big)" = 1000
        for i in $(seq 300); do echo $i > d/$i; done; test "$(ls d | wc -l)" = 301
        rm -r d l; test "$(ls ../served)" = sub
        df . > /dev/null""", timeout=40)
