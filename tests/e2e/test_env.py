# SPDX-License-Identifier: MIT
"""The guest's variables: `env`, this user's proxies, and the tunnel to one that is on the host's loopback."""
import os

from conftest import wait_until
from net import answers, connect, listen
from test_unix_sockets import exchange, row_of

RECORD = "/var/lib/homeport/installed"


def up(homeport, text="", host="guest", env=None, args=()):
    write(homeport, text, host)
    homeport.name = host
    done = homeport.run("up", *args, host, env=env)
    assert done.returncode == 0, done.stderr + homeport.logs()
    return done


def write(homeport, text, host="guest"):
    homeport.write_config(host, f"ssh:\n  configFile: {homeport.lab.ssh_config()}\nmounts: []\n{text}")


def shell(homeport, *words, **kw):
    return homeport.run("shell", homeport.name, "--", *words, cwd="/", timeout=30, **kw)


def variables(homeport):
    done = shell(homeport, "env")
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def proxies(found):
    return {name: value for name, value in found.items() if name.lower().endswith("_proxy")}


def both(**values):
    return values | {name.upper(): value for name, value in values.items()}


def test_a_shell_has_the_variables_of_the_configuration(homeport):
    up(homeport, "env: {A: \"it's $HOME\\n\", B: 1, C: true, D: \"\", E: x}\n", args=["--no-ports"])
    found = homeport.run("shell", "guest", "--", "E=mine", "printf", "%s|", cwd="/")
    assert found.stdout == "|"
    done = shell(homeport, "E=mine", "sh", "-c", "printf '%s|' \"$A\" \"$B\" \"$C\" \"${D-none}\" \"$E\"")
    assert done.stdout == "it's $HOME\n|1|true||mine|"
    done = homeport.run("shell", "guest", cwd="/", input="echo $E\n")
    assert done.stdout == "x\n", "the login shell has them too"


def test_a_proxy_of_the_hosts_loopback_answers_in_the_guest(homeport, host, guest):
    server = listen(host, 3128)
    done = up(homeport, "env: {ftp_proxy: \"http://other:1\"}\n", env={
        "HTTP_PROXY": "http://me:secret@localhost:3128/", "https_proxy": "http://proxy.example:8080",
        "no_proxy": "localhost,.example"})
    assert "proxy 127.0.0.1:3128: guest 127.0.0.1:3128" in done.stdout
    assert proxies(variables(homeport)) == both(
        http_proxy="http://me:secret@127.0.0.1:3128/", https_proxy="http://proxy.example:8080",
        ftp_proxy="http://other:1", no_proxy="localhost,.example")
    exchange(connect(guest, 3128), server)
    row = row_of(homeport, "127.0.0.1:3128")
    assert (row["reverse"], row["process"], row["state"]) == (True, "proxy", "forwarded")
    assert [r["guest"] for r in homeport.status()["ports"] if r["guest"].endswith(":3128")] == ["127.0.0.1:3128"]
    server.close()


def test_a_session_without_ports_has_its_proxy_all_the_same(homeport, host, guest):
    server = listen(host, 3129)
    up(homeport, env={"http_proxy": "http://127.0.0.1:3129"}, args=["--no-ports"])
    exchange(connect(guest, 3129), server)
    assert [row["guest"] for row in homeport.status()["ports"]] == ["127.0.0.1:3129"]
    assert proxies(variables(homeport)) == both(http_proxy="http://127.0.0.1:3129")
    assert "127.0.0.1:3129" in homeport.run("status", "guest").stdout
    server.close()


def test_a_proxy_that_cannot_answer_there_is_kept_back_with_the_reason(homeport, host, guest):
    taken, server = listen(guest, 3130), listen(host, 3130)
    up(homeport, env={"http_proxy": "http://127.0.0.1:3130", "no_proxy": "x"})
    done = shell(homeport, "sh", "-c", "echo ${http_proxy-none} $no_proxy")
    assert done.stdout == "none x\n"
    assert done.stderr == ("homeport: shell: without the proxy at 127.0.0.1:3130: "
                           "127.0.0.1:3130 is in use in the guest\n")
    taken.close()
    wait_until(lambda: row_of(homeport, "127.0.0.1:3130")["state"] == "forwarded", timeout=5)
    assert variables(homeport)["http_proxy"] == "http://127.0.0.1:3130"
    server.close()


