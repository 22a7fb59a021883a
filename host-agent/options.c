/* SPDX-License-Identifier: MIT */
/*
 * The command line, as two tables: commands and options. A row of an option says which commands know it, of what kind
 * its value is and where it goes; getopt_long's own tables and the help are made from the rows, so none of the three
 * can differ.
 */
#include "options.h"

#include <assert.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config_fields.h"
#include "host_arg.h"
#include "problems.h"
#include "wrap.h"

/* ---- commands ---- */

struct command_row {
	const char *name;
	unsigned least, most; /* arguments */
	const char *arguments;
	const char *summary;
};

static const struct command_row commands[] = {
	[COMMAND_UP] = {"up", 1, 1, "[USER@]HOST[:PORT] | NAME", "start in the background and wait until all is there"},
	[COMMAND_RUN] = {"run", 1, 1, "[USER@]HOST[:PORT] | NAME", "the same in the foreground"},
	[COMMAND_DOWN] = {"down", 0, 1, "[NAME]", "unmount, close the ports, stop"},
	[COMMAND_STATUS] = {"status", 0, 1, "[NAME]", "session, mounts, ports"},
	[COMMAND_PORTS] = {"ports", 0, 1, "[NAME]", "what listens in the guest and where it answers here"},
	[COMMAND_LOGS] = {"logs", 0, 1, "[NAME]", "the log of a session"},
	[COMMAND_EVENTS] = {"events", 0, 1, "[NAME]", "each change from now on"},
	[COMMAND_TOP] = {"top", 0, 1, "[NAME]", "what goes on in a session, each second"},
	[COMMAND_RELOAD] = {"reload", 0, 1, "[NAME]", "read the configuration again, change what differs"},
	[COMMAND_MOUNT] = {"mount", 2, 2, "NAME SRC[:DST][:w]", "show a folder in a running session"},
	[COMMAND_UMOUNT] = {"umount", 2, 2, "NAME DST", "take a folder out of a running session"},
	[COMMAND_FORWARD] = {"forward", 2, 2, "NAME HOST:GUEST[,static]", "where a port of the guest answers"},
	[COMMAND_UNFORWARD] = {"unforward", 2, 2, "NAME HOST", "let a port here answer no more"},
	[COMMAND_ENABLE] = {"enable", 1, 1, "[USER@]HOST[:PORT] | NAME", "the same as a service, at every login"},
	[COMMAND_DISABLE] = {"disable", 1, 1, "NAME", "no service any more"},
	[COMMAND_GUEST_INSTALL] = {"guest install", 1, 1, "[USER@]HOST[:PORT] | NAME", "homeport-guest there for good"},
	[COMMAND_GUEST_UNINSTALL] = {"guest uninstall", 1, 1, "[USER@]HOST[:PORT] | NAME",
				     "take away what guest install put there"},
	[COMMAND_SHELL] = {"shell", 0, UINT_MAX, "[NAME] [K=V...] [CMD...]",
			   "a shell, or CMD, in the guest, in this folder"},
	[COMMAND_DOCTOR] = {"doctor", 0, 1, "[[USER@]HOST | NAME]",
			    "what has to be right, and what to do where it is not"},
	[COMMAND_CONFIG_CHECK] = {"config check", 0, 1, "[FILE]", "every problem with file, line and column"},
	[COMMAND_CONFIG_SHOW] = {"config show", 1, 1, "NAME", "the effective configuration"},
	[COMMAND_CONFIG_SCHEMA] = {"config schema", 0, 0, "", "the JSON Schema of a configuration, for editors"},
	[COMMAND_INIT] = {"init", 0, 1, "[NAME]", "a configuration to begin with, every key explained"},
	[COMMAND_SFTP_SERVER] = {"sftp-server", 1, 1, "DIR", "serve DIR alone on stdin and stdout"},
};
static_assert(sizeof(commands) / sizeof(commands[0]) == COMMANDS, "every command has a row");

const char *command_name(enum command command)
{
	return commands[command].name;
}

const char *command_summary(enum command command)
{
	return commands[command].summary;
}

/* ---- options ---- */

enum option_kind {
	KIND_FLAG,   /* bool */
	KIND_COUNT,  /* unsigned: how often */
	KIND_TEXT,   /* const char * */
	KIND_LIST,   /* struct option_list */
	KIND_PORT,   /* unsigned */
	KIND_TIME,   /* unsigned seconds: 60, or 60s, 2m */
	KIND_SPAN,   /* unsigned milliseconds: 1, or 0.5 */
	KIND_NUMBER, /* unsigned, from 1 on */
	KIND_HELP,
};

