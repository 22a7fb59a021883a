#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the pages in Markdown point at is there: files and headings by their links, tests by their names."""
import os
import re
import subprocess
import sys

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)
TEST = re.compile(r"`(test_\w+)(\.py)?`")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)


def anchors(text):
    """Of each heading, as GitHub makes them: lower case, no punctuation, blanks to hyphens, the second of a name -1."""
    seen, found = {}, set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if name in seen else name)
        seen[name] = seen.get(name, 0) + 1
    return found


def tracked(pattern):
    return subprocess.run(["git", "ls-files", "-z", "--", pattern], capture_output=True, text=True,
                          check=True).stdout.rstrip("\0").split("\0")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def check(page, tests):
    text = read(page)
    shown = FENCE.sub(lambda fence: "\n" * fence.group().count("\n"), text)
    for found in LINK.finditer(shown):
        at = f"{page}:{shown.count(chr(10), 0, found.start()) + 1}"
        target, _, anchor = found.group(1).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
        if not os.path.exists(path):
            yield f"{at}: {target} is not there"
        elif anchor and (not path.endswith(".md") or anchor not in anchors(read(path))):
            yield f"{at}: {path} has no heading #{anchor}"
    for found in TEST.finditer(shown):
        at = f"{page}:{shown.count(chr(10), 0, found.start()) + 1}"
        if found.group(1) not in tests:
            yield f"{at}: there is no test {found.group(1)}"


def main():
    tests = {os.path.splitext(os.path.basename(path))[0] for path in tracked("tests/*/test_*.py") if path}
    for path in tracked("tests/e2e/test_*.py"):
        tests |= set(re.findall(r"^def (test_\w+)", read(path), re.M)) if path else set()
    problems = [problem for page in tracked("*.md") if page for problem in check(page, tests)]
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


sys.exit(main())
