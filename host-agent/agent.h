/* SPDX-License-Identifier: MIT */
/* agent: the host's side of one pair, from the first connection to `down`. */
#ifndef HOMEPORT_AGENT_H
#define HOMEPORT_AGENT_H

#include "runtime_dir.h"

struct config;

/*
 * Makes what the configuration asks for true and keeps it so, until it is told to stop or finds that it cannot begin.
 * `instance` is runtime_dir_instance()'s. Logs what a person should know. Returns the exit status.
 */
int agent_run(const struct config *config, const struct runtime_dir *dir, const uint8_t instance[INSTANCE_SIZE]);

#endif
