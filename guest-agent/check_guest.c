/* SPDX-License-Identifier: MIT */
/* The table of what is looked at. See check_guest.h; mount points are check_target.c's. */
#include "check_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <linux/capability.h>

#include "change.h"
#include "commands.h"
#include "helper.h"
#include "meet.h"
#include "mount_policy.h"
#include "outlive.h"
#include "run_program.h"
#include "sock_address.h"
#include "sockdiag.h"

#define SUDO_MS     5000
#define CACHE_BYTES (8u << 20) /* two builds, and room */
#define FILES_LEAST 1024u

/* ------------------------------------------------------------------------------------------------- the way to mount */

/* By the very command that mounts: its helper ends at once, with status 2, where its stdin is no agent's. What sudo
 * says of its rules (-l) is not what it asks a password for. */
static bool sudo_helps(void)
{
	char self[4096], said[RUN_PROGRAM_SAID];
	const char *const argv[] = {"sudo", "-n", self, "helper", NULL};
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return false;
	self[len] = '\0';
	return run_program_within(SUDO_MS, argv, said) == EXIT_USAGE;
}

/* fusermount3 in PATH; false: it is nowhere. */
static bool find_fusermount(char path[4096], struct stat *st)
{
	const char *rest = getenv("PATH");

	while (rest && *rest) {
		size_t len = strcspn(rest, ":");

		if (snprintf(path, 4096, "%.*s/fusermount3", (int)len, rest) < 4096 && access(path, X_OK) == 0 &&
		    stat(path, st) == 0)
			return true;
		rest += len + (rest[len] == ':');
	}
	return false;
}

/* Why fusermount3, which is there, is not root when it runs; NULL: it is. */
static const char *not_setuid(const char *path, const struct stat *st)
{
	struct statvfs fs;

	if (st->st_uid != 0 || !(st->st_mode & S_ISUID))
		return "it is not setuid root";
	if (statvfs(path, &fs) == 0 && fs.f_flag & ST_NOSUID)
		return "its file system is mounted nosuid";
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return "this login may get no privileges (no_new_privs)";
	return NULL;
}

/* Not even by root: a container without the capability. */
static bool nobody_mounts(void)
{
	return prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0;
}

enum check_way check_way_find(void)
{
	char path[4096];
	struct stat st;

	if (nobody_mounts())
		return CHECK_WAY_NONE;
	if (geteuid() == 0)
		return CHECK_WAY_ROOT;
	if (sudo_helps())
		return CHECK_WAY_SUDO;
	return find_fusermount(path, &st) && !not_setuid(path, &st) ? CHECK_WAY_USER : CHECK_WAY_NONE;
}

bool check_service_is_there(void)
{
	struct sock_address at;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool there;

	sock_address_unix(&at, HELPER_SOCKET);
	there = fd >= 0 && connect(fd, &at.any, at.len) == 0;
	if (fd >= 0)
		close(fd);
	return there;
}

/* By the one who listens: sudo may help this login where it does not help the agent. */
bool check_agent_is_kept_in(void)
{
	struct ucred agent = {.pid = 0};
	socklen_t len = sizeof(agent);
	char path[64], line[256];
	int fd = meet_connect(), kept_in = 0;
	FILE *status;

	if (fd < 0)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &agent, &len) < 0)
		agent.pid = 0;
	close(fd);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)agent.pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status) && sscanf(line, "NoNewPrivs: %d", &kept_in) != 1)
		;
	if (status)
		fclose(status);
	return kept_in != 0;
}

static void say_no_way(struct check *check)
{
	char path[4096];
	struct stat st;

	if (nobody_mounts()) {
		check_say(check, CHECK_PROBLEM, "no mounts, ports only: nobody here may mount, not even root");
		check_advise(check, "start the container with --cap-add SYS_ADMIN --device /dev/fuse");
	} else if (!find_fusermount(path, &st)) {
		check_say(check, CHECK_PROBLEM,
			  "no mounts, ports only: not root, no sudo without a password, no fusermount3");
		check_advise(check, "install fusermount3 (sudo apt-get install fuse3)");
	} else {
		check_say(check, CHECK_PROBLEM,
			  "no mounts, ports only: not root, no sudo without a password, and %s is of no use: %s", path,
			  not_setuid(path, &st));
		check_advise(check, "set that right (sudo apt-get install --reinstall fuse3), or allow sudo");
	}
}

