/* SPDX-License-Identifier: MIT */
/*
 * json: writes one JSON value by calls, for status and its kin. Commas are put by the writer; the caller opens and
 * closes objects and lists in pairs. Pure.
 *
 * Names and paths are bytes on Linux; JSON is UTF-8. json_bytes() writes what is valid as it is, each invalid byte as
 * U+FFFD, and then once more, exact, in base64 under the key with "_bytes" added.
 */
#ifndef HOMEPORT_JSON_H
#define HOMEPORT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct json {
	struct wire_buf out; /* failed: out of memory, nothing written can be used */
	bool comma;          /* the next value stands behind another */
};

/* A zeroed struct is an empty writer; its text is out.data, out.len, without a NUL. json_free() empties it. */
void json_free(struct json *j);

/* `key` is NULL inside a list and for the outermost value. */
void json_open(struct json *j, const char *key, char bracket);
void json_close(struct json *j, char bracket);
void json_string(struct json *j, const char *key, const char *value); /* NULL: null. Valid UTF-8 is expected. */
void json_bytes(struct json *j, const char *key, const char *value);  /* NULL: null. In an object. */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);

#endif
