/* SPDX-License-Identifier: MIT */
/*
 * Forwards from end to end in one process: reports in, real listeners, real connections through two muxes to real
 * servers. The guest's side is a few lines (dial has its own tests); "the guest" listens on 127.0.0.2.
 */
#ifndef HOMEPORT_TEST_FORWARD_WORLD_H
#define HOMEPORT_TEST_FORWARD_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "control_msg.h"
#include "forward.h"
#include "loop.h"
#include "rules.h"
#include "socket_path.h"

#define GUEST "127.0.0.2"

struct world {
	struct loop *loop;
	struct rules *rules;
	struct mux_pair *pair;
	struct forward *forward;
	struct loop_timer *timer;
	unsigned changes;
	uint16_t port; /* what a script works with */
	const char *(*script)(struct world *w);
	const char *result;
	int done[2];
};

extern const struct forward_events world_events;
extern const struct socket_world world_names;

/* `rule`, if any, goes before the one that forwards all of GUEST to localhost. */
struct world *world_new(const struct rule_spec *rule, unsigned max_forwards);
void world_free(struct world *w);
void world_add_rule(struct world *w, const struct rule_spec *spec);
void world_run_ms(struct world *w, unsigned ms);

/* The session with the guest is lost, and there is another. */
void world_lose_session(struct world *w);

/*
 * Runs clients and servers with blocking sockets in a thread of its own while the loop runs. A script returns NULL, or
 * what went wrong: the test then fails with it.
 */
void world_run_script(struct world *w, const char *(*script)(struct world *w));

/* What the guest says of its ports. */
struct listener listener_at(uint64_t key, const char *ip, uint16_t port);
void report(struct world *w, uint64_t key, const char *ip, uint16_t port);
void unreport(struct world *w, uint64_t key);
void world_run_left(struct world *w); /* until the addresses of what is not reported any more are let go */
void snapshot(struct world *w, enum control_type type, uint64_t epoch);

/* The row of this guest address, or the last of all (NULL), and how many there are. */
struct one {
	const char *guest;
	struct forward_info info;
	char reason[256], process[256];
	unsigned count;
};
struct one row(struct world *w, const char *guest);

/* Sockets; -1 where it cannot be. A port of 0 becomes the one the kernel chose. Reads give up after 5 s. */
int listen_at(const char *ip, uint16_t *port);
int dial4(uint16_t port);
int dial6(uint16_t port);
int listen6(uint16_t port); /* on ::1 */
int listen_path(const char *path);
int dial_path(const char *path);

/* Whether the host answers on the port. */
bool answers(uint16_t port, bool six);

/* A port free on every loopback address, never given twice, and below those the kernel gives to clients. */
uint16_t free_port(void);

unsigned open_fds(void);
double now_ms(void);

/* Of a connection's end: it sends the text; it receives just that, or the end. */
bool says(int fd, const char *text);
bool hears(int fd, const char *text);
bool hears_end(int fd);

#endif
