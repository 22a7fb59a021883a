/* SPDX-License-Identifier: MIT */
/*
 * `homeport-guest mount [-o OPTIONS] MOUNTPOINT -- COMMAND…`: one mount of what COMMAND serves on its stdin and stdout,
 * which is `homeport sftp-server DIR`, here or through ssh. Nothing of session and mux: how the mount is used and
 * tested alone.
 *
 * COMMAND has one end of a socketpair. Its end ends the mount with a line and exit status 1, or with -o reconnect it is
 * started again and the mount stays, as with sshfs. Unmounting closes the socket, and COMMAND ends by itself.
 */
#include "cmd_mount.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chan.h"
#include "chan_fd.h"
#include "log.h"
#include "loop.h"
#include "mount.h"
#include "mount_target.h"

#define USAGE                                                                          \
	"usage: homeport-guest mount [-v] [-o "                                        \
	"ro,rw,allow_other,locks,acl,ownership=virtual,reconnect,hostuid=N,hostgid=N," \
	"uidmap=HOST:GUEST[:COUNT],gidmap=HOST:GUEST[:COUNT]] MOUNTPOINT -- COMMAND..."
#define SOCKET_BUFFER (1 << 20) /* of the pipe to COMMAND: what keeps it busy while the loop does something else */

struct foreground {
	struct loop *loop;
	struct mount *mount;
	struct chan *chan;
	pid_t command;
	char **command_argv;
	int exit_status;
	bool stopping, reconnect;

	char target[4096];
	struct mount_share share;
	struct mount_params params;
	struct id_map uids, gids;
};

/* --------------------------------------------------------------------------------------------------------- options */

/* 0..UINT32_MAX-1, or false. */
static bool parse_id(const char *text, uint32_t *id)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || !*text || *end || v >= UINT32_MAX)
		return false;
	*id = (uint32_t)v;
	return true;
}

/* HOST:GUEST[:COUNT], added to the map. 0, or as id_map_add(). */
static int parse_range(const char *text, struct id_map *map)
{
	struct id_range range = {.count = 1};
	uint32_t *const parts[] = {&range.host, &range.guest, &range.count};
	char copy[40], *rest = copy, *part;
	size_t n = 0;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		return -EINVAL;
	while ((part = strsep(&rest, ":")) != NULL)
		if (n == 3 || !parse_id(part, parts[n++]))
			return -EINVAL;
	return n < 2 ? -EINVAL : id_map_add(map, &range);
}

static const char *option_wrong(int error)
{
	switch (error) {
	case -EEXIST:
		return "some of these ids are in a range before";
	case -ERANGE:
		return "the last id is beyond 4294967294";
	case -ENOSPC:
		return "there are too many ranges";
	default:
		return "no such option";
	}
}

static int parse_option(struct foreground *f, const char *option)
{
	if (strcmp(option, "ro") == 0)
		f->share.writable = false;
	else if (strcmp(option, "rw") == 0)
		f->share.writable = true;
	else if (strcmp(option, "allow_other") == 0)
		f->params.allow_other = true;
	else if (strcmp(option, "locks") == 0)
		f->params.host_locks = true;
	else if (strcmp(option, "ownership=virtual") == 0)
		f->share.virtual_owners = true;
	else if (strcmp(option, "acl") == 0)
		f->params.acl = true;
	else if (strcmp(option, "reconnect") == 0)
		f->reconnect = true;
	else if (strncmp(option, "hostuid=", 8) == 0 && parse_id(option + 8, &f->params.ids.host_uid))
		return 0;
	else if (strncmp(option, "hostgid=", 8) == 0 && parse_id(option + 8, &f->params.ids.host_gid))
		return 0;
	else if (strncmp(option, "uidmap=", 7) == 0)
		return parse_range(option + 7, &f->uids);
	else if (strncmp(option, "gidmap=", 7) == 0)
		return parse_range(option + 7, &f->gids);
	else
		return -EINVAL;
	return 0;
}

