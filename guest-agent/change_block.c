/* SPDX-License-Identifier: MIT */
/*
 * Lines of ours in files of the system's: user_allow_other in /etc/fuse.conf, users in /etc/homeport/mounts.conf, and
 * mount points that the confinement of fusermount3 is to allow. Ubuntu confines it from 25.04 on: below homes, /mnt,
 * /media and /tmp it may mount, but not at /home/NAME itself, which is where the host's home goes. A local override is
 * what the profile includes for that.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "change.h"
#include "helper.h"
#include "marked_block.h"
#include "run_program.h"
#include "whole_file.h"

#define CONF_MAX        (1u << 20)
#define BODY_MAX        (32u << 10) /* of 64 mount points, whatever their names */
#define PROFILE         "/etc/apparmor.d/fusermount3"
#define APPARMOR_SWITCH "/sys/module/apparmor/parameters/enabled"

/* ----------------------------------------------------------------------------------------------------- of both files
 */

/* The file as it is (none: empty), and as it would be with the block, or without. */
struct edit {
	struct wire_buf before, after;
	struct stat st;
	bool missing;
};

static void edit_free(struct edit *e)
{
	wire_buf_free(&e->before);
	wire_buf_free(&e->after);
}

static int edit_begin(struct edit *e, const char *path, const char *body)
{
	int rc;

	*e = (struct edit){.st = {.st_mode = 0644}};
	rc = whole_file_read(path, CONF_MAX, &e->st, &e->before);
	e->missing = rc == -ENOENT;
	if (rc == 0 || e->missing)
		rc = marked_block_edit((const char *)e->before.data, e->before.len, body, &e->after);
	return rc == 0 && e->after.failed ? -ENOMEM : rc;
}

static bool edit_changes(const struct edit *e)
{
	return e->before.len != e->after.len ||
	       (e->before.len > 0 && memcmp(e->before.data, e->after.data, e->before.len) != 0);
}

static enum change_verdict block_look(const struct change *c, const char *body, char *why)
{
	enum change_verdict verdict = CHANGE_REFUSE;
	struct edit e;
	int rc = edit_begin(&e, c->path, body);

	if (rc < 0)
		change_fail(why, -rc, "%s: cannot be edited: %s", c->path,
			    rc == -EINVAL ? "it is no file, or lines of homeport's were changed in it" : strerror(-rc));
	else
		verdict = edit_changes(&e) ? CHANGE_DO : CHANGE_NOTHING;
	edit_free(&e);
	return verdict;
}

static enum change_verdict block_look_undo(const struct change *c, const struct installed *in, char *why)
{
	enum change_verdict verdict = block_look(c, NULL, why);

	(void)in;
	if (verdict == CHANGE_REFUSE)
		change_fail(why, EEXIST, "%s: stays as it is: the lines of homeport's in it were changed", c->path);
	return verdict == CHANGE_REFUSE ? CHANGE_KEEP : verdict;
}

static int block_set(const struct change *c, const char *body, char *why)
{
	struct edit e;
	int rc = edit_begin(&e, c->path, body);

	if (rc == 0 && edit_changes(&e)) {
		if (!body && e.after.len == 0 && strncmp(c->detail, "new", strlen("new")) == 0)
			rc = unlink(c->path) < 0 ? -errno : whole_file_sync_folder(c->path);
		else
			rc = whole_file_replace(c->path, ".homeport-new", &e.after, &e.st);
	}
	edit_free(&e);
	return rc < 0 ? change_fail(why, -rc, "%s: %s", c->path, strerror(-rc)) : 0;
}

static int block_undo(const struct change *c, char *why)
{
	return block_set(c, NULL, why);
}

static void block_tell_undo(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: as it was before\n", c->path);
}

/* --------------------------------------------------------------------------------------------------- /etc/fuse.conf
 */

#define FUSE_CONF_BODY "user_allow_other\n"

static enum change_verdict fuse_conf_look(const struct change *c, const struct installed *in, char *why)
{
	(void)in;
	return helper_user_allow_other() ? CHANGE_NOTHING : block_look(c, FUSE_CONF_BODY, why);
}

static void fuse_conf_tell(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: gets the line user_allow_other: every user's FUSE mounts may be open to all users\n",
		c->path);
}

static int fuse_conf_make(const struct change *c, char *why)
{
	return block_set(c, FUSE_CONF_BODY, why);
}

