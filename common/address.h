/* SPDX-License-Identifier: MIT */
/* address: an IP address and port as a person reads it. Pure. */
#ifndef HOMEPORT_ADDRESS_H
#define HOMEPORT_ADDRESS_H

#include <stdint.h>

#define ADDRESS_TEXT_MAX 80 /* "[", 45 bytes of IPv6, "%" and a scope, "]:" and a port */

/* Writes "127.0.0.1:80", "[::1]:80" or "[fe80::1%2]:80" (family 4 or 6; scope 0 is none) to dst, and returns it. */
char *address_text(char dst[ADDRESS_TEXT_MAX], uint8_t family, const uint8_t *addr, uint32_t scope, uint16_t port);

#endif
