/* SPDX-License-Identifier: MIT */
/*
 * clock_step: a VM that slept has a clock that is late; it is set by the host's, where the host asks for that and this
 * is root. The host's time is asked for, and half of what that took is added, as Cristian has it.
 *
 * The clock is only ever set forward: one that is ahead is told, and left as it is, since programs would see a time
 * twice. What is less than a second is left to who keeps time here. Knows no loop: whoever owns it passes messages.
 */
#ifndef HOMEPORT_CLOCK_STEP_H
#define HOMEPORT_CLOCK_STEP_H

#include <stdint.h>
#include <stdio.h>

#define CLOCK_OFF_US   1000000 /* what is less is no matter of ours */
#define CLOCK_ROUND_US 500000  /* an answer that took longer says too little */
#define CLOCK_TRIES    5
#define CLOCK_SANE_S   1700000000 /* November 2023: a host whose clock is before that has none that is set */

/* One answer. Microseconds: of a clock that runs on while the machine sleeps, and since 1970. */
struct clock_answer {
	uint64_t asked_us, answered_us;
	uint64_t host_us, own_us; /* own_us: when it was answered */
};

enum clock_verdict {
	CLOCK_RIGHT,
	CLOCK_LATE,   /* to be set forward */
	CLOCK_AHEAD,  /* left as it is */
	CLOCK_UNSURE, /* the answer says too little */
};

/* Pure. *offset_us is what to add to the own clock to have the host's; of CLOCK_UNSURE it is untouched. */
enum clock_verdict clock_judge(const struct clock_answer *answer, int64_t *offset_us);

/* The machine's clocks, which tests do not touch. */
struct clock_ops {
	uint64_t (*boot_us)(void);
	uint64_t (*real_us)(void);
	int (*step)(int64_t offset_us); /* 0 or a negative errno */
};
extern const struct clock_ops clock_ops_machine;

struct clock_step;

struct clock_events {
	void (*ask)(void *ctx, uint64_t token); /* the host for its time, from inside the functions below */
};

/* NULL: out of memory. */
struct clock_step *clock_step_new(const struct clock_ops *ops, const struct clock_events *events, void *ctx);
void clock_step_free(struct clock_step *c); /* NULL is fine */

/* The host says that the clock may be wrong. */
void clock_step_check(struct clock_step *c);

/* The host's answer. 0, or -EPROTO: it was not asked that. */
int clock_step_answer(struct clock_step *c, uint64_t token, uint64_t host_us);

/* A line for `homeport-guest status`. */
void clock_step_report(const struct clock_step *c, FILE *out);

#endif
