/* SPDX-License-Identifier: MIT */
/*
 * Whether something can be mounted at a place: what helper.c will want of it, looked at without making anything. What
 * is mounted already is told by the kernel's list, never by a look at it: a mount whose host is away would not answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_guest.h"
#include "folder_users.h"
#include "mount_policy.h"
#include "mount_target.h"

#define PATH_ROOM 4096

struct there {
	char type[64]; /* of what is mounted at the path; "": nothing */
	bool own;      /* by this user */
	bool below;    /* it lies in a FUSE mount */
};

static bool is_own(const char *options)
{
	const char *user = strstr(options, "user_id=");

	return user && strtoul(user + strlen("user_id="), NULL, 10) == getuid();
}

static struct there mounted_at(const char *path)
{
	char line[9000], where[PATH_ROOM + 1], kind[64];
	FILE *list = fopen("/proc/self/mountinfo", "re");
	struct there there = {.type = ""};

	while (list && fgets(line, sizeof(line), list)) {
		const char *rest = strstr(line, " - ");

		if (!rest || sscanf(line, "%*u %*u %*s %*s %4096s", where) != 1 || sscanf(rest, " - %63s", kind) != 1)
			continue;
		folder_users_unescape(where);
		if (!strcmp(where, path)) {
			memcpy(there.type, kind, sizeof(kind));
			there.own = is_own(rest);
		} else if (!strncmp(kind, "fuse", 4) && strcmp(where, "/") != 0 && mount_target_within(path, where)) {
			there.below = true;
		}
	}
	if (list)
		fclose(list);
	return there;
}

/* Through what is the user's, or root's and open to all, root passes for the user (helper.c, may_pass). */
static bool passes(const struct check_guest *guest, const struct stat *st)
{
	return guest->way != CHECK_WAY_SUDO || st->st_uid == getuid() || (st->st_uid == 0 && st->st_mode & S_IXOTH);
}

/* Down to the first name that is not there, through no link. `path` is cut behind what is there. 0; -ELOOP for a link
 * or a file on the way, -EPERM for another's folder, or why it cannot be looked at. */
static int walk(const struct check_guest *guest, char path[PATH_ROOM], struct stat *st)
{
	char *at = path;
	int rc = lstat("/", st) < 0 ? -errno : 0;

	while (!rc && *at) {
		char *end = strchrnul(at + 1, '/'), kept = *end;
		struct stat next;

		if (!passes(guest, st))
			return -EPERM;
		*end = '\0';
		if (lstat(path, &next) < 0) {
			rc = errno == ENOENT ? 0 : -errno;
			*at = '\0';
			break;
		}
		*st = next;
		if (S_ISLNK(next.st_mode) || (kept && !S_ISDIR(next.st_mode)))
			rc = -ELOOP;
		*end = kept;
		at = end;
	}
	return rc;
}

/* One that cannot be read is root's to judge, where root mounts. */
static bool is_empty(const struct check_guest *guest, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool empty = fd < 0 ? guest->way != CHECK_WAY_USER : folder_users_empty(fd);

	if (fd >= 0)
		close(fd);
	return empty;
}

/* Why it is not reached. */
static void judge_way(const char *path, int error, struct check *check)
{
	const char *why = strerror(error);

	if (error == ELOOP)
		why = "a link or a file is in the way";
	else if (error == EPERM)
		why = "a folder on the way belongs to another user";
	check_say(check, CHECK_PROBLEM, "%s cannot be reached: %s", path, why);
	check_advise(check, "choose another mount point");
}

static void judge_missing(const struct check_guest *guest, const char *path, const char *parent, struct check *check)
{
	if (guest->way == CHECK_WAY_USER && access(parent, W_OK | X_OK) < 0) {
		check_say(check, CHECK_PROBLEM, "%s is not there, and this user cannot make it in %s", path, parent);
		check_advise(check, "make it: sudo install -d -o \"$USER\" %s", path);
	} else {
		check_say(check, CHECK_OK, "%s is not there, and will be made", path);
	}
}

