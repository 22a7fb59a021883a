/* SPDX-License-Identifier: MIT */
/* Listings asked for ahead. See lookahead.h. Runs on the loop's thread. */
#include "lookahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_call.h"
#include "fuse_dir.h"
#include "loop.h"

#define NAMES_BATCH     (256u << 10) /* some thousand names */
#define NAMES_PERIOD_US 1000000u     /* in which names are counted */
#define MAKING_SURE     24u          /* names made in a row before what is not listed there is taken for absent */
#define LOOKAHEAD_SURE  4u           /* a window this wide has proved itself */
#define SCAN_MAX        256u         /* entries looked at for the next directory of a walk */

struct fetch {
	LIST_ENTRY(fetch) link;
	struct mount *mount;
	struct share *share;
	struct node *dir; /* referenced */
	uint32_t generation;
	bool plus;
	struct call_list waiting;
};

/* --------------------------------------------------------------------------------------------------------- fetching */

static struct fetch *fetch_find(const struct mount *m, const struct node *dir)
{
	struct fetch *f;

	LIST_FOREACH(f, &m->ahead.fetches, link)
	if (f->dir == dir)
		return f;
	return NULL;
}

static void fetch_free(struct fetch *f)
{
	LIST_REMOVE(f, link);
	f->mount->ahead.under_way--;
	node_unref(f->mount->nodes, f->dir);
	free(f);
}

static void fetch_take(struct fetch *f, const struct sftp_reply *reply)
{
	struct mount *m = f->mount;
	uint64_t no_handle;
	struct listing *l = dir_listing_take(m, f->dir, f->generation, reply, f->plus, &no_handle);

	if (!l)
		return;
	l->ahead = true;
	lookahead_remember(m, f->dir, l);
	listing_unref(m->nodes, l);
}

static void fetch_done(void *ctx, const struct sftp_reply *reply)
{
	struct fetch *f = ctx;
	struct call_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct call *call;

	/* An error is met again by whoever asks for himself. */
	if (!reply->error)
		fetch_take(f, reply);
	TAILQ_CONCAT(&waiting, &f->waiting, waiting);
	fetch_free(f);
	while ((call = TAILQ_FIRST(&waiting))) {
		TAILQ_REMOVE(&waiting, call, waiting);
		call->waited_listing = true;
		call_start(call);
	}
}

static bool fetch_may_start(const struct mount *m, const struct node *dir)
{
	const struct share *s = dir->share == NODE_NO_SHARE ? NULL : m->shares[dir->share];

	return s && share_attached(s) && dir->server && !(dir->flags & NODE_STALE) && !fetch_find(m, dir) &&
	       !listing_memory_get(&m->listings, dir, loop_now_us(m->loop));
}

static void fetch_start(struct mount *m, struct node *dir, bool plus)
{
	struct share *s = m->shares[dir->share];
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return;
	*f = (struct fetch){.mount = m, .share = s, .generation = s->generation, .plus = plus, .dir = node_ref(dir)};
	TAILQ_INIT(&f->waiting);
	LIST_INSERT_HEAD(&m->ahead.fetches, f, link);
	m->ahead.under_way++;
	dir_listing_ask(s, dir, plus ? DIR_BATCH : NAMES_BATCH, NATIVE_OPENDIR_LIST | (plus ? NATIVE_READDIR_PLUS : 0));
	if (!sftp_client_end(s->client, fetch_done, f))
		fetch_free(f);
}

bool lookahead_wait(struct call *call, struct node *dir)
{
	struct fetch *f = call->waited_listing ? NULL : fetch_find(call->mount, dir);

	if (!f || !f->plus)
		return false;
	TAILQ_INSERT_TAIL(&f->waiting, call, waiting);
	call->waits_in = &f->waiting;
	call->state = CALL_QUEUED;
	return true;
}

/* ------------------------------------------------------------------------------------------------------------ names */

/* Its parent was listed, and lookahead has been right lately. */
static bool beside_others(const struct mount *m, const struct node *dir)
{
	return m->ahead.window >= LOOKAHEAD_SURE && dir->parent &&
	       listing_memory_get(&m->listings, dir->parent, loop_now_us(m->loop));
}

/* The directory's counts, anew where the last period is over. NULL: out of memory. */
static struct node_more *names_of(const struct mount *m, struct node *dir)
{
	uint8_t now = (uint8_t)(loop_now_us(m->loop) / NAMES_PERIOD_US);
	struct node_more *names = node_more(dir);

