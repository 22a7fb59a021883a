/* SPDX-License-Identifier: MIT */
/* open(2) O_TMPFILE: files that have no name yet. */
#include "conform.h"

static void link_fd(int fd, const char *to)
{
	char name[40];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	tell("linkat %s = %s", to,
	     linkat(AT_FDCWD, name, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0 ? strerrorname_np(errno) : "0");
}

CASE(tmpfile_works, "open(2) O_TMPFILE")
{
	struct stamps before = stamps_of(".");
	int fd = F(open(".", O_RDWR | O_TMPFILE, 0640));

	R(write(fd, "text", 4));
	show_fd(fd);
	look_fd(fd);
	nap();
	look_fd(fd);
	list(".");
	tell_moved(".", &before);
	R(fchmod(fd, 0600));
	R(ftruncate(fd, 2));
	R(fsync(fd));
	look_fd(fd);
	R(close(fd));
	list(".");
}

CASE(tmpfile_gets_a_name, "open(2) O_TMPFILE, linkat(2)")
{
	int fd = F(open(".", O_RDWR | O_TMPFILE, 0640));

	R(write(fd, "text", 4));
	link_fd(fd, "f");
	show("f"), look("f");
	look_fd(fd);
	R(pwrite(fd, "more", 4, 4));
	R(close(fd));
	show("f");
	list(".");
}

CASE(tmpfile_gets_two_names, "open(2) O_TMPFILE, linkat(2)")
{
	int fd = F(open(".", O_RDWR | O_TMPFILE, 0640));

	make_folder("d", 0755);
	link_fd(fd, "f");
	link_fd(fd, "d/g");
	same_inode("f", "d/g");
	R(unlink("f"));
	look_fd(fd);
	R(unlink("d/g"));
	look_fd(fd);
	link_fd(fd, "h");
}

CASE(tmpfile_name_taken, "linkat(2) EEXIST")
{
	put("f", "old", 0644);
	int fd = F(open(".", O_RDWR | O_TMPFILE, 0640));

	R(write(fd, "new", 3));
	link_fd(fd, "f");
	show("f");
	link_fd(fd, "g");
	R(rename("g", "f"));
	show("f");
}

CASE(tmpfile_excl, "open(2) O_TMPFILE with O_EXCL: no name ever")
{
	int fd = F(open(".", O_RDWR | O_TMPFILE | O_EXCL, 0640));

	R(write(fd, "text", 4));
	link_fd(fd, "f");
	list(".");
}

CASE(tmpfile_fails, "open(2) O_TMPFILE EINVAL EISDIR ENOTDIR ENOENT")
{
	put("f", "", 0644);
	must(symlink(".", "l") == 0, "symlink");
	F(open(".", O_RDONLY | O_TMPFILE, 0600));
	F(open("f", O_RDWR | O_TMPFILE, 0600));
	F(open("none", O_RDWR | O_TMPFILE, 0600));
	F(open("l", O_WRONLY | O_TMPFILE, 0600));
	F(open(".", O_RDWR | O_TMPFILE | O_CREAT, 0600));
}

CASE(tmpfile_in_a_removed_folder, "open(2) O_TMPFILE ENOENT")
{
	make_folder("d", 0755);
	int dir = must_open("d", O_RDONLY | O_DIRECTORY);

	R(rmdir("d"));
	F(openat(dir, ".", O_RDWR | O_TMPFILE, 0600));
}

CASE(tmpfile_umask, "open(2) O_TMPFILE, umask(2)")
{
	R(umask(027));
	int fd = F(open(".", O_RDWR | O_TMPFILE, 0666));

	look_fd(fd);
	int other = F(open(".", O_WRONLY | O_TMPFILE, 0000));

	R(write(other, "x", 1));
	look_fd(other);
}

CASE(tmpfile_reopened, "proc(5) /proc/self/fd")
{
	char name[40];
	int fd = F(open(".", O_RDWR | O_TMPFILE, 0640));

	R(write(fd, "text", 4));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	int again = open(name, O_RDONLY);

	tell("reopened: %s", again < 0 ? strerrorname_np(errno) : "yes");
	show_fd(again);
	R(close(fd));
	show_fd(again);
}

CASE(tmpfile_appends, "open(2) O_TMPFILE with O_APPEND")
{
	int fd = F(open(".", O_RDWR | O_TMPFILE | O_APPEND, 0640));

	R(write(fd, "a", 1));
	R(pwrite(fd, "b", 1, 0));
	show_fd(fd);
}

CASE(tmpfile_many, "open(2) O_TMPFILE")
{
	char name[16];
	int fds[100], named = 0;

	for (int i = 0; i < 100; i++) {
		fds[i] = open(".", O_RDWR | O_TMPFILE, 0640);
		must(fds[i] >= 0, "O_TMPFILE");
		must(write(fds[i], &(char){(char)('0' + i % 10)}, 1) == 1, "write");
	}
	for (int i = 0; i < 100; i += 2) {
		char from[40];

		snprintf(from, sizeof(from), "/proc/self/fd/%d", fds[i]);
		snprintf(name, sizeof(name), "n%d", i);
		named += linkat(AT_FDCWD, from, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0;
	}
	tell("%d named", named);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	show("n98"), look("n42");
}

CASE_OF_ROOT(tmpfile_by_descriptor, "linkat(2) AT_EMPTY_PATH")
{
	int fd = F(open(".", O_RDWR | O_TMPFILE, 0640));

	R(write(fd, "text", 4));
	R(linkat(fd, "", AT_FDCWD, "f", AT_EMPTY_PATH));
	show("f");
	R(linkat(fd, "", AT_FDCWD, "f", AT_EMPTY_PATH));
}

CASE_OF_ROOT(tmpfile_owner, "open(2) O_TMPFILE, inode(7) S_ISGID")
{
	make_folder("d", 0777);
	make_folder("closed", 0755);
	must(chown("d", 0, ALICE.gid) == 0 && chmod("d", 02777) == 0, "chown");
	AS(BOB)
	{
		int fd = F(open("d", O_RDWR | O_TMPFILE, 0640));

		R(write(fd, "x", 1));
		look_fd(fd);
		link_fd(fd, "d/f");
		F(open("closed", O_RDWR | O_TMPFILE, 0640));
	}
	look("d/f");
}
