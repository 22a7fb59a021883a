/* SPDX-License-Identifier: MIT */
/*
 * The process that mounts: one agent's, over the socket on its stdin. It blocks where it has to; it has one thread and
 * no loop. As root it walks to the mount point itself, one component at a time and through no symlink, and mounts on
 * the descriptor it ends up with, so that nobody can change the way between the check and the mount. What a user that
 * is not root may name is in mount_target_allowed(), and a folder that is there must be the user's or root's, and
 * empty.
 *
 * States: serving its agent -> the agent has gone -> waiting for the next one (where it was asked to keep the mount)
 * -> serving that one; or the mount has gone, or the time is over: it unmounts and ends.
 */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "fd_packet.h"
#include "folder_users.h"
#include "fusermount.h"
#include "helper_watch.h"
#include "log.h"
#include "mount_device.h"
#include "mount_policy.h"
#include "mount_target.h"

#define AGENT_SOCKET  0
#define READ_AHEAD_KB "1024"

struct helper {
	bool user;                      /* by fusermount3 */
	bool service;                   /* whoever is connected asks, and needs leave */
	uid_t caller;                   /* 0: root itself asks */
	int fuse;                       /* our copy of /dev/fuse */
	char target[4096];              /* "" : nothing mounted */
	char device[MOUNT_DEVICE_SIZE]; /* of the mount; "": not known */
	uint8_t flags;                  /* the mount's, as obtained */
	int listener, memory;           /* to be kept; -1: it is not */
	uint32_t keep_s;
	uint64_t deadline_s; /* of the wait for the next agent */
	bool served;         /* whoever is connected has the mount */
	int fds[HELPER_FDS]; /* that came with the request being handled; -1 */
	struct helper_reply reply;
};

static int refuse(struct helper *h, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int refuse(struct helper *h, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(h->reply.text, sizeof(h->reply.text), fmt, ap);
	va_end(ap);
	return -error;
}

/* --------------------------------------------------------------------------------------------------- mount points */

static bool is_mount_root(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) == 0 &&
	       stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* Whether that is the root of the mount that we made: asks nobody, and needs no leave to see anything there. */
static bool is_ours(const struct helper *h, int fd)
{
	char device[MOUNT_DEVICE_SIZE];
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx) < 0)
		return false;
	snprintf(device, sizeof(device), "%u:%u", stx.stx_dev_major, stx.stx_dev_minor);
	return h->device[0] && strcmp(device, h->device) == 0;
}

