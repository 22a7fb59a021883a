/* SPDX-License-Identifier: MIT */
/*
 * wire_fields: what messages are made of beyond numbers, read strictly: each marks the reader bad (wire.h) where the
 * bytes are not such a field, and leaves the target as it is. Pure.
 */
#ifndef HOMEPORT_WIRE_FIELDS_H
#define HOMEPORT_WIRE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_reader;

/* A string without NUL, into a field of `size` bytes, with its NUL. */
void wire_get_text(struct wire_reader *r, char *dst, size_t size);

/* A string of its own, of at most `max` bytes, for the caller to free. Returns 0 (also where the reader is bad, and
 * nothing was allocated) or -ENOMEM. */
int wire_get_new_text(struct wire_reader *r, char **dst, size_t max);

/* A byte, 0 or 1. */
void wire_get_bool(struct wire_reader *r, bool *dst);

/* 16 bytes of which family 4 uses the first four, and the others are zero; family is 4 or 6. */
void wire_get_address(struct wire_reader *r, uint8_t family, uint8_t addr[16]);

/* One or more components separated by single slashes, none of them "." or "..". */
bool wire_path_is_relative(const char *path);

/* The same behind a slash; or "/" alone. */
bool wire_path_is_absolute(const char *path);

#endif
