/* SPDX-License-Identifier: MIT */
/*
 * Lima's files. They are read as our own are: whoever else could write one could say which folders a VM sees, so a file
 * that others can write is refused. Lima keeps them for their owner alone.
 */
#include "lima.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_file.h"
#include "config_lima.h"

struct lima_paths {
	char folder[PATH_MAX]; /* Lima's */
	char dir[PATH_MAX];    /* the instance's */
	char files[LIMA_FILES][PATH_MAX];
	char ssh_config[PATH_MAX];
};

static int __attribute__((format(printf, 3, 4)))
complain(struct problems *problems, const char *file, const char *format, ...)
{
	char text[PROBLEMS_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = file}, "%s", text);
	return -EINVAL;
}

static bool join(char out[PATH_MAX], const char *folder, const char *name)
{
	return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

/* False, with what was given in *wrong, where that is no absolute path; or (NULL) it is too long. */
static bool find_folder(char folder[PATH_MAX], const char *home, const char **wrong)
{
	const char *given = getenv("LIMA_HOME");

	*wrong = given != NULL && given[0] != '\0' && given[0] != '/' ? given : NULL;
	if (*wrong != NULL)
		return false;
	if (given == NULL || given[0] == '\0')
		return join(folder, home, ".lima");
	return snprintf(folder, PATH_MAX, "%s", given) < PATH_MAX;
}

static int find_paths(struct lima_paths *paths, const char *name, const char *home, struct problems *problems)
{
	const char *wrong;
	bool fits = find_folder(paths->folder, home, &wrong);

	if (wrong != NULL)
		return complain(problems, "LIMA_HOME", "\"%.200s\" is not an absolute path", wrong);
	fits = fits && join(paths->dir, paths->folder, name) &&
	       join(paths->files[LIMA_DEFAULT], paths->folder, "_config/default.yaml") &&
	       join(paths->files[LIMA_OVERRIDE], paths->folder, "_config/override.yaml") &&
	       join(paths->files[LIMA_INSTANCE], paths->dir, "lima.yaml") &&
	       join(paths->ssh_config, paths->dir, "ssh.config");
	return fits ? 0 : complain(problems, "LIMA_HOME", "is longer than a path can be");
}

static int check_there(const struct lima_paths *paths, const char *name, struct problems *problems)
{
	if (access(paths->files[LIMA_INSTANCE], F_OK) < 0 && errno == ENOENT)
		return complain(problems, paths->folder,
				"Lima has no VM \"%.64s\" there; limactl list names those it has", name);
	if (access(paths->ssh_config, F_OK) < 0 && errno == ENOENT)
		return complain(problems, paths->ssh_config,
				"is not there yet; Lima writes it when the VM starts: limactl start %.64s", name);
	return 0;
}

static int read_file(const char *path, bool needed, struct problems *problems, struct lima_text *text)
{
	struct stat st;
	char *read;

	if (!needed && access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (config_file_read(path, problems, &read, &text->size, &st) < 0)
		return -EINVAL;
	text->text = read;
	if (text->size > CONFIG_SIZE_MAX)
		return complain(problems, path, "is larger than a configuration can be");
	return 0;
}

/* Lima makes such a folder when it mounts it itself. */
static void leave_out_missing(struct config *config, struct problems *problems)
{
	for (size_t i = config->mount_count; i-- > 0;) {
		const struct config_mount *mount = &config->mounts[i];
		struct stat st;

		if (stat(mount->location.path, &st) == 0 || errno != ENOENT)
			continue;
		problems_add(
			problems, PROBLEM_WARNING,
			(struct problem_place){mount->location.where, mount->location.line, mount->location.column},
			"location: \"%.300s\" does not exist, so it is not mounted; create it first",
			mount->location.path);
		config_remove_mount(config, mount->mount_point);
	}
}

int lima_load(const char *name, const char *home, struct problems *problems, struct config **out)
{
	const struct passwd *who = getpwuid(getuid());
	struct lima_text texts[LIMA_FILES] = {0};
	struct lima_paths paths;
	struct lima_instance instance = {.name = name,
					 .dir = paths.dir,
					 .home = home,
					 .user = who != NULL ? who->pw_name : NULL,
					 .uid = getuid()};
	int r = find_paths(&paths, name, home, problems);

	if (r == 0)
		r = check_there(&paths, name, problems);
	for (size_t i = 0; i < LIMA_FILES && r == 0; i++) {
		texts[i].file = paths.files[i];
		r = read_file(paths.files[i], i == LIMA_INSTANCE, problems, &texts[i]);
	}
	if (r == 0)
		r = config_lima_parse(texts, &instance, problems, out);
	if (r == 0)
		leave_out_missing(*out, problems);
	for (size_t i = 0; i < LIMA_FILES; i++)
		free((char *)texts[i].text);
	return r;
}

void lima_each(const char *home, void (*each)(void *ctx, const char *name), void *ctx)
{
	char folder[PATH_MAX], dir[PATH_MAX], file[PATH_MAX];
	struct dirent *entry;
	const char *wrong;
	DIR *names = find_folder(folder, home, &wrong) ? opendir(folder) : NULL;

	/* _config, _networks and the like are no VMs. */
	while (names != NULL && (entry = readdir(names)) != NULL)
		if (entry->d_name[0] != '.' && entry->d_name[0] != '_' && join(dir, folder, entry->d_name) &&
		    join(file, dir, "lima.yaml") && access(file, F_OK) == 0)
			each(ctx, entry->d_name);
	if (names != NULL)
		closedir(names);
}
