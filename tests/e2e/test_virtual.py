# SPDX-License-Identifier: MIT
"""`ownership: virtual`: owners, modes and kinds of files that an ordinary host user cannot make, recorded with each file.

What system calls do there is in test_posix_calls; here: what is on the host, and what a hostile or changed record does."""
import errno
import os
import socket
import stat
import subprocess
import tempfile
import time

import pytest

from mounted import HOST, USER, Mounted, MountedVirtual, as_id, as_user, attempt

pytestmark = pytest.mark.root

RECORD = "user.homeport.owner"
ALICE, BOB = 3101, 3102


@pytest.fixture
def top():
    with tempfile.TemporaryDirectory(prefix="homeport-virtual-") as folder:
        os.chmod(folder, 0o755)
        yield folder


@pytest.fixture
def m(top):
    with MountedVirtual(top) as mounted:
        yield mounted


def record(path):
    try:
        return os.getxattr(path, RECORD, follow_symlinks=False).decode()
    except OSError as e:
        assert e.errno == errno.ENODATA
        return None


def shown(path):
    st = os.lstat(path)
    return stat.filemode(st.st_mode), st.st_uid, st.st_gid


def write(path, text="text", mode=0o644):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
        f.write(text)
    return path


def test_what_needs_none_has_no_record(m):
    """Ordinary work of the login user leaves ordinary files, also where it gives them to itself."""
    write(m.guest + "/f")
    os.mkdir(m.guest + "/d", 0o700)
    os.symlink("f", m.guest + "/l")
    os.chown(m.guest + "/f", 0, 0)
    os.chmod(m.guest + "/f", 0o755)
    for name in ("f", "d", "l"):
        assert record(f"{m.host}/{name}") is None
        assert shown(f"{m.host}/{name}")[1:] == (USER, USER) and shown(f"{m.guest}/{name}")[1:] == (0, 0)
    assert shown(m.host + "/f")[0] == "-rwxr-xr-x"


def test_a_record_is_kept_with_the_file_and_survives_everything_but_it(top, m):
    write(m.guest + "/f")
    os.chown(m.guest + "/f", ALICE, BOB)
    os.chmod(m.guest + "/f", 0o4510)
    assert record(m.host + "/f") == f"mode=104510 uid={ALICE} gid={BOB} rdev=0:0"
    assert shown(m.host + "/f") == ("-rwx--x---", USER, USER)
    os.mkdir(m.guest + "/d")
    os.rename(m.guest + "/f", m.guest + "/d/g")
    os.link(m.guest + "/d/g", m.guest + "/h")
    assert m.unmount() == 0
    again = Mounted(top)
    again.argv = m.argv
    with again:
        assert shown(again.guest + "/d/g") == shown(again.guest + "/h") == ("-r-s--x---", ALICE, BOB)
        os.unlink(again.guest + "/h")
        os.chown(again.guest + "/d/g", 0, 0)
        os.chmod(again.guest + "/d/g", 0o640)
        assert record(again.host + "/d/g") is None, "nothing is left to be recorded"


def test_who_makes_a_file_owns_it(m):
    os.mkdir(m.guest + "/open")
    os.chmod(m.guest + "/open", 0o1777)
    for kind, make in (("f", write), ("d", os.mkdir), ("p", os.mkfifo)):
        assert as_id(ALICE, ALICE, make, f"{m.guest}/open/{kind}") == 0
        assert shown(f"{m.guest}/open/{kind}")[1:] == (ALICE, ALICE)
        assert shown(f"{m.host}/open/{kind}")[1:] == (USER, USER)
    assert as_id(BOB, BOB, write, m.guest + "/open/f") == errno.EACCES
    assert as_id(BOB, BOB, os.unlink, m.guest + "/open/f") == errno.EPERM, "the folder is sticky"
    assert as_id(ALICE, ALICE, os.unlink, m.guest + "/open/f") == 0
    assert as_id(ALICE, ALICE, os.chown, m.guest + "/open/d", BOB, -1) == errno.EPERM


def test_a_file_that_nobody_may_use_is_used_by_root_all_the_same(m):
    write(m.guest + "/shut", "text", 0)
    os.mkdir(m.guest + "/dir", 0)
    assert shown(m.guest + "/shut")[0] == "----------" and shown(m.guest + "/dir")[0] == "d---------"
    with open(m.guest + "/shut", "a") as f:
        f.write(" and more")
    write(m.guest + "/dir/f")
    assert open(m.guest + "/shut").read() == "text and more" and os.listdir(m.guest + "/dir") == ["f"]


