/* SPDX-License-Identifier: MIT */
/*
 * homeport guest install, guest uninstall: homeport-guest in the guest for good, and away again.
 *
 * All of it is done in the guest by homeport-guest itself, as root (guest-agent/cmd_install.c): here its words are put
 * together, what it says is shown, and its question asked. Where sudo wants a password there, the user's own ssh runs
 * the same command once more on the terminal, so that no password passes through this program.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bring.h"
#include "cmd.h"
#include "config.h"
#include "desired.h"
#include "guest_talk.h"
#include "link_error.h"
#include "log.h"
#include "options.h"
#include "ssh_args.h"
#include "ssh_config.h"

#define HEARD_MAX 4096

struct heard {
	const char *host;
	char self[HEARD_MAX];     /* where homeport-guest is in the guest */
	char password[HEARD_MAX]; /* "": none is wanted */
};

static bool has_terminal(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static void on_line(void *ctx, char letter, const char *text)
{
	struct heard *h = ctx;

	switch (letter) {
	case 'o':
		printf("%s\n", text);
		break;
	case 'e':
		fflush(stdout);
		fprintf(stderr, "homeport: %s: %s\n", h->host, text);
		break;
	case 'q':
		printf("%s [y/N] ", text);
		break;
	case 's':
		snprintf(h->self, sizeof(h->self), "%s", text);
		break;
	case 'p':
		snprintf(h->password, sizeof(h->password), "%s", text);
		break;
	default:
		break;
	}
	fflush(stdout);
}

/* -------------------------------------------------------------------------------------------------------------- words
 */

/* Where the host's folders go, for what confines mounts there. */
static void add_mount_points(const struct config *config, FILE *out)
{
	for (size_t i = 0; i < config->mount_count; i++) {
		const char *point = config->mounts[i].mount_point;

		if (bring_word_is_plain(point))
			fprintf(out, " --mount-point %s", point);
		else
			fprintf(stderr,
				"homeport: %s: has letters in its name that no rule of AppArmor's is made of; where "
				"the "
				"guest's AppArmor stands in the way, it will not be mounted\n",
				point);
	}
}

/* For the caller to free. NULL: out of memory. */
static char *make_words(const struct options *options, const struct config *config)
{
	bool install = options->command == COMMAND_GUEST_INSTALL;
	char *words = NULL;
	size_t size;
	FILE *out = open_memstream(&words, &size);

	if (!out)
		return NULL;
	fprintf(out, "%s", install ? "install" : "uninstall");
	fprintf(out, "%s%s%s%s%s", options->dry_run ? " --dry-run" : "", options->yes ? " --yes" : "",
		options->helper ? " --helper" : "", options->allow_other ? " --allow-other" : "",
		options->move_home ? " --move-home" : "");
	if (install)
		add_mount_points(config, out);
	if (fclose(out) == 0)
		return words;
	free(words);
	return NULL;
}

/* --------------------------------------------------------------------------------------------------------- a password
 */

/* The path is the guest's word: it becomes part of a command of the guest's alone, but is typed for the user. */
static int on_terminal(const struct config *config, const char *self, const char *words)
{
	const char *options[CONFIG_SSH_OPTIONS_MAX + 1];
	const struct ssh_request request = ssh_args_request(&config->ssh, options);
	struct ssh_args args = {0};
	char *command = NULL;

	if (asprintf(&command, "exec %s %s", self, words) < 0)
		return cmd_fail(EXIT_FAILED, "out of memory");
	ssh_args_add(&args, "ssh", NULL);
	ssh_args_add(&args, "-t", NULL);
	ssh_args_add(&args, "-o", "RemoteCommand=none");
	if (ssh_args_add_request(&args, &request) < 0) {
		free(command);
		return cmd_fail(EXIT_USAGE, "%s: too many ssh options", config->ssh.host);
	}
	ssh_args_add(&args, command, NULL);
	fflush(stdout);
	signal(SIGPIPE, SIG_DFL); /* what is ignored stays so */
	execvp("ssh", (char *const *)args.argv);
	free(command);
	return cmd_fail(EXIT_FAILED, "ssh cannot be started: %s", strerror(errno));
}

static int with_password(const struct config *config, const struct heard *heard, const char *words)
{
	/* A key that is pinned here is not known to ssh, and a password goes to no other. */
	if (has_terminal() && !config->ssh.host_key && bring_word_is_plain(heard->self))
		return on_terminal(config, heard->self, words);
	return cmd_fail(EXIT_FAILED, "%s: %s", config->ssh.host, heard->password);
}

/* ---------------------------------------------------------------------------------------------------------- the whole
 */

static int run(const struct options *options, const struct config *config, const char *words)
{
	struct heard heard = {.host = config->ssh.host};
	char *first = NULL;
	struct link_error err;
	int status;

	if (asprintf(&first, "%s --to-host%s", words, has_terminal() ? " --ask" : "") < 0)
		return cmd_fail(EXIT_FAILED, "out of memory");
	status = guest_talk_run(config, first, on_line, &heard, &err);
	free(first);
	if (heard.password[0])
		return with_password(config, &heard, words);
	if (status >= 0)
		return status;
	cmd_fail(EXIT_FAILED, "%s", err.sentence);
	if (err.advice[0])
		fprintf(stderr, "%s\n", err.advice);
	return EXIT_FAILED;
}

int cmd_guest(const struct options *options)
{
	struct desired desired;
	char *words;
	int rc = cmd_desire(options, &desired);

	if (rc != EXIT_DONE)
		return rc;
	/* What is told of a connection as it comes and goes is for a log. */
	log_set_level(LOG_LEVEL_ERROR);
	words = make_words(options, desired.config);
	rc = words ? run(options, desired.config, words) : cmd_fail(EXIT_FAILED, "out of memory");
	free(words);
	desired_clear(&desired);
	return rc;
}
