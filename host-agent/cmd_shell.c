/* SPDX-License-Identifier: MIT */
/*
 * homeport shell: becomes the user's own ssh(1), with what the session was configured with, for a shell or a command in
 * the guest. The running agent says what is mounted where, so that it can begin in this folder; nothing else is asked
 * of it, and the connection is one of its own: it goes on when the session ends.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounds.h"
#include "cmd.h"
#include "config.h"
#include "ctl_client.h"
#include "ctl_words.h"
#include "log.h"
#include "options.h"
#include "runtime_dir.h"
#include "shell_folder.h"
#include "shell_line.h"
#include "ssh_args.h"

#define ASK_TIMEOUT_S 10u

/* Prints no key but the pinned one: ssh knows a key as a line of known_hosts, and here is only its fingerprint. */
#define PINNED_KEY "KnownHostsCommand=/bin/sh -c 'test \"$1\" = \"$2\" && echo \"$3 $4 $5\"; :' sh %%f %s %%H %%t %%K"

/* What the agent says. */
struct session {
	char state[32];
	char key_type[64]; /* of the host key it accepted last; "": none yet */
	struct shell_share shares[CONFIG_MOUNTS_MAX];
	size_t share_count;
	char *variables[ENVIRONMENT_MAX + 1]; /* NULL behind the last */
	size_t variable_count;
};

static char *resolved(const char *path)
{
	char *real = realpath(path, NULL);

	return real ? real : strdup(path);
}

static void take_share(struct session *s, char *const *words)
{
	struct shell_share *share = &s->shares[s->share_count];

	*share = (struct shell_share){resolved(words[1]), strdup(words[2]), !strcmp(words[0], "mounted")};
	if (share->source && share->target) {
		s->share_count++;
		return;
	}
	free(share->source);
	free(share->target);
}

static void on_line(void *ctx, char tag, const char *text, size_t len)
{
	struct session *s = ctx;
	char *words[CTL_WORDS_MAX], *copy = tag == 'o' ? strdup(text) : NULL;
	size_t count = copy ? ctl_words_split(copy, words) : 0;

	if (tag == 'e')
		ctl_print_line(NULL, tag, text, len);
	if (count > 0 && !s->state[0]) {
		snprintf(s->state, sizeof(s->state), "%s", words[0]);
		snprintf(s->key_type, sizeof(s->key_type), "%s", count > 1 ? words[1] : "");
	} else if (count == 2 && !strcmp(words[0], "env") && s->variable_count < ENVIRONMENT_MAX) {
		s->variables[s->variable_count] = strdup(words[1]);
		s->variable_count += s->variables[s->variable_count] != NULL;
	} else if (count == 3 && s->share_count < CONFIG_MOUNTS_MAX) {
		take_share(s, words);
	}
	free(copy);
}

static void session_clear(struct session *s)
{
	for (size_t i = 0; i < s->share_count; i++) {
		free(s->shares[i].source);
		free(s->shares[i].target);
	}
	for (size_t i = 0; i < s->variable_count; i++)
		free(s->variables[i]);
}

/* ----------------------------------------------------------------------------------------------- where it begins */

static void say(const char *name, const char *folder, const char *why)
{
	char text[1200];

	fprintf(stderr, "homeport: shell: %s %s %s; this begins in the home of the login\n",
		text_printable(text, sizeof(text), folder, strlen(folder)), why, name);
}

/* The folder in the guest, the caller's; NULL: where the login begins, and where that is a surprise it was said. */
static char *begin_in(const struct session *s, const char *name, const struct options *options)
{
	char *folder, *there = NULL;

	if (strcmp(s->state, "connected") != 0) {
		/* A mount waits for the link, and so would cd. */
		fprintf(stderr,
			"homeport: shell: %s is %s, and its mounts wait for that; this begins in the home of the "
			"login\n",
			name, s->state);
		return NULL;
	}
	folder = getcwd(NULL, 0);
	if (!folder) {
		fprintf(stderr, "homeport: shell: this folder is gone; this begins in the home of the login\n");
		return NULL;
	}
	switch (shell_folder_find(s->shares, s->share_count, folder, &there)) {
	case SHELL_PLACE_IN_GUEST:
		break;
	case SHELL_PLACE_UNMOUNTED:
		say(name, folder, "is not mounted in");
		break;
	case SHELL_PLACE_COVERED:
		say(name, folder, "lies under another mount of");
		break;
	case SHELL_PLACE_NONE:
		/* A shell's prompt shows it; a program that runs elsewhere does not, and a script expects no words. */
		if (*options->words && s->share_count > 0 && isatty(STDERR_FILENO))
			say(name, folder, "is in no mount of");
		break;
	}
	free(folder);
	return there;
}

