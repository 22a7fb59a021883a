# SPDX-License-Identifier: MIT
"""What the user's ssh_config says is what happens; what cannot be done is refused by name, in one line."""
import os
import subprocess

import pytest

from link_probe import build, run
from test_link import fingerprint, host_key, keys, make_key  # noqa: F401 (fixtures)

LAB = dict(sshd_options=["Port 22", "Port 2204"])


@pytest.fixture
def config(lab, keys):  # noqa: F811
    """Writes an ssh_config of the test's own over the lab's and runs the probe with it."""

    def go(text, *args, name="guest", command="echo", env=None):
        path = keys + "/config"
        with open(path, "w") as f:
            f.write(text + f"\nMatch all\nInclude {lab.ssh_config('me')}\n")
        os.chmod(path, 0o644)
        done = lab.host.cmd([build(), "-F", path, *args, "-r", "1", name, command], user="me", check=False, env=env)
        return done.stdout.splitlines()

    return go


def refused(lines, sentence, advice=None):
    assert lines[0] == f"failed config permanent: guest: {sentence}"
    if advice is not None:
        assert lines[1] == f"advice: {advice}"
    return True


# --------------------------------------------------------------------------------------------------------- honoured


def test_an_alias_its_include_and_its_match_are_followed(lab, guest, config):
    lines = config(f"Match originalhost far\n HostName {guest.address}\n User plain\n Port 2204\n", name="far",
                   command="id -un")
    assert lines[0].startswith(f"connected {guest.address} 2204 plain ")


def test_user_and_port_given_win_over_the_configuration(lab, guest):
    _, lines, _ = run(lab, "-l", "plain", "-p", "2204", "-r", "1", "guest", "echo")
    assert lines[0].startswith(f"connected {guest.address} 2204 plain ")
    _, lines, _ = run(lab, "-r", "1", "root@guest", "echo")
    assert lines[0].startswith(f"connected {guest.address} 22 root ")


@pytest.mark.parametrize("asked, got", [
    ("aes256-gcm@openssh.com", "aes256-gcm@openssh.com"),
    ("aes192-ctr", "aes192-ctr"),
    ("3des-cbc,chacha20-poly1305@openssh.com", "chacha20-poly1305@openssh.com"),
    ("^aes256-ctr", "aes256-ctr"),
])
def test_ciphers_are_the_ones_asked_for(lab, asked, got):
    _, lines, _ = run(lab, "-o", f"Ciphers={asked}", "-r", "1", "guest", "echo")
    assert lines[0].split()[-1] == got


@pytest.mark.parametrize("option", [
    "Ciphers=aes128-ctr\nMACs=hmac-sha2-512", "KexAlgorithms=ecdh-sha2-nistp256", "HostKeyAlgorithms=ssh-ed25519",
    "PubkeyAcceptedAlgorithms=ssh-ed25519", "Compression=yes", "AddressFamily=inet", "ConnectTimeout=3",
    "RekeyLimit=1M", "BindInterface=eth0", "ServerAliveInterval=5", "StrictHostKeyChecking=no", "ControlMaster=auto",
    "ForwardAgent=yes", "RemoteCommand=none", "GSSAPIAuthentication=yes", "RequiredRSASize=2048",
])
def test_these_options_are_no_obstacle(lab, option):
    args = [a for o in option.split("\n") for a in ("-o", o)]
    status, lines, _ = run(lab, *args, "-r", "1", "guest", "echo")
    assert status == 0, lines


def test_rekeying_in_the_middle_loses_nothing(lab):
    status, lines, _ = run(lab, "-o", "RekeyLimit=1M", "-z", "-r", str(20 << 20), "guest", f"head -c {20 << 20} /dev/zero")
    assert status == 0, lines
    assert "not zero" not in "".join(lines)
    status, lines, _ = run(lab, "-o", "RekeyLimit=1M", "-s", str(20 << 20), "-r", "9", "guest", "head -c 20971520 | wc -c")
    assert status == 0, lines
    assert any(line.startswith("received 9 bytes") for line in lines)  # "20971520" and a newline


def test_a_bind_address_is_used(lab, host, guest, config):
    subprocess.run(["nsenter", "-t", str(host.pid), "-n", "--", "ip", "address", "add", "10.77.0.77/24", "dev", "eth0"],
                   check=True)
    lines = config("", "-o", "BindAddress=10.77.0.77", "-v",
                   command="case $SSH_CONNECTION in 10.77.0.77*) echo;; esac")
    assert any(line.startswith("received 1 ") for line in lines), lines


