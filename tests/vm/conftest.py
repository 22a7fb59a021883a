# SPDX-License-Identifier: MIT
"""Two real machines, for the length of the run: `host` with the package homeport, `guest` with sshd and FUSE alone.

The tests are one story, told in the order in which they stand: each begins where the one before it ended, and each has
a name of what it shows. `make vm-test ARGS=-x` ends with the first that fails. What a machine said on its console is
shown with what failed.
"""
import glob
import os
import sys

import pytest

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)

from vm import ADDRESS, put_away, two_machines  # noqa: E402

BUILD = os.path.realpath(os.environ.get("HOMEPORT_BUILD", os.path.join(HERE, "..", "..", "build")))
UIDS = {"host": 1000, "guest": 2000}  # nothing may depend on one person's having the same number on both sides


def say(text):
    """Past pytest, which keeps what a test prints to itself."""
    sys.__stderr__.write(f"vm: {text}\n")
    sys.__stderr__.flush()


@pytest.fixture(scope="session")
def machines():
    folder = BUILD + "/vm"
    os.makedirs(folder, exist_ok=True)
    say("the image, unless it is there, and two machines that boot from it: some minutes")
    both = two_machines(folder)
    try:
        for one in both:
            one.start()
        for one in both:
            one.wait()
            say(f"{one.name} is up")
            settle(one)
        yield {one.name: one for one in both}
    finally:
        put_away(both)


def settle(machine):
    """A person with a login here and, on the host, a key for the login there."""
    machine.cmd(f"useradd -m -s /bin/bash -u {UIDS[machine.name]} me && cp -r /root/.ssh ~me/.ssh && "
                "chown -R me:me ~me/.ssh && systemctl is-system-running --wait", check=False, timeout=300)
    if machine.name == "host":
        machine.put(machine.image.path("key"), "/home/me/.ssh/id_ed25519")
        with open(machine.image.path("host_key.pub")) as f:
            known = f"guest,{ADDRESS['guest']} {f.read()}"
        machine.cmd("chmod 600 ~me/.ssh/id_ed25519 && cat >~me/.ssh/known_hosts && "
                    "chown -R me:me ~me/.ssh", input=known)


@pytest.fixture(scope="session")
def host(machines):
    return machines["host"]


@pytest.fixture(scope="session")
def guest(machines):
    return machines["guest"]


@pytest.fixture(scope="session")
def deb():
    [found] = glob.glob(BUILD + "/deb/homeport_*.deb")
    return found


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        for one in getattr(item, "funcargs", {}).get("machines", {}).values():
            report.sections.append((f"console of {one.name}", one.tail()))


def pytest_sessionfinish(session):
    """The line that tests/run.sh has in its summary."""
    stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    if os.environ.get("HOMEPORT_VM_REPORT"):
        with open(os.environ["HOMEPORT_VM_REPORT"], "w") as f:
            f.write(f"{len(stats.get('passed', []))} passed, {failed} failed\n")
