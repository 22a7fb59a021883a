/* SPDX-License-Identifier: MIT */
/*
 * A configuration as a whole: made of defaults or of YAML, changed, shown, compared. Which keys there are is said by
 * tables (config_schema.c) and done by walking them (config_fields.c); here stands what no row can say, such as that no
 * two mounts have one mount point.
 *
 * Reading goes on after a mistake, so that a person hears of all of them at once; a configuration with one is never
 * used.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_schema.h"

/* ---- mounts ---- */

static void check_mount_points(struct config_reader *reader, const struct config *config)
{
	for (size_t i = 1; i < config->mount_count; i++) {
		const struct config_mount *mount = &config->mounts[i];

		for (size_t j = 0; mount->mount_point != NULL && j < i; j++) {
			const struct config_mount *first = &config->mounts[j];

			if (first->mount_point == NULL || strcmp(mount->mount_point, first->mount_point) != 0)
				continue;
			problems_add(reader->problems, PROBLEM_ERROR,
				     (struct problem_place){reader->file, mount->location.line, mount->location.column},
				     "mountPoint: \"%.200s\" is taken by the mount in line %u; name another",
				     mount->mount_point, first->location.line);
			break;
		}
	}
}

void config_mount_clear(struct config_mount *mount)
{
	config_fields_free(config_mount_fields, mount);
}

const struct config_mount *config_find_mount(const struct config *config, const char *mount_point)
{
	for (size_t i = 0; i < config->mount_count; i++)
		if (strcmp(config->mounts[i].mount_point, mount_point) == 0)
			return &config->mounts[i];
	return NULL;
}

bool config_mount_equal(const struct config_mount *a, const struct config_mount *b)
{
	return config_fields_equal(config_mount_fields, a, b);
}

bool config_same_command(const struct config *a, const struct config *b)
{
	return config_field_equal(&config_top_fields[CONFIG_TOP_ON_FORWARD], a, b);
}

void config_remove_mount(struct config *config, const char *mount_point)
{
	for (size_t i = 0; i < config->mount_count; i++) {
		if (strcmp(config->mounts[i].mount_point, mount_point) != 0)
			continue;
		config_mount_clear(&config->mounts[i]);
		memmove(&config->mounts[i], &config->mounts[i + 1],
			(config->mount_count - i - 1) * sizeof(config->mounts[0]));
		config->mount_count--;
		return;
	}
}

void config_clear_mounts(struct config *config)
{
	const struct config_field *field = &config_top_fields[CONFIG_TOP_MOUNTS];

	field->type->free(field, &config->mounts);
	config->default_mounts = false;
}

int config_add_mount(struct config *config, struct config_mount *mount)
{
	struct config_mount *mounts;

	if (config->default_mounts)
		config_clear_mounts(config);
	for (size_t i = 0; i < config->mount_count; i++) {
		if (strcmp(config->mounts[i].mount_point, mount->mount_point) == 0) {
			config_mount_clear(&config->mounts[i]);
			config->mounts[i] = *mount;
			return 0;
		}
	}
	if (config->mount_count == CONFIG_MOUNTS_MAX) {
		config_mount_clear(mount);
		return -ENOSPC;
	}
	mounts = reallocarray(config->mounts, config->mount_count + 1, sizeof(*mounts));
	if (mounts == NULL) {
		config_mount_clear(mount);
		return -ENOMEM;
	}
	mounts[config->mount_count++] = *mount;
	config->mounts = mounts;
	return 0;
}

static int add_default_mount(struct config *config, const char *home)
{
	struct config_mount mount = {.mask = true};
	const char *wrong = NULL;
	int r = config_path_expand("~", home, &mount.location.path, &wrong);

	if (r == 0)
		r = config_path_guest(mount.location.path, &mount.mount_point, &wrong);
	if (r == 0 && (mount.location.where = strdup("homeport: the default mount")) == NULL)
		r = -ENOMEM;
	if (r < 0) {
		config_mount_clear(&mount);
		/* A home of / cannot be shown at the same path: there is no default then, and `config show` says so. */
		return r == -EINVAL ? 0 : r;
	}
	r = config_add_mount(config, &mount);
	config->default_mounts = r == 0;
	return r;
}

/* ---- port rules ---- */

