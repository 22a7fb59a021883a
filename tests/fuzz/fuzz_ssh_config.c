/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what is made of the output of `ssh -G`. The input up to the first "\n\n" is the user's configuration, the rest
 * what ssh says unconfigured. Either there is a target that can be connected to, or a sentence that says why not.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "link_error.h"
#include "ssh_proxy.h"
#include "ssh_settings.h"
#include "ssh_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static const char *fake_env(const char *name)
{
	return name[0] == 'A' ? "value" : NULL;
}

static void check_target(struct ssh_target *t)
{
	must(t->hostname && t->user && t->port > 0 && t->port < 65536);
	must(t->connect_timeout_s > 0 && t->user_known_hosts <= t->known_hosts.count);
	must(!t->proxy_command || !t->proxy_jump);
	must(!t->ciphers || *t->ciphers);
	if (t->proxy_jump) {
		struct ssh_hop hop;

		must(!ssh_hop_parse(t->proxy_jump, &hop) || *hop.host);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ssh_person who = {"/home/me", "me", 1000, "laptop.example", fake_env};
	const uint8_t *cut = size ? memmem(data, size, "\n\n", 2) : NULL;
	size_t first = cut ? (size_t)(cut - data) : size;
	struct ssh_settings *mine, *plain;
	struct link_error err = {0};
	struct ssh_target *t;

	mine = ssh_settings_parse((const char *)data, first);
	plain = ssh_settings_parse((const char *)data + first, size - first);
	if (mine && plain) {
		t = ssh_target_new("name", mine, plain, &who, &err);
		must(!t == (err.kind != LINK_ERROR_NONE));
		if (t)
			check_target(t);
		ssh_target_free(t);
	}
	ssh_settings_free(mine);
	ssh_settings_free(plain);
	return 0;
}
