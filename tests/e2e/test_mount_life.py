# SPDX-License-Identifier: MIT
"""How a mount begins and ends, what it outlives, and what it says when it cannot be."""
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import stop_process, wait_until
from mounted import GUEST, HOST, Mounted

pytestmark = pytest.mark.root


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    with open("/proc/self/mountinfo") as f:
        for line in f:
            if line.split()[4].startswith(str(tmp_path)):
                subprocess.run(["umount", "-l", line.split()[4]], timeout=10)


def restarting(folder):
    """A mount whose server is started again when it dies, but not while the file `away` is there."""
    away = f"{folder}/away"
    serve = f'while [ -e "{away}" ]; do sleep 0.02; done; exec "{HOST}" sftp-server --writable "{folder}/host"'
    return Mounted(folder, options=["-o", "reconnect"], command=["sh", "-c", serve]), away


def kill_server(m):
    os.kill(m.children()["server"], signal.SIGKILL)


def nothing_left(m, before=()):
    assert not m.is_mounted()
    wait_until(lambda: not m.children(), what="the helper and the server end")


@pytest.mark.parametrize("how", ["fusermount3", "SIGTERM", "SIGINT", "umount"])
def test_it_ends_when_told_to_and_leaves_nothing(folder, how):
    with Mounted(folder) as m:
        os.listdir(m.guest)
        if how == "fusermount3":
            subprocess.run(["fusermount3", "-u", m.guest], check=True, timeout=10)
        elif how == "umount":
            subprocess.run(["umount", m.guest], check=True, timeout=10)
        else:
            m.process.send_signal(getattr(signal, how))
        assert m.wait() == 0, m.log()
        nothing_left(m)


def test_a_busy_mount_goes_from_its_place_at_once(folder):
    with Mounted(folder) as m:
        (folder / "host" / "f").write_text("f")
        fd = os.open(m.guest + "/f", os.O_RDONLY)
        m.process.send_signal(signal.SIGTERM)
        assert m.wait() == 0, m.log()
        nothing_left(m)
        os.close(fd)


def test_the_commands_end_ends_it_with_a_line(folder):
    with Mounted(folder) as m:
        os.kill(m.children()["server"], signal.SIGKILL)
        assert m.wait() == 1
        assert "homeport was killed by signal 9" in m.log()
        nothing_left(m)


def test_no_mount_outlives_an_agent_that_was_killed(folder):
    with Mounted(folder) as m:
        m.process.kill()
        m.wait()
        wait_until(lambda: not m.is_mounted(), what="the helper takes the mount away")


