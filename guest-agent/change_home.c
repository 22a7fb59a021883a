/* SPDX-License-Identifier: MIT */
/*
 * The login user's home moves from PATH to PATH.guest, so that the host's home can be mounted at PATH.
 *
 * Theory of operation. sshd finds authorized_keys by the home in /etc/passwd, so at every moment that name must lead to
 * the folder, also when the power fails in between. Four steps, each one system call that is done or not:
 *
 *		PATH		PATH.guest	/etc/passwd
 *	WHOLE	the folder	-		PATH		symlink
 *	LINKED	the folder	-> PATH		PATH		passwd
 *	NAMED	the folder	-> PATH		PATH.guest	exchange
 *	MOVED	-> itself	the folder	PATH.guest	unlink
 *	BARE	-		the folder	PATH.guest	mkdir
 *	DONE	mount point	the folder	PATH.guest
 *
 * Which state it is in is seen from these three, so who begins again goes on from there, forwards or back. The link is
 * relative: after the exchange of the two names (RENAME_EXCHANGE) it names itself, which nobody follows any more.
 *
 * The mount point is of mode 0555 and root's, so that nothing is ever written below the mount. Where the user's agent
 * mounts by fusermount3, that insists on a folder the user can write to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "change.h"
#include "etc_passwd.h"
#include "folder_users.h"
#include "installed.h"
#include "notify.h"
#include "run_program.h"
#include "whole_file.h"

#define HOMES      "/home/"
#define MOVED_TO   ".guest"
#define NOTES_MAX  (1u << 20) /* of a larger file the rest is not looked at */
#define MOUNT_MODE 0555

/* An agent whose host has just gone ends within a moment. */
#define LEAVING       "homeport-guest "
#define LEAVING_TRIES 60

enum home_state { HOME_WHOLE, HOME_LINKED, HOME_NAMED, HOME_MOVED, HOME_BARE, HOME_DONE, HOME_ODD };

struct home {
	struct etc_user user;
	char from[CHANGE_PATH_MAX], to[CHANGE_PATH_MAX + sizeof(MOVED_TO)];
	const char *base; /* of from, within it */
	bool by_root;     /* the mount point is root's */
	enum home_state state;
};

/* ---------------------------------------------------------------------------------------------------------- the state
 */

enum what { NOTHING_THERE, THE_LINK, A_FOLDER, SOMETHING_ELSE };

static enum what look_at(const struct home *h, const char *path)
{
	char target[CHANGE_PATH_MAX];
	struct stat st;
	ssize_t len;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? NOTHING_THERE : SOMETHING_ELSE;
	if (S_ISDIR(st.st_mode))
		return A_FOLDER;
	len = readlink(path, target, sizeof(target));
	return len == (ssize_t)strlen(h->base) && memcmp(target, h->base, (size_t)len) == 0 ? THE_LINK : SOMETHING_ELSE;
}

static enum home_state state_of(const struct home *h)
{
	static const struct {
		bool moved; /* in /etc/passwd */
		enum what from, to;
	} states[] = {
		[HOME_WHOLE] = {false, A_FOLDER, NOTHING_THERE}, [HOME_LINKED] = {false, A_FOLDER, THE_LINK},
		[HOME_NAMED] = {true, A_FOLDER, THE_LINK},       [HOME_MOVED] = {true, THE_LINK, A_FOLDER},
		[HOME_BARE] = {true, NOTHING_THERE, A_FOLDER},   [HOME_DONE] = {true, A_FOLDER, A_FOLDER},
	};
	enum what from = look_at(h, h->from), to = look_at(h, h->to);
	bool moved = strcmp(h->user.home, h->to) == 0;

	if (!moved && strcmp(h->user.home, h->from) != 0)
		return HOME_ODD;
	for (int i = 0; i < HOME_ODD; i++)
		if (states[i].moved == moved && states[i].from == from && states[i].to == to)
			return (enum home_state)i;
	return HOME_ODD;
}

