/* SPDX-License-Identifier: MIT */
/*
 * homeport-guest install, uninstall: homeport-guest in this guest for good, and away again. `homeport guest install`
 * runs this through ssh; a person in the guest may as well.
 *
 * What is to be done is worked out first, as a list of changes (change.h), and said; then, with a yes, it is written
 * down in the record (installed.h) and done, one after the other. What must not be done is said with all other such
 * reasons, and nothing is done. uninstall goes through the record from its end.
 *
 * Whoever is no root starts again by sudo. All of it is done by this one program as root, from which nothing is read
 * but its words and the guest's own files.
 */
#include "cmd_install.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "become_root.h"
#include "change.h"
#include "commands.h"
#include "etc_environment.h"
#include "etc_passwd.h"
#include "installed.h"
#include "mount_policy.h"
#include "notify.h"
#include "run_program.h"
#include "teller.h"

#define POINTS_MAX 64
#define ARGS_MAX   (2 * POINTS_MAX + 16)

struct request {
	const char *command;
	char user[ETC_PASSWD_USER];
	const char *points[POINTS_MAX]; /* where the host's folders are to be mounted */
	size_t point_count;
	bool helper, allow_other, move_home, dry_run, yes;
	bool to_host, waited, ask; /* the host's program is told; it gave its line; it has a terminal */
};

struct plan {
	struct installed in;
	struct change changes[CHANGES_MAX];
	enum change_verdict verdicts[CHANGES_MAX];
	size_t count;
	unsigned to_do, refused;
	char *text; /* what is said of it */
	size_t text_size;
	FILE *out; /* to text, while it is made */
};

static struct plan plan; /* large */

/* -------------------------------------------------------------------------------------------------------------- words
 */

enum {
	OPT_USER = 256,
	OPT_POINT,
	OPT_HELPER,
	OPT_ALLOW_OTHER,
	OPT_MOVE_HOME,
	OPT_DRY_RUN,
	OPT_YES,
	OPT_TO_HOST,
	OPT_WAITED,
	OPT_ASK
};

static const struct option longs[] = {
	{"user", 1, NULL, OPT_USER},
	{"dry-run", 0, NULL, OPT_DRY_RUN},
	{"yes", 0, NULL, OPT_YES},
	{"to-host", 0, NULL, OPT_TO_HOST},
	{"waited", 0, NULL, OPT_WAITED},
	{"ask", 0, NULL, OPT_ASK},
	/* Of install alone. */
	{"mount-point", 1, NULL, OPT_POINT},
	{"helper", 0, NULL, OPT_HELPER},
	{"allow-other", 0, NULL, OPT_ALLOW_OTHER},
	{"move-home", 0, NULL, OPT_MOVE_HOME},
	{NULL},
};

/* They become words of a rule of AppArmor's, as they are. */
static bool point_is_plain(const char *point)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-";

	return point[0] == '/' && point[1] != '\0' && strspn(point, plain) == strlen(point);
}

static bool user_is_plain(const char *name)
{
	return *name && *name != '-' && !strpbrk(name, " \t\n:/");
}

static bool take_option(struct request *r, int found)
{
	switch (found) {
	case OPT_USER:
		return user_is_plain(optarg) && snprintf(r->user, sizeof(r->user), "%s", optarg) < (int)sizeof(r->user);
	case OPT_POINT:
		if (r->point_count == POINTS_MAX || !point_is_plain(optarg))
			return false;
		r->points[r->point_count++] = optarg;
		return true;
	case OPT_HELPER:
		return r->helper = true;
	case OPT_ALLOW_OTHER:
		return r->allow_other = true;
	case OPT_MOVE_HOME:
		return r->move_home = true;
	case OPT_DRY_RUN:
		return r->dry_run = true;
	case OPT_YES:
		return r->yes = true;
	case OPT_TO_HOST:
		return r->to_host = true;
	case OPT_WAITED:
		return r->waited = true;
	case OPT_ASK:
		return r->ask = true;
	default:
		return false;
	}
}

