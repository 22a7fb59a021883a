/* SPDX-License-Identifier: MIT */
/* See keep_socket.h. */
#include "keep_socket.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "fd_packet.h"
#include "fnv.h"
#include "helper.h"
#include "log.h"
#include "sock_address.h"

#define NAME_START_SIZE 64

/* Two that are the same would have one socket; the helper knows its target, and the other is refused. */
static uint64_t digits_of(const void *bytes, size_t len)
{
	return fnv1a(FNV1A_START, bytes, len);
}

/* How names begin, of all hosts (NULL) or one. A home may be shared by several machines over a network. */
static void name_start(const uint8_t *host, char start[NAME_START_SIZE])
{
	struct utsname machine;
	int len;

	uname(&machine);
	len = snprintf(start, NAME_START_SIZE, "keep-%08x",
		       (unsigned)digits_of(machine.nodename, strlen(machine.nodename)));
	if (host)
		snprintf(start + len, NAME_START_SIZE - (size_t)len, "%08x-", (unsigned)digits_of(host, 16));
}

void keep_socket_path(const char *folder, const uint8_t host[16], const char *target, char path[KEEP_SOCKET_PATH_MAX])
{
	char start[NAME_START_SIZE];

	name_start(host, start);
	snprintf(path, KEEP_SOCKET_PATH_MAX, "%.400s/%s%016llx", folder, start,
		 (unsigned long long)digits_of(target, strlen(target)));
}

int keep_socket_listen(const char *path)
{
	struct sock_address at;
	int rc = sock_address_unix(&at, path), fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	if (bind(fd, &at.any, at.len) < 0 || chmod(path, 0600) < 0 || listen(fd, 8) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int keep_socket_connect(const char *path)
{
	int fd = fd_packet_connect(path);

	if (fd != -ECONNREFUSED)
		return fd;
	unlink(path);
	return -ENOENT;
}

/* It unmounts, and ends when the connection does. */
void keep_socket_unmount(const char *path)
{
	const struct helper_request request = {.type = HELPER_UNMOUNT, .flags = HELPER_LAZY};
	struct wire_buf out = {0};
	int fd = keep_socket_connect(path);

	if (fd < 0)
		return;
	helper_request_put(&out, &request);
	if (!out.failed && fd_packet_send(fd, out.data, out.len, NULL, 0) == 0) {
		log_info("a mount that an earlier agent left is given up: nobody wants it");
		unlink(path);
	}
	wire_buf_free(&out);
	close(fd);
}

static void each(const char *folder, const uint8_t *host, void (*fn)(void *ctx, const char *path), void *ctx)
{
	char start[NAME_START_SIZE], path[KEEP_SOCKET_PATH_MAX];
	DIR *dir = opendir(folder);
	struct dirent *entry;

	name_start(host, start);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, start, strlen(start)) != 0 || strlen(entry->d_name) > NAME_START_SIZE)
			continue;
		snprintf(path, sizeof(path), "%.400s/%.64s", folder, entry->d_name);
		fn(ctx, path);
	}
	if (dir)
		closedir(dir);
}

struct user {
	bool (*in_use)(void *ctx, const char *path);
	void *ctx;
};

static void unmount_unused(void *ctx, const char *path)
{
	const struct user *u = ctx;

	if (!u->in_use(u->ctx, path))
		keep_socket_unmount(path);
}

void keep_socket_give_up(const char *folder, const uint8_t host[16], bool (*in_use)(void *ctx, const char *path),
			 void *ctx)
{
	struct user user = {in_use, ctx};

	each(folder, host, unmount_unused, &user);
}

static void remove_dead(void *ctx, const char *path)
{
	int fd = keep_socket_connect(path);

	(void)ctx;
	if (fd >= 0)
		close(fd); /* a helper that waits takes no notice */
}

void keep_socket_sweep(const char *folder)
{
	each(folder, NULL, remove_dead, NULL);
}
