/* SPDX-License-Identifier: MIT */
/*
 * Edits of a configuration's text, by lines. See config_edit.h.
 *
 * Theory of operation. libyaml tells where each node begins, and where scalars end; an entry of a block list is the
 * lines from its dash to the last line of its last scalar. Mounts are added behind the last one, rules before the
 * first, since the first that matches wins. A list that is not there is added at the end of the text; one that becomes
 * empty is written as [], which is also the one list in brackets that is changed.
 */
#include "config_edit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config_yaml.h"
#include "problems.h"

struct editor {
	struct config_text *in;
	struct config_node *root;
	char *why;
	const char *eol; /* how its lines end */
	/* The new text: what stands before `at`, `insert`, and what stands from `resume` on. */
	size_t at, resume;
	char *insert;
	size_t insert_size;
};

static int __attribute__((format(printf, 2, 3))) refuse(struct editor *e, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(e->why, CONFIG_EDIT_WHY_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

/* ---- lines ---- */

/* Where the line of this number, from 1, begins; the end of the text behind the last. */
static size_t line_at(const struct config_text *in, unsigned line)
{
	size_t at = 0;

	while (--line > 0) {
		const char *end = memchr(in->text + at, '\n', in->size - at);

		if (end == NULL)
			return in->size;
		at = (size_t)(end - in->text) + 1;
	}
	return at;
}

static unsigned last_line(const struct config_node *node)
{
	unsigned line = node->last_line;

	for (const struct config_node *child = node->children; child != NULL; child = child->next) {
		unsigned of_child = last_line(child);

		line = of_child > line ? of_child : line;
	}
	if (node->value != NULL && last_line(node->value) > line)
		line = last_line(node->value);
	return line;
}

static size_t indent_of(const struct config_text *in, unsigned line)
{
	size_t at = line_at(in, line), n = 0;

	while (at + n < in->size && in->text[at + n] == ' ')
		n++;
	return n;
}

static const struct config_node *find_key(const struct editor *e, const char *key)
{
	const struct config_node *child = e->root != NULL ? e->root->children : NULL;

	while (child != NULL && strcmp(child->text, key) != 0)
		child = child->next;
	return child;
}

/* ---- what is written ---- */

/* A path of the host as a person would write it. */
static void put_location(FILE *out, const char *home, const char *path)
{
	size_t n = strlen(home);
	char *text = NULL;

	if (strncmp(path, home, n) == 0 && (path[n] == '/' || path[n] == '\0') && n > 1 &&
	    asprintf(&text, "~%s", path + n) >= 0)
		path = text;
	config_yaml_quote(out, path);
	free(text);
}

static void put_lead(FILE *out, size_t indent, const char *lead)
{
	fprintf(out, "%*s%s", (int)indent, "", lead);
}

static void put_mount(const struct editor *e, FILE *out, size_t indent, const struct config_mount *mount)
{
	put_lead(out, indent, "- location: ");
	put_location(out, e->in->home, mount->location.path);
	fputs(e->eol, out);
	if (strcmp(mount->location.path, mount->mount_point) != 0) {
		put_lead(out, indent, "  mountPoint: ");
		config_yaml_quote(out, mount->mount_point);
		fputs(e->eol, out);
	}
	if (mount->writable) {
		put_lead(out, indent, "  writable: true");
		fputs(e->eol, out);
	}
}

static void put_range(const struct editor *e, FILE *out, size_t indent, const char *side, unsigned single,
		      struct rule_range range)
{
	if (single != 0 || range.first == range.last)
		fprintf(out, "%*s%sPort: %u%s", (int)indent, "", side, single != 0 ? single : range.first, e->eol);
	else
		fprintf(out, "%*s%sPortRange: [%u, %u]%s", (int)indent, "", side, range.first, range.last, e->eol);
}

static void put_address(const struct editor *e, FILE *out, size_t indent, const char *side, const char *address)
{
	if (address == NULL)
		return;
	fprintf(out, "%*s%sIP: ", (int)indent, "", side);
	config_yaml_quote(out, address);
	fputs(e->eol, out);
}

/* Rules that a command makes: two ends and three words. */
static void put_rule(const struct editor *e, FILE *out, size_t indent, const struct rule_spec *rule)
{
	put_lead(out, indent, "- ");
	put_range(e, out, 0, "guest", rule->guest_port, rule->guest_port_range);
	put_address(e, out, indent + 2, "guest", rule->guest_ip);
	if (!rule->ignore)
		put_range(e, out, indent + 2, "host", rule->host_port, rule->host_port_range);
	put_address(e, out, indent + 2, "host", rule->host_ip);
	if (rule->proto != RULE_PROTO_ANY)
		fprintf(out, "%*sproto: %s%s", (int)indent + 2, "", rule->proto == RULE_PROTO_TCP ? "tcp" : "udp",
			e->eol);
	if (rule->ignore || rule->is_static)
		fprintf(out, "%*s%s: true%s", (int)indent + 2, "", rule->ignore ? "ignore" : "static", e->eol);
}

static void put_entry(const struct editor *e, FILE *out, size_t indent, const struct by_hand_change *change)
{
	if (change->kind == BY_HAND_MOUNT)
		put_mount(e, out, indent, &change->mount);
	else
		put_rule(e, out, indent, &change->rule);
}

static int refuse_and_show(struct editor *e, const struct by_hand_change *change, unsigned line, const char *what)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return -ENOMEM;
	put_entry(e, out, 0, change);
	fclose(out);
	for (char *p = text; p != NULL && *p != '\0'; p++) /* one line, as a mapping in braces */
		if (*p == '\n')
			*p = p[1] != '\0' ? ',' : '\0';
	refuse(e, "%s:%u: %s; add this by hand: {%s}", e->in->file, line, what, text + 2);
	free(text);
	return -EINVAL;
}

/* ---- adding ---- */

static FILE *begin_insert(struct editor *e, size_t at, size_t resume)
{
	e->at = at;
	e->resume = resume;
	return open_memstream(&e->insert, &e->insert_size);
}

/* At the end of the text, the list with its key. */
static int add_list(struct editor *e, const struct config *before, const struct by_hand_change *change)
{
	bool is_mount = change->kind == BY_HAND_MOUNT;
	FILE *out = begin_insert(e, e->in->size, e->in->size);

	if (out == NULL)
		return -ENOMEM;
	if (e->in->size > 0 && e->in->text[e->in->size - 1] != '\n')
		fputs(e->eol, out);
	fprintf(out, "%s:%s", is_mount ? "mounts" : "portForwards", e->eol);
	/* The default one, which would be lost by the key. */
	if (is_mount && before->mount_count > 0 &&
	    strcmp(before->mounts[0].mount_point, change->mount.mount_point) != 0)
		fprintf(out, "- location: \"~\"%s", e->eol);
	put_entry(e, out, 0, change);
	fclose(out);
	return 0;
}

/* "key: []" becomes "key:" with an entry. */
static int fill_empty_list(struct editor *e, const struct config_node *key, const struct by_hand_change *change)
{
	size_t begin = line_at(e->in, key->value->line), end = line_at(e->in, key->value->line + 1);
	const char *brackets = memmem(e->in->text + begin, end - begin, "[]", 2);
	FILE *out;

	if (key->value->line != key->line || brackets == NULL)
		return refuse_and_show(e, change, key->value->line, "the list is in brackets");
	begin = (size_t)(brackets - e->in->text);
	while (begin > 0 && e->in->text[begin - 1] == ' ')
		begin--;
	out = begin_insert(e, begin, end);
	if (out == NULL)
		return -ENOMEM;
	fwrite(brackets + 2, 1, e->in->text + end - brackets - 2, out); /* a comment stays where it was */
	if (end == e->in->size && (end == 0 || e->in->text[end - 1] != '\n'))
		fputs(e->eol, out);
	put_entry(e, out, 0, change);
	fclose(out);
	return 0;
}

static int add_entry(struct editor *e, const char *name, const struct config *before,
		     const struct by_hand_change *change)
{
	const struct config_node *key = find_key(e, name), *list = key != NULL ? key->value : NULL;
	bool first = change->kind != BY_HAND_MOUNT;
	size_t at;
	FILE *out;

	if (key == NULL)
		return add_list(e, before, change);
	if (list->flow && list->children == NULL)
		return fill_empty_list(e, key, change);
	if (list->flow || list->children == NULL)
		return refuse_and_show(e, change, list->line, "the list is in brackets");
	at = line_at(e->in, first ? key->line + 1 : last_line(list) + 1);
	out = begin_insert(e, at, at);
	if (out == NULL)
		return -ENOMEM;
	if (at > 0 && e->in->text[at - 1] != '\n')
		fputs(e->eol, out);
	put_entry(e, out, indent_of(e->in, list->children->line), change);
	fclose(out);
	return 0;
}

/* ---- removing ---- */

/* The list's only entry: [] takes its place. */
static int empty_list(struct editor *e, const struct config_node *key)
{
	const struct config_node *entry = key->value->children;
	size_t line = line_at(e->in, key->line), from = line_at(e->in, entry->line);
	const char *colon = memchr(e->in->text + line, ':', e->in->size - line);
	FILE *out;

	if (colon == NULL || entry->line == key->line)
		return refuse(e, "%s:%u: the list stands on one line with its key; remove it by hand", e->in->file,
			      key->line);
	out = begin_insert(e, (size_t)(colon - e->in->text) + 1, line_at(e->in, last_line(entry) + 1));
	if (out == NULL)
		return -ENOMEM;
	fputs(" []", out);
	fwrite(colon + 1, 1, e->in->text + from - colon - 1, out);
	fclose(out);
	return 0;
}

static int remove_entry(struct editor *e, const struct config_node *key, size_t index)
{
	const struct config_node *entry = key->value->children;

	if (key->value->flow)
		return refuse(e, "%s:%u: the list is in brackets; remove entry %zu of it by hand", e->in->file,
			      key->value->line, index + 1);
	if (entry->next == NULL)
		return empty_list(e, key);
	for (; index > 0; index--)
		entry = entry->next;
	e->at = line_at(e->in, entry->line);
	e->resume = line_at(e->in, last_line(entry) + 1);
	return 0;
}

static int remove_mount(struct editor *e, const struct config *before, const struct by_hand_change *change)
{
	const struct config_node *key = find_key(e, "mounts");
	FILE *out;

	for (size_t i = 0; key != NULL && i < before->mount_count; i++)
		if (strcmp(before->mounts[i].mount_point, change->mount.mount_point) == 0)
			return remove_entry(e, key, i);
	if (key != NULL || config_find_mount(before, change->mount.mount_point) == NULL)
		return 0; /* it is not there */
	out = begin_insert(e, e->in->size, e->in->size);
	if (out == NULL)
		return -ENOMEM;
	if (e->in->size > 0 && e->in->text[e->in->size - 1] != '\n')
		fputs(e->eol, out);
	fprintf(out, "mounts: []%s", e->eol);
	fclose(out);
	return 0;
}

static int remove_rule(struct editor *e, const struct config *before, const struct by_hand_change *change)
{
	const struct config_node *key = find_key(e, "portForwards");

	for (size_t i = 0; key != NULL && i < before->forward_count; i++)
		if (config_forward_equal(&before->forwards[i], &change->rule))
			return remove_entry(e, key, i);
	return 0;
}

/* ---- the whole ---- */

static int make_edit(struct editor *e, const struct config *before, const struct by_hand_change *change)
{
	const struct config_mount *there;

	e->at = e->resume = e->in->size;
	if (e->root != NULL && e->root->flow)
		return refuse(e, "%s: the whole file is in braces; change it by hand", e->in->file);
	switch (change->kind) {
	case BY_HAND_MOUNT:
		there = config_find_mount(before, change->mount.mount_point);
		if (there != NULL && !before->default_mounts && there->location.line != 0)
			return refuse(e, "%s:%u: there is another mount at %s; change it by hand", e->in->file,
				      there->location.line, there->mount_point);
		return add_entry(e, "mounts", before, change);
	case BY_HAND_UMOUNT:
		return remove_mount(e, before, change);
	case BY_HAND_RULE:
		return add_entry(e, "portForwards", before, change);
	case BY_HAND_DROP_RULE:
		return remove_rule(e, before, change);
	case BY_HAND_KINDS:
		break;
	}
	return -EINVAL;
}

static char *edited_text(const struct editor *e, size_t *size)
{
	size_t rest = e->in->size - e->resume;
	char *text = malloc(e->at + e->insert_size + rest + 1);

	if (text == NULL)
		return NULL;
	memcpy(text, e->in->text, e->at);
	if (e->insert_size > 0)
		memcpy(text + e->at, e->insert, e->insert_size);
	memcpy(text + e->at + e->insert_size, e->in->text + e->resume, rest);
	*size = e->at + e->insert_size + rest;
	return text;
}

static struct config *parse(const struct config_text *in, const char *text, size_t size)
{
	struct problems *problems = problems_new();
	struct config *config = NULL;

	if (problems != NULL && config_parse(in->file, text, size, in->home, problems, &config) < 0)
		config = NULL;
	problems_free(problems);
	return config;
}

/* The configuration that the edited text has to be. */
static bool is_right(const struct config_text *in, const char *text, size_t size, const struct config *before,
		     const struct by_hand_change *change)
{
	struct config *wanted = config_clone(before), *got = parse(in, text, size);
	bool right =
		wanted != NULL && got != NULL && by_hand_apply_one(change, wanted) == 0 && config_equal(wanted, got);

	config_free(wanted);
	config_free(got);
	return right;
}

static int edit_with(struct editor *e, const struct config *before, const struct by_hand_change *change)
{
	char *text;
	size_t size = 0;
	int rc = make_edit(e, before, change);

	if (rc < 0)
		return rc;
	text = edited_text(e, &size);
	if (text == NULL)
		return -ENOMEM;
	if (!is_right(e->in, text, size, before, change)) {
		free(text);
		return refuse(e, "%s: `%s` cannot be written into this file safely; change it by hand", e->in->file,
			      change->words);
	}
	free(e->in->text);
	e->in->text = text;
	e->in->size = size;
	return 0;
}

int config_edit(struct config_text *in, const struct by_hand_change *change, char *why)
{
	struct editor e = {.in = in, .why = why, .eol = memmem(in->text, in->size, "\r\n", 2) ? "\r\n" : "\n"};
	struct config *before = parse(in, in->text, in->size);
	struct problems *problems = problems_new();
	int rc = problems != NULL ? config_yaml_read(in->file, in->text, in->size, problems, &e.root) : -ENOMEM;

	if (rc == 0 && before != NULL)
		rc = edit_with(&e, before, change);
	else if (rc != -ENOMEM)
		rc = refuse(&e, "%s: the file has mistakes now; `homeport config check` tells them", in->file);
	config_free(before);
	config_node_free(e.root);
	problems_free(problems);
	free(e.insert);
	return rc;
}
