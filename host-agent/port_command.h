/* SPDX-License-Identifier: MIT */
/*
 * port_command: onForward of the configuration: a program that is run when a port begins, or ceases, to answer here.
 * The facts are in its environment (homeport.yaml(5)); there is no shell. The loop waits for none: a few run at once,
 * some more wait for their turn, and one that takes too long is ended.
 */
#ifndef HOMEPORT_PORT_COMMAND_H
#define HOMEPORT_PORT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

struct forward_info;
struct loop;
struct port_command;

/* `name` is the session's, and must outlive it. NULL: out of memory. */
struct port_command *port_command_new(struct loop *loop, const char *name);

/* Ends what runs, forgets what waits. NULL is fine. */
void port_command_free(struct port_command *c);

/* What is run from now on, copied; no words: nothing. 0 or -ENOMEM, and nothing is run. */
int port_command_set(struct port_command *c, char *const *words, size_t count);

/* A port stands differently, or is gone: as forward_events.port. */
void port_command_port(struct port_command *c, const struct forward_info *info, bool gone);

#endif
