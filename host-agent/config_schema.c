/* SPDX-License-Identifier: MIT */
/*
 * The schema of NAME.yaml, as tables, and what is checked of one entry when it has been read.
 *
 * A row says where a key lives in struct config, of which type it is and between which bounds; reading, writing,
 * comparing and freeing walk the rows (config_fields.c). A new key is a row here, and an entry in homeport.yaml.5. A
 * key of a later version has a row too (NOT_YET), so that nobody takes its message for a typing mistake.
 */
#include "config_schema.h"

#include <errno.h>
#include <string.h>

#include "config.h"
#include "host_arg.h"

#define FIELD(type_, struct_, member_) .type = &config_type_##type_, .offset = offsetof(struct struct_, member_)
#define NOT_YET(key_)                                       \
	{                                                   \
		.key = (key_), .type = &config_type_not_yet \
	}

static void finish_mount(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
			 void *item);
static void finish_forward(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
			   void *item);
static void finish_id_range(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
			    void *item);
static void prepare_mount(void *item);
static void prepare_id_range(void *item);
static bool omit_uid_map(const void *whole);
static bool omit_gid_map(const void *whole);
static bool omit_mounts(const void *whole);

const struct config_field config_ssh_fields[] = {
	{.key = "host", FIELD(text, config_ssh, host), .check = host_arg_check_host},
	{.key = "port", FIELD(port, config_ssh, port)},
	{.key = "user", FIELD(text, config_ssh, user), .check = host_arg_check_user},
	{.key = "configFile", FIELD(host_path, config_ssh, config_file)},
	{.key = "identityFile", FIELD(host_path, config_ssh, identity_file)},
	{.key = "hostKey", FIELD(text, config_ssh, host_key), .check = host_arg_check_key},
	{.key = "options",
	 FIELD(texts, config_ssh, options),
	 .check = host_arg_check_option,
	 .item_size = sizeof(char *),
	 .count_offset = offsetof(struct config_ssh, option_count) - offsetof(struct config_ssh, options),
	 .most = CONFIG_SSH_OPTIONS_MAX},
	{0},
};

static const struct config_field id_range_fields[] = {
	{.key = "host", FIELD(count, id_range, host), .most = ID_MOST},
	{.key = "guest", FIELD(count, id_range, guest), .most = ID_MOST},
	{.key = "count", FIELD(count, id_range, count), .least = 1, .most = ID_MOST + 1},
	{0},
};

