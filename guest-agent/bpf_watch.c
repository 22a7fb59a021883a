/* SPDX-License-Identifier: MIT */
/*
 * The hints by BPF. Runs on the loop's thread.
 *
 * Theory of operation. Small programs hang on the root of cgroup2, where they see each socket of the machine, beside
 * whatever others have hung there:
 *
 *	sock_ops	listen(2) of TCP has succeeded
 *	post_bind4, 6	bind(2) of UDP has
 *	sock_release	what listened, was shut down or is UDP connected to nobody is about to be closed
 *
 * Whatever else these hooks are called for, some of it for each connection, ends after a few instructions.
 * Each lets through what is of our network namespace, so that containers wake nobody, and puts one word into a ring
 * that we have mapped; the ring's descriptor wakes the loop. No socket's flags are set for it (STATE_CB would tell of a
 * listener's end as well, but accepted sockets inherit it, and others' programs would be called for them). What none of
 * them sees: the hooks run a moment before the change is made, a UDP socket is connected after its bind, a listener is
 * shut down and not closed, a socket of the kernel's own closes. So who is hinted looks again a little later, and now
 * and then without a hint.
 *
 * The links are descriptors: when we die they close, and the programs are gone. Raw bpf(2): for four programs of some
 * twenty instructions libbpf would bring libelf and zlib into this static program.
 */
#include "bpf_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "features.h"

#define PROGRAMS         4
#define INSNS_MAX        40
#define RECORD_HEAD      8u /* BPF_RINGBUF_HDR_SZ: a word of length and flags, and one that is the kernel's */
#define RECORD           (RECORD_HEAD + sizeof(uint64_t))
#define ring_word(w, at) ((uint32_t *)(void *)((w)->data + ((at) & ((w)->size - 1))))

struct bpf_watch {
	int ring, links[PROGRAMS];
	size_t size;             /* of the ring, a page */
	_Atomic uint64_t *taken; /* ours to move, a page */
	_Atomic uint64_t *put;   /* the kernel's; behind its page the ring, twice in a row */
	char *data;
};

/* --------------------------------------------------------------------------------------------------- the programs
 *
 * Registers: 6 the context, 7 what to hint. A branch that leads to the end is left open (offset 0) and closed when the
 * end is known.
 */

struct code {
	struct bpf_insn insns[INSNS_MAX];
	unsigned count;
};

static void emit(struct code *c, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	c->insns[c->count++] = (struct bpf_insn){.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm};
}

#define MOVE(to, from)         emit(c, BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0)
#define SET(to, value)         emit(c, BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value)
#define ADD(to, value)         emit(c, BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value)
#define FIELD(to, type, name)  emit(c, BPF_LDX | BPF_MEM | BPF_W, to, 6, offsetof(struct type, name), 0)
#define PORT(to, type, name)   emit(c, BPF_LDX | BPF_MEM | BPF_H, to, 6, offsetof(struct type, name), 0)
#define STORE(off, from)       emit(c, BPF_STX | BPF_MEM | BPF_DW, BPF_REG_10, from, off, 0)
#define IF_EQ(reg, value, by)  emit(c, BPF_JMP | BPF_JEQ | BPF_K, reg, 0, by, value)
#define END_IF_NOT(reg, value) emit(c, BPF_JMP | BPF_JNE | BPF_K, reg, 0, 0, value)
#define END_IF_DIFFER(a, b)    emit(c, BPF_JMP | BPF_JNE | BPF_X, a, b, 0, 0)
#define CALL(function)         emit(c, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##function)

static void emit_wide(struct code *c, uint8_t to, uint8_t kind, uint64_t value)
{
	emit(c, BPF_DW | BPF_IMM, to, kind, 0, (int32_t)value); /* of the class BPF_LD, which is 0 */
	emit(c, 0, 0, 0, 0, (int32_t)(value >> 32));
}

