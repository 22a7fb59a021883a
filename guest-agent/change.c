/* SPDX-License-Identifier: MIT */
/* The table of kinds. See change.h; each kind is in a file of its own. */
#include "change.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

const struct change_row *const change_rows[] = {
	[CHANGE_FOLDER] = &change_folder,
	[CHANGE_PROGRAM] = &change_program,
	[CHANGE_MANUAL] = &change_manual,
	[CHANGE_UNIT] = &change_unit,
	[CHANGE_FUSE_CONF] = &change_fuse_conf,
	[CHANGE_APPARMOR] = &change_apparmor,
	[CHANGE_HOME] = &change_home,
	[CHANGE_SERVICE] = &change_service,
	[CHANGE_MOUNTS_CONF] = &change_mounts_conf,
};
static_assert(sizeof(change_rows) / sizeof(change_rows[0]) == CHANGE_KINDS, "each kind has a row");

int change_fail(char *why, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, CHANGE_WHY_MAX, fmt, ap);
	va_end(ap);
	return -error;
}
