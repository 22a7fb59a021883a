/* SPDX-License-Identifier: MIT */
/* See clock_step.h. */
#include "clock_step.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#include "features.h"
#include "log.h"

#define MICRO 1000000

enum clock_verdict clock_judge(const struct clock_answer *answer, int64_t *offset_us)
{
	uint64_t round = answer->answered_us - answer->asked_us;
	int64_t offset;

	if (answer->answered_us < answer->asked_us || round > CLOCK_ROUND_US ||
	    answer->host_us < (uint64_t)CLOCK_SANE_S * MICRO || answer->host_us > INT64_MAX / 2 ||
	    answer->own_us > INT64_MAX / 2)
		return CLOCK_UNSURE;
	offset = (int64_t)answer->host_us + (int64_t)(round / 2) - (int64_t)answer->own_us;
	*offset_us = offset;
	if (offset > CLOCK_OFF_US)
		return CLOCK_LATE;
	return offset < -CLOCK_OFF_US ? CLOCK_AHEAD : CLOCK_RIGHT;
}

/* --- the machine's ---------------------------------------------------------------------------------------------- */

static uint64_t read_clock(clockid_t id)
{
	struct timespec now = {0};

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * MICRO + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t machine_boot_us(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

static uint64_t machine_real_us(void)
{
	return read_clock(CLOCK_REALTIME);
}

/* By how much, and not to what: no time passes in between. */
static int machine_step(int64_t offset_us)
{
	struct timex change = {.modes = ADJ_SETOFFSET};

	if (!feature_on(FEATURE_SET_CLOCK))
		return -EPERM;
	change.time.tv_sec = (time_t)(offset_us / MICRO);
	change.time.tv_usec = (suseconds_t)(offset_us % MICRO);
	return clock_adjtime(CLOCK_REALTIME, &change) < 0 ? -errno : 0;
}

const struct clock_ops clock_ops_machine = {machine_boot_us, machine_real_us, machine_step};

/* --- one host's ------------------------------------------------------------------------------------------------- */

struct clock_step {
	const struct clock_ops *ops;
	const struct clock_events *events;
	void *ctx;
	uint64_t token, asked_us; /* of the last question */
	unsigned tries;           /* that question is one of these; 0: it is answered */
	unsigned looks, steps;
	int64_t offset_us; /* at the last look, before what was done about it */
	bool told;         /* that it cannot be set */
};

static void ask(struct clock_step *c)
{
	c->tries++;
	c->token++;
	c->asked_us = c->ops->boot_us();
	c->events->ask(c->ctx, c->token);
}

void clock_step_check(struct clock_step *c)
{
	c->tries = 0;
	ask(c);
}

/* Once, until it is right again. */
static void tell(struct clock_step *c, const char *text)
{
	if (!c->told)
		log_warn("%s", text);
	c->told = true;
}

static void step(struct clock_step *c, int64_t offset_us)
{
	int rc = c->ops->step(offset_us);
	char text[256];

	if (rc == 0) {
		c->steps++;
		log_info("the clock was %.1f s behind the host's, and is set to it", (double)offset_us / MICRO);
		return;
	}
	snprintf(text, sizeof(text), "the clock is %.1f s behind the host's, and cannot be set: %s%s",
		 (double)offset_us / MICRO, strerror(-rc),
		 rc == -EPERM ? "; homeport-guest(8), CLOCK, says what that takes" : "");
	tell(c, text);
}

static void act(struct clock_step *c, enum clock_verdict verdict, int64_t offset_us)
{
	char text[256];

	c->looks++;
	c->offset_us = offset_us;
	if (verdict == CLOCK_LATE) {
		step(c, offset_us);
	} else if (verdict == CLOCK_AHEAD) {
		snprintf(text, sizeof(text),
			 "the clock is %.1f s ahead of the host's; it is not set back, as programs would see a time "
			 "twice",
			 (double)-offset_us / MICRO);
		tell(c, text);
	} else {
		c->told = false;
	}
}

int clock_step_answer(struct clock_step *c, uint64_t token, uint64_t host_us)
{
	struct clock_answer answer = {c->asked_us, c->ops->boot_us(), host_us, c->ops->real_us()};
	enum clock_verdict verdict;
	int64_t offset_us = 0;

	if (token == 0 || token > c->token)
		return -EPROTO;
	if (token < c->token || c->tries == 0)
		return 0; /* asked anew since */
	verdict = clock_judge(&answer, &offset_us);
	if (verdict == CLOCK_UNSURE && c->tries < CLOCK_TRIES) {
		ask(c);
		return 0;
	}
	c->tries = 0;
	if (verdict == CLOCK_UNSURE)
		tell(c, "the host's time is not known well enough to set the clock by");
	else
		act(c, verdict, offset_us);
	return 0;
}

void clock_step_report(const struct clock_step *c, FILE *out)
{
	if (c->looks == 0)
		fprintf(out, "  clock: not compared with the host's yet\n");
	else
		fprintf(out, "  clock: compared with the host's %u times, at last %.1f s %s; set %u times\n", c->looks,
			(double)(c->offset_us < 0 ? -c->offset_us : c->offset_us) / MICRO,
			c->offset_us < 0 ? "ahead" : "behind", c->steps);
}

struct clock_step *clock_step_new(const struct clock_ops *ops, const struct clock_events *events, void *ctx)
{
	struct clock_step *c = calloc(1, sizeof(*c));

	if (c)
		*c = (struct clock_step){.ops = ops, .events = events, .ctx = ctx};
	return c;
}

void clock_step_free(struct clock_step *c)
{
	free(c);
}
