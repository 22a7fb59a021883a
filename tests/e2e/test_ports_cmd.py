# SPDX-License-Identifier: MIT
"""homeport ports: what listens in the guest, where it answers here, or why it does not."""
import json

from conftest import wait_until


def serve(machine, port, address="127.0.0.1"):
    server = machine.popen(["python3", "-m", "http.server", "-b", address, str(port)], user="me", cwd="/tmp", stdout=-3,
                           stderr=-3)
    wait_until(lambda: any(name.endswith(f":{port}") for name in machine.listeners()))
    return server


def ports(homeport):
    done = homeport.run("ports", "--json")
    return {p["guest"]: p for p in json.loads(done.stdout)}


def test_ports_are_listed_with_where_they_answer(homeport, guest, host_home):
    homeport.up("--no-mount", "--port-forward", "9100:8100")
    servers = [serve(guest, 8100), serve(guest, 8101, "::1"), serve(guest, 8102, "0.0.0.0")]
    wait_until(lambda: {"127.0.0.1:8100", "[::1]:8101", "0.0.0.0:8102"} <= set(ports(homeport)))
    found = ports(homeport)
    assert found["127.0.0.1:8100"]["host"][0] == "127.0.0.1:9100"
    assert found["[::1]:8101"]["host"] == ["127.0.0.1:8101", "[::1]:8101"]
    assert found["0.0.0.0:8102"]["state"] == "forwarded"
    text = homeport.run("ports").stdout
    assert text.splitlines()[0].split() == ["GUEST", "PORT", "PROCESS", "HERE", "OPEN", "IN", "OUT", "STATE"]
    assert "tcp 127.0.0.1:8100" in text and "localhost:9100" in text
    for server in servers:
        server.kill()


def test_a_port_that_is_taken_here_is_a_conflict_until_it_is_free(homeport, host, guest, host_home):
    mine = serve(host, 8103)
    theirs = serve(guest, 8103)
    done = homeport.up("--no-mount")
    found = ports(homeport)["127.0.0.1:8103"]
    assert found["state"] in ("conflict", "forwarded")
    assert "127.0.0.1:8103" not in found["host"] or found["state"] == "conflict"
    assert "8103" in done.stderr + done.stdout
    mine.kill()
    wait_until(lambda: ports(homeport)["127.0.0.1:8103"]["state"] == "forwarded"
               and "127.0.0.1:8103" in ports(homeport)["127.0.0.1:8103"]["host"])
    theirs.kill()


def test_watched_ports_tell_each_change_as_a_line(homeport, guest, host_home):
    homeport.up("--no-mount")
    watching = homeport.popen("ports", "--json", "--watch", stdout=-1, text=True)
    watching.stdout.readline()
    server = serve(guest, 8104)
    while "127.0.0.1:8104" not in [p["guest"] for p in json.loads(watching.stdout.readline())]:
        pass
    server.kill()
    while "127.0.0.1:8104" in [p["guest"] for p in json.loads(watching.stdout.readline())]:
        pass
    watching.kill()
    watching.wait()


def test_nothing_that_listens_is_said_in_words(homeport, make_lab, host_home):
    homeport.up("--no-mount", "--no-ports")
    assert homeport.run("ports").stdout == "nothing listens in the guest\n"
    assert json.loads(homeport.run("ports", "--json").stdout) == []


def test_a_thousand_ports_at_once(homeport, host, guest, host_home):
    homeport.up("--no-mount")
    before = set(ports(homeport))
    code = ("import socket, time\n"
            "held = [socket.create_server(('127.0.0.1', p)) for p in range(20000, 21000)]\n"
            "print('ready', flush=True); time.sleep(60)\n")
    many = guest.popen(["python3", "-c", code], user="me", stdout=-1, text=True)
    assert many.stdout.readline() == "ready\n"
    wait_until(lambda: sum(p["state"] == "forwarded" for p in ports(homeport).values()) >= 1000, timeout=10)
    assert host.cmd(["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 20999), 3)"], user="me",
                    check=False).returncode == 0
    many.kill()
    many.wait()
    wait_until(lambda: set(ports(homeport)) == before, timeout=10)
    assert not any(":20" in name and name.split(":")[-1] in ("20000", "20999") for name in host.listeners())