static int parse_option_list(struct foreground *f, char *list)
{
	char *rest = NULL;

	for (char *o = strtok_r(list, ",", &rest); o; o = strtok_r(NULL, ",", &rest)) {
		int rc = parse_option(f, o);

		if (rc < 0) {
			log_error("mount: -o %s: %s; %s", o, option_wrong(rc), USAGE);
			return -EINVAL;
		}
	}
	return 0;
}

static int parse_target(struct foreground *f, const char *where)
{
	char path[4096], here[4096], text[512];
	int rc;

	if (where[0] == '/')
		rc = snprintf(path, sizeof(path), "%s", where);
	else if (getcwd(here, sizeof(here)))
		rc = snprintf(path, sizeof(path), "%s/%s", here, where);
	else
		rc = -1;
	if (rc < 0 || (size_t)rc >= sizeof(path)) {
		log_error("mount: %s: the path is too long", where);
		return -ENAMETOOLONG;
	}
	rc = mount_target_resolve(path, getenv("HOME"), f->target, sizeof(f->target), text, sizeof(text));
	if (rc == 0 && text[0])
		rc = -EEXIST; /* what a person typed is refused, not moved */
	if (rc < 0)
		log_error("mount: %s: %s", where, text[0] ? text : strerror(-rc));
	return rc;
}

/* Returns the index of COMMAND in argv, or a negative errno with the line logged. */
static int parse(struct foreground *f, int argc, char **argv)
{
	int opt;

	f->params.ids = (struct idmap){
		.host_uid = getuid(), .host_gid = getgid(), .guest_uid = getuid(), .guest_gid = getgid()};
	f->params.allow_other = geteuid() == 0;
	f->share.writable = true;
	opterr = 0;
	while ((opt = getopt(argc, argv, "+o:v")) != -1) {
		if (opt == 'v') {
			log_set_level(LOG_LEVEL_DEBUG);
		} else if (opt != 'o') {
			log_error("%s", USAGE);
			return -EINVAL;
		} else if (parse_option_list(f, optarg) < 0) {
			return -EINVAL;
		}
	}
	if (argc - optind < 3 || strcmp(argv[optind + 1], "--") != 0) {
		log_error("%s", USAGE);
		return -EINVAL;
	}
	if (parse_target(f, argv[optind]) < 0)
		return -EINVAL;
	return optind + 2;
}

/* --------------------------------------------------------------------------------------------------------- command */

