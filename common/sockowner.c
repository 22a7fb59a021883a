/* SPDX-License-Identifier: MIT */
/* Sockets to processes. See sockowner.h. Reads /proc only: it never waits for anything but memory. */
#include "sockowner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define PID_COST 8 /* opening a process's folder costs as much as looking at so many descriptors */

struct sockowner {
	uint32_t *pids; /* still to look at: the last is next */
	size_t count, cap;
	DIR *fds; /* of `pid`, where the last step ended; or NULL */
	uint32_t pid;
	uint32_t last_found;
};

struct sockowner *sockowner_new(void)
{
	return calloc(1, sizeof(struct sockowner));
}

static void sockowner_leave(struct sockowner *s)
{
	if (s->fds)
		closedir(s->fds);
	s->fds = NULL;
}

void sockowner_free(struct sockowner *s)
{
	if (!s)
		return;
	sockowner_leave(s);
	free(s->pids);
	free(s);
}

static bool sockowner_push(struct sockowner *s, uint32_t pid)
{
	if (s->count == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 256;
		uint32_t *pids = reallocarray(s->pids, cap, sizeof(*pids));

		if (!pids)
			return false;
		s->pids = pids;
		s->cap = cap;
	}
	s->pids[s->count++] = pid;
	return true;
}

static int by_pid(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* A process of another user cannot be read: it is not even tried, unless we are root. */
static bool is_readable(int proc, const char *name)
{
	struct stat st;

	return geteuid() == 0 || (fstatat(proc, name, &st, 0) == 0 && st.st_uid == geteuid());
}

int sockowner_begin(struct sockowner *s)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int rc = 0;

	if (!proc)
		return -errno;
	sockowner_leave(s);
	s->count = 0;
	while (rc == 0 && (e = readdir(proc))) {
		char *end;
		unsigned long pid = strtoul(e->d_name, &end, 10);

		if (pid && !*end && is_readable(dirfd(proc), e->d_name) && !sockowner_push(s, (uint32_t)pid))
			rc = -ENOMEM;
	}
	closedir(proc);
	if (s->count)
		qsort(s->pids, s->count, sizeof(*s->pids), by_pid);
	if (rc == 0 && s->last_found && !sockowner_push(s, s->last_found))
		rc = -ENOMEM;
	return rc;
}

static bool sockowner_enter(struct sockowner *s)
{
	char path[64];
	int fd;

	if (!s->count)
		return false;
	s->pid = s->pids[--s->count];
	snprintf(path, sizeof(path), "/proc/%u/fd", s->pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->fds = fd >= 0 ? fdopendir(fd) : NULL;
	if (!s->fds && fd >= 0)
		close(fd);
	return true;
}

/* The inode of the socket behind the next descriptor, 0 for another file, or false at the end. */
static bool sockowner_next(struct sockowner *s, uint64_t *inode)
{
	struct dirent *e = readdir(s->fds);
	unsigned long long found;
	char link[64];
	ssize_t n;

	if (!e)
		return false;
	*inode = 0;
	n = readlinkat(dirfd(s->fds), e->d_name, link, sizeof(link) - 1);
	if (n <= 0)
		return true;
	link[n] = '\0';
	if (sscanf(link, "socket:[%llu]", &found) == 1)
		*inode = found;
	return true;
}

bool sockowner_step(struct sockowner *s, unsigned budget, sockowner_cb *cb, void *ctx)
{
	uint64_t inode;

	while (budget) {
		if (!s->fds) {
			if (!sockowner_enter(s))
				return false;
			budget -= budget < PID_COST ? budget : PID_COST;
			continue;
		}
		budget--;
		if (!sockowner_next(s, &inode)) {
			sockowner_leave(s);
		} else if (inode && !cb(ctx, inode, s->pid)) {
			sockowner_leave(s);
			s->count = 0;
			return false;
		}
	}
	return true;
}

void sockowner_found(struct sockowner *s, uint32_t pid)
{
	s->last_found = pid;
}

char *sockowner_name(uint32_t pid, char *name, size_t size)
{
	char path[64], comm[64];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, comm, sizeof(comm));
		close(fd);
	}
	if (n > 0 && comm[n - 1] == '\n')
		n--;
	return text_printable(name, size, comm, n > 0 ? (size_t)n : 0);
}

char *sockowner_user(uint32_t uid, char *name, size_t size)
{
	FILE *f = fopen("/etc/passwd", "re");
	const struct passwd *pw;

	*name = '\0';
	while (f && (pw = fgetpwent(f))) {
		if (pw->pw_uid == uid) {
			text_printable(name, size, pw->pw_name, strlen(pw->pw_name));
			break;
		}
	}
	if (f)
		fclose(f);
	return name;
}

/* --- units ------------------------------------------------------------------------------------------------------ */

static bool ends_with(const char *text, size_t len, const char *suffix)
{
	size_t n = strlen(suffix);

	return len > n && memcmp(text + len - n, suffix, n) == 0;
}

/* Those that may hold processes; a slice holds units. */
static bool is_unit(const char *name, size_t len)
{
	return ends_with(name, len, ".service") || ends_with(name, len, ".scope") || ends_with(name, len, ".socket") ||
	       ends_with(name, len, ".mount") || ends_with(name, len, ".swap");
}

static bool is_user_manager(const char *name, size_t len)
{
	return len > 5 && memcmp(name, "user@", 5) == 0 && ends_with(name, len, ".service");
}

/* The first that is a unit; below a user's manager, the first of that one's. What lies below is the unit's own. */
char *sockowner_unit_of(const char *cgroup, char *unit, size_t size)
{
	*unit = '\0';
	while (*cgroup) {
		size_t n;

		cgroup += strspn(cgroup, "/");
		n = strcspn(cgroup, "/");
		if (is_unit(cgroup, n)) {
			text_printable(unit, size, cgroup, n);
			if (!is_user_manager(cgroup, n))
				break;
		}
		cgroup += n;
	}
	return unit;
}

/* A line is HIERARCHY:CONTROLLERS:PATH. The unified hierarchy is systemd's, else the one it names after itself. */
char *sockowner_unit(uint32_t pid, char *unit, size_t size)
{
	char path[64], line[4200];
	FILE *f;

	*unit = '\0';
	snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
	f = fopen(path, "re");
	while (f && !*unit && fgets(line, sizeof(line), f)) {
		const char *at = strncmp(line, "0::", 3) == 0 ? line + 3 : strstr(line, ":name=systemd:");

		line[strcspn(line, "\n")] = '\0';
		if (at && *at == ':')
			at += strlen(":name=systemd:");
		if (at)
			sockowner_unit_of(at, unit, size);
	}
	if (f)
		fclose(f);
	return unit;
}