static bool read_request(struct request *r, int argc, char **argv)
{
	bool install = strcmp(argv[0], "install") == 0;
	int found;

	*r = (struct request){.command = argv[0]};
	opterr = 0;
	optind = 0; /* glibc: start anew */
	while ((found = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (!take_option(r, found))
			return false;
	if (!r->to_host)
		r->ask = isatty(STDIN_FILENO);
	return optind == argc && (install || (!r->point_count && !r->helper && !r->allow_other && !r->move_home));
}

/* The login user: who is told, who called sudo, or who runs this. Who is not in /etc/passwd (LDAP) is by sshd's word
 * alone. False: it is not known. */
static bool find_user(struct request *r)
{
	const char *name = getuid() == 0 ? getenv("SUDO_USER") : NULL;
	struct etc_user user;

	if (r->user[0])
		return true;
	if (!name && etc_passwd_by_uid(getuid(), &user) == 0)
		name = user.name;
	if (!name)
		name = getenv("USER");
	return name && user_is_plain(name) && snprintf(r->user, sizeof(r->user), "%s", name) < (int)sizeof(r->user);
}

/* What a person types as root: the same words, without what is between us and the host. */
static void by_hand(const char *self, int argc, char **argv, const char *user, char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, "as root in the guest: %s", self);

	for (int i = 0; i < argc && len < size; i++)
		if (strcmp(argv[i], "--to-host") != 0 && strcmp(argv[i], "--ask") != 0)
			len += (size_t)snprintf(text + len, size - len, " %s", argv[i]);
	if (len < size)
		snprintf(text + len, size - len, " --user %s", user);
}

/* The same command as root, with its own words. Returns the exit status when it cannot be. */
static int start_again(const struct request *r, int argc, char **argv)
{
	const char *words[ARGS_MAX], *more[] = {"--user", r->user, "--waited", NULL};
	char self[PATH_MAX], hand[2 * PATH_MAX], text[3 * PATH_MAX];
	size_t count = 0;
	int free, rc = become_root_self(self);

	if (rc < 0 || (size_t)argc + 4 > ARGS_MAX) {
		teller_error("this program's own file is not found: %s", strerror(rc < 0 ? -rc : E2BIG));
		return teller_end(EXIT_FAILED);
	}
	for (int i = 0; i < argc; i++)
		words[count++] = argv[i];
	memcpy(words + count, more, sizeof(more));
	by_hand(self, argc, argv, r->user, hand, sizeof(hand));
	free = become_root_is_free(self);
	if (free < 0) {
		teller_error("there is no sudo here; %s", hand);
		return teller_end(EXIT_FAILED);
	}
	if (!free && !isatty(STDIN_FILENO)) {
		snprintf(text, sizeof(text), "sudo wants a password, and there is no terminal to ask for it; %s", hand);
		return teller_password(self, text);
	}
	rc = become_root(self, free, words);
	teller_error("sudo cannot be started (%s); %s", strerror(-rc), hand);
	return teller_end(EXIT_FAILED);
}

/* ----------------------------------------------------------------------------------------------------------- planning
 */

static void refuse(const char *why)
{
	teller_error("%s", why);
	plan.refused++;
}

static void plan_verdict(const struct change *c, enum change_verdict verdict, bool undo, const char *why)
{
	const struct change_row *row = change_rows[c->kind];

	if (plan.count == CHANGES_MAX) {
		refuse("there is more to do than can be remembered");
		return;
	}
	switch (verdict) {
	case CHANGE_REFUSE:
		refuse(why);
		return;
	case CHANGE_NOTHING:
		break;
	case CHANGE_KEEP:
		fprintf(plan.out, "  %s\n", why);
		break;
	case CHANGE_DO:
		plan.to_do++;
		(undo ? row->tell_undo : row->tell)(c, plan.out);
		break;
	}
	plan.verdicts[plan.count] = verdict;
	plan.changes[plan.count++] = *c;
}

static void plan_change(const struct change *c)
{
	char why[CHANGE_WHY_MAX] = "";

	plan_verdict(c, change_rows[c->kind]->look(c, &plan.in, why), false, why);
}

/* The folders above a path that are not there. */
static void plan_folders(const char *path)
{
	struct change c = {.kind = CHANGE_FOLDER};

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(c.path, sizeof(c.path), "%.*s", (int)(slash - path), path);
		if (access(c.path, F_OK) < 0)
			plan_change(&c);
	}
}

