# SPDX-License-Identifier: MIT
"""Lima's own ssh.config: a VM behind a port of 127.0.0.1, whose host key nobody has seen, is reached as ssh reaches it."""
import os
import re
import subprocess

import pytest

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