#define ON(command)   (1U << (command))
#define ON_SESSION    (ON(COMMAND_UP) | ON(COMMAND_RUN) | ON(COMMAND_ENABLE))
#define ON_REPORT     (ON(COMMAND_STATUS) | ON(COMMAND_PORTS))
#define ON_CHANGE     (ON(COMMAND_MOUNT) | ON(COMMAND_UMOUNT) | ON(COMMAND_FORWARD) | ON(COMMAND_UNFORWARD))
#define ON_GUEST      (ON(COMMAND_GUEST_INSTALL) | ON(COMMAND_GUEST_UNINSTALL))
#define ON_MOUNTS     (ON_SESSION | ON(COMMAND_DOCTOR))
#define ON_LOGIN      (ON_MOUNTS | ON_GUEST)
#define ON_EVERYTHING (ON(COMMANDS) - 1)
#define TIMEOUT_MOST  86400
#define SPAN_LEAST_MS 100
#define SPAN_MOST_MS  3600000
#define ROWS_MAX      32

struct option_row {
	const char *name; /* NULL: only the letter */
	char letter;      /* 0: only the name */
	enum option_kind kind;
	size_t offset;
	unsigned on;       /* commands */
	const char *value; /* in the help; NULL: it takes none */
	const char *help;
};

static const struct option_row rows[] = {
	{"name", 0, KIND_TEXT, offsetof(struct options, name), ON_SESSION, "NAME",
	 "the session's name (default: the host)"},
	{"lima", 0, KIND_FLAG, offsetof(struct options, lima),
	 ON_LOGIN | ON(COMMAND_CONFIG_CHECK) | ON(COMMAND_CONFIG_SHOW), NULL,
	 "NAME is a VM of Lima's: its ssh.config, mounts and portForwards"},
	{NULL, 'F', KIND_TEXT, offsetof(struct options, ssh_config), ON_LOGIN, "FILE",
	 "ssh_config to use instead of ~/.ssh/config"},
	{NULL, 'p', KIND_PORT, offsetof(struct options, port), ON_LOGIN, "PORT", "the guest's ssh port"},
	{NULL, 'i', KIND_TEXT, offsetof(struct options, identity_file), ON_LOGIN, "FILE", "the private key to use"},
	{NULL, 'o', KIND_LIST, offsetof(struct options, ssh_options), ON_LOGIN, "KEY=VALUE", "an option of ssh_config"},
	{"mount", 0, KIND_LIST, offsetof(struct options, mounts), ON_MOUNTS, "SRC[:DST][:w]",
	 "show SRC in the guest (default: ~), at DST (default: SRC), writable with :w"},
	{"no-mount", 0, KIND_FLAG, offsetof(struct options, no_mount), ON_MOUNTS, NULL, "no mounts"},
	{"port-forward", 0, KIND_LIST, offsetof(struct options, forwards), ON_SESSION, "HOST:GUEST[,static]",
	 "answer for the guest's port GUEST at HOST, such as 8080:80"},
	{"no-ports", 0, KIND_FLAG, offsetof(struct options, no_ports), ON_SESSION, NULL, "forward no ports"},
	{"host-key", 0, KIND_TEXT, offsetof(struct options, host_key), ON_LOGIN, "SHA256:...",
	 "the only host key to accept"},
	{"guest-command", 0, KIND_TEXT, offsetof(struct options, guest_command), ON_MOUNTS, "CMD",
	 "the homeport-guest of the guest to run (default: brought along)"},
	{"timeout", 0, KIND_TIME, offsetof(struct options, timeout_s), ON(COMMAND_UP) | ON(COMMAND_ENABLE), "TIME",
	 "how long to wait (default: 60s)"},
	{"verbose", 'v', KIND_COUNT, offsetof(struct options, verbose), ON(COMMAND_UP) | ON(COMMAND_RUN), NULL,
	 "say more"},
	{"interval", 0, KIND_SPAN, offsetof(struct options, interval_ms), ON(COMMAND_TOP), "SECONDS",
	 "between two looks (default: 1)"},
	{"count", 0, KIND_NUMBER, offsetof(struct options, count), ON(COMMAND_TOP), "N",
	 "end after so many (default: go on)"},
	{"json", 0, KIND_FLAG, offsetof(struct options, json),
	 ON_REPORT | ON(COMMAND_EVENTS) | ON(COMMAND_TOP) | ON(COMMAND_DOCTOR), NULL, "JSON for programs"},
	{"watch", 0, KIND_FLAG, offsetof(struct options, watch), ON_REPORT, NULL, "go on, at each change"},
	{"follow", 'f', KIND_FLAG, offsetof(struct options, follow), ON(COMMAND_LOGS), NULL, "go on with new lines"},
	{"save", 0, KIND_FLAG, offsetof(struct options, save), ON_CHANGE, NULL, "write it into NAME.yaml as well"},
	{"dry-run", 0, KIND_FLAG, offsetof(struct options, dry_run), ON_GUEST, NULL, "say what would be done, and end"},
	{"yes", 'y', KIND_FLAG, offsetof(struct options, yes), ON_GUEST, NULL, "ask nothing"},
	{"helper", 0, KIND_FLAG, offsetof(struct options, helper), ON(COMMAND_GUEST_INSTALL), NULL,
	 "root mounts for the login user, who needs no sudo"},
	{"allow-other", 0, KIND_FLAG, offsetof(struct options, allow_other), ON(COMMAND_GUEST_INSTALL), NULL,
	 "user_allow_other in the guest's /etc/fuse.conf as well"},
	{"move-home", 0, KIND_FLAG, offsetof(struct options, move_home), ON(COMMAND_GUEST_INSTALL), NULL,
	 "the login user's home becomes HOME.guest, so that the host's goes to HOME"},
	{"help", 'h', KIND_HELP, 0, ON_EVERYTHING, NULL, "this text"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))
