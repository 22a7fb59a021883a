/* SPDX-License-Identifier: MIT */
/* flock(2), fcntl(2): record locks of processes and of open file descriptions. */
#include "conform.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/time.h>
#include <sys/wait.h>

static struct flock lock_of(short type, off_t start, off_t len)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static int record(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock lock = lock_of(type, start, len);

	return fcntl(fd, cmd, &lock);
}

/* Whether another process has a lock there, and whose kind. */
static void tell_holder(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock lock = lock_of(type, start, len);

	if (fcntl(fd, cmd, &lock) < 0)
		tell("asking = %s", strerrorname_np(errno));
	else if (lock.l_type == F_UNLCK)
		tell("%lld+%lld is free", (long long)start, (long long)len);
	else
		tell("%lld+%lld: a %s lock of %lld+%lld, holder %s", (long long)start, (long long)len,
		     lock.l_type == F_WRLCK ? "write" : "read", (long long)lock.l_start, (long long)lock.l_len,
		     lock.l_pid == getppid() ? "the parent"
		     : lock.l_pid == -1      ? "an open file"
					     : "another");
}

CASE(flock_excludes, "flock(2) EWOULDBLOCK")
{
	put("f", "", 0644);
	int a = must_open("f", O_RDONLY), b = must_open("f", O_RDWR);

	R(flock(a, LOCK_EX));
	R(flock(b, LOCK_SH | LOCK_NB));
	R(flock(b, LOCK_EX | LOCK_NB));
	R(flock(a, LOCK_SH));
	R(flock(b, LOCK_SH | LOCK_NB));
	R(flock(a, LOCK_EX | LOCK_NB));
	R(flock(b, LOCK_UN));
	R(flock(a, LOCK_EX | LOCK_NB));
	R(close(a));
	R(flock(b, LOCK_EX | LOCK_NB));
	R(flock(b, 99));
}

CASE(flock_of_descriptions, "flock(2): duplicates share the lock")
{
	put("f", "", 0644);
	int a = must_open("f", O_RDWR), b = dup(a), c = must_open("f", O_RDWR);

	R(flock(a, LOCK_EX));
	R(flock(b, LOCK_EX | LOCK_NB));
	R(close(a));
	R(flock(c, LOCK_EX | LOCK_NB));
	R(close(b));
	R(flock(c, LOCK_EX | LOCK_NB));
}

CASE(flock_between_processes, "flock(2)")
{
	put("f", "", 0644);
	int fd = must_open("f", O_RDWR);

	R(flock(fd, LOCK_EX));
	IN_CHILD
	{
		int own = must_open("f", O_RDWR);

		R(flock(own, LOCK_EX | LOCK_NB));
		R(flock(fd, LOCK_UN));
		R(flock(own, LOCK_EX | LOCK_NB));
	}
	R(flock(fd, LOCK_EX | LOCK_NB));
}

CASE(flock_of_a_folder, "flock(2)")
{
	make_folder("d", 0755);
	int a = must_open("d", O_RDONLY), b = must_open("d", O_RDONLY);

	R(flock(a, LOCK_EX));
	R(flock(b, LOCK_SH | LOCK_NB));
}

CASE(record_ranges, "fcntl(2) F_SETLK F_GETLK EAGAIN")
{
	put("f", "0123456789", 0644);
	int fd = must_open("f", O_RDWR);

	R(record(fd, F_SETLK, F_WRLCK, 2, 3));
	R(record(fd, F_SETLK, F_RDLCK, 20, 0));
	IN_CHILD
	{
		int own = must_open("f", O_RDWR);

		tell_holder(own, F_GETLK, F_WRLCK, 0, 2);
		tell_holder(own, F_GETLK, F_RDLCK, 0, 3);
		tell_holder(own, F_GETLK, F_RDLCK, 100, 1);
		tell_holder(own, F_GETLK, F_WRLCK, 100, 1);
		R(record(own, F_SETLK, F_RDLCK, 4, 1));
		R(record(own, F_SETLK, F_WRLCK, 5, 5));
		R(record(own, F_SETLK, F_RDLCK, 30, 5));
		R(record(own, F_SETLK, F_WRLCK, 30, 5));
	}
	R(record(fd, F_SETLK, F_UNLCK, 3, 1));
	IN_CHILD
	{
		int own = must_open("f", O_RDWR);

		R(record(own, F_SETLK, F_WRLCK, 3, 1));
		R(record(own, F_SETLK, F_WRLCK, 2, 1));
		R(record(own, F_SETLK, F_WRLCK, 4, 1));
	}
}

