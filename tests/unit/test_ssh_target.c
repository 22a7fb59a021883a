/* SPDX-License-Identifier: MIT */
/* From what `ssh -G` prints to where and how to connect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link_error.h"
#include "ssh_settings.h"
#include "ssh_target.h"

#define PLAIN                                                                                                \
	"host g\nuser me\nhostname g\nport 22\naddressfamily any\ncompression no\nidentitiesonly no\n"       \
	"proxyusefdpass no\npubkeyauthentication true\npermitlocalcommand no\n"                              \
	"ciphers chacha20-poly1305@openssh.com,aes128-ctr\nmacs umac-64@openssh.com,hmac-sha2-256\n"         \
	"kexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256\nconnecttimeout none\n"          \
	"identityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_ed25519\nrekeylimit 0 0\nrequiredrsasize 1024\n" \
	"globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n"                          \
	"userknownhostsfile /home/me/.ssh/known_hosts /home/me/.ssh/known_hosts2\n"

static struct link_error err;

static const char *fake_env(const char *name)
{
	return strcmp(name, "KEYS") == 0 ? "/keys" : NULL;
}

/* The target for PLAIN with the lines of `mine` in front, where the first of a keyword counts. */
static struct ssh_target *target(const char *mine)
{
	const struct ssh_person who = {"/home/me", "me", 1000, "laptop.example", fake_env};
	char text[8192] = "";
	struct ssh_settings *m, *p;
	struct ssh_target *t;

	strcat(strcat(text, mine), PLAIN);
	m = ssh_settings_parse(text, strlen(text));
	p = ssh_settings_parse(PLAIN, strlen(PLAIN));
	assert_non_null(m);
	assert_non_null(p);
	memset(&err, 0, sizeof(err));
	t = ssh_target_new("g", m, p, &who, &err);
	ssh_settings_free(m);
	ssh_settings_free(p);
	return t;
}

static void assert_refused(const char *mine, const char *named)
{
	assert_null(target(mine));
	assert_int_equal(err.kind, LINK_ERROR_CONFIG);
	assert_true(err.permanent);
	assert_non_null(strstr(err.sentence, named));
}

static void an_unconfigured_host_is_reached_as_ssh_would(void **state)
{
	struct ssh_target *t = target("");

	(void)state;
	assert_non_null(t);
	assert_string_equal(t->hostname, "g");
	assert_int_equal(t->port, 22);
	assert_string_equal(t->user, "me");
	assert_int_equal(t->connect_timeout_s, 10);
	assert_null(t->ciphers);
	assert_null(t->macs);
	assert_null(t->kex);
	assert_null(t->proxy_command);
	assert_false(t->identities_chosen);
	assert_int_equal(t->identities.count, 2);
	assert_string_equal(t->identities.items[1], "/home/me/.ssh/id_ed25519");
	assert_int_equal(t->known_hosts.count, 4);
	assert_int_equal(t->user_known_hosts, 2);
	ssh_target_free(t);
}

static void what_the_user_configured_counts(void **state)
{
	struct ssh_target *t = target("hostname [::1]\nport 2222\nuser root\nconnecttimeout 3\nhostkeyalias vm\n"
				      "addressfamily inet6\nbindaddress ::1\nbindinterface lo\ncompression yes\n"
				      "rekeylimit 1073741824 3600\nrequiredrsasize 2048\nidentitiesonly yes\n");

	(void)state;
	assert_non_null(t);
	assert_string_equal(t->hostname, "::1");
	assert_int_equal(t->port, 2222);
	assert_string_equal(t->user, "root");
	assert_int_equal(t->connect_timeout_s, 3);
	assert_string_equal(t->host_key_alias, "vm");
	assert_string_equal(t->address_family, "inet6");
	assert_string_equal(t->bind_address, "::1");
	assert_string_equal(t->bind_interface, "lo");
	assert_true(t->compression);
	assert_true(t->rekey_bytes == 1073741824 && t->rekey_seconds == 3600);
	assert_int_equal(t->rsa_min_bits, 2048);
	assert_true(t->identities_only);
	ssh_target_free(t);
}

