/* SPDX-License-Identifier: MIT */
/*
 * homeport reload, mount, umount, forward, unforward: asks the agent to change what a running session does, and prints
 * what came of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "config.h"
#include "config_file.h"
#include "ctl_client.h"
#include "ctl_socket.h"
#include "ctl_words.h"
#include "guest_env.h"
#include "host_arg.h"
#include "options.h"
#include "runtime_dir.h"

#define CHANGE_TIMEOUT_S 60u

static int ask(const struct options *options, const struct runtime_dir *dir, const char *request)
{
	int rc = ctl_ask(dir, request, CHANGE_TIMEOUT_S, ctl_print_line, NULL);

	if (rc == -ETIMEDOUT)
		return cmd_fail(EXIT_NOT_CONNECTED,
				"%s: %s: it is still not done after %u s; `homeport status %s` shows it",
				command_name(options->command), dir->name, CHANGE_TIMEOUT_S, dir->name);
	return cmd_asked(options, dir, rc);
}

/* The proxy variables here are what the session goes by from now on. There is room for all of them. */
static bool add_proxies(char request[CTL_REQUEST_MAX])
{
	struct proxy_env proxies;
	bool whole = true;

	if (proxy_env_read(&proxies, getenv) < 0)
		return false;
	for (size_t i = 0; i < PROXY_VARIABLES && whole; i++) {
		char *word = proxy_env_word(&proxies, i);

		whole = !proxies.value[i] || (word && ctl_words_add(request, CTL_REQUEST_MAX, word));
		free(word);
	}
	proxy_env_clear(&proxies);
	return whole;
}

_Static_assert(CTL_REQUEST_MAX > PROXY_VARIABLES * (3 * PROXY_VALUE_MAX + 32), "all of them, each byte as %XX");
_Static_assert(CTL_WORDS_MAX > PROXY_VARIABLES, "and the command");

int cmd_reload(const struct options *options)
{
	struct runtime_dir dir;
	int rc = cmd_session(options, &dir);
	char request[CTL_REQUEST_MAX] = "reload";

	if (rc == EXIT_DONE && !add_proxies(request))
		rc = cmd_fail(EXIT_FAILED, "reload: out of memory");
	return rc == EXIT_DONE ? ask(options, &dir, request) : rc;
}

/* Asks with the command and one word, which was typed or made of that. */
static int ask_word(const struct options *options, const char *word)
{
	char request[CTL_REQUEST_MAX] = "";
	struct runtime_dir dir;
	int rc = cmd_session(options, &dir);

	if (rc != EXIT_DONE)
		return rc;
	if (!ctl_words_add(request, sizeof(request), command_name(options->command)) ||
	    !ctl_words_add(request, sizeof(request), word) ||
	    (options->save && !ctl_words_add(request, sizeof(request), "save")))
		return cmd_fail(EXIT_USAGE, "%s: \"%.60s...\" is too long", command_name(options->command), word);
	return ask(options, &dir, request);
}

int cmd_change(const struct options *options)
{
	return ask_word(options, options->argument);
}

/* Whether the folder is there is said before anything is changed; and ~ is this user's here. */
static int check_location(const struct config_mount *mount)
{
	int fd = open(mount->location.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return cmd_fail(EXIT_USAGE, "mount: \"%.300s\": %s", mount->location.path, strerror(errno));
	close(fd);
	return EXIT_DONE;
}

int cmd_mount(const struct options *options)
{
	char home[PATH_MAX], why[ARG_WHY_MAX], *word;
	struct config_mount mount;
	int rc = config_home(home);

	if (rc < 0)
		return cmd_fail(EXIT_USAGE, "HOME: is not set to an absolute path");
	rc = mount_arg_parse(options->argument, home, &mount, why);
	if (rc < 0)
		return cmd_fail(EXIT_USAGE, "mount: %s", rc == -EINVAL ? why : strerror(-rc));
	rc = check_location(&mount);
	if (rc == EXIT_DONE &&
	    asprintf(&word, "%s:%s%s", mount.location.path, mount.mount_point, mount.writable ? ":w" : "") < 0)
		rc = cmd_fail(EXIT_FAILED, "mount: %s", strerror(ENOMEM));
	else if (rc == EXIT_DONE) {
		rc = ask_word(options, word);
		free(word);
	}
	config_mount_clear(&mount);
	return rc;
}
