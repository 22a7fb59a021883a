# SPDX-License-Identifier: MIT
"""What a machine has after `make install`, and after Debian's packages: all of it, where it belongs, working; and
nothing of it afterwards."""
import gzip
import hashlib
import os
import re
import shutil
import subprocess

import pytest

from conftest import open_to_all
from lab import REPOSITORY

LAB = dict(guest_binary=False)
BUILD = os.environ.get("HOMEPORT_BUILD", os.path.join(REPOSITORY, "build"))
ARCH = os.uname().machine
FOLDERS = {"bindir": "programs", "libexecdir": "lib/more", "datadir": "data", "mandir": "man", "docdir": "pages",
           "systemduserunitdir": "units/user", "systemdsystemunitdir": "units/system",
           "systemduserpresetdir": "presets/user", "systemdsystempresetdir": "presets/system",
           "bashcompletiondir": "shells/bash", "zshcompletiondir": "shells/zsh", "fishcompletiondir": "shells/fish"}
# {FILE: FOLDER of it}, for every file that is installed.
INSTALLED = {"homeport": "bindir", "homeport-guest": "bindir", f"homeport/{ARCH}/homeport-guest": "libexecdir",
             "homeport/homeport.schema.json": "datadir", "man1/homeport.1": "mandir", "man5/homeport.yaml.5": "mandir",
             "man8/homeport-guest.8": "mandir", "homeport@.service": "systemduserunitdir",
             "homeport-guest@.service": "systemdsystemunitdir", "homeport-helper.socket": "systemdsystemunitdir",
             "homeport-helper@.service": "systemdsystemunitdir",
             "80-homeport.preset": "systemduserpresetdir",
             "80-homeport-guest.preset": "systemdsystempresetdir", "_homeport": "zshcompletiondir",
             "homeport.fish": "fishcompletiondir",
             **{page: "docdir" for page in os.listdir(f"{REPOSITORY}/docs")}}


def run(*argv, cwd=REPOSITORY, check=True, env=None, **kw):
    """Not as part of the make that runs the tests, if one does."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(argv, cwd=cwd, env={**inherited, **(env or {})}, capture_output=True, text=True, **kw)
    if check and done.returncode:
        pytest.fail(f"{argv}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def files_below(folder):
    return {os.path.join(d, f)[len(str(folder)):] for d, _, files in os.walk(folder) for f in files}


def brings(homeport):
    """How many bytes the session's agent has brought to the guest."""
    return [int(size) for size in re.findall(r"homeport-guest \(\w+, (\d+) bytes\) is brought", homeport.logs())]


@pytest.fixture
def bare(guest):
    """Nothing was brought there before."""
    guest.cmd("rm -rf /home/me.guest/.cache")


# ---------------------------------------------------------------------------------------------------- make install


@pytest.fixture
def make(tmp_path):
    """`make` with a build folder that may be built in: what is in the tests' own must not change under them."""
    build = tmp_path / "build"
    build.mkdir()
    run("cp", "-a", "--", *(f"{BUILD}/{name}" for name in ("rel", "guests", "homeport", "homeport-guest")), str(build))
    return lambda *args: run("make", "-s", f"BUILD={build}", "SYSTEMD=252", *args)


def test_every_gnu_folder_is_followed_and_uninstall_leaves_nothing(make, bare, homeport, host, guest, host_home):
    root = host.path("/opt/hp")
    words = [f"DESTDIR={host.path('')}", *(f"{name}=/opt/hp/{folder}" for name, folder in FOLDERS.items())]
    make("install", *words)
    expected = {f"/{FOLDERS[folder]}/{name}" for name, folder in INSTALLED.items()} | {"/shells/bash/homeport"}
    assert files_below(root) == expected
    assert "\nExecStart=/opt/hp/programs/homeport run" in host.cmd("cat /opt/hp/units/user/homeport@.service").stdout
    host_home.write("note", "from the host\n")
    homeport.binary = "/opt/hp/programs/homeport"
    schema = "/opt/hp/data/homeport/homeport.schema.json"
    assert homeport.run("init").stdout.startswith(f"# yaml-language-server: $schema={schema}\n")
    homeport.up()
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    assert brings(homeport) == [os.path.getsize(f"{root}/lib/more/homeport/{ARCH}/homeport-guest")]
    homeport.down()
    make("uninstall", *words)
    assert files_below(root) == set()
    assert host.cmd("find /opt/hp -name '*homeport*'").stdout == ""