def test_devices_fifos_and_sockets_are_empty_files_of_the_host(m):
    os.mknod(m.guest + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(m.guest + "/disk", stat.S_IFBLK | 0o600, os.makedev(259, 65537))
    os.mkfifo(m.guest + "/fifo")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(m.guest + "/socket")
        server.listen()
        client.connect(m.guest + "/socket")
        kinds = {e.name: (e.is_file(), stat.filemode(e.stat(follow_symlinks=False).st_mode)[0]) for e in os.scandir(m.guest)}
        assert kinds == {"null": (False, "c"), "disk": (False, "b"), "fifo": (False, "p"), "socket": (False, "s")}
    assert os.lstat(m.guest + "/null").st_rdev == os.makedev(1, 3)
    assert os.lstat(m.guest + "/disk").st_rdev == os.makedev(259, 65537)
    assert attempt(os.open, m.guest + "/null", os.O_RDWR) == errno.EACCES, "the mount is nodev"
    pipe = os.open(m.guest + "/fifo", os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, b"through")
    assert os.read(pipe, 100) == b"through"
    os.close(pipe)
    for e in os.scandir(m.host):
        st = e.stat(follow_symlinks=False)
        assert stat.S_ISREG(st.st_mode) and st.st_size == 0 and st.st_uid == USER
    assert record(m.host + "/disk") == "mode=060600 uid=- gid=- rdev=259:65537"


def test_what_the_hosts_user_changes_is_seen(m):
    write(m.guest + "/f", mode=0o600)
    os.chown(m.guest + "/f", ALICE, ALICE)
    os.chmod(m.host + "/f", 0o644)
    end = time.monotonic() + 5
    while shown(m.guest + "/f")[0] == "-rw-------" and time.monotonic() < end:
        time.sleep(0.05)
    assert shown(m.guest + "/f") == ("-rw-r--r--", ALICE, ALICE)


@pytest.mark.parametrize("mode", [0o444, 0o400, 0o200, 0, 0o555])
def test_what_the_hosts_user_has_shut_to_itself_is_given_and_opened_all_the_same(m, mode):
    """git's objects, say. Its attributes may be neither read nor written at first."""
    write(m.host + "/f")
    os.mkdir(m.host + "/d")
    for name in ("f", "d"):
        here, there = f"{m.guest}/{name}", f"{m.host}/{name}"
        os.chown(there, USER, USER)
        os.chmod(there, mode)
        os.chown(here, ALICE, BOB)
        assert (stat.S_IMODE(os.lstat(here).st_mode), *shown(here)[1:]) == (mode, ALICE, BOB)
        os.chmod(there, mode)
        os.chmod(here, 0o4751)
        assert (stat.S_IMODE(os.lstat(here).st_mode), *shown(here)[1:]) == (0o4751, ALICE, BOB), "its record was found"
        os.chmod(there, mode)
        os.chown(here, 0, 0)
        os.chmod(here, 0o755)
        assert record(there) is None and stat.S_IMODE(os.stat(there).st_mode) == 0o755
    os.chown(m.host + "/f", BOB, BOB)
    os.chmod(m.host + "/f", mode)
    assert attempt(os.chown, m.guest + "/f", ALICE, ALICE) in (errno.EPERM, errno.EACCES), "who is not its owner"
    assert shown(m.host + "/f")[1:] == (BOB, BOB) and stat.S_IMODE(os.stat(m.host + "/f").st_mode) == mode


def test_what_is_shut_stays_so_where_there_is_no_room_for_its_record(top):
    os.mkdir(top + "/host")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=8,mode=777", "full", top + "/host"], check=True)
    try:
        with MountedVirtual(top) as m:
            write(m.host + "/f")
            os.chown(m.host + "/f", USER, USER)
            os.chmod(m.host + "/f", 0o404)
            while not attempt(write, f"{m.host}/{len(os.listdir(m.host))}"):
                pass
            assert attempt(os.chown, m.guest + "/f", ALICE, ALICE) == errno.ENOSPC
            assert shown(m.host + "/f") == ("-r-----r--", USER, USER)
    finally:
        subprocess.run(["umount", top + "/host"], check=True)


@pytest.mark.parametrize("copy", ["cp -a {0}/. {1}", "rsync -aX {0}/ {1}", "tar -C {0} --xattrs -cf - . | tar -C {1} --xattrs -xpf -"])
def test_what_the_host_copies_with_its_attributes_is_the_same_in_the_guest(m, copy):
    os.mkdir(m.guest + "/from")
    write(m.guest + "/from/su"), os.chmod(m.guest + "/from/su", 0o4711)
    write(m.guest + "/from/hers"), os.chown(m.guest + "/from/hers", ALICE, BOB)
    os.mknod(m.guest + "/from/null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.mkdir(m.guest + "/from/d"), os.chown(m.guest + "/from/d", BOB, ALICE), os.chmod(m.guest + "/from/d", 0o3770)
    os.mkdir(m.host + "/to"), os.chown(m.host + "/to", USER, USER)
    subprocess.run([*as_user(), "sh", "-ec", copy.format(m.host + "/from", m.host + "/to")], check=True, timeout=30)
    for name in os.listdir(m.guest + "/from"):
        assert shown(f"{m.guest}/to/{name}") == shown(f"{m.guest}/from/{name}"), name
    assert os.stat(m.guest + "/to/null").st_rdev == os.makedev(1, 3)


def test_the_guest_neither_sees_nor_makes_records(m):
    write(m.guest + "/f")
    os.chown(m.guest + "/f", ALICE, ALICE)
    there = record(m.host + "/f")
    assert os.listxattr(m.guest + "/f") == []
    assert attempt(os.getxattr, m.guest + "/f", RECORD) == errno.ENODATA
    assert attempt(os.setxattr, m.guest + "/f", RECORD, b"mode=100644 uid=0 gid=0 rdev=0:0") == errno.EPERM
    assert attempt(os.removexattr, m.guest + "/f", RECORD) == errno.EPERM
    assert record(m.host + "/f") == there


@pytest.mark.parametrize("value", [
    b"", b"\0" * 50, b"x" * 5000, b"mode=104755 uid=0 gid=0 rdev=0:0\0", b"mode=040755 uid=0 gid=0 rdev=0:0",
    b"mode=120777 uid=0 gid=0 rdev=0:0", b"mode=104755 uid=-0 gid=0 rdev=0:0", b"mode=104755 uid=99999999999 gid=0 rdev=0:0",
    b"mode=104755 uid=%n gid=%s rdev=0:0"])
def test_what_is_no_record_counts_for_nothing(m, value):
    """Someone's archive, unpacked on the host with its attributes."""
    write(m.host + "/f", mode=0o640)
    os.chown(m.host + "/f", USER, USER)
    if len(value) > 4000 and os.statvfs(m.host).f_bsize < 8192:
        value = value[:2000]
    os.setxattr(m.host + "/f", RECORD, value)
    assert shown(m.guest + "/f") == ("-rw-r-----", 0, 0) and open(m.guest + "/f").read() == "text"
    os.chown(m.guest + "/f", ALICE, -1)
    assert record(m.host + "/f") == f"mode=100640 uid={ALICE} gid=- rdev=0:0"


def test_a_folder_keeps_its_group(m):
    os.mkdir(m.guest + "/d")
    os.chown(m.guest + "/d", 0, ALICE)
    os.chmod(m.guest + "/d", 0o2777)
    assert as_id(BOB, BOB, write, m.guest + "/d/f") == as_id(BOB, BOB, os.mkdir, m.guest + "/d/e") == 0
    assert shown(m.guest + "/d/f") == ("-rw-r--r--", BOB, ALICE)
    assert shown(m.guest + "/d/e") == ("drwxr-sr-x", BOB, ALICE)


def test_set_id_bits_go_with_a_write(m):
    for name, change in (("w", lambda p: open(p, "a").write("x")), ("t", lambda p: os.truncate(p, 1)),
                         ("o", lambda p: open(p, "w").close()), ("c", lambda p: os.chown(p, -1, BOB))):
        path = write(f"{m.guest}/{name}")
        os.chown(path, BOB, BOB)
        os.chmod(path, 0o6775)
        assert shown(path)[0] == "-rwsrwsr-x" and shown(m.host + "/" + name)[0] == "-rwxrwxr-x"
        assert as_id(BOB, BOB, change, path) == 0
        assert shown(path)[0] == "-rwxrwxr-x", name


def test_without_room_for_the_record_nothing_is_made(top):
    """tmpfs counts extended attributes against its inodes: with one left there is a file, and no record."""
    os.mkdir(top + "/host")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=8,mode=777", "full", top + "/host"], check=True)
    try:
        with MountedVirtual(top) as m:
            os.mkdir(m.guest + "/open")
            os.chmod(m.guest + "/open", 0o777)
            while not attempt(write, f"{m.host}/open/{len(os.listdir(m.host + '/open'))}"):
                pass
            os.unlink(m.host + "/open/0")
            before = sorted(os.listdir(m.host + "/open"))
            assert attempt(write, m.guest + "/open/mine") == 0
            os.unlink(m.guest + "/open/mine")
            for make in (write, os.mkdir, os.mkfifo):
                assert as_id(ALICE, ALICE, make, m.guest + "/open/new") == errno.ENOSPC
                assert sorted(os.listdir(m.host + "/open")) == before
    finally:
        subprocess.run(["umount", top + "/host"], check=True)


def test_a_file_system_that_cannot_keep_records_is_refused(top):
    os.mkdir(top + "/host")
    subprocess.run(["mount", "-t", "ramfs", "none", top + "/host"], check=True)
    try:
        run = subprocess.run([HOST, "sftp-server", "--ownership=virtual", top + "/host"], input="", capture_output=True,
                             text=True, timeout=10)
        assert run.returncode == 1
        assert run.stderr.endswith(f"sftp-server: {top}/host: its file system has no user extended attributes, which "
                                   "--ownership=virtual records owners in\n")
    finally:
        subprocess.run(["umount", top + "/host"], check=True)


def test_what_is_not_virtual_is_said(top):
    run = subprocess.run([HOST, "sftp-server", "--ownership=mine", top], input="", capture_output=True, text=True, timeout=10)
    assert (run.returncode, run.stderr.splitlines()) == (2, ["homeport: sftp-server: --ownership is host or virtual, not: "
                                                             "mine; see homeport sftp-server --help"])


def test_a_tree_of_all_kinds_is_unpacked_by_root_and_packed_the_same(top, m):
    """As `apt --root` and container images do: tar, with owners, modes, devices and attributes, there and back."""
    src = top + "/src"
    os.makedirs(src + "/bin"), os.makedirs(src + "/dev"), os.makedirs(src + "/var/spool")
    write(src + "/bin/su", "#!/bin/sh\n", 0o755), os.chmod(src + "/bin/su", 0o4755)
    write(src + "/bin/wall", "x", 0o755), os.chown(src + "/bin/wall", 0, 5), os.chmod(src + "/bin/wall", 0o2755)
    write(src + "/shadow", "x", 0o640), os.chown(src + "/shadow", 0, 42)
    os.mknod(src + "/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(src + "/dev/sda", stat.S_IFBLK | 0o660, os.makedev(8, 0)), os.chown(src + "/dev/sda", 0, 6)
    os.mkfifo(src + "/dev/initctl", 0o600)
    os.symlink("bin/su", src + "/link")
    os.link(src + "/shadow", src + "/shadow-")
    os.chown(src + "/var/spool", 8, 8), os.chmod(src + "/var/spool", 0o3775)
    os.setxattr(src + "/shadow", "user.note", b"kept")
    script = 'tar -C "$0" --xattrs --numeric-owner -cf - . | tar -C "$1" --xattrs --numeric-owner -xpf -'
    run = subprocess.run(["sh", "-c", script, src, m.guest], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and not run.stderr, run.stderr

    def listing(folder):
        lines = subprocess.run(["sh", "-c", "cd \"$0\" && find . ! -name . \\( -type d -printf '%P %M %U:%G\\n' -o -printf "
                                "'%P %M %U:%G %n %s %l\\n' \\) | sort", folder], capture_output=True, text=True, check=True)
        return lines.stdout

    assert listing(m.guest) == listing(src)
    assert os.lstat(m.guest + "/dev/sda").st_rdev == os.makedev(8, 0)
    assert os.getxattr(m.guest + "/shadow", "user.note") == b"kept"
    packed = subprocess.run(["rsync", "-aHXn", "--devices", "--specials", "--delete", "--itemize-changes", src + "/",
                             m.guest + "/"], capture_output=True, text=True, timeout=60)
    assert packed.stdout in ("", ".d..t...... ./\n"), packed.stdout
    for folder, _, files in os.walk(m.host):
        for name in files:
            st = os.lstat(f"{folder}/{name}")
            assert st.st_uid == USER and not st.st_mode & 0o6000, "nothing of the host is set-id or another's"


def test_as_the_configuration_says(homeport, guest, host_home):
    """The login user is no root there: who becomes it makes and gives away files; a mount beside it does not."""
    for place in ("a/b/f", "c/f"):
        host_home.write(place, "x")
    home = host_home.inside
    homeport.write_config("guest", f"ssh: {{configFile: {homeport.lab.ssh_config()}}}\nmounts:\n"
                          f"- location: ~/a\n  mountPoint: {home}/m\n  writable: true\n  ownership: virtual\n"
                          f"- location: ~/c\n  mountPoint: {home}/m/n\n  writable: true\n")
    homeport.up("--name", "guest")
    script = "cd {0}/m && touch new && chown 0:42 new b/f && chmod 4750 new && mkdir -m 700 root && stat -c %u:%g:%a new b/f root"
    assert guest.cmd(["sh", "-ec", script.format(home)]).stdout == "0:42:4750\n0:42:644\n0:0:700\n"
    assert guest.cmd(["sh", "-c", f"cd {home}/m; touch mine; stat -c %U:%a mine; cat new; ls root"], user="me", check=False).stdout == (
        "me:644\n")
    assert guest.cmd(["chown", "0:0", f"{home}/m/n/f"], check=False).returncode
    assert record(host_home / "a/new") == "mode=104750 uid=0 gid=42 rdev=0:0"
    assert record(host_home / "a/mine") is None
    assert shown(host_home / "a/root")[0] == "drwx------"
    assert "  ownership: virtual\n" in homeport.run("config", "show", "guest").stdout
