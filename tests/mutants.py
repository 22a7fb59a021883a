#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make mutants: every end-to-end subject must turn red when its planted fault is in.

tests/mutants/NAME.patch holds one small fault. Its first line names the subject that must see it, as pytest takes it
below tests/e2e (`subject: test_ports.py`, `subject: test_lab.py::test_ssh_works`), then a sentence on what it plants,
then the diff. In a copy of the tree, built there:

  1. without any fault every named subject is green, or its red would mean nothing;
  2. with the fault the tree still builds, and the subject is red because a test failed, not for another reason.

A tests/e2e/test_*.py that no patch names fails the run too. Arguments pick patches by name. The judge is itself judged
first, on a small tree with a fault that is seen, one that is not, one that does not build and one that does not apply.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
TIMEOUT = 600


def run(argv, cwd, **kw):
    return subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **kw)


def subject_of(patch):
    with open(patch) as f:
        first = f.readline().strip()
    if not first.startswith("subject: "):
        raise SystemExit(f"mutants: {patch}: the first line is not `subject: test_x.py`")
    return first[len("subject: "):]


def copy_tree(source, target):
    """What git knows or would add, as it stands now: uncommitted work is judged too."""
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=source, check=True,
                           capture_output=True).stdout
    subprocess.run(["rsync", "-a", "--ignore-missing-args", "--files-from=-", "--from0", source + "/", target],
                   check=True, input=names)


def build(tree):
    return run(["make", "-s", "-j2", "all", "posix"], tree, timeout=TIMEOUT)


def test(tree, subject):
    """pytest's exit status and output: 0 green, 1 a test failed, anything else is no answer."""
    env = dict(os.environ, HOMEPORT_BUILD=tree + "/build", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    env.pop("HOMEPORT_E2E_REPORT", None)
    return run(["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x", "tests/e2e/" + subject],
               tree, env=env, timeout=TIMEOUT)


def judge(tree, patch):
    """(True, "seen") when the fault turns its subject red; else (False, what is wrong). Leaves the tree as it was."""
    applied = run(["git", "apply", "--whitespace=nowarn", patch], tree)
    if applied.returncode:
        return False, "does not apply any more:\n" + applied.stdout
    try:
        built = build(tree)
        if built.returncode:
            return False, "does not build:\n" + built.stdout[-2000:]
        tested = test(tree, subject_of(patch))
        if tested.returncode == 0:
            return False, f"NOT SEEN: {subject_of(patch)} is green with the fault in"
        if tested.returncode != 1:
            return False, f"pytest ended with {tested.returncode}:\n" + tested.stdout[-2000:]
        failed = [line for line in tested.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return True, "seen: " + (failed[0].split(" - ")[0] if failed else "")
    finally:
        run(["git", "apply", "-R", "--whitespace=nowarn", patch], tree)


def baseline(tree, patches):
    """Subjects that are red without any fault, with their output."""
    red = {}
    for subject in sorted({subject_of(p) for p in patches}):
        tested = test(tree, subject)
        if tested.returncode:
            red[subject] = tested.stdout[-3000:]
    return red


def self_check():
    """The verdict on four faults whose verdict is known."""
    diff = "--- a/{0}\n+++ b/{0}\n@@ -1 +1 @@\n-{1}\n+{2}\n"
    faults = {
        "seen": (("tests/e2e/value", "1", "2"), True, "seen"),
        "unseen": (("tests/e2e/other", "1", "2"), False, "NOT SEEN"),
        "unbuilt": (("Makefile", "all posix:", "all posix: missing"), False, "does not build"),
        "stale": (("tests/e2e/value", "7", "8"), False, "does not apply"),
    }
    with tempfile.TemporaryDirectory(prefix="homeport-mutants-") as tree:
        os.makedirs(tree + "/tests/e2e")
        files = {"Makefile": "all posix:\n", "tests/e2e/value": "1\n", "tests/e2e/other": "1\n",
                 "tests/e2e/test_value.py": "def test_one():\n    assert open('tests/e2e/value').read() == '1\\n'\n"}
        for name, text in files.items():
            with open(f"{tree}/{name}", "w") as f:
                f.write(text)
        for name, (change, good, verdict) in faults.items():
            patch = f"{tree}/{name}.patch"
            with open(patch, "w") as f:
                f.write("subject: test_value.py\n" + diff.format(*change))
            found = judge(tree, patch)
            if found[0] != good or not found[1].startswith(verdict):
                raise SystemExit(f"mutants: the judge is wrong about the fault `{name}`: {found}")
        if baseline(tree, [tree + "/seen.patch"]):
            raise SystemExit("mutants: the judge calls a green subject red")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="patches to try; default: all")
    parser.add_argument("--self-check", action="store_true", help="only judge the judge")
    args = parser.parse_args()
    self_check()
    if args.self_check:
        return 0
    root = os.path.dirname(HERE)
    known = sorted(f[:-len(".patch")] for f in os.listdir(HERE + "/mutants") if f.endswith(".patch"))
    wrong = [n for n in args.names if n not in known]
    if wrong:
        raise SystemExit(f"mutants: no tests/mutants/{wrong[0]}.patch; there are: {' '.join(known)}")
    patches = {n: f"{HERE}/mutants/{n}.patch" for n in args.names or known}
    bad = []
    with tempfile.TemporaryDirectory(prefix="homeport-mutants-") as tree:
        copy_tree(root, tree)
        built = build(tree)
        if built.returncode:
            raise SystemExit("mutants: the tree does not build:\n" + built.stdout[-2000:])
        for subject, output in baseline(tree, patches.values()).items():
            raise SystemExit(f"mutants: {subject} is red without any fault:\n{output}")
        for name, patch in patches.items():
            began = time.monotonic()
            good, verdict = judge(tree, patch)
            print(f"{'ok  ' if good else 'FAIL'}  {name:28} {verdict}  {time.monotonic() - began:.1f}s", flush=True)
            if not good:
                bad.append(name)
    if not args.names:
        named = {subject_of(p).split("::")[0].split(" ")[0] for p in patches.values()}
        for subject in sorted(f for f in os.listdir(HERE + "/e2e") if f.startswith("test_") and f not in named):
            print(f"FAIL  {subject}: no fault is planted for it")
            bad.append(subject)
    print(f"mutants: {len(patches)} planted, {len(bad)} wrong" + (": " + " ".join(bad) if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
