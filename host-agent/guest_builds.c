/* SPDX-License-Identifier: MIT */
/*
 * Three places, the first that has an architecture's build wins: where `make install` puts them, where `make guest-all`
 * does, and beside this program, where the one of this machine's own architecture is.
 */
#include "guest_builds.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "log.h"

#define PROGRAM "homeport-guest"

/* The way from this program's folder to the builds' where `make install` puts them: the Makefile's to say. */
#ifndef HOMEPORT_LIBEXEC
#define HOMEPORT_LIBEXEC "../libexec/homeport"
#endif

static const char *const folders[] = {HOMEPORT_LIBEXEC, "guests"};

/* It becomes a word of a shell's line. */
static int arch_is_a_word(const char *arch)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(arch);

	return len > 0 && len < GUEST_BUILD_ARCH_MAX && strspn(arch, letters) == len;
}

static void add(struct guest_builds *b, const char *arch, const char *path)
{
	struct guest_build *build = &b->builds[b->count];
	struct stat st;
	int fd, rc;

	if (b->count == GUEST_BUILDS_MAX || !arch_is_a_word(arch) || guest_builds_get(b, arch))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	rc = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? -1 : build_id_read(fd, build->id);
	if (rc < 0) {
		log_warn("%s: is not brought to guests: it is no program with a build id", path);
		close(fd);
		return;
	}
	snprintf(build->arch, sizeof(build->arch), "%s", arch);
	build->size = (uint64_t)st.st_size;
	build->fd = fd;
	b->count++;
}

static void look_in(struct guest_builds *b, const char *folder)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir(folder);

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' &&
		    snprintf(path, sizeof(path), "%s/%s/" PROGRAM, folder, entry->d_name) < (int)sizeof(path))
			add(b, entry->d_name, path);
	closedir(dir);
}

void guest_builds_find_from(struct guest_builds *b, const char *folder)
{
	char path[PATH_MAX];
	struct utsname machine;

	b->count = 0;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (snprintf(path, sizeof(path), "%s/%s", folder, folders[i]) < (int)sizeof(path))
			look_in(b, path);
	if (uname(&machine) == 0 && snprintf(path, sizeof(path), "%s/" PROGRAM, folder) < (int)sizeof(path))
		add(b, machine.machine, path);
}

void guest_builds_find(struct guest_builds *b)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	b->count = 0;
	if (len <= 0)
		return;
	path[len] = '\0';
	*strrchr(path, '/') = '\0';
	guest_builds_find_from(b, path);
}

const struct guest_build *guest_builds_get(const struct guest_builds *b, const char *arch)
{
	for (size_t i = 0; i < b->count; i++)
		if (strcmp(b->builds[i].arch, arch) == 0)
			return &b->builds[i];
	return NULL;
}

const char *guest_builds_list(const struct guest_builds *b, char *text, size_t size)
{
	size_t used = 0;

	snprintf(text, size, "none");
	for (size_t i = 0; i < b->count && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", b->builds[i].arch);
	return text;
}

void guest_builds_close(struct guest_builds *b)
{
	for (size_t i = 0; i < b->count; i++)
		close(b->builds[i].fd);
	b->count = 0;
}
