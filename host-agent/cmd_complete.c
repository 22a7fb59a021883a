/* SPDX-License-Identifier: MIT */
/*
 * homeport complete WORD...: what could stand in place of the last of these words, for the completions of shells. The
 * words are those behind `homeport` as far as they are typed, the last one perhaps empty.
 *
 * A line is a word, with a tab and a few words about it where there are any; or ":files" or ":folders", for the shell
 * to offer paths. Commands and options come from the tables they are read by, so that the shells' scripts know none of
 * them; names are those of the sessions that run, have a file, or have a log, or of Lima's VMs, whatever the command is
 * about. A running session is asked for its mounts and ports.
 */
#include <dirent.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "cmd_sftp_server.h"
#include "config.h"
#include "config_file.h"
#include "ctl_client.h"
#include "lima.h"
#include "options.h"
#include "runtime_dir.h"

#define ASK_TIMEOUT_S 2u /* who waits for a completion types on */

enum words {
	WORDS_NONE,
	WORDS_FILES,
	WORDS_FOLDERS,
	WORDS_CONFIGURED, /* sessions with a file */
	WORDS_LIMA,       /* Lima's VMs, where --lima says that one of them is meant */
	WORDS_RUNNING,
	WORDS_PAST,   /* those that ever ran */
	WORDS_MOUNTS, /* mount points of the session named before */
	WORDS_PORTS,  /* where its ports answer here */
};

struct completion {
	const char *typed; /* the word as far as it is there */
	const char *lead;  /* what stands before it in the same word: "--sandbox=" */
	size_t lead_size;
	const char *session; /* the first argument; NULL: none yet */
	bool lima;
};

/* ---- what commands and options take ---- */

static const struct {
	const char *command;
	enum words first, second;
} arguments[] = {
	{"up", WORDS_CONFIGURED, WORDS_NONE},
	{"run", WORDS_CONFIGURED, WORDS_NONE},
	{"enable", WORDS_CONFIGURED, WORDS_NONE},
	{"disable", WORDS_CONFIGURED, WORDS_NONE},
	{"down", WORDS_RUNNING, WORDS_NONE},
	{"status", WORDS_RUNNING, WORDS_NONE},
	{"ports", WORDS_RUNNING, WORDS_NONE},
	{"logs", WORDS_PAST, WORDS_NONE},
	{"mount", WORDS_RUNNING, WORDS_FOLDERS},
	{"umount", WORDS_RUNNING, WORDS_MOUNTS},
	{"forward", WORDS_RUNNING, WORDS_NONE},
	{"unforward", WORDS_RUNNING, WORDS_PORTS},
	{"reload", WORDS_RUNNING, WORDS_NONE},
	{"events", WORDS_RUNNING, WORDS_NONE},
	{"top", WORDS_RUNNING, WORDS_NONE},
	{"config check", WORDS_FILES, WORDS_NONE},
	{"config show", WORDS_CONFIGURED, WORDS_NONE},
	{"sftp-server", WORDS_FOLDERS, WORDS_NONE},
	{"guest install", WORDS_CONFIGURED, WORDS_NONE},
	{"guest uninstall", WORDS_CONFIGURED, WORDS_NONE},
	{"doctor", WORDS_CONFIGURED, WORDS_NONE},
	{"shell", WORDS_RUNNING, WORDS_NONE},
};

static const struct {
	const char *option;
	enum words kind;
	const char *words[5];
} values[] = {
	{"-F", WORDS_FILES, {NULL}},
	{"-i", WORDS_FILES, {NULL}},
	{"--mount", WORDS_FOLDERS, {NULL}},
	{"--home", WORDS_FOLDERS, {NULL}},
	{"--sandbox", WORDS_NONE, {"enforce", "best-effort", NULL}},
	{"--ownership", WORDS_NONE, {"host", "virtual", NULL}},
	{"--log-level", WORDS_NONE, {"error", "warning", "info", "debug", NULL}},
};

/* ---- offering ---- */

static void offer(const struct completion *c, const char *word, const char *about)
{
	if (strncmp(word, c->typed, strlen(c->typed)) == 0)
		printf("%.*s%s%s%s\n", (int)c->lead_size, c->lead, word, about != NULL ? "\t" : "",
		       about != NULL ? about : "");
}

static void offer_name(void *ctx, const char *name)
{
	offer(ctx, name, NULL);
}

