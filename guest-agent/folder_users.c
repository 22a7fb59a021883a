/* SPDX-License-Identifier: MIT */
/* By reading /proc, as root. See folder_users.h. */
#include "folder_users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "mount_target.h"
#include "sockowner.h"

#define LINE_LENGTH (PATH_MAX + 512)
#define CHAIN_MAX   64 /* processes between init and us */

static bool is_octal(const char *at)
{
	return at[0] >= '0' && at[0] <= '3' && at[1] >= '0' && at[1] <= '7' && at[2] >= '0' && at[2] <= '7';
}

void folder_users_unescape(char *path)
{
	char *to = path;

	while (*path) {
		if (*path == '\\' && is_octal(path + 1)) {
			*to++ = (char)((path[1] - '0') * 64 + (path[2] - '0') * 8 + (path[3] - '0'));
			path += 4;
		} else {
			*to++ = *path++;
		}
	}
	*to = '\0';
}

int folder_users_mount(const char *folder, char *at, size_t size)
{
	char line[2 * LINE_LENGTH], where[PATH_MAX];
	FILE *file = fopen("/proc/self/mountinfo", "re");
	int found = 0;

	if (!file)
		return -errno;
	while (!found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s", where) != 1)
			continue;
		folder_users_unescape(where);
		found = mount_target_within(where, folder);
	}
	fclose(file);
	if (found)
		snprintf(at, size, "%s", where);
	return found;
}

bool folder_users_empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	bool empty = true;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (empty && (e = readdir(dir)))
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	closedir(dir);
	return empty;
}

/* ---------------------------------------------------------------------------------------------------------- processes
 */

static pid_t parent_of(pid_t pid)
{
	char path[64], line[512];
	const char *after;
	FILE *file;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	/* PID (NAME) STATE PARENT; the name may have anything in it. */
	if (fgets(line, sizeof(line), file) && (after = strrchr(line, ')')))
		sscanf(after + 1, " %*c %d", &parent);
	fclose(file);
	return parent;
}

static bool links_into(pid_t pid, const char *name, const char *folder)
{
	char path[128], target[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return false;
	target[len] = '\0';
	return mount_target_within(target, folder);
}

static bool opened_in(pid_t pid, const char *folder)
{
	char path[64], name[300];
	const struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(name, sizeof(name), "fd/%s", entry->d_name);
		found = links_into(pid, name, folder);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool mapped_from(pid_t pid, const char *folder)
{
	char path[64], line[LINE_LENGTH], *file_name;
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file))
		found = (file_name = strchr(line, '/')) && mount_target_within(file_name, folder);
	if (file)
		fclose(file);
	return found;
}

static bool has_files_in(pid_t pid, const char *folder)
{
	return links_into(pid, "cwd", folder) || links_into(pid, "exe", folder) || links_into(pid, "root", folder) ||
	       opened_in(pid, folder) || mapped_from(pid, folder);
}

static bool is_of(pid_t pid, uid_t uid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) == 0 && st.st_uid == uid;
}

static bool runs_in(pid_t pid, const char *unit)
{
	char text[256];

	return unit && strcmp(sockowner_unit((uint32_t)pid, text, sizeof(text)), unit) == 0;
}

/* Its program's file: the kernel's name for what was started as /proc/self/exe is "exe". */
static void put_name(pid_t pid, char *name, size_t size)
{
	char path[64], target[PATH_MAX];
	const char *base;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	len = readlink(path, target, sizeof(target) - 1);
	target[len > 0 ? len : 0] = '\0';
	base = strrchr(target, '/');
	if (base)
		text_printable(name, size, base + 1, strlen(base + 1));
	else
		sockowner_name((uint32_t)pid, name, size);
}

static bool among(pid_t pid, const pid_t *chain, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (chain[i] == pid)
			return true;
	return false;
}

unsigned folder_users_processes(const char *folder, uid_t uid, const char *but, char *list, size_t size)
{
	pid_t chain[CHAIN_MAX], pid;
	size_t links = 0, len = 0;
	const struct dirent *entry;
	DIR *dir = opendir("/proc");
	unsigned found = 0;
	char name[64];

	for (pid = getpid(); pid > 0 && links < CHAIN_MAX; pid = parent_of(pid))
		chain[links++] = pid;
	list[0] = '\0';
	while (dir && (entry = readdir(dir))) {
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid <= 0 || !is_of(pid, uid) || among(pid, chain, links) || runs_in(pid, but) ||
		    !has_files_in(pid, folder))
			continue;
		put_name(pid, name, sizeof(name));
		if (len < size)
			len += (size_t)snprintf(list + len, size - len, "%s%s (%d)", found ? ", " : "", name, (int)pid);
		found++;
	}
	if (dir)
		closedir(dir);
	return found;
}