def test_the_wrong_address_family_is_an_error(lab):
    _, lines, _ = run(lab, "-o", "AddressFamily=inet6", "guest", "true")
    assert lines[0].startswith("failed resolve permanent: guest: the name 10.77.0.2 cannot be resolved: ")


def test_a_host_key_alias_is_looked_up_instead_of_the_address(lab, keys):  # noqa: F811
    known = keys + "/known"
    with open(known, "w") as f:
        f.write(f"vm ssh-ed25519 {host_key(lab)}\n")
    args = ["-o", f"UserKnownHostsFile={known}", "-p", "2204", "-r", "1"]
    assert run(lab, *args, "guest", "echo")[0] == 1
    assert run(lab, *args, "-o", "HostKeyAlias=vm", "guest", "echo")[0] == 0


def test_several_known_hosts_files_and_the_global_one_are_read(lab, guest, keys):  # noqa: F811
    good = f"{lab.dir}/ssh-me/known_hosts"
    assert run(lab, "-o", f"UserKnownHostsFile={keys}/none {good}", "-r", "1", "guest", "echo")[0] == 0
    assert run(lab, "-o", f"UserKnownHostsFile={keys}/none", "-o", f"GlobalKnownHostsFile={good}", "-r", "1", "guest",
               "echo")[0] == 0


def test_a_known_rsa_key_is_asked_for_before_others(lab, make_lab, keys):  # noqa: F811
    """A host has three keys; the user knows one. Whoever takes the first it shows finds it unknown."""
    other = make_lab(sshd_options=["HostKey /etc/ssh/rsa_key"])
    other.guest.cmd("ssh-keygen -q -t rsa -b 2048 -N '' -f /etc/ssh/rsa_key && kill -HUP $(cat /run/sshd.pid)")
    rsa = " ".join(other.guest.cmd(["cat", "/etc/ssh/rsa_key.pub"]).stdout.split()[:2])
    known = f"{other.dir}/known"
    with open(known, "w") as f:
        f.write(f"{other.guest.address} {rsa}\n")
    os.chmod(known, 0o644)
    status, lines, _ = run(other, "-o", f"UserKnownHostsFile={known}", "-r", "1", "guest", "echo")
    assert status == 0, lines


def test_a_pinned_key_may_be_any_of_the_host(make_lab):
    other = make_lab(sshd_options=["HostKey /etc/ssh/rsa_key", "HostKey /etc/ssh/ecdsa_key"])
    other.guest.cmd("ssh-keygen -q -t rsa -b 2048 -N '' -f /etc/ssh/rsa_key && "
                    "ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/ecdsa_key && kill -HUP $(cat /run/sshd.pid)")
    for name in ("rsa_key", "ecdsa_key", "lab_host_key"):
        pinned = other.guest.cmd(["ssh-keygen", "-lf", "/etc/ssh/" + name]).stdout.split()[1]
        status, lines, _ = run(other, "-k", pinned, "-r", "1", "guest", "echo")
        assert status == 0, lines
        assert lines[0].split()[4] == pinned


def test_identity_files_with_tokens_are_found(lab, host, guest, keys):  # noqa: F811
    make_key(host, f"{keys}/me-22-{guest.address}")
    public = open(f"{keys}/me-22-{guest.address}.pub").read().strip()
    guest.cmd(f"echo '{public}' >> ~plain/.ssh/authorized_keys")
    known = f"UserKnownHostsFile={lab.dir}/ssh-me/known_hosts"
    status, lines, _ = run(lab, "-o", known, "-o", f"IdentityFile={keys}/%u-%p-%h", "-r", "1", f"plain@{guest.address}",
                           "echo", config=False)
    assert status == 0, lines


# ---------------------------------------------------------------------------------------------------------- proxies


def no_ssh_left(lab):
    return [line for _, line in lab.host.processes().values() if line.startswith("ssh ")]


def test_a_proxy_jump_is_taken(lab, guest, config):
    lines = config(f"Host inner\n HostName 127.0.0.1\n HostKeyAlias {guest.address}\n User plain\n"
                   " ProxyJump guest-root\n", name="inner", command="echo $SSH_CONNECTION")
    assert lines[0].startswith("connected 127.0.0.1 22 plain ")
    assert not no_ssh_left(lab)


def test_a_chain_of_jumps_is_taken(lab, guest, config):
    lines = config(f"Host inner\n HostName 127.0.0.1\n HostKeyAlias {guest.address}\n User plain\n"
                   f" ProxyJump guest-root,root@guest-plain:2204\n", name="inner")
    assert lines[0].startswith("connected 127.0.0.1 22 plain "), lines


