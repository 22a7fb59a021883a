/* SPDX-License-Identifier: MIT */
/*
 * conform: what system calls do in an empty folder, told line by line. The same program runs on a local file system and
 * on the mount; the two outputs have to agree (tests/e2e/test_posix_calls.py). The local run proves the cases, the
 * mount's run proves us.
 *
 * A case is CASE(name, "what it cites") { … }. It runs in a process of its own, in a folder of its own, and tells what
 * happened with the functions below: nothing else is compared. What differs from run to run (numbers of descriptors and
 * inodes, clock times) is never told; how they compare is.
 */
#ifndef HOMEPORT_CONFORM_H
#define HOMEPORT_CONFORM_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <unistd.h>

enum {
	CASE_ROOT = 1 << 0,            /* becomes other users, or makes what only root may */
	CASE_DIFFERS = 1 << 1,         /* the mount cannot do as the local one does; `reason` says why */
	CASE_DIFFERS_USER = 1 << 2,    /* as an ordinary user alone */
	CASE_DIFFERS_VIRTUAL = 1 << 3, /* with virtual ownership alone */
};

struct posix_case {
	const char *name;
	const char *cites; /* the manual page or POSIX section that says what has to happen */
	void (*run)(void);
	unsigned flags;
	const char *reason;
};

/* The table is put together by the linker: each case stands in it where it is written. */
#define CASE_WITH(id, citation, bits, why)                                                                           \
	static void case_##id(void);                                                                                 \
	__attribute__((used, section("posix_cases"), aligned(8))) static const struct posix_case posix_case_##id = { \
		#id, citation, case_##id, bits, why};                                                                \
	static void case_##id(void)
#define CASE(id, citation)                CASE_WITH(id, citation, 0, "")
#define CASE_OF_ROOT(id, citation)        CASE_WITH(id, citation, CASE_ROOT, "")
#define CASE_BUT(id, citation, bits, why) CASE_WITH(id, citation, bits, why)

/* ---- telling ---- */

void tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The call as it is written, and 0, a count, or its errno by name. Returns the value; errno stays. */
#define R(call) tell_result(#call, (errno = 0, (long)(call)))
long tell_result(const char *call, long value);

/* The same for what returns a descriptor, whose number is not told. */
#define F(call) tell_fd(#call, (errno = 0, (call)))
int tell_fd(const char *call, int fd);

/* The same for a call that made what is not compared. */
#define ERRNO(call) tell_errno(#call, (errno = 0, (call)) ? 0 : errno)

/* Type, mode, links, owner, group, size (of what is no folder) and device number, of a name or a descriptor. */
void look(const char *path);
void look_fd(int fd);

/* Content, up to where it is all told; long runs of one byte are counted. */
void show(const char *path);
void show_fd(int fd);

/* Names and kinds in a folder, sorted; those in readdir's order never are compared. */
void list(const char *path);

void same_inode(const char *a, const char *b);

/* ---- the state before ---- */

/* Makes a file with that content and mode; what fails ends the case. */
void put(const char *path, const char *content, mode_t mode);
void make_folder(const char *path, mode_t mode);
void fill(const char *path, char byte, size_t count);

/* An open file that must be there. */
int must_open(const char *path, int flags);
void must(bool ok, const char *what);

/* Times, to be asked later what has moved. nap() lets the clock go on. */
struct stamps {
	struct timespec atime, mtime, ctime;
};
struct stamps stamps_of(const char *path);
struct stamps stamps_of_fd(int fd);
void tell_moved(const char *path, const struct stamps *before);
void nap(void);

/* ---- others ---- */

struct user {
	uid_t uid;
	gid_t gid;
	size_t group_count;
	gid_t groups[4];
};
extern const struct user ALICE, BOB, CAROL; /* CAROL is of ALICE's group too */

/* What follows is done by another process as that user; the case waits for it. Of root's cases alone. */
#define AS(user) for (bool child_ = become(&(user)); child_; leave())
bool become(const struct user *user);

/* The same, without another user. */
#define IN_CHILD for (bool child_ = become(NULL); child_; leave())
void leave(void) __attribute__((noreturn));

/* A child that goes on beside the case; 0 in the child. reap() waits and tells how it ended. */
pid_t start_child(void);
void reap(pid_t pid);

/* Whether reading (or writing) there raises SIGBUS. */
bool faults(volatile char *at, bool write);

/* Whether the program runs as root. */
bool am_root(void);

#endif
