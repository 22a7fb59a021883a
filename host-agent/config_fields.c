/* SPDX-License-Identifier: MIT */
/*
 * A struct as a table of fields: read from a mapping, written, compared and freed by walking the table, and the types
 * that hold other values (a section, a list of structs, a list of texts).
 */
#include "config_fields.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

static void *field_at(const struct config_field *field, void *whole)
{
	return (char *)whole + field->offset;
}

static const void *field_in(const struct config_field *field, const void *whole)
{
	return (const char *)whole + field->offset;
}

/* ---- reading ---- */

static void complain_unknown(struct config_reader *reader, const struct config_field *fields,
			     const struct config_node *key)
{
	const char *words[CONFIG_FIELDS_MAX + 1] = {NULL}, *nearest = NULL;
	char known[PROBLEMS_TEXT_MAX / 2] = "";
	struct problem_place place = {reader->file, key->line, key->column};

	for (size_t i = 0, n = 0; fields[i].key != NULL; i++) {
		words[i] = fields[i].key;
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "", fields[i].key);
	}
	/* Beyond the lines that are kept nobody reads the suggestion. */
	if (problems_count(reader->problems, PROBLEM_ERROR) < PROBLEMS_MAX)
		nearest = problems_nearest(key->text, words);
	if (nearest != NULL)
		problems_add(reader->problems, PROBLEM_ERROR, place, "unknown key \"%.80s\"; did you mean \"%s\"?",
			     key->text, nearest);
	else
		problems_add(reader->problems, PROBLEM_ERROR, place, "unknown key \"%.80s\"; here are: %s", key->text,
			     known);
}

static void read_field(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		       void *whole)
{
	const struct config_node *value = key->value;

	if (field->type == &config_type_not_yet) /* whatever its value is */
		config_complain(reader, field, key, "not supported by this version; remove it");
	else if (value->kind == CONFIG_NODE_BAD)
		return;
	else if (value->kind == field->type->kind || field->type->kind == CONFIG_NODE_KINDS)
		field->type->read(reader, field, key, field_at(field, whole));
	else if (value->kind == CONFIG_NODE_SCALAR && value->text[0] == '\0')
		config_complain(reader, field, key, "expected %s, found nothing; remove the key or give it a value",
				field->type->expected);
	else
		config_complain(reader, field, value, "expected %s, found %s", field->type->expected,
				config_node_kind_name(value->kind));
}

void config_fields_read(struct config_reader *reader, const struct config_field *fields, const struct config_node *map,
			void *to)
{
	unsigned seen[CONFIG_FIELDS_MAX] = {0}; /* the line of the first */

	for (const struct config_node *key = map->children; key != NULL; key = key->next) {
		size_t i = 0;

		while (fields[i].key != NULL && strcmp(fields[i].key, key->text) != 0)
			i++;
		if (fields[i].key == NULL) {
			complain_unknown(reader, fields, key);
		} else if (seen[i] != 0) {
			config_complain(reader, &fields[i], key, "is there twice, first in line %u; remove one",
					seen[i]);
		} else {
			seen[i] = key->line;
			read_field(reader, &fields[i], key, to);
		}
	}
}

/* ---- writing, comparing, freeing ---- */

static bool is_written(const struct config_field *field, const void *from)
{
	return field->type->write != NULL && field->type->is_set(field, field_in(field, from)) &&
	       (field->omit == NULL || !field->omit(from));
}

/* The first field stands behind `lead`, the others behind `indent` spaces. */
static void write_fields(FILE *out, const struct config_field *fields, const void *from, unsigned indent,
			 const char *lead)
{
	for (; fields->key != NULL; fields++) {
		if (!is_written(fields, from))
			continue;
		fprintf(out, "%*s%s%s:", lead != NULL ? 0 : (int)indent, "", lead != NULL ? lead : "", fields->key);
		lead = NULL;
		if (fields->type != &config_type_section && fields->type != &config_type_list)
			putc(' ', out);
		fields->type->write(out, fields, field_in(fields, from), indent);
		if (fields->type != &config_type_section && fields->type != &config_type_list)
			putc('\n', out);
	}
}