static void offer_configured(struct completion *c)
{
	char home[PATH_MAX], folder[PATH_MAX];
	struct dirent *entry;
	DIR *files = NULL;

	if (config_home(home) == 0 && config_folder(home, folder) == 0)
		files = opendir(folder);
	while (files != NULL && (entry = readdir(files)) != NULL) {
		char *dot = strrchr(entry->d_name, '.');

		if (dot == NULL || dot == entry->d_name || strcmp(dot, ".yaml") != 0)
			continue;
		*dot = '\0';
		offer(c, entry->d_name, NULL);
	}
	if (files != NULL)
		closedir(files);
}

static bool find_session(const struct completion *c, struct runtime_dir *dir)
{
	char why[RUNTIME_WHY_MAX];

	return c->session != NULL && runtime_dir_open(dir, c->session, false, why) == 0;
}

static void offer_mounts(struct completion *c)
{
	struct runtime_dir dir;
	struct config *config;
	int rc;

	if (!find_session(c, &dir) || (config = cmd_running_config(&dir, &rc)) == NULL)
		return;
	for (size_t i = 0; i < config->mount_count; i++)
		offer(c, config->mounts[i].mount_point, config->mounts[i].location.path);
	config_free(config);
}

/* The addresses in each `"host":["127.0.0.1:80","[::1]:80"]` of the agent's JSON, which it writes without a blank. */
static void offer_hosts(void *ctx, char tag, const char *text, size_t len)
{
	static const char key[] = "\"host\":[";

	for (const char *at = text; tag == 'o' && (at = strstr(at, key)) != NULL;) {
		at += strlen(key);
		while (*at == '"') {
			size_t length = strcspn(at + 1, "\"");
			char address[80];

			snprintf(address, sizeof(address), "%.*s", (int)length, at + 1);
			offer(ctx, address, NULL);
			at += length + 2;
			at += *at == ',';
		}
	}
}

static void offer_ports(struct completion *c)
{
	struct runtime_dir dir;

	if (find_session(c, &dir))
		ctl_ask(&dir, "ports json", ASK_TIMEOUT_S, offer_hosts, c);
}

static void offer_words(struct completion *c, enum words kind)
{
	char home[PATH_MAX];

	switch (kind) {
	case WORDS_NONE:
		break;
	case WORDS_FILES:
		puts(":files");
		break;
	case WORDS_FOLDERS:
		puts(":folders");
		break;
	case WORDS_CONFIGURED:
		offer_configured(c);
		break;
	case WORDS_LIMA:
		if (config_home(home) == 0)
			lima_each(home, offer_name, c);
		break;
	case WORDS_RUNNING:
		runtime_dir_each(offer_name, c);
		break;
	case WORDS_PAST:
		runtime_dir_each_past(offer_name, c);
		break;
	case WORDS_MOUNTS:
		offer_mounts(c);
		break;
	case WORDS_PORTS:
		offer_ports(c);
		break;
	}
}

/* ---- options ---- */

/* Calls `each` with what can be typed: "--name", "-x". `value`: it takes one. */
struct option_walk {
	void (*each)(struct option_walk *walk, const char *typed, bool value, const char *help);
	struct completion *completion;
	const char *wanted;
	bool takes_value;
};

static void walk_option(void *ctx, const struct option_shown *shown)
{
	struct option_walk *walk = ctx;
	char typed[64];

	if (shown->name != NULL) {
		snprintf(typed, sizeof(typed), "--%s", shown->name);
		walk->each(walk, typed, shown->value != NULL, shown->help);
	}
	if (shown->letter != 0) {
		snprintf(typed, sizeof(typed), "-%c", shown->letter);
		walk->each(walk, typed, shown->value != NULL, shown->help);
	}
}

static void walk_options(enum command command, struct option_walk *walk)
{
	if (command != COMMAND_SFTP_SERVER) {
		options_each(command, walk_option, walk);
		return;
	}
	for (const struct option *option = cmd_sftp_server_options(); option->name != NULL; option++)
		walk_option(walk, &(struct option_shown){.name = option->name, .value = option->has_arg ? "" : NULL});
}

static void offer_option(struct option_walk *walk, const char *typed, bool value, const char *help)
{
	offer(walk->completion, typed, help);
}

static void note_value(struct option_walk *walk, const char *typed, bool value, const char *help)
{
	walk->takes_value |= value && strcmp(typed, walk->wanted) == 0;
}

