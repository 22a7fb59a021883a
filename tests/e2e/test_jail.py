# SPDX-License-Identifier: MIT
"""What a hostile client of a share cannot do: leave it, change a read-only one, see what is masked, be anything else."""
import errno
import os
import re
import shutil
import stat
import struct
import subprocess

import pytest

import native_client as nc
from lab import REPOSITORY
from native_client import ROOT, Client, string

HOMEPORT = os.path.join(os.environ.get("HOMEPORT_BUILD") or os.path.join(REPOSITORY, "build"), "homeport")
SECRET = b"secret of the host"


@pytest.fixture
def home(tmp_path):
    """A folder to share, beside one that holds a secret; links of all kinds lead there."""
    folder = tmp_path / "home"
    outside = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (folder / "file").write_text("shared")
    (folder / "sub" / "below").write_text("shared too")
    os.symlink(outside / "secret", folder / "absolute")
    os.symlink("../outside/secret", folder / "relative")
    os.symlink("../..", folder / "up")
    os.symlink("/proc/self/root", folder / "magic")
    os.symlink("/", folder / "slash")
    return folder


@pytest.fixture
def serve():
    clients = []

    def make(path, *options, native=True, home=None, **kw):
        options = ["--home", str(home)] if home else ["--no-mask"]
        clients.append(Client.spawn([HOMEPORT, "sftp-server", *options, *make.options, str(path)], native, **kw))
        return clients[-1]

    make.options = []
    yield make
    for client in clients:
        client.close()


@pytest.fixture
def serve_writable(serve):
    serve.options = ["--writable"]
    return serve


def errno_of(call, *args, **kw):
    with pytest.raises(OSError) as caught:
        call(*args, **kw)
    return caught.value.errno


def stock(client, kind, body):
    client.last += 1
    client.packet(struct.pack(">BI", kind, client.last) + body)
    reader = nc.Reader(client.receive())
    answer, _ = reader.take("BI")
    return answer, reader


