/* SPDX-License-Identifier: MIT */
/* See own_sockets.h. On the loop's thread alone. */
#include "own_sockets.h"
#include "clock.h"

#include <stddef.h>
#include <time.h>

/* As many as there can be hosts. */
#define OWN_SOCKETS_MAX 16u
/* What listens is asked of the kernel every 2 s at the least. */
#define OWN_SOCKETS_US 5000000u

struct own_socket {
	uint64_t inode;
	uint64_t until_us; /* it is closed, and forgotten then; 0: it is open */
};

static struct own_socket sockets[OWN_SOCKETS_MAX];
static size_t next;

void own_sockets_add(uint64_t inode)
{
	sockets[next] = (struct own_socket){.inode = inode};
	next = (next + 1) % OWN_SOCKETS_MAX;
}

void own_sockets_closed(uint64_t inode)
{
	for (size_t i = 0; i < OWN_SOCKETS_MAX; i++)
		if (sockets[i].inode == inode && !sockets[i].until_us)
			sockets[i].until_us = clock_us(CLOCK_MONOTONIC) + OWN_SOCKETS_US;
}

bool own_sockets_has(uint64_t inode)
{
	for (size_t i = 0; i < OWN_SOCKETS_MAX; i++)
		if (sockets[i].inode == inode &&
		    (!sockets[i].until_us || clock_us(CLOCK_MONOTONIC) < sockets[i].until_us))
			return inode != 0;
	return false;
}
