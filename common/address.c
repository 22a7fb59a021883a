/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>

char *address_text(char dst[ADDRESS_TEXT_MAX], uint8_t family, const uint8_t *addr, uint32_t scope, uint16_t port)
{
	char ip[INET6_ADDRSTRLEN] = "?";

	inet_ntop(family == 4 ? AF_INET : AF_INET6, addr, ip, sizeof(ip));
	if (family == 4)
		snprintf(dst, ADDRESS_TEXT_MAX, "%s:%u", ip, port);
	else if (scope)
		snprintf(dst, ADDRESS_TEXT_MAX, "[%s%%%u]:%u", ip, scope, port);
	else
		snprintf(dst, ADDRESS_TEXT_MAX, "[%s]:%u", ip, port);
	return dst;
}