static bool any_written(const struct config_field *fields, const void *from)
{
	for (; fields->key != NULL; fields++)
		if (is_written(fields, from))
			return true;
	return false;
}

void config_fields_write(FILE *out, const struct config_field *fields, const void *from, unsigned indent)
{
	write_fields(out, fields, from, indent, NULL);
}

void config_field_write_value(FILE *out, const struct config_field *field, const void *from)
{
	if (field->type->is_set(field, field_in(field, from)))
		field->type->write(out, field, field_in(field, from), 0);
	else
		fputs("nothing", out);
}

bool config_field_equal(const struct config_field *field, const void *a, const void *b)
{
	return field->type->equal == NULL || field->type->equal(field, field_in(field, a), field_in(field, b));
}

bool config_fields_equal(const struct config_field *fields, const void *a, const void *b)
{
	for (; fields->key != NULL; fields++)
		if (!config_field_equal(fields, a, b))
			return false;
	return true;
}

void config_fields_free(const struct config_field *fields, void *of)
{
	for (; fields->key != NULL; fields++)
		if (fields->type->free != NULL)
			fields->type->free(fields, field_at(fields, of));
}

int config_fields_own(const struct config_field *fields, void *of)
{
	int rc = 0;

	for (; fields->key != NULL; fields++) {
		const struct config_type *type = fields->type;

		assert(type->own != NULL || type->free == NULL || type->free == config_nothing_to_free);
		if (type->own != NULL && type->own(fields, field_at(fields, of)) < 0)
			rc = -ENOMEM;
	}
	return rc;
}

/* ---- a section ---- */

static void section_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
			 void *at)
{
	config_fields_read(reader, field->fields, key->value, at);
}

static bool section_is_set(const struct config_field *field, const void *at)
{
	return any_written(field->fields, at);
}

static void section_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	putc('\n', out);
	config_fields_write(out, field->fields, at, indent + 2);
}

static bool section_equal(const struct config_field *field, const void *a, const void *b)
{
	return config_fields_equal(field->fields, a, b);
}

static void section_free(const struct config_field *field, void *at)
{
	config_fields_free(field->fields, at);
}

static int section_own(const struct config_field *field, void *at)
{
	return config_fields_own(field->fields, at);
}

const struct config_type config_type_section = {
	"keys with values", CONFIG_NODE_MAP, section_read, section_is_set,
	section_write,      section_equal,   section_free, section_own,
};

/* ---- lists: a pointer to the items, and how many there are ---- */

/* The pointer is read and written as bytes: it points to another type for each list. */
static void *list_items(const void *at)
{
	void *items;

	memcpy(&items, at, sizeof(items));
	return items;
}

static size_t *list_count(const struct config_field *field, void *at)
{
	return (size_t *)((char *)at + field->count_offset);
}

static size_t list_length(const struct config_field *field, const void *at)
{
	return *(const size_t *)((const char *)at + field->count_offset);
}

static void *list_append(struct config_reader *reader, const struct config_field *field, void *at)
{
	size_t *count = list_count(field, at);
	char *items = reallocarray(list_items(at), *count + 1, field->item_size), *item;

	if (items == NULL) {
		reader->no_memory = true;
		return NULL;
	}
	memcpy(at, &items, sizeof(items));
	item = items + *count * field->item_size;
	memset(item, 0, field->item_size);
	++*count;
	return item;
}

static bool list_is_too_long(struct config_reader *reader, const struct config_field *field,
			     const struct config_node *node, size_t index)
{
	if (index < field->most)
		return false;
	config_complain(reader, field, node, "there are more than %u; remove some", field->most);
	return true;
}

static void check_needed(struct config_reader *reader, const struct config_field *fields, const struct config_node *map)
{
	for (; fields->key != NULL; fields++)
		if (fields->needed != NULL && config_node_get(map, fields->key) == NULL)
			config_complain(reader, fields, map, "is missing; %s", fields->needed);
}

