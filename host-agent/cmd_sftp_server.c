/* SPDX-License-Identifier: MIT */
/*
 * One process a share: options, the share and the masks opened, the sandbox closed, then requests until stdin ends.
 * Whoever starts it (the agent, sshd's Subsystem line, `sftp -D`) has the other end of stdin and stdout.
 */
#include "cmd_sftp_server.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "sandbox.h"
#include "sftp_server.h"

struct sftp_options {
	const char *dir, *home;
	bool writable, best_effort, no_mask, cross, locks, virtual_owners, acl;
	int counters_fd;
	enum log_level level;
};

static const char usage_text[] = "usage: homeport sftp-server [OPTIONS] DIR\n"
				 "  serves DIR, and nothing outside of it, over SFTP on stdin and stdout\n"
				 "  --writable                files may be changed\n"
				 "  --no-mask                 show also what is hidden in a home: keys, tokens,\n"
				 "                            browser profiles\n"
				 "  --locks                   carry the client's file locks to the host's files\n"
				 "  --ownership=host|virtual  whose a file is: the host's word (default), or\n"
				 "                            recorded with the file\n"
				 "  --acl                     the client has the files' POSIX ACLs\n"
				 "  --home DIR                the home those are looked for in (default: $HOME)\n"
				 "  --cross                   enter also FUSE, network and automounted file\n"
				 "                            systems below DIR\n"
				 "  --sandbox=enforce|best-effort\n"
				 "                            without the kernel's help: refuse (default), or\n"
				 "                            serve all the same\n"
				 "  --counters-fd N           where to count requests and bytes\n"
				 "  --log-level error|warning|info|debug\n";

static int usage_error(const char *what, const char *value)
{
	fprintf(stderr, "homeport: sftp-server: %s%s%s; see homeport sftp-server --help\n", what, value ? ": " : "",
		value ? value : "");
	return 2;
}

/* ---- options ---- */

static int parse_level(const char *text, enum log_level *level)
{
	for (int i = 0; i < LOG_LEVEL_COUNT; i++) {
		if (strcmp(text, log_level_name(i)) == 0) {
			*level = i;
			return 0;
		}
	}
	return usage_error("unknown log level", text);
}

static int parse_counters(const char *text, int *fd)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (end == text || *end || value < 3 || value > 65535)
		return usage_error("not a descriptor to count in", text);
	*fd = (int)value;
	return 0;
}

static int parse_ownership(const char *text, bool *recorded)
{
	*recorded = strcmp(text, "virtual") == 0;
	if (!*recorded && strcmp(text, "host") != 0)
		return usage_error("--ownership is host or virtual, not", text);
	return 0;
}

static int parse_sandbox(const char *text, bool *best_effort)
{
	*best_effort = strcmp(text, "best-effort") == 0;
	if (!*best_effort && strcmp(text, "enforce") != 0)
		return usage_error("--sandbox is enforce or best-effort, not", text);
	return 0;
}

enum { WRITABLE = 256, NO_MASK, LOCKS, OWNERSHIP, ACL, HOME, CROSS, SANDBOX, COUNTERS, LEVEL, HELP };

static const struct option option_table[] = {
	{"writable", no_argument, NULL, WRITABLE},
	{"no-mask", no_argument, NULL, NO_MASK},
	{"locks", no_argument, NULL, LOCKS},
	{"ownership", required_argument, NULL, OWNERSHIP},
	{"acl", no_argument, NULL, ACL},
	{"home", required_argument, NULL, HOME},
	{"cross", no_argument, NULL, CROSS},
	{"sandbox", required_argument, NULL, SANDBOX},
	{"counters-fd", required_argument, NULL, COUNTERS},
	{"log-level", required_argument, NULL, LEVEL},
	{"help", no_argument, NULL, HELP},
	{0},
};

const struct option *cmd_sftp_server_options(void)
{
	return option_table;
}

