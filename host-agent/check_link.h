/* SPDX-License-Identifier: MIT */
/* check_link: the way to a guest, and what the guest finds of itself, for `doctor`. Blocks until that is known. */
#ifndef HOMEPORT_CHECK_LINK_H
#define HOMEPORT_CHECK_LINK_H

#include <stdbool.h>

#include "check.h"

struct config;

typedef void check_side_fn(void *ctx, bool guest, const struct check *check);

/* Logs in as the agent does, and has `homeport-guest doctor` run there, brought along as by `up`. */
void check_link(const struct config *config, check_side_fn *each, void *ctx);

#endif
