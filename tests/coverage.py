#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make coverage: lines run by the unit and end-to-end tests, a row a file, least covered first.

Everything is built once more below BUILD with gcov's counters. The machines of the lab throw away what is written below
their root, and every user writes: so counters go through GCOV_PREFIX to the build folder both machines share, into
files made beforehand that everybody may write. The share's server cannot write them from within its sandbox; what only
it runs is counted by its unit tests alone.
"""
import json
import os
import subprocess
import sys

BUILD_AT = "/opt/homeport"


def gcov(build, note):
    """[(source file, {line: count})] of one object."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", note], capture_output=True, text=True)
    for text in done.stdout.splitlines():
        for source in json.loads(text)["files"]:
            yield source["file"], {line["line_number"]: line["count"] for line in source["lines"]}


def notes(build):
    for folder, _, files in os.walk(build):
        yield from (os.path.join(folder, f) for f in files if f.endswith(".gcno"))


def main():
    build = os.path.realpath(sys.argv[1])
    make = ["make", "-s", "-j2", f"BUILD={build}", "EXTRA_CFLAGS=--coverage -Og -Wno-error", "EXTRA_LDFLAGS=--coverage"]
    subprocess.run(make + ["tests-built"], check=True)
    for note in notes(build):
        counters = note[:-len("gcno")] + "gcda"
        open(counters, "w").close()
        os.chmod(counters, 0o666)
    env = dict(os.environ, BUILD=build)
    unit = subprocess.run(["tests/run.sh", "unit", "fuzz"], env=env).returncode
    env.update(GCOV_PREFIX=BUILD_AT, GCOV_PREFIX_STRIP=str(build.strip("/").count("/") + 1))
    e2e = subprocess.run(["tests/run.sh", "e2e"], env=env).returncode

    lines = {}
    for note in notes(build):
        for source, counts in gcov(build, note):
            if source.startswith(("common/", "host-agent/", "guest-agent/")):
                known = lines.setdefault(source, {})
                for number, count in counts.items():
                    known[number] = known.get(number, 0) + count
    rows = sorted((sum(c > 0 for c in counts.values()) / len(counts), len(counts), source)
                  for source, counts in lines.items() if counts)
    print("\n  lines  covered  file")
    for share, number, source in rows:
        print(f"{number:7}  {share:6.1%}  {source}")
    total = sum(n for _, n, _ in rows)
    print(f"{total:7}  {sum(s * n for s, n, _ in rows) / total if total else 0:6.1%}  all")
    with open(build + "/coverage.json", "w") as f:
        json.dump({source: counts for source, counts in sorted(lines.items())}, f)
    return unit or e2e


if __name__ == "__main__":
    sys.exit(main())