static void plan_file(enum change_kind kind, const char *path)
{
	struct change c = {.kind = kind};
	int rc;

	snprintf(c.path, sizeof(c.path), "%s", path);
	rc = change_file_prepare(&c);
	if (rc < 0) {
		teller_error("%s: cannot be prepared: %s", path, strerror(-rc));
		plan.refused++;
		return;
	}
	plan_folders(path);
	plan_change(&c);
}

/* Whether the file is to be removed with the block: it was not there before, or an earlier install made it. */
static const char *block_origin(enum change_kind kind, const char *path)
{
	const struct change *earlier = installed_find(&plan.in, kind, path, NULL);

	if (earlier)
		return strncmp(earlier->detail, "new", strlen("new")) == 0 ? "new" : "old";
	return access(path, F_OK) < 0 ? "new" : "old";
}

static void plan_fuse_conf(void)
{
	struct change c = {.kind = CHANGE_FUSE_CONF, .path = CHANGE_FUSE_CONF_PATH};

	snprintf(c.detail, sizeof(c.detail), "%s", block_origin(c.kind, c.path));
	plan_change(&c);
}

static bool has_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = words; (at = strstr(at, word)); at += len)
		if ((at == words || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return true;
	return false;
}

/* How the helper, which knows no name service, is told of the user: by the name that /etc/passwd has, else by the
 * number that the system's own id(1) knows (LDAP). False: nobody knows this user. */
static bool user_for_helper(const char *user, char word[ETC_PASSWD_USER])
{
	const char *const argv[] = {"id", "-u", "--", user, NULL};
	char said[RUN_PROGRAM_SAID];
	struct etc_user known;

	snprintf(word, ETC_PASSWD_USER, "%s", user);
	if (etc_passwd_by_name(user, &known) == 0)
		return true;
	if (run_program(argv, said) != 0 || !said[0] || said[strspn(said, "0123456789")] != '\n')
		return false;
	said[strcspn(said, "\n")] = '\0';
	return snprintf(word, ETC_PASSWD_USER, "%s", said) < ETC_PASSWD_USER;
}

/* The users of earlier installs, and this one. */
static void plan_mounts_conf(const struct request *r)
{
	const struct change *earlier = installed_find(&plan.in, CHANGE_MOUNTS_CONF, MOUNT_POLICY_PATH, NULL);
	struct change c = {.kind = CHANGE_MOUNTS_CONF, .path = MOUNT_POLICY_PATH};
	char user[ETC_PASSWD_USER];
	int len;

	if (!user_for_helper(r->user, user)) {
		refuse("--helper: nobody here knows the login user: say who it is with --user");
		return;
	}
	if (earlier && has_word(earlier->detail + strlen("new "), user))
		len = snprintf(c.detail, sizeof(c.detail), "%s", earlier->detail);
	else
		len = snprintf(c.detail, sizeof(c.detail), "%s %s",
			       earlier ? earlier->detail : block_origin(c.kind, c.path), user);
	if (len >= (int)sizeof(c.detail)) {
		refuse("there are more users than can be remembered");
		return;
	}
	plan_folders(c.path);
	plan_change(&c);
}

/* Who needs nothing but the helper to mount has an agent that may do nothing else. Root mounts by itself. */
static void plan_hardening(const struct request *r)
{
	char path[CHANGE_PATH_MAX];
	struct etc_user user;

	if (etc_passwd_by_name(r->user, &user) == 0 && user.uid == 0)
		return;
	snprintf(path, sizeof(path), CHANGE_HARDENED_PATH "%s" CHANGE_HARDENED_END, r->user);
	plan_file(CHANGE_UNIT, path);
}

static bool is_planned_for(const struct change *c)
{
	for (size_t i = 0; i < plan.count; i++)
		if (plan.changes[i].kind == c->kind && strcmp(plan.changes[i].path, c->path) == 0)
			return true;
	return false;
}

/* The units of earlier installs, whoever they were for, are of the program's version too; but not those that are no
 * more as we left them. */
static void plan_renewal(void)
{
	for (size_t i = 0; i < plan.in.count; i++) {
		struct change now = {.kind = CHANGE_UNIT};
		char why[CHANGE_WHY_MAX];

		memcpy(now.path, plan.in.changes[i].path, sizeof(now.path));
		if (plan.in.changes[i].kind == CHANGE_UNIT && !is_planned_for(&now) && access(now.path, F_OK) == 0 &&
		    change_file_prepare(&now) == 0 && change_unit.look(&now, &plan.in, why) == CHANGE_DO)
			plan_verdict(&now, CHANGE_DO, false, NULL);
	}
}

/* Root asks nobody. */
static void plan_helper(const struct request *r)
{
	if (!notify_booted()) {
		refuse("--helper: there is no systemd here, which would start it");
		return;
	}
	plan_file(CHANGE_UNIT, CHANGE_SOCKET_PATH);
	plan_file(CHANGE_UNIT, CHANGE_HELPER_PATH);
	plan_mounts_conf(r);
	plan_hardening(r);
}

/* Below a home fusermount3 may mount already. */
static void plan_apparmor(const struct request *r)
{
	struct change c = {.kind = CHANGE_APPARMOR, .path = CHANGE_APPARMOR_PATH};
	size_t len = (size_t)snprintf(c.detail, sizeof(c.detail), "%s", block_origin(c.kind, c.path)), none = len;

	for (size_t i = 0; i < r->point_count && len < sizeof(c.detail); i++)
		len += (size_t)snprintf(c.detail + len, sizeof(c.detail) - len, " %s", r->points[i]);
	if (len == none || !change_apparmor_here())
		return;
	if (len >= sizeof(c.detail)) {
		refuse("the mount points' names are too long for a rule of AppArmor's");
		return;
	}
	plan_folders(c.path);
	plan_change(&c);
}

static void plan_home(const struct request *r)
{
	char why[CHANGE_WHY_MAX] = "";
	struct change c = {0};
	bool wanted = r->point_count == 0;

	switch (change_home_prepare(r->user, r->helper, &plan.in, &c, why)) {
	case CHANGE_DO:
		for (size_t i = 0; i < r->point_count; i++)
			wanted |= strcmp(r->points[i], c.path) == 0;
		if (!wanted) {
			fprintf(plan.out, "  note: %s: stays where it is: no folder of the host goes there\n", c.path);
			break;
		}
		plan_change(&c);
		change_home_notes(&c, plan.out);
		break;
	case CHANGE_REFUSE:
		refuse(why);
		break;
	default:
		break;
	}
}

static bool is_planned(enum change_kind kind)
{
	for (size_t i = 0; i < plan.count; i++)
		if (plan.changes[i].kind == kind && plan.verdicts[i] == CHANGE_DO)
			return true;
	return false;
}

/* What runs is started anew when its program or its home changed, if it is ours to start: other users' too. */
static void plan_service(const struct request *r)
{
	bool renewed = is_planned(CHANGE_PROGRAM) || is_planned(CHANGE_UNIT) || is_planned(CHANGE_HOME);
	struct change own = {.kind = CHANGE_SERVICE}, socket = {.kind = CHANGE_SERVICE, .path = CHANGE_HELPER_SOCKET};

	snprintf(own.path, sizeof(own.path), "homeport-guest@%s.service", r->user);
	for (size_t i = 0; renewed && i < plan.in.count; i++)
		if (plan.in.changes[i].kind == CHANGE_SERVICE)
			plan_verdict(&plan.in.changes[i], CHANGE_DO, false, NULL);
	if (r->helper && (!renewed || !installed_find(&plan.in, CHANGE_SERVICE, socket.path, NULL)))
		plan_change(&socket);
	if (!renewed || !installed_find(&plan.in, CHANGE_SERVICE, own.path, NULL))
		plan_change(&own);
}

static void plan_install(const struct request *r)
{
	plan_file(CHANGE_PROGRAM, CHANGE_PROGRAM_PATH);
	plan_file(CHANGE_MANUAL, CHANGE_MANUAL_PATH);
	if (notify_booted())
		plan_file(CHANGE_UNIT, CHANGE_UNIT_PATH);
	if (r->helper)
		plan_helper(r);
	plan_renewal();
	if (r->allow_other)
		plan_fuse_conf();
	plan_apparmor(r);
	if (r->move_home)
		plan_home(r);
	if (notify_booted())
		plan_service(r);
	else if (plan.to_do)
		fputs("  note: there is no systemd here, so no service: the first connection starts the agent\n",
		      plan.out);
}

/* From the last to the first. A file of which two hashes are recorded is one. */
static void plan_undoing(bool services)
{
	for (size_t i = plan.in.count; i-- > 0;) {
		const struct change *c = &plan.in.changes[i];
		char why[CHANGE_WHY_MAX] = "";

		if ((c->kind == CHANGE_SERVICE) == services && !installed_find(&plan.in, c->kind, c->path, c))
			plan_verdict(c, change_rows[c->kind]->look_undo(c, &plan.in, why), true, why);
	}
}

/* Services first: they run the program, in the home. */
static void plan_uninstall(void)
{
	plan_undoing(true);
	plan_undoing(false);
}

/* ----------------------------------------------------------------------------------------------------------- doing it
 */

/* What a power cut left half written. */
static void sweep(const char *path)
{
	char fresh[CHANGE_PATH_MAX + 32];

	snprintf(fresh, sizeof(fresh), "%s.homeport-new", path);
	if (unlink(fresh) < 0 && errno == EISDIR)
		rmdir(fresh);
}

static int failed(const char *why)
{
	teller_error("%s", why);
	teller_error("what is said above was not all done: begin again to go on, or uninstall to take it back");
	return EXIT_FAILED;
}

static int save_failed(int rc)
{
	teller_error("%s: %s", INSTALLED_FILE, strerror(-rc));
	return EXIT_FAILED;
}

/* What was begun is finished, whoever hangs up meanwhile. */
static void be_left_alone(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGTSTP};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
}

