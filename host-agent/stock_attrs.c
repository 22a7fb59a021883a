/* SPDX-License-Identifier: MIT */
/* See stock_attrs.h. Times are of 32 bits and whole seconds; what does not fit wraps, as it does in OpenSSH. */
#include "stock_attrs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { ATTR_SIZE = 1, ATTR_UIDGID = 2, ATTR_PERMISSIONS = 4, ATTR_ACMODTIME = 8 };
#define ATTR_EXTENDED 0x80000000u
#define HALF_A_YEAR   (365 * 24 * 3600 / 2)

void stock_attrs_put(struct wire_buf *out, const struct sftp_attr *a)
{
	wire_put_u32(out, ATTR_SIZE | ATTR_UIDGID | ATTR_PERMISSIONS | ATTR_ACMODTIME);
	wire_put_u64(out, a->size);
	wire_put_u32(out, a->uid);
	wire_put_u32(out, a->gid);
	wire_put_u32(out, a->mode);
	wire_put_u32(out, (uint32_t)a->atime.sec);
	wire_put_u32(out, (uint32_t)a->mtime.sec);
}

void stock_attrs_get(struct wire_reader *r, struct fsop_set *set)
{
	uint32_t flags = wire_get_u32(r), pairs;
	size_t len;

	*set = (struct fsop_set){0};
	if (flags & ATTR_SIZE) {
		set->mask |= NATIVE_SET_SIZE;
		set->size = wire_get_u64(r);
	}
	if (flags & ATTR_UIDGID) {
		set->mask |= NATIVE_SET_UID | NATIVE_SET_GID;
		set->uid = wire_get_u32(r);
		set->gid = wire_get_u32(r);
	}
	if (flags & ATTR_PERMISSIONS) {
		set->mask |= NATIVE_SET_MODE;
		set->mode = wire_get_u32(r) & 07777;
	}
	if (flags & ATTR_ACMODTIME) {
		set->mask |= NATIVE_SET_ATIME | NATIVE_SET_MTIME;
		set->atime.sec = wire_get_u32(r);
		set->mtime.sec = wire_get_u32(r);
	}
	if (!(flags & ATTR_EXTENDED))
		return;
	for (pairs = wire_get_u32(r); pairs && !r->bad; pairs--) {
		wire_get_string(r, &len, SIZE_MAX);
		wire_get_string(r, &len, SIZE_MAX);
	}
}

static void mode_text(uint32_t mode, char text[11])
{
	static const char bits[] = "rwxrwxrwx";
	static const char types[] = "?pc?d?b?-?l?s???"; /* by the top four bits of the mode */

	text[0] = types[mode >> 12 & 15];
	for (int i = 0; i < 9; i++)
		text[i + 1] = mode & (0400u >> i) ? bits[i] : '-';
	if (mode & S_ISUID)
		text[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		text[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		text[9] = mode & S_IXOTH ? 't' : 'T';
	text[10] = '\0';
}

void stock_long_name_put(struct wire_buf *out, const char *name, const struct sftp_attr *a)
{
	time_t when = (time_t)a->mtime.sec, now = time(NULL);
	char mode[11], date[32] = "?", line[128 + SFTP_NAME_MAX];
	bool recent = when > now - HALF_A_YEAR && when <= now;
	struct tm tm;

	mode_text(a->mode, mode);
	/* In UTC: the zone's file lies outside of the sandbox. */
	if (gmtime_r(&when, &tm))
		strftime(date, sizeof(date), recent ? "%b %e %H:%M" : "%b %e  %Y", &tm);
	snprintf(line, sizeof(line), "%s %3u %-8u %-8u %8llu %s %s", mode, a->nlink, a->uid, a->gid,
		 (unsigned long long)a->size, date, name);
	wire_put_cstring(out, line);
}