const struct change_row change_fuse_conf = {
	.name = "fuse.conf",
	.look = fuse_conf_look,
	.look_undo = block_look_undo,
	.tell = fuse_conf_tell,
	.tell_undo = block_tell_undo,
	.make = fuse_conf_make,
	.undo = block_undo,
};

/* --------------------------------------------------------------------------------------------------- mounts.conf */

/* The users in the detail, a line each: they may have what the helper gives to who comes by sudo. */
static void mounts_conf_body(const struct change *c, char body[CHANGE_DETAIL_MAX])
{
	snprintf(body, CHANGE_DETAIL_MAX, "%s\n", c->detail + strlen("new "));
	for (char *blank = body; (blank = strchr(blank, ' '));)
		*blank = '\n';
}

static enum change_verdict mounts_conf_look(const struct change *c, const struct installed *in, char *why)
{
	char body[CHANGE_DETAIL_MAX];

	(void)in;
	mounts_conf_body(c, body);
	return block_look(c, body, why);
}

static void mounts_conf_tell(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: says for whom root mounts: %s\n", c->path, c->detail + strlen("new "));
}

static int mounts_conf_make(const struct change *c, char *why)
{
	char body[CHANGE_DETAIL_MAX];

	mounts_conf_body(c, body);
	return block_set(c, body, why);
}

const struct change_row change_mounts_conf = {
	.name = "mounts.conf",
	.look = mounts_conf_look,
	.look_undo = block_look_undo,
	.tell = mounts_conf_tell,
	.tell_undo = block_tell_undo,
	.make = mounts_conf_make,
	.undo = block_undo,
};

/* ----------------------------------------------------------------------------------------------------------- AppArmor
 */

bool change_apparmor_here(void)
{
	FILE *file = fopen(APPARMOR_SWITCH, "re");
	int answer = file ? fgetc(file) : 'N';

	if (file)
		fclose(file);
	return answer == 'Y' && access(PROFILE, F_OK) == 0;
}

/* The rules for the mount points in the detail. */
static void apparmor_body(const struct change *c, char body[BODY_MAX])
{
	char points[CHANGE_DETAIL_MAX], *rest = NULL;
	size_t len = 0;

	snprintf(points, sizeof(points), "%s", c->detail);
	strtok_r(points, " ", &rest); /* "new" or "old" */
	body[0] = '\0';
	for (const char *at; len < BODY_MAX && (at = strtok_r(NULL, " ", &rest));)
		len += (size_t)snprintf(body + len, BODY_MAX - len,
					"mount fstype=fuse.homeport options=(nosuid,nodev,ro) -> %s/,\n"
					"mount fstype=fuse.homeport options=(nosuid,nodev,rw) -> %s/,\n"
					"umount %s/,\n",
					at, at, at);
}

static enum change_verdict apparmor_look(const struct change *c, const struct installed *in, char *why)
{
	char body[BODY_MAX];

	(void)in;
	apparmor_body(c, body);
	return block_look(c, body, why);
}

static void apparmor_tell(const struct change *c, FILE *out)
{
	fprintf(out,
		"  %s: allows fusermount3 to mount at%s, which AppArmor forbids it here; the profile is loaded again\n",
		c->path, c->detail + strlen("new"));
}

static int reload_profile(char *why)
{
	const char *const argv[] = {"apparmor_parser", "-r", PROFILE, NULL};
	char said[RUN_PROGRAM_SAID];

	if (!change_apparmor_here() || run_program(argv, said) == 0)
		return 0;
	said[strcspn(said, "\n")] = '\0';
	return change_fail(why, EIO, "apparmor_parser -r %s: %s", PROFILE, said);
}

static int apparmor_undo(const struct change *c, char *why)
{
	int rc = block_undo(c, why);

	return rc < 0 ? rc : reload_profile(why);
}

/* A profile that does not load would leave fusermount3 unconfined, or useless, from the next boot on: so what it does
 * not take is taken out again. */
static int apparmor_make(const struct change *c, char *why)
{
	char body[BODY_MAX], other[CHANGE_WHY_MAX];
	int rc;

	apparmor_body(c, body);
	rc = block_set(c, body, why);
	if (rc < 0)
		return rc;
	rc = reload_profile(why);
	if (rc < 0)
		apparmor_undo(c, other);
	return rc;
}

const struct change_row change_apparmor = {
	.name = "apparmor",
	.look = apparmor_look,
	.look_undo = block_look_undo,
	.tell = apparmor_tell,
	.tell_undo = block_tell_undo,
	.make = apparmor_make,
	.undo = apparmor_undo,
};