/* All is written down before any of it is done. */
static int carry_out_install(void)
{
	char why[CHANGE_WHY_MAX] = "";
	int rc = 0;

	for (size_t i = 0; i < plan.count && rc == 0; i++)
		if (plan.verdicts[i] == CHANGE_DO)
			rc = installed_add(&plan.in, &plan.changes[i]);
	if (rc == 0)
		rc = installed_save(&plan.in);
	if (rc < 0)
		return save_failed(rc);
	for (size_t i = 0; i < plan.count; i++)
		if (plan.verdicts[i] == CHANGE_DO && change_rows[plan.changes[i].kind]->make(&plan.changes[i], why) < 0)
			return failed(why);
	for (size_t i = 0; i < plan.count; i++)
		if (plan.verdicts[i] == CHANGE_DO)
			installed_forget(&plan.in, &plan.changes[i], &plan.changes[i]);
	rc = installed_save(&plan.in);
	return rc < 0 ? save_failed(rc) : EXIT_DONE;
}

static int carry_out_uninstall(void)
{
	char why[CHANGE_WHY_MAX] = "";
	int rc;

	for (size_t i = 0; i < plan.count; i++) {
		const struct change *c = &plan.changes[i];

		if (plan.verdicts[i] == CHANGE_DO && change_rows[c->kind]->undo(c, why) < 0)
			return failed(why);
		sweep(c->path);
		installed_forget(&plan.in, c, NULL);
		/* The folder of the record goes last. */
		rc = plan.in.count ? installed_save(&plan.in) : 0;
		if (rc < 0)
			return save_failed(rc);
	}
	sweep(ETC_PASSWD);
	/* Of an agent that was killed. A file that cannot be edited has nothing of ours. */
	etc_environment_set(ETC_ENVIRONMENT, NULL, NULL, 0);
	rc = installed_save(&plan.in);
	return rc < 0 ? save_failed(rc) : EXIT_DONE;
}

