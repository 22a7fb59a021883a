/* SPDX-License-Identifier: MIT */
/*
 * guest_builds: the builds of homeport-guest that this program can bring to a guest, one an architecture. They lie
 * beside it, and are opened when it starts: what is installed later is another program's to bring.
 */
#ifndef HOMEPORT_GUEST_BUILDS_H
#define HOMEPORT_GUEST_BUILDS_H

#include <stddef.h>
#include <stdint.h>

#include "build_id.h"

#define GUEST_BUILDS_MAX     16
#define GUEST_BUILD_ARCH_MAX 32

struct guest_build {
	char arch[GUEST_BUILD_ARCH_MAX]; /* as `uname -m` says it; letters, digits, - and _ */
	char id[BUILD_ID_SIZE];
	uint64_t size;
	int fd;
};

struct guest_builds {
	size_t count;
	struct guest_build builds[GUEST_BUILDS_MAX];
};

/* Finds them, from the place of this program: none is no error. Blocks on the file system. */
void guest_builds_find(struct guest_builds *b);

/* The same from a program's folder. For tests. */
void guest_builds_find_from(struct guest_builds *b, const char *folder);

/* NULL: there is none. */
const struct guest_build *guest_builds_get(const struct guest_builds *b, const char *arch);

/* "aarch64, x86_64", or "none". Returns text. */
const char *guest_builds_list(const struct guest_builds *b, char *text, size_t size);

void guest_builds_close(struct guest_builds *b);

#endif
