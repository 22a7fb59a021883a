/* SPDX-License-Identifier: MIT */
/*
 * top_sample: what an agent says of one moment when it is asked `top SECONDS`, and what happened between two of them.
 * Pure but for memory.
 *
 * The answer is lines of words (ctl_words.h), "-" for what is not known:
 *
 *	session NAME STATE RTT_US WAITING TROUBLE	WAITING "-": the guest did not say what it counted
 *	guest KIND COUNT AT_ONCE TIMES			requests of the guest's programs, of all mounts
 *	host KIND COUNT - TIMES				what the guest asked of the shares' servers for these
 *	mount TARGET STATE REQUESTS READ WRITTEN	READ and WRITTEN are bytes of files
 *	port PROTO GUEST PROCESS CONNECTIONS IN OUT	those that answer here; IN and OUT are bytes
 *
 * TIMES is BUCKET:COUNT (histogram.h) with commas between.
 */
#ifndef HOMEPORT_TOP_SAMPLE_H
#define HOMEPORT_TOP_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "op_counters.h"

#define TOP_ROWS_MAX 16384u /* mounts, ports: no more than an agent has */

struct top_mount {
	char *target;
	char state[16];
	uint64_t requests, read, written;
};

struct top_port {
	char proto[8];
	char *guest;
	char process[64]; /* "" not known */
	uint64_t connections, in, out;
};

struct top_sample {
	uint64_t us; /* when it was taken, by the caller's clock */
	char name[80], state[16];
	char trouble[256]; /* why it is not connected, or "" */
	uint64_t rtt_us;   /* 0: not known */
	bool whole;        /* `session` was there */
	bool guest_told;   /* false: counters of the guest are those of the last time it told, at guest_us */
	uint64_t guest_us, waiting;
	struct op_counters guest, host;
	struct top_mount *mounts;
	struct top_port *ports;
	size_t mount_count, port_count;
	bool failed; /* a line was not understood, or memory is out */
};

/* Empties it, ready to be filled at the time `us`. A zeroed one can be freed, too. */
void top_sample_reset(struct top_sample *s, uint64_t us);
void top_sample_free(struct top_sample *s);

/* One line of the answer, which is changed. What is not understood makes the sample `failed`. */
void top_sample_line(struct top_sample *s, char *line);

/* The answer is over: where the guest did not tell, what it told `before` still holds. */
void top_sample_end(struct top_sample *s, const struct top_sample *before);

/* What happened to one kind of request. Times are in ns, 0 where none was taken. */
struct top_ops {
	uint64_t count, at_once, p50, p99;
	uint64_t host_count, host_p50, host_p99;
	bool ever; /* it is of a kind that was ever seen */
};

struct top_interval {
	uint64_t us, guest_us; /* how long it was; guest_us 0: the guest did not tell */
	struct top_ops ops[OP_KINDS];
	struct top_mount *mounts; /* those of `now`, with what was added; target points to now's */
	struct top_port *ports;   /* the same, the busiest first; connections are those of now */
	const struct top_sample *now;
};

/* False: out of memory. `now` must outlive it. `before` may be `now`: nothing has happened yet. */
bool top_interval_make(struct top_interval *out, const struct top_sample *before, const struct top_sample *now);
void top_interval_free(struct top_interval *i);

#endif