void config_forward_clear(struct rule_spec *spec)
{
	config_fields_free(config_forward_fields, spec);
	free((char *)spec->origin);
	spec->origin = NULL;
}

bool config_forward_equal(const struct rule_spec *a, const struct rule_spec *b)
{
	return config_fields_equal(config_forward_fields, a, b);
}

void config_remove_forward(struct config *config, const struct rule_spec *spec)
{
	for (size_t i = config->forward_count; i-- > 0;) {
		if (!config_forward_equal(&config->forwards[i], spec))
			continue;
		config_forward_clear(&config->forwards[i]);
		memmove(&config->forwards[i], &config->forwards[i + 1],
			(config->forward_count - i - 1) * sizeof(config->forwards[0]));
		config->forward_count--;
	}
}

int config_put_forwards_first(struct config *config, struct rule_spec *specs, size_t count)
{
	struct rule_spec *forwards = NULL;

	if (count <= RULES_MAX - config->forward_count)
		forwards = reallocarray(config->forwards, config->forward_count + count + 1, sizeof(*forwards));
	if (forwards == NULL) {
		for (size_t i = 0; i < count; i++)
			config_forward_clear(&specs[i]);
		return count > RULES_MAX - config->forward_count ? -ENOSPC : -ENOMEM;
	}
	memmove(forwards + count, forwards, config->forward_count * sizeof(*forwards));
	memcpy(forwards, specs, count * sizeof(*forwards));
	config->forwards = forwards;
	config->forward_count += count;
	return 0;
}

struct rules *config_rules(const struct config *config, uint16_t ssh_guest_port)
{
	struct rules *rules = rules_new(ssh_guest_port);
	char why[RULE_WHY_MAX];

	for (size_t i = 0; rules != NULL && i < config->forward_count; i++) {
		/* Each rule was checked when it came in: what can fail here is memory. */
		if (rules_add(rules, &config->forwards[i], why) < 0) {
			rules_free(rules);
			return NULL;
		}
	}
	return rules;
}

void config_unmark_by_hand(struct config *config)
{
	for (size_t i = 0; i < config->mount_count; i++)
		config->mounts[i].by_hand = false;
	for (size_t i = 0; i < config->forward_count; i++)
		config->forwards[i].by_hand = false;
}

/* ---- the whole ---- */

static struct config *config_blank(void)
{
	struct config *config = calloc(1, sizeof(*config));

	if (config != NULL) {
		config->session_timeout_s = SESSION_TIMEOUT_S;
		config->max_forwards = CONFIG_MAX_FORWARDS;
		config->propagate_proxy_env = true;
		config->ssh.direct = true;
	}
	return config;
}

struct config *config_new(const char *home)
{
	struct config *config = config_blank();

	if (config != NULL && add_default_mount(config, home) < 0) {
		config_free(config);
		return NULL;
	}
	return config;
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->forward_count; i++)
		config_forward_clear(&config->forwards[i]);
	config_fields_free(config_top_fields, config);
	free(config);
}

int config_forward_clone(const struct rule_spec *spec, struct rule_spec *out)
{
	int rc;

	*out = *spec;
	rc = config_fields_own(config_forward_fields, out);
	if (spec->origin != NULL)
		out->origin = strdup(spec->origin);
	if (rc == 0 && (spec->origin == NULL || out->origin != NULL))
		return 0;
	config_forward_clear(out);
	return -ENOMEM;
}

int config_mount_clone(const struct config_mount *mount, struct config_mount *out)
{
	*out = *mount;
	if (config_fields_own(config_mount_fields, out) == 0)
		return 0;
	config_mount_clear(out);
	return -ENOMEM;
}

struct config *config_clone(const struct config *config)
{
	struct config *clone = malloc(sizeof(*clone));
	int rc;

	if (clone == NULL)
		return NULL;
	*clone = *config;
	rc = config_fields_own(config_top_fields, clone);
	for (size_t i = 0; i < clone->forward_count; i++) { /* which is in no table */
		const char *origin = config->forwards[i].origin;

		clone->forwards[i].origin = origin != NULL ? strdup(origin) : NULL;
		if (origin != NULL && clone->forwards[i].origin == NULL)
			rc = -ENOMEM;
	}
	if (rc == 0)
		return clone;
	config_free(clone);
	return NULL;
}

