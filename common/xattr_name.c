/* SPDX-License-Identifier: MIT */
/* See xattr_name.h. */
#include "xattr_name.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The first that fits. xattr(7); of system.* a file has ACLs alone. */
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

bool xattr_name_is_acl(const char *name)
{
	return strcmp(name, XATTR_ACL_ACCESS) == 0 || strcmp(name, XATTR_ACL_DEFAULT) == 0;
}

int xattr_name_check(const char *name, bool write, bool acl)
{
	if (acl && xattr_name_is_acl(name))
		return 0;

	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		if (strncmp(name, namespaces[i].prefix, strlen(namespaces[i].prefix)) == 0)
			return write ? namespaces[i].write : namespaces[i].read;
	return -EOPNOTSUPP;
}
