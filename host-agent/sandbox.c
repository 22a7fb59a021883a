/* SPDX-License-Identifier: MIT */
/*
 * The stages, in order:
 *
 *   descriptors   none but the stream's, stderr and the counters
 *   limits        descriptors, memory; no core
 *   no_new_privs  no set-id program gives back what is given up here
 *   dumpable      nobody of the same user attaches to the process or reads its memory
 *   Landlock      of the file system, the share alone, read-only or writable; no TCP, no abstract sockets, no signals
 *                 to others, as far as the kernel knows these
 *   seccomp       no program is executed, nothing is mounted, traced or loaded; and in a read-only share none of the
 *                 calls that change metadata, which Landlock leaves alone (measured: chmod, chown, utimensat, setxattr)
 *
 * What remains: file calls beneath the share with the user's own rights, descriptors opened before (the share, its
 * /proc/self/fd, mountinfo, the home folder of the masks, by O_PATH), threads, stdin and stdout.
 */
#include "sandbox.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bounds.h"
#include "log.h"

/* Newer than the headers we build with; the kernel version that brought each. */
#define FS_REFER     (1ull << 13) /* 5.19, ABI 2 */
#define FS_TRUNCATE  (1ull << 14) /* 6.2, ABI 3 */
#define FS_IOCTL_DEV (1ull << 15) /* 6.10, ABI 5 */
#define NET_TCP_ALL  3ull         /* 6.7, ABI 4: bind and connect */
#define SCOPE_ALL    3ull         /* 6.12, ABI 6: abstract sockets and signals */
#define FS_OF_ABI_1  ((1ull << 13) - 1)

struct ruleset {
	uint64_t fs, net, scoped;
};

static int explain(char *why, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int explain(char *why, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, SANDBOX_WHY_MAX, fmt, ap);
	va_end(ap);
	return error;
}

/* ---- descriptors and limits ---- */

int sandbox_close_descriptors(int keep)
{
	if (keep >= 0 && keep != 3 && dup2(keep, 3) < 0)
		return -errno;
	if (close_range(keep >= 0 ? 4 : 3, ~0u, 0) < 0)
		return -errno;
	return keep >= 0 ? 3 : -1;
}

long sandbox_limit_resources(void)
{
	const rlim_t most = SFTP_HANDLES_MAX * 2;
	struct rlimit limit, none = {0, 0};

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	limit.rlim_cur = limit.rlim_max > most ? most : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	struct rlimit memory = {SFTP_MEMORY_MAX, SFTP_MEMORY_MAX};

	if (setrlimit(RLIMIT_AS, &memory) < 0 && errno != EPERM)
		return -errno;
#endif
	return (long)limit.rlim_cur;
}

/* ---- Landlock ---- */

static uint64_t fs_handled(long abi)
{
	return FS_OF_ABI_1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
}

/* Devices are for the kernel to refuse (EPERM, without CAP_MKNOD): here that would be EACCES. */
static uint64_t fs_allowed(bool writable)
{
	uint64_t allowed = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;

	if (writable)
		allowed |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
			   LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
			   LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SOCK |
			   LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | FS_REFER | FS_TRUNCATE;
	return allowed;
}

static int enter_landlock(const struct sandbox_options *options, char *why)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset rules = {.fs = fs_handled(abi)};
	struct landlock_path_beneath_attr beneath = {.parent_fd = options->root_fd};
	long fd;
	int r = 0;

	if (abi < 0)
		return explain(why, -errno, "this kernel has no Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK)");
	if (abi >= 4)
		rules.net = NET_TCP_ALL;
	if (abi >= 6)
		rules.scoped = SCOPE_ALL;
	/* A kernel takes a struct no longer than the one it knows. */
	fd = syscall(SYS_landlock_create_ruleset, &rules, abi >= 6 ? 24 : abi >= 4 ? 16 : 8, 0);
	if (fd < 0)
		return explain(why, -errno, "Landlock takes no rules: %s", strerror(errno));
	beneath.allowed_access = fs_allowed(options->writable) & rules.fs;
	if (syscall(SYS_landlock_add_rule, (int)fd, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, (int)fd, 0) < 0)
		r = explain(why, -errno, "Landlock refuses its rules: %s", strerror(errno));
	close((int)fd);
	return r;
}

/* ---- seccomp ---- */

/* Numbers are the same on all architectures from 424 on; those our headers do not know stand as such. */
static const int never[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(open_by_handle_at), /* reaches what no path of the share does */
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(keyctl),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(socket),
	SCMP_SYS(kill),
	425, /* io_uring_setup, 5.1: its operations pass by every filter */
	428, /* open_tree, 5.2 */
	429, /* move_mount, 5.2 */
	430, /* fsopen, 5.2 */
	433, /* fspick, 5.2 */
	442, /* mount_setattr, 5.12 */
};

static const int not_read_only[] = {
	SCMP_SYS(chmod),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchmodat),
	452, /* fchmodat2, 6.6 */
	SCMP_SYS(chown),
	SCMP_SYS(fchown),
	SCMP_SYS(lchown),
	SCMP_SYS(fchownat),
	SCMP_SYS(utime),
	SCMP_SYS(utimes),
	SCMP_SYS(futimesat),
	SCMP_SYS(utimensat),
	SCMP_SYS(setxattr),
	SCMP_SYS(lsetxattr),
	SCMP_SYS(fsetxattr),
	SCMP_SYS(removexattr),
	SCMP_SYS(lremovexattr),
	SCMP_SYS(fremovexattr),
	463, /* setxattrat, 6.13 */
	466, /* removexattrat, 6.13 */
	469, /* file_setattr, 6.17 */
	SCMP_SYS(quotactl),
};

static int forbid(scmp_filter_ctx filter, const int *calls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0);

		/* -EDOM: this architecture never had it. */
		if (r < 0 && r != -EDOM)
			return r;
	}
	return 0;
}

static int enter_seccomp(const struct sandbox_options *options, char *why)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? forbid(filter, never, sizeof(never) / sizeof(never[0])) : -ENOMEM;

	if (r == 0 && !options->writable)
		r = forbid(filter, not_read_only, sizeof(not_read_only) / sizeof(not_read_only[0]));
	/* chattr and the like; that a folder's flags are read is no change. */
	if (r == 0 && !options->writable)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
				     SCMP_A1_32(SCMP_CMP_NE, (uint32_t)FS_IOC_GETFLAGS));
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? explain(why, r, "this kernel takes no seccomp filter: %s", strerror(-r)) : 0;
}

int sandbox_enter(const struct sandbox_options *options, char why[SANDBOX_WHY_MAX])
{
	static int (*const stages[])(const struct sandbox_options *, char *) = {enter_landlock, enter_seccomp};
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return explain(why, -errno, "no_new_privs: %s", strerror(errno));
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return explain(why, -errno, "dumpable: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		r = stages[i](options, why);
		if (r < 0 && !options->best_effort)
			return r;
		if (r < 0)
			log_warn("sandbox: %s; serving without", why);
	}
	return 0;
}
