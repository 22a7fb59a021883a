/* SPDX-License-Identifier: MIT */
/*
 * greeter: the first moments of a connection, before anybody knows whose it is. Reads the host's banner and HELLO from
 * a chan, bounded in bytes and in time, and hands both on. PROTOCOL.md, "HELLO".
 */
#ifndef HOMEPORT_GREETER_H
#define HOMEPORT_GREETER_H

#include <stddef.h>
#include <stdint.h>

#include "session.h"

struct chan;
struct greeter;
struct loop;

/*
 * Called once, never before greeter_new() returned; the greeter frees itself afterwards. chan is the callee's, with no
 * owner set; `rest` came behind the HELLO and is valid for the call. On failure chan is NULL (freed) and `why` a
 * sentence.
 */
typedef void greeter_done_cb(void *ctx, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
			     size_t rest_len, const char *why);

/* Takes the chan, also on failure. NULL: out of memory. */
struct greeter *greeter_new(struct loop *loop, struct chan *chan, greeter_done_cb *done, void *ctx);

/* Answers a HELLO that finds no session here, and ends the connection; the chan is taken. */
void greeter_refuse(struct chan *chan, enum session_reason reason, const char *text);

/* Ends it from outside; `done` is not called, the chan is freed. NULL is fine. */
void greeter_free(struct greeter *g);

#endif
