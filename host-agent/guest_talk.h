/* SPDX-License-Identifier: MIT */
/*
 * guest_talk: one command of homeport-guest, run in the guest over a connection of its own, brought along where it is
 * not there. What it says comes line by line, with a letter in front. PROTOCOL.md, "Bringing the agent along".
 */
#ifndef HOMEPORT_GUEST_TALK_H
#define HOMEPORT_GUEST_TALK_H

#include <stdbool.h>

struct config;
struct link_error;

/* A line, made printable. A question (`q`) is then answered by what is typed on stdin: y or yes, else it is a no. */
typedef void guest_talk_line_fn(void *ctx, char letter, const char *text);

/*
 * Runs `homeport-guest WORDS` to its end, in a loop of its own. Its exit status; or -1, with the reason in err: there
 * was no connection, or it ended too early.
 */
int guest_talk_run(const struct config *config, const char *words, guest_talk_line_fn *line, void *ctx,
		   struct link_error *err);

#endif
