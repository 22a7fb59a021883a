# SPDX-License-Identifier: MIT
"""link_probe.c, built from the archives at hand and run on a lab's host: the link without the agent around it."""
import os
import subprocess
import threading

from lab import BUILD_AT, REPOSITORY

LIBRARIES = ["libssh", "libevent_core", "yaml-0.1", "libseccomp"]


def folder():
    return os.environ.get("HOMEPORT_BUILD") or os.path.join(REPOSITORY, "build")


def compile_once(name, newer_than, *args):
    """A program from tests/e2e/NAME.c, made when it is missing or old. Returns where the lab sees it."""
    binary = f"{folder()}/test/{name}"
    source = os.path.join(REPOSITORY, f"tests/e2e/{name}.c")
    if not os.path.exists(binary) or os.stat(binary).st_mtime < max(newer_than, os.stat(source).st_mtime):
        os.makedirs(os.path.dirname(binary), exist_ok=True)
        libs = subprocess.run(["pkg-config", "--libs", *LIBRARIES], check=True, capture_output=True, text=True).stdout
        subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-pthread", source, *args,
                        *libs.split(), "-o", binary], check=True)
    return f"{BUILD_AT}/test/{name}"


def build():
    """With the sanitized archives where they are up to date, else those that are shipped."""
    flavours = {"rel": ["-O2"], "san": ["-g", "-fsanitize=address,undefined"]}

    def archive(flavour):
        return f"{folder()}/{flavour}/libhost-agent.a"

    def age(flavour):
        return os.stat(archive(flavour)).st_mtime if os.path.exists(archive(flavour)) else 0

    flavour = "san" if age("san") >= age("rel") else "rel"
    assert age(flavour), "the archives of the host's agent are not built"
    return compile_once("link_probe", age(flavour), *flavours[flavour], f"-I{REPOSITORY}/common",
                        f"-I{REPOSITORY}/host-agent", archive(flavour), f"{folder()}/{flavour}/libcommon.a")


def argv(lab, *args, user="me"):
    return [build(), "-F", lab.ssh_config(user), *args]


def run(lab, *args, user="me", config=True, env=None, timeout=30):
    """To its end: (exit status, lines of stdout). With config=False no -F is given."""
    command = argv(lab, *args, user=user) if config else [build(), *args]
    done = lab.host.cmd(command, user=user, check=False, env=env, timeout=timeout)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines(), done.stderr


class Running:
    """link_probe -w, in the background: its lines as they come."""

    def __init__(self, lab, *args, user="me", env=None):
        self.lines = []
        self.process = lab.host.popen(argv(lab, "-w", *args, user=user), user=user, env=env, stdout=subprocess.PIPE,
                                      text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def count(self, start):
        return sum(line.startswith(start) for line in list(self.lines))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
