/* SPDX-License-Identifier: MIT */
/* sandbox: what a share's server gives up before it reads a request, in named stages. For one thread, before others. */
#ifndef HOMEPORT_SANDBOX_H
#define HOMEPORT_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#define SANDBOX_WHY_MAX 200

struct sandbox_options {
	int root_fd; /* all that stays reachable by name */
	bool writable;
	bool best_effort; /* a stage the kernel does not have is passed over with a warning */
};

/* Closes every descriptor but 0, 1, 2 and `keep` (-1: none), which becomes 3. Returns 3 or -1; -errno. */
int sandbox_close_descriptors(int keep);

/* Raises the number of descriptors as far as we may and as is of use; bounds memory. The number; -errno. */
long sandbox_limit_resources(void);

/* No way back from here. Negative errno, and why in one sentence. */
int sandbox_enter(const struct sandbox_options *options, char why[SANDBOX_WHY_MAX]);

#endif
