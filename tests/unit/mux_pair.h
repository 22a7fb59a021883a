/* SPDX-License-Identifier: MIT */
/* Two muxes in one loop, joined by nothing but memory: what one produces in a turn the other receives in it. */
#ifndef HOMEPORT_TEST_MUX_PAIR_H
#define HOMEPORT_TEST_MUX_PAIR_H

#include "mux.h"

struct loop;
struct mux_pair;

typedef void mux_pair_open_cb(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args,
			      size_t len);

/* guest_open is called for each stream the host opens. */
struct mux_pair *mux_pair_new(struct loop *loop, mux_pair_open_cb *guest_open, void *ctx);
void mux_pair_free(struct mux_pair *p);

struct mux *mux_pair_host(struct mux_pair *p);
struct mux *mux_pair_guest(struct mux_pair *p);

/* What the guest opens is the callee's, instead of being refused; ctx as above. */
void mux_pair_on_host_open(struct mux_pair *p, mux_pair_open_cb *host_open);

#endif
