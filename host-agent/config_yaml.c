/* SPDX-License-Identifier: MIT */
/*
 * YAML to a tree with positions, by libyaml's events; the only file that knows libyaml.
 *
 * Why not libyaml's own documents or a schema library: both resolve types by YAML 1.1 (`writable: flase` becomes a
 * text, or true), lose the place of a key, and follow aliases, of which nine lines can make a billion nodes. Here a
 * scalar stays the text it was, with whether it stood in quotes; what it means is for the schema (config.c) to say.
 *
 * The text is checked before libyaml sees it: its own message about bad bytes has no line. Reading goes on after an
 * alias, a tag or a key that is no text, with a node of the kind BAD in its place, so that one such mistake hides no
 * other; a syntax error ends it.
 */
#include "config_yaml.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "utf8.h"

struct walker {
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
	bool event_held;
	const char *file;
	struct problems *problems;
	unsigned nodes;
	int error; /* sticky: no further event is read */
};

static const char *const kind_names[] = {
	[CONFIG_NODE_SCALAR] = "text",
	[CONFIG_NODE_LIST] = "a list",
	[CONFIG_NODE_MAP] = "a mapping",
	[CONFIG_NODE_BAD] = "nothing usable",
};
_Static_assert(sizeof(kind_names) / sizeof(kind_names[0]) == CONFIG_NODE_KINDS, "every kind has a name");

const char *config_node_kind_name(enum config_node_kind kind)
{
	return kind_names[kind];
}

void config_node_free(struct config_node *node)
{
	while (node != NULL) {
		struct config_node *next = node->next;

		config_node_free(node->children);
		config_node_free(node->value);
		free(node->text);
		free(node);
		node = next;
	}
}

const struct config_node *config_node_get(const struct config_node *map, const char *key)
{
	if (map->kind != CONFIG_NODE_MAP)
		return NULL;
	for (const struct config_node *child = map->children; child != NULL; child = child->next)
		if (strcmp(child->text, key) == 0)
			return child->value;
	return NULL;
}

/* ---- bytes ---- */

/* What libyaml's reader would refuse without saying where: YAML 1.1, section 5.1. */
static bool is_yaml_character(uint32_t point)
{
	return point == '\t' || point == '\n' || point == '\r' || (point >= 0x20 && point < 0x7f) || point == 0x85 ||
	       (point >= 0xa0 && point != 0xfeff && point != 0xfffe && point != 0xffff);
}

static int check_bytes(const char *file, const char *text, size_t size, struct problems *problems)
{
	struct problem_place place = {.file = file, .line = 1, .column = 1};
	uint32_t point;

	for (size_t i = 0, n; i < size; i += n) {
		n = utf8_read((const uint8_t *)text + i, size - i, &point);
		if (n == 0) {
			problems_add(problems, PROBLEM_ERROR, place,
				     "the byte 0x%02x is not UTF-8; save the file as UTF-8", (unsigned char)text[i]);
			return -EINVAL;
		}
		if (!is_yaml_character(point)) {
			problems_add(problems, PROBLEM_ERROR, place, "the character U+%04X is not allowed; remove it",
				     point);
			return -EINVAL;
		}
		place.column++;
		if (point == '\n') {
			place.line++;
			place.column = 1;
		}
	}
	return 0;
}

/* ---- events ---- */

