/* SPDX-License-Identifier: MIT */
/*
 * connector: one attempt to connect, on a thread of its own, so that names, ssh-agents and key exchanges may take their
 * time. The loop never waits for the thread: an attempt that is given up ends by itself, and takes its memory with it.
 */
#ifndef HOMEPORT_CONNECTOR_H
#define HOMEPORT_CONNECTOR_H

struct connector;
struct link_error;
struct link_params;
struct loop;
struct ssh_login;
struct ssh_target;

/*
 * The attempt is over. The login is the callee's; NULL when it failed, and then err says why. The target is valid
 * during the call, NULL when it was not found out. The connector is gone when this is called.
 */
typedef void connector_done_fn(void *ctx, struct ssh_login *login, const struct ssh_target *target,
			       const struct link_error *err);

/* Starts. The strings of params are copied. NULL: out of memory, descriptors or threads. */
struct connector *connector_start(struct loop *loop, const struct link_params *params, connector_done_fn *done,
				  void *ctx);

/* Gives up; done is not called any more. NULL is fine. */
void connector_cancel(struct connector *c);

#endif
