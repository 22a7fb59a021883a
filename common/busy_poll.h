/* SPDX-License-Identifier: MIT */
/*
 * busy_poll: whether a loop polls for a moment before it sleeps. Pure: times are passed in.
 *
 * Theory of operation
 *
 * A turn in which a descriptor had something is likely followed by another soon: whoever got a message answers. A loop
 * that polls looks again and again, for BUSY_POLL_US at most, and between two looks gives its processor to whoever
 * wants it (sched_yield(2)), often the one that has the answer. Sleeping costs nothing, but its ends do: the processor
 * goes idle and has to be waked, in a VM by the hypervisor. Where others have work for the processors it is the other
 * way round: they need no waking, who sleeps goes before who works, and who polls is in the way.
 *
 * Which it is is not guessed but measured, by the time from one turn's events to the next one's: who answers sooner is
 * asked sooner, so it counts also what our polling gives to others, and takes from them, which the length of our waits
 * does not show. Of BUSY_POLL_TRIAL waits some are slept and some polled, BUSY_POLL_RUN in a row, the runs without an
 * order, as what is waited for may come in one; and the faster way is taken for BUSY_POLL_CHOSEN of them, and for fewer
 * the first times, when much is cold. Where there is no difference (nobody answers so soon) it is sleep.
 */
#ifndef HOMEPORT_BUSY_POLL_H
#define HOMEPORT_BUSY_POLL_H

#include <stdbool.h>
#include <stdint.h>

/* An answer through both agents takes a little less, where nobody sleeps on its way. */
#define BUSY_POLL_US     100u
#define BUSY_POLL_RUN    32u
#define BUSY_POLL_TRIAL  512u
#define BUSY_POLL_CHOSEN 4096u

/* Zeroed: of a loop that begins. */
struct busy_poll {
	enum { BUSY_POLL_TRY, BUSY_POLL_CHOSE_SLEEP, BUSY_POLL_CHOSE } stage;
	unsigned waits;               /* of this stage */
	unsigned chosen;              /* for how many the faster way was taken last */
	unsigned slept, polled;       /* events of the trial, */
	uint64_t slept_us, polled_us; /* and how long they took to come */
};

/* Whether the next wait begins with polling. */
bool busy_poll_now(const struct busy_poll *b);

/* A wait, as busy_poll_now() said, was over, because so many descriptors had something (more than 0): so long after the
 * events before it. */
void busy_poll_waited(struct busy_poll *b, unsigned events, uint64_t us);

#endif
