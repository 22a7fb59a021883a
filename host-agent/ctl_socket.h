/* SPDX-License-Identifier: MIT */
/*
 * ctl_socket: where the commands reach a running agent. A 0600 socket in a 0700 folder; only the same user may speak.
 *
 * A request is one line of words. The answer is lines whose first byte says what they are for: the agent decides what
 * is printed, the command prints it. Both are of one program, so there is nothing to parse and nothing to version:
 *
 *	o TEXT   a line for standard output		p TEXT   progress, for a terminal
 *	e TEXT   a line for standard error		c        what follows replaces what was shown (--watch)
 *	x N      the exit status: the answer is over
 */
#ifndef HOMEPORT_CTL_SOCKET_H
#define HOMEPORT_CTL_SOCKET_H

#include <stddef.h>

#define CTL_REQUEST_MAX 16384 /* two paths, each byte as %XX */
#define CTL_CLIENTS_MAX 64
#define CTL_QUEUE_MAX   (8u << 20) /* what a client that does not read may have waiting before it is dropped */

struct ctl_client;
struct ctl_socket;
struct loop;

/* A client asked. It is answered now or later, by ctl_client_line() and ctl_client_exit(), until `gone`. */
struct ctl_events {
	void (*request)(void *ctx, struct ctl_client *client, const char *line);
	/* The client went away, or was dropped, before it was answered to the end; the pointer is not valid any more.
	 */
	void (*gone)(void *ctx, struct ctl_client *client);
};

/* Listens at path, where a socket that nobody serves is replaced (the caller holds the lock that says so). NULL with
 * errno set. */
struct ctl_socket *ctl_socket_new(struct loop *loop, const char *path, const struct ctl_events *events, void *ctx);

/* Sends what is waiting as far as it goes at once, closes everything; `gone` is not called. NULL is fine. */
void ctl_socket_free(struct ctl_socket *s);

/* Appends a line of kind `tag`. Never calls back. */
void ctl_client_line(struct ctl_client *c, char tag, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void ctl_client_text(struct ctl_client *c, char tag, const char *text, size_t len); /* one line, of any length */

/* Bytes that wait until the client reads. */
size_t ctl_client_waiting(const struct ctl_client *c);

/* The answer is over; the client is freed once it has it all, and is not the caller's any more. */
void ctl_client_exit(struct ctl_client *c, int status);

#endif
