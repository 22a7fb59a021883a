/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

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

socklen_t address_sockaddr(struct sockaddr_storage *sa, uint8_t family, const uint8_t *addr, uint32_t scope,
			   uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

	memset(sa, 0, sizeof(*sa));
	if (family == 4) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, addr, 4);
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	in6->sin6_scope_id = scope;
	memcpy(&in6->sin6_addr, addr, 16);
	return sizeof(*in6);
}