static void list_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		      void *at)
{
	size_t index = 0;

	for (const struct config_node *node = key->value->children; node != NULL; node = node->next, index++) {
		size_t errors = problems_count(reader->problems, PROBLEM_ERROR);
		void *item;

		if (list_is_too_long(reader, field, node, index))
			return;
		if (node->kind != CONFIG_NODE_MAP) {
			if (node->kind != CONFIG_NODE_BAD)
				config_complain(reader, field, node, "expected an entry of keys with values, found %s",
						config_node_kind_name(node->kind));
			continue;
		}
		item = list_append(reader, field, at);
		if (item == NULL)
			return;
		if (field->prepare != NULL)
			field->prepare(item);
		config_fields_read(reader, field->fields, node, item);
		check_needed(reader, field->fields, node);
		field->finish(reader, node, index, problems_count(reader->problems, PROBLEM_ERROR) == errors, item);
	}
}

static void list_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	const char *items = list_items(at);
	char lead[16];

	if (list_length(field, at) == 0) {
		fputs(" []\n", out);
		return;
	}
	putc('\n', out);
	snprintf(lead, sizeof(lead), "%*s- ", (int)indent, "");
	for (size_t i = 0; i < list_length(field, at); i++) {
		const void *item = items + i * field->item_size;

		if (any_written(field->fields, item))
			write_fields(out, field->fields, item, indent + 2, lead);
		else
			fprintf(out, "%s{}\n", lead);
	}
}

static bool list_equal(const struct config_field *field, const void *a, const void *b)
{
	const char *left = list_items(a), *right = list_items(b);

	if (list_length(field, a) != list_length(field, b))
		return false;
	for (size_t i = 0; i < list_length(field, a); i++)
		if (!config_fields_equal(field->fields, left + i * field->item_size, right + i * field->item_size))
			return false;
	return true;
}

static void list_free(const struct config_field *field, void *at)
{
	static void *const none = NULL;
	char *items = list_items(at);

	for (size_t i = 0; i < list_length(field, at); i++)
		config_fields_free(field->fields, items + i * field->item_size);
	free(items);
	memcpy(at, &none, sizeof(none));
	*list_count(field, at) = 0;
}

/* The items, copied byte by byte; none when there is no memory. */
static char *list_own_items(const struct config_field *field, void *at)
{
	size_t count = list_length(field, at);
	char *items = calloc(count + 1, field->item_size);

	if (items != NULL && count > 0)
		memcpy(items, list_items(at), count * field->item_size);
	if (items == NULL)
		*list_count(field, at) = 0;
	memcpy(at, &items, sizeof(items));
	return items;
}

static int list_own(const struct config_field *field, void *at)
{
	char *items = list_own_items(field, at);
	int rc = items != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; i < list_length(field, at); i++)
		if (config_fields_own(field->fields, items + i * field->item_size) < 0)
			rc = -ENOMEM;
	return rc;
}

const struct config_type config_type_list = {
	"a list", CONFIG_NODE_LIST, list_read, config_always_set, list_write, list_equal, list_free, list_own,
};

/* ---- lists of texts ---- */

static void texts_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		       void *at)
{
	size_t index = 0;

	for (const struct config_node *node = key->value->children; node != NULL; node = node->next, index++) {
		const char *text;
		char **item;

		if (list_is_too_long(reader, field, node, index))
			return;
		if (node->kind != CONFIG_NODE_SCALAR) {
			if (node->kind != CONFIG_NODE_BAD)
				config_complain(reader, field, node, "expected a text, found %s",
						config_node_kind_name(node->kind));
			continue;
		}
		text = config_read_text(reader, field, node);
		item = text != NULL ? list_append(reader, field, at) : NULL;
		if (item != NULL)
			*item = config_copy(reader, text);
	}
}

static bool texts_is_set(const struct config_field *field, const void *at)
{
	return list_length(field, at) > 0;
}

static void texts_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	char *const *items = list_items(at);

	for (size_t i = 0; i < list_length(field, at); i++) {
		fputs(i == 0 ? "[" : ", ", out);
		config_yaml_quote(out, items[i]);
	}
	putc(']', out);
}

