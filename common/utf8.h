/* SPDX-License-Identifier: MIT */
/* utf8: one character out of bytes that may be anything. Pure. */
#ifndef HOMEPORT_UTF8_H
#define HOMEPORT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * The length of the UTF-8 character at p (RFC 3629: shortest form, no surrogates, up to U+10FFFF), with its code point
 * in *point; 0, and *point untouched, if it is none. len is at least 1. A NUL is a character of length 1.
 */
size_t utf8_read(const uint8_t *p, size_t len, uint32_t *point);

#endif
