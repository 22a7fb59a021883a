/* SPDX-License-Identifier: MIT */
/*
 * Runs cases and tells what they did. See conform.h.
 *
 *     conform --list                 name, flags, citation and reason of each case, tab separated
 *     conform FOLDER [NAME...]       runs them, each in FOLDER/NAME; one line "NAME: what happened" for each step
 *
 * Each step is written at once by write(2), so that what a case did before it was killed is told, and so that the
 * children of a case tell in the order in which they are waited for.
 */
#include "conform.h"

#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define CASE_SECONDS 20u

extern const struct posix_case __start_posix_cases[], __stop_posix_cases[];

const struct user ALICE = {3001, 3001, 0, {0}};
const struct user BOB = {3002, 3002, 0, {0}};
const struct user CAROL = {3003, 3003, 1, {3001}};

static const char *case_name = "?";

/* ---- telling ---- */

void tell(const char *fmt, ...)
{
	char line[8192];
	va_list ap;
	int saved = errno, n = snprintf(line, sizeof(line), "%s: ", case_name);

	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)n + 1) < 0)
		_exit(3);
	errno = saved;
}

static const char *name_of_errno(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}

long tell_result(const char *call, long value)
{
	if (value == -1)
		tell("%s = %s", call, name_of_errno(errno));
	else
		tell("%s = %ld", call, value);
	return value;
}

int tell_fd(const char *call, int fd)
{
	if (fd < 0)
		tell("%s = %s", call, name_of_errno(errno));
	else
		tell("%s = a descriptor", call);
	return fd;
}

static char kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return '-';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	default:
		return '?';
	}
}

static void tell_stat(const char *what, const struct stat *st)
{
	char size[32] = "", device[48] = "";

	if (!S_ISDIR(st->st_mode))
		snprintf(size, sizeof(size), " size %lld", (long long)st->st_size);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		snprintf(device, sizeof(device), " device %u:%u", major(st->st_rdev), minor(st->st_rdev));
	tell("%s: %c%04o links %lu owner %u:%u%s%s", what, kind_of(st->st_mode), st->st_mode & 07777,
	     (unsigned long)st->st_nlink, st->st_uid, st->st_gid, size, device);
}

void look(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		tell("lstat %.80s = %s", path, name_of_errno(errno));
	else
		tell_stat(path, &st);
}

void look_fd(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		tell("fstat = %s", name_of_errno(errno));
	else
		tell_stat("the open file", &st);
}

/* Printable bytes as they are, runs of more than eight as "byte*count". */
static void describe(const char *data, size_t len, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < len && at + 48 < size;) {
		size_t run = 1;

		while (i + run < len && data[i + run] == data[i])
			run++;
		if (run <= 8)
			run = 1;
		if (data[i] > ' ' && data[i] < 127)
			at += (size_t)snprintf(text + at, size - at, "%c", data[i]);
		else
			at += (size_t)snprintf(text + at, size - at, "\\x%02x", (unsigned char)data[i]);
		if (run > 1)
			at += (size_t)snprintf(text + at, size - at, "*%zu", run);
		i += run;
	}
}

static void show_open(const char *what, int fd)
{
	const size_t most = 4u << 20;
	char *data = malloc(most), text[4096];
	size_t len = 0;
	ssize_t n;

	while (data && (n = pread(fd, data + len, most - len, (off_t)len)) > 0)
		len += (size_t)n;
	describe(data, len, text, sizeof(text));
	free(data);
	tell("%s: %zu bytes \"%s\"", what, len, text);
}

void show(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		tell("open %.80s = %s", path, name_of_errno(errno));
		return;
	}
	show_open(path, fd);
	close(fd);
}

void show_fd(int fd)
{
	show_open("the open file", fd);
}

static char kind_of_entry(unsigned char type)
{
	return kind_of(DTTOIF(type));
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void list(const char *path)
{
	DIR *d = opendir(path);
	char *names[512], text[6000] = "";
	size_t count = 0, at = 0;
	const struct dirent *e;

	if (!d) {
		tell("opendir %.80s = %s", path, name_of_errno(errno));
		return;
	}
	while ((e = readdir(d)) && count < 512)
		if (asprintf(&names[count], "%s(%c)", e->d_name, kind_of_entry(e->d_type)) >= 0)
			count++;
	closedir(d);
	qsort(names, count, sizeof(*names), compare_lines);
	for (size_t i = 0; i < count; i++) {
		if (at + strlen(names[i]) + 2 < sizeof(text))
			at += (size_t)sprintf(text + at, " %s", names[i]);
		free(names[i]);
	}
	tell("%.80s holds %zu:%s", path, count, text);
}

void same_inode(const char *a, const char *b)
{
	struct stat sa, sb;
	bool there = lstat(a, &sa) == 0 && lstat(b, &sb) == 0;

	tell("%s and %s: %s", a, b,
	     !there                                             ? "not both there"
	     : sa.st_ino == sb.st_ino && sa.st_dev == sb.st_dev ? "one inode"
								: "two inodes");
}

/* ---- the state before ---- */

void must(bool ok, const char *what)
{
	if (ok)
		return;
	tell("cannot begin: %s: %s", what, name_of_errno(errno));
	_exit(2);
}

int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	must(fd >= 0, path);
	return fd;
}