def snapshot(folder):
    """Everything that can be changed in a tree, but for atime."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in folders + files + ["."]:
            path = os.path.join(top, name)
            st = os.lstat(path)
            data = open(path, "rb").read() if stat.S_ISREG(st.st_mode) else ""
            data = os.readlink(path) if stat.S_ISLNK(st.st_mode) else data
            found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_size, st.st_mtime_ns, st.st_ctime_ns,
                           data)
    return found


# ---- out of the share


@pytest.mark.parametrize("name", [b"", b".", b"..", b"/", b"a/b", b"../outside", b"sub/../..", b"/etc/passwd", b"a\0b",
                                  b"..\0", b"x" * 256])
def test_no_native_request_takes_what_is_no_name(serve_writable, home, name):
    c = serve_writable(home)
    wanted = errno.ENAMETOOLONG if len(name) > 255 else errno.EINVAL
    before = snapshot(home)
    sub, _ = c.lookup(ROOT, b"sub")
    file, _ = c.lookup(ROOT, b"file")
    for call in (lambda: c.lookup(ROOT, name), lambda: c.mkdir(ROOT, name), lambda: c.unlink(ROOT, name),
                 lambda: c.mknod(ROOT, name),
                 lambda: c.rmdir(ROOT, name), lambda: c.symlink(ROOT, name, b"x"), lambda: c.create(ROOT, name),
                 lambda: c.rename(ROOT, name, sub, b"x"), lambda: c.rename(ROOT, b"file", sub, name),
                 lambda: c.link(file, sub, name)):
        assert errno_of(call) == wanted
    assert snapshot(home) == before


def test_a_link_is_never_followed_for_a_native_client(serve_writable, home):
    c = serve_writable(home)
    for name in (b"absolute", b"relative", b"up", b"magic", b"slash"):
        node, attr = c.lookup(ROOT, name)
        assert stat.S_ISLNK(attr.mode)
        assert errno_of(c.open, node) == errno.ELOOP
        assert errno_of(c.opendir, node) == errno.ENOTDIR
        assert errno_of(c.lookup, node, b"secret") in (errno.ENOTDIR, errno.ELOOP)
        assert errno_of(c.mkdir, node, b"x") == errno.ENOTDIR
        assert errno_of(c.setattr, node, mode=0o777) == errno.EOPNOTSUPP
        assert errno_of(c.setattr, node, size=0) == errno.EINVAL


@pytest.mark.parametrize("path", [b"/absolute", b"/relative", b"/up/outside/secret", b"/magic/etc/passwd", b"../outside/secret",
                                  b"/../../../../etc/passwd", b"/slash/../../etc/passwd", b"/sub/../../outside/secret",
                                  b"//..//outside/secret", b"up/up/up/etc/passwd", b"/proc/self/root/etc/passwd"])
def test_no_path_leads_a_stock_client_outside(serve, home, path):
    c = serve(home, native=False)
    for kind, more in ((3, struct.pack(">II", 1, 0)), (17, b""), (11, b"")):
        answer, reader = stock(c, kind, string(path) + more)
        assert answer == 101 and reader.u32() in (2, 4)


def test_links_of_the_share_are_followed_inside_for_a_stock_client(serve, home):
    os.symlink("/sub/below", home / "inside")
    os.symlink("slash/up/sub", home / "around")
    c = serve(home, native=False)
    for path in (b"/inside", b"/around/below", b"/slash/slash/file", b"/../sub/../../file"):
        assert stock(c, 17, string(path))[0] == 105, path
    os.symlink("loop", home / "loop")
    answer, reader = stock(c, 17, string(b"/loop"))
    assert answer == 101 and reader.u32() == 2


def test_a_folder_swapped_for_a_link_while_it_is_held_is_not_followed(serve, home, tmp_path):
    c = serve(home)
    sub, _ = c.lookup(ROOT, b"sub")
    below, _ = c.lookup(sub, b"below")
    (tmp_path / "outside" / "below").write_bytes(SECRET)
    os.rename(home / "sub", home / "was")
    os.symlink(tmp_path / "outside", home / "sub")
    fh, _, data = c.open(below, want=100) if errno_free(c.open, below) else (0, None, b"")
    assert data != SECRET


def errno_free(call, *args):
    try:
        call(*args)
        return True
    except OSError as e:
        assert e.errno == errno.ESTALE
        return False


def test_a_file_that_is_no_regular_one_is_never_opened(serve_writable, home):
    os.mkfifo(home / "fifo")
    c = serve_writable(home)
    node, attr = c.lookup(ROOT, b"fifo")
    assert stat.S_ISFIFO(attr.mode)
    for flags in (nc.O_READ, nc.O_WRITE, nc.O_READ | nc.O_WRITE):
        assert errno_of(c.open, node, flags) == errno.ENXIO
    d = serve_writable(home, native=False)
    answer, reader = stock(d, 3, string(b"/fifo") + struct.pack(">II", 1, 0))
    assert answer == 101 and reader.u32() == 4


def test_a_share_that_is_named_by_a_link_is_the_folder_it_led_to(serve, home, tmp_path):
    os.symlink("home", tmp_path / "named")
    c = serve(tmp_path / "named")
    os.unlink(tmp_path / "named")
    os.symlink("outside", tmp_path / "named")
    assert {e.name for e in c.listdir(ROOT)} >= {b"file", b"sub"}


# ---- a read-only share


def modifying(c, node, fh):
    """Every row of the table that modifies, as bytes."""
    caller = c.caller()
    return {
        nc.SETATTR: caller + struct.pack(">QQIIIIQqIqI", node, 0, nc.SET_MODE, 0o777, 0, 0, 0, 0, 0, 0, 0),
        nc.SYMLINK: caller + struct.pack(">Q", ROOT) + string(b"new") + string(b"x"),
        nc.MKDIR: caller + struct.pack(">Q", ROOT) + string(b"new") + struct.pack(">I", 0o777),
        nc.MKNOD: caller + struct.pack(">Q", ROOT) + string(b"new") + struct.pack(">III", 0o100644, 0, 0),
        nc.UNLINK: caller + struct.pack(">Q", ROOT) + string(b"file"),
        nc.RMDIR: caller + struct.pack(">Q", ROOT) + string(b"sub"),
        nc.RENAME: caller + struct.pack(">Q", ROOT) + string(b"file") + struct.pack(">Q", ROOT) + string(b"new") +
        struct.pack(">I", 0),
        nc.LINK: caller + struct.pack(">QQ", node, ROOT) + string(b"new"),
        nc.CREATE: caller + struct.pack(">Q", ROOT) + string(b"new") + struct.pack(">II", nc.O_WRITE, 0o644),
        nc.WRITE: caller + struct.pack(">QQ", fh, 0) + string(b"changed"),
        nc.TMPFILE: caller + struct.pack(">QII", ROOT, nc.O_READ | nc.O_WRITE, 0o644),
        nc.FALLOCATE: caller + struct.pack(">QIQQ", fh, 0, 0, 4096),
        nc.COPY: caller + struct.pack(">QQQQQ", fh, 0, fh, 10, 10),
        nc.SETXATTR: caller + struct.pack(">Q", node) + string(b"user.new") + string(b"value") + struct.pack(">I", 0),
        nc.REMOVEXATTR: caller + struct.pack(">Q", node) + string(b"user.new"),
    }


def modifying_by_the_protocol():
    """The requests that PROTOCOL.md marks so."""
    with open(REPOSITORY + "/common/PROTOCOL.md") as f:
        return {int(number) for number in re.findall(r"^\| (\d+) \| [A-Z]+\* \|", f.read(), re.MULTILINE)}


def test_every_modifying_request_is_refused_on_a_read_only_share(serve, home):
    c = serve(home)
    node, _ = c.lookup(ROOT, b"file")
    fh, _, _ = c.open(node)
    before = snapshot(home)
    assert set(modifying(c, node, fh)) == modifying_by_the_protocol()
    for kind, body in modifying(c, node, fh).items():
        assert c.raw(kind, body)[0] == errno.EROFS, kind
        assert c.raw(kind)[0] == errno.EROFS, "even when nothing of it can be read"
    for flags in (nc.O_WRITE, nc.O_READ | nc.O_WRITE, nc.O_WRITE | nc.O_TRUNC, nc.O_WRITE | nc.O_APPEND):
        assert errno_of(c.open, node, flags) == errno.EROFS
    assert snapshot(home) == before


def test_every_modifying_request_of_a_stock_client_is_refused_on_a_read_only_share(serve, home):
    c = serve(home, native=False)
    before = snapshot(home)
    mode = struct.pack(">II", 4, 0o777)
    for kind, body in ((3, string(b"/file") + struct.pack(">II", 2, 0)), (3, string(b"/new") + struct.pack(">II", 10, 0)),
                       (3, string(b"/file") + struct.pack(">II", 1 | 16, 0)), (9, string(b"/file") + mode),
                       (13, string(b"/file")), (14, string(b"/new") + mode), (15, string(b"/sub")),
                       (18, string(b"/file") + string(b"/new")), (20, string(b"x") + string(b"/new")),
                       (200, string(b"posix-rename@openssh.com") + string(b"/file") + string(b"/new")),
                       (200, string(b"hardlink@openssh.com") + string(b"/file") + string(b"/new")),
                       (200, string(b"lsetstat@openssh.com") + string(b"/file") + mode)):
        answer, reader = stock(c, kind, body)
        assert answer == 101 and reader.u32() in (3, 4), (kind, body)
    assert snapshot(home) == before


# ---- masks


SECRETS = [".ssh/id_ed25519", ".gnupg/private-keys-v1.d/key", ".aws/credentials", ".kube/config", ".netrc",
           ".docker/config.json", ".config/gcloud/token", ".local/share/keyrings/login.keyring", ".mozilla/cookies",
           ".config/google-chrome/Cookies", ".config/gh/hosts.yml", ".git-credentials", ".npmrc", ".bash_history"]
SHOWN = [".ssh ", ".SSH", ".netrc~", "ssh", ".config/ghost", ".docker/config.json.bak", "src/.ssh/config", ".bashrc"]


@pytest.fixture
def masked(home):
    for name in SECRETS + SHOWN:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SECRET if name in SECRETS else b"shown")
    return home


def reach(c, path):
    """What a native client finds at a path, or the errno of the name that is not there."""
    try:
        return c.walk(os.fsencode(path))
    except OSError as e:
        return e.errno


def all_names(c, node=ROOT, prefix=b""):
    for entry in c.listdir(node):
        if entry.node:
            yield prefix + entry.name
            if stat.S_ISDIR(entry.attr.mode):
                yield from all_names(c, entry.node, prefix + entry.name + b"/")


def test_secrets_are_as_if_absent(serve, masked):
    c = serve(masked, home=masked)
    for path in SECRETS:
        assert reach(c, path) == errno.ENOENT, path
    for path in SHOWN:
        assert isinstance(reach(c, path), tuple), path
    names = {os.fsdecode(n) for n in all_names(c)}
    assert not names & set(SECRETS) and names >= set(SHOWN)
    d = serve(masked, home=masked, native=False)
    for path in SECRETS:
        answer, reader = stock(d, 17, string(b"/" + os.fsencode(path)))
        assert answer == 101 and reader.u32() == 2, path


def test_they_are_shown_when_asked_for(serve, masked):
    c = serve(masked)
    assert {os.fsdecode(n) for n in all_names(c)} >= set(SECRETS)


def test_a_share_above_or_below_the_home_masks_the_same_folders(serve, masked):
    assert reach(serve(masked.parent, home=masked), "home/.netrc") == errno.ENOENT
    assert reach(serve(masked / ".config", home=masked), "gh") == errno.ENOENT
    assert isinstance(reach(serve(masked / ".config", home=masked), "ghost"), tuple)


def test_a_link_to_a_secret_leads_nowhere(serve, masked):
    os.symlink(".ssh", masked / "keys")
    os.symlink(".config", masked / "conf")
    os.symlink("sub/../.netrc", masked / "n")
    c = serve(masked, home=masked, native=False)
    for path in (b"/keys/id_ed25519", b"/conf/gh/hosts.yml", b"/n", b"/slash/.netrc", b"/sub/../.ssh/id_ed25519"):
        answer, reader = stock(c, 3, string(path) + struct.pack(">II", 1, 0))
        assert answer == 101 and reader.u32() == 2, path


def test_a_renamed_parent_still_hides_them_and_a_new_one_does_at_once(serve, masked):
    c = serve(masked, home=masked)
    os.rename(masked / ".config", masked / "moved")
    assert reach(c, "moved/gh") == errno.ENOENT
    assert isinstance(reach(c, "moved/ghost"), tuple)
    (masked / ".config" / "gh").mkdir(parents=True)
    assert reach(c, ".config/gh") == errno.ENOENT


def test_a_secret_that_is_a_link_is_masked_where_it_lies(serve, masked):
    shutil.move(masked / ".ssh", masked / "src" / "dotssh")
    os.symlink("src/dotssh", masked / ".ssh")
    c = serve(masked, home=masked)
    assert reach(c, ".ssh") == reach(c, "src/dotssh") == errno.ENOENT


def test_a_hard_link_made_elsewhere_is_another_name_and_visible(serve, masked):
    os.link(masked / ".netrc", masked / "copy")
    c = serve(masked, home=masked)
    assert isinstance(reach(c, "copy"), tuple)


def test_nothing_can_be_made_or_moved_where_a_mask_is(serve_writable, masked):
    c = serve_writable(masked, home=masked)
    config, _ = c.lookup(ROOT, b".config")
    file, _ = c.lookup(ROOT, b"file")
    before = snapshot(masked)
    for parent, name in ((ROOT, b".ssh"), (ROOT, b".netrc"), (ROOT, b".pgpass"), (config, b"gh"), (config, b"autostart"),
                         (config, b"systemd"), (ROOT, b".bash_profile")):
        for call in (lambda: c.mkdir(parent, name), lambda: c.create(parent, name, nc.O_WRITE),
                     lambda: c.symlink(parent, name, b"x"), lambda: c.mknod(parent, name),
                     lambda: c.rename(ROOT, b"file", parent, name), lambda: c.link(file, parent, name),
                     lambda: c.rename(parent, name, ROOT, b"out"), lambda: c.unlink(parent, name),
                     lambda: c.rmdir(parent, name)):
            assert errno_of(call) == errno.EACCES, name
    # Nor can the folder be moved away, to be replaced by one of the client's own.
    for call in (lambda: c.rename(ROOT, b".config", ROOT, b"c"), lambda: c.rename(ROOT, b"sub", ROOT, b".docker"),
                 lambda: c.rename(ROOT, b"sub", ROOT, b".config", nc.EXCHANGE),
                 lambda: c.symlink(ROOT, b".local", b"sub")):
        assert errno_of(call) == errno.EACCES
    assert snapshot(masked) == before
    c.mkdir(ROOT, b".cargo")


def test_what_the_host_would_execute_stays_as_it_is(serve_writable, masked):
    (masked / ".config" / "autostart").mkdir()
    (masked / ".config" / "autostart" / "a.desktop").write_text("shown")
    c = serve_writable(masked, home=masked)
    autostart, _ = c.walk(b".config/autostart")
    before = snapshot(masked)
    for path in (b".bashrc", b".config/autostart/a.desktop"):
        node, _ = c.walk(path)
        fh, _, data = c.open(node, want=10)
        assert data == b"shown"
        for call in (lambda: c.open(node, nc.O_WRITE), lambda: c.open(node, nc.O_WRITE | nc.O_TRUNC),
                     lambda: c.setattr(node, mode=0o777), lambda: c.setattr(node, size=0),
                     lambda: c.setattr(node, fh, mode=0o777), lambda: c.link(node, ROOT, b"another")):
            assert errno_of(call) == errno.EACCES, path
        c.release(fh)
    for call in (lambda: c.create(autostart, b"b.desktop"), lambda: c.unlink(autostart, b"a.desktop"),
                 lambda: c.setattr(autostart, mode=0o777), lambda: c.rename(autostart, b"a.desktop", ROOT, b"x")):
        assert errno_of(call) == errno.EACCES
    d = serve_writable(masked, home=masked, native=False)
    for kind, body in ((3, string(b"/.bashrc") + struct.pack(">II", 2, 0)), (13, string(b"/.bashrc")),
                       (3, string(b"/.config/autostart/b") + struct.pack(">II", 10, 0)),
                       (13, string(b"/.config/autostart/a.desktop")),
                       (9, string(b"/.bashrc") + struct.pack(">II", 4, 0o777)),
                       (200, string(b"hardlink@openssh.com") + string(b"/.bashrc") + string(b"/h")),
                       (200, string(b"posix-rename@openssh.com") + string(b"/.bashrc") + string(b"/h"))):
        answer, reader = stock(d, kind, body)
        assert answer == 101 and reader.u32() == 3, body
    assert snapshot(masked) == before
    serve_writable.options += ["--no-mask"]
    shutil.copytree(masked / "src" / ".ssh", masked / ".ssh", dirs_exist_ok=True)
    c = serve_writable(masked, home=masked)
    node, _ = c.walk(b".ssh/config")
    assert errno_of(c.open, node, nc.O_WRITE) == errno.EACCES


@pytest.mark.parametrize("name", ["bin", ".local/bin", ".cargo/bin", ".oh-my-zsh"])
def test_programs_the_hosts_shell_finds_are_not_the_clients(serve_writable, masked, name):
    (masked / name).mkdir(parents=True)
    (masked / name / "ls").write_text("shown")
    c = serve_writable(masked, home=masked)
    folder, _ = c.walk(os.fsencode(name))
    node, _ = c.lookup(folder, b"ls")
    for call in (lambda: c.create(folder, b"sudo"), lambda: c.open(node, nc.O_WRITE), lambda: c.unlink(folder, b"ls")):
        assert errno_of(call) == errno.EACCES


def test_a_folder_that_the_environment_has_elsewhere_is_not_the_clients_either(serve_writable, masked, monkeypatch):
    """Of Lima's files the host executes what they name; it may be kept in any folder."""
    (masked / "vms" / "lima" / "default").mkdir(parents=True)
    (masked / "vms" / "lima" / "default" / "ssh.config").write_text("shown")
    monkeypatch.setenv("LIMA_HOME", str(masked / "vms" / "lima"))
    c = serve_writable(masked, home=masked)
    node, _ = c.walk(b"vms/lima/default/ssh.config")
    folder, _ = c.walk(b"vms/lima/default")
    vms, _ = c.walk(b"vms")
    for call in (lambda: c.open(node, nc.O_WRITE), lambda: c.unlink(folder, b"ssh.config"), lambda: c.mkdir(folder, b"x"),
                 lambda: c.rename(vms, b"lima", vms, b"l"), lambda: c.rename(ROOT, b"vms", ROOT, b"v")):
        assert errno_of(call) == errno.EACCES
    c.mkdir(vms, b"other")