static void judge_folder(const struct check_guest *guest, const char *path, const struct stat *st, struct check *check)
{
	uid_t self = getuid();

	if (!S_ISDIR(st->st_mode)) {
		check_say(check, CHECK_PROBLEM, "%s is a file or a link", path);
		check_advise(check, "remove it, or choose another mount point");
	} else if (self != 0 && st->st_uid != 0 && st->st_uid != self) {
		check_say(check, CHECK_PROBLEM, "%s belongs to another user", path);
		check_advise(check, "choose another mount point");
	} else if (!is_empty(guest, path)) {
		check_say(check, CHECK_PROBLEM, "%s is not empty, and a mount would hide what is in it", path);
		check_advise(check, "move that away, or choose another mount point");
	} else if (guest->way == CHECK_WAY_USER && access(path, W_OK) < 0) {
		check_say(check, CHECK_PROBLEM, "%s cannot be written by this user, as fusermount3 wants it", path);
		check_advise(check, "give it to the user: sudo chown \"$USER\" %s", path);
	} else {
		check_say(check, CHECK_OK, "%s is there, and empty", path);
	}
}

/* False: nothing is mounted there, and what the folder is decides. */
static bool judge_mounted(const char *path, const struct there *there, struct check *check)
{
	if (!strcmp(there->type, "fuse.homeport") && there->own) {
		check_say(check, CHECK_OK, "%s is mounted by homeport", path);
	} else if (there->type[0]) {
		check_say(check, CHECK_PROBLEM, "%s is taken: mounted there is %s%s", path, there->type,
			  strcmp(there->type, "fuse.homeport") ? "" : ", for another user");
		check_advise(check, "unmount that, or choose another mount point");
	} else if (there->below) {
		check_say(check, CHECK_OK, "%s lies in another mount, which is not looked into", path);
	} else {
		return false;
	}
	return true;
}

static void look(const struct check_guest *guest, const char *path, struct check *check)
{
	struct there there = mounted_at(path);
	char known[PATH_ROOM];
	struct stat st;
	int rc;

	if (judge_mounted(path, &there, check))
		return;
	snprintf(known, sizeof(known), "%s", path);
	rc = walk(guest, known, &st);
	if (rc < 0) {
		judge_way(path, -rc, check);
	} else if (strcmp(known, path) != 0) {
		judge_missing(guest, path, *known ? known : "/", check);
	} else {
		judge_folder(guest, path, &st, check);
	}
}

/* By whom this place would be mounted. False: by nobody, which was said. */
static bool choose_way(struct check_guest *guest, const char *path, struct check *check)
{
	char why[CHECK_TEXT_MAX];

	if (!guest->service)
		return true;
	if (mount_policy_ask(getuid(), path, why, sizeof(why)) == 0) {
		guest->way = CHECK_WAY_SUDO; /* to root it is all the same */
		return true;
	}
	if (guest->way != CHECK_WAY_NONE)
		return true;
	check_say(check, CHECK_PROBLEM, "%s: %s", path, why);
	check_advise(check, "name the user, and the mount point, in " MOUNT_POLICY_PATH);
	return false;
}

void check_target(const struct check_guest *guest, const char *target, struct check *check)
{
	char path[PATH_ROOM], text[CHECK_TEXT_MAX];
	int rc = mount_target_resolve(target, guest->home, path, sizeof(path), text, sizeof(text));
	struct check_guest here = *guest;

	if (rc < 0) {
		check_say(check, CHECK_PROBLEM, "%s: %s", target, text[0] ? text : strerror(-rc));
		check_advise(check, "choose another mount point");
		return;
	}
	if (here.way == CHECK_WAY_ROOT ? !strcmp(path, "/") : !mount_target_allowed(path)) {
		check_say(check, CHECK_PROBLEM, "%s is not a place for a mount: it is the system's", path);
		check_advise(check, "choose another mount point");
		return;
	}
	if (!choose_way(&here, path, check))
		return;
	look(&here, path, check);
	if (check->verdict == CHECK_OK && text[0])
		check_say(check, CHECK_NOTE, "%s", text);
}
