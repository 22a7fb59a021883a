/* SPDX-License-Identifier: MIT */
/* ctl_client: a command's end of the control socket. Blocking; for the short-lived commands only. See ctl_socket.h. */
#ifndef HOMEPORT_CTL_CLIENT_H
#define HOMEPORT_CTL_CLIENT_H

#include <stddef.h>

struct runtime_dir;

/* Each line of an answer but the last; `text` is NUL-terminated, without its tag and end of line. */
typedef void ctl_line_fn(void *ctx, char tag, const char *text, size_t len);

/*
 * Asks the agent of `dir` and hands on its answer. Returns the exit status it gave; -ENOENT when none runs; -ETIMEDOUT
 * after timeout_s seconds (0: as long as it takes); -EINTR after a signal that was handled; -ECONNRESET when it ended
 * in the middle; another negative errno.
 */
int ctl_ask(const struct runtime_dir *dir, const char *request, unsigned timeout_s, ctl_line_fn *line, void *ctx);

/* What most commands do with a line: print it where it belongs. Progress is shown on a terminal only, in place. */
void ctl_print_line(void *ctx, char tag, const char *text, size_t len);

#endif
