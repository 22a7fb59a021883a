# SPDX-License-Identifier: MIT
"""Owners of a mount (uidMap, gidMap, and without them): what a map has passes both ways, attributes, callers and chown;
the host decides what may be given; a file that the host's user may use by group the login user may use too."""
import errno
import os
import shutil
import stat
import subprocess
import tempfile

import pytest

from mounted import GUEST, HOST, USER, Mounted, MountedByUser, as_id, attempt

ME, MINE, OTHERS = 1000, 3001, 3002  # the host's user; a group that it has and one that it has not
NOBODY = 65534


@pytest.fixture
def top():
    with tempfile.TemporaryDirectory(prefix="homeport-owners-") as folder:
        os.chmod(folder, 0o755)
        yield folder


def make(path, uid, gid, mode=0o644, text="text"):
    with open(path, "w") as f:
        f.write(text)
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    return path


def owners(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid


def by_ordinary_server(top, *options):
    """Served by ME, who has the group MINE beside its own."""
    os.mkdir(top + "/host")
    os.chown(top + "/host", ME, ME)
    shutil.copy(HOST, top + "/homeport")
    command = ["setpriv", f"--reuid={ME}", f"--regid={ME}", f"--groups={MINE}", top + "/homeport", "sftp-server",
               "--writable", top + "/host"]
    return Mounted(top, options=("-o", ",".join((f"hostuid={ME},hostgid={ME}", *options))), command=command)


@pytest.mark.root
def test_a_file_of_a_group_of_the_hosts_user_is_used_by_the_login_user(top):
    """Whose server has group 3001 (mounted.as_user): the login user, who has it not in the guest, may what its group may."""
    with MountedByUser(top) as m:
        login = [*m.inside(), "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        for name, gid, mode in (("used", MINE, 0o660), ("read", MINE, 0o640), ("shut", OTHERS, 0o660), ("not", MINE, 0o606)):
            make(f"{m.host}/{name}", 0, gid, mode)
        os.mkdir(f"{m.host}/dir")
        os.chown(f"{m.host}/dir", 0, MINE), os.chmod(f"{m.host}/dir", 0o2770)

        def run(script):
            return subprocess.run([*login, "sh", "-c", script], cwd="/", capture_output=True, text=True)

        assert run(f"cat {m.guest}/used && echo more >> {m.guest}/used").stdout == "text"
        assert run(f"cat {m.guest}/read").stdout == "text" and run(f"echo more >> {m.guest}/read").returncode
        assert run(f"cat {m.guest}/shut").returncode and run(f"cat {m.guest}/not").returncode, "as locally"
        assert run(f"echo new > {m.guest}/dir/new; mv {m.guest}/dir/new {m.guest}/dir/moved; ls {m.guest}/dir").stdout == "moved\n"
        assert run(f"stat -c %u:%g {m.guest}/used {m.guest}/shut").stdout == f"{NOBODY}:{USER}\n{NOBODY}:{NOBODY}\n"
        assert open(f"{m.host}/used").read() == "textmore\n"
        assert owners(f"{m.host}/dir/moved") == (USER, MINE)
        # What a file shows as is what it has: giving it that leaves it with its group.
        assert run(f"chown {USER}:{USER} {m.guest}/dir/moved").returncode == 0
        assert owners(f"{m.host}/dir/moved") == (USER, MINE)


@pytest.mark.root
def test_what_a_map_has_passes_both_ways_with_root_on_both_sides(top):
    with Mounted(top, options=("-o", "uidmap=100:5000:10,uidmap=7:8,gidmap=200:6000:10")) as m:
        os.chmod(m.host, 0o777)
        make(f"{m.host}/mapped", 105, 209)
        make(f"{m.host}/single", 7, 0)
        make(f"{m.host}/outside", 33, 44)
        make(f"{m.host}/taken", 5005, 6005)
        assert owners(f"{m.guest}/mapped") == (5005, 6009)
        assert owners(f"{m.guest}/single") == (8, 0)
        assert owners(f"{m.guest}/outside") == (33, 44)
        assert owners(f"{m.guest}/taken") == (NOBODY, NOBODY), "or it would be another's"
        os.chown(f"{m.guest}/mapped", 5001, 6002)
        assert owners(f"{m.host}/mapped") == (101, 202) and owners(f"{m.guest}/mapped") == (5001, 6002)
        os.chown(f"{m.guest}/mapped", 55, 66)
        assert owners(f"{m.host}/mapped") == (55, 66)
        assert attempt(os.chown, f"{m.guest}/mapped", 105, -1) == errno.EPERM, "the host's 105 has another number here"
        assert as_id(5003, 6003, make, f"{m.guest}/made", -1, -1) == 0
        assert owners(f"{m.host}/made") == (103, 203) and owners(f"{m.guest}/made") == (5003, 6003)
        # The guest's kernel goes by what it is shown.
        os.chmod(f"{m.host}/made", 0o600)
        os.stat(f"{m.guest}/made")
        assert as_id(5003, 6003, lambda: os.close(os.open(f"{m.guest}/made", os.O_RDWR))) == 0
        assert as_id(103, 203, lambda: os.close(os.open(f"{m.guest}/made", os.O_RDWR))) == errno.EACCES


@pytest.mark.root
def test_the_host_decides_what_its_user_may_give(top):
    with by_ordinary_server(top, "uidmap=2000:2500", f"gidmap={MINE}:4001:2") as m:
        make(f"{m.host}/theirs", 2000, MINE)
        make(f"{m.host}/mine", ME, ME)
        make(f"{m.host}/strange", ME, 99)
        assert owners(f"{m.guest}/theirs") == (2500, 4001)
        assert owners(f"{m.guest}/mine") == (0, 0), "the login user's"
        os.chown(f"{m.guest}/mine", -1, 4001)
        assert owners(f"{m.host}/mine") == (ME, MINE) and owners(f"{m.guest}/mine") == (0, 4001)
        os.chown(f"{m.guest}/mine", 0, 0)
        assert owners(f"{m.host}/mine") == (ME, ME)
        assert attempt(os.chown, f"{m.guest}/mine", -1, 4002) == errno.EPERM, "a group that it has not"
        assert attempt(os.chown, f"{m.guest}/mine", 2500, -1) == errno.EPERM, "to others only root gives"
        assert attempt(os.chown, f"{m.guest}/mine", 77, -1) == errno.EPERM
        assert attempt(os.chown, f"{m.guest}/theirs", 0, -1) == errno.EPERM
        assert attempt(os.chown, f"{m.guest}/theirs", 2500, 4001) == 0, "as it is"
        assert owners(f"{m.guest}/strange") == (0, NOBODY)
        os.chown(f"{m.guest}/strange", -1, 0)
        assert owners(f"{m.host}/strange") == (ME, ME)
        assert as_id(2500, 4001, make, f"{m.guest}/made", -1, -1) == errno.EACCES, "the folder is another's"
        os.chmod(m.guest, 0o777)
        assert as_id(2500, 4001, lambda: os.close(os.open(f"{m.guest}/made", os.O_CREAT | os.O_WRONLY))) == 0
        assert owners(f"{m.host}/made") == (ME, ME), "whoever asks is the host's user there"


@pytest.mark.root
def test_set_id_bits_go_where_a_group_is_given(top):
    with by_ordinary_server(top, f"gidmap={MINE}:4001") as m:
        make(f"{m.host}/f", ME, ME, 0o6755)
        os.chown(f"{m.guest}/f", -1, 4001)
        assert stat.S_IMODE(os.stat(f"{m.guest}/f").st_mode) == stat.S_IMODE(os.stat(f"{m.host}/f").st_mode) == 0o755


@pytest.mark.parametrize("option, why", [
    ("uidmap=1:1:5,uidmap=5:9", "some of these ids are in a range before"),
    ("gidmap=1:1:5,gidmap=9:5", "some of these ids are in a range before"),
    ("uidmap=4294967290:1:6", "the last id is beyond 4294967294"),
    ("uidmap=1", "no such option"),
    ("uidmap=1:2:3:4", "no such option"),
    ("uidmap=1:2:0", "no such option"),
    ("uidmap=me:2", "no such option"),
    ("gidmap=1:4294967295", "no such option"),
    (",".join(f"uidmap={i}:{i}" for i in range(17)), "there are too many ranges"),
])
def test_a_map_that_is_none_is_refused(option, why):
    done = subprocess.run([GUEST, "mount", "-o", option, "/nowhere", "--", "true"], capture_output=True, text=True)
    assert done.returncode == 2 and f"-o {option.split(',')[-1]}: {why}; usage" in done.stderr


@pytest.mark.timeout(90)
def test_as_the_configuration_says(homeport, guest, host_home):
    """Each share of a mount has its own."""
    for place in ("a/f", "a/b/f"):
        os.chown(host_home.write(place, "x"), 3000, 100)
    home = host_home.inside
    homeport.write_config("guest", f"ssh: {{configFile: {homeport.lab.ssh_config()}}}\nmounts:\n"
                          f"- location: ~/a\n  mountPoint: {home}/m\n  uidMap:\n  - {{host: 3000, guest: 4000}}\n"
                          f"- location: ~/a/b\n  mountPoint: {home}/m/n\n  gidMap: [{{host: 99, guest: 500, count: 2}}]\n")
    homeport.up("--name", "guest")
    assert guest.cmd(["stat", "-c", "%u:%g", f"{home}/m/f", f"{home}/m/n/f"], user="me").stdout == (
        f"4000:{NOBODY}\n{NOBODY}:501\n")
    text = homeport.run("config", "show", "guest").stdout
    assert "  uidMap:\n  - host: 3000\n    guest: 4000\n    count: 1\n" in text
