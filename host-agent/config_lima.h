/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_LIMA_H
#define HOMEPORT_CONFIG_LIMA_H

#include <stddef.h>

#include "config.h"

/*
 * A configuration out of what Lima keeps of one of its VMs. Pure: texts in, struct out; who finds and opens the files
 * is lima.h.
 */

/* Lima's three files, in the order in which they count for more and more. */
enum lima_file {
	LIMA_DEFAULT,  /* _config/default.yaml */
	LIMA_INSTANCE, /* NAME/lima.yaml */
	LIMA_OVERRIDE, /* _config/override.yaml */
	LIMA_FILES
};

struct lima_text {
	const char *file; /* for messages */
	const char *text; /* NULL: it is not there */
	size_t size;
};

/* What templates stand for, and where relative sockets are. Strings of the caller's. */
struct lima_instance {
	const char *name;
	const char *dir;  /* of the instance */
	const char *home; /* the host's user */
	const char *user;
	unsigned uid;
};

/*
 * Reads Lima's files. 0 and *out is the caller's, with ssh.host and ssh.config_file set; -EINVAL, and what is wrong is
 * in `problems`; -ENOMEM. Warnings, in both cases: one with the keys that are for Lima alone, and one where Lima would
 * mount and forward all of it too.
 */
int config_lima_parse(const struct lima_text texts[LIMA_FILES], const struct lima_instance *instance,
		      struct problems *problems, struct config **out);

#endif
