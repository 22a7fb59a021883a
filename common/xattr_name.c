/* SPDX-License-Identifier: MIT */
/* See xattr_name.h. */
#include "xattr_name.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The first that fits. xattr(7); there is no ACL yet, and no other system.* of a file. */
static const struct {
	const char *prefix;
	int read, write;
} namespaces[] = {
	{"user.homeport.", -ENODATA, -EPERM},
	{"user.", 0, 0},
	{"security.capability", -ENODATA, -EPERM},
	/* Labels: a program that hears once that a file system has none (ls -l) does not ask for each file. */
	{"security.", -EOPNOTSUPP, -EOPNOTSUPP},
	{"trusted.", -ENODATA, -EPERM},
};

int xattr_name_check(const char *name, bool write)
{
	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		if (strncmp(name, namespaces[i].prefix, strlen(namespaces[i].prefix)) == 0)
			return write ? namespaces[i].write : namespaces[i].read;
	return -EOPNOTSUPP;
}
