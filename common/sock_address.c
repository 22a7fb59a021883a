/* SPDX-License-Identifier: MIT */
/* See sock_address.h. */
#include "sock_address.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "address.h"
#include "log.h"

_Static_assert(SOCKET_PATH_MAX == sizeof(((struct sockaddr_un *)0)->sun_path), "the longest path, with its NUL");
_Static_assert(SOCK_ADDRESS_TEXT_MAX >= ADDRESS_TEXT_MAX, "either kind fits");

void sock_address_ip(struct sock_address *a, uint8_t family, const uint8_t *addr, uint32_t scope, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	if (family == 4) {
		a->len = sizeof(a->in);
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons(port);
		memcpy(&a->in.sin_addr, addr, sizeof(a->in.sin_addr));
		return;
	}
	a->len = sizeof(a->in6);
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_port = htons(port);
	a->in6.sin6_scope_id = scope;
	memcpy(&a->in6.sin6_addr, addr, sizeof(a->in6.sin6_addr));
}

int sock_address_unix(struct sock_address *a, const char *path)
{
	size_t len = strlen(path);

	if (len >= SOCKET_PATH_MAX)
		return -ENAMETOOLONG;
	memset(a, 0, sizeof(*a));
	a->un.sun_family = AF_UNIX;
	memcpy(a->un.sun_path, path, len);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return 0;
}

/* Both families have it at the same place. */
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "one port");

void sock_address_set_port(struct sock_address *a, uint16_t port)
{
	a->in.sin_port = htons(port);
}

uint16_t sock_address_port(const struct sock_address *a)
{
	return ntohs(a->in.sin_port);
}

bool sock_address_is_unix(const struct sock_address *a)
{
	return a->any.sa_family == AF_UNIX;
}

/* They were zeroed before they were filled in. */
bool sock_address_equal(const struct sock_address *a, const struct sock_address *b)
{
	return a->len == b->len && memcmp((const uint8_t *)&a->any, (const uint8_t *)&b->any, a->len) == 0;
}

char *sock_address_text(char dst[SOCK_ADDRESS_TEXT_MAX], const struct sock_address *a)
{
	switch (a->any.sa_family) {
	case AF_INET:
		return address_text(dst, 4, (const uint8_t *)&a->in.sin_addr, 0, ntohs(a->in.sin_port));
	case AF_INET6:
		return address_text(dst, 6, (const uint8_t *)&a->in6.sin6_addr, a->in6.sin6_scope_id,
				    ntohs(a->in6.sin6_port));
	default:
		return text_printable(dst, SOCK_ADDRESS_TEXT_MAX, a->un.sun_path, strlen(a->un.sun_path));
	}
}
