/* SPDX-License-Identifier: MIT */
/*
 * dns_message: as much of DNS (RFC 1035) as a relay has to know: what is a question, what is the answer to it, and two
 * answers of its own, that of a name it knows and that of no name server. Pure.
 */
#ifndef HOMEPORT_DNS_MESSAGE_H
#define HOMEPORT_DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_HEAD       12u
#define DNS_NAME_MAX   253u /* bytes of a name as text, without its NUL: two fewer than in a message */
#define DNS_OWN_ANSWER (DNS_HEAD + 255 + 4 + 12 + 16) /* bytes the answers made here have at most */

enum { DNS_TYPE_A = 1, DNS_TYPE_AAAA = 28, DNS_CLASS_IN = 1 };

/* Of a message that asks one thing. */
struct dns_question {
	char name[DNS_NAME_MAX + 1]; /* in lower case, without the last dot */
	uint16_t type, class;
	size_t end; /* of the question, in the message */
};

bool dns_is_question(const uint8_t *message, size_t len);
bool dns_is_answer(const uint8_t *answer, size_t len, const uint8_t *question, size_t question_len);

/* False: it asks nothing, or more than one thing, or a name with a dot or a NUL in a part. */
bool dns_question_get(const uint8_t *message, size_t len, struct dns_question *out);

/*
 * The answer to a question, into `out` of DNS_OWN_ANSWER bytes; how many it has. An address of `addr_len` 4 or 16
 * bytes; of 0: the name is there, and has none of that type.
 */
size_t dns_answer_put(uint8_t *out, const uint8_t *message, const struct dns_question *q, const uint8_t *addr,
		      size_t addr_len);

/* SERVFAIL: nobody could be asked. 0: what was asked cannot be read, so there is no answer to it. */
size_t dns_failure_put(uint8_t *out, const uint8_t *message, size_t len);

#endif