static_assert(ROWS <= ROWS_MAX, "getopt_long's tables have room");

/* ---- reading ---- */

static enum options_result __attribute__((format(printf, 2, 3))) wrong(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, OPTIONS_WHY_MAX, format, args);
	va_end(args);
	return OPTIONS_WRONG;
}

/* What getopt_long wants, made from the rows of one command. A row's value is 256 + its index. */
static void make_tables(enum command command, struct option *longs, char *letters)
{
	if (command == COMMAND_SHELL)
		*letters++ = '+'; /* what follows its name is another program's */
	*letters++ = ':';         /* a missing value is told apart from an unknown option */
	for (size_t i = 0; i < ROWS; i++) {
		if (!(rows[i].on & ON(command)))
			continue;
		if (rows[i].letter != 0) {
			*letters++ = rows[i].letter;
			if (rows[i].value != NULL)
				*letters++ = ':';
		}
		if (rows[i].name != NULL)
			*longs++ = (struct option){rows[i].name, rows[i].value != NULL, NULL, 256 + (int)i};
	}
	*letters = '\0';
	*longs = (struct option){0};
}

static const struct option_row *row_of(int value)
{
	for (size_t i = 0; i < ROWS; i++)
		if (value == 256 + (int)i || (rows[i].letter != 0 && value == rows[i].letter))
			return &rows[i];
	return NULL;
}

static enum options_result take_time(const char *typed, const char *text, unsigned *out, char *why)
{
	bool bare = text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
	char time[16];

	snprintf(time, sizeof(time), "%.14s%s", text, bare ? "s" : "");
	/* What was cut is longer than any time that is allowed. */
	if (strlen(text) > 14 || !config_duration_parse(time, TIMEOUT_MOST, out))
		return wrong(why, "%s: \"%.40s\" is not a time; write 60s or 2m, at most 24h", typed, text);
	return OPTIONS_OK;
}

static enum options_result take_port(const char *typed, const char *text, unsigned *out, char *why)
{
	*out = host_arg_port(text, text + strlen(text));
	if (*out == 0)
		return wrong(why, "%s: \"%.40s\" is not a port; write 1 to 65535", typed, text);
	return OPTIONS_OK;
}

/* 0.1 to 3600 seconds, to a millisecond. */
static enum options_result take_span(const char *typed, const char *text, unsigned *out, char *why)
{
	size_t whole = strspn(text, "0123456789");
	const char *part = text[whole] == '.' ? text + whole + 1 : text + whole;
	size_t digits = strspn(part, "0123456789");
	unsigned long ms = 0;

	for (size_t i = 0; i < whole && i < 5; i++)
		ms = ms * 10 + (unsigned long)(text[i] - '0');
	for (size_t i = 0; i < 3; i++)
		ms = ms * 10 + (i < digits ? (unsigned long)(part[i] - '0') : 0);
	if (part[digits] || whole > 4 || whole + digits == 0 || ms < SPAN_LEAST_MS || ms > SPAN_MOST_MS)
		return wrong(why, "%s: \"%.40s\" is no number of seconds; write 0.1 to 3600", typed, text);
	*out = (unsigned)ms;
	return OPTIONS_OK;
}