	if (!names || names->period == now)
		return names;
	/* Who made many goes on. */
	names->made = (uint8_t)(names->period + 1) == now ? names->made / 2 : 0;
	names->asked = 0;
	names->period = now;
	return names;
}

static void count_up(uint8_t *count)
{
	*count += *count < UINT8_MAX;
}

void lookahead_asked(struct mount *m, struct node *dir)
{
	struct node_more *names = names_of(m, dir);

	if (!names)
		return;
	if (m->ahead.under_way < LOOKAHEAD_MAX && fetch_may_start(m, dir)) {
		if (names->made >= MAKING_SURE)
			fetch_start(m, dir, false);
		else if (!names->made && (names->asked || beside_others(m, dir)))
			fetch_start(m, dir, true);
	}
	count_up(&names->asked);
}

void lookahead_found(struct node *dir)
{
	if (dir->more)
		dir->more->made = 0;
}

void lookahead_made(struct mount *m, struct node *dir)
{
	struct node_more *names = names_of(m, dir);

	if (names)
		count_up(&names->made);
}

bool lookahead_believes(struct mount *m, struct listing *l)
{
	struct node *dir = l->dir;
	const struct node_more *names = names_of(m, dir);

	if (!names || (l->count && names->made < MAKING_SURE))
		return false;
	/* In time for the next names. */
	if (loop_now_us(m->loop) - l->fetched_us > LISTING_KEEP_US / 2 && names->made >= MAKING_SURE &&
	    m->ahead.under_way < LOOKAHEAD_MAX && !fetch_find(m, dir))
		fetch_start(m, dir, false);
	lookahead_used(m, l);
	return true;
}

/* ------------------------------------------------------------------------------------------------------------ walks */

static bool window_open(const struct mount *m)
{
	return m->ahead.under_way + m->listings.ahead < m->ahead.window;
}

/* Asks for the directories among a listing's entries from `index` on, as far as the window lets. */
static void walk_on(struct mount *m, const struct listing *l, uint32_t index)
{
	uint32_t end = l->count - index < SCAN_MAX ? l->count : index + SCAN_MAX;

	for (; index < end && window_open(m); index++) {
		struct node *n = l->slots[index].node;

		if (n && n->flags & NODE_IS_DIR && fetch_may_start(m, n))
			fetch_start(m, n, true);
	}
}

void lookahead_opened(struct mount *m, struct node *dir)
{
	uint64_t now = loop_now_us(m->loop);
	const struct listing *in = listing_memory_get(&m->listings, dir, now);
	const struct listing *of = dir->parent ? listing_memory_get(&m->listings, dir->parent, now) : NULL;
	uint32_t index;

	if (!of || !dir->name || !listing_find(of, dir->name, strlen(dir->name), &index) || index >= of->count)
		return;
	/* Depth first is how nearly all of them go. */
	if (in)
		walk_on(m, in, 0);
	walk_on(m, of, index + 1);
}

/* ----------------------------------------------------------------------------------------------------- what is kept */

static void on_expire(void *ctx)
{
	struct mount *m = ctx;
	uint64_t now = loop_now_us(m->loop), next;

	if (listing_memory_expire(&m->listings, now, &next) && m->ahead.window > 1)
		m->ahead.window /= 2;
	if (next)
		loop_timer_set(m->ahead.expire, next - now);
	mount_flush(m);
}

void lookahead_remember(struct mount *m, struct node *dir, struct listing *l)
{
	/* A name in it may have been invalidated since. */
	if (l->stamp < m->shares[dir->share]->entries_stamp)
		return;
	if (listing_memory_put(&m->listings, dir, l) && !loop_timer_is_set(m->ahead.expire))
		loop_timer_set(m->ahead.expire, LISTING_KEEP_US);
}

void lookahead_used(struct mount *m, struct listing *l)
{
	if (listing_memory_use(&m->listings, l) && m->ahead.window < LOOKAHEAD_MAX)
		m->ahead.window *= 2;
}

int lookahead_init(struct mount *m)
{
	listing_memory_init(&m->listings, m->nodes);
	LIST_INIT(&m->ahead.fetches);
	m->ahead.window = 1;
	m->ahead.expire = loop_timer_new(m->loop, on_expire, m);
	return m->ahead.expire ? 0 : -ENOMEM;
}

void lookahead_end(struct mount *m)
{
	loop_timer_free(m->ahead.expire);
	m->ahead.expire = NULL;
	listing_memory_clear(&m->listings);
}
