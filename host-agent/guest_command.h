/* SPDX-License-Identifier: MIT */
/*
 * guest_command: a connection of its own, as the agent's is made, on which one command of homeport-guest runs, brought
 * along where it is not there. What is said on it is its caller's.
 */
#ifndef HOMEPORT_GUEST_COMMAND_H
#define HOMEPORT_GUEST_COMMAND_H

#include "guest_builds.h"
#include "link.h"

struct config;
struct loop;

struct guest_command {
	struct loop *loop;
	struct link *link;
	struct guest_builds builds;
};

/*
 * A loop, and a link that will run `homeport-guest WORDS`; the caller may add to the loop before guest_command_run().
 * 0 or -ENOMEM, of descriptors too; guest_command_end() is due in either case.
 */
int guest_command_begin(struct guest_command *g, const struct config *config, const char *words,
			const struct link_events *events, void *ctx);

/* Connects, and runs the loop until loop_stop(). */
void guest_command_run(struct guest_command *g);

/* The chan that the link gave away, and what the caller has on the loop, are freed before. */
void guest_command_end(struct guest_command *g);

#endif
