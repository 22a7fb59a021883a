/* SPDX-License-Identifier: MIT */
/*
 * homeport enable, homeport disable: a session as a service of the user's service manager.
 *
 * The unit homeport@NAME.service runs `homeport run NAME`, so what is asked for has to be in NAME.yaml: enable writes
 * it there, as `config show` would show it, unless a file is there that says the same. It never changes a file: one
 * that says something else is its user's, who is told what differs. Then the unit is enabled and started, and what `up`
 * would tell is told, as far as it is known in time; the service goes on whether somebody waits or not.
 *
 * disable takes back what enable did, and no more: the unit is stopped and disabled, and the file goes if it is still
 * the one enable wrote.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "config.h"
#include "config_file.h"
#include "ctl_client.h"
#include "desired.h"
#include "enabled_file.h"
#include "folders.h"
#include "options.h"
#include "problems.h"
#include "runtime_dir.h"
#include "user_manager.h"

#define SOCKET_WAIT_S 3u /* at most, for an agent that was started to have its socket */

struct service {
	const struct options *options;
	struct runtime_dir dir;
	char unit[UNIT_NAME_MAX];
	char file[PATH_MAX];
	bool wrote; /* the file, just now */
};

/* The manager is asked first: without one nothing is made. */
static int find_service(struct service *service, const char *name, bool make)
{
	const char *command = command_name(service->options->command);
	char home[PATH_MAX], folder[PATH_MAX], why[RUNTIME_WHY_MAX];
	int rc;

	if (!user_manager_answers())
		return cmd_fail(EXIT_FAILED,
				"%s: no service manager of this user answers (systemctl --user); `homeport up` needs "
				"none, and homeport(1) says how other init systems run it",
				command);
	if (runtime_dir_open(&service->dir, name, make, why) < 0 && (make || !service->dir.state[0]))
		return cmd_fail(EXIT_FAILED, "%s: %s", command, why);
	if (config_home(home) < 0 || config_folder(home, folder) < 0 ||
	    config_file_path(folder, name, service->file) < 0)
		return cmd_fail(EXIT_USAGE, "%s: HOME is not set to an absolute path", command);
	rc = make ? folders_make(folder) : 0;
	if (rc < 0)
		return cmd_fail(EXIT_FAILED, "%s: %s: %s", command, folder, strerror(-rc));
	snprintf(service->unit, sizeof(service->unit), "homeport@%s.service", name);
	return EXIT_DONE;
}

static int tell_manager(const struct service *service, const char *verb, const char *option)
{
	char why[USER_MANAGER_WHY_MAX];

	if (user_manager_tell(verb, option, service->unit, why) < 0)
		return cmd_fail(EXIT_FAILED, "%s: %s: cannot %s it: %s", command_name(service->options->command),
				service->unit, verb, why);
	return EXIT_DONE;
}

/* ---------------------------------------------------------------------------------------------------------- the file
 */

/* A file is there: fine if it asks for the same. */
static int compare_file(const struct service *service, const struct config *wanted)
{
	struct problems *problems = problems_new();
	struct config *found = NULL;
	char home[PATH_MAX];
	int status = EXIT_USAGE;

	if (!problems || config_home(home) < 0)
		return cmd_fail(EXIT_FAILED, "enable: out of memory");
	if (config_load(service->file, home, problems, &found) < 0) {
		problems_print(problems, stderr);
	} else if (!found->ssh.host && !(found->ssh.host = strdup(service->dir.name))) {
		status = cmd_fail(EXIT_FAILED, "enable: out of memory");
	} else if (config_equal(found, wanted)) {
		printf("%s: is there already, and says so\n", service->file);
		status = EXIT_DONE;
	} else {
		status = cmd_fail(
			EXIT_FAILED,
			"enable: %s says something else; change it, or enable under another --name:", service->file);
		config_diff(found, wanted, stderr);
	}
	config_free(found);
	problems_free(problems);
	return status;
}

static int write_file(struct service *service, const struct config *config)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int rc = -ENOMEM;

	if (out) {
		fprintf(out,
			"# Written by `homeport enable`; `homeport disable %s` removes it unless somebody changes it.\n"
			"# The keys are in homeport.yaml(5).\n",
			service->dir.name);
		config_show(config, out);
		if (fclose(out) == 0)
			rc = enabled_file_write(service->file, &service->dir, text, len);
	}
	free(text);
	if (rc == -EEXIST)
		return compare_file(service, config);
	if (rc < 0)
		return cmd_fail(EXIT_FAILED, "enable: %s: %s", service->file, strerror(-rc));
	service->wrote = true;
	printf("%s: written\n", service->file);
	return EXIT_DONE;
}

