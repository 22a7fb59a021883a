/* SPDX-License-Identifier: MIT */
/*
 * Ports to processes, by /proc/net/tcp and udp (who listens: address, user, inode), unix sockets by their files
 * (socket_files.h: of those alone that are in somebody's way), and /proc/PID/fd (which process has
 * the inode; only our own ones, or all as root). Another session of this user cannot be looked into, and is asked
 * (siblings.h). Runs on the loop's thread.
 */
#include "holders.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "address.h"
#include "bounds.h"
#include "control_msg.h"
#include "loop.h"
#include "siblings.h"
#include "socket_files.h"
#include "sockowner.h"

#define REST_US     1000000u
#define STEP_US     10000u
#define STEP_BUDGET 2000u
#define ROWS_MAX    65536u
#define PATHS_MAX   32u /* unix sockets in the way that are looked for at a time */

/* A table of the kernel's, and the state in it of those who listen: of UDP, of those connected to nobody. */
static const struct {
	const char *path;
	uint8_t proto;
	int family;
	unsigned state;
} tables[] = {
	{"/proc/net/tcp", LISTENER_TCP, AF_INET, TCP_LISTEN},
	{"/proc/net/tcp6", LISTENER_TCP, AF_INET6, TCP_LISTEN},
	{"/proc/net/udp", LISTENER_UDP, AF_INET, TCP_CLOSE},
	{"/proc/net/udp6", LISTENER_UDP, AF_INET6, TCP_CLOSE},
};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

struct file_id {
	dev_t dev;
	ino_t ino;
};

struct holder {
	uint8_t proto; /* 0: a unix socket, which has a file */
	struct rule_address address;
	uint16_t port;
	struct file_id file;
	uid_t uid;
	uint64_t inode;
	uint32_t pid;
};

struct holders {
	struct loop *loop;
	struct loop_timer *timer;
	struct sockowner *owner;
	struct siblings *siblings;
	void (*known)(void *ctx);
	void *ctx;
	struct holder *rows;
	size_t count, cap;
	size_t unknown;                       /* rows whose process is looked for */
	struct file_id in_the_way[PATHS_MAX]; /* the latest */
	size_t ways;
	uint64_t looked_us;
	bool looking;
};

/* --- /proc/net/tcp, udp ----------------------------------------------------------------------------------------- */

static struct holder *holders_add(struct holders *h)
{
	if (h->count == h->cap) {
		size_t cap = h->cap ? 2 * h->cap : 64;
		struct holder *rows = cap <= ROWS_MAX ? reallocarray(h->rows, cap, sizeof(*rows)) : NULL;

		if (!rows)
			return NULL;
		h->rows = rows;
		h->cap = cap;
	}
	return memset(&h->rows[h->count++], 0, sizeof(*h->rows));
}

/* Addresses are printed as 32-bit words in the machine's own order, which are the bytes as they lie in memory. */
static bool address_read(const char *hex, int family, struct rule_address *address)
{
	uint32_t words[4] = {0};
	int count = family == AF_INET ? 1 : 4;

	for (int i = 0; i < count; i++)
		if (sscanf(hex + 8 * i, "%8" SCNx32, &words[i]) != 1)
			return false;
	address->family = family;
	memset(address->bytes, 0, sizeof(address->bytes));
	memcpy(address->bytes, words, (size_t)count * sizeof(*words));
	return true;
}

static void holders_read_line(struct holders *h, const char *line, size_t table)
{
	char hex[33];
	unsigned port, state, uid;
	unsigned long long inode;
	struct holder row = {0}, *added;

	if (sscanf(line, " %*u: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %u %*d %llu", hex, &port, &state,
		   &uid, &inode) != 5)
		return;
	if (state != tables[table].state || strlen(hex) != (tables[table].family == AF_INET ? 8 : 32) ||
	    !address_read(hex, tables[table].family, &row.address))
		return;
	row.proto = tables[table].proto;
	row.port = (uint16_t)port;
	row.uid = uid;
	row.inode = inode;
	added = holders_add(h);
	if (added)
		*added = row;
}

/* Of TCP the kernel lists listeners first: what follows is connections, of which there may be many. */
static void holders_read(struct holders *h, size_t table)
{
	FILE *f = fopen(tables[table].path, "re");
	char line[512];
	unsigned others = 0;

	if (!f)
		return;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	while ((others < 64 || tables[table].proto != LISTENER_TCP) && fgets(line, sizeof(line), f)) {
		size_t before = h->count;

		holders_read_line(h, line, table);
		others = h->count > before ? 0 : others + 1;
	}
	fclose(f);
}

/* --- unix sockets ----------------------------------------------------------------------------------------------- */

static bool file_of(const char *path, struct file_id *file)
{
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	*file = (struct file_id){st.st_dev, st.st_ino};
	return true;
}

