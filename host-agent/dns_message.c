/* SPDX-License-Identifier: MIT */
/* See dns_message.h. Offsets are those of RFC 1035, 4.1. */
#include "dns_message.h"

#include <ctype.h>
#include <string.h>

#include "wire.h"

#define FLAG_ANSWER    0x80 /* in byte 2 */
#define FLAG_ASKED     0x79 /* of the same: the operation, and that recursion is desired, as they were asked */
#define FLAG_AUTHORITY 0x04
#define FLAG_RECURSION 0x80 /* in byte 3 */
#define SERVFAIL       2
#define TTL_S          30u

bool dns_is_question(const uint8_t *message, size_t len)
{
	return len >= DNS_HEAD && !(message[2] & FLAG_ANSWER);
}

bool dns_is_answer(const uint8_t *answer, size_t len, const uint8_t *question, size_t question_len)
{
	return len >= DNS_HEAD && question_len >= DNS_HEAD && (answer[2] & FLAG_ANSWER) &&
	       memcmp(answer, question, 2) == 0;
}

/* One part of the name, behind its length; false: it is no text. */
static bool add_part(const uint8_t *at, size_t n, char *name, size_t *len)
{
	if (*len + n + (*len > 0) > DNS_NAME_MAX || memchr(at, 0, n) || memchr(at, '.', n))
		return false;
	if (*len > 0)
		name[(*len)++] = '.';
	for (size_t i = 0; i < n; i++)
		name[(*len)++] = (char)tolower(at[i]);
	return true;
}

bool dns_question_get(const uint8_t *message, size_t len, struct dns_question *out)
{
	size_t at = DNS_HEAD, name_len = 0;

	if (!dns_is_question(message, len) || wire_peek_u16(message + 4) != 1)
		return false;
	/* There is nothing before it that it could point to. */
	while (at < len && message[at] != 0) {
		size_t n = message[at++];

		if (n > 63 || n > len - at || !add_part(message + at, n, out->name, &name_len))
			return false;
		at += n;
	}
	if (len - at < 5)
		return false;
	out->name[name_len] = '\0';
	out->type = wire_peek_u16(message + at + 1);
	out->class = wire_peek_u16(message + at + 3);
	out->end = at + 5;
	return true;
}

static size_t put_head(uint8_t *out, const uint8_t *message, const struct dns_question *q, uint16_t answers)
{
	memcpy(out, message, q->end);
	out[2] = (uint8_t)((message[2] & FLAG_ASKED) | FLAG_ANSWER);
	out[3] = FLAG_RECURSION;
	wire_poke_u16(out + 6, answers);
	memset(out + 8, 0, 4);
	return q->end;
}

size_t dns_answer_put(uint8_t *out, const uint8_t *message, const struct dns_question *q, const uint8_t *addr,
		      size_t addr_len)
{
	size_t at = put_head(out, message, q, addr_len > 0);

	out[2] |= FLAG_AUTHORITY;
	if (addr_len == 0)
		return at;
	wire_poke_u16(out + at, 0xc000 | DNS_HEAD); /* the name that was asked */
	wire_poke_u16(out + at + 2, q->type);
	wire_poke_u16(out + at + 4, DNS_CLASS_IN);
	wire_poke_u16(out + at + 6, 0);
	wire_poke_u16(out + at + 8, TTL_S);
	wire_poke_u16(out + at + 10, (uint16_t)addr_len);
	memcpy(out + at + 12, addr, addr_len);
	return at + 12 + addr_len;
}

size_t dns_failure_put(uint8_t *out, const uint8_t *message, size_t len)
{
	struct dns_question q;

	if (!dns_question_get(message, len, &q))
		return 0;
	put_head(out, message, &q, 0);
	out[3] |= SERVFAIL;
	return q.end;
}