def test_what_others_put_there_stays(make, tmp_path):
    words = [f"DESTDIR={tmp_path}/root", "PREFIX=/usr"]
    make("install", *words)
    others = {f"/usr/{name}" for name in ("bin/homeport.old", "share/homeport/notes", "libexec/homeport/vax/other")}
    for name in others:
        os.makedirs(os.path.dirname(f"{tmp_path}/root{name}"), exist_ok=True)
        open(f"{tmp_path}/root{name}", "w").close()
    make("uninstall", *words)
    assert files_below(f"{tmp_path}/root") == others
    make("uninstall", *words)


def test_the_packages_have_the_programs_version():
    with open(f"{REPOSITORY}/Makefile") as f:
        version = re.search(r"^VERSION := (\S+)$", f.read(), re.M).group(1)
    with open(f"{REPOSITORY}/debian/changelog") as f:
        assert f.readline().startswith(f"homeport ({version}) ")


# ------------------------------------------------------------------------------------------------ Debian's packages

PACKAGES = ("homeport", "homeport-guest", "homeport-dbgsym", "homeport-guest-dbgsym")


def debs_in(folder):
    found = {name.split("_")[0]: os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".deb")}
    assert set(found) == set(PACKAGES)
    return found


@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    """{package: file}, as `make deb` makes them."""
    build = tmp_path_factory.mktemp("packages") / "build"
    run("make", "-s", "deb", f"BUILD={build}")
    assert os.listdir(build) == ["deb"]
    return debs_in(build / "deb")


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(900)
def test_two_builds_are_the_same_byte_for_byte(debs, tmp_path):
    """The second: another folder, user, umask, time zone and number of processors, and files of another time."""
    tree = tmp_path / "another" / "place"
    tree.parent.mkdir()
    names = run("git", "ls-files", "-z", "-co", "--exclude-standard").stdout
    run("rsync", "-a", "--ignore-missing-args", "--files-from=-", "--from0", REPOSITORY + "/", str(tree), input=names)
    run("find", ".", "-exec", "touch", "-h", "-d", "2001-02-03", "{}", "+", cwd=tree)
    run("chown", "-R", "65534:65534", str(tree.parent))
    open_to_all(tree.parent)
    run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "taskset", "-c", "0", "sh", "-c",
        "umask 077; exec dpkg-buildpackage -us -uc -b", cwd=tree,
        env={"HOME": str(tree.parent), "TZ": "Pacific/Chatham", "LC_ALL": "C", "BUILD": "elsewhere", "PREFIX": "/opt"})
    again = debs_in(tree.parent)
    for package, path in debs.items():
        with open(path, "rb") as one, open(again[package], "rb") as other:
            assert hashlib.sha256(one.read()).digest() == hashlib.sha256(other.read()).digest(), package


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(900)
def test_lintian_has_nothing_to_say(debs):
    done = run("lintian", "--no-cfg", "--allow-root", "--pedantic", "--display-info", "--fail-on=error,warning",
               os.path.dirname(debs["homeport"]) + f"/homeport_0.1.0_{run('dpkg', '--print-architecture').stdout.strip()}"
               ".changes", check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(900)
def test_a_host_that_does_not_verify_is_not_installed_on(debs):
    """That libssh's release before this one passed forged packets, apt must know."""
    depends = run("dpkg-deb", "-f", debs["homeport"], "Depends").stdout
    assert "libssh-4 (>= 0.10.6-0+deb12u3)" in depends
    assert "libssh" not in run("dpkg-deb", "-f", debs["homeport-guest"], "Depends").stdout


@pytest.fixture
def install(host, guest):
    """Installs packages in a machine as dpkg does; whatever a test leaves of them is purged."""
    for machine in (host, guest):  # of users that a lab does not have
        open(machine.path("/var/lib/dpkg/statoverride"), "w").close()

    def install(machine, *paths):
        for path in paths:
            shutil.copy(path, machine.path("/var/tmp/"))
        dpkg(machine, "-i", *("/var/tmp/" + os.path.basename(path) for path in paths))

    yield install
    for machine in (host, guest):
        dpkg(machine, "-P", "homeport", "homeport-guest", check=False)


def dpkg(machine, *args, check=True):
    return machine.cmd(["dpkg", *args], timeout=120, check=check).stdout


def newer(deb, folder):
    """The same package, of a later version."""
    unpacked = str(folder / os.path.basename(deb)[:-4])
    run("dpkg-deb", "-R", deb, unpacked)
    with open(unpacked + "/DEBIAN/control") as f:
        control = f.read()
    with open(unpacked + "/DEBIAN/control", "w") as f:
        f.write(re.sub("^Version: .*$", "Version: 99", control, flags=re.M))
    run("dpkg-deb", "-b", "--root-owner-group", unpacked, unpacked + "_99.deb")
    return unpacked + "_99.deb"


def everything(machine):
    """Every file of a machine, but for dpkg's own books and what is made of all packages together."""
    skipped = " -o ".join(f"-path {path}" for path in ("/var/lib/dpkg", "/var/cache", "/var/log", "/var/tmp"))
    found = machine.cmd(f"find /etc /usr /var \\( {skipped} \\) -prune -o ! -type d -print", timeout=120).stdout
    return set(found.splitlines()) - {"/etc/ld.so.cache"}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_home_is_there_by_packages_alone(debs, install, bare, homeport, host, guest, host_home):
    install(host, debs["homeport"])
    install(guest, debs["homeport-guest"])
    host_home.write("note", "from the host\n")
    homeport.binary = "/usr/bin/homeport"
    homeport.up()
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    assert brings(homeport) == []  # what is installed is of the very build
    homeport.down()
    dpkg(guest, "-P", "homeport-guest")
    homeport.up()
    assert guest.cmd("cat /home/me/note", user="me").stdout == "from the host\n"
    assert len(brings(homeport)) == 1  # out of the host's own package
    homeport.down()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_installed_upgraded_removed_and_purged(debs, install, homeport, host, host_home, tmp_path):
    both = [debs["homeport"], debs["homeport-guest"]]
    later = [newer(deb, tmp_path) for deb in both]
    before = everything(host)
    install(host, *both)
    there = everything(host) - before
    assert {name for name in there if "/doc/" not in name and "lintian" not in name} == {
        "/usr/bin/homeport", "/usr/bin/homeport-guest", f"/usr/libexec/homeport/{ARCH}/homeport-guest",
        "/usr/lib/systemd/user/homeport@.service", "/usr/lib/systemd/user-preset/80-homeport.preset",
        "/usr/lib/systemd/system/homeport-guest@.service", "/usr/lib/systemd/system/homeport-helper.socket",
        "/usr/lib/systemd/system/homeport-helper@.service", "/usr/lib/systemd/system-preset/80-homeport-guest.preset",
        "/usr/share/homeport/homeport.schema.json", "/usr/share/bash-completion/completions/homeport",
        "/usr/share/zsh/vendor-completions/_homeport", "/usr/share/fish/vendor_completions.d/homeport.fish",
        "/usr/share/man/man1/homeport.1.gz", "/usr/share/man/man5/homeport.yaml.5.gz",
        "/usr/share/man/man8/homeport-guest.8.gz"}
    with gzip.open(host.path("/usr/share/man/man1/homeport.1.gz"), "rb") as f:
        assert f.readline() == b'.\\" SPDX-License-Identifier: MIT\n'
    assert dpkg(host, "--verify", "homeport", "homeport-guest") == ""
    host.cmd("systemctl --root=/ enable homeport-guest@me homeport-helper.socket")
    links = {"/etc/systemd/system/multi-user.target.wants/homeport-guest@me.service",
             "/etc/systemd/system/sockets.target.wants/homeport-helper.socket"}
    assert everything(host) - before == there | links

    host_home.write("note", "from the host\n")
    homeport.binary = "/usr/bin/homeport"
    homeport.up()
    agent = homeport.status()["pid"]
    install(host, *later)
    assert host.cmd("dpkg-query -W -f '${Version} ' homeport homeport-guest").stdout == "99 99 "
    assert everything(host) - before == there | links
    status = homeport.status()
    assert (status["pid"], status["state"], status["mounts"][0]["state"]) == (agent, "connected", "mounted")
    homeport.down()

    dpkg(host, "-r", "homeport", "homeport-guest")
    assert everything(host) - before == links
    dpkg(host, "-P", "homeport", "homeport-guest")
    assert everything(host) == before
