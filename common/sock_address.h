/* SPDX-License-Identifier: MIT */
/* sock_address: where a stream socket listens or connects to: an IP address and port, or the path of a unix socket. */
#ifndef HOMEPORT_SOCK_ADDRESS_H
#define HOMEPORT_SOCK_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <netinet/in.h>

#include "bounds.h"

#define SOCK_ADDRESS_TEXT_MAX 160 /* any path of text; of one that is not, what fits, and "..." */

struct sock_address {
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};

/* family 4 or 6, and as many bytes of the address as it has. */
void sock_address_ip(struct sock_address *a, uint8_t family, const uint8_t *addr, uint32_t scope, uint16_t port);

/* -ENAMETOOLONG, and `a` as it was, where the path does not fit. */
int sock_address_unix(struct sock_address *a, const char *path);

/* Of an IP address. */
void sock_address_set_port(struct sock_address *a, uint16_t port);
uint16_t sock_address_port(const struct sock_address *a);

bool sock_address_is_unix(const struct sock_address *a);
bool sock_address_equal(const struct sock_address *a, const struct sock_address *b);

/* As a person reads it, and printable: "127.0.0.1:80", "[::1]:80", "/run/docker.sock". Returns dst. */
char *sock_address_text(char dst[SOCK_ADDRESS_TEXT_MAX], const struct sock_address *a);

#endif