/* ---------------------------------------------------------------------------------------------------- becoming ssh */

static void pin(struct ssh_args *args, const struct session *s, const char *option, char algorithms[96])
{
	ssh_args_add(args, "-o", option);
	ssh_args_add(args, "-o", "StrictHostKeyChecking=yes");
	ssh_args_add(args, "-o", "UserKnownHostsFile=none");
	ssh_args_add(args, "-o", "GlobalKnownHostsFile=none");
	ssh_args_add(args, "-o", "NoHostAuthenticationForLocalhost=no");
	/* A host that has three keys would show another one first. */
	if (!s->key_type[0])
		return;
	snprintf(algorithms, 96, "HostKeyAlgorithms=%s",
		 !strcmp(s->key_type, "ssh-rsa") ? "rsa-sha2-512,rsa-sha2-256" : s->key_type);
	ssh_args_add(args, "-o", algorithms);
}

/* Returns only where it cannot be done. */
static int become_ssh(const struct session *s, const struct config_ssh *ssh, const char *line)
{
	const char *options[CONFIG_SSH_OPTIONS_MAX + 1];
	const struct ssh_request request = ssh_args_request(ssh, options);
	char algorithms[96], pinned[256];
	struct ssh_args args = {0};

	ssh_args_add(&args, "ssh", isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? "-t" : "-T");
	ssh_args_add(&args, "-o", "RemoteCommand=none");
	if (ssh->host_key) {
		snprintf(pinned, sizeof(pinned), PINNED_KEY, ssh->host_key);
		pin(&args, s, pinned, algorithms);
	}
	if (ssh_args_add_request(&args, &request) < 0)
		return cmd_fail(EXIT_FAILED, "shell: too many ssh options");
	if (line)
		ssh_args_add(&args, line, NULL);
	signal(SIGPIPE, SIG_DFL); /* what is ignored stays so */
	execvp("ssh", (char *const *)args.argv);
	return cmd_fail(EXIT_FAILED, "shell: the program ssh cannot be run: %s", strerror(errno));
}

static int start(const struct options *options, const struct session *s, const char *name, const struct config_ssh *ssh)
{
	char *folder = begin_in(s, name, options), complaint[1400], path[1200], *line = NULL;
	int rc = EXIT_DONE;

	if (folder || s->variable_count > 0 || *options->words) {
		snprintf(complaint, sizeof(complaint),
			 "homeport: shell: %s cannot be entered in the guest; this begins in the home of the login",
			 folder ? text_printable(path, sizeof(path), folder, strlen(folder)) : "");
		line = shell_line_make(&(struct shell_line){folder, complaint, s->variables, options->words});
		if (!line)
			rc = cmd_fail(EXIT_FAILED, "shell: out of memory");
		else if (strlen(line) > SHELL_LINE_MAX)
			rc = cmd_fail(EXIT_USAGE, "shell: the command is too long; put it in a file, and run that");
	}
	if (rc == EXIT_DONE)
		rc = become_ssh(s, ssh, line);
	free(line);
	free(folder);
	return rc;
}

static int ask_and_start(const struct options *options, const struct runtime_dir *dir, struct session *s)
{
	struct config *config;
	int rc = cmd_asked(options, dir, ctl_ask(dir, "shell", ASK_TIMEOUT_S, on_line, s));

	if (rc != EXIT_DONE)
		return rc;
	config = cmd_running_config(dir, &rc);
	if (!config)
		return rc < 0 ? cmd_asked(options, dir, rc)
			      : cmd_fail(EXIT_FAILED,
					 "shell: an agent of another version runs %s; `homeport down %s` ends it",
					 dir->name, dir->name);
	rc = start(options, s, dir->name, &config->ssh);
	config_free(config);
	return rc;
}

int cmd_shell(const struct options *options)
{
	struct runtime_dir dir;
	int rc = cmd_session(options, &dir);
	struct session *s;

	if (rc != EXIT_DONE)
		return rc;
	s = calloc(1, sizeof(*s));
	if (!s)
		return cmd_fail(EXIT_FAILED, "shell: out of memory");
	rc = ask_and_start(options, &dir, s);
	session_clear(s);
	free(s);
	return rc;
}
