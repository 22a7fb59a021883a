/* SPDX-License-Identifier: MIT */
/*
 * backoff: how long to wait before the next attempt to connect, and whether the machine slept meanwhile. Pure: the
 * clocks are passed in.
 */
#ifndef HOMEPORT_BACKOFF_H
#define HOMEPORT_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

/* A VM that restarts its sshd is back within a pause or two; one that is down costs an attempt every 2 s. */
#define BACKOFF_FIRST_US 50000u
#define BACKOFF_MAX_US   2000000u
/* After what only a person can mend: a mended configuration is noticed soon enough, and nothing is hammered. */
#define BACKOFF_PERMANENT_US 10000000u
/* A connection that stood so long was a good one: the next pause starts small again. */
#define BACKOFF_GOOD_US 1000000u

struct backoff {
	uint64_t next_us;      /* the pause the next failure gets; 0: the first */
	uint64_t connected_us; /* when the present connection came up; 0: there is none */
};

/* The pause after a failed attempt: 50 ms, doubled each time up to 2 s. */
uint64_t backoff_failed(struct backoff *b, bool permanent);

/* A connection is up. */
void backoff_connected(struct backoff *b, uint64_t now_us);

/* The pause after the connection ended. One that ended as soon as it was there counts as a failed attempt. */
uint64_t backoff_lost(struct backoff *b, uint64_t now_us);

/* Something changed for the better: start small again. */
void backoff_reset(struct backoff *b);

/* CLOCK_BOOTTIME runs while the machine sleeps, CLOCK_MONOTONIC does not: their difference grows by the sleep. */
struct sleep_watch {
	uint64_t ahead_us; /* boottime - monotonic when last looked */
	bool started;
};

/* True when the machine slept since the last call (more than the readings' own noise). False the first time. */
bool sleep_watch_slept(struct sleep_watch *w, uint64_t boottime_us, uint64_t monotonic_us);

#endif
