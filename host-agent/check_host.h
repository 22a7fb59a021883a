/* SPDX-License-Identifier: MIT */
/* check_host: each thing of this machine that has to be right for it to be a host, for `doctor`. Blocks, not for long.
 */
#ifndef HOMEPORT_CHECK_HOST_H
#define HOMEPORT_CHECK_HOST_H

#include <stdbool.h>

#include "check.h"

typedef void check_fn(void *ctx, const struct check *check);

/* own_guest: the session names a homeport-guest of the guest's, so none has to be here. */
void check_host_all(bool own_guest, check_fn *each, void *ctx);

#endif
