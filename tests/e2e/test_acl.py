# SPDX-License-Identifier: MIT
"""`acl: true`: POSIX ACLs of the host hold in the guest as on a local folder: set, inherited, masked, removed, copied, and
obeyed; what the host changes shows within a second; whom the guest does not know keeps what it has on the host."""
import errno
import os
import shutil
import struct
import subprocess
import tempfile
import time

import pytest

import native_client as native
from conftest import open_to_all
from mounted import HOST, Mounted
from test_owners import ME, as_id, attempt, make

pytestmark = pytest.mark.root

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER_TAG, GROUP_OBJ, GROUP_TAG, MASK, OTHER = 1, 2, 4, 8, 16, 32
BOB, ANN, PALS = 1234, 4321, 2345


@pytest.fixture(scope="module")
def folders():
    """A local folder and a mounted one, of root on both sides."""
    with tempfile.TemporaryDirectory(prefix="homeport-acl-") as top:
        os.chmod(top, 0o755)
        os.mkdir(top + "/local")
        with Mounted(top + "/mounted", options=["-o", "acl"], server=["--acl"]) as m:
            yield top + "/local", m.guest, m


def both(folders, name):
    """The local folder and the mounted one, each with a file and a folder of ME's."""
    local, guest, m = folders
    for d in (f"{local}/{name}", f"{m.host}/{name}"):
        os.makedirs(d + "/dir")
        os.chown(d, ME, ME), os.chown(d + "/dir", ME, ME), os.chmod(d, 0o755)
        make(d + "/file", ME, ME)
        make(d + "/group", ME, PALS, 0o2755)
        make(d + "/roots", 0, 0)
    return f"{local}/{name}", f"{guest}/{name}"


def sh(script, cwd, user=ME):
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    done = subprocess.run([*become, "sh", "-c", script], cwd=cwd, capture_output=True, text=True, timeout=50,
                          env={**os.environ, "LC_ALL": "C"})
    return done.returncode, done.stdout, done.stderr


def tree(d):
    return sh("getfacl -nRp . ; find . | sort | xargs stat -c '%n %A %u %g'", d, 0)


SCRIPTS = {
    "set": f"setfacl -m u:{BOB}:rw,g:{PALS}:r file; getfacl -n file; stat -c %A file",
    "set again": f"setfacl -m u:{BOB}:rw file; setfacl -m u:{BOB}:r,u:{ANN}:- file; getfacl -n file; stat -c %A file",
    "mask": f"setfacl -m u:{BOB}:rwx file; setfacl -m m::r file; stat -c %A file; getfacl -n file",
    "chmod": f"setfacl -m u:{BOB}:rwx,g::rx file; chmod g=w file; stat -c %A file; getfacl -n file; chmod 600 file; "
             "getfacl -n file; chmod 777 file; getfacl -n file",
    "remove one": f"setfacl -m u:{BOB}:rw,u:{ANN}:r file; setfacl -x u:{BOB} file; getfacl -n file; stat -c %A file",
    "remove all": f"setfacl -m u:{BOB}:rw file; setfacl -b file; getfacl -n file; stat -c %A file; ls -l file | cut -c 1-11",
    "remove the default": f"setfacl -d -m u:{BOB}:rwx dir; setfacl -k dir; getfacl -n dir; mkdir dir/sub; stat -c %A dir/sub",
    "minimal": "setfacl -m u::rw,g::-,o::r file; stat -c %A file; getfattr -m - file",
    "listed": f"setfacl -m u:{BOB}:r file; setfacl -d -m u:{BOB}:r dir; getfattr -h -m - file dir | sort",
    "inherited": f"setfacl -d -m u:{BOB}:rwx,g::rx,o::- dir; for u in 000 022 077 777; do (umask $u; mkdir dir/d$u; "
                 "mkdir -m 711 dir/m$u; touch dir/f$u; mkfifo dir/p$u; ln -s x dir/l$u); done; getfacl -nRP dir; stat -c %A dir/*",
    "inherited deep": f"setfacl -d -m u:{BOB}:rwx,m::rx dir; umask 027; mkdir -p dir/a/b/c; echo x > dir/a/b/c/f; "
                      "cp file dir/a/copy; getfacl -nR dir",
    "umask": "for u in 000 022 077 777; do (umask $u; mkdir d$u; touch f$u; mkfifo p$u; : > c$u; mkdir -m 3777 s$u); done; stat -c '%n %A' *",
    "umask where there is another acl": f"setfacl -m u:{BOB}:rwx dir; umask 027; touch dir/f; mkdir dir/d; stat -c %A dir/*",
    "set-group-id": f"setfacl -m u:{BOB}:r group; stat -c %A group; getfacl -n group",
    "not the owner": f"setfacl -m u:{BOB}:r roots; setfacl -b roots; getfacl -n roots",
    "no default of a file": f"setfacl -d -m u:{BOB}:r file; getfacl -n file",
    "link": f"ln -s file link; setfacl -m u:{BOB}:r link; getfacl -n link file",
    "cp -a": f"setfacl -m u:{BOB}:rw file; setfacl -d -m u:{ANN}:rx dir; setfacl -m g:{PALS}:x dir; touch dir/in; "
             "mkdir to; cp -a file dir to; getfacl -nR to",
    "mv": f"setfacl -m u:{BOB}:rw file; mv file dir/moved; getfacl -n dir/moved",
    "saved and restored": f"setfacl -m u:{BOB}:rw file; setfacl -d -m u:{ANN}:rx dir; getfacl -R . > /tmp/homeport-acl-$$; "
                          "setfacl -bR .; setfacl --restore=/tmp/homeport-acl-$$; rm /tmp/homeport-acl-$$; getfacl -nR .",
}


