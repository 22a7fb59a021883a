/* SPDX-License-Identifier: MIT */
/*
 * The control messages, one row of a table each: a function that writes the body and one that reads it. The length and
 * the type in front, the limit on both and the check for leftovers are in one place; a row only knows its fields.
 *
 * Reading is strict, because what cannot be said needs no handling later: a string fits where it is kept and holds no
 * NUL, a path has one spelling, a flag is 0 or 1, an enum is one of its values. The address bytes that a family does
 * not use are zero, so that two listeners can be compared by memcmp.
 */
#include "control_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "log.h"
#include "wire.h"
#include "wire_fields.h"

struct message {
	const char *name;
	bool from_host;
	void (*put)(struct wire_buf *out, const struct control_msg *msg);
	/* Marks the reader bad when a field is; returns 0 or -ENOMEM. */
	int (*get)(struct wire_reader *r, struct control_msg *msg);
};

/* --- bodies ---------------------------------------------------------------------------------------------------- */

static void put_config(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->config.host_uid);
	wire_put_u32(out, msg->config.host_gid);
	wire_put_cstring(out, msg->config.host_user);
	wire_put_cstring(out, msg->config.instance_name);
	wire_put_u8(out, msg->config.report_ports);
}

static int get_config(struct wire_reader *r, struct control_msg *msg)
{
	msg->config.host_uid = wire_get_u32(r);
	msg->config.host_gid = wire_get_u32(r);
	wire_get_text(r, msg->config.host_user, sizeof(msg->config.host_user));
	wire_get_text(r, msg->config.instance_name, sizeof(msg->config.instance_name));
	wire_get_bool(r, &msg->config.report_ports);
	return 0;
}

static void put_id_map(struct wire_buf *out, const struct id_map *map)
{
	wire_put_u8(out, (uint8_t)(map ? map->count : 0));
	for (uint32_t i = 0; map && i < map->count; i++) {
		wire_put_u32(out, map->ranges[i].host);
		wire_put_u32(out, map->ranges[i].guest);
		wire_put_u32(out, map->ranges[i].count);
	}
}

/* A map of its own, for the caller to free; nothing where it is empty. */
static int get_id_map(struct wire_reader *r, struct id_map **dst)
{
	uint8_t count = wire_get_u8(r);

	if (r->bad || count == 0)
		return 0;
	*dst = calloc(1, sizeof(**dst));
	if (!*dst)
		return -ENOMEM;
	for (uint8_t i = 0; i < count && !r->bad; i++) {
		struct id_range range = {.host = wire_get_u32(r)};

		range.guest = wire_get_u32(r);
		range.count = wire_get_u32(r);
		r->bad |= id_map_add(*dst, &range) < 0;
	}
	return 0;
}

static void put_mount(struct wire_buf *out, const struct control_msg *msg)
{
	const struct control_mount *m = &msg->mount;

	wire_put_u32(out, m->id);
	wire_put_cstring(out, m->target);
	wire_put_u8(out, m->host_locks);
	wire_put_u8(out, m->acl);
	wire_put_u32(out, m->share_count);
	for (uint32_t i = 0; i < m->share_count; i++) {
		wire_put_cstring(out, m->shares[i].point);
		wire_put_cstring(out, m->shares[i].source);
		wire_put_u32(out, m->shares[i].number);
		wire_put_u8(out, m->shares[i].writable);
		wire_put_u8(out, m->shares[i].virtual_owners);
		put_id_map(out, m->shares[i].uids);
		put_id_map(out, m->shares[i].gids);
	}
}

static int get_share(struct wire_reader *r, struct control_mount *m, uint32_t i)
{
	struct control_share *share = &m->shares[i];
	int rc = wire_get_new_text(r, &share->point, SFTP_PATH_MAX - 1);

	if (rc == 0)
		rc = wire_get_new_text(r, &share->source, SFTP_PATH_MAX - 1);
	share->number = wire_get_u32(r);
	wire_get_bool(r, &share->writable);
	wire_get_bool(r, &share->virtual_owners);
	if (rc == 0)
		rc = get_id_map(r, &share->uids);
	if (rc == 0)
		rc = get_id_map(r, &share->gids);
	if (rc < 0 || r->bad)
		return rc;
	/* Strictly sorted: the root first, and no point twice. */
	if (i == 0)
		r->bad = share->point[0] != '\0';
	else
		r->bad = !wire_path_is_relative(share->point) || strcmp(m->shares[i - 1].point, share->point) >= 0;
	return 0;
}