static struct problem_place place_of(const struct walker *walker, yaml_mark_t mark)
{
	return (struct problem_place){walker->file, (unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static void report_syntax(struct walker *walker)
{
	const yaml_parser_t *parser = &walker->parser;

	if (parser->error == YAML_MEMORY_ERROR) {
		walker->error = -ENOMEM;
		return;
	}
	walker->error = -EINVAL;
	problems_add(walker->problems, PROBLEM_ERROR, place_of(walker, parser->problem_mark),
		     "this is not YAML: %s%s%s; look at the quotes, the colons and the indentation (spaces, no tabs)",
		     parser->context != NULL ? parser->context : "", parser->context != NULL ? ": " : "",
		     parser->problem != NULL ? parser->problem : "it cannot be read");
}

/* Reads the next event; false once there was an error. */
static bool walker_next(struct walker *walker)
{
	if (walker->error != 0)
		return false;
	if (walker->event_held)
		yaml_event_delete(&walker->event);
	walker->event_held = yaml_parser_parse(&walker->parser, &walker->event) != 0;
	if (!walker->event_held)
		report_syntax(walker);
	return walker->event_held;
}

static void refuse(struct walker *walker, const char *what)
{
	problems_add(walker->problems, PROBLEM_ERROR, place_of(walker, walker->event.start_mark), "%s", what);
}

/* Anchors and tags change what a node means, or where it stands; neither is needed here. */
static bool is_decorated(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL;
	default:
		return false;
	}
}

static struct config_node *node_new(struct walker *walker, enum config_node_kind kind)
{
	struct config_node *node;

	if (++walker->nodes > CONFIG_YAML_NODES_MAX) {
		refuse(walker, "there is too much in this file; a configuration is shorter");
		walker->error = -EINVAL;
		return NULL;
	}
	node = calloc(1, sizeof(*node));
	if (node == NULL) {
		walker->error = -ENOMEM;
		return NULL;
	}
	node->kind = kind;
	node->line = (unsigned)walker->event.start_mark.line + 1;
	node->column = (unsigned)walker->event.start_mark.column + 1;
	/* A mark behind the end of a line is at the beginning of the next one. */
	node->last_line = (unsigned)walker->event.end_mark.line + (walker->event.end_mark.column > 0);
	if (node->last_line < node->line)
		node->last_line = node->line;
	return node;
}

static void node_append(struct config_node *parent, struct config_node *child)
{
	if (parent->last != NULL)
		parent->last->next = child;
	else
		parent->children = child;
	parent->last = child;
}

static struct config_node *read_node(struct walker *walker, unsigned depth);

static struct config_node *read_scalar(struct walker *walker)
{
	struct config_node *node = node_new(walker, CONFIG_NODE_SCALAR);
	const char *value = (const char *)walker->event.data.scalar.value;
	size_t length = walker->event.data.scalar.length;

	if (node == NULL)
		return NULL;
	node->plain = walker->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (memchr(value, '\0', length) != NULL) { /* "\0" in double quotes */
		refuse(walker, "a NUL cannot be part of a text; remove \\0");
		node->kind = CONFIG_NODE_BAD;
		return node;
	}
	node->text = strndup(value, length);
	if (node->text == NULL)
		walker->error = -ENOMEM;
	return node;
}

static void read_list(struct walker *walker, struct config_node *list, unsigned depth)
{
	while (walker_next(walker) && walker->event.type != YAML_SEQUENCE_END_EVENT) {
		struct config_node *item = read_node(walker, depth);

		if (item != NULL)
			node_append(list, item);
	}
}

/* A pair whose key is no text is reported and dropped with its value. */
static void read_map(struct walker *walker, struct config_node *map, unsigned depth)
{
	while (walker_next(walker) && walker->event.type != YAML_MAPPING_END_EVENT) {
		struct config_node *key = read_node(walker, depth), *value = NULL;

		if (key != NULL && (key->kind == CONFIG_NODE_LIST || key->kind == CONFIG_NODE_MAP))
			problems_add(walker->problems, PROBLEM_ERROR,
				     (struct problem_place){walker->file, key->line, key->column},
				     "a key must be a word, not %s", config_node_kind_name(key->kind));
		if (walker_next(walker))
			value = read_node(walker, depth);
		if (key == NULL || value == NULL || key->kind != CONFIG_NODE_SCALAR) {
			config_node_free(key);
			config_node_free(value);
			continue;
		}
		key->value = value;
		node_append(map, key);
	}
}

/* The node that begins with the current event. NULL after an error. */
static struct config_node *read_node(struct walker *walker, unsigned depth)
{
	bool decorated = is_decorated(&walker->event);
	struct config_node *node;

	if (depth > CONFIG_YAML_DEPTH_MAX) {
		refuse(walker, "this is nested too deeply; nothing in a configuration is");
		walker->error = -EINVAL;
		return NULL;
	}
	if (decorated)
		refuse(walker, "anchors (&name) and tags (!name) are not supported; write the plain value");
	switch (walker->event.type) {
	case YAML_SCALAR_EVENT:
		node = read_scalar(walker);
		break;
	case YAML_SEQUENCE_START_EVENT:
		node = node_new(walker, CONFIG_NODE_LIST);
		if (node != NULL)
			node->flow = walker->event.data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
		if (node != NULL)
			read_list(walker, node, depth + 1);
		break;
	case YAML_MAPPING_START_EVENT:
		node = node_new(walker, CONFIG_NODE_MAP);
		if (node != NULL)
			node->flow = walker->event.data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
		if (node != NULL)
			read_map(walker, node, depth + 1);
		break;
	default: /* YAML_ALIAS_EVENT: no other event can stand here */
		refuse(walker, "aliases (*name) are not supported; write the value again");
		node = node_new(walker, CONFIG_NODE_BAD);
		break;
	}
	if (decorated && node != NULL)
		node->kind = CONFIG_NODE_BAD;
	if (walker->error != 0) {
		config_node_free(node);
		return NULL;
	}
	return node;
}

static struct config_node *read_stream(struct walker *walker)
{
	struct config_node *root = NULL;

	while (walker_next(walker) && walker->event.type != YAML_STREAM_END_EVENT) {
		if (walker->event.type != YAML_DOCUMENT_START_EVENT)
			continue;
		if (root != NULL) {
			refuse(walker, "a second document begins here; put everything into one");
			break;
		}
		if (walker_next(walker))
			root = read_node(walker, 0);
	}
	return root;
}

int config_yaml_read(const char *file, const char *text, size_t size, struct problems *problems,
		     struct config_node **root)
{
	struct walker walker = {.file = file, .problems = problems};
	struct config_node *tree;
	int r;

	if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* the mark some editors put in front */
		text += 3;
		size -= 3;
	}
	r = check_bytes(file, text, size, problems);
	if (r < 0)
		return r;
	if (!yaml_parser_initialize(&walker.parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&walker.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&walker.parser, (const unsigned char *)text, size);
	tree = read_stream(&walker);
	if (walker.event_held)
		yaml_event_delete(&walker.event);
	yaml_parser_delete(&walker.parser);
	if (walker.error != 0) {
		config_node_free(tree);
		return walker.error;
	}
	*root = tree;
	return 0;
}

/* ---- and back ---- */

void config_yaml_quote(FILE *out, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t left = strlen(text), n;
	uint32_t point;

	putc('"', out);
	for (; left > 0; p += n, left -= n) {
		n = utf8_read(p, left, &point);
		if (n == 0) {
			n = 1;
			fputs("\xef\xbf\xbd", out);
		} else if (point == '"' || point == '\\') {
			fprintf(out, "\\%c", (int)point);
		} else if (point == '\t' || point == '\n' || point == '\r' || point == 0x2028 || point == 0x2029 ||
			   point == 0x85 || !is_yaml_character(point)) {
			fprintf(out, "\\u%04X", point); /* none of them is beyond U+FFFF */
		} else {
			fwrite(p, 1, n, out);
		}
	}
	putc('"', out);
}