@pytest.mark.parametrize("user", [0, ME])
@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_a_local_folder(folders, name, user):
    local, guest = both(folders, f"{name} {user}")
    expected = sh(SCRIPTS[name], local, user)
    assert sh(SCRIPTS[name], guest, user) == expected
    seen = tree(local)
    assert tree(guest) == seen
    assert tree(guest.replace(folders[1], folders[2].host)) == seen, "and so it is on the host"


@pytest.mark.parametrize("user", [0, ME])
def test_rsync_carries_them_there_and_back(folders, user):
    local, guest = both(folders, f"rsync-{user}")
    assert sh(f"setfacl -m u:{BOB}:rw file; setfacl -d -m u:{ANN}:rx dir; touch dir/in; setfacl -m g:{PALS}:r dir/in", local, user)[0] == 0
    assert sh(f"rsync -aA {local}/dir {local}/file {guest}/sent/", "/", user) == (0, "", "")
    assert sh(f"rsync -aA {guest}/sent/ {local}/back/", "/", user) == (0, "", "")
    for there in (f"{guest}/sent", f"{local}/back"):
        assert sh("getfacl -nR dir file", there, user) == sh("getfacl -nR dir file", local, user)


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, who) for tag, perm, who in entries)


NONE = 0xffffffff


def test_each_call_answers_as_locally(folders):
    results = []
    for d in both(folders, "calls"):
        fd = os.open(d + "/dir", os.O_RDONLY)
        results.append([
            attempt(os.getxattr, d + "/file", ACCESS), attempt(os.getxattr, d + "/dir", DEFAULT), attempt(os.getxattr, d + "/file", DEFAULT),
            attempt(os.setxattr, d + "/file", ACCESS, b"nonsense"), attempt(os.setxattr, d + "/file", ACCESS, b""),
            attempt(os.setxattr, d + "/file", ACCESS, acl((USER_OBJ, 6, NONE), (USER_TAG, 7, BOB), (GROUP_OBJ, 4, NONE), (OTHER, 4, NONE))),
            attempt(os.setxattr, d + "/file", ACCESS, acl((OTHER, 4, NONE), (USER_OBJ, 6, NONE), (GROUP_OBJ, 4, NONE))),
            attempt(os.setxattr, d + "/file", DEFAULT, acl((USER_OBJ, 6, NONE), (GROUP_OBJ, 4, NONE), (OTHER, 4, NONE))),
            attempt(os.setxattr, fd, DEFAULT, acl((USER_OBJ, 6, NONE), (GROUP_OBJ, 4, NONE), (OTHER, 4, NONE))),
            len(os.getxattr(fd, DEFAULT)), attempt(os.removexattr, fd, DEFAULT), attempt(os.removexattr, fd, DEFAULT),
            attempt(os.removexattr, d + "/file", ACCESS), attempt(os.setxattr, d + "/file", "system.other", b"x"),
        ])
        os.close(fd)
    assert results[0] == results[1]


