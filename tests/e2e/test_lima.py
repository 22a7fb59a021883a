# SPDX-License-Identifier: MIT
"""Lima's own files. ssh.config: a VM behind a port of 127.0.0.1, whose host key nobody has seen, is reached as ssh
reaches it. lima.yaml: `up --lima` mounts and forwards what Lima would."""
import json
import os
import re
import subprocess

import pytest

from conftest import wait_until
from test_service import Fake

# Word for word what Lima writes to ~/.lima/default/ssh.config, but for the places in braces.
SSH_CONFIG = """\
# This SSH config file can be passed to 'ssh -F'.
# This file is created by Lima, but not used by Lima itself currently.
# Modifications to this file will be lost on restarting the Lima instance.
Host lima-default
  IdentityFile "{key}"
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  NoHostAuthenticationForLocalhost yes
  PreferredAuthentications publickey
  Compression no
  BatchMode yes
  IdentitiesOnly yes
  GSSAPIAuthentication no
  Ciphers "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
  User me
  ForwardAgent no
  ControlMaster auto
  ControlPath "{folder}/ssh.sock"
  ControlPersist yes
  Hostname {hostname}
  Port {port}
"""
PORT = 60022

FORWARDER = """
import socket, sys, threading

def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(listener):
    while True:
        near, _ = listener.accept()
        far = socket.create_connection((sys.argv[2], 22))
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=pair, daemon=True).start()

def listen(family, address):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, int(sys.argv[1])))
    s.listen()
    return s

other = threading.Thread(target=serve, args=[listen(socket.AF_INET6, "::1")], daemon=True)
listener = listen(socket.AF_INET, "127.0.0.1")
other.start()
print("ready", flush=True)
serve(listener)
"""


@pytest.fixture(autouse=True)
def port_of_the_vm(lab):
    """What Lima's host agent is to its users: a port of the host's loopback that leads to the guest's sshd. Ends with
    all else that a test started."""
    forwarder = lab.host.popen(["/usr/bin/python3", "-c", FORWARDER, str(PORT), lab.guest.address],
                               stdout=subprocess.PIPE)
    assert forwarder.stdout.readline() == b"ready\n"  # not by connecting: sshd counts who does in its name


@pytest.fixture
def ssh_config(lab):
    """Writes Lima's file, with another Hostname and Port, and other words in it, where the test says so."""
    def write(hostname="127.0.0.1", port=PORT, change=lambda text: text):
        folder = f"{lab.dir}/lima"
        os.makedirs(folder, 0o755, exist_ok=True)
        path = folder + "/ssh.config"
        with open(path, "w") as f:
            f.write(change(SSH_CONFIG.format(key=f"{lab.dir}/ssh-me/id_ed25519", folder=folder, hostname=hostname,
                                             port=port)))
        os.chmod(path, 0o644)
        return path

    return write


@pytest.fixture
def key(lab):
    shown = subprocess.run(["ssh-keygen", "-lf", f"{lab.dir}/keys/host.pub"], capture_output=True, text=True, check=True)
    return shown.stdout.split()[1]


def up(homeport, path, *args):
    homeport.name = "lima-default"
    return homeport.run("up", "-F", path, *(args or ["--no-mount", "--no-ports"]), "lima-default", timeout=20)


def test_up_with_limas_file_mounts_the_home(homeport, guest, host_home, ssh_config, key):
    host_home.write("hello.txt", "hello from the host\n")
    done = up(homeport, ssh_config(), "--mount", "~")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "mount /home/me: /home/me, read-only\n")
    assert guest.cmd("cat /home/me/hello.txt", user="me").stdout == "hello from the host\n"
    shown = homeport.status()["guest"]
    assert (shown["host"], shown["port"], shown["host_key"]) == ("127.0.0.1", PORT, key)
    assert not os.path.exists(os.path.dirname(ssh_config()) + "/ssh.sock")


