/* SPDX-License-Identifier: MIT */
/*
 * homeport-guest doctor: looks at each thing that has to be right here. For a person by hand, with the mount points
 * they have in mind; for `homeport doctor` with --lines: it then waits for the mount points on stdin, one a line and
 * "end", says at once what time it is here, then a line for each thing, and "done". The words are those of ctl_words.h.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bounds.h"
#include "check.h"
#include "check_guest.h"
#include "commands.h"
#include "ctl_words.h"
#include "json.h"

#define PATIENCE_S  25 /* what hangs here is told by the host, or the shell, as an alarm */
#define REQUEST_MAX 16384

enum form { FORM_TEXT, FORM_JSON, FORM_LINES };

struct doctor {
	enum form form;
	struct json json;
	unsigned problems;
};

static void on_check(void *ctx, const struct check *check)
{
	struct doctor *d = ctx;
	char line[CHECK_LINE_MAX];

	d->problems += check->verdict == CHECK_PROBLEM;
	if (d->form == FORM_JSON) {
		check_json(check, "guest", &d->json);
	} else if (d->form == FORM_TEXT) {
		check_print(check, stdout);
	} else {
		check_put(check, line);
		puts(line);
	}
	fflush(stdout);
}

/* The mount points on stdin, up to "end". How many; -1: that is no such list. */
static int read_targets(char *targets[CONTROL_MOUNTS_MAX])
{
	char line[REQUEST_MAX], *words[CTL_WORDS_MAX];
	int count = 0;

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "end"))
			return count;
		if (ctl_words_split(line, words) != 2 || strcmp(words[0], "mount") != 0 ||
		    count == (int)CONTROL_MOUNTS_MAX || !(targets[count] = strdup(words[1])))
			return -1;
		count++;
	}
	return -1;
}

static void say_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	printf("clock %lld.%06ld\n", (long long)now.tv_sec, now.tv_nsec / 1000);
	fflush(stdout);
}

static int examine(struct doctor *d, char *const *targets, int count)
{
	const char *home = getenv("HOME");
	struct check_guest guest = {
		.home = home && home[0] == '/' ? home : "/",
		.targets = (const char *const *)targets,
		.target_count = (size_t)count,
		.kept_in = geteuid() != 0 && check_agent_is_kept_in(),
		.service = geteuid() != 0 && check_service_is_there(),
	};

	guest.way = guest.kept_in ? CHECK_WAY_NONE : check_way_find();
	if (d->form == FORM_JSON)
		json_open(&d->json, NULL, '[');
	check_guest_all(&guest, on_check, d);
	if (d->form == FORM_LINES)
		puts("done");
	if (d->form != FORM_JSON)
		return d->problems > 0 ? EXIT_FAILED : EXIT_DONE;
	json_close(&d->json, ']');
	if (!d->json.out.failed)
		printf("%.*s\n", (int)d->json.out.len, (const char *)d->json.out.data);
	else
		d->problems++;
	json_free(&d->json);
	return d->problems > 0 ? EXIT_FAILED : EXIT_DONE;
}

int cmd_doctor(int argc, char **argv)
{
	char *targets[CONTROL_MOUNTS_MAX] = {NULL};
	struct doctor d = {.form = FORM_TEXT};
	int first = 1, count, status;

	if (argc > 1 && !strcmp(argv[1], "--json"))
		d.form = FORM_JSON;
	else if (argc > 1 && !strcmp(argv[1], "--lines"))
		d.form = FORM_LINES;
	first += d.form != FORM_TEXT;
	count = argc - first;
	if (count > (int)CONTROL_MOUNTS_MAX || (count > 0 && (d.form == FORM_LINES || argv[first][0] == '-')))
		return command_usage("doctor");
	alarm(PATIENCE_S);
	if (d.form != FORM_LINES)
		return examine(&d, argv + first, count);
	count = read_targets(targets);
	if (count < 0) {
		fprintf(stderr, "homeport-guest: doctor: --lines is for homeport, which asks on standard input\n");
		status = EXIT_USAGE;
	} else {
		say_time();
		status = examine(&d, targets, count);
	}
	for (size_t i = 0; i < CONTROL_MOUNTS_MAX; i++)
		free(targets[i]);
	return status;
}