static int get_mount(struct wire_reader *r, struct control_msg *msg)
{
	struct control_mount *m = &msg->mount;
	uint32_t count;
	int rc;

	m->id = wire_get_u32(r);
	rc = wire_get_new_text(r, &m->target, SFTP_PATH_MAX - 1);
	wire_get_bool(r, &m->host_locks);
	wire_get_bool(r, &m->acl);
	if (rc < 0 || r->bad)
		return rc;
	count = wire_get_u32(r);
	r->bad |= !wire_path_is_absolute(m->target) || count == 0 || count > CONTROL_MOUNTS_MAX;
	for (uint32_t i = 0; i < count && !r->bad && rc == 0; i++) {
		m->share_count = i + 1;
		rc = get_share(r, m, i);
	}
	return rc;
}

static void put_unmount(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->unmount_id);
}

static int get_unmount(struct wire_reader *r, struct control_msg *msg)
{
	msg->unmount_id = wire_get_u32(r);
	return 0;
}

static void put_guest(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_cstring(out, msg->guest.agent_version);
	wire_put_cstring(out, msg->guest.user);
	wire_put_cstring(out, msg->guest.hostname);
	wire_put_cstring(out, msg->guest.home);
	wire_put_u32(out, msg->guest.uid);
	wire_put_u32(out, msg->guest.gid);
	wire_put_u16(out, msg->guest.ssh_port);
}

static int get_guest(struct wire_reader *r, struct control_msg *msg)
{
	wire_get_text(r, msg->guest.agent_version, sizeof(msg->guest.agent_version));
	wire_get_text(r, msg->guest.user, sizeof(msg->guest.user));
	wire_get_text(r, msg->guest.hostname, sizeof(msg->guest.hostname));
	wire_get_text(r, msg->guest.home, sizeof(msg->guest.home));
	r->bad |= !wire_path_is_absolute(msg->guest.home);
	msg->guest.uid = wire_get_u32(r);
	msg->guest.gid = wire_get_u32(r);
	msg->guest.ssh_port = wire_get_u16(r);
	return 0;
}

static void put_mount_state(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->mount_state.id);
	wire_put_u8(out, (uint8_t)msg->mount_state.status);
	wire_put_u32(out, msg->mount_state.error);
	wire_put_cstring(out, msg->mount_state.target);
	wire_put_cstring(out, msg->mount_state.text);
}

static int get_mount_state(struct wire_reader *r, struct control_msg *msg)
{
	uint8_t status;

	msg->mount_state.id = wire_get_u32(r);
	status = wire_get_u8(r);
	msg->mount_state.error = wire_get_u32(r);
	wire_get_text(r, msg->mount_state.target, sizeof(msg->mount_state.target));
	wire_get_text(r, msg->mount_state.text, sizeof(msg->mount_state.text));
	r->bad |= status >= MOUNT_STATUS_COUNT || !wire_path_is_absolute(msg->mount_state.target);
	if (!r->bad)
		msg->mount_state.status = (enum control_mount_status)status;
	return 0;
}

static void put_epoch(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u64(out, msg->ports_epoch);
}

static int get_epoch(struct wire_reader *r, struct control_msg *msg)
{
	msg->ports_epoch = wire_get_u64(r);
	return 0;
}

static void put_port(struct wire_buf *out, const struct control_msg *msg)
{
	const struct listener *port = &msg->port;

	wire_put_u64(out, port->key);
	wire_put_u8(out, port->proto);
	wire_put_u8(out, port->family);
	wire_put_bytes(out, port->addr, sizeof(port->addr));
	wire_put_u32(out, port->scope);
	wire_put_u16(out, port->port);
	wire_put_u8(out, port->v6only);
	wire_put_u8(out, port->ephemeral);
	wire_put_u32(out, port->uid);
	wire_put_u64(out, port->inode);
	wire_put_u32(out, port->pid);
	wire_put_cstring(out, port->process);
	wire_put_cstring(out, port->user);
	wire_put_cstring(out, port->unit);
}

static int get_port(struct wire_reader *r, struct control_msg *msg)
{
	struct listener *port = &msg->port;

	port->key = wire_get_u64(r);
	port->proto = wire_get_u8(r);
	port->family = wire_get_u8(r);
	wire_get_address(r, port->family, port->addr);
	port->scope = wire_get_u32(r);
	port->port = wire_get_u16(r);
	wire_get_bool(r, &port->v6only);
	wire_get_bool(r, &port->ephemeral);
	port->uid = wire_get_u32(r);
	port->inode = wire_get_u64(r);
	port->pid = wire_get_u32(r);
	wire_get_text(r, port->process, sizeof(port->process));
	wire_get_text(r, port->user, sizeof(port->user));
	wire_get_text(r, port->unit, sizeof(port->unit));
	r->bad |= port->port == 0 || (port->proto != LISTENER_TCP && port->proto != LISTENER_UDP);
	return 0;
}