/* What is of this namespace puts register 7 into the ring; all ends in "go on". */
static void emit_hint(struct code *c, int ring, uint64_t netns)
{
	MOVE(BPF_REG_1, BPF_REG_6);
	CALL(get_netns_cookie);
	emit_wide(c, BPF_REG_1, 0, netns);
	END_IF_DIFFER(BPF_REG_0, BPF_REG_1);
	STORE(-8, BPF_REG_7);
	emit_wide(c, BPF_REG_1, BPF_PSEUDO_MAP_FD, (uint32_t)ring);
	MOVE(BPF_REG_2, BPF_REG_10);
	ADD(BPF_REG_2, -8);
	SET(BPF_REG_3, sizeof(uint64_t));
	SET(BPF_REG_4, 0);
	CALL(ringbuf_output);
	for (unsigned i = 0; i < c->count; i++)
		if (BPF_CLASS(c->insns[i].code) == BPF_JMP && BPF_OP(c->insns[i].code) == BPF_JNE)
			c->insns[i].off = (int16_t)(c->count - i - 1);
	SET(BPF_REG_0, 1);
	emit(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void emit_listen(struct code *c)
{
	FIELD(BPF_REG_2, bpf_sock_ops, op);
	END_IF_NOT(BPF_REG_2, BPF_SOCK_OPS_TCP_LISTEN_CB);
	SET(BPF_REG_7, BPF_WATCH_TCP);
}

static void emit_bind(struct code *c)
{
	FIELD(BPF_REG_2, bpf_sock, protocol);
	END_IF_NOT(BPF_REG_2, IPPROTO_UDP);
	SET(BPF_REG_7, BPF_WATCH_UDP);
}

/* By state first: MPTCP listens under a number of its own. */
static void emit_release(struct code *c)
{
	FIELD(BPF_REG_2, bpf_sock, protocol);
	FIELD(BPF_REG_3, bpf_sock, state);
	SET(BPF_REG_7, BPF_WATCH_TCP);
	IF_EQ(BPF_REG_3, TCP_LISTEN, 6);
	END_IF_NOT(BPF_REG_3, TCP_CLOSE);
	PORT(BPF_REG_3, bpf_sock, dst_port);
	END_IF_NOT(BPF_REG_3, 0);
	IF_EQ(BPF_REG_2, IPPROTO_TCP, 2);
	END_IF_NOT(BPF_REG_2, IPPROTO_UDP);
	SET(BPF_REG_7, BPF_WATCH_UDP);
}

static const struct program {
	enum bpf_prog_type type;
	enum bpf_attach_type at;
	void (*emit)(struct code *c);
} programs[] = {
	{BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, emit_listen},
	{BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET4_POST_BIND, emit_bind},
	{BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET6_POST_BIND, emit_bind},
	{BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_RELEASE, emit_release},
};
_Static_assert(sizeof(programs) / sizeof(programs[0]) == PROGRAMS, "a link for each program");

/* ----------------------------------------------------------------------------------------------------------- bpf(2) */

static int sys_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	int fd = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return fd < 0 ? -errno : fd;
}

static int ring_new(size_t size)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_RINGBUF;
	attr.max_entries = (uint32_t)size;
	return sys_bpf(BPF_MAP_CREATE, &attr);
}

static int program_load(const struct program *p, int ring, uint64_t netns)
{
	struct code c = {.count = 0};
	union bpf_attr attr;

	emit(&c, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
	p->emit(&c);
	emit_hint(&c, ring, netns);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = p->type;
	attr.expected_attach_type = p->at;
	attr.insns = (uint64_t)(uintptr_t)c.insns;
	attr.insn_cnt = c.count;
	attr.license = (uint64_t)(uintptr_t) "MIT";
	memcpy(attr.prog_name, "homeport_ports", sizeof("homeport_ports"));
	return sys_bpf(BPF_PROG_LOAD, &attr);
}

/* A link keeps its program, and leaves those of others where they are. */
static int program_attach(const struct program *p, int cgroup, int ring, uint64_t netns)
{
	union bpf_attr attr;
	int program = program_load(p, ring, netns), link;

	if (program < 0)
		return program;
	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.target_fd = (uint32_t)cgroup;
	attr.link_create.attach_type = p->at;
	link = sys_bpf(BPF_LINK_CREATE, &attr);
	close(program);
	return link;
}

/* -------------------------------------------------------------------------------------------------------- the watch */

/* Where cgroup2 is alone, and where it is beside the controllers of version 1. */
static int cgroup_open(void)
{
	static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	struct statfs fs;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int fd = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -ENOENT;
}

/* Of the socket's namespace: that in which it was made, or (accepted) in which the one that connected was. 0 where the
 * kernel numbers none. */
static uint64_t netns_cookie(int sock)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	int fd = sock < 0 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : sock;

	if (fd < 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		cookie = 0;
	if (sock < 0)
		close(fd);
	return cookie;
}

static int watch_map(struct bpf_watch *w)
{
	size_t page = w->size;
	void *taken = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, w->ring, 0);
	void *put;

	if (taken == MAP_FAILED)
		return -errno;
	w->taken = taken;
	put = mmap(NULL, page + 2 * w->size, PROT_READ, MAP_SHARED, w->ring, (off_t)page);
	if (put == MAP_FAILED)
		return -errno;
	w->put = put;
	w->data = (char *)put + page;
	return 0;
}