def open_for(path, flags):
    os.close(os.open(path, flags))


def test_a_third_user_may_what_the_acl_says(folders):
    """In the guest, whose kernel decides: the server is root and may all."""
    results = []
    for d in both(folders, "third"):
        subprocess.run(["setfacl", "-m", f"u:{BOB}:rw,u:{ANN}:-,g:{PALS}:r", d + "/file"], check=True)
        subprocess.run(["setfacl", "-m", f"u:{BOB}:wx,o::-", d + "/dir"], check=True)
        results.append([as_id(who, group, open_for, d + "/file", how) for how in (os.O_RDONLY, os.O_RDWR)
                        for who, group in ((BOB, 9), (ANN, 9), (9, PALS), (9, 9), (ANN, PALS), (ME, ME))]
                       + [as_id(who, 9, os.mkdir, f"{d}/dir/{who}") for who in (BOB, ANN)]
                       + [as_id(who, 9, os.listdir, d + "/dir") for who in (BOB, ANN)])
    no = errno.EACCES
    assert results[1] == results[0] == [0, no, 0, 0, no, 0, 0, no, no, no, no, 0, 0, no, no, no]


def test_what_the_host_changes_holds_within_a_second(folders):
    d, guest = folders[2].host + "/changes", folders[1] + "/changes"
    os.mkdir(d)
    make(d + "/file", ME, ME, 0o600)

    def within(seconds, want):
        end = time.monotonic() + seconds
        while as_id(BOB, BOB, open_for, guest + "/file", os.O_RDONLY) != want:
            assert time.monotonic() < end, f"not {want} after {seconds} s"
            time.sleep(0.02)

    within(0, errno.EACCES)
    for _ in range(2):
        subprocess.run(["setfacl", "-m", f"u:{BOB}:r", d + "/file"], check=True)
        within(1.5, 0)
        assert f"user:{BOB}:r--" in sh("getfacl -n file", guest)[1]
        subprocess.run(["setfacl", "-b", d + "/file"], check=True)
        within(1.5, errno.EACCES)
    # Our own change holds at once.
    subprocess.run(["setfacl", "-m", f"u:{BOB}:r", guest + "/file"], check=True)
    within(0, 0)
    os.chmod(guest + "/file", 0o600)
    within(0, errno.EACCES)


def test_without_it_there_are_none(tmp_path):
    with Mounted(tmp_path) as m:
        make(m.host + "/file", ME, ME)
        assert attempt(os.getxattr, m.guest + "/file", ACCESS) == errno.EOPNOTSUPP
        assert attempt(os.setxattr, m.guest + "/file", ACCESS, acl()) == errno.EOPNOTSUPP


def test_a_file_system_that_has_none_goes_by_modes(tmp_path):
    open_to_all(tmp_path)
    os.mkdir(tmp_path / "host")
    subprocess.run(["mount", "-t", "ramfs", "none", tmp_path / "host"], check=True)
    try:
        os.chmod(tmp_path / "host", 0o755)
        with Mounted(tmp_path, options=["-o", "acl"], server=["--acl"]) as m:
            make(m.host + "/file", ME, ME, 0o640)
            assert as_id(BOB, ME, open_for, m.guest + "/file", os.O_RDONLY) == 0
            assert as_id(BOB, BOB, open_for, m.guest + "/file", os.O_RDONLY) == errno.EACCES
            done = sh(f"setfacl -m u:{BOB}:r file", m.guest)
            assert done[0] and "Operation not supported" in done[2]
            assert sh("umask 027; touch f; mkdir d; stat -c %A f d", m.guest, 0)[1] == "-rw-r-----\ndrwxr-x---\n"
    finally:
        subprocess.run(["umount", "-l", tmp_path / "host"], check=True)


