# SPDX-License-Identifier: MIT
"""The configuration as a person meets it: each mistake at its line and column, exit status 2, nothing started."""
import os
import subprocess

import pytest

from lab import REPOSITORY

BUILD = os.path.abspath(os.environ.get("HOMEPORT_BUILD", os.path.join(REPOSITORY, "build")))
HOMEPORT = os.path.join(BUILD, "homeport")


@pytest.fixture
def person(tmp_path):
    """A home with a configuration folder, and `homeport` run in it."""

    class Person:
        home = tmp_path
        folder = tmp_path / ".config/homeport"

        def write(self, text, name="dev.yaml", mode=0o600):
            path = self.folder / name
            path.write_text(text)
            path.chmod(mode)
            return path

        def run(self, *argv):
            env = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
            done = subprocess.run([HOMEPORT, *argv], cwd=self.home, env={**env, "HOME": str(self.home)},
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
            assert "Sanitizer" not in done.stderr
            return done

    Person.folder.mkdir(parents=True)
    return Person()


def test_every_problem_is_printed_with_file_line_and_column(person):
    path = person.write("mount: []\nmounts:\n- location: ~/nope\n  writable: flase\nssh: {port: 0}\n")
    done = person.run("config", "check", str(path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f'{path}:1:1: unknown key "mount"; did you mean "mounts"?',
        f"{path}:4:13: writable: expected true or false, found flase",
        f"{path}:5:13: port: 0 is out of range; write 1 to 65535",
    ]


def test_a_location_that_does_not_exist_is_an_error(person):
    path = person.write("mounts:\n- location: ~/nope\n")
    done = person.run("config", "check", "dev")
    assert done.returncode == 2
    assert done.stderr == (f'{path}:2:13: location: "{person.home}/nope" does not exist; '
                           "create it or correct the path\n")
    (person.home / "nope").mkdir()
    done = person.run("config", "check", "dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: fine\n", "")


def test_all_files_are_checked_when_none_is_named(person):
    good, bad = person.write("mounts: []\n", "a.yaml"), person.write("x: 1\n", "b.yaml")
    person.write("not one of ours", "notes.txt")
    done = person.run("config", "check")
    assert done.returncode == 2
    assert done.stdout == f"{good}: fine\n"
    assert done.stderr.startswith(f'{bad}:1:1: unknown key "x"')


def test_what_show_prints_is_a_configuration_that_shows_the_same(person):
    person.write('mounts:\n- location: "~"\n- location: ~/src\n  writable: true\n'
                 "portForwards:\n- {guestPort: 80, hostPort: 8080}\nsessionTimeout: 90m\n")
    first = person.run("config", "show", "dev")
    assert first.returncode == 0
    person.write(first.stdout)
    assert person.run("config", "show", "dev").stdout == first.stdout
    assert f'location: "{person.home}/src"' in first.stdout


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_others_can_write_is_refused(person, mode):
    path = person.write("mounts: []\n", mode=mode)
    done = person.run("config", "check", str(path))
    assert done.returncode == 2
    assert done.stderr == f"{path}: can be written by others; take that away with chmod go-w\n"


@pytest.mark.parametrize("argv, line", [
    ([], "homeport: no command: see homeport --help"),
    (["upp"], 'homeport: unknown command "upp"; did you mean "up"?'),
    (["up", "--mnt", "vm"], "homeport: unknown option --mnt: see homeport up --help"),
    (["up"], "homeport: up: [USER@]HOST[:PORT] | NAME is missing: see homeport up --help"),
    (["doctor"], "homeport: doctor: not in this version"),
    (["config", "show", "a b"], 'homeport: the host in "a b" has a character no host name has'),
])
def test_wrong_usage_is_one_line_and_status_2(person, argv, line):
    done = person.run(*argv)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line + "\n")


def test_help_and_version_are_on_standard_output(person):
    for argv in (["--help"], ["up", "--help"], ["--version"]):
        done = person.run(*argv)
        assert done.returncode == 0 and done.stdout.startswith("homeport") and done.stderr == ""
