/* SPDX-License-Identifier: MIT */
/*
 * The types of a configuration's values that are one scalar (or, for a range, two). Paths are in config_paths.c, what
 * holds other values in config_fields.c.
 *
 * Reading is strict. YAML 1.1 would make a boolean of `yes`, a number of `0x16` and nothing of `~`; here a boolean is
 * true or false, a number is decimal, and what YAML would not call a text must be in quotes to be one.
 */
#include "config_fields.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rules.h"

void config_complain(struct config_reader *reader, const struct config_field *field, const struct config_node *node,
		     const char *format, ...)
{
	char text[PROBLEMS_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problems_add(reader->problems, PROBLEM_ERROR, (struct problem_place){reader->file, node->line, node->column},
		     "%s: %s", field->key, text);
}

char *config_copy(struct config_reader *reader, const char *text)
{
	char *out = strdup(text);

	reader->no_memory |= out == NULL;
	return out;
}

/* ---- what a scalar would be to YAML ---- */

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcasecmp(text, *words) == 0)
			return true;
	return false;
}

static bool is_null(const struct config_node *node)
{
	static const char *const words[] = {"", "~", "null", NULL};

	return node->plain && is_one_of(node->text, words);
}

static bool is_boolean(const struct config_node *node)
{
	static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "y", "n", NULL};

	return node->plain && is_one_of(node->text, words);
}

static bool is_number(const struct config_node *node)
{
	char *end;

	if (!node->plain || strpbrk(node->text, "0123456789") == NULL)
		return false;
	(void)strtod(node->text, &end);
	return *end == '\0';
}

/* ---- texts ---- */

/* The scalar's text, or NULL after a complaint. */
const char *config_read_text(struct config_reader *reader, const struct config_field *field,
			     const struct config_node *node)
{
	const char *wrong;

	if (is_null(node) && strcmp(node->text, "~") == 0)
		config_complain(reader, field, node, "an unquoted ~ is nothing in YAML; write \"~\"");
	else if (is_null(node))
		config_complain(reader, field, node, "has no value; write one or remove the key");
	else if (is_boolean(node) || is_number(node))
		config_complain(reader, field, node, "expected a text, found %s; write \"%s\" if you mean it",
				node->text, node->text);
	else if (node->text[0] == '\0')
		config_complain(reader, field, node, "is empty; write a value or remove the key");
	else if (field->check != NULL && (wrong = field->check(node->text)) != NULL)
		config_complain(reader, field, node, "%s", wrong);
	else
		return node->text;
	return NULL;
}

static void text_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		      void *at)
{
	const char *text = config_read_text(reader, field, key->value);

	if (text != NULL)
		*(char **)at = config_copy(reader, text);
}

bool config_text_is_set(const struct config_field *field, const void *at)
{
	return *(char *const *)at != NULL;
}

void config_text_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	config_yaml_quote(out, *(char *const *)at);
}

bool config_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool config_text_equal(const struct config_field *field, const void *a, const void *b)
{
	return config_same_text(*(char *const *)a, *(char *const *)b);
}

void config_text_free(const struct config_field *field, void *at)
{
	free(*(char **)at);
	*(char **)at = NULL;
}

int config_text_own(const struct config_field *field, void *at)
{
	char **text = at;

	if (*text == NULL)
		return 0;
	*text = strdup(*text);
	return *text != NULL ? 0 : -ENOMEM;
}

const struct config_type config_type_text = {
	"a text",          CONFIG_NODE_SCALAR, text_read,        config_text_is_set,
	config_text_write, config_text_equal,  config_text_free, config_text_own,
};

/* ---- booleans and words ---- */

void config_nothing_to_free(const struct config_field *field, void *at)
{
}

/* 1 or 0, or -1 after a complaint. */
static int read_boolean(struct config_reader *reader, const struct config_field *field, const struct config_node *node)
{
	if (node->plain && strcmp(node->text, "true") == 0)
		return 1;
	if (node->plain && strcmp(node->text, "false") == 0)
		return 0;
	config_complain(reader, field, node, "expected true or false, found %s%.40s%s",
			node->plain ? "" : "the text \"", is_null(node) ? "nothing" : node->text,
			node->plain ? "" : "\"; remove the quotes");
	return -1;
}

static void bool_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		      void *at)
{
	int value = read_boolean(reader, field, key->value);

	if (value >= 0)
		*(bool *)at = value;
}

bool config_always_set(const struct config_field *field, const void *at)
{
	return true;
}