/* The home of a change, as it is now. detail: "USER root" or "USER USER". */
static int home_read(const struct change *c, struct home *h, char *why)
{
	char detail[CHANGE_DETAIL_MAX], *owner;
	int rc;

	snprintf(detail, sizeof(detail), "%s", c->detail);
	owner = strchr(detail, ' ');
	if (!owner)
		return change_fail(why, EPROTO, "%s: cannot be understood: %s", INSTALLED_FILE, c->detail);
	*owner++ = '\0';
	rc = etc_passwd_by_name(detail, &h->user);
	if (rc < 0)
		return change_fail(why, -rc, "%s: the user %s is not there", ETC_PASSWD, detail);
	snprintf(h->from, sizeof(h->from), "%s", c->path);
	snprintf(h->to, sizeof(h->to), "%s%s", c->path, MOVED_TO);
	h->base = strrchr(h->from, '/') + 1;
	h->by_root = strcmp(owner, "root") == 0;
	h->state = state_of(h);
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- whether
 */

static bool any_mounted(const char *folder, const char *command, char *why)
{
	char at[CHANGE_PATH_MAX];
	int found = folder_users_mount(folder, at, sizeof(at));

	if (found > 0)
		change_fail(why, EBUSY, "%s: something is mounted there: %s first", at, command);
	else if (found < 0)
		change_fail(why, -found, "/proc/self/mountinfo: %s", strerror(-found));
	return found != 0;
}

/* Programs know the old place by name, and would write to the mount from now on. */
static bool any_users(const struct home *h, const char *folder, char *why)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	char list[1024], unit[ETC_PASSWD_USER + 32];
	unsigned count, tries = 0;

	snprintf(unit, sizeof(unit), "homeport-guest@%s.service", h->user.name);
	while ((count = folder_users_processes(folder, h->user.uid, unit, list, sizeof(list))) > 0 &&
	       strncmp(list, LEAVING, strlen(LEAVING)) == 0 && tries++ < LEAVING_TRIES)
		nanosleep(&pause, NULL);
	if (count > 0)
		change_fail(why, EBUSY,
			    "%s: other programs of %s's have files there: %s; log out everywhere else, end what was "
			    "left running (`homeport down` ends homeport-guest), and try again",
			    folder, h->user.name, list);
	return count > 0;
}