static bool texts_equal(const struct config_field *field, const void *a, const void *b)
{
	char *const *left = list_items(a), *const *right = list_items(b);

	if (list_length(field, a) != list_length(field, b))
		return false;
	for (size_t i = 0; i < list_length(field, a); i++)
		if (!config_same_text(left[i], right[i]))
			return false;
	return true;
}

static void texts_free(const struct config_field *field, void *at)
{
	static void *const none = NULL;
	char **items = list_items(at);

	for (size_t i = 0; i < list_length(field, at); i++)
		free(items[i]);
	free(items);
	memcpy(at, &none, sizeof(none));
	*list_count(field, at) = 0;
}

static int texts_own(const struct config_field *field, void *at)
{
	char **items = (char **)(void *)list_own_items(field, at);
	int rc = items != NULL ? 0 : -ENOMEM;

	for (size_t i = 0; i < list_length(field, at); i++)
		if (config_text_own(NULL, &items[i]) < 0)
			rc = -ENOMEM;
	return rc;
}

const struct config_type config_type_texts = {
	"a list of texts", CONFIG_NODE_LIST, texts_read, texts_is_set, texts_write, texts_equal, texts_free, texts_own,
};

/* ---- a command: a list of texts, or one text that is the program's path ---- */

static void append_text(struct config_reader *reader, const struct config_field *field, void *at, char *text)
{
	char **item = text != NULL ? list_append(reader, field, at) : NULL;

	if (item != NULL)
		*item = text;
	else
		free(text);
}

/* The program: a path of the host, or (in a list) a name that is looked for in PATH. */
static void append_program(struct config_reader *reader, const struct config_field *field,
			   const struct config_node *node, bool may_be_name, void *at)
{
	const char *text = config_read_text(reader, field, node), *wrong = NULL;
	char *path = NULL;
	int r;

	if (text == NULL)
		return;
	if (may_be_name && text[0] != '~' && strchr(text, '/') == NULL) {
		append_text(reader, field, at, config_copy(reader, text));
		return;
	}
	r = config_path_expand(text, reader->home, &path, &wrong);
	reader->no_memory |= r == -ENOMEM;
	if (r == -EINVAL)
		config_complain(reader, field, node, "\"%.200s\" %s", text, wrong);
	else if (r == 0)
		append_text(reader, field, at, path);
}

static void command_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
			 void *at)
{
	const struct config_node *value = key->value, *node = value->children;

	if (value->kind == CONFIG_NODE_SCALAR) {
		append_program(reader, field, value, false, at);
		return;
	}
	if (value->kind != CONFIG_NODE_LIST || node == NULL) {
		config_complain(reader, field, value, "expected a program's path, or a list that begins with one");
		return;
	}
	for (size_t index = 0; node != NULL && !list_is_too_long(reader, field, node, index); index++) {
		const char *text;

		if (node->kind != CONFIG_NODE_SCALAR)
			config_complain(reader, field, node, "expected a text, found %s",
					config_node_kind_name(node->kind));
		else if (index == 0)
			append_program(reader, field, node, true, at);
		else if ((text = config_read_text(reader, field, node)) != NULL)
			append_text(reader, field, at, config_copy(reader, text));
		node = node->next;
	}
}

const struct config_type config_type_command = {
	"a program's path, or a list that begins with one",
	CONFIG_NODE_KINDS,
	command_read,
	texts_is_set,
	texts_write,
	texts_equal,
	texts_free,
	texts_own,
};

/* ---- variables and hosts: keys with texts, kept as "NAME=VALUE" ---- */

static bool is_variable_name(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	return *name != '\0' && strchr("0123456789", *name) == NULL && name[strspn(name, letters)] == '\0';
}

/* Parts of letters, digits, - and _, with dots between them. */
static bool is_host_name(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789-";

	if (strlen(name) > 253)
		return false;
	for (;; name++) {
		size_t n = strspn(name, letters);

		if (n == 0 || n > 63)
			return false;
		name += n;
		if (*name != '.')
			return *name == '\0';
	}
}

