/* SPDX-License-Identifier: MIT */
/*
 * sockowner: which process holds a socket, found by reading /proc/PID/fd. What can be read is a user's own processes,
 * or all of them as root; other sockets stay without a process.
 *
 * A machine may have hundreds of thousands of descriptors, so a search goes in steps that look at a bounded number of
 * them each. Processes are looked at from the newest to the oldest, the last one found before all others.
 */
#ifndef HOMEPORT_SOCKOWNER_H
#define HOMEPORT_SOCKOWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockowner;

/* The process `pid` holds the socket `inode`, wanted or not. Returns false to end the search. */
typedef bool sockowner_cb(void *ctx, uint64_t inode, uint32_t pid);

/* NULL: out of memory. Free takes NULL. */
struct sockowner *sockowner_new(void);
void sockowner_free(struct sockowner *s);

/* Begins a search, and forgets one that was under way. Returns 0 or a negative errno. */
int sockowner_begin(struct sockowner *s);

/* Looks at `budget` descriptors more. Returns whether there is more to look at. */
bool sockowner_step(struct sockowner *s, unsigned budget, sockowner_cb *cb, void *ctx);

/* A good place to begin the next search: the caller found what it wanted there. */
void sockowner_found(struct sockowner *s, uint32_t pid);

/* The process's name as text_printable() writes it; "" when it has gone. Returns name. */
char *sockowner_name(uint32_t pid, char *name, size_t size);

/* The name of a user by /etc/passwd alone (asking the name service may wait for a network), as text_printable() writes
 * it; "" when it is not there. Returns name. */
char *sockowner_user(uint32_t uid, char *name, size_t size);

/* The systemd unit the process belongs to, as text_printable() writes it: "nginx.service", "session-3.scope"; of what a
 * user's service manager started, that one's unit. "" when there is none. Returns unit. */
char *sockowner_unit(uint32_t pid, char *unit, size_t size);

/* The same of a process's path in the hierarchy of systemd's cgroups. Pure. */
char *sockowner_unit_of(const char *cgroup, char *unit, size_t size);

#endif