static enum options_result take_number(const char *typed, const char *text, unsigned *out, char *why)
{
	size_t digits = strspn(text, "0123456789");

	if (text[digits] || digits == 0 || digits > 9 || strspn(text, "0") == digits)
		return wrong(why, "%s: \"%.40s\" is no number; write 1 or more", typed, text);
	*out = (unsigned)strtoul(text, NULL, 10);
	return OPTIONS_OK;
}

/* Puts one option's value where its row says. */
static enum options_result take_value(const struct option_row *row, const char *value, struct options *options,
				      char *why)
{
	void *at = (char *)options + row->offset;
	struct option_list *list = at;
	char typed[40];

	if (row->name != NULL)
		snprintf(typed, sizeof(typed), "--%s", row->name);
	else
		snprintf(typed, sizeof(typed), "-%c", row->letter);
	switch (row->kind) {
	case KIND_FLAG:
		*(bool *)at = true;
		break;
	case KIND_COUNT:
		++*(unsigned *)at;
		break;
	case KIND_TEXT:
		if (value[0] == '\0')
			return wrong(why, "%s: is empty; give it a value", typed);
		*(const char **)at = value;
		break;
	case KIND_LIST:
		if (list->count == OPTIONS_LIST_MAX)
			return wrong(why, "%s: is there more than %d times", typed, OPTIONS_LIST_MAX);
		list->values[list->count++] = value;
		break;
	case KIND_PORT:
		return take_port(typed, value, at, why);
	case KIND_TIME:
		return take_time(typed, value, at, why);
	case KIND_SPAN:
		return take_span(typed, value, at, why);
	case KIND_NUMBER:
		return take_number(typed, value, at, why);
	case KIND_HELP:
		return OPTIONS_HELP;
	}
	return OPTIONS_OK;
}

/* getopt_long's '?' and ':'. */
static enum options_result bad_option(int found, char **argv, const char *command, char *why)
{
	const char *typed = argv[optind - 1];
	char letter[3] = {'-', (char)optopt, '\0'};

	if (optopt > 0 && optopt < 256)
		typed = letter;
	if (found == ':')
		return wrong(why, "option %.100s needs a value: see homeport %s --help", typed, command);
	if (optopt >= 256)
		return wrong(why, "option --%s takes no value: see homeport %s --help", row_of(optopt)->name, command);
	return wrong(why, "unknown option %.100s: see homeport %s --help", typed, command);
}

static enum options_result read_options(int argc, char **argv, struct options *options, char *why)
{
	struct option longs[ROWS_MAX + 1];
	char letters[2 * ROWS_MAX + 3];
	const char *command = command_name(options->command);
	int found;

	make_tables(options->command, longs, letters);
	opterr = 0;
	optind = 0; /* glibc: start anew */
	while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		enum options_result result;

		if (found == '?' || found == ':')
			return bad_option(found, argv, command, why);
		result = take_value(row_of(found), optarg, options, why);
		if (result != OPTIONS_OK)
			return result;
	}
	return OPTIONS_OK;
}

/* shell [NAME | --] [--] [WORD...]: a command's words may be anything, and empty. */
static enum options_result read_shell(int argc, char **argv, struct options *options, char *why)
{
	bool named = optind < argc && strcmp(argv[optind - 1], "--") != 0;

	if (named) {
		options->target = argv[optind++];
		if (options->target[0] == '\0')
			return wrong(why, "shell: the name is empty; leave it out with --");
		if (optind < argc && strcmp(argv[optind], "--") == 0)
			optind++;
	}
	options->words = argv + optind;
	return OPTIONS_OK;
}

static enum options_result read_arguments(int argc, char **argv, struct options *options, char *why)
{
	const struct command_row *row = &commands[options->command];
	unsigned count = (unsigned)(argc - optind);

	if (options->command == COMMAND_SHELL)
		return read_shell(argc, argv, options, why);
	if (count < row->least)
		return wrong(why, "%s: %s is missing: see homeport %s --help", row->name, row->arguments, row->name);
	if (count > row->most)
		return wrong(why, "%s: \"%.100s\" is one argument too many: see homeport %s --help", row->name,
			     argv[optind + (int)row->most], row->name);
	options->target = count > 0 ? argv[optind] : NULL;
	options->argument = count > 1 ? argv[optind + 1] : NULL;
	if ((options->target != NULL && options->target[0] == '\0') ||
	    (options->argument != NULL && options->argument[0] == '\0'))
		return wrong(why, "%s: the argument is empty; %s is meant", row->name, row->arguments);
	if (options->no_mount && options->mounts.count > 0)
		return wrong(why, "--no-mount and --mount exclude each other; remove one");
	if (options->no_ports && options->forwards.count > 0)
		return wrong(why, "--no-ports and --port-forward exclude each other; remove one");
	return OPTIONS_OK;
}

