/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes NAME.yaml. What is refused must say why, at a place; what is taken must make port rules, and be shown as a
 * text that reads back as the same configuration.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#define HOME "/home/me"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void check_lines(const struct problems *problems)
{
	const char *line;

	for (size_t i = 0; (line = problems_line(problems, i)) != NULL; i++)
		must(strncmp(line, "f:", 2) == 0 && strpbrk(line, "\n\r\033") == NULL && strlen(line) > 10);
}

static char *shown(const struct config *config, size_t *size)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, size);

	must(out != NULL);
	config_show(config, out);
	fclose(out);
	return text;
}

static void check_round_trip(const struct config *config)
{
	struct problems *problems = problems_new();
	struct config *again = NULL;
	size_t size, second_size;
	char *text = shown(config, &size), *second;

	must(config_parse("f", text, size, HOME, problems, &again) == 0);
	must(config_equal(config, again) && config->default_mounts == again->default_mounts);
	second = shown(again, &second_size);
	must(size == second_size && memcmp(text, second, size) == 0);
	free(text);
	free(second);
	config_free(again);
	problems_free(problems);
}

/* Whoever wants to hear of everything hears the same, and what is right is there to be looked at. */
static void check_rest(const uint8_t *data, size_t size, size_t errors)
{
	struct problems *problems = problems_new();
	struct config *config = NULL;
	size_t length;

	config_parse_rest("f", (const char *)data, size, HOME, problems, &config);
	must(problems_count(problems, PROBLEM_ERROR) == errors);
	must(config != NULL || errors > 0);
	problems_sort(problems);
	check_lines(problems);
	if (config != NULL)
		free(shown(config, &length));
	config_free(config);
	problems_free(problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems *problems = problems_new();
	struct config *config = NULL;
	int r = config_parse("f", (const char *)data, size, HOME, problems, &config);

	check_lines(problems);
	must((r == 0) == (problems_count(problems, PROBLEM_ERROR) == 0));
	must((r == 0) == (config != NULL));
	check_rest(data, size, problems_count(problems, PROBLEM_ERROR));
	if (config != NULL) {
		struct rules *rules = config_rules(config, 2022);

		must(rules != NULL);
		rules_free(rules);
		check_round_trip(config);
		config_free(config);
	}
	problems_free(problems);
	return 0;
}