static int watch_attach(struct bpf_watch *w, int cgroup, uint64_t netns)
{
	for (size_t i = 0; i < PROGRAMS; i++) {
		int link = program_attach(&programs[i], cgroup, w->ring, netns);

		if (link < 0)
			return link;
		w->links[i] = link;
	}
	return 0;
}

static int lacks(char why[BPF_WATCH_WHY_MAX], int error, const char *what)
{
	snprintf(why, BPF_WATCH_WHY_MAX, "%s", what);
	return error;
}

/* The order is that of what a person would put right first. */
static int watch_begin(struct bpf_watch *w, int sock, int cgroup, char why[BPF_WATCH_WHY_MAX])
{
	uint64_t netns = feature_on(FEATURE_BPF_WATCH) ? netns_cookie(sock) : 0;
	int rc;

	if (!netns)
		return lacks(why, -ENOSYS, "the kernel is older than Linux 5.15");
	w->ring = ring_new(w->size);
	if (w->ring == -EPERM)
		return lacks(why, -EPERM, "it takes root");
	if (w->ring < 0)
		return lacks(why, w->ring, "the kernel has no BPF ring");
	if (cgroup < 0)
		return lacks(why, cgroup, "no cgroup2 at /sys/fs/cgroup");
	/* The root alone has no such file: a container's root is another's child, and not all its sockets are below. */
	if (faccessat(cgroup, "cgroup.events", F_OK, 0) == 0)
		return lacks(why, -EOPNOTSUPP, "in a container, whose cgroup is not the root");
	rc = watch_map(w);
	if (rc == 0)
		rc = watch_attach(w, cgroup, netns);
	if (rc < 0)
		snprintf(why, BPF_WATCH_WHY_MAX, "the kernel does not take the programs: %s", strerror(-rc));
	return rc;
}

static struct bpf_watch *watch_new(void)
{
	struct bpf_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->ring = -1;
	for (size_t i = 0; i < PROGRAMS; i++)
		w->links[i] = -1;
	w->size = (size_t)sysconf(_SC_PAGESIZE);
	return w;
}

int bpf_watch_open(int sock, struct bpf_watch **out, char why[BPF_WATCH_WHY_MAX])
{
	struct bpf_watch *w = watch_new();
	int cgroup, rc;

	if (!w)
		return lacks(why, -ENOMEM, "out of memory");
	cgroup = cgroup_open();
	rc = watch_begin(w, sock, cgroup, why);
	if (cgroup >= 0)
		close(cgroup);
	if (rc < 0) {
		bpf_watch_close(w);
		return rc;
	}
	*out = w;
	return 0;
}

int bpf_watch_adopt(int ring, struct bpf_watch **out)
{
	struct bpf_watch *w = watch_new();
	int rc;

	if (!w) {
		close(ring);
		return -ENOMEM;
	}
	w->ring = ring;
	rc = watch_map(w);
	if (rc < 0)
		bpf_watch_close(w);
	else
		*out = w;
	return rc;
}

void bpf_watch_close(struct bpf_watch *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < PROGRAMS; i++)
		if (w->links[i] >= 0)
			close(w->links[i]);
	if (w->put)
		munmap((void *)w->put, 3 * w->size);
	if (w->taken)
		munmap((void *)w->taken, w->size);
	if (w->ring >= 0)
		close(w->ring);
	free(w);
}

int bpf_watch_fd(const struct bpf_watch *w)
{
	return w->ring;
}

/* A ring that was full may have lost a hint of either. */
unsigned bpf_watch_take(struct bpf_watch *w)
{
	uint64_t at = *w->taken, end = *w->put;
	unsigned hints = end - at > w->size - 2 * RECORD ? BPF_WATCH_TCP | BPF_WATCH_UDP : 0;

	for (; at < end; at += RECORD) {
		const uint32_t *word = ring_word(w, at);

		if (__atomic_load_n(word, __ATOMIC_ACQUIRE) & BPF_RINGBUF_BUSY_BIT)
			break; /* being written; who writes it wakes us */
		hints |= word[RECORD_HEAD / sizeof(*word)];
	}
	*w->taken = at;
	return hints;
}
