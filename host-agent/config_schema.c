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
	{.key = "host",
	 .about = "The host, an address or an alias; the name of this file, if not given.",
	 FIELD(text, config_ssh, host),
	 .check = host_arg_check_host},
	{.key = "port", .about = "The port of its sshd.", .example = "22", FIELD(port, config_ssh, port)},
	{.key = "user",
	 .about = "The login user.",
	 .example = "me",
	 FIELD(text, config_ssh, user),
	 .check = host_arg_check_user},
	{.key = "configFile",
	 .about = "A file to read instead of ~/.ssh/config.",
	 .example = "~/.ssh/config /etc/ssh/ssh_config",
	 FIELD(host_path, config_ssh, config_file)},
	{.key = "identityFile",
	 .about = "The private key.",
	 .example = "~/.ssh/id_ed25519 ~/.ssh/id_ecdsa ~/.ssh/id_rsa",
	 FIELD(host_path, config_ssh, identity_file)},
	{.key = "hostKey",
	 .about = "The only host key to accept, as ssh-keygen -lf prints it.",
	 .example = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	 FIELD(text, config_ssh, host_key),
	 .check = host_arg_check_key},
	{.key = "options",
	 .about = "Further options, as for ssh -o.",
	 .example = "[ConnectTimeout=10]",
	 FIELD(texts, config_ssh, options),
	 .check = host_arg_check_option,
	 .item_size = sizeof(char *),
	 .count_offset = offsetof(struct config_ssh, option_count) - offsetof(struct config_ssh, options),
	 .most = CONFIG_SSH_OPTIONS_MAX},
	{.key = "forwardAgent",
	 .about = "Whether this user's ssh-agent answers in the guest, at ~/.cache/homeport/NAME.agent there.",
	 .example = "true",
	 FIELD(flag, config_ssh, forward_agent)},
	{.key = "direct",
	 .about = "Whether the session goes directly, under TLS, where the guest is on a network of this machine.",
	 .example = "false",
	 FIELD(bool, config_ssh, direct)},
	{0},
};

static const struct config_field id_range_fields[] = {
	{.key = "host",
	 .about = "The first number on the host.",
	 .needed = "say which number it is there",
	 FIELD(count, id_range, host),
	 .most = ID_MOST},
	{.key = "guest",
	 .about = "The first number in the guest.",
	 .needed = "say which number it is there",
	 FIELD(count, id_range, guest),
	 .most = ID_MOST},
	{.key = "count",
	 .about = "How many there are from these on.",
	 FIELD(count, id_range, count),
	 .least = 1,
	 .most = ID_MOST + 1},
	{0},
};