@pytest.mark.parametrize("target", ["dotfiles/bashrc", "dotfiles/second"])
def test_what_a_link_of_the_homes_leads_to_stays_where_it_is(serve_writable, masked, target):
    """Many keep their dot files in a folder, and links to them: neither the file, nor the folder, nor a link on the way
    can be replaced by the client's own."""
    (masked / "dotfiles" / "config").mkdir(parents=True)
    (masked / "dotfiles" / "bashrc").write_text("shown")
    os.symlink("bashrc", masked / "dotfiles" / "second")
    os.unlink(masked / ".bashrc")
    os.symlink(target, masked / ".bashrc")
    shutil.rmtree(masked / ".config")
    os.symlink("dotfiles/config", masked / ".config")
    c = serve_writable(masked, home=masked)
    dotfiles, _ = c.walk(b"dotfiles")
    bashrc, _ = c.walk(b"dotfiles/bashrc")
    c.mkdir(ROOT, b"own")
    own, _ = c.walk(b"own")
    c.mkdir(own, b"autostart")
    before = snapshot(masked)
    for call in (lambda: c.open(bashrc, nc.O_WRITE), lambda: c.rename(ROOT, b"dotfiles", ROOT, b"d"),
                 lambda: c.rename(ROOT, b"own", ROOT, b"dotfiles", nc.EXCHANGE),
                 lambda: c.rename(dotfiles, b"config", ROOT, b"c"),
                 lambda: c.rename(ROOT, b"own", dotfiles, b"config", nc.EXCHANGE),
                 lambda: c.unlink(dotfiles, target.encode().split(b"/")[1])):
        assert errno_of(call) == errno.EACCES
    assert snapshot(masked) == before