@pytest.fixture
def mapped():
    """An ordinary server; of others the guest knows the host's BOB, as 5678, and the group PALS, as 6789."""
    with tempfile.TemporaryDirectory(prefix="homeport-acl-") as top:
        os.chmod(top, 0o755)
        os.mkdir(top + "/host")
        os.chown(top + "/host", ME, ME)
        shutil.copy(HOST, top + "/homeport")
        command = ["setpriv", f"--reuid={ME}", f"--regid={ME}", "--clear-groups", top + "/homeport", "sftp-server", "--writable",
                   "--acl", top + "/host"]
        with Mounted(top, options=("-o", f"acl,hostuid={ME},hostgid={ME},uidmap={BOB}:5678,gidmap={PALS}:6789"), command=command) as m:
            yield m


def entries(d, *options):
    """The entries of the file there, by getfacl, without what it adds of effective rights."""
    out = sh(f"getfacl -nEcp {' '.join(options)} file", d, 0)
    assert out[0] == 0, out
    return out[1].split()


def test_who_is_named_is_translated_and_whom_the_guest_does_not_know_stays(mapped):
    m = mapped
    make(m.host + "/file", ME, ME, 0o640)
    subprocess.run(["setfacl", "-m", f"u:{BOB}:r,u:{ANN}:-,g:{PALS}:rw,g:99:r,u:{ME}:x,o::r", m.host + "/file"], check=True)
    rest = ["user::rw-", "group::r--", "mask::rwx", "other::r--"]
    assert entries(m.guest) == ["user::rw-", "user:0:--x", "user:5678:r--", "group::r--", "group:6789:rw-", "mask::rwx", "other::r--"]
    assert as_id(5678, 9, open_for, m.guest + "/file", os.O_RDONLY) == 0
    assert as_id(5678, 9, open_for, m.guest + "/file", os.O_RDWR) == errno.EACCES
    # Set here, and those that were not seen are as before.
    subprocess.run(["setfacl", "-m", "u:5678:rw", m.guest + "/file"], check=True)
    assert entries(m.host) == ["user::rw-", f"user:{ME}:--x", f"user:{BOB}:rw-", f"user:{ANN}:---", "group::r--", "group:99:r--",
                               f"group:{PALS}:rw-", "mask::rwx", "other::r--"]
    for remove in (["-b"], ["-x", "u:5678,g:6789,u:0,m"]):
        subprocess.run(["setfacl", *remove, m.guest + "/file"], check=True)
        assert f"user:{ANN}:---" in entries(m.host) and "group:99:r--" in entries(m.host), remove
    assert f"user:{BOB}:rw-" not in entries(m.host)
    os.removexattr(m.guest + "/file", ACCESS)
    assert f"user:{ANN}:---" in entries(m.host)
    for who in (f"u:{ANN}", f"u:{BOB}", "g:1"):
        done = sh(f"setfacl -m {who}:r file", m.guest, 0)
        assert done[0] and "Invalid argument" in done[2], who
    assert rest[0] in entries(m.host)