/* ------------------------------------------------------------------------------------------------------- the service
 */

static void ignore_line(void *ctx, char tag, const char *text, size_t len)
{
}

/* Whether the session is up by hand: an agent answers, and the unit does not run it. */
static bool is_up_by_hand(const struct service *service)
{
	char state[UNIT_STATE_MAX];

	return ctl_ask(&service->dir, "config", 5, ignore_line, NULL) != -ENOENT &&
	       (user_manager_state(service->unit, state) < 0 || !strcmp(state, "inactive") || !strcmp(state, "failed"));
}

/* What `up` tells. An agent that is not there yet is one whose service is about to start it. */
static int ask_agent(const struct service *service)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	unsigned timeout_s = service->options->timeout_s, tries = 0;
	unsigned socket_s = timeout_s < SOCKET_WAIT_S ? timeout_s : SOCKET_WAIT_S;
	int rc;

	do {
		rc = ctl_ask(&service->dir, "wait", timeout_s, ctl_print_line, NULL);
		if (rc == -ENOENT)
			nanosleep(&pause, NULL);
	} while (rc == -ENOENT && ++tries < socket_s * 50);
	return rc;
}

static int report(const struct service *service)
{
	const char *name = service->dir.name;
	int rc = ask_agent(service);

	if (rc == EXIT_DONE || rc == EXIT_NOT_CONNECTED)
		return rc;
	if (rc == -ETIMEDOUT)
		return cmd_fail(EXIT_NOT_CONNECTED,
				"enable: %s is not connected after %u s, and goes on trying; see `homeport status %s`",
				name, service->options->timeout_s, name);
	if (rc >= 0 || rc == -ECONNRESET)
		return cmd_fail(EXIT_FAILED,
				"enable: %s tries again, also after the next login; see `homeport logs %s`", name,
				name);
	printf("%s: see `homeport status %s`\n", name, name);
	return EXIT_DONE;
}

static int begin(const struct service *service)
{
	int rc = tell_manager(service, "enable", NULL);

	if (rc != EXIT_DONE) {
		if (service->wrote && enabled_file_remove(service->file, &service->dir) == ENABLED_FILE_REMOVED)
			printf("%s: removed again\n", service->file);
		return rc;
	}
	if (is_up_by_hand(service)) {
		printf("%s: enabled; %s is up by hand until you log out, or `homeport down %s` and `systemctl --user "
		       "start %s`\n",
		       service->unit, service->dir.name, service->dir.name, service->unit);
	} else {
		rc = tell_manager(service, "start", "--no-block");
		if (rc != EXIT_DONE)
			return rc;
		printf("%s: enabled and started\n", service->unit);
	}
	if (!user_manager_lingers())
		puts("it runs while you are logged in; to have it from boot on, also without a login: loginctl "
		     "enable-linger");
	fflush(stdout);
	return report(service);
}

int cmd_enable(const struct options *options)
{
	struct service service = {.options = options};
	struct desired desired;
	int rc = cmd_desire(options, &desired);

	if (rc != EXIT_DONE)
		return rc;
	rc = find_service(&service, desired.name, true);
	if (rc == EXIT_DONE)
		rc = write_file(&service, desired.config);
	if (rc == EXIT_DONE)
		rc = begin(&service);
	desired_clear(&desired);
	return rc;
}

/* ----------------------------------------------------------------------------------------------------------- disable
 */

static int remove_file(const struct service *service)
{
	static const char *const ends[ENABLED_FILE_ENDS] = {
		[ENABLED_FILE_REMOVED] = "removed",
		[ENABLED_FILE_NOT_OURS] = "stays; `homeport enable` did not write it",
		[ENABLED_FILE_CHANGED] = "stays; it was changed since `homeport enable` wrote it",
	};
	int end = enabled_file_remove(service->file, &service->dir);

	if (end < 0)
		return cmd_fail(EXIT_FAILED, "disable: %s: %s", service->file, strerror(-end));
	if (end != ENABLED_FILE_NONE)
		printf("%s: %s\n", service->file, ends[end]);
	return EXIT_DONE;
}

int cmd_disable(const struct options *options)
{
	struct service service = {.options = options};
	char name[SESSION_NAME_MAX + 1], why[ARG_WHY_MAX];
	int rc;

	if (desired_name(options->target, name, why) < 0)
		return cmd_fail(EXIT_USAGE, "disable: %s", why);
	rc = find_service(&service, name, false);
	if (rc == EXIT_DONE)
		rc = tell_manager(&service, "disable", "--now");
	if (rc != EXIT_DONE)
		return rc;
	printf("%s: stopped and disabled\n", service.unit);
	return remove_file(&service);
}
