/* SPDX-License-Identifier: MIT */
/* Asks the other sessions what they listen on. See siblings.h. */
#include "siblings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "ctl_client.h"
#include "loop.h"
#include "offload.h"
#include "runtime_dir.h"

#define SIBLING_ADDRESS_MAX (ADDRESS_TEXT_MAX + 8) /* and its protocol */
#define SESSIONS_MAX        32u
#define ADDRESSES_MAX       65536u
#define ANSWER_S            1u /* an agent answers at once, or not at all */

struct sibling_address {
	char address[SIBLING_ADDRESS_MAX];
	unsigned session; /* of `names` */
};

struct survey {
	char names[SESSIONS_MAX][RUNTIME_NAME_MAX + 1];
	unsigned sessions;
	struct sibling_address *addresses;
	size_t count, cap;
};

struct siblings {
	struct loop *loop;
	void (*known)(void *ctx);
	void *ctx;
	struct offload *asking;
	struct survey *last; /* NULL: none yet */
};

static void survey_free(void *job)
{
	struct survey *s = job;

	if (!s)
		return;
	free(s->addresses);
	free(s);
}

/* ----------------------------------------------------------------------------------------------------- on the thread
 */

static void on_name(void *ctx, const char *name)
{
	struct survey *s = ctx;

	if (s->sessions < SESSIONS_MAX)
		snprintf(s->names[s->sessions++], sizeof(s->names[0]), "%s", name);
}

static void on_line(void *ctx, char tag, const char *text, size_t len)
{
	struct survey *s = ctx;

	if (tag != 'o' || len >= SIBLING_ADDRESS_MAX || s->count == ADDRESSES_MAX)
		return;
	if (s->count == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		struct sibling_address *grown = reallocarray(s->addresses, cap, sizeof(*grown));

		if (!grown)
			return;
		s->addresses = grown;
		s->cap = cap;
	}
	s->addresses[s->count].session = s->sessions - 1;
	snprintf(s->addresses[s->count++].address, SIBLING_ADDRESS_MAX, "%s", text);
}

/* Each in turn, with its number as that of the last one. */
static void survey_run(void *job)
{
	struct survey *s = job;
	char why[RUNTIME_WHY_MAX];
	struct runtime_dir dir;
	unsigned all;

	runtime_dir_each(on_name, s);
	all = s->sessions;
	for (s->sessions = 1; s->sessions <= all; s->sessions++)
		if (runtime_dir_open(&dir, s->names[s->sessions - 1], false, why) == 0)
			ctl_ask(&dir, "listens", ANSWER_S, on_line, s);
	s->sessions = all;
}

/* ------------------------------------------------------------------------------------------------------- on the loop
 */

static struct survey *survey_new(void)
{
	return calloc(1, sizeof(struct survey));
}

static void survey_done(void *ctx, void *job)
{
	struct siblings *s = ctx;
	struct survey *found = job, *kept = survey_new();

	s->asking = NULL;
	if (!kept)
		return;
	*kept = *found;
	found->addresses = NULL;
	survey_free(s->last);
	s->last = kept;
	s->known(s->ctx);
}

static const struct offload_work survey = {
	.name = "siblings",
	.run = survey_run,
	.done = survey_done,
	.free = survey_free,
};

void siblings_refresh(struct siblings *s)
{
	struct survey *job = s->asking ? NULL : survey_new();

	if (job)
		s->asking = offload_start(s->loop, &survey, job, s);
}

const char *siblings_name(const struct siblings *s, const char *address)
{
	for (size_t i = 0; s->last && i < s->last->count; i++)
		if (!strcmp(s->last->addresses[i].address, address))
			return s->last->names[s->last->addresses[i].session];
	return NULL;
}

struct siblings *siblings_new(struct loop *loop, void (*known)(void *ctx), void *ctx)
{
	struct siblings *s = calloc(1, sizeof(*s));

	if (s)
		*s = (struct siblings){.loop = loop, .known = known, .ctx = ctx};
	return s;
}

void siblings_free(struct siblings *s)
{
	if (!s)
		return;
	offload_cancel(s->asking);
	survey_free(s->last);
	free(s);
}
