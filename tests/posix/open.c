/* SPDX-License-Identifier: MIT */
/* open(2), close(2), and what the flags mean. */
#include "conform.h"

CASE(open_missing, "open(2) ENOENT")
{
	F(open("none", O_RDONLY));
	F(open("none", O_RDWR));
	F(open("none/below", O_RDONLY | O_CREAT, 0644));
	list(".");
}

CASE(open_below_a_file, "open(2) ENOTDIR")
{
	put("f", "text", 0644);
	F(open("f/x", O_RDONLY));
	F(open("f/x", O_WRONLY | O_CREAT, 0644));
	F(open("f/", O_RDONLY));
	F(open("f/.", O_RDONLY));
}

CASE(open_creates_with_mode, "open(2) O_CREAT")
{
	F(open("a", O_WRONLY | O_CREAT, 0666));
	F(open("b", O_WRONLY | O_CREAT, 0640));
	F(open("c", O_RDONLY | O_CREAT, 0000));
	F(open("d", O_RDWR | O_CREAT, 07777));
	look("a"), look("b"), look("c"), look("d");
}

CASE(open_under_umask, "umask(2)")
{
	R(umask(077));
	F(open("a", O_WRONLY | O_CREAT, 0666));
	R(umask(0));
	F(open("b", O_WRONLY | O_CREAT, 0666));
	R(umask(0777));
	F(open("c", O_WRONLY | O_CREAT, 0666));
	look("a"), look("b"), look("c");
}

CASE(open_creates_unwritable_and_writes, "open(2): the mode applies to later opens alone")
{
	int fd = F(open("f", O_RDWR | O_CREAT, 0000));

	R(write(fd, "text", 4));
	show_fd(fd);
	look_fd(fd);
}

CASE(open_existing_with_creat, "open(2) O_CREAT")
{
	put("f", "text", 0640);
	F(open("f", O_RDWR | O_CREAT, 0777));
	look("f");
	show("f");
}

CASE(open_excl, "open(2) O_EXCL EEXIST")
{
	put("f", "text", 0644);
	make_folder("d", 0755);
	must(symlink("f", "l") == 0 && symlink("nowhere", "dangling") == 0, "symlink");
	F(open("f", O_RDWR | O_CREAT | O_EXCL, 0644));
	F(open("d", O_RDONLY | O_CREAT | O_EXCL, 0644));
	F(open("l", O_RDWR | O_CREAT | O_EXCL, 0644));
	F(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644));
	F(open("new", O_RDWR | O_CREAT | O_EXCL, 0600));
	F(open("new", O_RDWR | O_CREAT | O_EXCL, 0600));
	list(".");
}

CASE(open_excl_alone, "open(2) O_EXCL without O_CREAT")
{
	put("f", "text", 0644);
	F(open("f", O_RDONLY | O_EXCL));
}

CASE(open_truncates, "open(2) O_TRUNC")
{
	put("f", "text", 0644);
	struct stamps before = stamps_of("f");

	F(open("f", O_WRONLY | O_TRUNC));
	look("f");
	tell_moved("f", &before);
}

CASE(open_truncates_to_read, "open(2) O_TRUNC with O_RDONLY")
{
	put("f", "text", 0644);
	F(open("f", O_RDONLY | O_TRUNC));
	look("f");
}

CASE(open_truncates_empty, "POSIX open(): O_TRUNC marks mtime and ctime")
{
	put("f", "", 0644);
	struct stamps before = stamps_of("f");

	F(open("f", O_WRONLY | O_TRUNC));
	tell_moved("f", &before);
}

CASE(open_truncates_what_is_open, "open(2) O_TRUNC")
{
	put("f", "0123456789", 0644);
	int fd = must_open("f", O_RDWR);

	F(open("f", O_WRONLY | O_TRUNC | O_CREAT, 0644));
	look_fd(fd);
	show_fd(fd);
	R(pwrite(fd, "x", 1, 5));
	show_fd(fd);
}

CASE(open_folder, "open(2) EISDIR")
{
	make_folder("d", 0755);
	F(open("d", O_RDONLY));
	F(open("d", O_WRONLY));
	F(open("d", O_RDWR));
	F(open("d", O_RDONLY | O_TRUNC));
	F(open("d", O_RDONLY | O_CREAT, 0644));
	F(open("d/", O_RDONLY | O_CREAT, 0644));
	F(open("new/", O_RDONLY | O_CREAT, 0644));
}

