/* SPDX-License-Identifier: MIT */
/* mmap(2), msync(2), SIGBUS. */
#include "conform.h"

#include <sys/mman.h>

static char *map_of(int fd, size_t size, int prot, int flags)
{
	char *at = mmap(NULL, size, prot, flags, fd, 0);

	must(at != MAP_FAILED, "mmap");
	return at;
}

#define MMAP(fd, prot, flags) ERRNO_OF(mmap(NULL, 4096, prot, flags, fd, 0), #prot " " #flags)
#define ERRNO_OF(call, text)  tell("mmap %s = %s", text, (call) == MAP_FAILED ? strerrorname_np(errno) : "a map")

CASE(map_shared, "mmap(2) MAP_SHARED")
{
	fill("f", 'a', 8192);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);

	at[0] = 'A';
	at[5000] = 'B';
	show_fd(fd);
	R(pwrite(fd, "C", 1, 1));
	tell("%.3s", at);
	R(msync(at, 8192, MS_SYNC));
	R(munmap(at, 8192));
	show("f");
}

CASE(map_private, "mmap(2) MAP_PRIVATE")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDONLY);
	char *at = map_of(fd, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	at[0] = 'A';
	tell("%.2s", at);
	show("f");
}

CASE(map_rights, "mmap(2) EACCES")
{
	fill("f", 'a', 4096);
	int in = must_open("f", O_RDONLY), out = must_open("f", O_WRONLY), both = must_open("f", O_RDWR);

	MMAP(in, PROT_READ, MAP_SHARED);
	MMAP(in, PROT_READ | PROT_WRITE, MAP_SHARED);
	MMAP(in, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	MMAP(out, PROT_READ, MAP_SHARED);
	MMAP(out, PROT_WRITE, MAP_SHARED);
	MMAP(out, PROT_READ, MAP_PRIVATE);
	MMAP(both, PROT_READ | PROT_WRITE, MAP_SHARED);
	MMAP(both, PROT_READ | PROT_EXEC, MAP_PRIVATE);
}

CASE(map_append_only, "mmap(2) of an O_APPEND descriptor")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR | O_APPEND);

	MMAP(fd, PROT_READ, MAP_SHARED);
	MMAP(fd, PROT_READ, MAP_PRIVATE);
	MMAP(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return;
	at[1] = 'B';
	R(write(fd, "end", 3));
	R(msync(at, 4096, MS_SYNC));
	show("f");
}

CASE(map_of_folder, "mmap(2) ENODEV")
{
	int fd = must_open(".", O_RDONLY);

	MMAP(fd, PROT_READ, MAP_PRIVATE);
}

CASE(map_beyond_the_end, "mmap(2): SIGBUS beyond the last page, zeros within it")
{
	fill("f", 'a', 100);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 12288, PROT_READ | PROT_WRITE, MAP_SHARED);

	tell("faults at 50: %d, 200: %d, 4095: %d, 4096: %d, 9000: %d", faults(at + 50, false), faults(at + 200, false),
	     faults(at + 4095, true), faults(at + 4096, false), faults(at + 9000, true));
	tell("byte 200 is %d", at[200]);
	look_fd(fd);
	R(ftruncate(fd, 5000));
	tell("faults at 4096: %d, 9000: %d", faults(at + 4096, true), faults(at + 9000, false));
	tell("byte 200 is %d", at[200]);
	show_fd(fd);
}

CASE(map_truncated, "mmap(2): SIGBUS after a truncation")
{
	fill("f", 'a', 12288);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 12288, PROT_READ | PROT_WRITE, MAP_SHARED);

	at[9000] = 'B';
	R(ftruncate(fd, 4000));
	tell("faults at 100: %d, 4001: %d, 5000: %d, 9000: %d", faults(at + 100, true), faults(at + 4001, false),
	     faults(at + 5000, false), faults(at + 9000, true));
	tell("byte 4001 is %d", at[4001]);
	R(truncate("f", 12288));
	tell("byte 9000 is %d", at[9000]);
	show_fd(fd);
}

CASE(map_truncated_by_open, "open(2) O_TRUNC, mmap(2)")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 4096, PROT_READ, MAP_SHARED);

	F(open("f", O_WRONLY | O_TRUNC));
	tell("faults: %d", faults(at, false));
}

CASE(map_outlives_close, "mmap(2): closing the descriptor does not unmap")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);

	R(close(fd));
	at[0] = 'A';
	R(msync(at, 4096, MS_SYNC));
	show("f");
	at[1] = 'B';
	R(munmap(at, 4096));
	show("f");
}

CASE(map_outlives_unlink, "mmap(2), unlink(2)")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);

	R(unlink("f"));
	at[0] = 'A';
	R(msync(at, 4096, MS_SYNC));
	show_fd(fd);
	R(close(fd));
	at[1] = 'B';
	tell("%.3s", at);
}

CASE(map_seen_by_another, "mmap(2) MAP_SHARED, fork(2)")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);

	IN_CHILD
	{
		int own = must_open("f", O_RDWR);
		char *there = map_of(own, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);

		there[5] = 'C';
	}
	tell("%.6s", at);
	IN_CHILD
	{
		int own = must_open("f", O_RDWR);

		R(pwrite(own, "D", 1, 0));
	}
	tell("%.6s", at);
}

CASE(map_moves_times, "POSIX mmap(): mtime and ctime between the write and msync")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct stamps before = stamps_of("f");

	at[0] = 'b';
	R(msync(at, 4096, MS_SYNC));
	tell_moved("f", &before);
}

CASE(map_sync_fails, "msync(2) EINVAL ENOMEM")
{
	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);

	R(msync(at, 4096, MS_SYNC | MS_ASYNC));
	R(msync(at + 1, 4096, MS_SYNC));
	R(msync(at, 4096, MS_ASYNC));
	R(msync(at, 4096, MS_SYNC | MS_INVALIDATE));
}

CASE(map_empty_file, "mmap(2)")
{
	put("f", "", 0644);
	int fd = must_open("f", O_RDWR);
	char *at = map_of(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);

	tell("faults: %d", faults(at, false));
	R(write(fd, "text", 4));
	tell("faults: %d, %.4s", faults(at, false), at);
}

CASE(map_direct, "mmap(2), open(2) O_DIRECT")
{
	char *block = aligned_alloc(4096, 4096);

	fill("f", 'a', 4096);
	int fd = must_open("f", O_RDWR | O_DIRECT);
	char *at = map_of(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);

	at[0] = 'A';
	must(block, "memory");
	R(pread(fd, block, 4096, 0));
	tell("%.2s", block);
	memset(block, 'b', 4096);
	R(pwrite(fd, block, 4096, 0));
	tell("%.2s", at);
}
