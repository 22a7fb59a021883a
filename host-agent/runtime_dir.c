/* SPDX-License-Identifier: MIT */
/* The folders of one session. See runtime_dir.h. */
#include "runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "folders.h"
#include "new_file.h"

#define LOG_KEEP_MAX (4 << 20)
#define ROOM_LEAST   (1u << 20)

/* The folder that holds one folder a session. */
static bool runtime_base(char path[RUNTIME_PATH_MAX])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n = -1;

	if (runtime && runtime[0] == '/')
		n = snprintf(path, RUNTIME_PATH_MAX, "%s/homeport", runtime);
	else if (state && state[0] == '/')
		n = snprintf(path, RUNTIME_PATH_MAX, "%s/homeport/.run", state);
	else if (home && home[0] == '/')
		n = snprintf(path, RUNTIME_PATH_MAX, "%s/.local/state/homeport/.run", home);
	return n > 0 && n < RUNTIME_PATH_MAX;
}

static bool state_base(char path[RUNTIME_PATH_MAX])
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n = -1;

	if (state && state[0] == '/')
		n = snprintf(path, RUNTIME_PATH_MAX, "%s/homeport", state);
	else if (home && home[0] == '/')
		n = snprintf(path, RUNTIME_PATH_MAX, "%s/.local/state/homeport", home);
	return n > 0 && n < RUNTIME_PATH_MAX;
}

/* A folder, ours, and nobody else's. */
static int check_folder(const char *path, char *why)
{
	struct stat st;

	if (lstat(path, &st) < 0) {
		int error = errno;

		snprintf(why, RUNTIME_WHY_MAX, "%s: %s", path, strerror(error));
		return -error;
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077)) {
		snprintf(why, RUNTIME_WHY_MAX, "%s must be a folder of yours that nobody else can enter (chmod 700)",
			 path);
		return -EPERM;
	}
	return 0;
}

static int open_folder(const char *path, bool make, char *why)
{
	int rc = make ? folders_make(path) : 0;

	if (rc < 0) {
		snprintf(why, RUNTIME_WHY_MAX, "%s: %s", path, strerror(-rc));
		return rc;
	}
	return check_folder(path, why);
}

static bool name_valid(const char *name)
{
	return name[0] && name[0] != '.' && strlen(name) <= RUNTIME_NAME_MAX && !strchr(name, '/');
}

int runtime_dir_open(struct runtime_dir *dir, const char *name, bool make, char *why)
{
	char run[RUNTIME_PATH_MAX], state[RUNTIME_PATH_MAX], socket[RUNTIME_PATH_MAX];
	int rc;

	if (!name_valid(name)) {
		snprintf(why, RUNTIME_WHY_MAX, "\"%.100s\" cannot be the name of a session; choose one with --name",
			 name);
		return -EINVAL;
	}
	if (!runtime_base(run) || !state_base(state)) {
		snprintf(why, RUNTIME_WHY_MAX, "neither XDG_STATE_HOME nor HOME names a folder to work in");
		return -EINVAL;
	}
	*dir = (struct runtime_dir){0};
	snprintf(dir->name, sizeof(dir->name), "%s", name);
	if (snprintf(dir->run, sizeof(dir->run), "%s/%s", run, name) >= (int)sizeof(dir->run) ||
	    snprintf(dir->state, sizeof(dir->state), "%s/%s", state, name) >= (int)sizeof(dir->state)) {
		snprintf(why, RUNTIME_WHY_MAX, "the path of the session's folder is too long");
		return -ENAMETOOLONG;
	}
	runtime_dir_socket_path(dir, socket);
	if (strlen(socket) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		snprintf(why, RUNTIME_WHY_MAX, "%s: too long for a socket; set XDG_RUNTIME_DIR to a shorter path",
			 socket);
		return -ENAMETOOLONG;
	}
	rc = open_folder(dir->run, make, why);
	return rc < 0 ? rc : open_folder(dir->state, make, why);
}

/* A log, a number, a socket: little, but not nothing. */
static int check_room(const char *path, char *why)
{
	struct statvfs fs;
	unsigned long long left;

	if (statvfs(path, &fs) < 0)
		return 0;
	left = (unsigned long long)fs.f_bavail * fs.f_frsize;
	if (left >= ROOM_LEAST)
		return 0;
	snprintf(why, RUNTIME_WHY_MAX, "%s: only %llu KiB are left on that disk", path, left >> 10);
	return -ENOSPC;
}

/* The folder, where it is there; else whether it can be made in the nearest one that is. */
static int check_base(const char *base, char *why)
{
	char path[RUNTIME_PATH_MAX], *end;
	int rc;

	if (access(base, F_OK) == 0) {
		rc = check_folder(base, why);
		return rc < 0 ? rc : check_room(base, why);
	}
	snprintf(path, sizeof(path), "%s", base);
	do {
		end = strrchr(path, '/');
		*end = '\0';
	} while (end > path && access(path, F_OK) < 0 && errno == ENOENT);
	if (access(*path ? path : "/", W_OK | X_OK) == 0)
		return check_room(*path ? path : "/", why);
	snprintf(why, RUNTIME_WHY_MAX, "%s is not there, and cannot be made: %s", base, strerror(errno));
	return -EACCES;
}

