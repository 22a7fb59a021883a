/* SPDX-License-Identifier: MIT */
/*
 * bringer: the first moments of a connection, while a shell of the guest speaks: waits until homeport-guest is there,
 * sends it where it is not, and hands the chan on. Bounded in bytes and in time. PROTOCOL.md, "Bringing the agent
 * along".
 */
#ifndef HOMEPORT_BRINGER_H
#define HOMEPORT_BRINGER_H

struct bringer;
struct chan;
struct chan_ssh_outcome;
struct guest_builds;
struct link_error;
struct loop;

/*
 * Called once, never before bringer_new() returned; the bringer frees itself afterwards. chan is the callee's, with no
 * owner set and nothing read of what homeport-guest says; NULL when it came to nothing (the chan is freed), and then
 * err says why.
 */
typedef void bringer_done_cb(void *ctx, struct chan *chan, const struct link_error *err);

#define BRINGER_PRINTED_MAX 400u

struct bringer_params {
	const char *name;                       /* of the host, for messages; valid as long as the bringer */
	const struct guest_builds *builds;      /* so too */
	const struct chan_ssh_outcome *outcome; /* of the chan; so too */
	char *printed; /* BRINGER_PRINTED_MAX bytes: gets what others printed before; NULL: it is only logged */
};

/* Takes the chan, also on failure. NULL: out of memory. */
struct bringer *bringer_new(struct loop *loop, struct chan *chan, const struct bringer_params *params,
			    bringer_done_cb *done, void *ctx);

/* Ends it from outside; `done` is not called, the chan is freed. NULL is fine. */
void bringer_free(struct bringer *b);

#endif
