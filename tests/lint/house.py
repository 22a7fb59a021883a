#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The rules of the house that no compiler knows: who may include whom, where each library lives, what opens a file.

Includes are followed through the project's own headers, so a rule cannot be walked around by way of a header.
"""
import os
import re
import subprocess
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
FOLDERS = {"common": ["common"], "host-agent": ["host-agent", "common"], "guest-agent": ["guest-agent", "common"]}

# Functions over bytes and structs: no descriptor, no clock, no loop. (<sys/socket.h> is fine: it names the families.)
PURE = {"mux", "session", "sftp_wire", "control_msg", "open_args", "wire_fields", "node", "rules", "rule", "lease", "wire",
        "datagram", "histogram", "op_counters"}
IMPURE = re.compile(r"^(unistd|fcntl|poll|time|pthread|loop|event2/.*|sys/(time|timerfd|epoll|eventfd|ioctl|un))\.h$")
IMPURE_CALL = re.compile(r"\b(socket|open|openat|close|read|write|recv|send|poll|time|gettimeofday|clock_gettime)\(")

# Each library has one home.
HOMES = [
    (re.compile(r"^event2/"), re.compile(r"^common/loop\.c$"), "libevent"),
    (re.compile(r"^openssl/"), re.compile(r"^common/chan_tls\.c$"), "libssl"),
    (re.compile(r"^libssh/"), re.compile(r"^host-agent/(chan_ssh|ssh_auth|ssh_login)\.c$"), "libssh"),
    (re.compile(r"^(fuse.*|fuse3/.*|linux/fuse)\.h$"),
     re.compile(r"^guest-agent/(fuse_\w+|mount|invalidator)\.[ch]$"), "libfuse"),
    (re.compile(r"^yaml\.h$"), re.compile(r"^host-agent/config\w*\.[ch]$"), "libyaml"),
    (re.compile(r"^linux/(netlink|sock_diag|inet_diag|unix_diag)\.h$"),
     re.compile(r"^(guest-agent/sockdiag|host-agent/(route_watch|peer_owner|socket_files))\.c$"), "netlink"),
    (re.compile(r"^linux/bpf\.h$"), re.compile(r"^guest-agent/bpf_watch\.c$"), "bpf(2)"),
]
NEVER = [  # (file, header of the project it must not reach, why)
    (re.compile(r"^host-agent/fsop"), re.compile(r"^(mux|session|chan\w*|relay|peer|link)\.h$"), "no mux, no ssh here"),
]

problems = []


def problem(path, what):
    problems.append(f"{path}: {what}")


def read(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def find(name, folders):
    return next((f"{d}/{name}" for d in folders if os.path.exists(f"{d}/{name}")), None)


def reached(path, folders, seen=None):
    """Every (header, file that names it) reached from a file; the project's own headers are followed."""
    seen = {} if seen is None else seen
    for kind, name in INCLUDE.findall(read(path)):
        if (kind, name) in seen:
            continue
        seen[(kind, name)] = path
        if kind == '"' and (inner := find(name, folders)):
            reached(inner, folders, seen)
    return seen


def check_includes(path):
    folder, base = os.path.split(path)
    folders = FOLDERS[folder]
    for (kind, name), by in reached(path, folders).items():
        way = "" if by == path else f" (through {by})"
        if kind == '"' and not find(name, folders):
            problem(path, f'includes "{name}", which is not in {" or ".join(folders)}{way}')
        if base.split(".")[0] in PURE and IMPURE.match(name):
            problem(path, f"is pure, yet includes <{name}>{way}")
        for file, header, why in NEVER:
            if file.match(path) and header.match(name):
                problem(path, f"includes {name}{way}: {why}")
    if base.split(".")[0] in PURE and (call := IMPURE_CALL.search(without_comments(read(path)))):
        problem(path, f"is pure, yet calls {call.group(1)}()")
    for kind, name in INCLUDE.findall(read(path)):
        for headers, home, library in HOMES:
            if kind == "<" and headers.match(name) and not home.match(path):
                problem(path, f"includes <{name}>: {library} lives in {home.pattern}")


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\])*\"", " ", text, flags=re.S)


def check_text(path, text):
    if re.search(r"\.(c|h|py|sh|mk)$|(^|/)(Makefile|run)$|\.[1-8]$", path):
        head = "\n".join(text.split("\n")[:3])
        if "SPDX-License-Identifier: MIT" not in head:
            problem(path, "does not open with its SPDX line")
    if path.endswith((".c", ".h", ".py", ".sh")) or path == "Makefile":
        for number, line in enumerate(text.split("\n"), 1):
            if not path.endswith(".py") and len(line.expandtabs(8)) > 120:
                problem(f"{path}:{number}", "wider than 120 columns")
            if line.rstrip() != line:
                problem(f"{path}:{number}", "ends in blanks")
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not path.startswith("tests/lint/"):
                problem(f"{path}:{number}", "leaves work for later")


def check_place(path, text, place):
    """A file must not know where somebody checked the tree out."""
    for number, line in enumerate(text.split("\n"), 1):
        if place in line:
            problem(f"{path}:{number}", f"names {place}, a folder of one machine")


def checkout():
    here = os.getcwd()
    top = "/" + here.split("/")[1]
    return here if top in ("/home", "/root", "/tmp", "/usr", "/var", "/opt", "/srv", "/mnt", "/") else top + "/"


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
    place = checkout()
    for path in subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines():
        if path.startswith("tests/fuzz/corpus/") or not os.path.isfile(path):
            continue
        text = read(path)
        check_text(path, text)
        check_place(path, text, place)
        if os.path.dirname(path) in FOLDERS and path.endswith((".c", ".h")):
            check_includes(path)
    for line in problems:
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