def refused(folder, where, *command, options=(), env=None):
    os.makedirs(folder / "host", exist_ok=True)
    command = command or (HOST, "sftp-server", folder / "host")
    done = subprocess.run([GUEST, "mount", *options, where, "--", *command], capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    with open("/proc/self/mountinfo") as f:
        assert not any(line.split()[4] == str(where) for line in f)
    return done.returncode, done.stderr


def test_a_mount_point_that_is_missing_is_made(folder):
    m = Mounted(folder)
    m.guest = f"{folder}/a/b/c"
    m.argv[m.argv.index("--") - 1] = m.guest
    with m:
        assert os.listdir(m.guest) == []
    assert os.stat(m.guest).st_mode & 0o777 == 0o555


def test_a_mount_point_that_is_not_empty(folder):
    (folder / "full" / "inner").mkdir(parents=True)
    code, said = refused(folder, folder / "full")
    assert (code, said) == (1, f"homeport-guest: mount: {folder}/full: the folder is not empty, and the mount would "
                               "hide what is in it; empty it, or choose another mount point\n")


def test_a_mount_point_that_is_taken(folder):
    with Mounted(folder) as m:
        os.makedirs(folder / "other")
        done = subprocess.run([GUEST, "mount", m.guest, "--", HOST, "sftp-server", folder / "other"],
                              capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stderr) == (1, f"homeport-guest: mount: {m.guest}: something is mounted there; "
                                                  "unmount it, or choose another mount point\n")
        assert m.is_mounted()


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_something_in_the_way(folder, kind):
    if kind == "symlink":
        os.symlink("/tmp", folder / "way")
    else:
        (folder / "way").write_text("")
    code, said = refused(folder, folder / "way" / "m")
    assert (code, said) == (1, f"homeport-guest: mount: {folder}/way/m: a symlink or a file is in the way\n")


def test_the_home_is_never_hidden(folder):
    home = folder / "home" / "me"
    home.mkdir(parents=True)
    code, said = refused(folder, home, env={"HOME": str(home)})
    assert code == 2 and "whose .ssh the mount would hide" in said
    code, said = refused(folder, home.parent, env={"HOME": str(home)})
    assert code == 2 and "contains the login user's home" in said


@pytest.mark.parametrize("command, says", [
    (["/nonexistent/command"], "/nonexistent/command: No such file or directory"),
    (["false"], "false ended with exit status 1"),
    (["echo", "Welcome to this machine!"], "its bytes are not SFTP"),
    (["sh", "-c", "printf '\\0\\0\\0\\5\\2\\0\\0\\0\\3'; sleep 10"], "it is not a homeport server of this version"),
    (["cat", "/dev/zero"], "its bytes are not SFTP"),
])
def test_a_command_that_does_not_serve(folder, command, says):
    code, said = refused(folder, folder / "guest", *command)
    assert code == 1 and says in said


@pytest.mark.parametrize("argv", [[], ["-o", "colour=red", "m", "--", "true"], ["m", "true"], ["m", "--"], ["-x", "m"]])
def test_wrong_usage(argv):
    done = subprocess.run([GUEST, "mount", *argv], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and "usage: homeport-guest mount" in done.stderr


def test_no_dev_fuse(folder):
    """In a mount namespace of its own, where /dev/fuse is a plain file."""
    script = 'mount --bind /dev/null /dev/fuse; exec "$@"'
    os.makedirs(folder / "host")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", GUEST, "mount", folder / "guest", "--", HOST,
                           "sftp-server", folder / "host"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "mount" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


# ------------------------------------------------------------------------------ the server dies, and is there again


def test_the_mount_outlives_its_server(folder):
    m, _ = restarting(folder)
    with m:
        os.makedirs(m.host + "/d/e")
        with open(m.host + "/d/e/f", "w") as f:
            f.write("before")
        assert open(m.guest + "/d/e/f").read() == "before"
        os.chdir(m.guest + "/d/e")
        try:
            for i in range(5):
                kill_server(m)
                assert open("f").read() == "before", "found again by name"
                assert sorted(os.listdir(".")) == (["f", "g"] if i else ["f"])
                with open("g", "w") as f:
                    f.write(str(i))
                assert open(m.host + "/d/e/g").read() == str(i)
        finally:
            os.chdir("/")


def test_what_was_replaced_meanwhile_is_another_file(folder):
    m, away = restarting(folder)
    with m:
        os.mkdir(m.host + "/d")
        with open(m.host + "/d/f", "w") as f:
            f.write("old")
        fd = os.open(m.guest + "/d/f", os.O_RDONLY)
        folder_fd = os.open(m.guest + "/d", os.O_RDONLY)
        open(away, "w").close()
        kill_server(m)
        os.rename(m.host + "/d", m.host + "/was")
        os.mkdir(m.host + "/d")
        for name in "fg":
            with open(f"{m.host}/d/{name}", "w") as f:
                f.write("new")
        os.unlink(away)
        with pytest.raises(OSError) as e:
            os.stat("g", dir_fd=folder_fd)
        assert e.value.errno == errno.ESTALE
        with pytest.raises(OSError) as e:
            os.pread(fd, 10, 0)
        assert e.value.errno == errno.ESTALE
        assert open(m.guest + "/d/f").read() == "new"
        os.close(fd), os.close(folder_fd)


def test_while_the_server_is_away_the_root_and_statfs_answer_and_the_rest_waits(folder):
    m, away = restarting(folder)
    with m:
        with open(m.host + "/f", "w") as f:
            f.write("f")
        space = os.statvfs(m.guest)
        root = os.stat(m.guest)
        open(away, "w").close()
        kill_server(m)
        wait_until(lambda: "lost" in m.log() or "killed by signal 9" in m.log(), what="the loss is noticed")
        time.sleep(1.1)
        again = os.stat(m.guest)
        assert (again.st_ino, again.st_mode) == (root.st_ino, root.st_mode)
        assert os.statvfs(m.guest).f_blocks == space.f_blocks
        got = []
        reader = threading.Thread(target=lambda: got.append(open(m.guest + "/f").read()))
        reader.start()
        reader.join(0.5)
        assert not got, "it waits"
        os.unlink(away)
        reader.join(10)
        assert got == ["f"]


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM])
def test_a_caller_that_is_killed_does_not_wait_for_the_server(folder, signo):
    m, away = restarting(folder)
    with m:
        os.mkdir(m.host + "/d")
        open(away, "w").close()
        kill_server(m)
        wait_until(lambda: "killed by signal 9" in m.log(), what="the loss is noticed")
        for command in (["stat", m.guest + "/d"], ["mkdir", m.guest + "/new"], ["ls", m.guest]):
            caller = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with pytest.raises(subprocess.TimeoutExpired):
                caller.wait(0.2)
            caller.send_signal(signo)
            assert caller.wait(2) == -signo
        os.unlink(away)
        assert os.listdir(m.guest) == ["d"], "what was killed was not done later"