static bool bool_is_true(const struct config_field *field, const void *at)
{
	return *(const bool *)at;
}

static void bool_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	fputs(*(const bool *)at ? "true" : "false", out);
}

static bool bool_equal(const struct config_field *field, const void *a, const void *b)
{
	return *(const bool *)a == *(const bool *)b;
}

const struct config_type config_type_bool = {
	"true or false", CONFIG_NODE_SCALAR,     bool_read, config_always_set, bool_write,
	bool_equal,      config_nothing_to_free,
};

const struct config_type config_type_flag = {
	"true or false", CONFIG_NODE_SCALAR, bool_read, bool_is_true, bool_write, bool_equal, config_nothing_to_free,
};

static void choice_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
			void *at)
{
	int value = read_boolean(reader, field, key->value);

	if (value >= 0)
		*(enum rule_choice *)at = value ? RULE_YES : RULE_NO;
}

static bool choice_is_set(const struct config_field *field, const void *at)
{
	return *(const enum rule_choice *)at != RULE_UNSET;
}

static void choice_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	fputs(*(const enum rule_choice *)at == RULE_YES ? "true" : "false", out);
}

static bool choice_equal(const struct config_field *field, const void *a, const void *b)
{
	return *(const enum rule_choice *)a == *(const enum rule_choice *)b;
}

const struct config_type config_type_choice = {
	"true or false", CONFIG_NODE_SCALAR,     choice_read, choice_is_set, choice_write,
	choice_equal,    config_nothing_to_free,
};

static const char *const proto_names[] = {
	[RULE_PROTO_ANY] = "any", [RULE_PROTO_TCP] = "tcp", [RULE_PROTO_UDP] = "udp", NULL};

static void proto_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		       void *at)
{
	for (int i = 0; proto_names[i] != NULL; i++) {
		if (strcmp(key->value->text, proto_names[i]) == 0) {
			*(enum rule_proto *)at = (enum rule_proto)i;
			return;
		}
	}
	config_complain(reader, field, key->value, "expected tcp, udp or any, found \"%.40s\"", key->value->text);
}

static bool proto_is_set(const struct config_field *field, const void *at)
{
	return *(const enum rule_proto *)at != RULE_PROTO_ANY;
}

static void proto_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	fputs(proto_names[*(const enum rule_proto *)at], out);
}

static bool proto_equal(const struct config_field *field, const void *a, const void *b)
{
	return *(const enum rule_proto *)a == *(const enum rule_proto *)b;
}

const struct config_type config_type_proto = {
	"tcp, udp or any", CONFIG_NODE_SCALAR,     proto_read, proto_is_set, proto_write,
	proto_equal,       config_nothing_to_free,
};

/* A bool that is written as one of two words: "NO or YES", as the type's `expected` has them. */
void config_words_of(const struct config_field *field, char no[CONFIG_WORD_MAX], char yes[CONFIG_WORD_MAX])
{
	*no = *yes = '\0';
	sscanf(field->type->expected, "%15s or %15s", no, yes);
}

static void word_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		      void *at)
{
	char no[CONFIG_WORD_MAX], yes[CONFIG_WORD_MAX];
	bool is_yes;

	config_words_of(field, no, yes);
	is_yes = strcmp(key->value->text, yes) == 0;
	if (!is_yes && strcmp(key->value->text, no) != 0)
		config_complain(reader, field, key->value, "expected %s, found \"%.40s\"", field->type->expected,
				key->value->text);
	*(bool *)at = is_yes;
}

static void word_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	char no[CONFIG_WORD_MAX], yes[CONFIG_WORD_MAX];

	config_words_of(field, no, yes);
	fputs(*(const bool *)at ? yes : no, out);
}

#define WORD_TYPE(words)                                                                                            \
	{                                                                                                           \
		words, CONFIG_NODE_SCALAR, word_read, bool_is_true, word_write, bool_equal, config_nothing_to_free, \
			NULL                                                                                        \
	}

const struct config_type config_type_locks = WORD_TYPE("guest or host");
const struct config_type config_type_ownership = WORD_TYPE("host or virtual");
const struct config_type config_type_clock = WORD_TYPE("keep or step");
const struct config_type config_type_access = WORD_TYPE("any or self");

/* ---- numbers ---- */