/* ---------------------------------------------------------------------------------------------------------- the whole
 */

/* The record, kept from others until the end. */
static int open_record(bool make)
{
	int rc = installed_open(&plan.in, make);

	if (rc == -EBUSY)
		teller_error("another install or uninstall is under way");
	else if (rc == -EPROTO)
		teller_error("%s: cannot be understood: another version wrote it, or somebody changed it",
			     INSTALLED_FILE);
	else if (rc < 0)
		teller_error("%s: %s", INSTALLED_FILE, strerror(-rc));
	return rc;
}

static int make_plan(const struct request *r)
{
	plan.out = open_memstream(&plan.text, &plan.text_size);
	if (!plan.out) {
		teller_error("out of memory");
		return -ENOMEM;
	}
	if (strcmp(r->command, "install") == 0)
		plan_install(r);
	else
		plan_uninstall();
	if (fclose(plan.out) == 0)
		return 0;
	teller_error("out of memory");
	return -ENOMEM;
}

static void say_plan(const struct request *r, bool install)
{
	char head[ETC_PASSWD_USER + 64];

	snprintf(head, sizeof(head), install ? "In this guest, for %s:\n" : "In this guest:\n", r->user);
	teller_print(head);
	teller_print(plan.text);
}

static int decide(const struct request *r, bool install)
{
	if (plan.refused)
		return EXIT_FAILED;
	if (!plan.to_do && !install && !plan.in.count && plan.in.folder >= 0 && !r->dry_run)
		installed_save(&plan.in); /* an install that came no further left its folder */
	if (!plan.to_do && (install || !plan.in.count)) {
		teller_print(install ? "Nothing to do: all of it is in place.\n"
				     : "Nothing to do: nothing is installed.\n");
		return EXIT_DONE;
	}
	say_plan(r, install);
	if (r->dry_run)
		return EXIT_DONE;
	if (!r->yes && !r->ask) {
		teller_error("nothing is done without --yes where there is no terminal to ask at");
		return EXIT_USAGE;
	}
	if (!r->yes && !teller_ask("Do this?")) {
		teller_error("nothing was done");
		return EXIT_FAILED;
	}
	/* Until here there may have been no folder to lock. */
	if (plan.in.folder < 0 && (open_record(true) < 0 || plan.in.count))
		return EXIT_FAILED;
	be_left_alone();
	return install ? carry_out_install() : carry_out_uninstall();
}

static int as_root(const struct request *r)
{
	bool install = strcmp(r->command, "install") == 0;
	int status = EXIT_FAILED;

	umask(022);
	if (open_record(false) == 0 && make_plan(r) == 0)
		status = decide(r, install);
	installed_close(&plan.in);
	free(plan.text);
	return teller_end(status);
}

int cmd_install(int argc, char **argv)
{
	struct request r;

	if (!read_request(&r, argc, argv))
		return command_usage(argv[0]);
	if (!teller_begin(r.command, r.to_host, r.waited))
		return EXIT_FAILED;
	if (!find_user(&r)) {
		teller_error("the login user is not in %s: say which with --user", ETC_PASSWD);
		return teller_end(EXIT_FAILED);
	}
	return geteuid() == 0 ? as_root(&r) : start_again(&r, argc, argv);
}