/* The next directory on the way, made where it is missing (mode 0: it is not). */
static int walk_one(int at, const char *name, mode_t mode)
{
	int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT || !mode)
		return fd < 0 ? -errno : fd;
	if (mkdirat(at, name, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Root passes everywhere; who asks it for a mount only through what is theirs, or root's and open to everybody: what
 * appears in another's home (.ssh!) is that user's to decide. */
static bool may_pass(const struct helper *h, int fd)
{
	struct stat st;

	if (h->user || h->caller == 0)
		return true;
	return fstat(fd, &st) == 0 && (st.st_uid == h->caller || (st.st_uid == 0 && st.st_mode & S_IXOTH));
}

/* Walks to the target and returns an O_PATH descriptor of it, or a negative errno. */
static int walk(const struct helper *h, const char *target, mode_t mode)
{
	char path[4096], *name, *rest = NULL;
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	snprintf(path, sizeof(path), "%s", target);
	for (name = strtok_r(path, "/", &rest); name && fd >= 0; name = strtok_r(NULL, "/", &rest)) {
		int next = may_pass(h, fd) ? walk_one(fd, name, mode) : -EPERM;

		close(fd);
		fd = next;
	}
	return fd;
}

/* umount2(2) takes a path, whose way a user can turn into a symlink to anywhere: so only its last name is given. */
static int unmount_as_root(const struct helper *h, const char *target, int flags)
{
	char parent[4096], *name;
	int fd, rc;

	snprintf(parent, sizeof(parent), "%s", target);
	name = strrchr(parent, '/');
	if (!name)
		return -EINVAL;
	*name++ = '\0';
	fd = walk(h, parent, 0);
	if (fd < 0)
		return fd;
	rc = fchdir(fd) < 0 || umount2(name, flags | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
	close(fd);
	return chdir("/") < 0 ? -errno : rc;
}

/* A mount of ours whose agent and helper have died answers ENOTCONN, and is taken away: fusermount3 does so for a
 * user's own alone. */
static int walk_past_dead(struct helper *h, const char *target, mode_t mode)
{
	struct stat st;
	int fd = walk(h, target, mode);

	if (fd >= 0 && fstat(fd, &st) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	if (fd >= 0 ? errno != ENOTCONN : fd != -ENOTCONN)
		return fd >= 0 ? -errno : fd;
	if ((h->user ? fusermount_unmount(target, true) : unmount_as_root(h, target, MNT_DETACH)) < 0)
		return -ENOTCONN;
	return walk(h, target, mode);
}

static int target_check(struct helper *h, int fd, const char *target)
{
	struct stat st;

	if (is_mount_root(fd))
		return refuse(h, EBUSY, "%s: something is mounted there; unmount it, or choose another mount point",
			      target);
	if (fstat(fd, &st) < 0)
		return refuse(h, errno, "%s: %s", target, strerror(errno));
	if (h->caller != 0 && st.st_uid != 0 && st.st_uid != h->caller)
		return refuse(h, EPERM, "%s: it belongs to another user", target);
	if (!folder_users_empty(fd))
		return refuse(
			h, ENOTEMPTY,
			"%s: the folder is not empty, and the mount would hide what is in it; empty it, or choose "
			"another mount point",
			target);
	return 0;
}

/* An O_PATH descriptor of a mount point that will do, or a negative errno with the text set. */
static int target_open(struct helper *h, const char *target, mode_t mode)
{
	int fd, rc;

	if (strcmp(target, "/") == 0 || (h->caller != 0 && !mount_target_allowed(target)))
		return refuse(h, EPERM, "%s: not a place for a mount: it is the system's", target);
	fd = walk_past_dead(h, target, mode);
	if (fd == -ELOOP || fd == -ENOTDIR)
		return refuse(h, -fd, "%s: a symlink or a file is in the way", target);
	if (fd == -EPERM && h->caller != 0)
		return refuse(h, EPERM, "%s: a folder on the way belongs to another user", target);
	if (fd == -EACCES && h->user)
		return refuse(h, EACCES,
			      "%s: this user may not make it; choose one below its home, or allow it sudo without a "
			      "password",
			      target);
	if (fd < 0)
		return refuse(h, -fd, "%s: %s", target, strerror(-fd));
	rc = target_check(h, fd, target);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

/* ---------------------------------------------------------------------------------------------------------- as root */

/* The kernel reads 128 KiB ahead unless told otherwise: too little for a link. What cannot be done here is not missed.
 */
static void raise_read_ahead(const char *target)
{
	char device[MOUNT_DEVICE_SIZE], path[100];
	int fd = -1;

	if (mount_device(target, device)) {
		snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", device);
		fd = open(path, O_WRONLY | O_CLOEXEC);
	}
	if (fd >= 0 && write(fd, READ_AHEAD_KB, strlen(READ_AHEAD_KB)) < 0)
		log_debug("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/*
 * Read-only is the file system then, and not its mount point as well: a program with mounts of its own (a container, a
 * service of systemd's) has copies of mount points, each of which would stay as it was.
 */
static int set_read_only(const struct helper *h, const char *target, bool read_only)
{
	unsigned long flags = MS_REMOUNT | MS_NOSUID | MS_NODEV | mount_device_flags(target);
	int fd = walk(h, target, 0), rc = 0;
	char where[40];

	if (fd < 0)
		return fd;
	snprintf(where, sizeof(where), "/proc/self/fd/%d", fd);
	if (!is_ours(h, fd))
		rc = -ENOENT;
	else if (mount(NULL, where, NULL, flags | (read_only ? MS_RDONLY : 0), NULL) < 0)
		rc = -errno;
	else if (read_only && mount(NULL, where, NULL, flags | MS_BIND, NULL) < 0)
		log_debug("%s: the mount point is read-only as well: %s", target, strerror(errno));
	close(fd);
	return rc;
}

static int mount_as_root(struct helper *h, const struct helper_request *r)
{
	char options[200], where[40];
	int fd, at, rc = 0;

	at = target_open(h, r->target, 0555);
	if (at < 0)
		return at;
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		rc = refuse(h, errno, "/dev/fuse cannot be opened: %s%s", strerror(errno),
			    errno == ENOENT || errno == ENODEV ? "; as root in the guest: modprobe fuse" : "");
		close(at);
		return rc;
	}
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=0,default_permissions%s", fd,
		 r->value, r->flags & HELPER_ALLOW_OTHER ? ",allow_other" : "");
	snprintf(where, sizeof(where), "/proc/self/fd/%d", at);
	if (mount("homeport", where, "fuse.homeport", MS_NOSUID | MS_NODEV, options) < 0)
		rc = refuse(h, errno, "%s: mount: %s%s", r->target, strerror(errno),
			    errno == EPERM ? "; a container needs --cap-add SYS_ADMIN --device /dev/fuse, and no "
					     "AppArmor profile that forbids it"
					   : "");
	close(at);
	if (rc < 0)
		close(fd);
	else
		raise_read_ahead(r->target);
	h->reply.flags = r->flags & HELPER_ALLOW_OTHER;
	return rc < 0 ? rc : fd;
}

/* -------------------------------------------------------------------------------------------------- by fusermount3 */

/* A line by itself in /etc/fuse.conf lets others than the mount's user see it. */
bool helper_user_allow_other(void)
{
	FILE *f = fopen("/etc/fuse.conf", "re");
	char line[256];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, "user_allow_other", 16) == 0 && strspn(line + 16, " \t\r\n") == strlen(line + 16);
	if (f)
		fclose(f);
	return found;
}

static int mount_by_fusermount(struct helper *h, const struct helper_request *r)
{
	bool others = r->flags & HELPER_ALLOW_OTHER && helper_user_allow_other();
	char options[200];
	int fd = target_open(h, r->target, 0755);

	if (fd < 0)
		return fd;
	close(fd);
	snprintf(options, sizeof(options), "fsname=homeport,subtype=homeport,default_permissions,nosuid,nodev%s%s",
		 others ? ",allow_other" : "", r->flags & HELPER_READ_ONLY ? ",ro" : "");
	h->reply.flags = (uint8_t)((r->flags & ~HELPER_ALLOW_OTHER) | (others ? HELPER_ALLOW_OTHER : 0));
	return fusermount_mount(r->target, options, h->reply.text, sizeof(h->reply.text));
}

/* --------------------------------------------------------------------------------------------------------- serving */

static int helper_unmount(struct helper *h, bool lazy)
{
	struct pollfd gone = {.fd = h->fuse};
	char device[MOUNT_DEVICE_SIZE];
	int rc = 0;

	if (!h->target[0])
		return 0;
	/* What lies there by now may be another's mount; of a number that is ours for as long as there is ours. */
	if (poll(&gone, 1, 0) > 0 && gone.revents & POLLERR)
		rc = 0;
	else if (h->device[0] && mount_device(h->target, device) && strcmp(device, h->device) != 0)
		rc = 0;
	else if (h->user)
		rc = fusermount_unmount(h->target, lazy);
	else
		rc = unmount_as_root(h, h->target, lazy ? MNT_DETACH : 0);
	/* EINVAL: somebody was faster, it is no mount any more. */
	if (rc < 0 && rc != -EINVAL)
		return refuse(h, -rc, "%s: %s", h->target, strerror(-rc));
	h->target[0] = '\0';
	close(h->fuse);
	h->fuse = -1;
	return 0;
}

static int leave_ask(struct helper *h, const char *target)
{
	if (!h->service || h->caller == 0)
		return 0;
	return mount_policy_ask(h->caller, target, h->reply.text, sizeof(h->reply.text)) < 0 ? -EACCES : 0;
}

static int helper_mount(struct helper *h, const struct helper_request *r)
{
	int fd;

	if (h->target[0])
		return refuse(h, EBUSY, "%s is mounted already", h->target);
	if (h->caller != 0 && r->value != 0 && r->value != h->caller)
		return refuse(h, EPERM, "the mount cannot be another user's");
	if (leave_ask(h, r->target) < 0)
		return -EACCES;
	fd = h->user ? mount_by_fusermount(h, r) : mount_as_root(h, r);
	if (fd < 0)
		return fd;
	h->fuse = fd;
	h->served = true;
	snprintf(h->target, sizeof(h->target), "%s", r->target);
	if (!mount_device(h->target, h->device))
		h->device[0] = '\0';
	if (!h->user) {
		h->reply.flags |= HELPER_CAN_REMOUNT;
		/* Before anybody serves it, so nothing in it can be open. Else it is not, and the reply says so. */
		if (r->flags & HELPER_READ_ONLY && set_read_only(h, h->target, true) == 0)
			h->reply.flags |= HELPER_READ_ONLY;
	}
	h->flags = h->reply.flags;
	return 0;
}

static int helper_remount(struct helper *h, bool read_only)
{
	int rc;

	if (!h->target[0] || !(h->flags & HELPER_CAN_REMOUNT))
		return refuse(h, EINVAL, "there is no mount that could be mounted otherwise");
	rc = set_read_only(h, h->target, read_only);
	if (rc < 0)
		return refuse(h, -rc, "%s: remount: %s", h->target, strerror(-rc));
	h->flags = (uint8_t)((h->flags & ~HELPER_READ_ONLY) | (read_only ? HELPER_READ_ONLY : 0));
	h->reply.flags = h->flags;
	return 0;
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

/* Whoever sent it has it as well, and may be faster with a connection: accept(2) is not to wait for the next. */
static bool is_listener(int fd)
{
	return socket_option(fd, SO_ACCEPTCONN) == 1 && socket_option(fd, SO_DOMAIN) == AF_UNIX &&
	       socket_option(fd, SO_TYPE) == SOCK_SEQPACKET && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

static int helper_keep(struct helper *h, const struct helper_request *r)
{
	if (!h->target[0] || h->listener >= 0)
		return refuse(h, EINVAL, "there is no mount that could be kept");
	if (!is_listener(h->fds[0]) || h->fds[1] < 0)
		return refuse(h, EINVAL, "a mount is kept with a socket and a memory");
	h->listener = h->fds[0];
	h->memory = h->fds[1];
	h->fds[0] = h->fds[1] = -1;
	h->keep_s = r->value < HELPER_KEEP_MAX_S ? r->value : HELPER_KEEP_MAX_S;
	return 0;
}

static int helper_take(struct helper *h, const struct helper_request *r)
{
	if (r->value != HELPER_VERSION)
		return refuse(h, EPROTO, "%s: it was mounted by another version of homeport-guest, which keeps it",
			      r->target);
	if (!h->target[0] || h->memory < 0 || strcmp(h->target, r->target) != 0)
		return refuse(h, ENOENT, "%s: no mount is kept there", r->target);
	if (leave_ask(h, r->target) < 0)
		return -EACCES;
	h->served = true;
	h->reply.flags = h->flags;
	return 0;
}

/* The descriptors that go with the reply. */
static size_t reply_fds(const struct helper *h, int fds[HELPER_FDS])
{
	fds[0] = h->fuse;
	fds[1] = h->memory;
	if (h->reply.error)
		return 0;
	return h->reply.type == HELPER_MOUNT ? 1 : h->reply.type == HELPER_TAKE ? 2 : 0;
}

static void reply_send(struct helper *h)
{
	int fds[HELPER_FDS];
	size_t count = reply_fds(h, fds);
	struct wire_buf out = {0};

	helper_reply_put(&out, &h->reply);
	if (!out.failed)
		fd_packet_send(AGENT_SOCKET, out.data, out.len, fds, count);
	wire_buf_free(&out);
}

static void helper_handle(struct helper *h, const struct helper_request *r)
{
	int rc;

	memset(&h->reply, 0, sizeof(h->reply));
	h->reply.type = r->type;
	switch (r->type) {
	case HELPER_MOUNT:
		rc = helper_mount(h, r);
		break;
	case HELPER_UNMOUNT:
		rc = helper_unmount(h, r->flags & HELPER_LAZY);
		break;
	case HELPER_KEEP:
		rc = helper_keep(h, r);
		break;
	case HELPER_TAKE:
		rc = helper_take(h, r);
		break;
	case HELPER_WATCH:
		rc = h->user || h->target[0] ? refuse(h, EINVAL, "this helper mounts")
					     : helper_watch(AGENT_SOCKET, h->caller, h->service, &h->reply);
		break;
	case HELPER_REMOUNT:
		rc = helper_remount(h, r->flags & HELPER_READ_ONLY);
		break;
	default:
		rc = refuse(h, ENOSYS, "this homeport-guest does not know how");
	}
	h->reply.error = rc < 0 ? (uint32_t)-rc : 0;
	reply_send(h);
}

/* Until the agent has gone. */
static void agent_serve(struct helper *h)
{
	static char message[HELPER_MESSAGE_MAX];
	struct helper_request r;
	ssize_t len;

	while ((len = fd_packet_receive(AGENT_SOCKET, message, sizeof(message), h->fds, HELPER_FDS)) > 0) {
		int rc = helper_request_get(message, (size_t)len, &r);

		if (rc == 0)
			helper_handle(h, &r);
		for (size_t i = 0; i < HELPER_FDS; i++)
			if (h->fds[i] >= 0)
				close(h->fds[i]);
		if (rc < 0) {
			log_error("the agent's request is malformed");
			return;
		}
	}
}

/* ------------------------------------------------------------------------------------------------- between agents */

/* Of time that the machine is awake. */
static uint64_t now_s(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1000000000u;
}

/* The next connection, if it is of who may have the mount, is the agent's from here on. */
static bool agent_accept(struct helper *h)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t len = sizeof(peer);
	int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	bool may = fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid != (uid_t)-1 &&
		   (peer.uid == h->caller || peer.uid == 0);

	if (fd >= 0 && !may)
		log_warn("%s: a process of user %u asked for the mount of user %u", h->target, peer.uid, h->caller);
	if (may)
		may = dup2(fd, AGENT_SOCKET) >= 0;
	if (fd >= 0)
		close(fd);
	return may;
}

/* It is blocked but for that wait, so that none is missed. */
static sigset_t sigterm_heard;
static volatile sig_atomic_t asked_to_end;

static void on_sigterm(int signo)
{
	(void)signo;
	asked_to_end = 1;
}

/* SIG_IGN also drops one that has come. */
static void sigterm_is(void (*handler)(int))
{
	sigset_t sigterm;

	sigemptyset(&sigterm);
	sigaddset(&sigterm, SIGTERM);
	sigprocmask(SIG_BLOCK, &sigterm, &sigterm_heard);
	sigdelset(&sigterm_heard, SIGTERM);
	signal(SIGTERM, handler);
}

/* Waits for the next agent. False: there is none, and nothing more to keep. */
static bool agent_await(struct helper *h)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	bool found = false;

	/* The agent that has gone is not to find us at the other end. */
	if (null >= 0)
		dup2(null, AGENT_SOCKET);
	if (null >= 0)
		close(null);
	if (h->served)
		h->deadline_s = now_s() + h->keep_s;
	h->served = false;
	/* What came while there was an agent was that one's to heed. */
	sigterm_is(SIG_IGN);
	sigterm_is(on_sigterm);
	while (!found && !asked_to_end && h->target[0] && h->listener >= 0) {
		struct pollfd polls[] = {{.fd = h->listener, .events = POLLIN | POLLRDHUP}, {.fd = h->fuse}};
		uint64_t now = now_s();
		struct timespec patience = {.tv_sec = (time_t)(h->deadline_s - now)};
		int rc = now < h->deadline_s ? ppoll(polls, 2, &patience, &sigterm_heard) : 0;

		if (polls[1].revents & POLLERR)
			h->target[0] = '\0'; /* it is no mount any more */
		else if (polls[0].revents & ~POLLIN)
			break; /* shut down, by who has it as well: it would tell so without end */
		else if (rc > 0 && polls[0].revents)
			found = agent_accept(h);
		else if (rc >= 0 || errno != EINTR)
			break;
	}
	sigterm_is(SIG_IGN);
	return found;
}

static void helper_serve(struct helper *h)
{
	do
		agent_serve(h);
	while (agent_await(h));
	/* Nobody serves the mount any more, or is about to. */
	helper_unmount(h, true);
}

/* Who is connected, or behind sudo; 0 when root itself asks. */
static uid_t caller_uid(const struct helper *h)
{
	const char *sudo = getenv("SUDO_UID");
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t len = sizeof(peer);

	if (h->service)
		return getsockopt(AGENT_SOCKET, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? (uid_t)-1 : peer.uid;
	if (getuid() != 0)
		return getuid();
	return sudo ? (uid_t)strtoul(sudo, NULL, 10) : 0;
}

int cmd_helper(int argc, char **argv)
{
	struct helper h = {.user = argc == 2 && strcmp(argv[1], "--user") == 0,
			   .service = argc == 2 && strcmp(argv[1], "--service") == 0,
			   .fuse = -1,
			   .listener = -1,
			   .memory = -1};
	int type;
	socklen_t len = sizeof(type);

	if (argc > 2 || (argc == 2 && !h.user && !h.service)) {
		log_error("usage: homeport-guest helper [--user | --service]");
		return 2;
	}
	if (getsockopt(AGENT_SOCKET, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET) {
		log_error("helper: its stdin is not an agent's socket: the agent starts it");
		return 2;
	}
	h.caller = caller_uid(&h);
	/* A terminal's ^C is for the agent; the helper goes when the agent has gone. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	/* sudo would stay beside us, and stop and continue us as a terminal's job. */
	if (h.caller != 0 && !h.user && !h.service && fork() > 0)
		_exit(0);
	setsid();
	umask(0);
	helper_serve(&h);
	return 0;
}
