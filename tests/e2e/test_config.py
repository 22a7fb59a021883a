# SPDX-License-Identifier: MIT
"""The configuration as a person meets it: each mistake at its line and column, exit status 2, nothing started."""
import json
import os
import re
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from lab import REPOSITORY

BUILD = os.path.abspath(os.environ.get("HOMEPORT_BUILD", os.path.join(REPOSITORY, "build")))
HOMEPORT = os.path.join(BUILD, "homeport")


@pytest.fixture
def person(tmp_path):
    """A home with a configuration folder, and `homeport` run in it."""

    class Person:
        home = tmp_path
        folder = tmp_path / ".config/homeport"

        def write(self, text, name="dev.yaml", mode=0o600):
            path = self.folder / name
            path.write_text(text)
            path.chmod(mode)
            return path

        def run(self, *argv):
            env = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
            done = subprocess.run([HOMEPORT, *argv], cwd=self.home, env={**env, "HOME": str(self.home)},
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
            assert "Sanitizer" not in done.stderr
            return done

    Person.folder.mkdir(parents=True)
    return Person()


def test_every_problem_is_printed_with_file_line_and_column(person):
    path = person.write("mount: []\nmounts:\n- location: ~/nope\n  writable: flase\nssh: {port: 0}\n")
    done = person.run("config", "check", str(path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f'{path}:1:1: unknown key "mount"; did you mean "mounts"?',
        f'{path}:3:13: location: "{person.home}/nope" does not exist; create it or correct the path',
        f"{path}:4:13: writable: expected true or false, found flase",
        f"{path}:5:13: port: 0 is out of range; write 1 to 65535",
    ]


def test_a_location_that_does_not_exist_is_an_error(person):
    path = person.write("mounts:\n- location: ~/nope\n")
    done = person.run("config", "check", "dev")
    assert done.returncode == 2
    assert done.stderr == (f'{path}:2:13: location: "{person.home}/nope" does not exist; '
                           "create it or correct the path\n")
    (person.home / "nope").mkdir()
    done = person.run("config", "check", "dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: fine\n", "")


def test_all_files_are_checked_when_none_is_named(person):
    good, bad = person.write("mounts: []\n", "a.yaml"), person.write("x: 1\n", "b.yaml")
    person.write("not one of ours", "notes.txt")
    done = person.run("config", "check")
    assert done.returncode == 2
    assert done.stdout == f"{good}: fine\n"
    assert done.stderr.startswith(f'{bad}:1:1: unknown key "x"')


def test_what_show_prints_is_a_configuration_that_shows_the_same(person):
    person.write('mounts:\n- location: "~"\n- location: ~/src\n  writable: true\n'
                 "portForwards:\n- {guestPort: 80, hostPort: 8080}\nsessionTimeout: 90m\n")
    first = person.run("config", "show", "dev")
    assert first.returncode == 0
    person.write(first.stdout)
    assert person.run("config", "show", "dev").stdout == first.stdout
    assert f'location: "{person.home}/src"' in first.stdout


def test_what_show_prints_passes_the_check(person):
    (person.home / "src").mkdir()
    person.write('mounts: [{location: "~/src", writable: true, uidMap: [{host: 0, guest: 7}]}]\n'
                 "portForwards: [{guestPortRange: [1, 2], proto: tcp}]\nssh: {host: vm, options: [A=b]}\n")
    shown = person.run("config", "show", "dev").stdout
    path = person.write(shown, "again.yaml")
    done = person.run("config", "check", "again")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: fine\n", "")


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_others_can_write_is_refused(person, mode):
    path = person.write("mounts: []\n", mode=mode)
    done = person.run("config", "check", str(path))
    assert done.returncode == 2
    assert done.stderr == f"{path}: can be written by others; take that away with chmod go-w\n"


@pytest.mark.parametrize("argv, line", [
    ([], "homeport: no command: see homeport --help"),
    (["upp"], 'homeport: unknown command "upp"; did you mean "up"?'),
    (["up", "--mnt", "vm"], "homeport: unknown option --mnt: see homeport up --help"),
    (["up"], "homeport: up: [USER@]HOST[:PORT] | NAME is missing: see homeport up --help"),
    (["doctr"], 'homeport: unknown command "doctr"; did you mean "doctor"?'),
    (["config", "show", "a b"], 'homeport: the host in "a b" has a character no host name has'),
])
def test_wrong_usage_is_one_line_and_status_2(person, argv, line):
    done = person.run(*argv)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line + "\n")


def test_help_and_version_are_on_standard_output(person):
    for argv in (["--help"], ["up", "--help"], ["--version"]):
        done = person.run(*argv)
        assert done.returncode == 0 and done.stdout.startswith("homeport") and done.stderr == ""


def test_no_line_of_a_help_is_longer_than_a_terminals(person):
    listed = person.run("--help").stdout
    commands = [line.split(" [")[0].split(" NAME")[0].split(" DIR")[0].split() for line in listed.splitlines()
                if line.startswith("  ") and line[2] != " "]
    commands = [words[:2] if words[0] in ("config", "guest") else words[:1] for words in commands]
    assert len(commands) >= 23 and ["guest", "uninstall"] in commands
    for words in [[]] + commands:
        shown = person.run(*words, "--help").stdout
        assert shown and not [line for line in shown.splitlines() if len(line) > 80], words


# ------------------------------------------------------------------------------------------------------- init and schema


@pytest.fixture
def schema(person):
    return json.loads(person.run("config", "schema").stdout)


def is_taken(person, text):
    """Whether homeport reads it; that a file it names is not there is another matter."""
    done = person.run("config", "check", str(person.write(text)))
    wrong = [line for line in done.stderr.splitlines() if "warning:" not in line and "does not exist;" not in line]
    return not wrong


def passes(schema, text):
    try:
        jsonschema.validate(yaml.safe_load(text), schema, cls=jsonschema.Draft202012Validator)
        return True
    except jsonschema.ValidationError:
        return False


def levels(schema, path=()):
    """Each mapping of a configuration: (its schema, the path to it)."""
    yield schema, path
    for key, value in schema["properties"].items():
        for inner in (value, value.get("items", {})):
            if "properties" in inner:
                yield from levels(inner, path + ((key, inner is not value),))


# What an entry cannot do without, so that what is tried in it is all that is wrong.
NEEDED = {"location": "~", "host": 0, "guest": 0}


def document(path, entry):
    """A configuration with an entry at the end of a path."""
    for depth in range(len(path), 0, -1):
        key, listed = path[depth - 1]
        entry = {key: [entry] if listed else entry}
        if depth > 1 and path[depth - 2][0] == "mounts":
            entry["location"] = "~"
    return yaml.safe_dump(entry, default_flow_style=True)


def test_init_writes_a_file_that_is_fine_and_does_not_write_it_again(person):
    path = person.folder / "dev.yaml"
    done = person.run("init", "dev")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: written; change it, then `homeport up dev`\n"
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert person.run("config", "check", "dev").stdout == f"{path}: fine\n"
    assert yaml.safe_load(text) == {"ssh": {"host": "dev"}}
    done = person.run("init", "dev")
    assert (done.returncode, done.stderr) == (1, f"homeport: init: {path} is there already; it stays as it is\n")
    assert path.read_text() == text


def test_init_without_a_name_writes_to_standard_output_alone(person):
    done = person.run("init")
    assert done.returncode == 0 and yaml.safe_load(done.stdout) == {"ssh": {"host": "vm"}}
    assert list(person.folder.iterdir()) == []


def test_init_tells_an_editor_where_the_schema_is_installed(person):
    (person.home / "bin").mkdir()
    (person.home / "share/homeport").mkdir(parents=True)
    schema = person.home / "share/homeport/homeport.schema.json"
    schema.write_text("{}")
    shutil.copy(HOMEPORT, person.home / "bin")
    shown = subprocess.run([person.home / "bin/homeport", "init"], capture_output=True, text=True, timeout=20).stdout
    first, rest = shown.split("\n", 1)
    assert first == f"# yaml-language-server: $schema={schema}"
    assert rest.startswith("# vm, for") and person.run("init").stdout.startswith("# vm, for")


@pytest.mark.parametrize("key_there", [False, True])
def test_every_commented_line_is_valid_alone_and_with_all_others(person, schema, key_there):
    if key_there:
        (person.home / ".ssh").mkdir()
        (person.home / ".ssh/id_ecdsa").write_text("")
    assert person.run("init", "dev").returncode == 0
    lines = (person.folder / "dev.yaml").read_text().splitlines()
    commented = [i for i, line in enumerate(lines) if re.match(r" *#[^ ]", line)]
    assert len(commented) == 17 + key_there and any("id_ecdsa" in lines[i] for i in commented) == key_there
    for chosen in [commented, *([i] for i in commented)]:
        text = "".join((line.replace("#", "", 1) if i in chosen else line) + "\n" for i, line in enumerate(lines))
        path = person.write(text, "tried.yaml")
        done = person.run("config", "check", "tried")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: fine\n", ""), text
        assert passes(schema, text)
        assert yaml.safe_load(text) != {"ssh": {"host": "dev"}}


def test_init_explains_every_key(person, schema):
    text = person.run("init").stdout
    for level, path in levels(schema):
        if path[-1:] not in ((("uidMap", True),), (("gidMap", True),)):
            for key in level["properties"]:
                assert key == "reverse" or re.search(rf"^ *#? *\(?{key}\b", text, re.M), key


def examples():
    """Configurations that others have written: the manuals', the README's, and those the fuzzer starts from."""
    for page in ("homeport.yaml.5", "homeport.1"):
        text = open(f"{REPOSITORY}/host-agent/{page}").read()
        for block in re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed", text, re.M | re.S):
            yield block.replace("\\(dq", '"')
    yield from re.findall(r"^```yaml\n(.*?)^```", open(f"{REPOSITORY}/README.md").read(), re.M | re.S)
    corpus = f"{REPOSITORY}/tests/fuzz/corpus/config"
    for name in sorted(os.listdir(corpus)):
        with open(f"{corpus}/{name}", "rb") as f:
            yield f.read().decode(errors="replace")


def test_what_homeport_takes_the_schema_takes(person, schema):
    taken = [text for text in examples() if is_taken(person, text)]
    assert len(taken) >= 4
    for text in taken:
        assert passes(schema, text), text


def test_each_key_that_homeport_refuses_the_schema_refuses(person, schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    known = {key for level, _ in levels(schema) for key in level["properties"]}
    assert {"host", "location", "guestPort", "count", "maxForwards"} <= known
    later = {"sync"}
    for level, path in levels(schema):
        needed = {key: NEEDED[key] for key in level.get("required", [])}
        right = document(path, needed)
        assert (is_taken(person, right), passes(schema, right)) == (True, True), right
        for key in (known | later | {"nonsense", "Host"}) - set(level["properties"]):
            text = document(path, {**needed, key: {}})
            assert not passes(schema, text), text
        text = document(path, {**needed, "nonsense": 1})
        assert not is_taken(person, text), text
        for key in needed:
            text = document(path, {k: v for k, v in needed.items() if k != key})
            assert (is_taken(person, text), passes(schema, text)) == (False, False), text


def test_each_key_refuses_a_value_of_another_kind(person, schema):
    for level, path in levels(schema):
        needed = {key: NEEDED[key] for key in level.get("required", [])}
        for key in level["properties"]:
            for wrong in ({"a": "b"}, [{"a": "b"}], [[]], 70000000000, ""):
                text = document(path, {**needed, key: wrong})
                if not is_taken(person, text):
                    assert not passes(schema, text), text
