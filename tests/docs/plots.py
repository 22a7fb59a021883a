#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make docs-plots: docs/bench.md and its plots, of what `make bench` has just found.

    plots.py BUILD/bench docs"""
import os
import shutil
import sys

HEAD = """# Figures

Made by `make docs-plots`, which runs `make bench` on the machine at hand and keeps what it wrote. The host and the guest are
namespaces of one kernel with a cable between them, so there is no VM's network in it; every candidate has the same one.
A bar to the right says how many times faster homeport is than the best of the others in that row, one to the left how
many times slower.

"""


def main(bench, docs):
    plots = [kind for kind in ("files", "ports") if os.path.exists(f"{bench}/{kind}.svg")]
    for kind in plots:
        shutil.copy(f"{bench}/{kind}.svg", f"{docs}/bench-{kind}.svg")
    with open(f"{bench}/results.md") as f:
        _, rest = f.read().split("\n\n", 1)
    for kind in plots:
        rest = rest.replace(f"## {kind}\n", f"## {kind}\n\n![homeport beside its best peer: {kind}](bench-{kind}.svg)\n")
    with open(f"{docs}/bench.md", "w") as f:
        f.write(HEAD + rest.rstrip("\n") + "\n")


main(*sys.argv[1:])
