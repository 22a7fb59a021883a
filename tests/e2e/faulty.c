/* SPDX-License-Identifier: MIT */
/*
 * A disk that fails, or does what was not asked, for the server that this is loaded into (LD_PRELOAD); a real one would
 * need a block device to break, or quotas.
 *
 *	FAULT="CALL ERRNO COUNT"	the first COUNT calls of CALL (pwrite, fsync) end with ERRNO
 *	WRONG=CALL			each of CALL (pwrite, ftruncate, fallocate, copy_file_range) is one byte wrong
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define REAL(call) ((typeof(&call))dlsym(RTLD_NEXT, #call))

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at);
int fsync(int fd);
int ftruncate64(int fd, off64_t len);
int fallocate64(int fd, int mode, off64_t at, off64_t len);
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags);

static atomic_int calls;

static bool fails(const char *call)
{
	const char *fault = getenv("FAULT");
	char name[16];
	int error, count;

	if (!fault || sscanf(fault, "%15s %d %d", name, &error, &count) != 3 || strcmp(name, call) != 0 ||
	    atomic_fetch_add(&calls, 1) >= count)
		return false;
	errno = error;
	return true;
}

static bool is_wrong(const char *call)
{
	const char *wrong = getenv("WRONG");

	return wrong && !strcmp(wrong, call);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
	ssize_t n;

	if (fails("pwrite"))
		return -1;
	n = REAL(pwrite64)(fd, data, len, at);
	if (n == (ssize_t)len && len > 1 && is_wrong("pwrite"))
		REAL(pwrite64)(fd, "?", 1, at + n - 1);
	return n;
}

int fsync(int fd)
{
	return fails("fsync") ? -1 : REAL(fsync)(fd);
}

int ftruncate64(int fd, off64_t len)
{
	return REAL(ftruncate64)(fd, len + (len > 0 && is_wrong("ftruncate")));
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
	return REAL(fallocate64)(fd, mode, at, len > 1 && is_wrong("fallocate") ? len - 1 : len);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
	off64_t shifted = *from_at + is_wrong("copy_file_range");
	ssize_t n = REAL(copy_file_range)(from, &shifted, to, to_at, len, flags);

	if (n > 0)
		*from_at += n;
	return n;
}