CASE(open_o_directory, "open(2) O_DIRECTORY")
{
	put("f", "", 0644);
	make_folder("d", 0755);
	must(symlink("d", "to_d") == 0 && symlink("f", "to_f") == 0, "symlink");
	F(open("f", O_RDONLY | O_DIRECTORY));
	F(open("d", O_RDONLY | O_DIRECTORY));
	F(open("to_d", O_RDONLY | O_DIRECTORY));
	F(open("to_f", O_RDONLY | O_DIRECTORY));
	F(open("to_d", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
	F(open("to_d/", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
}

CASE(open_nofollow, "open(2) O_NOFOLLOW ELOOP")
{
	put("f", "text", 0644);
	must(symlink("f", "l") == 0 && symlink("none", "dangling") == 0, "symlink");
	F(open("l", O_RDONLY | O_NOFOLLOW));
	F(open("dangling", O_RDONLY | O_NOFOLLOW));
	F(open("dangling", O_RDWR | O_CREAT | O_NOFOLLOW, 0644));
	F(open("f", O_RDONLY | O_NOFOLLOW));
	list(".");
}

CASE(open_through_links, "open(2), path_resolution(7)")
{
	make_folder("d", 0755);
	put("d/f", "text", 0644);
	must(symlink("d", "a") == 0 && symlink("a/f", "b") == 0 && symlink("b", "c") == 0, "symlink");
	F(open("c", O_RDONLY));
	show("c");
	must(symlink("loop", "loop") == 0 && symlink("y", "x") == 0 && symlink("x", "y") == 0, "symlink");
	F(open("loop", O_RDONLY));
	F(open("x", O_RDONLY));
	F(open("x/f", O_RDWR | O_CREAT, 0644));
}

CASE(open_creates_through_dangling, "open(2) O_CREAT, path_resolution(7)")
{
	must(symlink("target", "l") == 0 && symlink("none/target", "m") == 0, "symlink");
	F(open("l", O_RDWR | O_CREAT, 0640));
	F(open("m", O_RDWR | O_CREAT, 0640));
	list(".");
	look("target");
}

CASE(open_forty_links, "path_resolution(7): forty links at most, ELOOP")
{
	char from[8], to[8];

	put("l0", "end", 0644);
	for (int i = 1; i <= 41; i++) {
		snprintf(from, sizeof(from), "l%d", i);
		snprintf(to, sizeof(to), "l%d", i - 1);
		must(symlink(to, from) == 0, "symlink");
	}
	F(open("l40", O_RDONLY));
	F(open("l41", O_RDONLY));
}

CASE(open_o_path, "open(2) O_PATH")
{
	char target[16];
	struct stat st;

	put("f", "text", 0000);
	must(symlink("f", "l") == 0, "symlink");
	int fd = F(open("f", O_PATH));
	int link = F(open("l", O_PATH | O_NOFOLLOW));

	R(read(fd, target, 1));
	R(write(fd, "x", 1));
	R(fchmod(fd, 0600));
	R(fsync(fd));
	look_fd(fd), look_fd(link);
	R(readlinkat(link, "", target, sizeof(target)));
	R(fstatat(fd, "", &st, AT_EMPTY_PATH));
	R(faccessat(fd, "", F_OK, 0));
	F(open("none", O_PATH));
	F(open("f", O_PATH | O_DIRECTORY));
}

CASE(open_o_path_of_folder, "open(2) O_PATH")
{
	make_folder("d", 0755);
	put("d/f", "text", 0644);
	int fd = F(open("d", O_PATH | O_DIRECTORY));
	struct stat st;

	F(openat(fd, "f", O_RDONLY));
	R(fstatat(fd, "f", &st, 0));
	R(fchdir(fd));
	show("f");
}

CASE(open_o_path_outlives_its_name, "open(2) O_PATH")
{
	put("f", "text", 0644);
	int fd = F(open("f", O_PATH));

	R(unlink("f"));
	look_fd(fd);
	nap();
	look_fd(fd);
}

CASE(open_o_path_reopened, "open(2) O_PATH, proc(5) /proc/self/fd")
{
	char name[40];

	put("f", "text", 0644);
	int fd = F(open("f", O_PATH));

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	must(rename("f", "g") == 0, "rename");
	int again = open(name, O_RDWR);

	tell("reopened: %s", again < 0 ? strerrorname_np(errno) : "yes");
	R(write(again, "TE", 2));
	show("g");
}

CASE(open_unlinked_by_proc, "proc(5) /proc/self/fd of what has no name any more")
{
	char name[40];

	put("f", "text", 0644);
	int fd = must_open("f", O_RDONLY);

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	R(unlink("f"));
	int again = open(name, O_RDWR);

	tell("reopened: %s", again < 0 ? strerrorname_np(errno) : "yes");
	R(pwrite(again, "TEXT", 4, 0));
	show_fd(fd);
	look_fd(again);
}

CASE(open_appends, "open(2) O_APPEND")
{
	put("f", "0", 0644);
	int a = must_open("f", O_WRONLY | O_APPEND), b = must_open("f", O_WRONLY | O_APPEND);

	R(write(a, "aa", 2));
	R(write(b, "b", 1));
	R(write(a, "a", 1));
	R(lseek(a, 0, SEEK_SET));
	R(write(a, "A", 1));
	R(lseek(a, 0, SEEK_CUR));
	show("f");
}

CASE(open_append_pwrite, "pwrite(2) BUGS: O_APPEND appends")
{
	put("f", "0123", 0644);
	int fd = must_open("f", O_RDWR | O_APPEND);

	R(pwrite(fd, "x", 1, 0));
	R(lseek(fd, 0, SEEK_CUR));
	show_fd(fd);
}

CASE(open_append_to_read, "open(2) O_APPEND: what is open to be read alone may have it")
{
	char data[8] = "";

	put("f", "0123", 0644);
	int fd = F(open("f", O_RDONLY | O_APPEND));

	R(read(fd, data, 8));
	tell("%s", data);
	R(write(fd, "x", 1));
	F(open("f", O_RDONLY | O_APPEND | O_CREAT, 0644));
	F(open("g", O_RDONLY | O_APPEND | O_CREAT, 0644));
	F(open("f", O_RDONLY | O_APPEND | O_TRUNC));
	F(open("f", O_ACCMODE | O_APPEND));
	look("f"), look("g");
}

static void open_with(const char *path, int flags)
{
	int fd = open(path, flags, 0640);

	if (fd >= 0)
		close(fd);
	tell("%s %#x = %s", path, flags, fd < 0 ? strerrorname_np(errno) : "open");
}

CASE(open_every_combination, "open(2): each pair of flags with each access mode, of each kind of file")
{
	const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE};
	const int more[] = {0,          O_APPEND,   O_TRUNC,     O_CREAT,   O_EXCL, O_DIRECTORY,
			    O_NOFOLLOW, O_NONBLOCK, O_SYNC,      O_DSYNC,   O_PATH, O_NOATIME,
			    O_CLOEXEC,  O_NOCTTY,   O_LARGEFILE, O_TMPFILE, O_ASYNC};
	const char *paths[] = {"f", "d", "l", "m", "dangling", "none", "none/x", "f/x"};
	const size_t count = sizeof(more) / sizeof(more[0]);

	put("f", "text", 0644);
	make_folder("d", 0755);
	must(symlink("f", "l") == 0 && symlink("d", "m") == 0 && symlink("n/n", "dangling") == 0, "symlink");
	for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++)
		for (size_t i = 0; i < count; i++)
			for (size_t j = i; j < count; j++)
				for (size_t m = 0; m < 4; m++) {
					open_with(paths[p], modes[m] | more[i] | more[j]);
					unlink("none");
				}
	look("f");
	list(".");
}

CASE(open_append_after_truncate, "open(2) O_APPEND")
{
	put("f", "0123456789", 0644);
	int fd = must_open("f", O_RDWR | O_APPEND);

	R(ftruncate(fd, 3));
	R(write(fd, "x", 1));
	show_fd(fd);
	R(truncate("f", 8));
	R(write(fd, "y", 1));
	show_fd(fd);
}

CASE(open_setfl_append, "fcntl(2) F_SETFL O_APPEND")
{
	put("f", "0123", 0644);
	int fd = must_open("f", O_RDWR);

	R(fcntl(fd, F_SETFL, O_APPEND));
	R(write(fd, "x", 1));
	R(fcntl(fd, F_SETFL, 0));
	R(pwrite(fd, "y", 1, 0));
	show_fd(fd);
}

CASE(open_setfl_no_append, "fcntl(2) F_SETFL: O_APPEND can be taken back")
{
	put("f", "0123", 0644);
	int fd = must_open("f", O_RDWR | O_APPEND);

	R(write(fd, "x", 1));
	R(fcntl(fd, F_SETFL, 0));
	R(pwrite(fd, "y", 1, 0));
	R(lseek(fd, 2, SEEK_SET));
	R(write(fd, "z", 1));
	show_fd(fd);
	R(fcntl(fd, F_SETFL, O_APPEND));
	R(write(fd, "e", 1));
	show_fd(fd);
}

CASE(open_getfl, "fcntl(2) F_GETFL")
{
	put("f", "", 0644);
	int fd = must_open("f", O_RDWR | O_APPEND | O_DSYNC);
	int flags = fcntl(fd, F_GETFL);

	tell("mode %d append %d dsync %d", flags & O_ACCMODE, !!(flags & O_APPEND), !!(flags & O_DSYNC));
}

CASE(open_wrong_direction, "read(2), write(2) EBADF")
{
	char c;

	put("f", "text", 0644);
	int in = must_open("f", O_RDONLY), out = must_open("f", O_WRONLY), none = F(open("f", O_ACCMODE));

	R(write(in, "x", 1));
	R(read(out, &c, 1));
	R(read(none, &c, 1));
	R(write(none, "x", 1));
	R(ftruncate(in, 0));
	R(ftruncate(none, 0));
	show("f");
}

CASE(open_sync, "open(2) O_SYNC, O_DSYNC")
{
	int a = F(open("a", O_WRONLY | O_CREAT | O_SYNC, 0644)), b = F(open("b", O_WRONLY | O_CREAT | O_DSYNC, 0644));

	R(write(a, "text", 4));
	R(write(b, "text", 4));
	show("a"), show("b");
}

CASE(open_direct, "open(2) O_DIRECT")
{
	char *block = aligned_alloc(4096, 8192);
	int fd = F(open("f", O_RDWR | O_CREAT | O_DIRECT, 0644));

	must(block, "memory");
	memset(block, 'd', 8192);
	R(pwrite(fd, block, 8192, 0));
	R(pwrite(fd, block, 4096, 16384));
	memset(block, 0, 8192);
	R(pread(fd, block, 4096, 4096));
	tell("reads back %c", block[100]);
	R(pread(fd, block, 8192, 16384));
	R(pread(fd, block, 4096, 1 << 20));
	show("f");
	look("f");
}

CASE(open_direct_beside_buffered, "open(2) O_DIRECT: coherent with the page cache")
{
	char *block = aligned_alloc(4096, 4096);

	fill("f", 'a', 8192);
	int direct = must_open("f", O_RDWR | O_DIRECT), fd = must_open("f", O_RDWR);

	must(block && pread(fd, block, 10, 0) == 10, "read");
	memset(block, 'b', 4096);
	R(pwrite(direct, block, 4096, 0));
	show_fd(fd);
	R(pwrite(fd, "cc", 2, 4096));
	R(pread(direct, block, 4096, 4096));
	tell("direct sees %.3s", block);
}

CASE(open_noatime, "open(2) O_NOATIME")
{
	put("f", "text", 0644);
	F(open("f", O_RDONLY | O_NOATIME));
}

CASE(open_bad_flags, "open(2) EINVAL")
{
	make_folder("d", 0755);
	F(open("new", O_RDWR | O_CREAT | O_DIRECTORY, 0644));
	F(open("d", O_RDWR | O_CREAT | O_DIRECTORY, 0644));
	F(open("d", O_RDONLY | (O_TMPFILE & ~O_DIRECTORY)));
	list(".");
}

CASE(open_long_names, "path_resolution(7), pathconf(3) NAME_MAX PATH_MAX: ENAMETOOLONG")
{
	char name[5000];

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	F(open(name, O_RDWR | O_CREAT, 0644));
	look(name);
	R(unlink(name));
	name[255] = 'n', name[256] = '\0';
	F(open(name, O_RDWR | O_CREAT, 0644));
	F(open(name, O_RDONLY));
	R(mkdir(name, 0755));
	R(symlink("x", name));
	R(rename(name, "x"));
	R(unlink(name));
	name[256] = 'n', name[4999] = '\0';
	F(open(name, O_RDWR | O_CREAT, 0644));
	name[4999] = 'n', name[1500] = '\0';
	F(open(name, O_RDWR | O_CREAT, 0644));
}

CASE(open_long_paths, "path_resolution(7): PATH_MAX is 4096 with its NUL")
{
	char path[4200];
	size_t len;

	memset(path, '/', sizeof(path));
	path[0] = '.', path[4094] = 'f', path[4095] = '\0';
	F(open(path, O_RDWR | O_CREAT, 0644));
	path[4094] = '/', path[4095] = 'f', path[4096] = '\0';
	F(open(path, O_RDWR | O_CREAT, 0644));
	len = strlen(path);
	tell("%zu bytes", len);
	list(".");
}

CASE(open_far_down, "POSIX pathconf(): folders deeper than PATH_MAX are reached step by step")
{
	char name[201];

	memset(name, 'd', 200);
	name[200] = '\0';
	for (int i = 0; i < 30; i++)
		must(mkdir(name, 0755) == 0 && chdir(name) == 0, "a step down");
	put("f", "deep", 0644);
	show("f");
	R(rename("f", "g"));
	list(".");
	tell("getcwd: %s", getcwd(NULL, 0) ? "a path" : "ENAMETOOLONG or none");
	R(unlink("g"));
	for (int i = 0; i < 30; i++)
		must(chdir("..") == 0 && rmdir(name) == 0, "a step up");
	list(".");
}

CASE(open_empty_path, "open(2) ENOENT")
{
	F(open("", O_RDONLY));
	F(open("", O_RDWR | O_CREAT, 0644));
	R(unlink(""));
	R(mkdir("", 0755));
}

CASE(open_names_of_any_bytes, "POSIX 3.170 Filename: all but / and NUL")
{
	char name[4] = "?x";
	int made = 0, found = 0;
	struct stat st;

	for (int b = 1; b < 256; b++) {
		name[0] = (char)b;
		if (b == '/')
			continue;
		made += close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0644)) == 0;
		found += stat(name, &st) == 0;
	}
	tell("%d made, %d found", made, found);
}