static int command_start(struct foreground *f)
{
	char **argv = f->command_argv;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int pair[2], rc, size = SOCKET_BUFFER;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	sigemptyset(&none);
	sigaddset(&none, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &none);
	/* A group of its own: a terminal's ^C is for us, and COMMAND serves until we have unmounted. */
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
	rc = posix_spawnp(&f->command, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	close(pair[1]);
	if (rc) {
		close(pair[0]);
		return -rc;
	}
	f->chan = chan_fd_new(f->loop, pair[0], pair[0]);
	return f->chan ? 0 : -ENOMEM;
}

/* Says how the command ended; it may need a moment after its output has. */
static void command_report(struct foreground *f)
{
	int status = 0;
	pid_t pid = 0;

	for (int i = 0; i < 50 && pid == 0; i++) {
		pid = waitpid(f->command, &status, WNOHANG);
		if (pid == 0)
			usleep(10000);
	}
	if (pid == f->command)
		f->command = 0;
	if (pid > 0 && WIFSIGNALED(status))
		log_error("mount: %s was killed by signal %d", f->command_argv[0], WTERMSIG(status));
	else if (pid > 0)
		log_error("mount: %s ended with exit status %d", f->command_argv[0], WEXITSTATUS(status));
	else
		log_error("mount: %s has closed its output", f->command_argv[0]);
}

static void stop(struct foreground *f)
{
	if (f->stopping)
		return;
	f->stopping = true;
	mount_unmount(f->mount);
}

static void command_ended(struct foreground *f)
{
	if (f->stopping)
		return;
	command_report(f);
	chan_free(f->chan);
	f->chan = NULL;
	mount_share_lost(f->mount, 0);
	if (f->reconnect)
		return; /* the share asks for another pipe when it is time */
	f->exit_status = 1;
	stop(f);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct foreground *f = ctx;

	mount_share_input(f->mount, 0, data, len);
}

static void on_writable(void *ctx)
{
	struct foreground *f = ctx;

	mount_share_writable(f->mount, 0);
}

static void on_closed(void *ctx, int error, const char *why)
{
	(void)error;
	(void)why;
	command_ended(ctx);
}

static const struct chan_events chan_events = {.data = on_data, .writable = on_writable, .closed = on_closed};

static size_t pipe_write(void *ctx, const void *data, size_t len)
{
	struct foreground *f = ctx;

	return chan_write(f->chan, data, len);
}

static const struct sftp_pipe_ops pipe_ops = {.write = pipe_write};

/* ----------------------------------------------------------------------------------------------------------- mount */

static void on_state(void *ctx, enum control_mount_status status, int error, const char *text)
{
	struct foreground *f = ctx;

	(void)error;
	switch (status) {
	case MOUNT_MOUNTED:
		if (text[0])
			log_warn("mount: %s: %s", f->target, text);
		log_info("mount: %s: mounted", f->target);
		break;
	case MOUNT_FAILED:
		log_error("mount: %s", text);
		f->exit_status = 1;
		loop_stop(f->loop);
		break;
	case MOUNT_UNMOUNTED:
		loop_stop(f->loop);
		break;
	default:
		break;
	}
}

static void on_open_share(void *ctx, unsigned share)
{
	struct foreground *f = ctx;
	int rc = 0;

	if (f->stopping)
		return;
	if (!f->chan)
		rc = command_start(f);
	if (rc == 0)
		rc = mount_share_attach(f->mount, share, &pipe_ops, f);
	if (rc < 0) {
		log_error("mount: %s: %s", f->command_argv[0], strerror(-rc));
		f->exit_status = 1;
		stop(f);
		return;
	}
	chan_set_owner(f->chan, &chan_events, f);
}

/* The mount has given the pipe up already; a command that cannot speak is not started again. */
static void on_close_share(void *ctx, unsigned share, const char *why)
{
	struct foreground *f = ctx;

	(void)share;
	log_error("mount: %s: %s", f->command_argv[0], why);
	f->exit_status = 1;
	chan_set_owner(f->chan, NULL, NULL);
	stop(f);
}

static const struct mount_events mount_events = {
	.state = on_state,
	.open_share = on_open_share,
	.close_share = on_close_share,
};

static void on_signal(void *ctx, int signo)
{
	(void)signo;
	stop(ctx);
}

static void run(struct foreground *f)
{
	struct loop_signal *term = loop_signal_new(f->loop, SIGTERM, on_signal, f),
			   *interrupt = loop_signal_new(f->loop, SIGINT, on_signal, f);

	f->params.target = f->target;
	f->params.shares = &f->share;
	f->params.share_count = 1;
	f->params.owner = getuid();
	f->share.point = "";
	f->share.uids = &f->uids;
	f->share.gids = &f->gids;
	f->mount = mount_new(f->loop, &f->params, &mount_events, f);
	if (term && interrupt && f->mount && loop_run(f->loop) == 0)
		f->stopping = true;
	else
		f->exit_status = 1;
	mount_free(f->mount);
	loop_signal_free(term);
	loop_signal_free(interrupt);
}

int cmd_mount(int argc, char **argv)
{
	struct foreground f = {0};
	int at = parse(&f, argc, argv), rc;

	if (at < 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	f.command_argv = argv + at;
	f.loop = loop_new();
	if (!f.loop) {
		log_error("mount: out of resources");
		return 1;
	}
	rc = command_start(&f);
	if (rc < 0) {
		log_error("mount: %s: %s", argv[at], strerror(-rc));
		f.exit_status = 1;
	} else {
		run(&f);
	}
	chan_free(f.chan);
	loop_free(f.loop);
	if (f.command > 0)
		waitpid(f.command, NULL, 0);
	return f.exit_status;
}