#define SWAP(member_)                                         \
	do {                                                  \
		__typeof__(a->member_) swapped_ = a->member_; \
		a->member_ = b->member_;                      \
		b->member_ = swapped_;                        \
	} while (0)

void config_swap_live(struct config *a, struct config *b)
{
	SWAP(mounts);
	SWAP(mount_count);
	SWAP(default_mounts);
	SWAP(forwards);
	SWAP(forward_count);
	SWAP(on_forward);
	SWAP(on_forward_count);
	SWAP(env);
	SWAP(env_count);
	SWAP(propagate_proxy_env);
	SWAP(resolver);
	if (a->max_forwards != 0 && b->max_forwards != 0)
		SWAP(max_forwards);
}

static int add_default_where_not_asked(const struct config_node *root, const char *home, struct config *config)
{
	return root == NULL || config_node_get(root, "mounts") == NULL ? add_default_mount(config, home) : 0;
}

static void read_root(struct config_reader *reader, const struct config_node *root, struct config *config)
{
	if (root != NULL && root->kind == CONFIG_NODE_MAP)
		config_fields_read(reader, config_top_fields, root, config);
	else if (root != NULL && root->kind != CONFIG_NODE_BAD &&
		 !(root->kind == CONFIG_NODE_SCALAR && root->plain && root->text[0] == '\0'))
		problems_add(
			reader->problems, PROBLEM_ERROR, (struct problem_place){reader->file, root->line, root->column},
			"expected keys such as \"ssh:\" and \"mounts:\", found %s", config_node_kind_name(root->kind));
	check_mount_points(reader, config);
}

/* *out is also made where something is wrong. */
static int read_tree(const char *file, const struct config_node *root, const char *home, struct problems *problems,
		     struct config **out)
{
	struct config_reader reader = {.file = file, .home = home, .problems = problems};

	*out = config_blank();
	if (*out == NULL)
		return -ENOMEM;
	read_root(&reader, root, *out);
	if (reader.no_memory)
		return -ENOMEM;
	return problems_count(problems, PROBLEM_ERROR) == 0 ? 0 : -EINVAL;
}

int config_parse_tree(const char *file, const struct config_node *root, const char *home, struct problems *problems,
		      struct config **out)
{
	struct config *config;
	int r = read_tree(file, root, home, problems, &config);

	if (r == 0)
		*out = config;
	else
		config_free(config);
	return r;
}

int config_parse_rest(const char *file, const char *text, size_t size, const char *home, struct problems *problems,
		      struct config **out)
{
	struct config_node *root = NULL;
	int r;

	*out = NULL;
	if (size > CONFIG_SIZE_MAX) {
		problems_add(problems, PROBLEM_ERROR, (struct problem_place){file, 0, 0},
			     "is larger than %u bytes; a configuration is shorter", CONFIG_SIZE_MAX);
		return -EINVAL;
	}
	r = config_yaml_read(file, text, size, problems, &root);
	if (r < 0)
		return r;
	r = read_tree(file, root, home, problems, out);
	if (*out != NULL && add_default_where_not_asked(root, home, *out) < 0)
		r = -ENOMEM;
	config_node_free(root);
	return r;
}

int config_parse(const char *file, const char *text, size_t size, const char *home, struct problems *problems,
		 struct config **out)
{
	struct config *config;
	int r = config_parse_rest(file, text, size, home, problems, &config);

	if (r == 0)
		*out = config;
	else
		config_free(config);
	return r;
}

void config_show(const struct config *config, FILE *out)
{
	if (config->default_mounts) {
		fputs("# mounts: not given; the default is ", out);
		config_yaml_quote(out, config->mounts[0].location.path);
		fputs(", read-only, at the same path\n", out);
	}
	config_fields_write(out, config_top_fields, config, 0);
}

static void describe_mount(const struct config_mount *mount, FILE *out)
{
	if (mount == NULL)
		fputs("not mounted", out);
	else
		fprintf(out, "%s, %s%s", mount->location.path, mount->writable ? "writable" : "read-only",
			mount->mask ? "" : ", secrets shown");
}

/* Whether what describe_mount() tells is the same. */
static bool same_description(const struct config_mount *a, const struct config_mount *b)
{
	return strcmp(a->location.path, b->location.path) == 0 && a->writable == b->writable && a->mask == b->mask;
}

