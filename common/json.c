/* SPDX-License-Identifier: MIT */
/* A JSON writer. See json.h. */
#include "json.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

void json_free(struct json *j)
{
	wire_buf_free(&j->out);
	j->comma = false;
}

static void put_text(struct json *j, const char *text)
{
	wire_put_bytes(&j->out, text, strlen(text));
}

static void put_quoted(struct json *j, const char *value)
{
	const uint8_t *p = (const uint8_t *)value;
	size_t len = strlen(value), n;
	uint32_t point;
	char escape[8];

	wire_put_u8(&j->out, '"');
	for (size_t i = 0; i < len; i += n ? n : 1) {
		n = utf8_read(p + i, len - i, &point);
		if (!n) {
			put_text(j, "\xef\xbf\xbd");
		} else if (n == 1 && (p[i] < ' ' || p[i] == 0x7f)) {
			snprintf(escape, sizeof(escape), "\\u%04x", p[i]);
			put_text(j, escape);
		} else {
			if (p[i] == '"' || p[i] == '\\')
				wire_put_u8(&j->out, '\\');
			wire_put_bytes(&j->out, p + i, n);
		}
	}
	wire_put_u8(&j->out, '"');
}

static void put_key(struct json *j, const char *key)
{
	if (j->comma)
		wire_put_u8(&j->out, ',');
	j->comma = true;
	if (key) {
		put_quoted(j, key);
		wire_put_u8(&j->out, ':');
	}
}

void json_open(struct json *j, const char *key, char bracket)
{
	put_key(j, key);
	wire_put_u8(&j->out, (uint8_t)bracket);
	j->comma = false;
}

void json_close(struct json *j, char bracket)
{
	wire_put_u8(&j->out, (uint8_t)bracket);
	j->comma = true;
}

void json_string(struct json *j, const char *key, const char *value)
{
	put_key(j, key);
	if (value)
		put_quoted(j, value);
	else
		put_text(j, "null");
}

static void put_base64(struct json *j, const uint8_t *p, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	wire_put_u8(&j->out, '"');
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v =
			(uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);

		wire_put_u8(&j->out, (uint8_t)digits[v >> 18]);
		wire_put_u8(&j->out, (uint8_t)digits[v >> 12 & 63]);
		wire_put_u8(&j->out, left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=');
		wire_put_u8(&j->out, left > 2 ? (uint8_t)digits[v & 63] : '=');
	}
	wire_put_u8(&j->out, '"');
}

static bool is_utf8(const char *value)
{
	const uint8_t *p = (const uint8_t *)value;
	size_t len = strlen(value), n;
	uint32_t point;

	for (size_t i = 0; i < len; i += n) {
		n = utf8_read(p + i, len - i, &point);
		if (!n)
			return false;
	}
	return true;
}

void json_bytes(struct json *j, const char *key, const char *value)
{
	char twin[64];

	json_string(j, key, value);
	if (!value || is_utf8(value))
		return;
	snprintf(twin, sizeof(twin), "%s_bytes", key);
	put_key(j, twin);
	put_base64(j, (const uint8_t *)value, strlen(value));
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	char digits[24];

	put_key(j, key);
	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
	put_text(j, digits);
}

void json_bool(struct json *j, const char *key, bool value)
{
	put_key(j, key);
	put_text(j, value ? "true" : "false");
}
