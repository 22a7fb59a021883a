/* SPDX-License-Identifier: MIT */
/*
 * lent_watch: the agent's side of a watch of ports that a helper attaches, as root, for one that is not: the helper
 * that systemd starts, else one by `sudo -n`. The helper lives as long as the lent_watch, and the watch as long as the
 * helper. On the loop's thread; the loop waits for nobody.
 */
#ifndef HOMEPORT_LENT_WATCH_H
#define HOMEPORT_LENT_WATCH_H

struct lent_watch;
struct loop;

struct lent_watch_events {
	/* The ring of a watch (bpf_watch_adopt()); it becomes the callee's. May free. */
	void (*lent)(void *ctx, int ring);
	/* There is none to be had (a clause why, or NULL: nobody answered), or no more: the last word. May free. */
	void (*ended)(void *ctx, const char *why);
};

/* Asks from the next turn on. NULL: out of memory. */
struct lent_watch *lent_watch_new(struct loop *loop, const struct lent_watch_events *events, void *ctx);

/* Ends the helper. NULL is fine. */
void lent_watch_free(struct lent_watch *l);

#endif