void put(const char *path, const char *content, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	must(fd >= 0, path);
	must(write(fd, content, strlen(content)) == (ssize_t)strlen(content), "write");
	must(fchmod(fd, mode) == 0, "fchmod");
	must(close(fd) == 0, "close");
}

void make_folder(const char *path, mode_t mode)
{
	must(mkdir(path, 0700) == 0 && chmod(path, mode) == 0, path);
}

void fill(const char *path, char byte, size_t count)
{
	char *data = malloc(count);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(data && fd >= 0, path);
	memset(data, byte, count);
	must(write(fd, data, count) == (ssize_t)count, "write");
	must(close(fd) == 0, "close");
	free(data);
}

void nap(void)
{
	const struct timespec a_while = {.tv_nsec = 20000000};

	nanosleep(&a_while, NULL);
}

static struct stamps stamps_in(const struct stat *st)
{
	return (struct stamps){st->st_atim, st->st_mtim, st->st_ctim};
}

struct stamps stamps_of(const char *path)
{
	struct stat st;

	must(lstat(path, &st) == 0, path);
	nap();
	return stamps_in(&st);
}

struct stamps stamps_of_fd(int fd)
{
	struct stat st;

	must(fstat(fd, &st) == 0, "fstat");
	nap();
	return stamps_in(&st);
}

static const char *moved(const struct timespec *from, const struct timespec *to)
{
	if (from->tv_sec == to->tv_sec && from->tv_nsec == to->tv_nsec)
		return "stays";
	return from->tv_sec < to->tv_sec || (from->tv_sec == to->tv_sec && from->tv_nsec < to->tv_nsec) ? "later"
													: "earlier";
}

/* Access times are a policy of the mount (relatime, noatime): what cites them tells them itself. */
void tell_moved(const char *path, const struct stamps *before)
{
	struct stat st;
	struct stamps now;

	if (lstat(path, &st) < 0) {
		tell("lstat %s = %s", path, name_of_errno(errno));
		return;
	}
	now = stamps_in(&st);
	tell("%s: mtime %s, ctime %s", path, moved(&before->mtime, &now.mtime), moved(&before->ctime, &now.ctime));
}

/* ---- others ---- */

bool am_root(void)
{
	return geteuid() == 0;
}

static void tell_status(int status)
{
	if (WIFSIGNALED(status))
		tell("the child was killed by %s", sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		tell("the child left with %d", WEXITSTATUS(status));
}

pid_t start_child(void)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid == 0)
		alarm(CASE_SECONDS);
	return pid;
}

void reap(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid, "waitpid");
	tell_status(status);
}

bool become(const struct user *user)
{
	pid_t pid = start_child();

	if (pid > 0) {
		reap(pid);
		return false;
	}
	if (user)
		must(setgroups(user->group_count, user->groups) == 0 &&
			     setresgid(user->gid, user->gid, user->gid) == 0 &&
			     setresuid(user->uid, user->uid, user->uid) == 0,
		     "becoming another user");
	return true;
}

void leave(void)
{
	_exit(0);
}

static sigjmp_buf fault_return;

static void on_fault(int signal)
{
	(void)signal;
	siglongjmp(fault_return, 1);
}

bool faults(volatile char *at, bool write)
{
	struct sigaction action = {.sa_handler = on_fault}, before;
	bool faulted = true;

	sigaction(SIGBUS, &action, &before);
	if (sigsetjmp(fault_return, 1) == 0) {
		char c = *at;

		if (write)
			*at = (char)(c + 1);
		faulted = false;
	}
	sigaction(SIGBUS, &before, NULL);
	return faulted;
}

/* ---- running ---- */

static int run_case(const struct posix_case *c, const char *folder)
{
	int status;
	pid_t pid;

	case_name = c->name;
	pid = fork();
	if (pid == 0) {
		alarm(CASE_SECONDS);
		umask(022);
		must(chdir(folder) == 0, folder);
		must(mkdir(c->name, 0755) == 0 && chmod(c->name, 0755) == 0 && chdir(c->name) == 0, c->name);
		c->run();
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	if (WIFSIGNALED(status))
		tell("killed by %s", sigabbrev_np(WTERMSIG(status)));
	return WIFEXITED(status) && WEXITSTATUS(status) ? 1 : 0;
}

static bool wanted(const struct posix_case *c, int count, char **names)
{
	if (c->flags & CASE_ROOT && !am_root())
		return false;
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], c->name) == 0)
			return true;
	return count == 0;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: conform --list | conform FOLDER [NAME...]\n");
		return 2;
	}
	for (const struct posix_case *c = __start_posix_cases; c < __stop_posix_cases; c++) {
		if (strcmp(argv[1], "--list") == 0)
			printf("%s\t%u\t%s\t%s\n", c->name, c->flags, c->cites, c->reason);
		else if (wanted(c, argc - 2, argv + 2))
			failed |= run_case(c, argv[1]);
	}
	return failed;
}
