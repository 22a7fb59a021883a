/* SPDX-License-Identifier: MIT */
/* agent: the host's side of one pair, from the first connection to `down`. */
#ifndef HOMEPORT_AGENT_H
#define HOMEPORT_AGENT_H

#include "desired.h"
#include "options.h"
#include "runtime_dir.h"

struct agent_start {
	const struct desired *desired;
	const struct options *options; /* what it was made of, for when it is read again */
	const char *folder;            /* where that was, for what is relative; NULL: not known */
	const struct runtime_dir *dir;
	uint8_t instance[INSTANCE_SIZE]; /* runtime_dir_instance()'s */
};

/*
 * Makes what the configuration asks for true and keeps it so, until it is told to stop or finds that it cannot begin.
 * Logs what a person should know. Returns the exit status.
 */
int agent_run(const struct agent_start *start);

#endif
