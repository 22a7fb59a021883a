#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make docs-picture: what README.md shows of a session, from a real one.

In a lab (tests/lab) a person types the commands below, on a terminal of 80 columns. What they see becomes
docs/session.svg, and the text between the two comments of README.md that name this script."""
import html
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/lab"))

from lab import BUILD_AT, Lab  # noqa: E402

COLUMNS = 80
TYPED = [
    "homeport up --mount '~' --mount '~/src:w' dev",
    "cd ~/src/app && homeport shell dev sh -c 'hostname; pwd; ls'",
    "curl -s localhost:8000/hostname",
    "homeport status",
    "homeport ports dev",
]
IN_PICTURE = TYPED[:4]
SERVERS = {"guest": [("python3 -m http.server -b 127.0.0.1 -d /etc 8000", 8000), ("busybox httpd -f -p 3000 -h /tmp", 3000),
                     ("python3 -m http.server -b 127.0.0.1 5432", 5432)],
           "host": [("python3 -m http.server -b 127.0.0.1 5432", 5432)]}
CONFIG = "Host dev\n  HostName {address}\n  User me\n  IdentityFile ~/.ssh/{key}\n  IdentitiesOnly yes\n"


def wait_for(machine, port):
    for _ in range(500):
        if any(name.endswith(f":{port}") for name in machine.listeners()):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


def set_up(lab):
    host, guest = lab.host, lab.guest
    for side, rows in SERVERS.items():
        machine = getattr(lab, side)
        for command, port in rows:
            machine.popen(command, user="me", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for(machine, port)
    lab.use_home_ssh()
    folder = host.home("me") + "/.ssh"
    key = next(n for n in sorted(os.listdir(host.path(folder))) if n.startswith("id_") and not n.endswith(".pub"))
    with open(host.path(folder + "/config"), "w") as f:
        f.write(CONFIG.format(address=guest.address, key=key))
    host.cmd("mkdir -p ~/src/app && cd ~/src/app && touch Makefile main.c", user="me")
    host.cmd("install -d -o me -m 700 /run/user/1000")


def type_in(lab, command):
    """What a terminal shows of it: script(1) makes one, stty says how wide it is."""
    env = {"XDG_RUNTIME_DIR": "/run/user/1000", "PATH": f"{BUILD_AT}:/usr/bin:/bin", "TERM": "xterm"}
    done = lab.host.cmd(["script", "-qec", f"stty cols {COLUMNS} rows 40; {command}", "/dev/null"], user="me", env=env,
                        check=False, timeout=90)
    shown = re.sub(r"[^\n]*\n\x1b\[K", "", done.stdout)  # progress, which the next line replaces; a \r is read as \n
    shown = re.sub(r"\^@|\0|\^D\x08\x08", "", shown)  # the end of what is typed, which here is nothing
    assert "\x1b" not in shown, shown
    return [line[at:at + COLUMNS] for line in shown.rstrip("\n").split("\n") for at in range(0, len(line) or 1, COLUMNS)]


def svg(session):
    lines = [(kind, text) for command, shown in session for kind, text in
             [("typed", command), *(("shown", line) for line in shown), ("shown", "")]][:-1]
    high, wide, edge = 18, 8.4, 16
    width, height = int(COLUMNS * wide + 2 * edge), len(lines) * high + 2 * edge
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-size="14" xml:space="preserve" '
           'font-family="ui-monospace, DejaVu Sans Mono, Menlo, monospace">',
           '<rect width="100%" height="100%" rx="8" fill="#1d1f21"/>']
    for i, (kind, text) in enumerate(lines):
        y = edge + i * high + 13
        size = f'textLength="{len(text) * wide:.0f}"' if text else ""
        if kind == "typed":
            out.append(f'<text x="{edge}" y="{y}" fill="#8abeb7">$ <tspan fill="#fff">{html.escape(text)}</tspan></text>')
        elif text:
            out.append(f'<text x="{edge}" y="{y}" fill="#c5c8c6" {size}>{html.escape(text)}</text>')
    return "\n".join(out + ["</svg>", ""])


def put_into_readme(session):
    path = os.path.join(TOP, "README.md")
    text = "\n".join(line for command, shown in session for line in [f"    $ {command}", *(f"    {s}".rstrip() for s in shown), ""])
    with open(path) as f:
        readme = f.read()
    begin, end = "<!-- of tests/docs/picture.py: begin -->\n", "<!-- of tests/docs/picture.py: end -->"
    head, rest = readme.split(begin)
    with open(path, "w") as f:
        f.write(head + begin + "\n" + text + "\n" + end + rest.split(end)[1])


def main():
    with Lab(guest_binary=False, host_name="laptop", guest_name="dev") as lab:
        set_up(lab)
        session = [(command, type_in(lab, command)) for command in TYPED]
        type_in(lab, "homeport down dev")
    for command, shown in session:
        print(f"$ {command}", *shown, sep="\n")
    with open(os.path.join(TOP, "docs/session.svg"), "w") as f:
        f.write(svg([(command, shown) for command, shown in session if command in IN_PICTURE]))
    put_into_readme(session[-1:])


main()