#define ID_MAP(key_, member_, omit_)                                                                             \
	{                                                                                                        \
		.key = (key_), FIELD(list, config_mount, member_), .fields = id_range_fields,                    \
		.item_size = sizeof(struct id_range),                                                            \
		.count_offset =                                                                                  \
			offsetof(struct config_mount, member_##_count) - offsetof(struct config_mount, member_), \
		.most = ID_RANGES_MAX, .prepare = prepare_id_range, .finish = finish_id_range, .omit = (omit_),  \
	}

const struct config_field config_mount_fields[] = {
	{.key = "location", FIELD(host_path, config_mount, location)},
	{.key = "mountPoint", FIELD(guest_path, config_mount, mount_point)},
	{.key = "writable", FIELD(bool, config_mount, writable)},
	{.key = "mask", FIELD(bool, config_mount, mask)},
	{.key = "locks", FIELD(locks, config_mount, host_locks)},
	{.key = "ownership", FIELD(ownership, config_mount, virtual_owners)},
	NOT_YET("sync"),
	{.key = "acl", FIELD(flag, config_mount, acl)},
	ID_MAP("uidMap", uid_map, omit_uid_map),
	ID_MAP("gidMap", gid_map, omit_gid_map),
	{0},
};

const struct config_field config_forward_fields[] = {
	{.key = "proto", FIELD(proto, rule_spec, proto)},
	{.key = "guestIPMustBeZero", FIELD(choice, rule_spec, guest_ip_must_be_zero)},
	{.key = "guestIP", FIELD(text, rule_spec, guest_ip)},
	{.key = "guestPort", FIELD(port, rule_spec, guest_port)},
	{.key = "guestPortRange", FIELD(range, rule_spec, guest_port_range)},
	{.key = "guestSocket", FIELD(text, rule_spec, guest_socket)},
	{.key = "hostIP", FIELD(text, rule_spec, host_ip)},
	{.key = "hostPort", FIELD(port, rule_spec, host_port)},
	{.key = "hostPortRange", FIELD(range, rule_spec, host_port_range)},
	{.key = "hostSocket", FIELD(text, rule_spec, host_socket)},
	{.key = "process", FIELD(text, rule_spec, process)},
	{.key = "user", FIELD(text, rule_spec, user)},
	{.key = "unit", FIELD(text, rule_spec, unit)},
	{.key = "reverse", FIELD(never, rule_spec, reverse)},
	{.key = "access", FIELD(access, rule_spec, self_only)},
	{.key = "ignore", FIELD(flag, rule_spec, ignore)},
	{.key = "static", FIELD(flag, rule_spec, is_static)},
	{0},
};

_Static_assert(sizeof(config_forward_fields) / sizeof(config_forward_fields[0]) <= CONFIG_FIELDS_MAX + 1,
	       "the longest table");

const struct config_field config_top_fields[] = {
	[CONFIG_TOP_SSH] = {.key = "ssh", FIELD(section, config, ssh), .fields = config_ssh_fields},
	[CONFIG_TOP_MOUNTS] = {.key = "mounts",
			       FIELD(list, config, mounts),
			       .fields = config_mount_fields,
			       .item_size = sizeof(struct config_mount),
			       .count_offset = offsetof(struct config, mount_count) - offsetof(struct config, mounts),
			       .most = CONFIG_MOUNTS_MAX,
			       .prepare = prepare_mount,
			       .finish = finish_mount,
			       .omit = omit_mounts,
			       .live = true},
	{.key = "portForwards",
	 FIELD(list, config, forwards),
	 .fields = config_forward_fields,
	 .item_size = sizeof(struct rule_spec),
	 .count_offset = offsetof(struct config, forward_count) - offsetof(struct config, forwards),
	 .most = RULES_MAX,
	 .finish = finish_forward,
	 .live = true},
	{.key = "sessionTimeout", FIELD(duration, config, session_timeout_s), .most = CONFIG_TIMEOUT_MOST_S},
	{.key = "maxForwards", FIELD(count, config, max_forwards), .most = CONFIG_MAX_FORWARDS_MOST, .live = true},
	{.key = "guestCommand", FIELD(text, config, guest_command)},
	NOT_YET("propagateProxyEnv"),
	NOT_YET("hostResolver"),
	NOT_YET("env"),
	{0},
};

/* ---- a mount ---- */

static void prepare_mount(void *item)
{
	((struct config_mount *)item)->mask = true;
}

/* The default mounts are not written, or they would be read back as asked for. */
static bool omit_mounts(const void *whole)
{
	return ((const struct config *)whole)->default_mounts;
}

static void prepare_id_range(void *item)
{
	((struct id_range *)item)->count = 1;
}

static bool omit_uid_map(const void *whole)
{
	return ((const struct config_mount *)whole)->uid_map_count == 0;
}

static bool omit_gid_map(const void *whole)
{
	return ((const struct config_mount *)whole)->gid_map_count == 0;
}

static void finish_id_range(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
			    void *item)
{
	struct problem_place place = {reader->file, node->line, node->column};
	struct id_map alone = {0};

	for (const struct config_field *field = id_range_fields; field < id_range_fields + 2; field++)
		if (config_node_get(node, field->key) == NULL)
			problems_add(reader->problems, PROBLEM_ERROR, place,
				     "%s: is missing; say which number it is there", field->key);
	if (sound && id_map_add(&alone, item) == -ERANGE)
		problems_add(reader->problems, PROBLEM_ERROR, place, "count: the last number is beyond %u", ID_MOST);
}

/* Each entry against those before it, once all are numbers. */
static void check_id_map(struct config_reader *reader, const struct config_node *list, const char *key,
			 const struct id_range *ranges, size_t count)
{
	struct id_map map = {0};

	for (size_t i = 0; i < count; i++) {
		const struct config_node *node = list->children;

		if (id_map_add(&map, &ranges[i]) == 0)
			continue;
		for (size_t n = 0; n < i; n++)
			node = node->next;
		problems_add(reader->problems, PROBLEM_ERROR,
			     (struct problem_place){reader->file, node->line, node->column},
			     "%s: an entry before has some of these numbers of the host or of the guest; each may be "
			     "in one",
			     key);
	}
}

static void finish_mount(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
			 void *item)
{
	struct config_mount *mount = item;
	struct problem_place place = {reader->file, node->line, node->column};
	const char *wrong = NULL;
	int r;

	if (config_node_get(node, "location") == NULL)
		problems_add(reader->problems, PROBLEM_ERROR, place,
			     "location: is missing; say which folder of the host this mount shows");
	if (mount->virtual_owners && mount->acl)
		problems_add(reader->problems, PROBLEM_ERROR, place,
			     "acl: true does not go with ownership: virtual; leave one of them out");
	if (sound) {
		check_id_map(reader, config_node_get(node, "uidMap"), "uidMap", mount->uid_map, mount->uid_map_count);
		check_id_map(reader, config_node_get(node, "gidMap"), "gidMap", mount->gid_map, mount->gid_map_count);
	}
	if (mount->mount_point != NULL || mount->location.path == NULL || config_node_get(node, "mountPoint") != NULL)
		return;
	r = config_path_guest(mount->location.path, &mount->mount_point, &wrong);
	reader->no_memory |= r == -ENOMEM;
	if (r == -EINVAL)
		problems_add(reader->problems, PROBLEM_ERROR, place,
			     "mountPoint: \"%.200s\" (the default, the location) %s", mount->location.path, wrong);
}

/* ---- a port rule ---- */

void config_warn_forward(const struct rule_spec *spec, struct problem_place place, struct problems *problems)
{
	bool single22 =
		spec->guest_port == 22 || (spec->guest_port_range.first == 22 && spec->guest_port_range.last == 22);

	if (!spec->ignore && (spec->guest_socket != NULL || spec->host_socket != NULL))
		problems_add(problems, PROBLEM_WARNING, place, "%s: not forwarded by this version (ports only)",
			     spec->origin);
	else if (!spec->ignore && single22)
		problems_add(problems, PROBLEM_WARNING, place,
			     "%s: port 22 of the guest is never forwarded; the rule has no effect", spec->origin);
}

/* The place of the key a sentence begins with, or of the whole entry. */
static struct problem_place place_of_sentence(struct config_reader *reader, const struct config_node *node,
					      const char *sentence)
{
	const struct config_node *at = node;
	size_t length = strcspn(sentence, ":");

	for (const struct config_node *key = node->children; key != NULL; key = key->next)
		if (strlen(key->text) == length && strncmp(key->text, sentence, length) == 0)
			at = key->value;
	return (struct problem_place){reader->file, at->line, at->column};
}

static void finish_forward(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
			   void *item)
{
	struct rule_spec *spec = item;
	char why[RULE_WHY_MAX], origin[48];
	int r;

	snprintf(origin, sizeof(origin), "portForwards[%zu]", index);
	spec->origin = config_copy(reader, origin);
	if (spec->origin == NULL || !sound)
		return;
	r = rules_check(spec, why);
	reader->no_memory |= r == -ENOMEM;
	if (r == -EINVAL)
		problems_add(reader->problems, PROBLEM_ERROR, place_of_sentence(reader, node, why), "%s", why);
	else if (r == 0)
		config_warn_forward(spec, (struct problem_place){reader->file, node->line, node->column},
				    reader->problems);
}