CASE(record_of_processes, "fcntl(2): any close of the file gives the process's locks back; not inherited by fork")
{
	put("f", "", 0644);
	int a = must_open("f", O_RDWR), b = must_open("f", O_RDWR);

	R(record(a, F_SETLK, F_WRLCK, 0, 0));
	R(record(b, F_SETLK, F_WRLCK, 0, 0));
	IN_CHILD
	{
		R(record(a, F_SETLK, F_WRLCK, 0, 0));
		tell_holder(a, F_GETLK, F_WRLCK, 0, 0);
	}
	R(close(b));
	IN_CHILD
	{
		R(record(a, F_SETLK, F_WRLCK, 0, 0));
	}
}

CASE(record_fails, "fcntl(2) EBADF EINVAL")
{
	put("f", "", 0644);
	int in = must_open("f", O_RDONLY), out = must_open("f", O_WRONLY);

	R(record(in, F_SETLK, F_WRLCK, 0, 0));
	R(record(out, F_SETLK, F_RDLCK, 0, 0));
	R(record(in, F_SETLK, F_RDLCK, -1, 0));
	R(record(in, F_SETLK, 77, 0, 0));
	R(record(in, F_SETLK, F_RDLCK, 10, -5));
	R(record(in, F_SETLK, F_RDLCK, 10, -50));
}