/* Whether the word is an option whose value is the next word. */
static bool waits_for_value(enum command command, const char *word)
{
	struct option_walk walk = {.each = note_value, .wanted = word};

	walk_options(command, &walk);
	return walk.takes_value;
}

static void offer_value(struct completion *c, const char *option, size_t length)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		if (strlen(values[i].option) != length || strncmp(values[i].option, option, length) != 0)
			continue;
		for (const char *const *word = values[i].words; *word != NULL; word++)
			offer(c, *word, NULL);
		offer_words(c, values[i].kind);
	}
}

/* ---- places ---- */

/* Commands; of those with two words the first, once. */
static void offer_commands(const struct completion *c)
{
	char last[32] = "", word[32];

	for (int i = 0; i < COMMANDS; i++) {
		const char *name = command_name((enum command)i);
		size_t length = strcspn(name, " ");

		snprintf(word, sizeof(word), "%.*s", (int)length, name);
		if (strcmp(word, last) != 0)
			offer(c, word, name[length] == '\0' ? command_summary((enum command)i) : NULL);
		strcpy(last, word);
	}
	offer(c, "--help", NULL);
	offer(c, "--version", NULL);
}

/* The second words of commands that have two. */
static void offer_second_words(const struct completion *c, const char *first)
{
	for (int i = 0; i < COMMANDS; i++) {
		const char *name = command_name((enum command)i);
		size_t length = strlen(first);

		if (strncmp(name, first, length) == 0 && name[length] == ' ')
			offer(c, name + length + 1, command_summary((enum command)i));
	}
}

/* Whether there are commands of two words that begin with this one. */
static bool has_second_words(const char *first)
{
	return strcmp(first, "config") == 0 || strcmp(first, "guest") == 0;
}

/* The command that the words begin with, and how many it has; COMMANDS for one that is not known. */
static enum command find_command(int argc, char **argv, char name[64], int *words)
{
	int command = 0;

	snprintf(name, 64, "%.63s", argv[0]);
	*words = 1;
	if (argc > 2 && has_second_words(argv[0])) {
		snprintf(name, 64, "%.31s %.31s", argv[0], argv[1]);
		*words = 2;
	}
	while (command < COMMANDS && strcmp(command_name((enum command)command), name) != 0)
		command++;
	return (enum command)command;
}

static void offer_argument(struct completion *c, const char *command, int place)
{
	if (c->lima) {
		offer_words(c, place == 0 ? WORDS_LIMA : WORDS_NONE);
		return;
	}
	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
		if (strcmp(arguments[i].command, command) == 0 && place < 2)
			offer_words(c, place == 0 ? arguments[i].first : arguments[i].second);
}

static void complete_word(struct completion *c, int argc, char **argv)
{
	char name[64];
	int words, place = 0;
	enum command command = find_command(argc, argv, name, &words);
	const char *equals = strncmp(c->typed, "--", 2) == 0 ? strchr(c->typed, '=') : NULL;

	for (int i = words; i < argc - 1; i++) {
		if (argv[i][0] == '-' && argv[i][1] != '\0') {
			c->lima |= strcmp(argv[i], "--lima") == 0;
			if (waits_for_value(command, argv[i]) && ++i == argc - 1) {
				offer_value(c, argv[i - 1], strlen(argv[i - 1]));
				return;
			}
		} else if (place++ == 0) {
			c->session = argv[i];
		}
	}
	if (command == COMMAND_SHELL && place > 0)
		return; /* another program's, of the guest */
	if (equals != NULL) {
		c->lead = c->typed;
		c->lead_size = (size_t)(equals + 1 - c->typed);
		c->typed = equals + 1;
		offer_value(c, c->lead, c->lead_size - 1);
	} else if (c->typed[0] == '-') {
		walk_options(command, &(struct option_walk){.each = offer_option, .completion = c});
	} else {
		offer_argument(c, name, place);
	}
}

int cmd_complete(int argc, char **argv)
{
	struct completion c = {.typed = argc > 0 ? argv[argc - 1] : "", .lead = ""};

	if (argc <= 1)
		offer_commands(&c);
	else if (argc == 2 && has_second_words(argv[0]))
		offer_second_words(&c, argv[0]);
	else
		complete_word(&c, argc, argv);
	return EXIT_DONE;
}