static bool check_way(const struct check_guest *guest, struct check *check)
{
	static const char *const ways[] = {
		[CHECK_WAY_ROOT] = "as root",
		[CHECK_WAY_SUDO] = "by sudo, without a password",
		[CHECK_WAY_USER] = "by fusermount3",
		[CHECK_WAY_NONE] = "not at all",
	};

	if (guest->service) {
		check_say(check, CHECK_OK, "by homeport-helper.socket, where " MOUNT_POLICY_PATH " allows it, else %s",
			  ways[guest->way]);
	} else if (guest->kept_in) {
		check_say(check, CHECK_PROBLEM,
			  "no mounts, ports only: the agent's unit lets it have no privileges, and "
			  "homeport-helper.socket, which mounts for it, does not answer");
		check_advise(check, "sudo systemctl start homeport-helper.socket");
	} else if (guest->way != CHECK_WAY_NONE) {
		check_say(check, CHECK_OK, "%s", ways[guest->way]);
	} else {
		say_no_way(check);
	}
	return true;
}

/* -------------------------------------------------------------------------------------------------- one thing each */

static bool check_kernel(const struct check_guest *guest, struct check *check)
{
	check_kernel_is(check, 5, 10);
	return true;
}

static bool check_fuse(const struct check_guest *guest, struct check *check)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), error = errno;

	if (fd >= 0) {
		close(fd);
		check_say(check, CHECK_OK, "it can be opened");
	} else if (error == EACCES && (guest->service || guest->way == CHECK_WAY_SUDO)) {
		check_say(check, CHECK_OK, "root can open it");
	} else if (error == EACCES || error == EPERM) {
		check_say(check, CHECK_PROBLEM, "this user may not open it");
		check_advise(check, "sudo chmod 666 /dev/fuse; in a container, allow it the device");
	} else {
		check_say(check, CHECK_PROBLEM, "it cannot be opened: %s", strerror(error));
		check_advise(check, "sudo modprobe fuse; in a container, give it the device");
	}
	return true;
}

/* With root's help others see the mounts in any case. */
static bool check_others(const struct check_guest *guest, struct check *check)
{
	if (guest->way != CHECK_WAY_USER || guest->service)
		return false;
	if (helper_user_allow_other()) {
		check_say(check, CHECK_OK, "other users of the guest, root too, can see the mounts");
	} else {
		check_say(check, CHECK_NOTE, "other users of the guest, root too, cannot see the mounts");
		check_advise(check, "if they should: `homeport guest install --allow-other`, or a line "
				    "user_allow_other in /etc/fuse.conf");
	}
	return true;
}

/* Where Ubuntu's profile (from 25.04 on) lets fusermount3 mount: below a home, but never on one. */
static bool profile_allows(const char *target)
{
	static const char *const below[] = {"/home/*/*", "/root/*", "/mnt/*", "/media/*", "/tmp/*", "/cvmfs/*"};

	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++)
		if (fnmatch(below[i], target, 0) == 0)
			return true;
	return !strcmp(target, "/mnt");
}

static bool check_apparmor(const struct check_guest *guest, struct check *check)
{
	const char *outside = NULL;

	if (guest->way != CHECK_WAY_USER || guest->service || !change_apparmor_here() ||
	    access("/etc/apparmor.d/disable/fusermount3", F_OK) == 0)
		return false;
	for (size_t i = 0; i < guest->target_count && !outside; i++)
		if (!profile_allows(guest->targets[i]))
			outside = guest->targets[i];
	if (access("/etc/apparmor.d/local/fusermount3", F_OK) == 0) {
		check_say(check, CHECK_OK, "fusermount3 has a profile, with rules of this machine's own");
	} else if (outside) {
		check_say(check, CHECK_PROBLEM, "the profile of fusermount3 may refuse a mount at %s", outside);
		check_advise(check,
			     "`homeport guest install` adds a rule; or write into /etc/apparmor.d/local/fusermount3: "
			     "mount fstype=fuse.homeport -> %s/, "
			     "umount %s/, then sudo apparmor_parser -r /etc/apparmor.d/fusermount3",
			     outside, outside);
	} else {
		check_say(check, CHECK_OK, "the profile of fusermount3 allows the mounts");
	}
	return true;
}