static void put_port_key(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u64(out, msg->port_key);
}

static int get_port_key(struct wire_reader *r, struct control_msg *msg)
{
	msg->port_key = wire_get_u64(r);
	return 0;
}

static void put_log(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u8(out, msg->log.level);
	wire_put_cstring(out, msg->log.text);
}

static int get_log(struct wire_reader *r, struct control_msg *msg)
{
	msg->log.level = wire_get_u8(r);
	r->bad |= msg->log.level >= LOG_LEVEL_COUNT;
	wire_get_text(r, msg->log.text, sizeof(msg->log.text));
	return 0;
}

static void put_listen(struct wire_buf *out, const struct control_msg *msg)
{
	const struct control_listen *l = &msg->listen;

	wire_put_u32(out, l->id);
	wire_put_u8(out, l->proto);
	wire_put_u8(out, l->family);
	wire_put_bytes(out, l->addr, sizeof(l->addr));
	wire_put_u16(out, l->port);
	wire_put_cstring(out, l->path);
}

/* An address and a port, or a path: what the other kind has is zero. */
static int get_listen(struct wire_reader *r, struct control_msg *msg)
{
	static const uint8_t zero[16];
	struct control_listen *l = &msg->listen;
	const uint8_t *addr;

	l->id = wire_get_u32(r);
	l->proto = wire_get_u8(r);
	l->family = wire_get_u8(r);
	if (l->family != 0)
		wire_get_address(r, l->family, l->addr);
	else if ((addr = wire_get_bytes(r, sizeof(l->addr))))
		r->bad |= memcmp(addr, zero, sizeof(zero)) != 0;
	l->port = wire_get_u16(r);
	wire_get_text(r, l->path, sizeof(l->path));
	r->bad |= l->proto != LISTENER_TCP && (l->proto != LISTENER_UDP || l->family == 0);
	if (!r->bad)
		r->bad = l->family != 0 ? l->port == 0 || l->path[0] : l->port != 0 || l->path[0] != '/';
	return 0;
}

static void put_unlisten(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->unlisten_id);
}

static int get_unlisten(struct wire_reader *r, struct control_msg *msg)
{
	msg->unlisten_id = wire_get_u32(r);
	return 0;
}

static void put_listen_state(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->listen_state.id);
	wire_put_u32(out, msg->listen_state.error);
}

static int get_listen_state(struct wire_reader *r, struct control_msg *msg)
{
	msg->listen_state.id = wire_get_u32(r);
	msg->listen_state.error = wire_get_u32(r);
	return 0;
}

static void put_environment(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->environment.count);
	for (uint32_t i = 0; i < msg->environment.count; i++)
		wire_put_cstring(out, msg->environment.variables[i]);
}

/* A name of letters, digits and _, and what stands behind its =. */
static bool is_variable(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	size_t n = strspn(text, letters);

	return n > 0 && text[n] == '=' && (text[0] < '0' || text[0] > '9');
}

static int get_environment(struct wire_reader *r, struct control_msg *msg)
{
	struct control_environment *e = &msg->environment;
	uint32_t count = wire_get_u32(r);
	int rc = 0;

	r->bad |= count > ENVIRONMENT_MAX;
	while (e->count < count && !r->bad && rc == 0) {
		rc = wire_get_new_text(r, &e->variables[e->count], ENVIRONMENT_TEXT_MAX);
		if (rc == 0 && !r->bad)
			r->bad = !is_variable(e->variables[e->count++]);
	}
	return rc;
}

static void put_nothing(struct wire_buf *out, const struct control_msg *msg)
{
	(void)out;
	(void)msg;
}

static int get_nothing(struct wire_reader *r, struct control_msg *msg)
{
	(void)r;
	(void)msg;
	return 0;
}

static void put_clock_ask(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u64(out, msg->clock.token);
}

static int get_clock_ask(struct wire_reader *r, struct control_msg *msg)
{
	msg->clock.token = wire_get_u64(r);
	r->bad |= msg->clock.token == 0;
	return 0;
}

static void put_clock(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u64(out, msg->clock.token);
	wire_put_u64(out, msg->clock.time_us);
}

