# SPDX-License-Identifier: MIT
"""The house: installing leaves nothing behind, and each check fails when it has to."""
import os
import re
import shutil
import subprocess

import pytest

from lab import REPOSITORY

BUILD = os.environ.get("HOMEPORT_BUILD", os.path.join(REPOSITORY, "build"))


def run(*argv, cwd=REPOSITORY, **env):
    """Not as part of the make that runs the tests, if one does."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(argv, cwd=cwd, env={**inherited, **env}, capture_output=True, text=True)


def names_in(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def files_below(folder):
    return sorted(os.path.relpath(os.path.join(d, f), folder) for d, _, files in os.walk(folder) for f in files)


@pytest.mark.parametrize("systemd", [252, 254])
def test_install_puts_everything_in_its_place_and_uninstall_takes_it_away(tmp_path, systemd):
    make = ["make", "-s", f"BUILD={BUILD}", f"DESTDIR={tmp_path}", "PREFIX=/usr", f"SYSTEMD={systemd}"]
    done = run(*make, "install")
    assert done.returncode == 0, done.stderr
    expected = {f"usr/bin/{p}" for p in ("homeport", "homeport-guest") if os.path.exists(f"{BUILD}/{p}")}
    expected |= {f"usr/libexec/homeport/{p}" for p in files_below(f"{BUILD}/guests")}
    for folder in ("host-agent", "guest-agent"):
        expected |= {f"usr/share/man/man{p[-1]}/{p}" for p in names_in(f"{REPOSITORY}/{folder}")
                     if p[-2:-1] == "." and p[-1].isdigit()}
    expected |= {"usr/share/bash-completion/completions/homeport", "usr/share/zsh/site-functions/_homeport",
                 "usr/share/fish/vendor_completions.d/homeport.fish", "usr/share/homeport/homeport.schema.json"}
    expected |= {f"usr/share/doc/homeport/{page}" for page in names_in(f"{REPOSITORY}/docs")}
    assert "usr/share/doc/homeport/security.md" in expected
    units = os.path.join(REPOSITORY, "systemd")
    for unit in names_in(units):
        if unit.endswith((".service", ".socket")):
            unit = f"usr/lib/systemd/{'user' if unit == 'homeport@.service' else 'system'}/{unit}"
            text = (tmp_path / unit).read_text()
            steps = systemd >= 254 and "\nRestart=" in text
            expected |= {unit, f"{unit}.d/restart-steps.conf"} if steps else {unit}
            assert unit.endswith(".socket") or "\nExecStart=/usr/bin/homeport" in text
            assert "/usr/local" not in text
        elif unit.endswith(".preset"):
            expected.add(f"usr/lib/systemd/{'user' if unit == '80-homeport.preset' else 'system'}-preset/{unit}")
        elif unit == "tmpfiles.d":
            expected |= {f"usr/lib/tmpfiles.d/{conf}" for conf in names_in(f"{units}/{unit}")}
    assert set(files_below(tmp_path)) == expected
    assert run(*make, "uninstall").returncode == 0
    assert files_below(tmp_path) == []


def fake_dpkg(folder, libssh, missing=(), foreign=()):
    """A dpkg-query that knows every package but some, and some of another architecture alone, and libssh in a version; and
    no apt-get, no sudo."""
    known = "\n".join([f"{p}) exit 1 ;;" for p in missing] + [f"{p}) echo vax installed; exit ;;" for p in foreign])
    script = (f'#!/bin/sh\ncase "$3" in\n{known}\nesac\n'
              f'case "$2" in *Version*) echo {libssh} ;; *) echo vax installed; echo all installed ;; esac\n')
    for name, text in (("dpkg-query", script), ("apt-get", "#!/bin/sh\necho apt-get $*\nexit 100\n")):
        with open(folder / name, "w") as f:
            f.write(text)
        os.chmod(folder / name, 0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_deps_refuses_a_libssh_that_does_not_verify(tmp_path):
    done = run("tests/deps.sh", PATH=fake_dpkg(tmp_path, "0.10.6-0+deb12u2"))
    assert done.returncode == 1
    assert done.stderr == ("deps: libssh-dev 0.10.6-0+deb12u2 does not verify what it decrypts (CVE-2026-59847); "
                           "0.10.6-0+deb12u3 or later is needed\n")


def test_deps_leaves_apt_alone_when_all_is_there(tmp_path):
    done = run("tests/deps.sh", PATH=fake_dpkg(tmp_path, "0.10.6-0+deb12u3"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.root
def test_deps_asks_apt_for_what_is_missing_alone(tmp_path):
    done = run("tests/deps.sh", PATH=fake_dpkg(tmp_path, "0.10.6-0+deb12u3", missing=["fio"], foreign=["libfuse3-dev"]))
    assert done.returncode != 0
    assert "deps: installing libfuse3-dev fio\n" in done.stdout


def little_tree(folder, unit_status):
    for d in ("tests/unit", "tests/fuzz", "build/unit"):
        os.makedirs(folder / d)
    shutil.copy(os.path.join(REPOSITORY, "tests/run.sh"), folder / "tests/run.sh")
    (folder / "tests/unit/test_one.c").write_text("")
    (folder / "build/unit/test_one").write_text(f"#!/bin/sh\necho it says why\nexit {unit_status}\n")
    os.chmod(folder / "build/unit/test_one", 0o755)


def test_one_failed_unit_test_fails_the_run_and_is_shown(tmp_path):
    little_tree(tmp_path, 1)
    done = run("tests/run.sh", "unit", "fuzz", cwd=tmp_path, BUILD="build")
    assert done.returncode == 1
    assert "unit  FAIL  test_one\n    it says why\n" in done.stdout
    assert done.stdout.endswith("TESTS FAILED\n")


def test_a_unit_test_that_was_not_built_fails_the_run(tmp_path):
    little_tree(tmp_path, 0)
    os.unlink(tmp_path / "build/unit/test_one")
    assert run("tests/run.sh", "unit", cwd=tmp_path, BUILD="build").returncode == 1


def test_every_request_of_the_protocol_has_a_test_and_a_place_in_the_fuzz_corpus():
    with open(REPOSITORY + "/common/PROTOCOL.md") as f:
        native = {int(number): name for number, name in re.findall(r"^\| (1[2-6]\d) \| ([A-Z]+)\*? \|", f.read(), re.MULTILINE)}
    assert len(native) > 30 and native[157] == "LOCK"
    corpus, seen = REPOSITORY + "/tests/fuzz/corpus/sftp_server", set()
    for name in os.listdir(corpus):
        with open(f"{corpus}/{name}", "rb") as f:
            data = f.read()
        at = 1
        while at + 2 < len(data):  # u16 length, type, the rest: fuzz_sftp_server.c
            seen.add(data[at + 2])
            at += 2 + int.from_bytes(data[at:at + 2], "big")
    stock = {1, *range(3, 21), 200}
    assert not (set(native) | stock) - seen
    tests = "".join(open(f"{REPOSITORY}/tests/e2e/{name}").read() for name in
                    ("native_client.py", "test_sftp_native.py", "test_sftp_stock.py", "test_jail.py", "test_posix_data.py"))
    assert [name for name in native.values() if not re.search(rf"\b{name}\b", tests)] == []


def test_a_fuzz_target_without_a_corpus_fails(tmp_path):
    (tmp_path / "target.c").write_text("int LLVMFuzzerTestOneInput(const char *d, long n) { return 0; }\n")
    (tmp_path / "corpus").mkdir()
    built = run("gcc", "-o", tmp_path / "replay", "tests/fuzz/replay.c", tmp_path / "target.c")
    assert built.returncode == 0, built.stderr
    done = run(tmp_path / "replay", tmp_path / "corpus")
    assert done.returncode == 1
    assert "every fuzz target brings a corpus" in done.stderr
    (tmp_path / "corpus/one").write_text("x")
    assert run(tmp_path / "replay", tmp_path / "corpus").returncode == 0


BREACHES = {
    "an agent's header in common": ("common/a.c", '#include "b.h"\n', "host-agent/b.h", "not in common"),
    "the other agent's header": ("guest-agent/a.c", '#include "b.h"\n', "host-agent/b.h", "not in guest-agent"),
    "a clock in a pure file": ("common/mux.c", "#include <time.h>\n", None, "is pure, yet includes <time.h>"),
    "a clock by way of a header": ("common/mux.c", '#include "b.h"\n', "common/b.h", "(through common/b.h)"),
    "a descriptor in a pure file": ("common/wire.c", "int f(int d) { return close(d); }\n", None, "yet calls close()"),
    "a library away from home": ("host-agent/a.c", "#include <libssh/libssh.h>\n", None, "libssh lives in"),
    "fsop that knows mux": ("host-agent/fsop.c", '#include "mux.h"\n', "common/mux.h", "no mux, no ssh here"),
    "work left for later": ("common/a.c", "/* TO" "DO */\n", None, "leaves work for later"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_lint_sees(breach, tmp_path):
    path, text, header, complaint = BREACHES[breach]
    os.makedirs(tmp_path / "tests/lint")
    shutil.copy(os.path.join(REPOSITORY, "tests/lint/house.py"), tmp_path / "tests/lint")
    spdx = "/* SPDX-License-Identifier: MIT */\n"
    for name, body in ((path, text), (header, "#include <time.h>\n")):
        if name:
            os.makedirs(tmp_path / os.path.dirname(name), exist_ok=True)
            (tmp_path / name).write_text(spdx + body)
    run("git", "init", "-q", cwd=tmp_path)
    run("git", "add", "-A", cwd=tmp_path)
    done = run("tests/lint/house.py", cwd=tmp_path)
    assert done.returncode == 1
    assert complaint in done.stdout


def test_the_judge_of_mutants_is_right_about_known_faults():
    done = run("tests/mutants.py", "--self-check")
    assert done.returncode == 0, done.stdout + done.stderr


PAGES = {
    "a link to no file": ("[x](y.md)\n", "a.md:1: y.md is not there"),
    "a heading that is none": ("# One two\n[x](#one-two)\n\n[x](#two)\n", "a.md:4: a.md has no heading #two"),
    "a heading of another page": ("[x](docs/b.md#here)\n", "a.md:1: docs/b.md has no heading #here"),
    "a test that is none": ("`test_all` and `test_one.py`\n", "a.md:1: there is no test test_all"),
}


@pytest.mark.parametrize("page", PAGES)
def test_lint_sees_what_a_page_points_at(page, tmp_path):
    text, complaint = PAGES[page]
    for name, body in (("a.md", text), ("docs/b.md", "# There\n```\n# here\n```\n[x](../a.md) [y](https://example.org/#z)\n"),
                       ("tests/e2e/test_one.py", "def test_this():\n    pass\n")):
        os.makedirs(tmp_path / os.path.dirname(name), exist_ok=True)
        (tmp_path / name).write_text(body)
    run("git", "init", "-q", cwd=tmp_path)
    run("git", "add", "-A", cwd=tmp_path)
    done = run(os.path.join(REPOSITORY, "tests/lint/links.py"), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, complaint + "\n", "")


def test_what_is_looked_up_as_an_error_is_what_the_programs_say():
    """Of docs/troubleshooting.md, the headings in backquotes; … stands for what differs."""
    said = ""
    for folder in ("common", "host-agent", "guest-agent"):
        for name in names_in(f"{REPOSITORY}/{folder}"):
            if name.endswith(".c"):
                text = open(f"{REPOSITORY}/{folder}/{name}").read()
                said += re.sub(r'"\s*(PRI\w+\s*)?"', "", text)
    with open(f"{REPOSITORY}/docs/troubleshooting.md") as f:
        headings = re.findall(r"^### `(.+)`$", f.read(), re.M)
    others = {"Network is unreachable",  # the C library's, and fusermount3's
              "fuse device not found, try 'modprobe fuse' first", "user has no write access to mountpoint"}
    assert len(headings) > 20 and others < set(headings)
    pieces = [piece.strip(" ,:") for heading in headings if heading not in others for piece in heading.split("…")]
    assert [piece for piece in pieces if piece not in said] == []


def test_the_manual_names_all_that_is_masked():
    with open(os.path.join(REPOSITORY, "host-agent/masks.c")) as f:
        masked = re.findall(r'^\t{"([^"]+)", MASK_', f.read(), re.M)
    with open(os.path.join(REPOSITORY, "host-agent/homeport.yaml.5")) as f:
        section = f.read().split(".Ss What is masked\n")[1].split("\n.Ss ")[0]
    assert len(masked) > 50
    assert re.findall(r"^\.Pa (\S+) [,.]$", section, re.M) == masked
