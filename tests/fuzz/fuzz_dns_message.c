/* SPDX-License-Identifier: MIT */
/* Fuzzes what is read of DNS: the input is a message of the guest's. What is answered here fits, and is its answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dns_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t address[16] = {1};
	uint8_t out[DNS_OWN_ANSWER];
	struct dns_question q;
	size_t n = dns_failure_put(out, data, size);

	if (n)
		must(n <= sizeof(out) && dns_is_answer(out, n, data, size));
	if (!dns_question_get(data, size, &q))
		return 0;
	must(n && q.end <= size && strlen(q.name) <= DNS_NAME_MAX);
	n = dns_answer_put(out, data, &q, address, sizeof(address));
	must(n <= sizeof(out) && dns_is_answer(out, n, data, size));
	return 0;
}