/* ---- which command ---- */

/* Whether argv begins with a command's words; how many those are in *words. */
static bool command_matches(const struct command_row *row, int argc, char **argv, int *words)
{
	const char *space = strchr(row->name, ' ');
	size_t first = space != NULL ? (size_t)(space - row->name) : strlen(row->name);

	if (strlen(argv[0]) != first || strncmp(argv[0], row->name, first) != 0)
		return false;
	*words = space != NULL ? 2 : 1;
	return space == NULL || (argc > 1 && strcmp(argv[1], space + 1) == 0);
}

static enum options_result unknown_command(const char *typed, char *why)
{
	const char *words[COMMANDS + 1] = {NULL}, *nearest;

	if (typed[0] == '-')
		return wrong(why, "unknown option %.100s: see homeport --help", typed);
	if (strcmp(typed, "config") == 0)
		return wrong(why, "config: say check, show or schema: see homeport --help");
	if (strcmp(typed, "guest") == 0)
		return wrong(why, "guest: say install or uninstall: see homeport --help");
	for (size_t i = 0; i < COMMANDS; i++)
		words[i] = commands[i].name;
	nearest = problems_nearest(typed, words);
	if (nearest != NULL)
		return wrong(why, "unknown command \"%.100s\"; did you mean \"%s\"?", typed, nearest);
	return wrong(why, "unknown command \"%.100s\": see homeport --help", typed);
}

enum options_result options_parse(int argc, char **argv, struct options *out, char *why)
{
	struct options options = {.timeout_s = OPTIONS_TIMEOUT_S, .interval_ms = OPTIONS_INTERVAL_MS};
	enum options_result result;
	int words = 0;

	out->command = COMMANDS;
	if (argc < 2)
		return wrong(why, "no command: see homeport --help");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return OPTIONS_HELP;
	if (strcmp(argv[1], "--version") == 0)
		return OPTIONS_VERSION;
	while (options.command < COMMANDS && !command_matches(&commands[options.command], argc - 1, argv + 1, &words))
		options.command++;
	if (options.command == COMMANDS)
		return unknown_command(argv[1], why);
	result = read_options(argc - words, argv + words, &options, why);
	if (result == OPTIONS_HELP)
		out->command = options.command;
	if (result == OPTIONS_OK)
		result = read_arguments(argc - words, argv + words, &options, why);
	if (result == OPTIONS_OK)
		*out = options;
	return result;
}

/* ---- help ---- */

#define COMMAND_COLUMN 36
#define OPTION_COLUMN  29

static void print_option(const struct option_row *row, FILE *out)
{
	char letter[8] = "", name[64] = "", both[80];

	if (row->letter != 0)
		snprintf(letter, sizeof(letter), "-%c%s", row->letter, row->name != NULL ? ", " : " ");
	if (row->name != NULL)
		snprintf(name, sizeof(name), "--%s ", row->name);
	snprintf(both, sizeof(both), "%s%s%s", letter, name, row->value != NULL ? row->value : "");
	wrap_row(out, both, OPTION_COLUMN, row->help);
}

void options_print_help(enum command command, FILE *out)
{
	if (command == COMMANDS) {
		fputs("homeport: your home in a Linux guest, and the guest's ports on your localhost\n\n", out);
		for (size_t i = 0; i < COMMANDS; i++) {
			char what[80];

			snprintf(what, sizeof(what), "%s %s", commands[i].name, commands[i].arguments);
			wrap_row(out, what, COMMAND_COLUMN, commands[i].summary);
		}
		fputs("\nhomeport COMMAND --help lists a command's options; homeport --version.\n"
		      "Manual: homeport(1), homeport.yaml(5).\n",
		      out);
		return;
	}
	fprintf(out, "homeport %s [OPTIONS] %s\n  %s\n\n", commands[command].name, commands[command].arguments,
		commands[command].summary);
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].on & ON(command))
			print_option(&rows[i], out);
}

void options_each(enum command command, void (*each)(void *ctx, const struct option_shown *shown), void *ctx)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].on & ON(command))
			each(ctx, &(struct option_shown){rows[i].name, rows[i].letter, rows[i].value, rows[i].help});
}

void options_print_version(FILE *out)
{
	fprintf(out, "homeport %s\n", HOMEPORT_VERSION);
}