int runtime_dir_check(char shown[RUNTIME_WHY_MAX], char *why)
{
	char run[RUNTIME_PATH_MAX], state[RUNTIME_PATH_MAX];
	int rc;

	if (!runtime_base(run) || !state_base(state)) {
		snprintf(why, RUNTIME_WHY_MAX, "neither XDG_STATE_HOME nor HOME names a folder to work in");
		return -EINVAL;
	}
	rc = check_base(run, why);
	if (!rc)
		rc = check_base(state, why);
	snprintf(shown, RUNTIME_WHY_MAX, "%.370s and %.370s", run, state);
	return rc;
}

/* Calls `each` with every name in a folder below which there is a file of the session's. */
static void each_with(const char *base, const char *file, void (*each)(void *ctx, const char *name), void *ctx)
{
	char path[RUNTIME_PATH_MAX + 300];
	struct dirent *entry;
	DIR *folder = opendir(base);

	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		snprintf(path, sizeof(path), "%s/%s/%s", base, entry->d_name, file);
		if (name_valid(entry->d_name) && !access(path, F_OK))
			each(ctx, entry->d_name);
	}
	closedir(folder);
}

void runtime_dir_each(void (*each)(void *ctx, const char *name), void *ctx)
{
	char base[RUNTIME_PATH_MAX];

	if (runtime_base(base))
		each_with(base, "control", each, ctx);
}

void runtime_dir_each_past(void (*each)(void *ctx, const char *name), void *ctx)
{
	char base[RUNTIME_PATH_MAX];

	if (state_base(base))
		each_with(base, "instance", each, ctx);
}

static int open_in(const char *folder, const char *name, int flags)
{
	char path[RUNTIME_PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

int runtime_dir_claim(const struct runtime_dir *dir, pid_t *other)
{
	char digits[16] = "";
	int fd = open_in(dir->run, "pid", O_RDWR | O_CREAT);

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = read(fd, digits, sizeof(digits) - 1);

		*other = n > 0 ? (pid_t)strtol(digits, NULL, 10) : 0;
		close(fd);
		return -EBUSY;
	}
	snprintf(digits, sizeof(digits), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || write(fd, digits, strlen(digits)) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

int runtime_dir_lock_up(const struct runtime_dir *dir, unsigned seconds)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	int fd = open_in(dir->run, "lock", O_RDWR | O_CREAT);

	if (fd < 0)
		return fd;
	for (unsigned tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
		if (tries >= seconds * 50) {
			close(fd);
			return -EBUSY;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}

static int read_instance(const struct runtime_dir *dir, uint8_t instance[INSTANCE_SIZE])
{
	int fd = open_in(dir->state, "instance", O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, instance, INSTANCE_SIZE);
	close(fd);
	return n == INSTANCE_SIZE ? 0 : -EBADMSG;
}

int runtime_dir_instance(const struct runtime_dir *dir, uint8_t instance[INSTANCE_SIZE])
{
	char path[RUNTIME_PATH_MAX + 32];
	int rc = read_instance(dir, instance);

	snprintf(path, sizeof(path), "%s/instance", dir->state);
	if (rc == -EBADMSG)
		unlink(path);
	else if (rc != -ENOENT)
		return rc;
	if (getrandom(instance, INSTANCE_SIZE, 0) != INSTANCE_SIZE)
		return -EIO;
	rc = new_file_write(path, instance, INSTANCE_SIZE);
	return rc == -EEXIST ? read_instance(dir, instance) : rc;
}

void runtime_dir_log_path(const struct runtime_dir *dir, char path[RUNTIME_PATH_MAX])
{
	if (snprintf(path, RUNTIME_PATH_MAX, "%s/log", dir->state) >= RUNTIME_PATH_MAX)
		path[0] = '\0';
}

void runtime_dir_socket_path(const struct runtime_dir *dir, char path[RUNTIME_PATH_MAX])
{
	if (snprintf(path, RUNTIME_PATH_MAX, "%s/control", dir->run) >= RUNTIME_PATH_MAX)
		path[0] = '\0';
}

/* The two change places, so that who opens the log by its name finds one at any moment. */
static void move_log_aside(const char *path)
{
	char old[RUNTIME_PATH_MAX + 2];
	int fd;

	snprintf(old, sizeof(old), "%s.1", path);
	unlink(old);
	fd = open(old, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	/* Not every file system (NFS, for one) can exchange names. */
	if (fd < 0 || renameat2(AT_FDCWD, path, AT_FDCWD, old, RENAME_EXCHANGE) < 0)
		rename(path, old);
}

int runtime_dir_open_log(const struct runtime_dir *dir)
{
	char path[RUNTIME_PATH_MAX];
	struct stat st;

	runtime_dir_log_path(dir, path);
	if (!lstat(path, &st) && st.st_size > LOG_KEEP_MAX)
		move_log_aside(path);
	return open_in(dir->state, "log", O_WRONLY | O_CREAT | O_APPEND);
}

void runtime_dir_limit_log(const struct runtime_dir *dir)
{
	char path[RUNTIME_PATH_MAX];
	struct stat own, st;
	int fd;

	if (fstat(STDERR_FILENO, &own) < 0 || !S_ISREG(own.st_mode) || own.st_size <= LOG_KEEP_MAX)
		return;
	runtime_dir_log_path(dir, path);
	/* A file of the user's own (`homeport run 2>file`) is the user's to keep short. */
	if (lstat(path, &st) < 0 || st.st_dev != own.st_dev || st.st_ino != own.st_ino)
		return;
	fd = runtime_dir_open_log(dir);
	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

void runtime_dir_clean(const struct runtime_dir *dir)
{
	static const char *const names[] = {"control", "pid"};
	char path[RUNTIME_PATH_MAX + 32];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir->run, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/sock", dir->run);
	rmdir(path);
}