CASE(record_of_open_files, "fcntl(2) F_OFD_SETLK")
{
	put("f", "", 0644);
	int a = must_open("f", O_RDWR), b = must_open("f", O_RDWR);

	R(record(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	R(record(b, F_OFD_SETLK, F_WRLCK, 5, 10));
	R(record(b, F_OFD_SETLK, F_WRLCK, 10, 10));
	tell_holder(b, F_OFD_GETLK, F_WRLCK, 0, 5);
	R(record(a, F_SETLK, F_WRLCK, 0, 5));
	int c = dup(a);

	R(close(a));
	R(record(b, F_OFD_SETLK, F_WRLCK, 0, 5));
	R(close(c));
	R(record(b, F_OFD_SETLK, F_WRLCK, 0, 5));
}

CASE(record_whatever_the_mode, "fcntl(2), open(2): how the file was opened counts, not what its mode is")
{
	static const struct {
		const char *name;
		mode_t mode;
	} files[] = {{"readable", 0444}, {"writable", 0222}, {"shut", 0}};

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		int fd = open(files[i].name, O_RDWR | O_CREAT, files[i].mode), other;

		must(fd >= 0, "open");
		tell("%s", files[i].name);
		R(record(fd, F_SETLK, F_RDLCK, 0, 10));
		R(record(fd, F_SETLK, F_WRLCK, 5, 10));
		R(flock(fd, LOCK_EX));
		R(chmod(files[i].name, 0600));
		other = must_open(files[i].name, O_RDWR);
		R(flock(other, LOCK_SH | LOCK_NB));
		R(record(other, F_OFD_SETLK, F_RDLCK, 0, 5));
		R(record(other, F_OFD_SETLK, F_WRLCK, 0, 5));
		R(record(other, F_OFD_SETLK, F_RDLCK, 5, 5));
		R(record(fd, F_SETLK, F_UNLCK, 0, 0));
		R(record(other, F_OFD_SETLK, F_WRLCK, 0, 0));
		R(flock(fd, LOCK_UN));
		R(flock(other, LOCK_EX | LOCK_NB));
		R(record(other, F_OFD_SETLK, F_UNLCK, 0, 0));
		R(record(fd, F_SETLK, F_WRLCK, 0, 0));
		R(chmod(files[i].name, files[i].mode));
		IN_CHILD
		{
			R(record(fd, F_SETLK, F_WRLCK, 3, 1));
		}
		R(close(fd));
		R(record(other, F_OFD_SETLK, F_WRLCK, 0, 0));
	}
}

CASE(record_upgraded_by_another_descriptor, "fcntl(2): a process's locks are one set, whichever descriptor it asks by")
{
	put("f", "0123456789", 0444);
	int in = must_open("f", O_RDONLY), out, other;

	R(record(in, F_SETLK, F_RDLCK, 0, 10));
	R(record(in, F_SETLK, F_RDLCK, 20, 0));
	R(record(in, F_SETLK, F_UNLCK, 4, 2));
	R(chmod("f", 0644));
	out = must_open("f", O_RDWR), other = must_open("f", O_RDWR);
	R(record(other, F_OFD_SETLK, F_RDLCK, 2, 1));
	R(record(out, F_SETLK, F_WRLCK, 2, 2));
	R(record(out, F_SETLK, F_WRLCK, 8, 14));
	R(record(other, F_OFD_SETLK, F_WRLCK, 0, 2));
	R(record(other, F_OFD_SETLK, F_RDLCK, 0, 8));
	R(record(other, F_OFD_SETLK, F_WRLCK, 4, 2));
	R(record(other, F_OFD_SETLK, F_RDLCK, 8, 1));
	R(record(other, F_OFD_SETLK, F_RDLCK, 21, 1));
	R(record(other, F_OFD_SETLK, F_RDLCK, 22, 0));
	R(record(other, F_OFD_SETLK, F_WRLCK, 100, 0));
	R(close(in));
	R(record(other, F_OFD_SETLK, F_WRLCK, 0, 0));
}

CASE(record_deadlock, "fcntl(2) EDEADLK")
{
	int ready[2];
	char c;

	put("f", "", 0644);
	must(pipe(ready) == 0, "pipe");
	int fd = must_open("f", O_RDWR);

	R(record(fd, F_SETLK, F_WRLCK, 0, 1));
	pid_t child = start_child();

	if (child == 0) {
		must(record(fd, F_SETLK, F_WRLCK, 1, 1) == 0 && write(ready[1], "x", 1) == 1, "lock");
		record(fd, F_SETLKW, F_WRLCK, 0, 1);
		leave();
	}
	must(read(ready[0], &c, 1) == 1, "pipe");
	nap(), nap(), nap();
	R(record(fd, F_SETLKW, F_WRLCK, 1, 1));
	R(record(fd, F_SETLK, F_UNLCK, 0, 0));
	reap(child);
}

CASE(locks_wait, "flock(2), fcntl(2) F_SETLKW: a wait ends when the lock is free")
{
	int ready[2];
	char c;

	put("f", "", 0644);
	must(pipe(ready) == 0, "pipe");
	int fd = must_open("f", O_RDWR);

	R(flock(fd, LOCK_EX));
	R(record(fd, F_OFD_SETLK, F_WRLCK, 0, 0));
	pid_t child = start_child();

	if (child == 0) {
		int own = must_open("f", O_RDWR);

		must(write(ready[1], "x", 1) == 1, "pipe");
		R(flock(own, LOCK_EX));
		R(record(own, F_SETLKW, F_WRLCK, 0, 0));
		leave();
	}
	must(read(ready[0], &c, 1) == 1, "pipe");
	nap();
	tell("giving back");
	must(flock(fd, LOCK_UN) == 0, "flock");
	nap();
	must(record(fd, F_OFD_SETLK, F_UNLCK, 0, 0) == 0, "fcntl");
	reap(child);
}

static void on_alarm(int signal)
{
	(void)signal;
}

CASE(locks_interrupted, "flock(2), fcntl(2) EINTR")
{
	struct sigaction action = {.sa_handler = on_alarm};
	const struct itimerval soon = {.it_value = {.tv_usec = 50000}};

	put("f", "", 0644);
	int fd = must_open("f", O_RDWR);

	R(flock(fd, LOCK_EX));
	R(record(fd, F_SETLK, F_WRLCK, 0, 0));
	IN_CHILD
	{
		int own = must_open("f", O_RDWR);

		sigaction(SIGALRM, &action, NULL);
		setitimer(ITIMER_REAL, &soon, NULL);
		R(flock(own, LOCK_EX));
		setitimer(ITIMER_REAL, &soon, NULL);
		R(record(own, F_SETLKW, F_WRLCK, 0, 0));
		setitimer(ITIMER_REAL, &soon, NULL);
		R(record(own, F_OFD_SETLKW, F_WRLCK, 0, 0));
	}
}

CASE(locks_end_with_their_owner, "flock(2), fcntl(2): also when it is killed, holding or waiting")
{
	int ready[2], status;
	char c;

	put("f", "", 0644);
	must(pipe(ready) == 0, "pipe");
	int fd = must_open("f", O_RDWR);
	pid_t holder = start_child(), waiter;

	if (holder == 0) {
		int own = must_open("f", O_RDWR);

		must(flock(own, LOCK_EX) == 0 && record(own, F_SETLK, F_WRLCK, 0, 0) == 0, "lock");
		must(write(ready[1], "x", 1) == 1, "pipe");
		for (;;)
			pause();
	}
	must(read(ready[0], &c, 1) == 1, "pipe");
	waiter = start_child();
	if (waiter == 0) {
		int own = must_open("f", O_RDWR);

		must(write(ready[1], "x", 1) == 1, "pipe");
		flock(own, LOCK_EX);
		leave();
	}
	must(read(ready[0], &c, 1) == 1, "pipe");
	nap();
	R(flock(fd, LOCK_EX | LOCK_NB));
	R(kill(waiter, SIGKILL));
	must(waitpid(waiter, &status, 0) == waiter, "waitpid");
	tell("the waiter: %s", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "left");
	R(kill(holder, SIGKILL));
	must(waitpid(holder, &status, 0) == holder, "waitpid");
	R(flock(fd, LOCK_EX | LOCK_NB));
	R(record(fd, F_SETLK, F_WRLCK, 0, 0));
}

CASE(locks_of_an_unlinked_file, "flock(2), unlink(2)")
{
	put("f", "", 0644);
	int a = must_open("f", O_RDWR), b = must_open("f", O_RDWR);

	R(unlink("f"));
	R(flock(a, LOCK_EX));
	R(flock(b, LOCK_EX | LOCK_NB));
	put("f", "", 0644);
	int c = must_open("f", O_RDWR);

	R(flock(c, LOCK_EX | LOCK_NB));
}

CASE(locks_by_two_names, "link(2), flock(2): a lock is of the file, not of its name")
{
	put("f", "", 0644);
	must(link("f", "g") == 0, "link");
	int a = must_open("f", O_RDWR), b = must_open("g", O_RDWR);

	R(flock(a, LOCK_EX));
	R(flock(b, LOCK_EX | LOCK_NB));
	R(record(a, F_OFD_SETLK, F_WRLCK, 0, 0));
	R(record(b, F_OFD_SETLK, F_WRLCK, 0, 0));
}

CASE(locks_count_well, "fcntl(2) F_SETLKW: a counter raised by four")
{
	pid_t children[4];

	put("f", "0000", 0644);
	for (int i = 0; i < 4; i++) {
		children[i] = start_child();
		if (children[i] == 0) {
			int fd = must_open("f", O_RDWR);
			char text[8] = "";

			for (int n = 0; n < 25; n++) {
				must(record(fd, F_SETLKW, F_WRLCK, 0, 0) == 0, "lock");
				must(pread(fd, text, 4, 0) == 4, "read");
				snprintf(text, sizeof(text), "%04d", (atoi(text) + 1) % 10000);
				must(pwrite(fd, text, 4, 0) == 4, "write");
				must(record(fd, F_SETLK, F_UNLCK, 0, 0) == 0, "unlock");
			}
			leave();
		}
	}
	for (int i = 0; i < 4; i++)
		reap(children[i]);
	show("f");
}