static bool read_number(struct config_reader *reader, const struct config_field *field, const struct config_node *node,
			unsigned least, unsigned most, unsigned *out)
{
	const char *text = node->text;
	unsigned long value;

	if (!node->plain || text[0] == '\0' || text[strspn(text, "0123456789")] != '\0') {
		config_complain(reader, field, node, "expected a number, found %s%.40s%s",
				node->plain ? "" : "the text \"", is_null(node) ? "nothing" : text,
				node->plain ? "" : "\"; remove the quotes");
		return false;
	}
	if (text[0] == '0' && text[1] != '\0') {
		config_complain(reader, field, node, "%.40s begins with 0, which some read as octal; remove the 0",
				text);
		return false;
	}
	errno = 0;
	value = strtoul(text, NULL, 10);
	if (errno != 0 || value < least || value > most) {
		config_complain(reader, field, node, "%.40s is out of range; write %u to %u", text, least, most);
		return false;
	}
	*out = (unsigned)value;
	return true;
}

static void number_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
			void *at)
{
	read_number(reader, field, key->value, field->least, field->most, at);
}

static void port_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		      void *at)
{
	read_number(reader, field, key->value, 1, 65535, at);
}

static bool number_is_set(const struct config_field *field, const void *at)
{
	return *(const unsigned *)at != 0;
}

static void number_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	fprintf(out, "%u", *(const unsigned *)at);
}

static bool number_equal(const struct config_field *field, const void *a, const void *b)
{
	return *(const unsigned *)a == *(const unsigned *)b;
}

const struct config_type config_type_port = {
	"a port", CONFIG_NODE_SCALAR, port_read, number_is_set, number_write, number_equal, config_nothing_to_free,
};

const struct config_type config_type_count = {
	"a number",   CONFIG_NODE_SCALAR,     number_read, config_always_set, number_write,
	number_equal, config_nothing_to_free,
};

static void range_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		       void *at)
{
	const struct config_node *first = key->value->children;
	struct rule_range range;

	if (first == NULL || first->next == NULL || first->next->next != NULL)
		config_complain(reader, field, key->value, "expected two ports, such as [3000, 3099]");
	else if (first->kind == CONFIG_NODE_SCALAR && first->next->kind == CONFIG_NODE_SCALAR) {
		if (read_number(reader, field, first, 1, 65535, &range.first) &&
		    read_number(reader, field, first->next, 1, 65535, &range.last))
			*(struct rule_range *)at = range;
	} else if (first->kind != CONFIG_NODE_BAD && first->next->kind != CONFIG_NODE_BAD) {
		config_complain(reader, field, key->value, "expected two ports, such as [3000, 3099]");
	}
}

static bool range_is_set(const struct config_field *field, const void *at)
{
	return ((const struct rule_range *)at)->first != 0;
}

static void range_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	const struct rule_range *range = at;

	fprintf(out, "[%u, %u]", range->first, range->last);
}

static bool range_equal(const struct config_field *field, const void *a, const void *b)
{
	const struct rule_range *left = a, *right = b;

	return left->first == right->first && left->last == right->last;
}

const struct config_type config_type_range = {
	"a list of two ports, such as [3000, 3099]",
	CONFIG_NODE_LIST,
	range_read,
	range_is_set,
	range_write,
	range_equal,
	config_nothing_to_free,
};

/* ---- durations ---- */

static const struct {
	char letter;
	unsigned seconds;
} units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};

static unsigned unit_seconds(char letter)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (units[i].letter == letter)
			return units[i].seconds;
	return 0;
}

bool config_duration_parse(const char *text, unsigned most, unsigned *out)
{
	unsigned long long total = 0;

	do {
		char *end;
		unsigned long long number, unit;

		if (!isdigit((unsigned char)*text))
			return false;
		number = strtoull(text, &end, 10);
		unit = unit_seconds(*end);
		if (unit == 0 || number > most)
			return false;
		total += number * unit;
		text = end + 1;
	} while (*text != '\0' && total <= most);
	if (total == 0 || total > most)
		return false;
	*out = (unsigned)total;
	return true;
}

static void duration_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
			  void *at)
{
	if (!config_duration_parse(key->value->text, field->most, at))
		config_complain(reader, field, key->value,
				"expected a time such as 24h, 30m or 10s, at most %ud, found \"%.40s\"",
				field->most / 86400, key->value->text);
}

static void duration_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	unsigned value = *(const unsigned *)at, i = 1; /* from hours on: 24h is the usual way to write a day */

	while (value % units[i].seconds != 0)
		i++;
	fprintf(out, "%u%c", value / units[i].seconds, units[i].letter);
}

const struct config_type config_type_duration = {
	"a time",       CONFIG_NODE_SCALAR, duration_read,          config_always_set,
	duration_write, number_equal,       config_nothing_to_free,
};
