/* SPDX-License-Identifier: MIT */
/* agent: `homeport-guest serve`, the process that owns the mounts and outlives connections. */
#ifndef HOMEPORT_AGENT_H
#define HOMEPORT_AGENT_H

#include <stdbool.h>

/*
 * Serves until it is told to stop or, on_demand, until no host has anything here any more. Returns the exit status; 0
 * also when another one serves this user already.
 */
int agent_serve(bool on_demand);

#endif
