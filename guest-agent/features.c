/* SPDX-License-Identifier: MIT */
/* Names of what a kernel may offer. See features.h. */
#include "features.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
	[FEATURE_STATX] = "statx",         [FEATURE_TMPFILE] = "tmpfile", [FEATURE_DIRECT_MMAP] = "direct-mmap",
	[FEATURE_BPF_WATCH] = "bpf-watch", [FEATURE_RESEND] = "resend",   [FEATURE_SET_CLOCK] = "set-clock",
};
static_assert(sizeof(names) / sizeof(names[0]) == FEATURE_COUNT, "every feature has a name");

const char *feature_name(enum feature f)
{
	return names[f];
}

bool feature_in(const char *list, enum feature f)
{
	size_t len = strlen(names[f]);

	while (list && *list) {
		size_t word = strcspn(list, ",");

		if (word == len + 1 && *list == '-' && memcmp(list + 1, names[f], len) == 0)
			return false;
		list += word + (list[word] == ',');
	}
	return true;
}

bool feature_on(enum feature f)
{
	return feature_in(getenv("HOMEPORT_FEATURES"), f);
}