def test_a_proxy_command_is_run_with_its_tokens(lab, guest, config):
    lines = config(f"Host inner\n HostName 127.0.0.1\n Port 2204\n HostKeyAlias {guest.address}\n User plain\n"
                   f" ProxyCommand ssh -F {lab.ssh_config('me')} -W %h:%p guest-root\n", name="inner")
    assert lines[0].startswith("connected 127.0.0.1 2204 plain ")
    assert not no_ssh_left(lab)


@pytest.mark.parametrize("command", ["false", "no-such-command-here", "echo hello"])
def test_a_proxy_that_fails_is_an_error_and_leaves_nothing(lab, config, command):
    lines = config("", "-o", f"ProxyCommand={command}")
    assert lines[0].startswith("failed protocol passing: guest: no SSH connection through the proxy: ")
    assert not no_ssh_left(lab)


def test_a_proxy_that_hangs_is_ended(lab, config):
    lines = config("", "-o", "ProxyCommand=sleep 1000", "-o", "ConnectTimeout=1")
    assert lines[0].startswith("failed timeout passing: guest: ")
    assert not [line for _, line in lab.host.processes().values() if line == "sleep 1000"]


# ---------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("option, off", [
    ("ProxyUseFdpass yes", "no"), ("PKCS11Provider /nonexistent.so", "none"), ("RevokedHostKeys /nonexistent", "none"),
    ("KnownHostsCommand /bin/true", "none"), ("PermitLocalCommand yes", "no"),
])
def test_what_cannot_be_honoured_is_refused_by_name(lab, config, option, off):
    name = option.split()[0]
    assert refused(config(f"Host guest\n {option}\n"), f"ssh's option {option} cannot be honoured here",
                   f"give -o {name}={off}, or set it so for this host")


def test_what_is_refused_can_be_switched_off(lab, config):
    assert config("Host guest\n PermitLocalCommand yes\n", "-o", "PermitLocalCommand=no")[0].startswith("connected ")


@pytest.mark.parametrize("option", [
    "PubkeyAuthentication no", "PreferredAuthentications password,keyboard-interactive",
])
def test_a_login_without_keys_is_refused(lab, config, option):
    shown = option.replace(" no", " false")
    assert refused(config(f"Host guest\n {option}\n"), f"ssh's option {shown} cannot be honoured here")


@pytest.mark.parametrize("name, value", [
    ("Ciphers", "3des-cbc,aes128-cbc"), ("MACs", "umac-64@openssh.com"),
    ("KexAlgorithms", "sntrup761x25519-sha512@openssh.com"), ("HostKeyAlgorithms", "ssh-ed25519-cert-v01@openssh.com"),
])
def test_an_algorithm_list_with_nothing_in_common_is_refused_by_name(lab, config, name, value):
    assert refused(config(f"Host guest\n {name} {value}\n"), f"none of ssh's {name} can be used here: {value}")


def test_a_mistake_in_the_file_is_told_in_the_words_of_ssh(lab, config, keys):  # noqa: F811
    assert refused(config("Host guest\n NoSuchOption yes\n"),
                   f"ssh does not accept its configuration: {keys}/config: terminating, 1 bad configuration options")


def test_a_file_that_is_not_there(lab):
    done = lab.host.cmd([build(), "-F", "/nonexistent", "guest", "true"], user="me", check=False)
    assert refused(done.stdout.splitlines(), "ssh does not accept its configuration: "
                   "Can't open user config file /nonexistent: No such file or directory")


def test_a_bad_option_on_the_command_line(lab):
    _, lines, _ = run(lab, "-o", "Nonsense=1", "guest", "true")
    assert refused(lines, "ssh does not accept its configuration: "
                   "command-line: line 0: Bad configuration option: nonsense")


def test_a_destination_that_looks_like_an_option_is_none(lab, host):
    done = host.cmd([build(), "--", "-oProxyCommand=touch /tmp/pwned", "true"], user="me", check=False)
    assert done.stdout.startswith("failed config permanent: ")
    assert not os.path.exists(host.path("/tmp/pwned"))


def test_an_ssh_that_is_not_there(lab):
    done = lab.host.cmd([build(), "guest", "true"], user="me", check=False, env={"PATH": "/nonexistent"})
    assert done.stdout.startswith("failed local passing: guest: the program ssh cannot be run: No such file or directory")