static bool loopback_is_trusted(const char *mine)
{
	struct ssh_target *t = target(mine);
	bool trusted;

	assert_non_null(t);
	trusted = t->loopback_is_trusted;
	ssh_target_free(t);
	return trusted;
}

static void loopback_is_trusted_where_the_user_says_so_and_the_key_has_no_name(void **state)
{
	(void)state;
	assert_false(loopback_is_trusted(""));
	assert_false(loopback_is_trusted("nohostauthenticationforlocalhost no\n"));
	assert_false(loopback_is_trusted("stricthostkeychecking false\nuserknownhostsfile /dev/null\n"));
	assert_true(loopback_is_trusted("nohostauthenticationforlocalhost yes\n"));
	assert_false(loopback_is_trusted("nohostauthenticationforlocalhost yes\nhostkeyalias vm\n"));
}

static void tokens_tilde_and_variables_are_expanded(void **state)
{
	struct ssh_target *t = target("hostname h\nport 7\nuser r\nidentityfile %d/%u-%i-%r@%h:%p-%n-%L-%l-100%%\n"
				      "identityfile ${KEYS}/id\nidentityfile ~\ncertificatefile ~/c\n"
				      "identityagent ~/agent\nproxycommand nc %h %p ~/x\n");

	(void)state;
	assert_non_null(t);
	assert_string_equal(t->identities.items[0], "/home/me/me-1000-r@h:7-g-laptop-laptop.example-100%");
	assert_string_equal(t->identities.items[1], "/keys/id");
	assert_string_equal(t->identities.items[2], "/home/me");
	assert_true(t->identities_chosen);
	assert_string_equal(t->certificates.items[0], "/home/me/c");
	assert_string_equal(t->identity_agent, "/home/me/agent");
	assert_string_equal(t->proxy_command, "nc h 7 ~/x");
	ssh_target_free(t);
}

static void what_cannot_be_expanded_is_named(void **state)
{
	(void)state;
	assert_refused("identityfile /%C\n", "IdentityFile");
	assert_refused("identityfile /%\n", "IdentityFile");
	assert_refused("identityfile ${NOT_SET}/id\n", "${NOT_SET}");
	assert_refused("identityfile ${KEYS\n", "IdentityFile");
	assert_refused("proxycommand nc %z\n", "ProxyCommand");
}

