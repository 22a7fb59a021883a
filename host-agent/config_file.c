/* SPDX-License-Identifier: MIT */
/*
 * The files of the configuration. A configuration decides which folders a guest sees and which command ssh runs, so
 * whoever can write one can act as its user: a file that somebody else owns or can write is refused, by what the open
 * descriptor says.
 */
#include "config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "write_all.h"

static int print_path(char out[PATH_MAX], const char *a, const char *b, const char *c)
{
	return snprintf(out, PATH_MAX, "%s%s%s", a, b, c) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int config_home(char out[PATH_MAX])
{
	const char *home = getenv("HOME");

	if (home == NULL || home[0] != '/') {
		const struct passwd *user = getpwuid(getuid());

		home = user != NULL ? user->pw_dir : NULL;
	}
	if (home == NULL || home[0] != '/' || print_path(out, home, "", "") < 0)
		return -ENOENT;
	return 0;
}

int config_folder(const char *home, char out[PATH_MAX])
{
	const char *xdg = getenv("XDG_CONFIG_HOME");

	/* A relative XDG path is to be ignored, says its specification. */
	if (xdg != NULL && xdg[0] == '/')
		return print_path(out, xdg, "/homeport", "");
	return print_path(out, home, "/.config/homeport", "");
}

int config_file_path(const char *folder, const char *name, char out[PATH_MAX])
{
	char path[PATH_MAX];
	int r = print_path(path, folder, "/", name);

	return r == 0 ? print_path(out, path, ".yaml", "") : r;
}

/* ---- reading ---- */

static int refuse(struct problems *problems, const char *path, const char *what)
{
	problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = path}, "%s", what);
	return -EPERM;
}

static int check_trust(const struct stat *st, const char *path, struct problems *problems)
{
	if (!S_ISREG(st->st_mode))
		return refuse(problems, path, "is not a regular file");
	if (st->st_uid != getuid() && st->st_uid != 0)
		return refuse(problems, path, "belongs to another user; copy it to a file of your own");
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return refuse(problems, path, "can be written by others; take that away with chmod go-w");
	return 0;
}

/* Reads to the end, or one byte more than a configuration may have. */
static int read_all(int fd, char **out, size_t *size)
{
	size_t used = 0;
	char *text = malloc(CONFIG_SIZE_MAX + 1);

	if (text == NULL)
		return -ENOMEM;
	while (used < CONFIG_SIZE_MAX + 1) {
		ssize_t n = read(fd, text + used, CONFIG_SIZE_MAX + 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			free(text);
			return -EIO;
		}
		if (n == 0)
			break;
		used += (size_t)n;
	}
	*out = text;
	*size = used;
	return 0;
}

static int read_open_file(int fd, const char *path, struct problems *problems, char **text, size_t *size,
			  struct stat *st)
{
	int r;

	if (fstat(fd, st) < 0)
		return -errno;
	r = check_trust(st, path, problems);
	return r < 0 ? r : read_all(fd, text, size);
}

int config_file_read(const char *path, struct problems *problems, char **text, size_t *size, struct stat *st)
{
	/* O_NONBLOCK: a FIFO without a writer is refused, not waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int r = fd < 0 ? -errno : 0;

	if (r == 0) {
		r = read_open_file(fd, path, problems, text, size, st);
		close(fd);
	}
	if (r < 0 && problems_count(problems, PROBLEM_ERROR) == 0)
		problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = path}, "%s", strerror(-r));
	return r;
}

typedef int parse_fn(const char *file, const char *text, size_t size, const char *home, struct problems *problems,
		     struct config **out);

static int load(const char *path, const char *home, struct problems *problems, parse_fn *parse, struct config **out)
{
	struct stat st;
	char *text;
	size_t size;
	int r = config_file_read(path, problems, &text, &size, &st);

	if (r < 0)
		return r;
	r = parse(path, text, size, home, problems, out);
	free(text);
	if (r < 0 && problems_count(problems, PROBLEM_ERROR) == 0)
		problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = path}, "%s", strerror(-r));
	return r;
}

int config_load(const char *path, const char *home, struct problems *problems, struct config **out)
{
	return load(path, home, problems, config_parse, out);
}

/* ---- writing ---- */

static bool is_unchanged(const char *path, const struct stat *before)
{
	struct stat now;

	return stat(path, &now) == 0 && now.st_dev == before->st_dev && now.st_ino == before->st_ino &&
	       now.st_size == before->st_size && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
	       now.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

int config_file_replace(const char *path, const struct stat *st, const char *text, size_t size)
{
	char target[PATH_MAX], fresh[PATH_MAX];
	int fd, r;

	if (realpath(path, target) == NULL)
		return -errno;
	r = print_path(fresh, target, ".", "XXXXXX");
	if (r < 0)
		return r;
	fd = mkostemp(fresh, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, size);
	if (r == 0 && (fsync(fd) < 0 || fchmod(fd, st->st_mode & 07777) < 0 ||
		       (st->st_uid != geteuid() && fchown(fd, st->st_uid, st->st_gid) < 0)))
		r = -errno;
	close(fd);
	if (r == 0 && !is_unchanged(target, st))
		r = -EBUSY;
	if (r == 0 && rename(fresh, target) < 0)
		r = -errno;
	if (r < 0)
		unlink(fresh);
	return r;
}

/* ---- what it names ---- */

static void check_path(const struct config_path *path, const char *key, bool folder, struct problems *problems)
{
	struct problem_place place = {path->where, path->line, path->column};
	int fd;

	if (path->path == NULL)
		return;
	fd = open(path->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (folder ? O_DIRECTORY : 0));
	if (fd >= 0)
		close(fd);
	else if (errno == ENOENT)
		problems_add(problems, PROBLEM_ERROR, place,
			     "%s: \"%.300s\" does not exist; create it or correct the path", key, path->path);
	else if (errno == ENOTDIR)
		problems_add(problems, PROBLEM_ERROR, place, "%s: \"%.300s\" is not a folder", key, path->path);
	else
		problems_add(problems, PROBLEM_ERROR, place, "%s: \"%.300s\" cannot be opened: %s", key, path->path,
			     strerror(errno));
}

void config_check_paths(const struct config *config, struct problems *problems)
{
	check_path(&config->ssh.config_file, "configFile", false, problems);
	check_path(&config->ssh.identity_file, "identityFile", false, problems);
	for (size_t i = 0; i < config->mount_count; i++)
		check_path(&config->mounts[i].location, "location", true, problems);
}

void config_check(const char *path, const char *home, struct problems *problems)
{
	struct config *config = NULL;

	load(path, home, problems, config_parse_rest, &config);
	if (config != NULL)
		config_check_paths(config, problems);
	config_free(config);
	problems_sort(problems);
}
