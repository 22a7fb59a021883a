/* SPDX-License-Identifier: MIT */
/*
 * etc_passwd: users as /etc/passwd has them; a static program asks no name service. A user that comes from elsewhere
 * (LDAP, systemd-homed) is not found.
 */
#ifndef HOMEPORT_ETC_PASSWD_H
#define HOMEPORT_ETC_PASSWD_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "wire.h"

#define ETC_PASSWD      "/etc/passwd"
#define ETC_PASSWD_USER 256 /* a longer name is no user's */

struct etc_user {
	char name[ETC_PASSWD_USER];
	char home[PATH_MAX];
	uid_t uid;
	gid_t gid;
};

/* 0, -ENOENT: no such user; or a negative errno. */
int etc_passwd_by_name(const char *name, struct etc_user *user);
int etc_passwd_by_uid(uid_t uid, struct etc_user *user);

/* Another user whose home is `folder` or lies below it; "" if there is none. */
int etc_passwd_home_shared(const char *folder, const char *but, char name[ETC_PASSWD_USER]);

/*
 * The user's home is `to` from now on, if it was `from` until now. Locks as passwd(1) does and replaces the file whole.
 * -ENOENT: no user has this name and this home.
 */
int etc_passwd_set_home(const char *name, const char *from, const char *to);

/* What that makes of the file. Pure. Returns how many lines changed. */
unsigned etc_passwd_edit(const char *text, size_t len, const char *name, const char *from, const char *to,
			 struct wire_buf *out);

#endif
