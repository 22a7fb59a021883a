/* SPDX-License-Identifier: MIT */
/*
 * pair: two sessions, and a connection between them that does what a fuzzer's input says: takes and delivers any number
 * of bytes, breaks at any of them, on one side earlier than on the other, and is replaced. What the sessions promise is
 * checked all the time; a broken promise is an abort().
 */
#ifndef HOMEPORT_TEST_PAIR_H
#define HOMEPORT_TEST_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "session.h"
#include "wire.h"

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
_Noreturn void check_failed(const char *file, int line, const char *what);

/* A fuzzer's input, read as decisions; 0 when it has run out. */
struct input {
	const uint8_t *at;
	size_t left;
};
uint8_t input_u8(struct input *in);
/* 0 to 2^16, small ones likelier. */
size_t input_size(struct input *in);
/* Reads it, as far as a sanitizer can see. */
void input_touch(uint8_t byte);

enum {
	PAIR_HOST,
	PAIR_GUEST,
};

struct pair;
struct pair_user {
	/* Bytes of the stream arrived at `end`. */
	void (*data)(struct pair *p, int end, const uint8_t *data, size_t len);
	/* Or were to be moved, to what `outlet` (which may be NULL) gave: see session_outlet(). */
	int (*outlet)(struct pair *p, int end, size_t *max);
	void (*passed)(struct pair *p, int end, const uint8_t *data, size_t len);
	/* `end` may put up to what session_reserve() gives into its session. */
	void (*fill)(struct pair *p, int end);
};

struct pair {
	const struct pair_user *user;
	void *ctx;
	struct session *session[2];
	struct pair_end {
		struct pair *pair;
		int end;
	} ends[2];
	struct wire_buf wire[2]; /* bytes on their way from an end */
	bool here[2];            /* the end knows of the present connection */
	uint8_t greeting[512];
	size_t greeting_len;
	const uint8_t *moved; /* what session_passed() tells of */
	uint64_t now_us;
};

void pair_init(struct pair *p, const struct pair_user *user, void *ctx);
void pair_free(struct pair *p);

/* A new connection; the guest still has the old one until it hears of this. */
void pair_connect(struct pair *p);
/* An end learns that its connection is gone; what was on the way is lost. */
void pair_cut(struct pair *p, int end);
/* At most `max` bytes leave `end`. Returns how many. */
size_t pair_produce(struct pair *p, int end, size_t max);
/* At most `max` of the bytes that `end` sent arrive. Returns how many. */
size_t pair_deliver(struct pair *p, int end, size_t max);
void pair_wait(struct pair *p, uint64_t us);

/* One decision about the connection, by `op`. */
void pair_step(struct pair *p, struct input *in, uint8_t op);

/* A good connection until nothing moves any more. */
void pair_settle(struct pair *p);

#endif