def test_a_writer_that_is_killed_does_not_wait_for_the_server_and_its_bytes_arrive(folder):
    with Mounted(folder) as m:
        server = m.children()["server"]
        script = ("import os,sys; fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644);"
                  "print('open', flush=True); sys.stdin.readline(); os.write(fd, b'bytes'); print('written', flush=True); sys.stdin.readline()")
        writer = subprocess.Popen([sys.executable, "-c", script, m.guest + "/f"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "open\n"
        stop_process(server)
        try:
            writer.stdin.write("\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "written\n"
            writer.kill()
            assert writer.wait(3) == -signal.SIGKILL
        finally:
            os.kill(server, signal.SIGCONT)
        wait_until(lambda: open(m.host + "/f").read() == "bytes", what="what was written arrives")


def test_a_process_that_ends_has_its_bytes_on_the_host(folder):
    delayed = os.path.dirname(os.path.realpath(__file__)) + "/delayed.py"
    command = [sys.executable, delayed, "150", HOST, "sftp-server", "--writable", f"{folder}/host"]
    with Mounted(folder, command=command) as m:
        script = "import os,sys; os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644), b'bytes')"
        subprocess.run([sys.executable, "-c", script, m.guest + "/f"], check=True, timeout=20)
        assert open(m.host + "/f").read() == "bytes"


def test_a_signal_that_does_not_kill_interrupts_nothing(folder):
    delayed = os.path.dirname(os.path.realpath(__file__)) + "/delayed.py"
    command = [sys.executable, delayed, "100", HOST, "sftp-server", "--writable", f"{folder}/host"]
    with Mounted(folder, command=command) as m:
        script = ("import os,signal,sys; signal.signal(signal.SIGALRM, lambda *a: None);"
                  "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01); os.mkdir(sys.argv[1]); os.stat(sys.argv[1]);"
                  "signal.setitimer(signal.ITIMER_REAL, 0)")
        subprocess.run([sys.executable, "-c", script, m.guest + "/d"], check=True, timeout=20)
        assert os.path.isdir(m.host + "/d")


def test_many_files_are_forgotten_when_the_kernel_forgets(folder):
    with Mounted(folder) as m:
        for i in range(2000):
            open(f"{m.host}/{i}", "w").close()
        for e in os.scandir(m.guest):
            e.stat()

        def memory():
            with open(f"/proc/{m.process.pid}/statm") as f:
                return int(f.read().split()[1])

        before = memory()
        for _ in range(5):
            with open("/proc/sys/vm/drop_caches", "w") as f:
                f.write("2")
            for e in os.scandir(m.guest):
                e.stat()
        assert memory() < before + 1000, "pages"
