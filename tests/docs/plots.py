#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make docs-plots: docs/bench.md and its plots, of what `make bench` has just found.

    plots.py BUILD/bench docs"""
import json
import os
import shutil
import sys

HEAD = """# Figures

Made by `make docs-plots`, which runs `make bench` on the machine at hand and keeps what it wrote. The host and the guest are
namespaces of one kernel with a cable between them, so there is no VM's network in it; every candidate has the same one.
A bar to the right says how many times faster homeport is than the best of the others in that row, one to the left how
many times slower.

"""
FEW = """**Of {rounds} round{s}, on a machine that did other things as well**: this shows which rows there are and their order of
magnitude, no more. On an idle machine, `make docs-plots` makes the page anew.

"""
ROUNDS = 5  # from so many on a median says something


def main(bench, docs):
    plots = [kind for kind in ("files", "ports") if os.path.exists(f"{bench}/{kind}.svg")]
    with open(f"{bench}/results.json") as f:
        rounds = json.load(f)["rounds"]
    few = FEW.format(rounds=rounds, s="" if rounds == 1 else "s") if rounds < ROUNDS else ""
    for kind in plots:
        shutil.copy(f"{bench}/{kind}.svg", f"{docs}/bench-{kind}.svg")
    with open(f"{bench}/results.md") as f:
        _, rest = f.read().split("\n\n", 1)
    for kind in plots:
        rest = rest.replace(f"## {kind}\n", f"## {kind}\n\n![homeport beside its best peer: {kind}](bench-{kind}.svg)\n")
    with open(f"{docs}/bench.md", "w") as f:
        f.write(HEAD + few + rest.rstrip("\n") + "\n")


main(*sys.argv[1:])