#define ID_MAP(key_, about_, member_, omit_)                                                                     \
	{                                                                                                        \
		.key = (key_), .about = (about_), FIELD(list, config_mount, member_), .fields = id_range_fields, \
		.item_size = sizeof(struct id_range),                                                            \
		.count_offset =                                                                                  \
			offsetof(struct config_mount, member_##_count) - offsetof(struct config_mount, member_), \
		.most = ID_RANGES_MAX, .prepare = prepare_id_range, .finish = finish_id_range, .omit = (omit_),  \
	}

const struct config_field config_mount_fields[] = {
	{.key = "location",
	 .about = "The folder, as a whole path; ~ stands for the home.",
	 .needed = "say which folder of the host this mount shows",
	 FIELD(host_path, config_mount, location)},
	{.key = "mountPoint",
	 .about = "Where the guest sees it; the location, if not given.",
	 FIELD(guest_path, config_mount, mount_point)},
	{.key = "writable",
	 .about = "Whether the guest may change what is in it.",
	 FIELD(bool, config_mount, writable)},
	{.key = "mask",
	 .about = "Whether keys, tokens and other secrets of the home are as if absent; true, if not given.",
	 FIELD(bool, config_mount, mask)},
	{.key = "locks",
	 .about = "guest: locks hold among programs of the guest; host: also against those of the host.",
	 FIELD(locks, config_mount, host_locks)},
	{.key = "ownership",
	 .about = "host: a file is whose the host can make it; virtual: what the host cannot do is recorded with the "
		  "file.",
	 FIELD(ownership, config_mount, virtual_owners)},
	NOT_YET("sync"),
	{.key = "acl", .about = "Whether POSIX ACLs are there in the guest.", FIELD(flag, config_mount, acl)},
	ID_MAP("uidMap", "Which users of the host are which of the guest.", uid_map, omit_uid_map),
	ID_MAP("gidMap", "Which groups of the host are which of the guest.", gid_map, omit_gid_map),
	{0},
};

const struct config_field config_forward_fields[] = {
	{.key = "proto",
	 .about = "tcp, udp or any; with static or reverse tcp or udp.",
	 FIELD(proto, rule_spec, proto)},
	{.key = "guestIPMustBeZero",
	 .about = "Whether a guestIP of 0.0.0.0 means listeners on all addresses alone, and not those on any.",
	 FIELD(choice, rule_spec, guest_ip_must_be_zero)},
	{.key = "guestIP", .about = "The address the listener is bound to.", FIELD(text, rule_spec, guest_ip)},
	{.key = "guestPort", .about = "The guest's port.", FIELD(port, rule_spec, guest_port)},
	{.key = "guestPortRange",
	 .about = "The guest's ports: the first and the last.",
	 FIELD(range, rule_spec, guest_port_range)},
	{.key = "guestSocket", .about = "A unix socket of the guest.", FIELD(text, rule_spec, guest_socket)},
	{.key = "hostIP",
	 .about = "The address to answer on, or localhost for both 127.0.0.1 and ::1.",
	 FIELD(text, rule_spec, host_ip)},
	{.key = "hostPort",
	 .about = "The port to answer on; the guest's, if not given.",
	 FIELD(port, rule_spec, host_port)},
	{.key = "hostPortRange",
	 .about = "The ports to answer on, as many as the guest's.",
	 FIELD(range, rule_spec, host_port_range)},
	{.key = "hostSocket", .about = "A unix socket of the host.", FIELD(text, rule_spec, host_socket)},
	{.key = "process",
	 .about = "A regular expression that is found in the name of the listening process.",
	 FIELD(text, rule_spec, process)},
	{.key = "user", .about = "The user that listens.", FIELD(text, rule_spec, user)},
	{.key = "unit", .about = "The systemd unit that listens.", FIELD(text, rule_spec, unit)},
	{.key = "reverse",
	 .about = "A port or socket of the host's that answers in the guest.",
	 FIELD(flag, rule_spec, reverse)},
	{.key = "access",
	 .about = "Who may connect: any user, or self, who is homeport's own.",
	 FIELD(access, rule_spec, self_only)},
	{.key = "ignore", .about = "What matches is not forwarded.", FIELD(flag, rule_spec, ignore)},
	{.key = "static",
	 .about = "There from start to end, whether or not anything listens.",
	 FIELD(flag, rule_spec, is_static)},
	{0},
};

const struct config_field config_resolver_fields[] = {
	{.key = "enabled",
	 .about = "Whether a resolver answers in the guest: at port 53 of 127.0.0.153 as root, else at port 1053.",
	 FIELD(flag, config_resolver, enabled)},
	{.key = "hosts",
	 .about = "Names with addresses that it answers by itself.",
	 FIELD(hosts, config_resolver, hosts),
	 .item_size = sizeof(char *),
	 .count_offset = offsetof(struct config_resolver, host_count) - offsetof(struct config_resolver, hosts),
	 .most = CONFIG_HOSTS_MAX},
	{0},
};

_Static_assert(sizeof(config_forward_fields) / sizeof(config_forward_fields[0]) <= CONFIG_FIELDS_MAX + 1,
	       "the longest table");

const struct config_field config_top_fields[] = {
	[CONFIG_TOP_SSH] = {.key = "ssh",
			    .about = "How the guest is reached; what is not given comes from ssh_config(5).",
			    FIELD(section, config, ssh),
			    .fields = config_ssh_fields},
	[CONFIG_TOP_MOUNTS] = {.key = "mounts",
			       .about = "Which folders of this machine the guest sees. Without the key the home is "
					"mounted, read-only, at the same path; with an empty list nothing is.",
			       .example =
				       "[{location: \"~\"}, {location: /tmp, mountPoint: /tmp/host, writable: true}]",
			       FIELD(list, config, mounts),
			       .fields = config_mount_fields,
			       .item_size = sizeof(struct config_mount),
			       .count_offset = offsetof(struct config, mount_count) - offsetof(struct config, mounts),
			       .most = CONFIG_MOUNTS_MAX,
			       .prepare = prepare_mount,
			       .finish = finish_mount,
			       .omit = omit_mounts,
			       .live = true},
	[CONFIG_TOP_ON_FORWARD] = {.key = "onForward",
				   .about = "A program to run when a port of the guest begins or ceases to answer: its "
					    "path, or a list of it and its arguments. What happened is in its "
					    "environment.",
				   .example = "[notify-send, a port of the guest]",
				   FIELD(command, config, on_forward),
				   .item_size = sizeof(char *),
				   .count_offset = offsetof(struct config, on_forward_count) -
						   offsetof(struct config, on_forward),
				   .most = CONFIG_COMMAND_MAX,
				   .live = true},
	{.key = "portForwards",
	 .about = "Which listeners of the guest answer where on this machine. The first rule that matches decides; "
		  "what none matches answers at the same port of both loopback addresses.",
	 .example = "[{guestPort: 80, hostPort: 8080}, {guestPortRange: [5900, 5999], ignore: true}]",
	 FIELD(list, config, forwards),
	 .fields = config_forward_fields,
	 .item_size = sizeof(struct rule_spec),
	 .count_offset = offsetof(struct config, forward_count) - offsetof(struct config, forwards),
	 .most = RULES_MAX,
	 .finish = finish_forward,
	 .live = true},
	{.key = "sessionTimeout",
	 .about = "How long the guest keeps a session whose connection is lost, such as 24h, 30m or 1h30m; at most a "
		  "year.",
	 .example = "24h",
	 FIELD(duration, config, session_timeout_s),
	 .most = CONFIG_TIMEOUT_MOST_S},
	{.key = "maxForwards",
	 .about = "How many ports of the guest answer at once; with 0 the guest is not asked for them.",
	 .example = "4096",
	 FIELD(count, config, max_forwards),
	 .most = CONFIG_MAX_FORWARDS_MOST,
	 .live = true},
	{.key = "guestCommand",
	 .about = "Where homeport-guest is in the guest; without the key it is found there, or brought along.",
	 .example = "/usr/local/bin/homeport-guest",
	 FIELD(text, config, guest_command)},
	{.key = "env",
	 .about = "Variables that shells of the guest have.",
	 .example = "{EDITOR: vi}",
	 FIELD(variables, config, env),
	 .item_size = sizeof(char *),
	 .count_offset = offsetof(struct config, env_count) - offsetof(struct config, env),
	 .most = CONFIG_ENV_MAX,
	 .live = true},
	{.key = "propagateProxyEnv",
	 .about = "Whether the guest has this user's http_proxy, https_proxy, ftp_proxy and no_proxy; a proxy on this "
		  "machine's loopback answers in the guest then.",
	 .example = "true",
	 FIELD(bool, config, propagate_proxy_env),
	 .live = true},
	{.key = "hostResolver",
	 .about = "Whether the guest may ask this machine's name servers.",
	 .example = "{enabled: true}",
	 FIELD(section, config, resolver),
	 .fields = config_resolver_fields,
	 .live = true},
	{.key = "clock",
	 .about =
		 "keep: the guest's clock is no matter of ours; step: it is set by this machine's after a sleep, where "
		 "the login user is root.",
	 .example = "step",
	 FIELD(clock, config, step_clock)},
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

	if (!spec->ignore && !spec->reverse && single22)
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

/*
 * rules_check() tells one thing at a time. What is wrong with one of these keys is wrong by itself: it is taken out and
 * the rest is looked at again, so that a person hears of everything at once. A port is not, for the others are measured
 * by it.
 */
static bool take_out(struct rule_spec *spec, const char *sentence)
{
	size_t length = strcspn(sentence, ":");
	struct {
		const char *key;
		const char **text;
	} texts[] = {{"guestIP", &spec->guest_ip}, {"hostIP", &spec->host_ip}, {"process", &spec->process}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strlen(texts[i].key) == length && strncmp(texts[i].key, sentence, length) == 0) {
			*texts[i].text = NULL;
			return true;
		}
	}
	return false;
}

static void finish_forward(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
			   void *item)
{
	struct rule_spec *spec = item, left;
	char why[RULE_WHY_MAX], origin[48];
	size_t errors = problems_count(reader->problems, PROBLEM_ERROR);
	int r;

	snprintf(origin, sizeof(origin), "portForwards[%zu]", index);
	spec->origin = config_copy(reader, origin);
	if (spec->origin == NULL)
		return;
	left = *spec;
	if (!sound) /* what stands beside a key that could not be read, as far as it has nothing to do with it */
		left = (struct rule_spec){
			.guest_ip = spec->guest_ip, .host_ip = spec->host_ip, .process = spec->process};
	do {
		r = rules_check(&left, why);
		if (r == -EINVAL)
			problems_add(reader->problems, PROBLEM_ERROR, place_of_sentence(reader, node, why), "%s", why);
	} while (r == -EINVAL && take_out(&left, why));
	reader->no_memory |= r == -ENOMEM;
	if (r == 0 && sound && problems_count(reader->problems, PROBLEM_ERROR) == errors)
		config_warn_forward(spec, (struct problem_place){reader->file, node->line, node->column},
				    reader->problems);
}
