/* SPDX-License-Identifier: MIT */
/* Fuzzes ACLs on their way between host and guest: two of them behind a byte that says how long the first is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct idmap users = {
	.host_uid = 1000,
	.host_gid = 1000,
	.guest_uid = 501,
	.guest_gid = 20,
	.uids = {1, {{0x30303030, 70, 1u << 16}}},
};

static void must(int holds)
{
	if (!holds)
		abort();
}

/* Exactly as long as it is, so that a byte beyond is seen. */
static uint8_t *copy(const uint8_t *data, size_t len)
{
	uint8_t *own = malloc(len ? len : 1);

	must(own != NULL);
	if (len)
		memcpy(own, data, len);
	return own;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t first = size && data[0] < size ? data[0] : 0, second = size ? size - 1 - first : 0;
	uint8_t *a = copy(data + !!size, first), *b = copy(data + !!size + first, second);
	uint8_t *out = malloc(first + second + 8);
	ssize_t n;

	must(out != NULL);
	n = acl_to_host(&users, a, first, b, second, out);
	/* What was made of two is one again, and the guest sees all of it that it may. */
	if (n > 0)
		must((size_t)n <= first + second + 8 && acl_to_guest(&users, out, (size_t)n) <= n);
	n = acl_to_host(&users, NULL, 0, b, second, out);
	must(n <= (ssize_t)second + 8);
	n = acl_to_guest(&users, a, first);
	if (n >= 0)
		must(acl_to_guest(&users, a, (size_t)n) >= 0);
	free(a);
	free(b);
	free(out);
	return 0;
}
