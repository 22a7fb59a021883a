/* SPDX-License-Identifier: MIT */
/* link_params: a deep copy of struct link_params (link.h), for those who outlive the one who gave it. */
#ifndef HOMEPORT_LINK_PARAMS_H
#define HOMEPORT_LINK_PARAMS_H

struct link_params;

/* NULL when out of memory. */
struct link_params *link_params_copy(const struct link_params *params);
void link_params_free(struct link_params *params); /* NULL is fine; only what link_params_copy() made */

#endif
