/* SPDX-License-Identifier: MIT */
/*
 * A disk that fails, for the server that this is loaded into (LD_PRELOAD): the first COUNT calls of CALL (pwrite or
 * fsync) end with ERRNO. FAULT="CALL ERRNO COUNT". A real one would need a block device to break, or quotas.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static atomic_int calls;

static int fails(const char *call)
{
	const char *fault = getenv("FAULT");
	char name[16];
	int error, count;

	if (!fault || sscanf(fault, "%15s %d %d", name, &error, &count) != 3 || strcmp(name, call) != 0 ||
	    atomic_fetch_add(&calls, 1) >= count)
		return 0;
	errno = error;
	return 1;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
	ssize_t (*real)(int, const void *, size_t, off64_t) =
		(ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");

	return fails("pwrite") ? -1 : real(fd, data, len, at);
}

int fsync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

	return fails("fsync") ? -1 : real(fd);
}