static bool is_any_text(const char *text)
{
	return true;
}

static bool is_address(const char *text)
{
	struct rule_address address;

	return rule_address_parse(text, &address);
}

/* What the names of such a map are, and what their values. */
struct pairs {
	bool (*name)(const char *name), (*value)(const char *value);
	const char *no_name, *value_expected;
};

static const struct pairs variables = {is_variable_name, is_any_text, "no variable's name", "a text"};
static const struct pairs hosts = {is_host_name, is_address, "no name of a machine", "an IP address"};

static bool has_pair(const struct config_field *field, const void *at, const char *name)
{
	char *const *items = list_items(at);
	size_t length = strlen(name);

	for (size_t i = 0; i < list_length(field, at); i++)
		if (strncmp(items[i], name, length) == 0 && items[i][length] == '=')
			return true;
	return false;
}

/* A value is a text however it is written: 1 and true are what they look like. NULL: there is none. */
static const char *pair_value(const struct config_node *node)
{
	if (node->kind != CONFIG_NODE_SCALAR)
		return NULL;
	return node->plain && (*node->text == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0)
		       ? NULL
		       : node->text;
}

static void pair_add(struct config_reader *reader, const struct config_field *field, void *at, const char *name,
		     const char *value)
{
	char *text;

	if (asprintf(&text, "%s=%s", name, value) < 0)
		text = NULL;
	reader->no_memory |= text == NULL;
	append_text(reader, field, at, text);
}

static void pairs_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		       const struct pairs *pairs, void *at)
{
	size_t index = 0, bytes = 0;

	for (const struct config_node *node = key->value->children; node != NULL; node = node->next, index++) {
		const char *value = pair_value(node->value);

		if (list_is_too_long(reader, field, node, index))
			return;
		if (!pairs->name(node->text)) {
			config_complain(reader, field, node, "\"%.80s\" is %s", node->text, pairs->no_name);
		} else if (value == NULL || !pairs->value(value)) {
			if (node->value->kind != CONFIG_NODE_BAD)
				config_complain(reader, field, node->value, "expected %s for %.80s%s",
						pairs->value_expected, node->text,
						pairs == &variables ? "; \"\" is an empty one" : "");
		} else if (has_pair(field, at, node->text)) {
			config_complain(reader, field, node, "%.80s is there twice; remove one", node->text);
		} else if ((bytes += strlen(node->text) + strlen(value) + 2) > CONFIG_VARIABLES_BYTES) {
			config_complain(reader, field, node, "all of it is longer than %d bytes",
					CONFIG_VARIABLES_BYTES);
			return;
		} else {
			pair_add(reader, field, at, node->text, value);
		}
	}
}

static void variables_read(struct config_reader *reader, const struct config_field *field,
			   const struct config_node *key, void *at)
{
	pairs_read(reader, field, key, &variables, at);
}

static void hosts_read(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		       void *at)
{
	pairs_read(reader, field, key, &hosts, at);
}

static void pairs_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	char *const *items = list_items(at);

	for (size_t i = 0; i < list_length(field, at); i++) {
		const char *value = strchr(items[i], '=') + 1;

		fprintf(out, "%s%.*s: ", i == 0 ? "{" : ", ", (int)(value - items[i] - 1), items[i]);
		config_yaml_quote(out, value);
	}
	putc('}', out);
}

const struct config_type config_type_variables = {
	"names with values", CONFIG_NODE_MAP, variables_read, texts_is_set,
	pairs_write,         texts_equal,     texts_free,     texts_own,
};

const struct config_type config_type_hosts = {
	"names with addresses",
	CONFIG_NODE_MAP,
	hosts_read,
	texts_is_set,
	pairs_write,
	texts_equal,
	texts_free,
	texts_own,
};

const struct config_type config_type_not_yet = {"", CONFIG_NODE_BAD, NULL, NULL, NULL, NULL, NULL, NULL};
