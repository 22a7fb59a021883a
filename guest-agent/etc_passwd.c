/* SPDX-License-Identifier: MIT */
/* See etc_passwd.h. usermod(8) is of no use here: it refuses while the user is logged in, and we came by such a login.
 */
#include "etc_passwd.h"

#include <errno.h>
#include <pwd.h>
#include <shadow.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "whole_file.h"

#define ETC_PASSWD_MAX (16u << 20)
#define HOME_FIELD     5 /* name:password:uid:gid:about:home:shell */

typedef bool user_test(const void *wanted, const struct passwd *pw);

static int find(user_test *test, const void *wanted, struct etc_user *user)
{
	FILE *file = fopen(ETC_PASSWD, "re");
	const struct passwd *pw;
	int rc = -ENOENT;

	if (!file)
		return -errno;
	while (rc == -ENOENT && (pw = fgetpwent(file))) {
		if (!test(wanted, pw))
			continue;
		rc = strlen(pw->pw_name) < sizeof(user->name) && strlen(pw->pw_dir) < sizeof(user->home)
			     ? 0
			     : -ENAMETOOLONG;
		snprintf(user->name, sizeof(user->name), "%s", pw->pw_name);
		snprintf(user->home, sizeof(user->home), "%s", pw->pw_dir);
		user->uid = pw->pw_uid;
		user->gid = pw->pw_gid;
	}
	fclose(file);
	return rc;
}

static bool has_name(const void *wanted, const struct passwd *pw)
{
	return strcmp(pw->pw_name, wanted) == 0;
}

static bool has_uid(const void *wanted, const struct passwd *pw)
{
	return pw->pw_uid == *(const uid_t *)wanted;
}

int etc_passwd_by_name(const char *name, struct etc_user *user)
{
	return find(has_name, name, user);
}

int etc_passwd_by_uid(uid_t uid, struct etc_user *user)
{
	return find(has_uid, &uid, user);
}

struct sharing {
	const char *folder, *but;
};

static bool shares_home(const void *wanted, const struct passwd *pw)
{
	const struct sharing *s = wanted;
	size_t len = strlen(s->folder);

	return strncmp(pw->pw_dir, s->folder, len) == 0 && (pw->pw_dir[len] == '\0' || pw->pw_dir[len] == '/') &&
	       strcmp(pw->pw_name, s->but) != 0;
}

int etc_passwd_home_shared(const char *folder, const char *but, char name[ETC_PASSWD_USER])
{
	const struct sharing s = {folder, but};
	struct etc_user user;
	int rc = find(shares_home, &s, &user);

	snprintf(name, ETC_PASSWD_USER, "%s", rc < 0 ? "" : user.name);
	return rc == -ENOENT ? 0 : rc;
}

/* The field of a line, which has its newline or not. */
static const char *field(const char *line, size_t len, unsigned number, size_t *size)
{
	const char *end = line + len;

	if (len > 0 && end[-1] == '\n')
		end--;
	for (; number > 0; number--) {
		line = memchr(line, ':', (size_t)(end - line));
		if (!line)
			return NULL;
		line++;
	}
	*size = strcspn(line, ":\n");
	if (*size > (size_t)(end - line))
		*size = (size_t)(end - line);
	return line;
}

static bool field_is(const char *line, size_t len, unsigned number, const char *text)
{
	size_t size;
	const char *at = field(line, len, number, &size);

	return at && size == strlen(text) && memcmp(at, text, size) == 0;
}

unsigned etc_passwd_edit(const char *text, size_t len, const char *name, const char *from, const char *to,
			 struct wire_buf *out)
{
	unsigned changed = 0;

	while (len) {
		const char *end = memchr(text, '\n', len), *home;
		size_t n = end ? (size_t)(end - text) + 1 : len, size = 0;

		if (field_is(text, n, 0, name) && field_is(text, n, HOME_FIELD, from)) {
			home = field(text, n, HOME_FIELD, &size);
			wire_put_bytes(out, text, (size_t)(home - text));
			wire_put_bytes(out, to, strlen(to));
			wire_put_bytes(out, home + size, n - (size_t)(home - text) - size);
			changed++;
		} else {
			wire_put_bytes(out, text, n);
		}
		text += n;
		len -= n;
	}
	return changed;
}

static int set_home_locked(const char *name, const char *from, const char *to)
{
	struct wire_buf text = {0}, out = {0};
	struct stat st;
	int rc = whole_file_read(ETC_PASSWD, ETC_PASSWD_MAX, &st, &text);

	if (rc == 0 && !etc_passwd_edit((const char *)text.data, text.len, name, from, to, &out))
		rc = -ENOENT;
	if (rc == 0)
		rc = out.failed ? -ENOMEM : whole_file_replace(ETC_PASSWD, ".homeport-new", &out, &st);
	wire_buf_free(&text);
	wire_buf_free(&out);
	return rc;
}

int etc_passwd_set_home(const char *name, const char *from, const char *to)
{
	int rc;

	/* Waits for 15 s at most. */
	if (lckpwdf() < 0)
		return -EBUSY;
	rc = set_home_locked(name, from, to);
	ulckpwdf();
	return rc;
}
