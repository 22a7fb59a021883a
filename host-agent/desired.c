/* SPDX-License-Identifier: MIT */
/*
 * From the words of a command line to the desired state: find the file or take the host, lay the options on top, fill
 * in what was left open. Mistakes are collected, as in a file: a wrong --mount does not hide a wrong --port-forward.
 */
#include "desired.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_fields.h"
#include "config_file.h"
#include "lima.h"

struct maker {
	const struct options *options;
	struct problems *problems;
	struct desired *desired;
	char home[PATH_MAX];
	int error; /* -ENOMEM; what a person did wrong is in problems */
};

static void __attribute__((format(printf, 3, 4)))
complain(struct maker *maker, const char *what, const char *format, ...)
{
	char text[PROBLEMS_TEXT_MAX], place[64];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(place, sizeof(place), "homeport: %s", what);
	problems_add(maker->problems, PROBLEM_ERROR, (struct problem_place){.file = place}, "%s", text);
}

static void set_text(struct maker *maker, char **at, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL) {
		maker->error = -ENOMEM;
		return;
	}
	free(*at);
	*at = copy;
}

/* ---- a name or a host ---- */

/* True when the folder has the name's file; it is then loaded, or what is wrong with it was said. */
static bool load_by_name(struct maker *maker)
{
	const char *name = maker->options->target;
	char folder[PATH_MAX], path[PATH_MAX];
	int r;

	if (host_arg_check_name(name) != NULL || config_folder(maker->home, folder) < 0 ||
	    config_file_path(folder, name, path) < 0 || (access(path, F_OK) < 0 && errno == ENOENT))
		return false;
	strcpy(maker->desired->name, name);
	set_text(maker, &maker->desired->file, path);
	r = config_load(path, maker->home, maker->problems, &maker->desired->config);
	if (r == 0 && maker->desired->config->ssh.host == NULL)
		set_text(maker, &maker->desired->config->ssh.host, name);
	else if (r == -ENOMEM)
		maker->error = r;
	return true;
}

static void load_lima(struct maker *maker)
{
	const char *name = maker->options->target != NULL ? maker->options->target : "";
	const char *wrong = host_arg_check_name(name);
	int r;

	if (wrong != NULL) {
		complain(maker, "--lima", "\"%.100s\" %s", name, wrong);
		return;
	}
	strcpy(maker->desired->name, name);
	r = lima_load(name, maker->home, maker->problems, &maker->desired->config);
	if (r == -ENOMEM)
		maker->error = r;
}

static void take_host(struct maker *maker)
{
	struct config *config;
	struct host_arg arg;
	char why[ARG_WHY_MAX];

	if (host_arg_parse(maker->options->target, &arg, why) < 0) {
		problems_add(maker->problems, PROBLEM_ERROR, (struct problem_place){.file = "homeport"}, "%s", why);
		return;
	}
	config = maker->desired->config = config_new(maker->home);
	if (config == NULL) {
		maker->error = -ENOMEM;
		return;
	}
	set_text(maker, &config->ssh.host, arg.host);
	if (arg.user[0] != '\0')
		set_text(maker, &config->ssh.user, arg.user);
	config->ssh.port = arg.port;
	if (maker->options->name == NULL && host_arg_name(arg.host, maker->desired->name) < 0)
		complain(maker, "the host", "\"%.100s\" cannot be the session's name; choose one with --name",
			 arg.host);
	if (maker->options->port != 0 && arg.port != 0 && arg.port != maker->options->port)
		complain(maker, "-p", "port %u is another than in \"%.100s\"; remove one", maker->options->port,
			 maker->options->target);
}

static void take_name(struct maker *maker)
{
	const char *name = maker->options->name, *wrong;

	if (name == NULL)
		return;
	wrong = host_arg_check_name(name);
	if (wrong != NULL)
		complain(maker, "--name", "\"%.100s\" %s", name, wrong);
	else
		strcpy(maker->desired->name, name);
}

/* ---- the options on top ---- */

/* What a shell's user types is relative to where they are; a configuration outlives that. */
static void set_path(struct maker *maker, struct config_path *at, const char *option, const char *text)
{
	struct config_path path = {0};
	const char *wrong = NULL;
	char *resolved = NULL;
	int r;

	if (text[0] != '/' && text[0] != '~')
		text = resolved = realpath(text, NULL);
	if (text == NULL) {
		complain(maker, option, "%s", strerror(errno));
		return;
	}
	r = config_path_expand(text, maker->home, &path.path, &wrong);
	if (r == -EINVAL)
		complain(maker, option, "\"%.200s\" %s", text, wrong);
	else if (r < 0 || asprintf(&path.where, "homeport: %s", option) < 0)
		maker->error = -ENOMEM;
	free(resolved);
	if (path.where == NULL) {
		free(path.path);
		return;
	}
	free(at->path);
	free(at->where);
	*at = path;
}

