/* SPDX-License-Identifier: MIT */
/*
 * features: what newer kernels offer and older ones do not, by name. HOMEPORT_FEATURES=-statx,-tmpfile pretends that it
 * is not offered, so that every way is tested on any kernel.
 */
#ifndef HOMEPORT_FEATURES_H
#define HOMEPORT_FEATURES_H

#include <stdbool.h>

enum feature {
	FEATURE_STATX,       /* FUSE_STATX, Linux 6.6 */
	FEATURE_TMPFILE,     /* FUSE_TMPFILE, Linux 6.1 */
	FEATURE_DIRECT_MMAP, /* FUSE_DIRECT_IO_ALLOW_MMAP, Linux 6.6 */
	FEATURE_BPF_WATCH,   /* SO_NETNS_COOKIE, and the same in BPF_PROG_TYPE_SOCK_OPS, Linux 5.15 */
	FEATURE_RESEND,      /* FUSE_NOTIFY_RESEND, Linux 6.9 */
	FEATURE_SET_CLOCK,   /* that root may set the clock: not in a container, nor where a test must not */
	FEATURE_COUNT,
};

const char *feature_name(enum feature f);

/* Whether the list ("-name,-name"; NULL: none) leaves it on. What it does not know it passes over. */
bool feature_in(const char *list, enum feature f);

/* The same of the environment's list. */
bool feature_on(enum feature f);

#endif
