/* SPDX-License-Identifier: MIT */
/*
 * meet: where the short-lived `attach` of each connection finds the long-lived `serve` of the same user and the same
 * build. A socket in a folder that only this user can have made; whoever is at the other end must be the same user as
 * well (SO_PEERCRED).
 *
 * One message a direction: a request of text, with descriptors; an answer of text; end of file is the end.
 *
 *	attach SSH_CONNECTION	with stdin and stdout; the answer says what went wrong
 *	status			the answer is for a person
 *	hand-over INSTANCE	leaves what it has mounted for that host (32 hexadecimal digits) to whoever asks; the
 *				end says it is done
 *	release INSTANCE	gives up what it holds for that host; the end says it is done
 *
 * The latter three are asked of other builds too, and so stay as they are. What an agent does not know it ends.
 */
#ifndef HOMEPORT_MEET_H
#define HOMEPORT_MEET_H

#include <stdbool.h>
#include <stddef.h>

#define MEET_TEXT_MAX 8192u
#define MEET_FDS      2u

/*
 * Connects to the running serve (blocking, close-on-exec). Returns the descriptor; -ENOENT when none runs; -EPERM when
 * somebody else sits there; another negative errno.
 */
int meet_connect(void);

/* For each serve of this user on this machine, of other builds and, with `own`, of this one: connected as by
 * meet_connect(), with a time limit; closed afterwards. */
void meet_each(bool own, void (*ask)(void *ctx, int fd), void *ctx);

/* Has every serve of another build leave to us what it has mounted for a host, or give it up where it does not know
 * how, and waits until it has, a few seconds at most. */
void meet_release_others(const char *instance);

/* Whether a serve of the build runs. */
bool meet_build_runs(const char *build);

/*
 * For serve: takes the place (a lock beside the socket, held until the process ends) and listens, non-blocking.
 * Returns the descriptor; -EBUSY when another serve has the place; another negative errno. `folder` (of `size` bytes)
 * gets the folder it lies in.
 */
int meet_listen(char *folder, size_t size);

/* For serve, at its end: nobody finds it any more. */
void meet_unlisten(const char *folder);

/* Takes one connection from meet_listen()'s descriptor (non-blocking): -EAGAIN when none waits, -EPERM (closed) when
 * another user's process knocked. */
int meet_accept(int listener);

/* Sends text and `count` descriptors, which stay the caller's. 0 or a negative errno. */
int meet_send(int fd, const char *text, const int *fds, size_t count);

/*
 * Receives one message: its bytes (at most MEET_TEXT_MAX, always NUL-terminated) and exactly `count` descriptors, which
 * become the caller's (close-on-exec); the wrong number is closed and -EPROTO. Returns the length, 0 at the end of
 * file, -EAGAIN, or another negative errno.
 */
int meet_receive(int fd, char text[MEET_TEXT_MAX + 1], int *fds, size_t count);

/* Opens serve's log file beside the socket for appending (0600), where the service manager keeps none. */
int meet_open_log(void);

#endif