# ---- the process


def test_the_process_has_given_up_all_but_the_share(serve, home):
    inherited = os.open("/etc/passwd", os.O_RDONLY)
    try:
        c = serve(home, pass_fds=[inherited])
    finally:
        os.close(inherited)
    status = open(f"/proc/{c.process.pid}/status").read()
    assert "NoNewPrivs:\t1\n" in status and "Seccomp:\t2\n" in status
    c.getattr(ROOT)
    if os.geteuid() == 0:
        links = [os.readlink(f"/proc/{c.process.pid}/fd/{n}") for n in os.listdir(f"/proc/{c.process.pid}/fd")]
        assert "/etc/passwd" not in links
        assert os.stat(f"/proc/{c.process.pid}/fd").st_uid == 0


def test_a_server_ends_when_its_client_does(serve, home):
    c = serve(home)
    c.lookup(ROOT, b"file")
    c.sock.close()
    assert c.process.wait(5) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_of_a_privileged_server_are_given_to_the_caller(serve_writable, home):
    c = serve_writable(home)
    for name, make in ((b"f", lambda: c.create(ROOT, b"f", uid=1234, gid=2345)),
                       (b"d", lambda: c.mkdir(ROOT, b"d", uid=1234, gid=2345))):
        made = make()
        assert (made[1].uid, made[1].gid) == (1234, 2345)
        st = os.stat(home / os.fsdecode(name))
        assert (st.st_uid, st.st_gid) == (1234, 2345)
    os.chown(home / "d", -1, 77)
    os.chmod(home / "d", 0o2755)
    d, _ = c.lookup(ROOT, b"d")
    _, attr, _, _ = c.create(d, b"in", uid=1234, gid=2345)
    assert (attr.uid, attr.gid) == (1234, 77)


def without_landlock():
    """In the child: a kernel that answers ENOSYS for landlock_create_ruleset(2), by a filter of seccomp(2)."""
    import ctypes
    program = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 444, 0x06, 0, 0, 0x50000 | errno.ENOSYS, 0x06, 0, 0,
                          0x7FFF0000)
    code = ctypes.create_string_buffer(program)
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)
    assert libc.prctl(22, 2, ctypes.c_char_p(struct.pack("HxxxxxxQ", 4, ctypes.addressof(code)))) == 0


def test_without_landlock_it_refuses_in_one_line_unless_told_to_do_its_best(home):
    argv = [HOMEPORT, "sftp-server", "--no-mask", str(home)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=without_landlock)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "no Landlock" in done.stderr and "--sandbox=best-effort" in done.stderr
    argv.insert(2, "--sandbox=best-effort")
    with Client.spawn(argv, preexec_fn=without_landlock, stderr=subprocess.PIPE, text=True) as c:
        c.lookup(ROOT, b"file")
        status = open(f"/proc/{c.process.pid}/status").read()
        assert "NoNewPrivs:\t1\n" in status and "Seccomp:\t2\n" in status
    assert "no Landlock" in c.process.stderr.read()
    c.process.stderr.close()
