/* SPDX-License-Identifier: MIT */
/*
 * ProxyCommand runs in the user's shell, as in ssh. ProxyJump a,b,c is `ssh -J a,b -W [host]:port c`: the user's own
 * ssh makes the way, with all its configuration, and we speak SSH through it. Runs on a worker thread.
 */
#include "ssh_proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "ssh_target.h"

#define ENDPOINT_MAX 1100 /* a host name of 1025 bytes (NI_MAXHOST), brackets and a port */

bool ssh_hop_parse(char *text, struct ssh_hop *hop)
{
	char *at, *colon;

	*hop = (struct ssh_hop){0};
	if (strncmp(text, "ssh://", strlen("ssh://")) == 0)
		text += strlen("ssh://");
	at = strrchr(text, '@');
	if (at) {
		*at = '\0';
		hop->user = text;
		text = at + 1;
	}
	if (text[0] == '[') {
		char *close = strchr(text, ']');

		if (!close)
			return false;
		*close = '\0';
		text++;
		colon = close[1] == ':' ? close + 1 : NULL;
	} else {
		/* A bare IPv6 address has more than one colon, and no port. */
		colon = strchr(text, ':');
		if (colon && strchr(colon + 1, ':'))
			colon = NULL;
	}
	if (colon) {
		*colon = '\0';
		hop->port = colon + 1;
	}
	hop->host = text;
	return *text != '\0';
}

static int start_jump(const struct ssh_target *t, struct child *child)
{
	char *hops = strdup(t->proxy_jump), *comma = hops ? strrchr(hops, ',') : NULL;
	char to[ENDPOINT_MAX];
	const char *argv[16];
	struct ssh_hop last;
	size_t n = 0;
	int rc = -EINVAL;

	if (!hops)
		return -ENOMEM;
	if (comma)
		*comma = '\0';
	snprintf(to, sizeof(to), "[%s]:%u", t->hostname, t->port);
	if (ssh_hop_parse(comma ? comma + 1 : hops, &last)) {
		const struct {
			const char *option, *value;
		} options[] = {
			{"-F", t->config_file},      {"-l", last.user}, {"-p", last.port},
			{"-J", comma ? hops : NULL}, {"-W", to},
		};

		argv[n++] = "ssh";
		for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
			if (!options[i].value)
				continue;
			argv[n++] = options[i].option;
			argv[n++] = options[i].value;
		}
		argv[n++] = "--";
		argv[n++] = last.host;
		argv[n] = NULL;
		rc = child_start_proxy(argv, child);
	}
	free(hops);
	return rc;
}

static int start_command(const struct ssh_target *t, struct child *child)
{
	const char *shell = getenv("SHELL");
	const char *argv[] = {shell && *shell ? shell : "/bin/sh", "-c", NULL, NULL};
	char *line;
	int rc;

	/* The shell must not stay between: ending the child would leave the command behind. */
	if (asprintf(&line, "exec %s", t->proxy_command) < 0)
		return -ENOMEM;
	argv[2] = line;
	rc = child_start_proxy(argv, child);
	free(line);
	return rc;
}

int ssh_proxy_start(const struct ssh_target *target, struct child *child)
{
	return target->proxy_jump ? start_jump(target, child) : start_command(target, child);
}