/* 0; or an exit status, -1 for "done" (help). */
static int parse_options(int argc, char **argv, struct sftp_options *o)
{
	int c, r = 0;

	optind = 0; /* not the first getopt of this process */
	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, "+h", option_table, NULL)) != -1) {
		switch (c) {
		case WRITABLE:
			o->writable = true;
			break;
		case NO_MASK:
			o->no_mask = true;
			break;
		case LOCKS:
			o->locks = true;
			break;
		case OWNERSHIP:
			r = parse_ownership(optarg, &o->virtual_owners);
			break;
		case ACL:
			o->acl = true;
			break;
		case HOME:
			o->home = optarg;
			break;
		case CROSS:
			o->cross = true;
			break;
		case SANDBOX:
			r = parse_sandbox(optarg, &o->best_effort);
			break;
		case COUNTERS:
			r = parse_counters(optarg, &o->counters_fd);
			break;
		case LEVEL:
			r = parse_level(optarg, &o->level);
			break;
		case HELP:
		case 'h':
			fputs(usage_text, stdout);
			return -1;
		default:
			return usage_error("unknown option, or one without its value", argv[optind - 1]);
		}
	}
	if (r == 0 && argc - optind != 1)
		return usage_error(argc == optind ? "which folder?" : "one folder, not more", NULL);
	o->dir = argv[optind];
	return r;
}

/* ---- stages ---- */

static int map_counters(int fd, struct share *share)
{
	struct stat st;
	void *p;

	if (fd < 0)
		return 0;
	/* What lies beyond its end could not be counted in. */
	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(struct share_counters))
		return -EINVAL;
	p = mmap(NULL, sizeof(struct share_counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return -errno;
	share->counters = p;
	return 0;
}

static const char *home_of_user(void)
{
	const char *home = getenv("HOME");
	const struct passwd *pw;

	if (home && home[0] == '/')
		return home;
	pw = getpwuid(geteuid());
	return pw ? pw->pw_dir : NULL;
}

/* A user without a home has nothing to hide in it. */
static int open_masks(const struct sftp_options *o, struct share *share)
{
	const char *home = o->home ? o->home : home_of_user();
	int r;

	/* In a read-only share nothing needs protecting. */
	if (!home || (o->no_mask && !o->writable))
		return 0;
	r = masks_new(home, !o->no_mask, &share->masks);
	return r == -ENOENT && !o->home ? 0 : r;
}

static int fail(const char *what, int error)
{
	log_error("sftp-server: %s: %s", what, strerror(-error));
	return 1;
}

/* Everything that opens, then the sandbox. 0, or an exit status after one line of why. */
static int prepare(const struct sftp_options *o, struct share *share)
{
	struct sandbox_options box = {.writable = o->writable, .best_effort = o->best_effort};
	char why[SANDBOX_WHY_MAX];
	const char *what;
	int counters, r;
	long descriptors;

	counters = sandbox_close_descriptors(o->counters_fd);
	r = counters < -1 ? counters : map_counters(counters, share);
	if (r < 0)
		return fail("--counters-fd", r);
	descriptors = sandbox_limit_resources();
	if (descriptors < 0)
		return fail("resource limits", (int)descriptors);
	r = root_open(&share->root, o->dir, o->cross, &what);
	if (r < 0)
		return fail(what, r);
	r = o->virtual_owners ? root_record_owners(&share->root) : 0;
	if (r == -EOPNOTSUPP) {
		log_error("sftp-server: %s: its file system has no user extended attributes, which --ownership=virtual "
			  "records owners in",
			  o->dir);
		return 1;
	}
	if (r < 0)
		return fail(o->dir, r);
	r = open_masks(o, share);
	if (r < 0)
		return fail(o->home ? o->home : "home folder", r);
	share->writable = o->writable;
	share->root.keep_atime = !o->writable; /* as in what is mounted read-only */
	share->acl = o->acl;
	r = share_init(share, (size_t)descriptors, o->locks);
	if (r < 0)
		return fail(o->dir, r);
	box.root_fd = share->root.fd;
	r = sandbox_enter(&box, why);
	if (r < 0) {
		log_error("sftp-server: sandbox: %s; --sandbox=best-effort serves without it", why);
		return 1;
	}
	return 0;
}

int cmd_sftp_server(int argc, char **argv)
{
	struct sftp_options options = {.counters_fd = -1, .level = LOG_LEVEL_WARN};
	static struct share share; /* large, and outlives threads that hang */
	struct sftp_server *server;
	int r = parse_options(argc, argv, &options);

	if (r)
		return r < 0 ? 0 : r;
	log_init("homeport", options.level);
	signal(SIGPIPE, SIG_IGN);
	share.umask = umask(0);
	r = prepare(&options, &share);
	if (r)
		return r;
	server = sftp_server_new(&share);
	r = server ? sftp_server_run(server, STDIN_FILENO, STDOUT_FILENO) : -ENOMEM;
	if (r == -EBUSY) {
		log_warn("sftp-server: %s: a file call still hangs; leaving it", options.dir);
		return 0;
	}
	sftp_server_free(server);
	share_clear(&share);
	return r < 0 ? fail("input", r) : 0;
}
