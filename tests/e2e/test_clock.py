# SPDX-License-Identifier: MIT
"""clock: step, up to the decision: both machines have this machine's clock, and nothing here may set it.

The guest's agent is told that it cannot (HOMEPORT_FEATURES=-set-clock); what it decides is tests/unit/test_clock_step.c's.
"""
import re

from conftest import wait_until
from raw_peer import hostile

COMMAND = "guestCommand: env HOMEPORT_FEATURES=-set-clock homeport-guest\n"


def up(homeport, name, text):
    homeport.write_config(name, f"ssh:\n  configFile: {homeport.lab.ssh_config()}\nmounts: []\n{COMMAND}{text}")
    homeport.name = name
    done = homeport.run("up", "--no-ports", name)
    assert done.returncode == 0, done.stderr + homeport.logs()


def compared(guest, user="root"):
    """How often the agent compared the clocks, how far they were apart, how often it set its own; None: never asked to."""
    said = guest.cmd(["homeport-guest", "status"], user=user).stdout
    found = re.search(r"clock: compared with the host's (\d+) times, at last (\d+\.\d) s \w+; set (\d+) times", said)
    return found and tuple(float(one) for one in found.groups())


def test_the_clocks_are_compared_when_a_session_begins_and_when_it_is_resumed(homeport, lab, guest):
    up(homeport, "guest-root", "clock: step\n")
    wait_until(lambda: compared(guest), what="the clocks are compared")
    first, apart, steps = compared(guest)
    assert (first, apart, steps) == (1, 0, 0)
    lab.link_cut()
    wait_until(lambda: homeport.status()["state"] == "reconnecting", timeout=20)
    lab.link_restore()
    wait_until(lambda: compared(guest)[0] > first, timeout=20, what="they are compared again")
    assert compared(guest)[2] == 0
    homeport.down()
    up(homeport, "guest-root", "")
    assert compared(guest) is None, "unasked it is no matter of the host's"


def test_who_is_not_root_leaves_the_clock_alone_and_says_so(homeport, guest):
    up(homeport, "guest", "clock: step\n")
    wait_until(lambda: "guest: the clock is not set by the host's: it takes root" in homeport.logs(), what="it is told")
    assert compared(guest, "me") is None


def test_a_guest_that_asks_for_the_time_unasked_ends_its_session(homeport, guest):
    homeport.write_config("guest", f"ssh:\n  configFile: {homeport.lab.ssh_config()}\n")
    homeport.name = "guest"
    with hostile(guest, """
            p.greet()
            p.control(16, struct.pack(">Q", 1))
            p.serve(30)
            """) as args:
        homeport.run("up", *args, "--timeout", "3s", "guest")
        assert "protocol error" in homeport.logs()
