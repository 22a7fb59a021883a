/* SPDX-License-Identifier: MIT */
/* See wire_fields.h. */
#include "wire_fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

void wire_get_text(struct wire_reader *r, char *dst, size_t size)
{
	size_t len;
	const uint8_t *at = wire_get_string(r, &len, size - 1);

	if (r->bad || (len && memchr(at, 0, len))) {
		r->bad = true;
		return;
	}
	if (len)
		memcpy(dst, at, len);
	dst[len] = '\0';
}

int wire_get_new_text(struct wire_reader *r, char **dst, size_t max)
{
	size_t len;
	const uint8_t *at = wire_get_string(r, &len, max);

	if (r->bad || (len && memchr(at, 0, len))) {
		r->bad = true;
		return 0;
	}
	*dst = malloc(len + 1);
	if (!*dst)
		return -ENOMEM;
	if (len)
		memcpy(*dst, at, len);
	(*dst)[len] = '\0';
	return 0;
}

void wire_get_bool(struct wire_reader *r, bool *dst)
{
	uint8_t v = wire_get_u8(r);

	r->bad |= v > 1;
	*dst = v == 1;
}

void wire_get_address(struct wire_reader *r, uint8_t family, uint8_t addr[16])
{
	static const uint8_t zero[12];
	const uint8_t *at = wire_get_bytes(r, 16);

	r->bad |= family != 4 && family != 6;
	if (r->bad)
		return;
	r->bad = family == 4 && memcmp(at + 4, zero, sizeof(zero)) != 0;
	memcpy(addr, at, 16);
}

bool wire_path_is_relative(const char *path)
{
	for (;;) {
		size_t n = strcspn(path, "/");

		if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		if (path[n] == '\0')
			return true;
		path += n + 1;
	}
}

bool wire_path_is_absolute(const char *path)
{
	return path[0] == '/' && (path[1] == '\0' || wire_path_is_relative(path + 1));
}