static bool is_same_file(const struct file_id *a, const struct file_id *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

static void holders_look_for(struct holders *h, const char *path)
{
	struct file_id file;

	if (!file_of(path, &file))
		return;
	for (size_t i = 0; i < PATHS_MAX; i++)
		if (is_same_file(&h->in_the_way[i], &file))
			return;
	h->in_the_way[h->ways++ % PATHS_MAX] = file;
}

static void on_socket_file(void *ctx, const struct socket_file *socket)
{
	struct holders *h = ctx;
	struct holder *row;

	for (size_t i = 0; i < PATHS_MAX; i++) {
		if (!is_same_file(&h->in_the_way[i], &(struct file_id){socket->dev, socket->ino}))
			continue;
		row = holders_add(h);
		if (row)
			*row = (struct holder){.file = h->in_the_way[i], .uid = socket->uid, .inode = socket->inode};
	}
}

/* --- the processes ---------------------------------------------------------------------------------------------- */

static bool on_owner(void *ctx, uint64_t inode, uint32_t pid)
{
	struct holders *h = ctx;

	for (size_t i = 0; i < h->count; i++) {
		if (h->rows[i].inode != inode || h->rows[i].pid)
			continue;
		h->rows[i].pid = pid;
		h->unknown -= h->unknown > 0;
	}
	return h->unknown > 0;
}

static void holders_look(struct holders *h)
{
	h->looking = true;
	h->looked_us = loop_now_us(h->loop);
	h->count = 0;
	h->unknown = 0;
	for (size_t i = 0; i < TABLES; i++)
		holders_read(h, i);
	if (h->ways)
		socket_files_each(on_socket_file, h); /* a kernel that cannot say leaves "another process" */
	for (size_t i = 0; i < h->count; i++)
		h->unknown += geteuid() == 0 || h->rows[i].uid == geteuid();
	if (sockowner_begin(h->owner) < 0)
		h->unknown = 0;
}

/* Whether one of them may be another agent of ours. */
static bool any_may_be_sibling(const struct holders *h)
{
	char name[64];

	for (size_t i = 0; i < h->count; i++) {
		const struct holder *row = &h->rows[i];

		if (row->uid != geteuid())
			continue;
		if (!row->pid || !strcmp(sockowner_name(row->pid, name, sizeof(name)), "homeport"))
			return true;
	}
	return false;
}

static void on_holders_timer(void *ctx)
{
	struct holders *h = ctx;

	if (!h->looking)
		holders_look(h);
	if (h->unknown && sockowner_step(h->owner, STEP_BUDGET, on_owner, h)) {
		loop_timer_set(h->timer, STEP_US);
		return;
	}
	h->looking = false;
	if (any_may_be_sibling(h))
		siblings_refresh(h->siblings);
	h->known(h->ctx);
}

void holders_refresh(struct holders *h, const char *path)
{
	uint64_t now = loop_now_us(h->loop);

	if (path)
		holders_look_for(h, path);
	if (h->looking || loop_timer_is_set(h->timer))
		return;
	loop_timer_set(h->timer, h->looked_us && now < h->looked_us + REST_US ? h->looked_us + REST_US - now : 0);
}

/* --- the sentence ----------------------------------------------------------------------------------------------- */

/* Whether a listener there keeps `address` from being bound: the same address, or all of them. */
static bool holder_covers(const struct holder *row, const struct rule_address *address)
{
	static const uint8_t any[16];

	if (memcmp(row->address.bytes, any, sizeof(any)) == 0)
		return row->address.family == address->family || row->address.family == AF_INET6;
	return row->address.family == address->family && memcmp(row->address.bytes, address->bytes, sizeof(any)) == 0;
}

static const char *sibling_of(const struct holders *h, const struct holder *row)
{
	char address[ADDRESS_TEXT_MAX], text[ADDRESS_TEXT_MAX + 8];
	uint8_t family = row->address.family == AF_INET ? 4 : 6;

	if (row->uid != geteuid())
		return NULL;
	address_text(address, family, row->address.bytes, 0, row->port);
	snprintf(text, sizeof(text), "%s %s", listener_proto_name(row->proto), address);
	return siblings_name(h->siblings, text);
}

static void row_describe(const struct holder *row, const char *session, char *dst, size_t size)
{
	char name[64];

	if (session) {
		snprintf(dst, size, "homeport %s", session);
	} else if (row->pid) {
		sockowner_name(row->pid, name, sizeof(name));
		snprintf(dst, size, "%s (pid %u)", name[0] ? name : "a process that is gone", row->pid);
	} else if (row->uid != (uid_t)-1) {
		sockowner_user(row->uid, name, sizeof(name));
		if (name[0])
			snprintf(dst, size, "a process of %s", name);
		else
			snprintf(dst, size, "a process of uid %u", row->uid);
	}
}

char *holders_describe(const struct holders *h, uint8_t proto, const struct rule_address *address, uint16_t port,
		       char *dst, size_t size)
{
	snprintf(dst, size, "another process");
	for (size_t i = 0; i < h->count; i++) {
		const struct holder *row = &h->rows[i];

		if (row->proto != proto || row->port != port || !holder_covers(row, address))
			continue;
		row_describe(row, sibling_of(h, row), dst, size);
		break;
	}
	return dst;
}

char *holders_describe_path(const struct holders *h, const char *path, char *dst, size_t size)
{
	char text[SOCKET_PATH_MAX + 8];
	struct file_id file;

	snprintf(dst, size, "another process");
	if (!file_of(path, &file))
		return dst;
	snprintf(text, sizeof(text), "%s %s", listener_proto_name(LISTENER_TCP), path);
	for (size_t i = 0; i < h->count; i++) {
		const struct holder *row = &h->rows[i];

		if (row->proto || !is_same_file(&row->file, &file))
			continue;
		row_describe(row, row->uid == geteuid() ? siblings_name(h->siblings, text) : NULL, dst, size);
		break;
	}
	return dst;
}

struct holders *holders_new(struct loop *loop, void (*known)(void *ctx), void *ctx)
{
	struct holders *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->loop = loop;
	h->known = known;
	h->ctx = ctx;
	h->owner = sockowner_new();
	h->siblings = siblings_new(loop, known, ctx);
	h->timer = loop_timer_new(loop, on_holders_timer, h);
	if (!h->owner || !h->siblings || !h->timer) {
		holders_free(h);
		return NULL;
	}
	return h;
}

void holders_free(struct holders *h)
{
	if (!h)
		return;
	loop_timer_free(h->timer);
	sockowner_free(h->owner);
	siblings_free(h->siblings);
	free(h->rows);
	free(h);
}