static int get_clock(struct wire_reader *r, struct control_msg *msg)
{
	get_clock_ask(r, msg);
	msg->clock.time_us = wire_get_u64(r);
	return 0;
}

static void put_count(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->count.number);
	wire_put_u32(out, msg->count.seconds);
}

static int get_count(struct wire_reader *r, struct control_msg *msg)
{
	msg->count.number = wire_get_u32(r);
	msg->count.seconds = wire_get_u32(r);
	return 0;
}

/* Of the times those buckets alone that hold something. */
static void put_counter(struct wire_buf *out, const struct op_counter *counter)
{
	uint8_t used = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		used += counter->times[i] != 0;
	wire_put_u64(out, counter->count);
	wire_put_u64(out, counter->at_once);
	wire_put_u8(out, used);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (!counter->times[i])
			continue;
		wire_put_u8(out, (uint8_t)i);
		wire_put_u64(out, counter->times[i]);
	}
}

static void get_counter(struct wire_reader *r, struct op_counter *counter)
{
	int last = -1;
	uint8_t used;

	counter->count = wire_get_u64(r);
	counter->at_once = wire_get_u64(r);
	used = wire_get_u8(r);
	for (uint8_t i = 0; i < used && !r->bad; i++) {
		uint8_t bucket = wire_get_u8(r);
		uint64_t n = wire_get_u64(r);

		r->bad |= bucket >= HISTOGRAM_BUCKETS || bucket <= last || n == 0;
		if (!r->bad)
			counter->times[bucket] = n;
		last = bucket;
	}
}

static void put_counters(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->counters.number);
	wire_put_u32(out, msg->counters.waiting);
	for (unsigned i = 0; i < OP_KINDS; i++)
		put_counter(out, &msg->counters.counters->kinds[i]);
}

static int get_counters(struct wire_reader *r, struct control_msg *msg)
{
	msg->counters.number = wire_get_u32(r);
	msg->counters.waiting = wire_get_u32(r);
	msg->counters.counters = calloc(1, sizeof(*msg->counters.counters));
	if (!msg->counters.counters)
		return -ENOMEM;
	for (unsigned i = 0; i < OP_KINDS && !r->bad; i++)
		get_counter(r, &msg->counters.counters->kinds[i]);
	return 0;
}

static void put_direct(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->direct.number);
	wire_put_u8(out, (uint8_t)msg->direct.way);
	wire_put_u16(out, msg->direct.port);
	wire_put_u8(out, msg->direct.lane);
	wire_put_bytes(out, msg->direct.key, sizeof(msg->direct.key));
}

static int get_direct(struct wire_reader *r, struct control_msg *msg)
{
	const uint8_t *key;
	uint8_t way, lane;

	msg->direct.number = wire_get_u32(r);
	way = wire_get_u8(r);
	msg->direct.way = (enum direct_way)way;
	msg->direct.port = wire_get_u16(r);
	lane = wire_get_u8(r);
	msg->direct.lane = lane;
	key = wire_get_bytes(r, sizeof(msg->direct.key));
	if (key)
		memcpy(msg->direct.key, key, sizeof(msg->direct.key));
	if ((way != DIRECT_GUEST_LISTENS && way != DIRECT_HOST_LISTENS) || lane > 1)
		return -EPROTO;
	return (way == DIRECT_HOST_LISTENS) == (msg->direct.port != 0) ? 0 : -EPROTO;
}

static void put_direct_state(struct wire_buf *out, const struct control_msg *msg)
{
	wire_put_u32(out, msg->direct_state.number);
	wire_put_u16(out, msg->direct_state.port);
	wire_put_u32(out, msg->direct_state.error);
}

static int get_direct_state(struct wire_reader *r, struct control_msg *msg)
{
	msg->direct_state.number = wire_get_u32(r);
	msg->direct_state.port = wire_get_u16(r);
	msg->direct_state.error = wire_get_u32(r);
	return (msg->direct_state.port == 0) == (msg->direct_state.error != 0) ? 0 : -EPROTO;
}

/* --- the table ------------------------------------------------------------------------------------------------- */