/* Where sshd looks for keys by an absolute path, the move would lock the user out. */
static bool keys_elsewhere(const struct home *h, char *why)
{
	char who[ETC_PASSWD_USER + 64], said[RUN_PROGRAM_SAID], *line, *rest = NULL;
	const char *const argv[] = {"/usr/sbin/sshd", "-T", "-C", who, NULL};
	static const char key[] = "authorizedkeysfile ";

	snprintf(who, sizeof(who), "user=%s,host=localhost,addr=127.0.0.1", h->user.name);
	if (run_program(argv, said) != 0) {
		change_fail(why, EIO,
			    "sshd -T does not say where it looks for keys (%.200s): the move might lock %s "
			    "out",
			    strtok_r(said, "\n", &rest), h->user.name);
		return true;
	}
	for (line = strtok_r(said, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		line += strlen(key);
		if (!strstr(line, HOMES) && !strstr(line, h->from))
			return false;
		change_fail(why, EPERM,
			    "AuthorizedKeysFile in sshd_config is %.500s: the move would lock %s out; make "
			    "it relative to the home first",
			    line, h->user.name);
		return true;
	}
	change_fail(why, EIO, "sshd -T does not say where it looks for keys: the move might lock %s out", h->user.name);
	return true;
}

static bool on_own_file_system(const char *home, const struct stat *st)
{
	char parent[CHANGE_PATH_MAX];
	struct stat above;

	snprintf(parent, sizeof(parent), "%s", home);
	*strrchr(parent, '/') = '\0';
	return stat(parent, &above) < 0 || above.st_dev != st->st_dev;
}

/* What is wrong with the home as it is, before anything was done. */
static int check_whole(const struct home *h, char *why)
{
	char real[PATH_MAX], other[ETC_PASSWD_USER];
	struct stat st;

	if (h->user.uid == 0)
		return change_fail(why, EPERM, "the home of root stays where it is: log in as another user");
	if (strncmp(h->from, HOMES, strlen(HOMES)) != 0 || strpbrk(h->from, ":\n\t"))
		return change_fail(why, EPERM, "%s: is not below /home, and homes elsewhere stay where they are",
				   h->from);
	if (!realpath(h->from, real) || strcmp(real, h->from) != 0)
		return change_fail(why, EPERM, "%s: is no folder, or leads through a link", h->from);
	if (lstat(h->from, &st) < 0 || st.st_uid != h->user.uid)
		return change_fail(why, EPERM, "%s: does not belong to %s", h->from, h->user.name);
	if (any_mounted(h->from, "unmount it (`homeport down`)", why))
		return -EBUSY;
	if (on_own_file_system(h->from, &st))
		return change_fail(why, EXDEV, "%s: is a file system of its own", h->from);
	if (etc_passwd_home_shared(h->from, h->user.name, other) < 0 || other[0])
		return change_fail(why, EPERM, "%s: is also the home of the user %s, or that is in it", h->from, other);
	return 0;
}

static int check(const struct home *h, char *why)
{
	if (h->state == HOME_ODD && look_at(h, h->from) != A_FOLDER)
		return change_fail(why, ENOTDIR, "%s: is no folder, or leads through a link", h->from);
	if (h->state == HOME_ODD)
		return change_fail(why, EEXIST, "%s: is there already, or %s names another home of %s's", h->to,
				   ETC_PASSWD, h->user.name);
	if (h->state == HOME_WHOLE && check_whole(h, why) < 0)
		return -EPERM;
	/* Once it is moved, who runs was started afterwards. */
	if (h->state >= HOME_MOVED)
		return 0;
	return any_users(h, h->from, why) || keys_elsewhere(h, why) ? -EPERM : 0;
}

static enum change_verdict home_look(const struct change *c, const struct installed *in, char *why)
{
	struct home h;

	(void)in;
	if (home_read(c, &h, why) < 0 || check(&h, why) < 0)
		return CHANGE_REFUSE;
	return h.state == HOME_DONE ? CHANGE_NOTHING : CHANGE_DO;
}

static bool is_empty(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool empty = fd >= 0 && folder_users_empty(fd);

	if (fd >= 0)
		close(fd);
	return empty;
}

static int check_undo(const struct home *h, char *why)
{
	if (h->state == HOME_ODD)
		return change_fail(why, EEXIST, "%s: cannot be moved back: it, %s or %s is not as it was left", h->to,
				   h->from, ETC_PASSWD);
	if (h->state < HOME_MOVED)
		return 0;
	if (h->state == HOME_DONE && any_mounted(h->from, "`homeport down`, or unmount it,", why))
		return -EBUSY;
	if (h->state == HOME_DONE && !is_empty(h->from))
		return change_fail(why, ENOTEMPTY, "%s: is not empty: move away what is in it", h->from);
	if (any_mounted(h->to, "unmount it (`homeport down`)", why) || any_users(h, h->to, why))
		return -EBUSY;
	return keys_elsewhere(h, why) ? -EPERM : 0;
}

static enum change_verdict home_look_undo(const struct change *c, const struct installed *in, char *why)
{
	struct home h;

	(void)in;
	if (home_read(c, &h, why) < 0)
		return CHANGE_KEEP;
	if (h.state == HOME_WHOLE)
		return CHANGE_NOTHING;
	return check_undo(&h, why) < 0 ? CHANGE_REFUSE : CHANGE_DO;
}

/* ------------------------------------------------------------------------------------------------------------- words
 */

static void home_tell(const struct change *c, FILE *out)
{
	struct home h;
	char why[CHANGE_WHY_MAX];

	if (home_read(c, &h, why) < 0)
		return;
	fprintf(out, "  %s: renamed to %s, the home of %s from then on (in %s too)\n", h.from, h.to, h.user.name,
		ETC_PASSWD);
	fprintf(out, "  %s: made anew, empty, for the host's home to be mounted there (%s, mode 0%o)\n", h.from,
		h.by_root ? "root's" : "the user's own, as fusermount3 wants it", h.by_root ? MOUNT_MODE : 0755);
}

static void home_tell_undo(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: the mount point, removed\n", c->path);
	fprintf(out, "  %s" MOVED_TO ": renamed to %s again (in %s too)\n", c->path, c->path, ETC_PASSWD);
}

/* Whether a file that the user's programs read names the old home. */
static bool names(const char *file, const char *home)
{
	struct wire_buf text = {0};
	struct stat st;
	bool found = whole_file_read(file, NOTES_MAX, &st, &text) == 0 &&
		     memmem(text.data, text.len, home, strlen(home)) != NULL;

	wire_buf_free(&text);
	return found;
}

void change_home_notes(const struct change *c, FILE *out)
{
	static const char *const in_home[] = {".profile", ".bash_profile", ".bashrc",
					      ".zshrc",   ".ssh/config",   ".gitconfig"};
	static const char *const crontabs[] = {"/var/spool/cron/crontabs", "/var/spool/cron", "/etc/cron.d"};
	char file[2 * PATH_MAX], why[CHANGE_WHY_MAX];
	struct home h;

	if (home_read(c, &h, why) < 0 || h.state >= HOME_MOVED)
		return;
	fprintf(out, "  note: what runs for %s keeps the old name until the next login\n", h.user.name);
	if (notify_booted())
		fprintf(out, "  note: a service manager that lingers, until `systemctl restart user@%u.service`\n",
			(unsigned)h.user.uid);
	for (size_t i = 0; i < sizeof(in_home) / sizeof(*in_home); i++) {
		snprintf(file, sizeof(file), "%s/%s", h.from, in_home[i]);
		if (names(file, h.from))
			fprintf(out, "  note: %s names %s: it will mean the host's\n", file, h.from);
	}
	for (size_t i = 0; i < sizeof(crontabs) / sizeof(*crontabs); i++) {
		snprintf(file, sizeof(file), "%s/%s", crontabs[i], h.user.name);
		if (names(file, h.from))
			fprintf(out, "  note: %s names %s: it will mean the host's\n", file, h.from);
	}
}

/* ----------------------------------------------------------------------------------------------------------- the steps
 */

static int exchange(const struct home *h)
{
	return renameat2(AT_FDCWD, h->from, AT_FDCWD, h->to, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

/* Whole at once, with its owner: it is renamed into its place. */
static int make_mount_point(const struct home *h)
{
	char fresh[CHANGE_PATH_MAX + 32];

	snprintf(fresh, sizeof(fresh), "%s.homeport-new", h->from);
	if ((rmdir(fresh) < 0 && errno != ENOENT) || mkdir(fresh, 0700) < 0)
		return -errno;
	if (!h->by_root && lchown(fresh, h->user.uid, h->user.gid) < 0)
		return -errno;
	if (chmod(fresh, h->by_root ? MOUNT_MODE : 0755) < 0 || rename(fresh, h->from) < 0)
		return -errno;
	return 0;
}

static int step(const struct home *h)
{
	switch (h->state) {
	case HOME_WHOLE:
		return symlink(h->base, h->to) < 0 ? -errno : 0;
	case HOME_LINKED:
		return etc_passwd_set_home(h->user.name, h->from, h->to);
	case HOME_NAMED:
		return exchange(h);
	case HOME_MOVED:
		return unlink(h->from) < 0 ? -errno : 0;
	case HOME_BARE:
		return make_mount_point(h);
	default:
		return -EPROTO;
	}
}

static int step_back(const struct home *h)
{
	switch (h->state) {
	case HOME_DONE:
		return rmdir(h->from) < 0 ? -errno : 0;
	case HOME_BARE:
		return symlink(h->base, h->from) < 0 ? -errno : 0;
	case HOME_MOVED:
		return exchange(h);
	case HOME_NAMED:
		return etc_passwd_set_home(h->user.name, h->to, h->from);
	case HOME_LINKED:
		return unlink(h->to) < 0 ? -errno : 0;
	default:
		return -EPROTO;
	}
}

/* Steps until `end`. Each is on the disk before the next. */
static int walk(const struct change *c, int (*one)(const struct home *), enum home_state end, char *why)
{
	enum home_state before = HOME_ODD;
	struct home h;
	int rc = 0;

	while (rc == 0) {
		if (home_read(c, &h, why) < 0)
			return -EIO;
		if (h.state == end)
			return 0;
		if (h.state == before)
			return change_fail(why, EIO, "%s: stays as it is, for no reason that is known", c->path);
		before = h.state;
		rc = one(&h);
		if (rc == 0)
			rc = whole_file_sync_folder(h.from);
	}
	if (h.state == HOME_NAMED && (rc == -EINVAL || rc == -EXDEV))
		return change_fail(why, EINVAL, "%s: its file system cannot exchange two names (RENAME_EXCHANGE)",
				   c->path);
	return change_fail(why, -rc, "%s: cannot be moved: %s", c->path, strerror(-rc));
}

/* What was begun and cannot be done is taken back, as far as it goes. */
static int home_make(const struct change *c, char *why)
{
	char other[CHANGE_WHY_MAX];
	int rc = walk(c, step, HOME_DONE, why);

	if (rc < 0)
		walk(c, step_back, HOME_WHOLE, other);
	return rc;
}

static int home_undo(const struct change *c, char *why)
{
	return walk(c, step_back, HOME_WHOLE, why);
}

const struct change_row change_home = {
	.name = "home",
	.look = home_look,
	.look_undo = home_look_undo,
	.tell = home_tell,
	.tell_undo = home_tell_undo,
	.make = home_make,
	.undo = home_undo,
};

/* ----------------------------------------------------------------------------------------------------------- planning
 */

/* Whether the user's agent mounts as root without the helper: by sudo without a password. */
static bool mounts_as_root(const char *user)
{
	const char *const argv[] = {"sudo",      "-n", "-u", user, "--", "sudo", "-n", "--", CHANGE_PROGRAM_PATH,
				    "--version", NULL};
	const char *const plain[] = {"sudo", "-n", "-u", user, "--", "sudo", "-n", "--", "true", NULL};
	char said[RUN_PROGRAM_SAID];

	return run_program(access(CHANGE_PROGRAM_PATH, X_OK) == 0 ? argv : plain, said) == 0;
}

/* A move that was begun: what /etc/passwd says by now is no help. */
static const struct change *begun(const struct installed *in, const char *user)
{
	size_t len = strlen(user);

	for (size_t i = 0; i < in->count; i++)
		if (in->changes[i].kind == CHANGE_HOME && strncmp(in->changes[i].detail, user, len) == 0 &&
		    in->changes[i].detail[len] == ' ')
			return &in->changes[i];
	return NULL;
}

enum change_verdict change_home_prepare(const char *name, bool helper, const struct installed *in, struct change *c,
					char *why)
{
	const struct change *earlier = begun(in, name);
	struct etc_user user;
	size_t len;

	if (earlier) {
		*c = *earlier;
		return CHANGE_DO;
	}
	if (etc_passwd_by_name(name, &user) < 0) {
		change_fail(why, ENOENT, "%s: is not in %s, and only homes of users that are there can be moved", name,
			    ETC_PASSWD);
		return CHANGE_REFUSE;
	}
	len = strlen(user.home);
	if (len > strlen(MOVED_TO) && strcmp(user.home + len - strlen(MOVED_TO), MOVED_TO) == 0)
		return CHANGE_NOTHING;
	if (len < 2 || len + strlen(MOVED_TO) >= sizeof(c->path) || user.home[len - 1] == '/') {
		change_fail(why, EINVAL, "%s: the home of %s cannot be moved", user.home, name);
		return CHANGE_REFUSE;
	}
	c->kind = CHANGE_HOME;
	memcpy(c->path, user.home, len + 1);
	snprintf(c->detail, sizeof(c->detail), "%s %s", name, helper || mounts_as_root(name) ? "root" : name);
	return CHANGE_DO;
}