CASE(open_many, "open(2)")
{
	int opened = 0, fds[900];

	put("f", "text", 0644);
	for (int i = 0; i < 900; i++) {
		fds[i] = open("f", O_RDONLY);
		opened += fds[i] >= 0;
	}
	tell("%d open", opened);
	show_fd(fds[0]);
	for (int i = 0; i < 900; i++)
		close(fds[i]);
}

CASE(open_stays_after_chmod, "POSIX chmod(): open files keep what they may")
{
	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR);

	R(chmod("f", 0000));
	R(pwrite(fd, "TE", 2, 0));
	show_fd(fd);
	R(ftruncate(fd, 2));
	R(fsync(fd));
	look_fd(fd);
}

CASE(open_stays_after_unlink, "unlink(2): the file lives until it is closed")
{
	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR);

	R(unlink("f"));
	R(pwrite(fd, "more", 4, 4));
	show_fd(fd);
	R(ftruncate(fd, 6));
	R(fchmod(fd, 0600));
	R(fsync(fd));
	look_fd(fd);
	list(".");
	R(close(fd));
	list(".");
}

CASE(open_stays_after_replace, "rename(2): open descriptors are unaffected")
{
	put("f", "old", 0644);
	put("g", "new", 0644);
	int fd = must_open("f", O_RDWR);

	R(rename("g", "f"));
	show_fd(fd);
	R(pwrite(fd, "OLD!", 4, 0));
	show_fd(fd);
	show("f");
	look_fd(fd);
	list(".");
}

