/* SPDX-License-Identifier: MIT */
/* The tables of a configuration (config_schema.c) as a file to begin with. See config_template.h. */
#include "config_template.h"

#include <string.h>

#include "config_schema.h"

#define WIDTH     78
#define PATH_ROOM 128

struct template
{
	FILE *out;
	const char *name;
	bool (*exists)(void *ctx, const char *path);
	void *ctx;
};

/* Words behind `lead`, and behind as many blanks in the lines that follow. */
static void write_prose(FILE *out, const char *lead, const char *rest, const char *text)
{
	size_t column = (size_t)fprintf(out, "%s", lead);

	while (*text != '\0') {
		size_t length = strcspn(text, " ");

		if (column + length + 1 > WIDTH)
			column = (size_t)fprintf(out, "\n%s", rest) - 1;
		column += (size_t)fprintf(out, " %.*s", (int)length, text);
		text += length + strspn(text + length, " ");
	}
	putc('\n', out);
}

/* Of the examples of a path, one that is there; false where none is. */
static bool choose_path(const struct template *t, const char *examples, char path[PATH_ROOM])
{
	while (*examples != '\0') {
		size_t length = strcspn(examples, " ");

		snprintf(path, PATH_ROOM, "%.*s", (int)length, examples);
		if (t->exists(t->ctx, path))
			return true;
		examples += length + strspn(examples + length, " ");
	}
	return false;
}

/* "#key: value", or where it would be wrong here, in prose. */
static void write_example(const struct template *t, const struct config_field *field, const char *indent)
{
	char path[PATH_ROOM];

	if (field->type != &config_type_host_path)
		fprintf(t->out, "%s#%s: %s\n", indent, field->key, field->example);
	else if (choose_path(t, field->example, path))
		fprintf(t->out, "%s#%s: %s\n", indent, field->key, path);
	else
		fprintf(t->out, "%s# (%s: %.*s, were it there)\n", indent, field->key,
			(int)strcspn(field->example, " "), field->example);
}

static void write_section(const struct template *t, const struct config_field *section)
{
	fprintf(t->out, "%s:\n", section->key);
	for (const struct config_field *field = section->fields; field->key != NULL; field++) {
		write_prose(t->out, "  #", "  #", field->about);
		if (field == &config_ssh_fields[0])
			fprintf(t->out, "  %s: \"%s\"\n", field->key, t->name);
		else
			write_example(t, field, "  ");
	}
}

/* The keys of an entry, in prose: the example has the most usual ones. */
static void write_entry(const struct template *t, const struct config_field *list)
{
	char lead[64];

	for (const struct config_field *field = list->fields; field->key != NULL; field++) {
		if (field->type == &config_type_not_yet)
			continue;
		snprintf(lead, sizeof(lead), "#   %-18s", field->key);
		write_prose(t->out, lead, "#                     ", field->about);
	}
}

void config_template_write(FILE *out, const char *name, bool (*exists)(void *ctx, const char *path), void *ctx)
{
	struct template t = {.out = out, .name = name, .exists = exists, .ctx = ctx};

	fprintf(out,
		"# %s, for `homeport up %s` and `homeport enable %s`; `homeport config check %s` looks for mistakes.\n"
		"# A line with a # right before its key is what could be there: take the # away. The manual is\n"
		"# homeport.yaml(5).\n",
		name, name, name, name);
	for (const struct config_field *field = config_top_fields; field->key != NULL; field++) {
		if (field->type == &config_type_not_yet)
			continue;
		putc('\n', out);
		write_prose(out, "#", "#", field->about);
		if (field->type == &config_type_list || (field->fields != NULL && field->example != NULL))
			write_entry(&t, field);
		if (field->type == &config_type_section && field->example == NULL)
			write_section(&t, field);
		else
			write_example(&t, field, "");
	}
}