static void add_ssh_options(struct maker *maker, const struct option_list *given)
{
	struct config_ssh *ssh = &maker->desired->config->ssh;
	char **list;

	if (given->count > CONFIG_SSH_OPTIONS_MAX - ssh->option_count) {
		complain(maker, "-o", "there are more than %d, with the file's; remove some", CONFIG_SSH_OPTIONS_MAX);
		return;
	}
	list = reallocarray(ssh->options, ssh->option_count + given->count + 1, sizeof(*list));
	if (list == NULL) {
		maker->error = -ENOMEM;
		return;
	}
	ssh->options = list;
	/* ssh takes the first of two options: the command line's stand before the file's. */
	memmove(list + given->count, list, ssh->option_count * sizeof(*list));
	memset(list, 0, given->count * sizeof(*list));
	ssh->option_count += given->count;
	for (size_t i = 0; i < given->count; i++) {
		const char *wrong = host_arg_check_option(given->values[i]);

		if (wrong != NULL)
			complain(maker, "-o", "\"%.100s\" %s", given->values[i], wrong);
		set_text(maker, &list[i], given->values[i]);
	}
}

static void add_mounts(struct maker *maker, const struct option_list *given)
{
	for (size_t i = 0; i < given->count; i++) {
		struct config_mount mount;
		char why[ARG_WHY_MAX];
		int r = mount_arg_parse(given->values[i], maker->home, &mount, why);

		if (r == -EINVAL)
			complain(maker, "--mount", "%s", why);
		for (size_t j = 0; r == 0 && j < i; j++) { /* one point twice on one line is a mistake */
			struct config_mount before;

			if (mount_arg_parse(given->values[j], maker->home, &before, why) < 0)
				continue;
			if (strcmp(before.mount_point, mount.mount_point) == 0)
				complain(maker, "--mount", "\"%.200s\" is mounted on twice; name another mount point",
					 mount.mount_point);
			config_mount_clear(&before);
		}
		if (r == 0)
			r = config_add_mount(maker->desired->config, &mount);
		if (r == -ENOSPC)
			complain(maker, "--mount", "there are more than %u mounts; remove some", CONFIG_MOUNTS_MAX);
		if (r == -ENOMEM)
			maker->error = r;
	}
}

static void add_forwards(struct maker *maker, const struct option_list *given)
{
	struct rule_spec specs[OPTIONS_LIST_MAX];
	size_t count = 0;
	int r;

	for (size_t i = 0; i < given->count; i++) {
		char why[ARG_WHY_MAX];

		r = forward_arg_parse(given->values[i], &specs[count], why);
		if (r == -EINVAL)
			complain(maker, "--port-forward", "%s", why);
		else if (r < 0)
			maker->error = r;
		else
			config_warn_forward(&specs[count++], (struct problem_place){.file = "homeport"},
					    maker->problems);
	}
	r = config_put_forwards_first(maker->desired->config, specs, count);
	if (r == -ENOSPC)
		complain(maker, "--port-forward", "there are more than %d rules; remove some", RULES_MAX);
	else if (r < 0)
		maker->error = r;
}

static void take_options(struct maker *maker)
{
	const struct options *options = maker->options;
	struct config *config = maker->desired->config;
	const char *wrong;

	if (options->port != 0)
		config->ssh.port = options->port;
	if (options->ssh_config != NULL)
		set_path(maker, &config->ssh.config_file, "-F", options->ssh_config);
	if (options->identity_file != NULL)
		set_path(maker, &config->ssh.identity_file, "-i", options->identity_file);
	if (options->host_key != NULL && (wrong = host_arg_check_key(options->host_key)) != NULL)
		complain(maker, "--host-key", "\"%.100s\" %s", options->host_key, wrong);
	if (options->host_key != NULL)
		set_text(maker, &config->ssh.host_key, options->host_key);
	if (options->guest_command != NULL)
		set_text(maker, &config->guest_command, options->guest_command);
	if (options->no_mount)
		config_clear_mounts(config);
	if (options->no_ports)
		config->max_forwards = 0;
	add_ssh_options(maker, &options->ssh_options);
	add_mounts(maker, &options->mounts);
	add_forwards(maker, &options->forwards);
}

int desired_make(const struct options *options, struct problems *problems, struct desired *out)
{
	struct desired desired = {.name = ""};
	struct maker maker = {.options = options, .problems = problems, .desired = &desired};
	size_t before = problems_count(problems, PROBLEM_ERROR);

	if (config_home(maker.home) < 0) {
		complain(&maker, "HOME", "is not set to an absolute path");
		return -EINVAL;
	}
	if (options->lima)
		load_lima(&maker);
	else if (!load_by_name(&maker))
		take_host(&maker);
	take_name(&maker);
	if (desired.config != NULL && maker.error == 0)
		take_options(&maker);
	if (maker.error == 0 && problems_count(problems, PROBLEM_ERROR) > before)
		maker.error = -EINVAL;
	if (maker.error < 0)
		desired_clear(&desired);
	else
		*out = desired;
	return maker.error;
}

void desired_clear(struct desired *desired)
{
	free(desired->file);
	config_free(desired->config);
	*desired = (struct desired){.name = ""};
}

int desired_name(const char *target, char name[SESSION_NAME_MAX + 1], char *why)
{
	char home[PATH_MAX], folder[PATH_MAX], path[PATH_MAX];
	struct host_arg arg;
	int r;

	if (host_arg_check_name(target) == NULL && config_home(home) == 0 && config_folder(home, folder) == 0 &&
	    config_file_path(folder, target, path) == 0 && access(path, F_OK) == 0) {
		strcpy(name, target);
		return 0;
	}
	r = host_arg_parse(target, &arg, why);
	if (r < 0)
		return r;
	if (host_arg_name(arg.host, name) < 0) {
		snprintf(why, ARG_WHY_MAX, "\"%.200s\" is no session's name", target);
		return -EINVAL;
	}
	return 0;
}