static bool check_ports(const struct check_guest *guest, struct check *check)
{
	struct listener_set set = {0};
	struct sockdiag *d = NULL;
	int rc = sockdiag_open(&d);

	if (!rc)
		rc = sockdiag_dump(d, LISTENER_TCP, &set);
	if (rc < 0) {
		check_say(check, CHECK_PROBLEM, "the kernel does not tell what listens here: %s", strerror(-rc));
		check_advise(check, "sudo modprobe -a tcp_diag udp_diag; the kernel needs CONFIG_INET_DIAG");
	} else {
		check_say(check, CHECK_OK, "the kernel tells what listens: %zu TCP sockets", set.count);
	}
	listener_set_free(&set);
	sockdiag_close(d);
	return true;
}

/* Where a build would be kept; a host tries others after it. */
static bool check_cache(const struct check_guest *guest, struct check *check)
{
	const char *cache = getenv("XDG_CACHE_HOME");
	unsigned long long left;
	struct statvfs fs;
	char path[4096];

	if (cache && cache[0] == '/')
		snprintf(path, sizeof(path), "%s", cache);
	else
		snprintf(path, sizeof(path), "%s/.cache", guest->home);
	if (statvfs(path, &fs) < 0 && (errno != ENOENT || statvfs(guest->home, &fs) < 0)) {
		check_say(check, CHECK_NOTE, "%s: %s; another folder is used", path, strerror(errno));
		return true;
	}
	left = (unsigned long long)fs.f_bavail * fs.f_frsize;
	if (fs.f_flag & (ST_NOEXEC | ST_RDONLY)) {
		check_say(check, CHECK_NOTE, "%s: nothing may be %s there; homeport-guest is kept elsewhere", path,
			  fs.f_flag & ST_NOEXEC ? "run" : "written");
	} else if (left < CACHE_BYTES) {
		check_say(check, CHECK_PROBLEM, "%s: %llu KiB are left for homeport-guest and its log", path,
			  left >> 10);
		check_advise(check, "make room on that disk");
	} else {
		check_say(check, CHECK_OK, "%s: %llu MiB are left", path, left >> 20);
	}
	return true;
}

static bool check_logout(const struct check_guest *guest, struct check *check)
{
	const char *user = getenv("USER");
	char path[300];

	if (outlive_first() != OUTLIVE_SCOPE)
		return false;
	snprintf(path, sizeof(path), "/var/lib/systemd/linger/%.200s", user ? user : "");
	if (user && !strchr(user, '/') && access(path, F_OK) == 0) {
		check_say(check, CHECK_OK, "a login's processes end with it, but this user lingers");
	} else {
		check_say(check, CHECK_NOTE,
			  "a login's processes end with it, and the mounts some seconds after the last");
		check_advise(check, "to keep them: sudo loginctl enable-linger %s", user ? user : "USER");
	}
	return true;
}

static bool check_files(const struct check_guest *guest, struct check *check)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return false;
	if (limit.rlim_max >= FILES_LEAST) {
		check_say(check, CHECK_OK, "%llu open files a process", (unsigned long long)limit.rlim_max);
	} else {
		check_say(check, CHECK_NOTE, "%llu open files a process are few for many connections",
			  (unsigned long long)limit.rlim_max);
		check_advise(check, "raise nofile in /etc/security/limits.conf");
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------------- the table */

/* False: it does not matter here. */
static const struct {
	const char *name;
	bool (*look)(const struct check_guest *guest, struct check *check);
} checks[] = {
	{"kernel", check_kernel},      {"/dev/fuse", check_fuse},         {"way to mount", check_way},
	{"other users", check_others}, {"AppArmor", check_apparmor},      {"ports", check_ports},
	{"cache folder", check_cache}, {"after the login", check_logout}, {"descriptors", check_files},
};

void check_guest_all(const struct check_guest *guest, void (*each)(void *ctx, const struct check *check), void *ctx)
{
	struct check check;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		check = (struct check){0};
		snprintf(check.name, sizeof(check.name), "%s", checks[i].name);
		if (checks[i].look(guest, &check))
			each(ctx, &check);
	}
	for (size_t i = 0; i < guest->target_count && (guest->service || guest->way != CHECK_WAY_NONE); i++) {
		check = (struct check){.name = "mount point"};
		check_target(guest, guest->targets[i], &check);
		each(ctx, &check);
	}
}
