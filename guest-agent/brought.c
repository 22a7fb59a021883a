/* SPDX-License-Identifier: MIT */
/*
 * The time of a build's folder is when it was last used: serve sets its own when it starts. A day, because two hosts of
 * different versions may take turns, and because what is just being brought is not to be swept away.
 */
#include "brought.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "build_id.h"
#include "log.h"
#include "meet.h"

#define UNUSED_S (24 * 60 * 60)

static bool is_build_id(const char *name)
{
	return strlen(name) == BUILD_ID_SIZE - 1 && strspn(name, "0123456789abcdef") == BUILD_ID_SIZE - 1;
}

static bool is_old(int folder, const char *name)
{
	struct stat st;

	return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime + UNUSED_S < time(NULL);
}

/* Removes the old files of a folder that `which` names. */
static void remove_files(int parent, const char *name, bool (*which)(int folder, const char *name))
{
	int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir = folder < 0 ? NULL : fdopendir(folder);

	while (dir && (entry = readdir(dir)))
		if (which(folder, entry->d_name))
			unlinkat(folder, entry->d_name, 0);
	if (dir)
		closedir(dir);
	else if (folder >= 0)
		close(folder);
}

static bool any_file(int folder, const char *name)
{
	(void)folder;
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Received in part: .PID of the shell. */
static bool left_file(int folder, const char *name)
{
	return name[0] == '.' && any_file(folder, name) && is_old(folder, name);
}

static void sweep(int parent)
{
	int copy = fcntl(parent, F_DUPFD_CLOEXEC, 0);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (!is_build_id(name) || !strcmp(name, build_id_own()) || !is_old(parent, name) ||
		    meet_build_runs(name))
			continue;
		remove_files(parent, name, any_file);
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
			log_info("build %.8s of homeport-guest is removed: it was not used for a day", name);
	}
	if (dir)
		closedir(dir);
	else if (copy >= 0)
		close(copy);
}

void brought_sweep(void)
{
	char path[PATH_MAX], *file, *build;
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int folder;

	if (len <= 0)
		return;
	path[len] = '\0';
	/* FOLDER/BUILD/homeport-guest */
	file = strrchr(path, '/');
	*file = '\0';
	build = strrchr(path, '/');
	if (!build || strcmp(build + 1, build_id_own()) != 0)
		return;
	*build = '\0';
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return;
	utimensat(folder, build + 1, NULL, 0);
	remove_files(folder, build + 1, left_file);
	sweep(folder);
	close(folder);
}