static const struct message messages[] = {
	[CONTROL_CONFIG] = {"CONFIG", true, put_config, get_config},
	[CONTROL_MOUNT] = {"MOUNT", true, put_mount, get_mount},
	[CONTROL_UNMOUNT] = {"UNMOUNT", true, put_unmount, get_unmount},
	[CONTROL_GUEST] = {"GUEST", false, put_guest, get_guest},
	[CONTROL_MOUNT_STATE] = {"MOUNT_STATE", false, put_mount_state, get_mount_state},
	[CONTROL_PORTS_BEGIN] = {"PORTS_BEGIN", false, put_epoch, get_epoch},
	[CONTROL_PORT_ADD] = {"PORT_ADD", false, put_port, get_port},
	[CONTROL_PORT_REMOVE] = {"PORT_REMOVE", false, put_port_key, get_port_key},
	[CONTROL_PORTS_END] = {"PORTS_END", false, put_epoch, get_epoch},
	[CONTROL_LOG] = {"LOG", false, put_log, get_log},
	[CONTROL_LISTEN] = {"LISTEN", true, put_listen, get_listen},
	[CONTROL_LISTEN_STATE] = {"LISTEN_STATE", false, put_listen_state, get_listen_state},
	[CONTROL_UNLISTEN] = {"UNLISTEN", true, put_unlisten, get_unlisten},
	[CONTROL_ENVIRONMENT] = {"ENVIRONMENT", true, put_environment, get_environment},
	[CONTROL_CLOCK_CHECK] = {"CLOCK_CHECK", true, put_nothing, get_nothing},
	[CONTROL_CLOCK_ASK] = {"CLOCK_ASK", false, put_clock_ask, get_clock_ask},
	[CONTROL_CLOCK] = {"CLOCK", true, put_clock, get_clock},
	[CONTROL_COUNT] = {"COUNT", true, put_count, get_count},
	[CONTROL_COUNTERS] = {"COUNTERS", false, put_counters, get_counters},
	[CONTROL_DIRECT] = {"DIRECT", true, put_direct, get_direct},
	[CONTROL_DIRECT_STATE] = {"DIRECT_STATE", false, put_direct_state, get_direct_state},
};
_Static_assert(sizeof(messages) / sizeof(messages[0]) == CONTROL_TYPE_END, "a row for each message");

const char *listener_proto_name(uint8_t proto)
{
	return proto == LISTENER_UDP ? "udp" : "tcp";
}

const char *control_type_name(enum control_type type)
{
	return type > 0 && type < CONTROL_TYPE_END ? messages[type].name : "?";
}

bool control_type_from_host(enum control_type type)
{
	return messages[type].from_host;
}

void control_msg_put(struct wire_buf *out, const struct control_msg *msg)
{
	size_t mark = wire_put_length_begin(out);

	wire_put_u8(out, (uint8_t)msg->type);
	messages[msg->type].put(out, msg);
	if (!out->failed && out->len - mark > CONTROL_MESSAGE_MAX + sizeof(uint32_t))
		out->failed = true; /* the peer would end the session over it */
	if (!out->failed)
		wire_put_length_end(out, mark);
}

ssize_t control_msg_get(const uint8_t *data, size_t len, struct control_msg *msg)
{
	struct wire_reader r = wire_reader(data, len);
	uint32_t body = wire_get_u32(&r);
	uint8_t type;
	int rc;

	if (r.bad)
		return 0;
	if (body == 0 || body > CONTROL_MESSAGE_MAX)
		return -EPROTO;
	if (r.left < body)
		return 0;
	r.left = body;
	type = wire_get_u8(&r);
	if (type == 0 || type >= CONTROL_TYPE_END)
		return -EPROTO;
	memset(msg, 0, sizeof(*msg));
	msg->type = (enum control_type)type;
	rc = messages[type].get(&r, msg);
	if (rc == 0 && !wire_read_done(&r))
		rc = -EPROTO;
	if (rc == 0)
		return (ssize_t)(sizeof(body) + body);
	control_msg_clear(msg);
	return rc;
}

void control_msg_clear(struct control_msg *msg)
{
	if (msg->type == CONTROL_ENVIRONMENT) {
		for (uint32_t i = 0; i < msg->environment.count; i++)
			free(msg->environment.variables[i]);
		msg->environment.count = 0;
	}
	if (msg->type == CONTROL_COUNTERS) {
		free(msg->counters.counters);
		msg->counters.counters = NULL;
	}
	if (msg->type != CONTROL_MOUNT)
		return;
	free(msg->mount.target);
	for (uint32_t i = 0; i < msg->mount.share_count; i++) {
		free(msg->mount.shares[i].point);
		free(msg->mount.shares[i].source);
		free(msg->mount.shares[i].uids);
		free(msg->mount.shares[i].gids);
	}
	memset(&msg->mount, 0, sizeof(msg->mount));
}