CASE(open_stays_after_rename, "rename(2): open descriptors are unaffected")
{
	put("f", "text", 0644);
	make_folder("d", 0755);
	int fd = must_open("f", O_RDWR);

	R(rename("f", "d/g"));
	R(pwrite(fd, "T", 1, 0));
	R(rename("d", "e"));
	R(pwrite(fd, "X", 1, 2));
	R(fsync(fd));
	show("e/g");
	look_fd(fd);
}

CASE(open_new_one_under_an_old_name, "unlink(2)")
{
	put("f", "old", 0644);
	int old = must_open("f", O_RDWR);

	R(unlink("f"));
	put("f", "newer", 0644);
	int now = must_open("f", O_RDWR);

	R(pwrite(old, "1", 1, 0));
	R(pwrite(now, "2", 1, 0));
	show_fd(old), show_fd(now), show("f");
}

CASE(open_a_hundred_times_replaced, "rename(2): the name is always there")
{
	int good = 0;

	put("f", "0", 0644);
	for (int i = 0; i < 100; i++) {
		char content[8] = "";
		int fd;

		fill("new", (char)('a' + i % 26), 3);
		must(rename("new", "f") == 0, "rename");
		fd = open("f", O_RDONLY);
		good += read(fd, content, 7) == 3 && content[0] == 'a' + i % 26;
		close(fd);
	}
	tell("%d of 100 right", good);
}

CASE(open_exec, "execve(2) EACCES, ETXTBSY")
{
	put("f", "#!/bin/true\n", 0755);
	put("g", "#!/bin/true\n", 0644);
	R(access("f", X_OK));
	IN_CHILD
	{
		execl("./f", "f", NULL);
		tell("execve = %s", strerrorname_np(errno));
	}
	IN_CHILD
	{
		execl("./g", "g", NULL);
		tell("execve = %s", strerrorname_np(errno));
	}
	int fd = must_open("f", O_WRONLY);

	(void)fd;
	IN_CHILD
	{
		execl("./f", "f", NULL);
		tell("execve while written = %s", strerrorname_np(errno));
	}
}
