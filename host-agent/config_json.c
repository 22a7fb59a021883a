/* SPDX-License-Identifier: MIT */
/*
 * The tables of a configuration (config_schema.c) as a JSON Schema. A type has a row here that says what its values
 * look like; which keys there are, which are needed, and their bounds come from the tables themselves. A key of a later
 * version is left out, and so refused as any other that is unknown.
 */
#include "config_json.h"

#include <errno.h>

#include "config_schema.h"
#include "json.h"

#define DIALECT "https://json-schema.org/draft/2020-12/schema"

static void write_fields(struct json *j, const struct config_field *fields);

/* ---- what the values of a type look like: what stands in a key's {} ---- */

static void write_type(struct json *j, const char *type)
{
	json_string(j, "type", type);
}

static void write_text(struct json *j, const struct config_field *field)
{
	write_type(j, "string");
	json_u64(j, "minLength", 1);
}

static void write_host_path(struct json *j, const struct config_field *field)
{
	write_type(j, "string");
	json_string(j, "pattern", "^(/|~$|~/)");
}

static void write_guest_path(struct json *j, const struct config_field *field)
{
	write_type(j, "string");
	json_string(j, "pattern", "^/");
}

static void write_bool(struct json *j, const struct config_field *field)
{
	write_type(j, "boolean");
}

static void write_words(struct json *j, const char *const words[])
{
	json_open(j, "enum", '[');
	for (; *words != NULL; words++)
		json_string(j, NULL, *words);
	json_close(j, ']');
}

static void write_proto(struct json *j, const struct config_field *field)
{
	write_words(j, (const char *const[]){"tcp", "udp", "any", NULL});
}

static void write_word(struct json *j, const struct config_field *field)
{
	char no[CONFIG_WORD_MAX], yes[CONFIG_WORD_MAX];

	config_words_of(field, no, yes);
	write_words(j, (const char *const[]){no, yes, NULL});
}

static void write_bounds(struct json *j, unsigned least, unsigned most)
{
	write_type(j, "integer");
	json_u64(j, "minimum", least);
	json_u64(j, "maximum", most);
}

static void write_port(struct json *j, const struct config_field *field)
{
	write_bounds(j, 1, 65535);
}

static void write_count(struct json *j, const struct config_field *field)
{
	write_bounds(j, field->least, field->most);
}

static void write_range(struct json *j, const struct config_field *field)
{
	write_type(j, "array");
	json_u64(j, "minItems", 2);
	json_u64(j, "maxItems", 2);
	json_open(j, "items", '{');
	write_port(j, field);
	json_close(j, '}');
}

static void write_duration(struct json *j, const struct config_field *field)
{
	write_type(j, "string");
	json_string(j, "pattern", "^([0-9]+[smhd])+$");
}

static void write_section(struct json *j, const struct config_field *field)
{
	write_type(j, "object");
	write_fields(j, field->fields);
}

static void write_array(struct json *j, const struct config_field *field,
			void (*write_item)(struct json *j, const struct config_field *field))
{
	write_type(j, "array");
	json_u64(j, "maxItems", field->most);
	json_open(j, "items", '{');
	write_item(j, field);
	json_close(j, '}');
}

static void write_list(struct json *j, const struct config_field *field)
{
	write_array(j, field, write_section);
}

static void write_texts(struct json *j, const struct config_field *field)
{
	write_array(j, field, write_text);
}

static void write_command(struct json *j, const struct config_field *field)
{
	json_open(j, "anyOf", '[');
	json_open(j, NULL, '{');
	write_host_path(j, field);
	json_close(j, '}');
	json_open(j, NULL, '{');
	write_texts(j, field);
	json_u64(j, "minItems", 1);
	json_close(j, '}');
	json_close(j, ']');
}

/* Names of this form; what the values are stands in the {} that is left open. */
static void open_pairs(struct json *j, const struct config_field *field, const char *names)
{
	write_type(j, "object");
	json_u64(j, "maxProperties", field->most);
	json_open(j, "propertyNames", '{');
	json_string(j, "pattern", names);
	json_close(j, '}');
	json_open(j, "additionalProperties", '{');
}

static void write_variables(struct json *j, const struct config_field *field)
{
	open_pairs(j, field, "^[A-Za-z_][A-Za-z0-9_]*$");
	json_open(j, "type", '[');
	json_string(j, NULL, "string");
	json_string(j, NULL, "number");
	json_string(j, NULL, "boolean");
	json_close(j, ']');
	json_close(j, '}');
}

static void write_hosts(struct json *j, const struct config_field *field)
{
	open_pairs(j, field, "^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$");
	write_type(j, "string");
	json_string(j, "pattern", "^([0-9]+[.][0-9.]+|[0-9a-fA-F.]*:[0-9a-fA-F:.]*)$");
	json_close(j, '}');
}

static const struct {
	const struct config_type *type;
	void (*write)(struct json *j, const struct config_field *field);
} shapes[] = {
	{&config_type_text, write_text},
	{&config_type_host_path, write_host_path},
	{&config_type_guest_path, write_guest_path},
	{&config_type_bool, write_bool},
	{&config_type_flag, write_bool},
	{&config_type_choice, write_bool},
	{&config_type_proto, write_proto},
	{&config_type_locks, write_word},
	{&config_type_ownership, write_word},
	{&config_type_access, write_word},
	{&config_type_clock, write_word},
	{&config_type_port, write_port},
	{&config_type_count, write_count},
	{&config_type_range, write_range},
	{&config_type_duration, write_duration},
	{&config_type_section, write_section},
	{&config_type_list, write_list},
	{&config_type_texts, write_texts},
	{&config_type_command, write_command},
	{&config_type_variables, write_variables},
	{&config_type_hosts, write_hosts},
};

/* ---- the tables ---- */

/* A type without a row takes any value: the test of the schema has a wrong one for each key. */
static void write_field(struct json *j, const struct config_field *field)
{
	json_open(j, field->key, '{');
	json_string(j, "description", field->about);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (shapes[i].type == field->type)
			shapes[i].write(j, field);
	json_close(j, '}');
}

static void write_needed(struct json *j, const struct config_field *fields)
{
	bool open = false;

	for (; fields->key != NULL; fields++) {
		if (fields->needed == NULL)
			continue;
		if (!open)
			json_open(j, "required", '[');
		open = true;
		json_string(j, NULL, fields->key);
	}
	if (open)
		json_close(j, ']');
}

static void write_fields(struct json *j, const struct config_field *fields)
{
	json_bool(j, "additionalProperties", false);
	write_needed(j, fields);
	json_open(j, "properties", '{');
	for (; fields->key != NULL; fields++)
		if (fields->type != &config_type_not_yet)
			write_field(j, fields);
	json_close(j, '}');
}

int config_json_schema(FILE *out)
{
	struct json j = {0};
	int rc = 0;

	json_open(&j, NULL, '{');
	json_string(&j, "$schema", DIALECT);
	json_string(&j, "title", "homeport.yaml");
	json_string(&j, "description", "The configuration of a homeport session: homeport.yaml(5).");
	json_open(&j, "type", '['); /* an empty file is the defaults */
	json_string(&j, NULL, "object");
	json_string(&j, NULL, "null");
	json_close(&j, ']');
	write_fields(&j, config_top_fields);
	json_close(&j, '}');
	if (j.out.failed || fwrite(j.out.data, 1, j.out.len, out) != j.out.len || putc('\n', out) == EOF)
		rc = -ENOMEM;
	json_free(&j);
	return rc;
}
