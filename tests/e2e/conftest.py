# SPDX-License-Identifier: MIT
"""What every end-to-end test stands on: a lab, a home, a homeport, and the rule that nothing is left behind.

Fixtures
    lab        two machines of namespaces and a cable (tests/lab/lab.py), fresh for each test module; a module says
               `LAB = dict(sshd_options=[...])` to have it otherwise
    host       lab.host, guest: lab.guest
    make_lab   makes further labs, ended with the test
    host_home  the home of the host's user `me`, empty at the start of each test: a path valid here and on the host
    homeport   runs build/homeport on the lab's host as `me`; see Homeport

Markers
    @pytest.mark.timeout(SECONDS)   instead of 60
    @pytest.mark.long               only with `make test-long`
    @pytest.mark.root               needs root although it uses no fixture of the lab

A skipped or xfailed test fails the run unless tests/skips.txt lists it with its reason. Without root the tests that
need the lab are left out, and the summary says how many.
"""
import json
import os
import shutil
import signal
import sys
import time

import pytest

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lab"))

from lab import BUILD_AT, Lab  # noqa: E402

NEED_ROOT = {"lab", "host", "guest", "make_lab", "host_home", "homeport"}


def wait_until(condition, timeout=10.0, what="the condition", every=0.01):
    """Polls until condition() is true and returns its value; fails the test with `what` otherwise."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not within {timeout} s: {what}")
        time.sleep(every)


def serves(guest):
    """{outer pid: command} of the agents that serve. A program that one of them starts bears its name until its exec: it
    is left out."""
    def parent(outer):
        try:
            status = open(f"/proc/{outer}/status").read()
        except OSError:
            return 0  # it has gone
        return int(status.split("\nPPid:")[1].split("\n")[0])

    named = {outer: line for outer, (_, line) in guest.processes().items() if "homeport-guest serve" in line}
    return {outer: line for outer, line in named.items() if parent(outer) not in named}


def mount_helpers(guest):
    """{outer pid: command} of who stands by a mount of the guest, and so has /dev/fuse open: not of who watches ports."""
    def opens(outer):
        try:
            return [os.readlink(f"/proc/{outer}/fd/{fd}") for fd in os.listdir(f"/proc/{outer}/fd")]
        except OSError:
            return []  # it has gone

    return {outer: line for outer, (_, line) in guest.processes().items()
            if "homeport-guest helper" in line and "/dev/fuse" in opens(outer)}


def open_to_all(folder):
    """Every user may go there: pytest's own folders are root's alone."""
    folder = os.path.realpath(folder)
    while folder != "/":
        os.chmod(folder, os.stat(folder).st_mode | 0o055)
        folder = os.path.dirname(folder)


def stop_process(pid):
    """SIGSTOP, and until every thread has obeyed: kill(2) returns before any of them has."""
    os.kill(pid, signal.SIGSTOP)
    tasks = f"/proc/{pid}/task"
    wait_until(lambda: all(open(f"{tasks}/{t}/stat").read().rsplit(")", 1)[1].split()[0] == "T"
                           for t in os.listdir(tasks)), what="every thread has stopped")


# -------------------------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="module")
def lab(request):
    made = Lab(**getattr(request.module, "LAB", {}))
    yield made
    made.down()


@pytest.fixture
def make_lab():
    made = []

    def make(**options):
        made.append(Lab(**options))
        return made[-1]

    yield make
    for one in made:
        one.down()


@pytest.fixture
def host(lab):
    return lab.host


@pytest.fixture
def guest(lab):
    return lab.guest


@pytest.fixture
def host_home(lab):
    """Emptied here, not afterwards: what a failed test left can be looked at while the lab stands."""
    inside = lab.host.home("me")
    here = f"{lab.dir}/host{inside}"
    for name in os.listdir(here):
        path = os.path.join(here, name)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    return HostHome(here, inside)


class HostHome:
    """`here`: where this process finds the home; `inside`: its path on the host. home / "a" is the path from here."""

    def __init__(self, here, inside):
        self.here = here
        self.inside = inside

    def __truediv__(self, name):
        return os.path.join(self.here, name)

    def write(self, name, data, mode=0o644):
        """Writes a file (folders above it are made) as the host's user would."""
        path = self / name
        owner = os.stat(self.here)
        folder = os.path.dirname(path)
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            os.mkdir(folder)
            os.chown(folder, owner.st_uid, owner.st_gid)
        with open(path, "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
            os.fchmod(f.fileno(), mode)
            os.fchown(f.fileno(), owner.st_uid, owner.st_gid)
        return path


class Homeport:
    """homeport on the lab's host, with XDG folders of its own and `-F` for the lab's guest.

    run("status", "dev")     any command, to its end; never raises for an exit status
    up("--mount", "~")       `homeport up -F FILE ... guest`; fails the test unless it exits 0
    status(), down()         of the session `up` started last
    """

    def __init__(self, lab, user="me"):
        self.lab = lab
        self.user = user
        self.binary = BUILD_AT + "/homeport"
        assert os.path.exists(lab.host.path(self.binary)), "build/homeport is not built"
        self.folder = f"{lab.dir}/xdg-{user}"
        uid = lab.host.users[user]["uid"]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.env = {}
        for variable, name in (("XDG_CONFIG_HOME", "config"), ("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state")):
            self.env[variable] = f"{self.folder}/{name}"
            os.makedirs(self.env[variable], 0o700)
        for path in [self.folder] + list(self.env.values()):
            os.chown(path, uid, uid)
        self.name = None
        self._before = self._standing()

    def run(self, *args, timeout=70, env=None, cwd=None, input=None):
        return self.lab.host.cmd([self.binary, *args], user=self.user, check=False, timeout=timeout,
                                 env={**self.env, **(env or {})}, cwd=cwd, input=input)

    def popen(self, *args, env=None, **kw):
        """For `run` in the foreground, `status --watch` and the like."""
        return self.lab.host.popen([self.binary, *args], user=self.user, env={**self.env, **(env or {})}, **kw)

    def up(self, *args, host="guest", check=True, timeout=70, env=None):
        done = self.run("up", "-F", self.lab.ssh_config(self.user), *args, host, timeout=timeout, env=env)
        self.name = args[args.index("--name") + 1] if "--name" in args else host
        if check and done.returncode:
            pytest.fail(f"homeport up: exit {done.returncode}\n{done.stdout}{done.stderr}{self.logs()}")
        return done

    def down(self, name=None, check=True):
        done = self.run("down", name or self.name)
        if check and done.returncode:
            pytest.fail(f"homeport down: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def status(self, name=None):
        """The session's object of `status --json`; None when it is not running."""
        done = self.run("status", name or self.name, "--json")
        if done.returncode == 3:
            return None
        found = json.loads(done.stdout)
        return found[0] if found else None

    def logs(self):
        """What the agent wrote where there is no journal."""
        text = ""
        for folder, _, files in os.walk(self.env["XDG_STATE_HOME"]):
            for name in files:
                if "log" in name:
                    with open(os.path.join(folder, name), errors="replace") as f:
                        text += f"--- {name}\n{f.read()[-8000:]}"
        return text

    def write_config(self, name, text, mode=0o600):
        """Writes NAME.yaml where `homeport up NAME` looks."""
        folder = self.env["XDG_CONFIG_HOME"] + "/homeport"
        os.makedirs(folder, 0o700, exist_ok=True)
        path = f"{folder}/{name}.yaml"
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        uid = self.lab.host.users[self.user]["uid"]
        for p in (folder, path):
            os.chown(p, uid, uid)
        return path

    def _standing(self):
        """What must be the same before and after: processes by command, mounts and listeners of both machines."""
        state = {}
        for machine in (self.lab.host, self.lab.guest):
            for _, line in machine.processes().values():
                if not line.startswith("ss "):
                    state[f"{machine.name}: process {line}"] = True
            for mount in machine.mounts():
                state[f"{machine.name}: mount {mount[0]} {mount[1]}"] = True
            for listener in machine.listeners():
                state[f"{machine.name}: listener {listener}"] = True
        return set(state)

    def left(self):
        """What stands now and did not when this object was made, as readable lines."""
        return sorted(self._standing() - self._before)

    def finish(self):
        """Ends all sessions as a user would, then insists that nothing is left, then ends what is."""
        sessions = self.env["XDG_RUNTIME_DIR"] + "/homeport"
        for name in os.listdir(sessions) if os.path.isdir(sessions) else []:
            self.run("down", name)
        self.lab.end_started()
        end = time.monotonic() + 5
        while self.left() and time.monotonic() < end:
            time.sleep(0.02)
        left = self.left()
        if left:
            new = [line.split(": process ", 1)[1] for line in left if ": process " in line]
            for machine in (self.lab.host, self.lab.guest):
                for outer, (_, line) in machine.processes().items():
                    if line in new:
                        os.kill(outer, signal.SIGKILL)
            pytest.fail("left behind:\n  " + "\n  ".join(left) + "\n" + self.logs())


@pytest.fixture
def homeport(lab):
    one = Homeport(lab)
    yield one
    one.finish()


# ----------------------------------------------------------------------------------------------- the run as a whole


def pytest_configure(config):
    config.addinivalue_line("markers", "timeout(seconds): fail the test after this many seconds instead of 60")
    config.addinivalue_line("markers", "long: only run by `make test-long`")
    config.addinivalue_line("markers", "root: needs root although it uses no fixture of the lab")
    config.left_out = {}


def pytest_collection_modifyitems(config, items):
    keep, left_out = [], []
    for item in items:
        reason = None
        if os.geteuid() != 0 and (item.get_closest_marker("root") or NEED_ROOT & set(item.fixturenames)):
            reason = "needs root"
        elif item.get_closest_marker("long") and not os.environ.get("HOMEPORT_TEST_LONG"):
            reason = "for make test-long"
        if reason:
            config.left_out.setdefault(reason, []).append(item.nodeid)
            left_out.append(item)
        else:
            keep.append(item)
    items[:] = keep
    if left_out:
        config.hook.pytest_deselected(items=left_out)


class TimedOut(Exception):
    pass


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """An alarm over set-up, test and teardown, by far the simplest thing that ends a hung test with a traceback."""
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else 60

    def on_alarm(*_):
        signal.alarm(20)  # once more, should the teardown hang too
        raise TimedOut(f"{item.nodeid} took longer than {seconds} s")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    yield
    signal.alarm(0)


def allowed_skips():
    """{node id: reason} of tests/skips.txt, whose lines read `tests/e2e/test_x.py::test_y: reason`."""
    allowed = {}
    try:
        with open(os.path.join(os.path.dirname(HERE), "skips.txt")) as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    node, reason = line.rstrip("\n").split(": ", 1)
                    allowed[node] = reason
    except FileNotFoundError:
        pass
    return allowed


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Of several processes that test, each has left out the same."""
    node.config.left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = {reason: list(items)
                                                   for reason, items in session.config.left_out.items()}
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    stats = reporter.stats if reporter else {}

    def number(*kinds):
        return sum(len(stats.get(k, [])) for k in kinds)

    allowed = allowed_skips()
    skipped = {r.nodeid for kind in ("skipped", "xfailed") for r in stats.get(kind, [])}
    session.config.bad_skips = sorted(s for s in skipped if s.split("[")[0] not in allowed and s not in allowed)
    if session.config.bad_skips and exitstatus == 0:
        session.exitstatus = 1
    if exitstatus == 5 and session.config.left_out:  # all there is was left out: said below, not a failure
        session.exitstatus = 0
    line = f"{number('passed')} passed, {number('failed', 'error') + len(session.config.bad_skips)} failed"
    if skipped:
        line += f", {len(skipped)} skipped ({len(session.config.bad_skips)} without leave)"
    for reason, items in session.config.left_out.items():
        line += f", {len(items)} left out ({reason})"
    if os.environ.get("HOMEPORT_E2E_REPORT"):
        with open(os.environ["HOMEPORT_E2E_REPORT"], "w") as f:
            f.write(line + "\n")


def pytest_terminal_summary(terminalreporter, config):
    for node in getattr(config, "bad_skips", []):
        terminalreporter.write_line(f"SKIPPED WITHOUT LEAVE {node}: tests/skips.txt does not list it")
    for reason, items in config.left_out.items():
        terminalreporter.write_line(f"left out, {reason}: {len(items)} tests")
