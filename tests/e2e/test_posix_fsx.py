# SPDX-License-Identifier: MIT
"""Random operations on a file of the mount, held against a model of it (tests/posix/hpfsx.c): alone, several at once,
with a process of the host at other parts of the same file, and through a slow link."""
import os
import subprocess
import sys

import pytest

from mounted import BUILD, HOST, Mounted, faulty

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

HPFSX = BUILD + "/posix/hpfsx"
DELAYED = os.path.dirname(os.path.realpath(__file__)) + "/delayed.py"
PART = 256 << 10


@pytest.fixture
def m(tmp_path):
    with Mounted(tmp_path) as one:
        yield one


def start(path, seed, count, *options):
    return subprocess.Popen([HPFSX, "-s", str(seed), "-n", str(count), *options, path], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(*processes):
    """All of them are right, or the first that is not says what happened."""
    said = [(p, p.communicate(timeout=200)[0]) for p in processes]
    for p, text in said:
        assert p.returncode == 0, text


def test_the_model_is_right_about_a_local_file(tmp_path):
    finish(*(start(f"{tmp_path}/f{seed}", seed, 2000) for seed in (1, 2)))


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_file_is_what_was_done_to_it(m, seed):
    finish(start(m.guest + "/f", seed, 2500))
    name, = os.listdir(m.host)  # it has been renamed now and then
    with open(f"{m.guest}/{name}", "rb") as here, open(f"{m.host}/{name}", "rb") as there:
        assert here.read() == there.read()


def test_a_file_is_what_was_done_to_it_through_a_slow_link(tmp_path):
    command = [sys.executable, DELAYED, "3", HOST, "sftp-server", "--writable", f"{tmp_path}/host"]
    with Mounted(tmp_path, command=command) as m:
        finish(start(m.guest + "/f", 11, 800))


def test_several_at_once_each_on_a_file_of_its_own(m):
    finish(*(start(f"{m.guest}/f{seed}", seed, 1000) for seed in range(20, 24)))


@pytest.mark.parametrize("seed", (31, 41))
def test_several_at_once_on_one_file_and_the_host_with_them(m, seed):
    with open(m.host + "/f", "wb") as f:
        f.write(os.urandom(3 * PART))
    finish(start(m.guest + "/f", seed, 1000, "-l", str(PART), "-r", "0/3"),
           start(m.guest + "/f", seed + 1, 1000, "-l", str(PART), "-r", "1/3"),
           start(m.host + "/f", seed + 2, 3000, "-l", str(PART), "-r", "2/3"))


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "fallocate", "copy_file_range"])
def test_a_server_that_is_one_byte_wrong_is_found_out(tmp_path, call):
    command = [*faulty(tmp_path, WRONG=call), HOST, "sftp-server", "--writable", f"{tmp_path}/host"]
    with Mounted(tmp_path, command=command) as m:
        one = start(m.guest + "/f", 7, 2500)
        said = one.communicate(timeout=200)[0]
    assert one.returncode == 1 and said, said
