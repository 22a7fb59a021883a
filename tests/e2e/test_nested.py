# SPDX-License-Identifier: MIT
"""Shares in shares: one mount, each with its rights, also where the host has no folder on the way."""
import pytest

from conftest import wait_until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def nested(homeport, guest, host_home):
    """~ read-only, ~/src writable in it, ~/other at x/y/deep, where the home has no x, and at src/sub, which it has."""
    host_home.write("top", "top\n")
    host_home.write("src/a", "a\n")
    host_home.write("src/sub/hidden", "hidden\n")
    host_home.write("other/o", "o\n")
    home = host_home.inside
    homeport.up("--mount", "~", "--mount", "~/src:w", "--mount", f"{home}/other:{home}/x/y/deep:w",
                "--mount", f"{home}/other:{home}/src/sub")

    def run(script):
        return guest.cmd(["sh", "-c", script], user="me", check=False, cwd=home)

    return run


def out(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_each_name_leads_to_its_share(nested, guest):
    assert len(guest.mounts("fuse.homeport")) == 1
    assert out(nested("cat top src/a src/sub/o x/y/deep/o")) == ["top", "a", "o", "o"]
    assert nested("cat src/sub/hidden").returncode != 0, "the nested share hides what is there"


def test_listings_show_nested_shares_once(nested):
    assert out(nested("ls -A . | grep -v ^[.]")) == ["other", "src", "top", "x"]
    assert out(nested("ls src")) == ["a", "sub"]
    assert out(nested("ls -a x")) == [".", "..", "y"]
    assert out(nested("ls x/y")) == ["deep"]
    assert out(nested("ls x/y/deep src/sub")) == ["src/sub:", "o", "x/y/deep:", "o"]
    found = out(nested("find . -name .cache -prune -o -type f -not -path './.*' -print | sort"))
    assert found == ["./other/o", "./src/a", "./src/sub/o", "./top", "./x/y/deep/o"]


def test_each_share_has_its_own_rights(nested, host_home):
    assert "Read-only" in nested("echo n > new").stderr
    assert "Read-only" in nested("echo n > src/sub/new").stderr
    assert "Permission denied" in nested("mkdir x/new").stderr, "a folder of ours: nobody writes in it"
    assert nested("echo n > src/new && mkdir -p src/d/e && echo n > x/y/deep/new").returncode == 0
    assert open(host_home / "src/new").read() == open(host_home / "other/new").read() == "n\n"


def test_nothing_passes_between_shares(nested):
    assert "Invalid cross-device link" in nested("ln src/a x/y/deep/link").stderr
    assert out(nested("python3 -c 'import os; print(os.copy_file_range(os.open(\"src/a\", os.O_RDONLY), os.open("
                      "\"x/y/deep/copied\", os.O_WRONLY | os.O_CREAT), 100))' && cat x/y/deep/copied")) == ["2", "a"], (
                          "the kernel copies what the host cannot")
    assert nested("mv src/a x/y/deep/moved && cat x/y/deep/moved && ! test -e src/a").returncode == 0, "mv copies"
    for change in ("mv src/sub src/away", "rmdir src/sub", "mv x/y/deep x/y/away", "mv src/d src/sub"):
        nested("mkdir -p src/d")
        done = nested(change)
        assert done.returncode != 0 and not nested("ls src/sub/o x/y/deep/o").returncode, change


def test_a_nested_share_outlives_its_server_and_its_neighbours(nested, host):
    nested("cat x/y/deep/o src/a")
    servers = [pid for pid, (_, line) in host.processes().items() if " sftp-server" in line]
    assert len(servers) >= 4
    for pid in servers:
        host.kill(host.processes()[pid][0])
    assert out(nested("cat top src/a src/sub/o x/y/deep/o")) == ["top", "a", "o", "o"]
    wait_until(lambda: nested("echo again > src/again").returncode == 0, what="it is writable again")