def test_whom_the_guest_does_not_see_gains_nothing_by_its_mask(mapped):
    m = mapped
    make(m.host + "/file", ME, ME, 0o600)
    subprocess.run(["setfacl", "-m", f"u:{ANN}:rwx,m::r", m.host + "/file"], check=True)
    subprocess.run(["setfacl", "-m", "u:5678:rw", m.guest + "/file"], check=True)
    assert entries(m.host) == ["user::rw-", f"user:{BOB}:rw-", f"user:{ANN}:r--", "group::---", "mask::rw-", "other::---"]
    # Nothing is left unseen: then it goes as a whole.
    subprocess.run(["setfacl", "-b", m.host + "/file"], check=True)
    subprocess.run(["setfacl", "-m", "u:5678:r", m.guest + "/file"], check=True)
    subprocess.run(["setfacl", "-b", m.guest + "/file"], check=True)
    assert attempt(os.getxattr, m.host + "/file", ACCESS) == errno.ENODATA


def test_a_default_of_the_host_is_inherited_by_what_the_guest_makes(mapped):
    m = mapped
    subprocess.run(["setfacl", "-d", "-m", f"u:{BOB}:rwx,u:{ANN}:rx,o::-", m.host], check=True)
    assert sh("umask 077; echo x > file; mkdir dir", m.guest, 0)[0] == 0
    assert entries(m.guest) == ["user::rw-", "user:5678:rwx", "group::r-x", "mask::rw-", "other::---"]
    assert f"user:{ANN}:r-x" in entries(m.host)
    assert f"default:user:{ANN}:r-x" in sh("getfacl -ncp dir", m.host, 0)[1]


def test_at_the_wire(tmp_path):
    """The server has them where it was told to, and a read-only one does not change them."""
    make(tmp_path / "f", 0, 0)
    os.mkdir(tmp_path / "d")
    some = acl((USER_OBJ, 6, NONE), (USER_TAG, 4, BOB), (GROUP_OBJ, 4, NONE), (MASK, 4, NONE), (OTHER, 4, NONE))
    os.setxattr(tmp_path / "d", DEFAULT, some)
    for options, refused in ((["--writable"], errno.EOPNOTSUPP), (["--acl"], errno.EROFS), (["--acl", "--writable"], 0)):
        with native.Client.spawn([HOST, "sftp-server", *options, str(tmp_path)]) as c:
            node = c.walk(b"f")[0]
            assert attempt(c.setxattr, node, ACCESS.encode(), some) == refused
            assert attempt(c.getxattr, node, ACCESS.encode()) == (errno.EOPNOTSUPP if len(options) == 1 and not refused == errno.EROFS
                                                                 else errno.ENODATA if refused else 0)
    with native.Client.spawn([HOST, "sftp-server", "--writable", str(tmp_path)]) as c:
        # The umask stands in front of the mode.
        c.mkdir(native.ROOT, b"masked", 0o027 << 16 | 0o777), c.mkdir(c.walk(b"d")[0], b"inherits", 0o077 << 16 | 0o777)
    assert os.stat(tmp_path / "masked").st_mode & 0o777 == 0o750
    assert os.stat(tmp_path / "d/inherits").st_mode & 0o777 == 0o644


@pytest.mark.timeout(90)
def test_as_the_configuration_says(homeport, guest, host_home):
    for place in ("a/f", "b/f"):
        subprocess.run(["setfacl", "-m", "u:0:rwx", host_home.write(place, "x")], check=True)
    home = host_home.inside
    homeport.write_config("guest", f"ssh: {{configFile: {homeport.lab.ssh_config()}}}\nmounts:\n"
                          f"- {{location: ~/a, mountPoint: {home}/m, writable: true, acl: true, uidMap: [{{host: 0, guest: 77}}]}}\n"
                          f"- {{location: ~/b, mountPoint: {home}/n}}\n")
    homeport.up("--name", "guest")
    assert "user:77:rwx" in guest.cmd(["getfacl", "-ncp", f"{home}/m/f"], user="me").stdout
    guest.cmd(["setfacl", "-m", "u:me:r", f"{home}/m/f"], user="me")
    assert "user:1000:r--" in subprocess.run(["getfacl", "-ncp", host_home / "a/f"], capture_output=True, text=True).stdout
    assert "user:" not in guest.cmd(["getfacl", "-ncp", f"{home}/n/f"], user="me").stdout.replace("user::", "")
