/* SPDX-License-Identifier: MIT */
/* See check.h. */
#include "check.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>

#include "ctl_words.h"
#include "json.h"
#include "log.h"

static const char *const names[] = {
	[CHECK_OK] = "ok",
	[CHECK_NOTE] = "note",
	[CHECK_PROBLEM] = "problem",
};
static_assert(sizeof(names) / sizeof(names[0]) == CHECK_VERDICTS, "each verdict has a name");

static void take_text(char to[CHECK_TEXT_MAX], const char *text)
{
	text_printable(to, CHECK_TEXT_MAX, text, strlen(text));
}

void check_say(struct check *check, enum check_verdict verdict, const char *fmt, ...)
{
	char text[4 * CHECK_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	check->verdict = verdict;
	take_text(check->what, text);
	check->todo[0] = '\0';
}

void check_advise(struct check *check, const char *fmt, ...)
{
	char text[4 * CHECK_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	take_text(check->todo, text);
}

void check_kernel_is(struct check *check, unsigned major, unsigned minor)
{
	unsigned here[2] = {0};
	struct utsname name;

	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &here[0], &here[1]) != 2)
		check_say(check, CHECK_PROBLEM, "its version cannot be told");
	else if (here[0] < major || (here[0] == major && here[1] < minor))
		check_say(check, CHECK_PROBLEM, "Linux %s; %u.%u is the first that will do", name.release, major,
			  minor);
	else
		check_say(check, CHECK_OK, "Linux %s, %s", name.release, name.machine);
}

const char *check_verdict_name(enum check_verdict verdict)
{
	return names[verdict];
}

void check_print(const struct check *check, FILE *out)
{
	static const char *const shown[CHECK_VERDICTS] = {"OK", "NOTE", "PROBLEM"};

	fprintf(out, "  %-8s %s: %s%s%s\n", shown[check->verdict], check->name, check->what, check->todo[0] ? "; " : "",
		check->todo);
}

void check_json(const struct check *check, const char *side, struct json *json)
{
	json_open(json, NULL, '{');
	json_string(json, "side", side);
	json_string(json, "name", check->name);
	json_string(json, "verdict", check_verdict_name(check->verdict));
	json_string(json, "what", check->what);
	json_string(json, "do", check->todo[0] ? check->todo : NULL);
	json_close(json, '}');
}

void check_put(const struct check *check, char line[CHECK_LINE_MAX])
{
	static_assert(3 * (sizeof(check->name) + 2 * CHECK_TEXT_MAX) + 16 < CHECK_LINE_MAX, "each byte may be three");
	line[0] = '\0';
	ctl_words_add(line, CHECK_LINE_MAX, check_verdict_name(check->verdict));
	ctl_words_add(line, CHECK_LINE_MAX, check->name);
	ctl_words_add(line, CHECK_LINE_MAX, check->what);
	ctl_words_add(line, CHECK_LINE_MAX, check->todo);
}

bool check_get(char *line, struct check *check)
{
	char *words[CTL_WORDS_MAX];
	size_t count = ctl_words_split(line, words);

	if (count < 3 || count > 4)
		return false;
	for (unsigned verdict = 0; verdict < CHECK_VERDICTS; verdict++) {
		if (strcmp(words[0], names[verdict]) != 0)
			continue;
		check->verdict = (enum check_verdict)verdict;
		text_printable(check->name, sizeof(check->name), words[1], strlen(words[1]));
		take_text(check->what, words[2]);
		take_text(check->todo, count == 4 ? words[3] : "");
		return true;
	}
	return false;
}
