/* SPDX-License-Identifier: MIT */
/* See ssh_ends.h. */
#include "ssh_ends.h"

#include <stdio.h>

#include <arpa/inet.h>

static bool read_end(const char *address, unsigned port, struct sock_address *end)
{
	uint8_t bytes[16];
	int family = inet_pton(AF_INET, address, bytes) == 1 ? 4 : inet_pton(AF_INET6, address, bytes) == 1 ? 6 : 0;

	if (!family || port > UINT16_MAX)
		return false;
	sock_address_ip(end, (uint8_t)family, bytes, 0, (uint16_t)port);
	return true;
}

bool ssh_ends_read(const char *connection, struct ssh_ends *ends)
{
	char client[64], server[64];
	unsigned client_port, server_port;

	if (sscanf(connection, "%63s %u %63s %u", client, &client_port, server, &server_port) == 4 &&
	    read_end(client, client_port, &ends->client) && read_end(server, server_port, &ends->server))
		return true;
	*ends = (struct ssh_ends){0};
	return false;
}