/* "uidMap, locks": the keys whose values differ. */
static void name_differences(const struct config_mount *a, const struct config_mount *b, FILE *out)
{
	const char *comma = "";

	for (const struct config_field *field = config_mount_fields; field->key != NULL; field++) {
		if (config_field_equal(field, a, b))
			continue;
		fprintf(out, "%s%s", comma, field->key);
		comma = ", ";
	}
}

static size_t diff_mount(const char *mount_point, const struct config_mount *running, const struct config_mount *wanted,
			 FILE *out)
{
	if (running != NULL && wanted != NULL && config_fields_equal(config_mount_fields, running, wanted))
		return 0;
	fprintf(out, "mount %s: ", mount_point);
	if (running != NULL && wanted != NULL && same_description(running, wanted)) {
		fputs("other ", out);
		name_differences(running, wanted, out);
		fputs(" here than wanted\n", out);
		return 1;
	}
	describe_mount(running, out);
	fputs(" here, ", out);
	describe_mount(wanted, out);
	fputs(" wanted\n", out);
	return 1;
}

static size_t diff_mounts(const struct config *running, const struct config *wanted, FILE *out)
{
	size_t n = 0;

	for (size_t i = 0; i < running->mount_count; i++) {
		const char *mount_point = running->mounts[i].mount_point;

		n += diff_mount(mount_point, &running->mounts[i], config_find_mount(wanted, mount_point), out);
	}
	for (size_t i = 0; i < wanted->mount_count; i++) {
		const char *mount_point = wanted->mounts[i].mount_point;

		if (config_find_mount(running, mount_point) == NULL)
			n += diff_mount(mount_point, NULL, &wanted->mounts[i], out);
	}
	return n;
}

/* `live`: also what a running session can change. */
static size_t diff_fields(const struct config_field *fields, const char *section, const void *running,
			  const void *wanted, bool live, FILE *out)
{
	size_t n = 0;

	for (const struct config_field *field = fields; field->key != NULL; field++) {
		if (field->type == &config_type_section || field->type == &config_type_not_yet ||
		    field == &config_top_fields[CONFIG_TOP_MOUNTS] || (field->live && !live) ||
		    config_field_equal(field, running, wanted))
			continue;
		n++;
		fprintf(out, "%s%s: ", section, field->key);
		if (field->type == &config_type_list) {
			fputs("other rules here than wanted\n", out);
			continue;
		}
		config_field_write_value(out, field, running);
		fputs(" here, ", out);
		config_field_write_value(out, field, wanted);
		fputs(" wanted\n", out);
	}
	return n;
}

bool config_same_session(const struct config *a, const struct config *b)
{
	for (const struct config_field *field = config_top_fields; field->key != NULL; field++)
		if (!field->live && !config_field_equal(field, a, b))
			return false;
	return (a->max_forwards == 0) == (b->max_forwards == 0);
}

size_t config_diff_session(const struct config *running, const struct config *wanted, FILE *out)
{
	size_t n = diff_fields(config_ssh_fields, "ssh.", &running->ssh, &wanted->ssh, false, out);

	if ((running->max_forwards == 0) != (wanted->max_forwards == 0)) {
		fprintf(out, "maxForwards: %u here, %u wanted\n", running->max_forwards, wanted->max_forwards);
		n++;
	}
	return n + diff_fields(config_top_fields, "", running, wanted, false, out);
}

size_t config_diff(const struct config *running, const struct config *wanted, FILE *out)
{
	return diff_fields(config_ssh_fields, "ssh.", &running->ssh, &wanted->ssh, true, out) +
	       diff_fields(config_resolver_fields, "hostResolver.", &running->resolver, &wanted->resolver, true, out) +
	       diff_mounts(running, wanted, out) + diff_fields(config_top_fields, "", running, wanted, true, out);
}

bool config_equal(const struct config *a, const struct config *b)
{
	if (a->mount_count != b->mount_count)
		return false;
	for (size_t i = 0; i < a->mount_count; i++) {
		const struct config_mount *other = config_find_mount(b, a->mounts[i].mount_point);

		if (other == NULL || !config_fields_equal(config_mount_fields, &a->mounts[i], other))
			return false;
	}
	for (const struct config_field *field = config_top_fields; field->key != NULL; field++)
		if (field != &config_top_fields[CONFIG_TOP_MOUNTS] && !config_field_equal(field, a, b))
			return false;
	return true;
}