def test_a_reload_takes_the_proxies_of_where_it_is_typed(homeport, host, guest):
    first, second = listen(host, 3131), listen(host, 3132)
    up(homeport, env={"http_proxy": "http://127.0.0.1:3131"})
    write(homeport, "env: {A: b}\n")
    done = homeport.run("reload", "guest", env={"http_proxy": "http://127.0.0.1:3132"})
    assert (done.returncode, done.stdout) == (0, "guest: 2 changes made\n"), done.stderr
    found = variables(homeport)
    assert found["A"] == "b" and found["http_proxy"] == "http://127.0.0.1:3132"
    exchange(connect(guest, 3132), second)
    wait_until(lambda: not answers(guest, 3131), what="the guest has heard of it")
    assert homeport.run("reload", "guest", env={"http_proxy": "http://127.0.0.1:3132"}).stdout == (
        "guest: nothing has changed\n")
    write(homeport, "propagateProxyEnv: maybe\n")
    done = homeport.run("reload", "guest", env={"http_proxy": "http://127.0.0.1:3131"})
    assert done.returncode == 2 and "nothing was changed" in done.stderr
    assert variables(homeport)["http_proxy"] == "http://127.0.0.1:3132"
    write(homeport, "propagateProxyEnv: false\n")
    done = homeport.run("reload", "guest", env={"http_proxy": "http://127.0.0.1:3132"})
    assert (done.returncode, done.stdout) == (0, "guest: 2 changes made\n"), done.stderr
    assert proxies(variables(homeport)) == {}
    wait_until(lambda: not answers(guest, 3132), what="the guest has heard of it")
    first.close()
    second.close()


def test_an_installed_agent_of_roots_has_them_in_etc_environment_while_it_is_connected(homeport, host, guest):
    path = guest.path("/etc/environment")
    before = "PATH=\"/bin\"\nLAST=\"x\""
    with open(path, "w") as f:
        f.write(before)
    server = listen(host, 3133)
    settings = dict(host="guest-root", env={"http_proxy": "http://127.0.0.1:3133"})
    up(homeport, "env: {A: b, Q: \"a\\\"b\"}\n", **settings)
    assert variables(homeport)["A"] == "b"
    assert open(path).read() == before, "not where it was not installed"
    homeport.down()
    os.makedirs(guest.path(os.path.dirname(RECORD)), exist_ok=True)
    with open(guest.path(RECORD), "w") as f:
        f.write("homeport-guest installed 1\nfolder\t/srv/made\t\n")
    guest.cmd("mkdir -p /srv/made")
    try:
        up(homeport, "env: {A: b, Q: \"a\\\"b\"}\n", **settings)
        wait_until(lambda: "3133" in open(path).read(), what="its variables are in the file")
        lines = open(path).read().split("\n")
        assert lines[1:-3] == ["A=\"b\"", "http_proxy=\"http://127.0.0.1:3133\"", "HTTP_PROXY=\"http://127.0.0.1:3133\""]
        assert open(path).read().endswith(": end\n" + before)
        write(homeport, "env: {A: c}\n", "guest-root")
        assert homeport.run("reload", "guest-root").returncode == 0
        wait_until(lambda: open(path).read().split("\n")[1] == "A=\"c\"", what="the new ones are there")
        assert "3133" not in open(path).read()
        homeport.down()
        wait_until(lambda: open(path).read() == before, what="the guest's agent has heard of it")
        # One that is killed leaves them, for the next or for uninstall to take away.
        up(homeport, "env: {A: b}\n", host="guest-root")
        wait_until(lambda: "A=" in open(path).read(), what="its variables are in the file")
        with open(path) as f:
            left = f.read()
        homeport.down()
        wait_until(lambda: open(path).read() == before, what="the guest's agent has heard of it")
        with open(path, "w") as f:
            f.write(left)
        guest.cmd(["homeport-guest", "uninstall", "--yes"])
        assert open(path).read() == before
    finally:
        os.unlink(path)
        if os.path.exists(guest.path(RECORD)):
            os.unlink(guest.path(RECORD))
    server.close()