static void the_agent_is_a_path_a_variable_or_none(void **state)
{
	static const struct {
		const char *value, *want;
	} rows[] = {
		{"SSH_AUTH_SOCK", NULL}, {"none", "none"}, {"$KEYS", "/keys"}, {"$NOT_SET", "none"}, {"/a", "/a"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[64] = "identityagent ";
		struct ssh_target *t = target(strcat(strcat(line, rows[i].value), "\n"));

		assert_non_null(t);
		if (rows[i].want)
			assert_string_equal(t->identity_agent, rows[i].want);
		else
			assert_null(t->identity_agent);
		ssh_target_free(t);
	}
}

static void an_algorithm_list_keeps_what_is_shared(void **state)
{
	struct ssh_target *t = target("ciphers 3des-cbc,aes256-gcm@openssh.com,aes128-ctr\nmacs hmac-sha2-512\n");

	(void)state;
	assert_non_null(t);
	assert_string_equal(t->ciphers, "aes256-gcm@openssh.com,aes128-ctr");
	assert_string_equal(t->macs, "hmac-sha2-512");
	assert_null(t->kex);
	ssh_target_free(t);
}

static void an_algorithm_list_with_nothing_shared_is_refused_by_name(void **state)
{
	(void)state;
	assert_refused("ciphers 3des-cbc,aes128\n", "Ciphers");
	assert_refused("macs umac-128@openssh.com\n", "MACs");
	assert_refused("kexalgorithms sntrup761x25519-sha512\n", "KexAlgorithms");
	assert_refused("hostkeyalgorithms ssh-ed25519-cert-v01@openssh.com\n", "HostKeyAlgorithms");
	assert_refused("pubkeyacceptedalgorithms ssh-dss\n", "PubkeyAcceptedAlgorithms");
}

static void what_cannot_be_honoured_is_refused_by_name(void **state)
{
	(void)state;
	assert_refused("proxyusefdpass yes\n", "ProxyUseFdpass yes");
	assert_refused("pkcs11provider /x.so\n", "PKCS11Provider /x.so");
	assert_refused("revokedhostkeys ~/r\n", "RevokedHostKeys ~/r");
	assert_refused("knownhostscommand /bin/k\n", "KnownHostsCommand /bin/k");
	assert_refused("pubkeyauthentication false\n", "PubkeyAuthentication false");
	assert_refused("permitlocalcommand yes\n", "PermitLocalCommand yes");
	assert_refused("preferredauthentications password\n", "PreferredAuthentications password");
}

static void the_same_options_switched_off_are_fine(void **state)
{
	struct ssh_target *t = target("revokedhostkeys none\nproxyjump none\nproxycommand none\n"
				      "preferredauthentications keyboard-interactive,publickey\n");

	(void)state;
	assert_non_null(t);
	assert_null(t->proxy_command);
	assert_null(t->proxy_jump);
	ssh_target_free(t);
}

static void output_without_an_address_is_refused(void **state)
{
	(void)state;
	assert_refused("port 0\n", "where to connect");
	assert_refused("port 65536\n", "where to connect");
	assert_refused("port x\n", "where to connect");
	assert_refused("user none\n", "where to connect");
}

static void settings_keep_order_case_of_values_and_empty_values(void **state)
{
	const char text[] = "Key One\nkey  two three\nempty\n\nlast x";
	struct ssh_settings *s = ssh_settings_parse(text, strlen(text));

	(void)state;
	assert_non_null(s);
	assert_string_equal(ssh_settings_get(s, "key"), "One");
	assert_string_equal(ssh_settings_at(s, "key", 1), "two three");
	assert_null(ssh_settings_at(s, "key", 2));
	assert_string_equal(ssh_settings_get(s, "empty"), "");
	assert_string_equal(ssh_settings_get(s, "last"), "x");
	ssh_settings_free(s);
}

static void settings_without_end_are_refused(void **state)
{
	char *text = malloc(SSH_SETTINGS_SIZE + 1);

	(void)state;
	assert_non_null(text);
	memset(text, 'a', SSH_SETTINGS_SIZE + 1);
	assert_null(ssh_settings_parse(text, SSH_SETTINGS_SIZE + 1));
	for (size_t i = 1; i < SSH_SETTINGS_SIZE; i += 2)
		text[i] = '\n';
	assert_null(ssh_settings_parse(text, SSH_SETTINGS_SIZE));
	assert_null(ssh_settings_parse("a\0b", 3));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unconfigured_host_is_reached_as_ssh_would),
		cmocka_unit_test(what_the_user_configured_counts),
		cmocka_unit_test(loopback_is_trusted_where_the_user_says_so_and_the_key_has_no_name),
		cmocka_unit_test(tokens_tilde_and_variables_are_expanded),
		cmocka_unit_test(what_cannot_be_expanded_is_named),
		cmocka_unit_test(the_agent_is_a_path_a_variable_or_none),
		cmocka_unit_test(an_algorithm_list_keeps_what_is_shared),
		cmocka_unit_test(an_algorithm_list_with_nothing_shared_is_refused_by_name),
		cmocka_unit_test(what_cannot_be_honoured_is_refused_by_name),
		cmocka_unit_test(the_same_options_switched_off_are_fine),
		cmocka_unit_test(output_without_an_address_is_refused),
		cmocka_unit_test(settings_keep_order_case_of_values_and_empty_values),
		cmocka_unit_test(settings_without_end_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
