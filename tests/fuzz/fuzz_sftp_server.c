/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the share's server on a real tree. The input is a byte of options (1: writable, 2: native, 4: masks) and then
 * packets, each a u16 length and that many bytes from the type on; each is carried out at once.
 *
 * What must hold whatever comes: replies are whole packets; invalidations are of the kinds the server has, and each
 * newer than the last; nothing beside the shared folder changes or is told; a read-only share does not change; no
 * request leaves a descriptor behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bounds.h"
#include "sftp_server.h"

#define SECRET "this stands outside of the share"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64];
static int base_fd;
static bool tree_stands;
static struct share share;
static uint64_t last_stamp; /* of an invalidation */

static void must(int holds)
{
	if (!holds)
		abort();
}

static void write_file(const char *path, const char *text)
{
	int fd = openat(base_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	/* A folder the input has locked up is opened again before it is read. */
	if (kind == FTW_DNR && chmod(path, 0700) == 0)
		return 0;
	return remove(path) < 0 && errno != ENOTEMPTY ? -1 : 0;
}

static void tree_make(void)
{
	char path[128];

	if (tree_stands)
		return;
	snprintf(path, sizeof(path), "%s/share", base);
	for (int tries = 0; access(path, F_OK) == 0; tries++) {
		must(tries < 100);
		nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
	must(mkdirat(base_fd, "share", 0755) == 0 && mkdirat(base_fd, "share/d", 0755) == 0);
	must(mkdirat(base_fd, "share/.config", 0755) == 0);
	write_file("share/f", "a file");
	write_file("share/d/g", "another");
	write_file("share/.netrc", SECRET);
	must(symlinkat("../outside", base_fd, "share/out") == 0 && symlinkat("/d/g", base_fd, "share/in") == 0);
	must(linkat(base_fd, "share/f", base_fd, "share/d/h", 0) == 0);
	tree_stands = true;
}

static void base_remove(void)
{
	nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	snprintf(base, sizeof(base), "%s/homeport-fuzz.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	must(mkdtemp(base) != NULL);
	atexit(base_remove);
	base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(base_fd >= 0);
	write_file("outside", SECRET);
	umask(0);
	return 0;
}

/* Of one path: all that a change would change. */
struct state {
	struct stat st;
	bool there;
};

static struct state state_of(const char *path)
{
	struct state s = {0};

	s.there = fstatat(base_fd, path, &s.st, AT_SYMLINK_NOFOLLOW) == 0;
	memset(&s.st.st_atim, 0, sizeof(s.st.st_atim));
	return s;
}

static bool same(const char *path, const struct state *before)
{
	struct state now = state_of(path);

	return memcmp(&now, before, sizeof(now)) == 0;
}

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	must(dir != NULL);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* From the type on. */
static void check_invalidation(const uint8_t *packet, size_t len)
{
	struct wire_reader r = wire_reader(packet + 1, len - 1);
	struct sftp_invalidation i;

	sftp_invalidation_get(&r, &i);
	must(wire_read_done(&r) && share.native && i.stamp > last_stamp && i.stamp <= share.stamp);
	must(i.kind == NATIVE_INVALIDATE_ALL ? i.node == 0 : i.node >= NATIVE_ROOT);
	must(i.kind == NATIVE_INVALIDATE_ALL || i.kind == NATIVE_INVALIDATE_ENTRY || i.kind == NATIVE_INVALIDATE_ATTR);
	last_stamp = i.stamp;
}

static void check_replies(const struct wire_buf *replies)
{
	for (size_t at = 0; at < replies->len;) {
		uint32_t len;

		must(replies->len - at >= 4);
		len = wire_peek_u32(replies->data + at);
		must(len >= 5 && len <= SFTP_PACKET_MAX && replies->len - at - 4 >= len);
		if (replies->data[at + 4] == NATIVE_INVALIDATE)
			check_invalidation(replies->data + at + 4, len);
		at += 4 + len;
	}
	must(!replies->len || !memmem(replies->data, replies->len, SECRET, strlen(SECRET)));
}

static void play(struct sftp_server *server, const uint8_t *data, size_t size)
{
	while (size >= 2) {
		struct wire_buf reply = {0};
		size_t len = wire_peek_u16(data);

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		if (len && sftp_server_packet(server, data, len, &reply) < 0)
			size = len;
		check_replies(&reply);
		wire_buf_free(&reply);
		data += len;
		size -= len;
	}
}

static void share_open(uint8_t options)
{
	char path[128];
	const char *what;

	snprintf(path, sizeof(path), "%s/share", base);
	memset(&share, 0, sizeof(share));
	last_stamp = 0;
	must(root_open(&share.root, path, false, &what) == 0);
	share.writable = options & 1;
	share.native = options & 2;
	if (options & 4)
		root_record_owners(&share.root);
	share.acl = !(options & 4);
	share.root.privileged = false; /* files are not given to whom the input names */
	must(masks_new(path, true, &share.masks) == 0 && share_init(&share, 128, true) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const inside[] = {"share", "share/f", "share/d", "share/d/g", "share/.config", "share/in"};
	struct state outside, masked, before[6];
	struct sftp_server *server;
	int open_before;

	/* The input may not say the secret itself: it would be found in what it has written and read again. */
	if (size < 1 || memmem(data, size, "this stands", 11))
		return 0;
	tree_make();
	outside = state_of("outside");
	masked = state_of("share/.netrc");
	for (int i = 0; i < 6; i++)
		before[i] = state_of(inside[i]);
	open_before = descriptors();
	share_open(data[0]);
	server = sftp_server_new(&share);
	must(server != NULL);
	play(server, data + 1, size - 1);
	sftp_server_free(server);
	share_clear(&share);
	must(descriptors() == open_before);
	must(same("outside", &outside) && same("share/.netrc", &masked));
	for (int i = 0; i < 6 && !(data[0] & 1); i++)
		must(same(inside[i], &before[i]));
	tree_stands = !(data[0] & 1);
	return 0;
}