def test_a_configuration_names_limas_file(homeport, host_home, ssh_config):
    homeport.write_config("vm", f"ssh: {{host: lima-default, configFile: {ssh_config()}}}\nmounts: []\n")
    done = homeport.run("up", "vm", timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert homeport.status("vm")["state"] == "connected"


@pytest.mark.parametrize("hostname", ["localhost", "::1", "127.0.0.1"])
def test_every_loopback_address_will_do(homeport, host_home, ssh_config, hostname):
    done = up(homeport, ssh_config(hostname))
    assert (done.returncode, done.stderr) == (0, "")


def refused(done, key):
    assert done.stderr == f"homeport: lima-default: host key {key} is not known; give --host-key {key}\n"
    assert done.returncode == 1
    return True


def test_the_same_file_for_an_address_that_is_not_loopback_is_refused(homeport, lab, host_home, ssh_config, key):
    assert refused(up(homeport, ssh_config(lab.guest.address, 22)), key)
    assert homeport.left() == []


def test_no_strict_checking_alone_lets_no_unknown_key_pass(homeport, host_home, ssh_config, key):
    config = ssh_config(change=lambda text: re.sub(".*NoHostAuthentication.*\n", "", text))
    assert refused(up(homeport, config), key)


def test_a_proxy_is_not_loopback_whatever_its_host_is_called(homeport, lab, host_home, ssh_config, key):
    proxy = f"{lab.dir}/lima/proxy"
    config = ssh_config(change=lambda text: text + f"  ProxyCommand {proxy} %h %p\n")
    with open(proxy, "w") as f:
        f.write(f"#!/bin/sh\nexec ssh -F {lab.ssh_config('me')} -W {lab.guest.address}:22 guest\n")
    os.chmod(proxy, 0o755)
    assert refused(up(homeport, config), key)


def test_a_host_key_alias_is_looked_up_although_the_address_is_loopback(homeport, host_home, ssh_config, key):
    assert refused(up(homeport, ssh_config(change=lambda text: text + "  HostKeyAlias vm\n")), key)


def test_a_pinned_key_is_insisted_on_at_loopback_too(homeport, host_home, ssh_config, key):
    pinned = "SHA256:" + "A" * 43
    done = up(homeport, ssh_config(), "--no-mount", "--host-key", pinned)
    assert done.stderr.startswith(f"homeport: lima-default: host key is {key}, but {pinned} is the one to expect; ")
    assert done.returncode == 1


# ---------------------------------------------------------------------------------------------------------- --lima

# The shape of Lima's default template, with what a user adds to one.
LIMA_YAML = """\
vmType: null
images:
- location: "https://cloud-images.example/noble-server-cloudimg-amd64.img"
  arch: "x86_64"
cpus: null
memory: "4GiB"
mounts:
- location: "~"
  mountPoint: null
  writable: null
  sshfs:
    cache: null
- location: "{{{{.Home}}}}/project"
  mountPoint: "/work-of-{{{{.Name}}}}"
  writable: true
  9p:
    msize: null
mountType: null
ssh:
  localPort: {port}
portForwards:
- guestPort: 8000
  hostPort: 18000
- guestPort: 8001
  ignore: true
- guestSocket: "/tmp/service.sock"
  hostSocket: service.sock
plain: true
"""


@pytest.fixture
def vm(lab, homeport, host_home, ssh_config):
    """A VM that Lima calls `vm`, in ~/.lima; returns what writes its lima.yaml, or another file there."""
    def write(text=LIMA_YAML.format(port=PORT), name="vm/lima.yaml"):
        return host_home.write(".lima/" + name, text)

    homeport.name = "vm"
    with open(ssh_config()) as f:
        write(f.read().replace("Host lima-default", "Host lima-vm"), "vm/ssh.config")
    write()
    host_home.write("note", "from the host\n")
    host_home.write("project/note", "of work\n")
    return write


LISTEN = """
import http.server, socket, sys, threading
threads = [threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", port),
           http.server.SimpleHTTPRequestHandler).serve_forever) for port in (8000, 8001)]
unix = socket.socket(socket.AF_UNIX)
unix.bind("/tmp/service.sock")
unix.listen()
for t in threads:
    t.start()
print("ready", flush=True)
while True:
    unix.accept()[0].sendall(b"hello")
"""
SAY = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{}'); print(s.recv(9).decode())"


def test_up_lima_mounts_and_forwards_what_lima_would(homeport, host, guest, vm):
    guest.cmd("rm -f /tmp/service.sock")
    listener = guest.popen(["/usr/bin/python3", "-c", LISTEN], user="me", cwd="/tmp", stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
    assert listener.stdout.readline() == b"ready\n"
    done = homeport.run("up", "--lima", "vm", timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ("/home/me/.lima/vm/lima.yaml: warning: these keys are for Lima alone, and passed over: "
                           "images, memory\n")
    assert guest.cmd("cat /home/me/note /work-of-vm/note", user="me").stdout == "from the host\nof work\n"
    guest.cmd("echo by the guest >/work-of-vm/new", user="me")
    assert host.cmd("cat /home/me/project/new").stdout == "by the guest\n"
    assert guest.cmd("touch /home/me/new", user="me", check=False).returncode != 0
    ports = {p["guest"]: p for p in json.loads(homeport.run("ports", "vm", "--json").stdout)}
    assert ports["127.0.0.1:8000"]["host"] == ["127.0.0.1:18000"]
    assert (ports["127.0.0.1:8001"]["state"], ports["127.0.0.1:8001"]["reason"]) == ("ignored",
                                                                                    "ignored by portForwards[1]")
    assert host.cmd(["python3", "-c", SAY.format("/home/me/.lima/vm/sock/service.sock")],
                    user="me").stdout == "hello\n"


def test_reload_reads_limas_file_again(homeport, guest, vm):
    assert homeport.run("up", "--lima", "vm", timeout=60).returncode == 0
    vm(LIMA_YAML.format(port=PORT).replace("/work-of-", "/other-"))
    again = homeport.run("up", "--lima", "vm")
    assert again.returncode == 1
    assert "`homeport reload vm` reads the file again" in again.stderr
    assert homeport.run("reload", "vm").returncode == 0
    assert sorted(m["target"] for m in homeport.status()["mounts"]) == ["/home/me", "/other-vm"]
    wait_until(lambda: guest.cmd("cat /other-vm/note", user="me", check=False).stdout == "of work\n", timeout=30)


def test_a_vm_that_lima_mounts_for_is_warned_of_and_told_how(homeport, guest, vm):
    vm(LIMA_YAML.format(port=PORT).replace("plain: true", "plain: null"))
    guest.cmd("mkdir -p /work-of-vm && mount -t tmpfs of-lima /work-of-vm")
    try:
        done = homeport.run("up", "--lima", "vm", "--no-ports", timeout=60)
        assert done.returncode == 4
        warned, failed = done.stderr.splitlines()[-2:]
        assert re.fullmatch(r"/home/me/\.lima/vm/lima\.yaml: warning: Lima mounts and forwards .*: limactl stop vm && "
                            r"limactl edit --set '\.plain = true' vm && limactl start vm", warned)
        assert failed == ("homeport: mount: /work-of-vm: something is mounted there; unmount it, or choose "
                          "another mount point")
    finally:
        guest.cmd("umount /work-of-vm")


def test_lima_home_override_and_what_is_missing(homeport, lab, host_home, vm):
    vm("mounts: [{location: \"~\", writable: true}, {location: /nowhere}]\n", "_config/override.yaml")
    shown = homeport.run("config", "show", "--lima", "vm")
    assert shown.returncode == 0
    assert 'location: "/home/me"\n  mountPoint: "/home/me"\n  writable: true' in shown.stdout
    assert '"/nowhere" does not exist, so it is not mounted' in shown.stderr
    assert homeport.run("config", "check", "--lima", "vm").stdout == "vm: fine\n"
    os.rename(host_home / ".lima", host_home / "elsewhere")
    done = homeport.run("up", "--lima", "vm")
    assert (done.returncode, done.stderr) == (2, "/home/me/.lima: Lima has no VM \"vm\" there; limactl list names those "
                                                 "it has\n")
    env = {"LIMA_HOME": "/home/me/elsewhere"}
    assert 'configFile: "/home/me/elsewhere/vm/ssh.config"' in homeport.run("config", "show", "--lima", "vm",
                                                                            env=env).stdout
    os.unlink(host_home / "elsewhere/vm/ssh.config")
    done = homeport.run("up", "--lima", "vm", env=env)
    assert done.returncode == 2
    assert done.stderr == ("/home/me/elsewhere/vm/ssh.config: is not there yet; Lima writes it when the VM starts: "
                           "limactl start vm\n")
    os.chmod(host_home / "elsewhere/vm/lima.yaml", 0o666)
    host_home.write("elsewhere/vm/ssh.config", "")
    done = homeport.run("config", "check", "--lima", "vm", env=env)
    assert done.returncode == 2
    assert "can be written by others" in done.stderr
    for name in ("../vm", "a/b", ""):
        assert homeport.run("up", "--lima", name, env=env).returncode == 2


def test_a_guest_changes_nothing_of_limas(homeport, guest, vm):
    """Of a writable home: what it writes into ssh.config, this machine would run."""
    vm("key\n", "_config/user")
    done = homeport.run("up", "--lima", "vm", "--mount", "~:w", timeout=60)
    assert done.returncode == 0, done.stderr
    lima = "/home/me/.lima"
    for command in (f"echo ProxyCommand x >>{lima}/vm/ssh.config", f"mv {lima} {lima}2", f"rm {lima}/vm/lima.yaml"):
        assert guest.cmd(command, user="me", check=False).returncode != 0
    assert guest.cmd(f"cat {lima}/_config/user", user="me", check=False).returncode != 0
    guest.cmd("touch /home/me/new", user="me")


def test_enable_lima_writes_down_what_lima_has(homeport, vm):
    done, asked = Fake(homeport).run("enable", "--lima", "vm")
    assert done.returncode == 0, done.stderr
    assert "--user --quiet enable homeport@vm.service" in asked
    shown = homeport.run("config", "show", "vm").stdout
    assert shown.split("\n", 1)[1] == homeport.run("config", "show", "--lima", "vm").stdout.split("\n", 1)[1]
    assert 'host: "lima-vm"' in shown and 'mountPoint: "/work-of-vm"' in shown


def test_guest_install_lima_finds_the_vm(homeport, vm):
    done = homeport.run("guest", "install", "--dry-run", "--lima", "vm", timeout=60)
    assert done.returncode == 1  # the lab has one there already
    assert "homeport: lima-vm: /usr/local/bin/homeport-guest: another one is there" in done.stderr
