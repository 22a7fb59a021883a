/* SPDX-License-Identifier: MIT */
/*
 * Asks the user's ssh what it would do. Runs on a worker thread. Two children at once: `ssh -G` as the user would call
 * it, and `ssh -F none -G` for what ssh does when nobody configured anything; the difference is what the user changed.
 * It is asked at every attempt: the file, or what a `Match exec` in it says, may have changed, and a VM that was
 * restarted may have another port. It costs 7 ms.
 */
#include "ssh_config.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cancel.h"
#include "child.h"
#include "link_error.h"
#include "log.h"
#include "ssh_args.h"
#include "ssh_settings.h"
#include "ssh_target.h"

#define QUERY_MS     10000
#define HOSTNAME_LEN 256

/* Where the host's name begins in [USER@]HOST. */
static const char *host_of(const char *destination)
{
	const char *at = strrchr(destination, '@');

	return at ? at + 1 : destination;
}

static int query_build(struct ssh_args *q, const struct ssh_request *r, struct link_error *err)
{
	ssh_args_add(q, "ssh", NULL);
	ssh_args_add(q, "-T", NULL); /* else it complains that there is no terminal */
	ssh_args_add(q, "-G", NULL);
	if (ssh_args_add_request(q, r) == 0)
		return 0;
	link_error_set(err, LINK_ERROR_CONFIG, "%s: more than %u ssh options", host_of(r->destination),
		       SSH_ARGS_OPTIONS_MAX);
	return -E2BIG;
}

/* ssh's complaint is the last line it wrote. */
static void complain(const char *name, const struct child_output *o, struct link_error *err)
{
	char line[256];
	size_t end = strlen(o->err), start;

	while (end > 0 && (o->err[end - 1] == '\n' || o->err[end - 1] == '\r'))
		end--;
	for (start = end; start > 0 && o->err[start - 1] != '\n'; start--)
		;
	text_printable(line, sizeof(line), o->err + start, end - start);
	if (WIFEXITED(o->status) && WEXITSTATUS(o->status) == 127)
		link_error_set(err, LINK_ERROR_LOCAL, "%s: the program ssh was not found", name);
	else
		link_error_set(err, LINK_ERROR_CONFIG, "%s: ssh does not accept its configuration: %s", name,
			       *line ? line : "it does not say why");
}

static int collect(const char *name, struct child *child, struct cancel *cancel, struct ssh_settings **settings,
		   struct link_error *err)
{
	struct child_output output;
	int rc = child_collect(child, cancel, QUERY_MS, &output);

	if (rc < 0) {
		if (rc == -ECANCELED)
			link_error_set(err, LINK_ERROR_CANCELLED, "%s: given up", name);
		else
			link_error_set(err, LINK_ERROR_CONFIG, "%s: `ssh -G %s` does not answer: %s", name, name,
				       strerror(-rc));
		return rc;
	}
	if (output.status != 0) {
		complain(name, &output, err);
		rc = -EINVAL;
	} else if (!(*settings = ssh_settings_parse(output.out, output.out_len))) {
		link_error_set(err, LINK_ERROR_CONFIG, "%s: `ssh -G %s` printed what cannot be read", name, name);
		rc = -EINVAL;
	}
	free(output.out);
	free(output.err);
	return rc;
}

static const char *person_env(const char *name)
{
	return getenv(name);
}

static int target_make(const struct ssh_request *request, const struct ssh_settings *mine,
		       const struct ssh_settings *plain, struct ssh_target **target, struct link_error *err)
{
	char hostname[HOSTNAME_LEN] = "", buf[4096];
	struct passwd entry, *pw = NULL;
	struct ssh_person who;

	gethostname(hostname, sizeof(hostname) - 1);
	getpwuid_r(getuid(), &entry, buf, sizeof(buf), &pw);
	/* As ssh does: the home is the password file's, whatever HOME says. */
	who = (struct ssh_person){
		.home = pw ? pw->pw_dir : "/",
		.user = pw ? pw->pw_name : "",
		.uid = getuid(),
		.hostname = hostname,
		.env = person_env,
	};
	*target = ssh_target_new(host_of(request->destination), mine, plain, &who, err);
	if (!*target)
		return -EINVAL;
	if (request->config_file && !((*target)->config_file = strdup(request->config_file))) {
		ssh_target_free(*target);
		link_error_set(err, LINK_ERROR_LOCAL, "out of memory");
		return -ENOMEM;
	}
	return 0;
}

int ssh_config_query(const struct ssh_request *request, struct cancel *cancel, struct ssh_target **target,
		     struct link_error *err)
{
	const char *name = host_of(request->destination);
	const char *const plain_argv[] = {"ssh", "-T", "-F", "none", "-G", "--", name, NULL};
	struct child mine_child = {0}, plain_child = {0};
	struct ssh_settings *mine = NULL, *plain = NULL;
	struct ssh_args query = {0};
	int rc = query_build(&query, request, err);

	if (rc < 0)
		return rc;
	rc = child_start(query.argv, &mine_child);
	if (!rc)
		rc = child_start(plain_argv, &plain_child);
	if (rc < 0) {
		link_error_set(err, LINK_ERROR_LOCAL, "%s: the program ssh cannot be run: %s", name, strerror(-rc));
	} else {
		rc = collect(name, &mine_child, cancel, &mine, err);
		if (!rc)
			rc = collect(name, &plain_child, cancel, &plain, err);
		if (!rc)
			rc = target_make(request, mine, plain, target, err);
	}
	child_end(&mine_child);
	child_end(&plain_child);
	ssh_settings_free(mine);
	ssh_settings_free(plain);
	return rc;
}
