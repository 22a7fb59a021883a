/* SPDX-License-Identifier: MIT */
/* mkdir, rmdir, unlink, link, symlink, readlink. */
#include "conform.h"

CASE(mkdir_new, "mkdir(2)")
{
	R(mkdir("a", 0777));
	R(mkdir("b", 0700));
	R(mkdir("c", 07777));
	R(mkdir("d/", 0755));
	R(mkdir("d/e", 0755));
	look("a"), look("b"), look("c"), look("d"), look("d/e");
	list(".");
	look(".");
}

CASE(mkdir_fails, "mkdir(2) EEXIST ENOENT ENOTDIR")
{
	put("f", "", 0644);
	make_folder("d", 0755);
	must(symlink("none", "dangling") == 0 && symlink("d", "l") == 0, "symlink");
	R(mkdir("f", 0755));
	R(mkdir("d", 0755));
	R(mkdir("d/", 0755));
	R(mkdir("dangling", 0755));
	R(mkdir("l", 0755));
	R(mkdir("none/d", 0755));
	R(mkdir("f/d", 0755));
	R(mkdir(".", 0755));
	R(mkdir("..", 0755));
	R(mkdir("d/.", 0755));
	R(mkdir("/", 0755));
	R(mkdir("dangling/", 0755));
	list(".");
}

CASE(mkdir_counts_links, "inode(7): a folder's links are its name, its own dot and its folders' dot-dots")
{
	make_folder("d", 0755);
	look("d");
	R(mkdir("d/a", 0755));
	R(mkdir("d/b", 0755));
	put("d/f", "", 0644);
	look("d");
	R(rmdir("d/a"));
	look("d");
	R(rename("d/b", "b"));
	look("d");
	look(".");
}

CASE(mkdir_moves_times, "POSIX mkdir(): the parent's mtime and ctime")
{
	struct stamps before = stamps_of(".");

	R(mkdir("d", 0755));
	tell_moved(".", &before);
	before = stamps_of(".");
	R(mkdir("d", 0755));
	tell_moved(".", &before);
}

CASE(mkdir_sgid, "inode(7): set-group-ID of a folder is inherited by folders")
{
	R(mkdir("d", 0755));
	R(chmod("d", 02755));
	R(mkdir("d/e", 0700));
	put("d/f", "", 0644);
	look("d"), look("d/e"), look("d/f");
}

CASE(rmdir_works, "rmdir(2)")
{
	make_folder("d", 0755);
	make_folder("e", 0000);
	struct stamps before = stamps_of(".");

	R(rmdir("d"));
	tell_moved(".", &before);
	R(rmdir("e/"));
	list(".");
	look(".");
}

CASE(rmdir_fails, "rmdir(2) ENOTEMPTY ENOTDIR ENOENT EINVAL")
{
	make_folder("d", 0755);
	put("d/f", "", 0644);
	put("f", "", 0644);
	make_folder("e", 0755);
	must(symlink("e", "l") == 0, "symlink");
	R(rmdir("d"));
	R(rmdir("f"));
	R(rmdir("none"));
	R(rmdir("l"));
	R(rmdir("l/"));
	R(rmdir("e/."));
	R(rmdir("d/.."));
	R(rmdir("f/x"));
	R(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	R(unlinkat(AT_FDCWD, "e", AT_REMOVEDIR | 1));
	list(".");
}

CASE(rmdir_of_the_working_folder, "rmdir(2): what is in use stays until it is left")
{
	make_folder("d", 0755);
	R(chdir("d"));
	R(rmdir("../d"));
	look(".");
	nap();
	look(".");
	F(open("f", O_RDWR | O_CREAT, 0644));
	R(mkdir("e", 0755));
	F(open(".", O_RDONLY));
	list(".");
	R(chdir(".."));
	tell("getcwd: %s", getcwd(NULL, 0) ? "a path" : strerrorname_np(errno));
	list(".");
}

CASE(rmdir_of_an_open_folder, "rmdir(2)")
{
	make_folder("d", 0755);
	int fd = must_open("d", O_RDONLY | O_DIRECTORY);
	struct stat st;

	R(rmdir("d"));
	look_fd(fd);
	nap();
	look_fd(fd);
	R(fstatat(fd, "x", &st, 0));
	F(openat(fd, "x", O_RDWR | O_CREAT, 0644));
	R(fchmod(fd, 0700));
	R(fsync(fd));
	look_fd(fd);
}

CASE(rmdir_and_made_again, "rmdir(2), mkdir(2)")
{
	make_folder("d", 0755);
	int fd = must_open("d", O_RDONLY | O_DIRECTORY);

	R(rmdir("d"));
	R(mkdir("d", 0700));
	put("d/f", "new", 0644);
	look_fd(fd);
	list("d");
}

CASE(unlink_works, "unlink(2)")
{
	put("f", "text", 0000);
	must(symlink("f", "l") == 0, "symlink");
	struct stamps before = stamps_of(".");

	R(unlink("l"));
	R(unlink("f"));
	tell_moved(".", &before);
	list(".");
}

CASE(unlink_fails, "unlink(2) EISDIR ENOENT ENOTDIR")
{
	make_folder("d", 0755);
	put("f", "", 0644);
	R(unlink("d"));
	R(unlink("d/"));
	R(unlink("none"));
	R(unlink("f/"));
	R(unlink("f/x"));
	R(unlink("."));
	R(unlink("none/x"));
	R(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
	list(".");
}

CASE(unlink_one_of_two_names, "unlink(2), POSIX: ctime of what has another name")
{
	put("f", "text", 0644);
	must(link("f", "g") == 0, "link");
	struct stamps before = stamps_of("f");

	R(unlink("g"));
	look("f");
	tell_moved("f", &before);
}

CASE(unlink_the_first_of_three_names, "unlink(2), stat(2) st_nlink")
{
	put("f", "text", 0644);
	must(link("f", "g") == 0 && link("f", "h") == 0, "link");
	R(chmod("g", 0600));
	look("f"), look("g"), look("h");
	R(unlink("f"));
	look("g"), look("h");
	R(chmod("h", 0640));
	R(unlink("g"));
	look("h");
}

CASE(unlink_one_name_of_an_open_file, "unlink(2)")
{
	put("f", "text", 0644);
	must(link("f", "g") == 0, "link");
	int fd = must_open("f", O_RDWR);

	R(unlink("f"));
	R(pwrite(fd, "T", 1, 0));
	look_fd(fd);
	show("g");
	R(unlink("g"));
	look_fd(fd);
	show_fd(fd);
}

CASE(link_new, "link(2)")
{
	put("f", "text", 0640);
	struct stamps before = stamps_of("f"), folder = stamps_of(".");

	R(link("f", "g"));
	tell_moved("f", &before);
	tell_moved(".", &folder);
	look("f"), look("g");
	same_inode("f", "g");
	R(chmod("g", 0600));
	look("f");
	fill("g", 'x', 3);
	show("f");
}

CASE(link_fails, "link(2) EEXIST EPERM ENOENT ENOTDIR")
{
	put("f", "", 0644);
	put("g", "", 0644);
	make_folder("d", 0755);
	R(link("f", "g"));
	R(link("f", "d"));
	R(link("d", "e"));
	R(link("none", "e"));
	R(link("f", "none/e"));
	R(link("f", "f"));
	R(link("f/", "e"));
	R(link("f", "e/"));
	R(link("f/x", "e"));
	R(linkat(AT_FDCWD, "f", AT_FDCWD, "e", 0x8000));
	list(".");
}

CASE(link_to_links, "link(2): links are not followed; linkat(2) AT_SYMLINK_FOLLOW")
{
	put("f", "text", 0644);
	must(symlink("f", "l") == 0 && symlink("none", "dangling") == 0, "symlink");
	R(link("l", "a"));
	R(linkat(AT_FDCWD, "l", AT_FDCWD, "b", AT_SYMLINK_FOLLOW));
	R(linkat(AT_FDCWD, "dangling", AT_FDCWD, "c", AT_SYMLINK_FOLLOW));
	R(link("dangling", "d"));
	same_inode("l", "a"), same_inode("f", "b"), same_inode("dangling", "d");
	list(".");
}

CASE(link_of_the_unlinked, "linkat(2): ENOENT for what has lost its last name")
{
	char name[40];

	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR);

	R(unlink("f"));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	tell("linkat = %s",
	     linkat(AT_FDCWD, name, AT_FDCWD, "g", AT_SYMLINK_FOLLOW) < 0 ? strerrorname_np(errno) : "0");
	list(".");
}

CASE(link_by_descriptor, "linkat(2), proc(5)")
{
	char name[40];

	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR);

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	tell("linkat = %s",
	     linkat(AT_FDCWD, name, AT_FDCWD, "g", AT_SYMLINK_FOLLOW) < 0 ? strerrorname_np(errno) : "0");
	same_inode("f", "g");
}

CASE(link_across_folders, "link(2)")
{
	make_folder("a", 0755);
	make_folder("b", 0755);
	put("a/f", "text", 0644);
	R(link("a/f", "b/g"));
	R(rename("a", "c"));
	same_inode("c/f", "b/g");
	R(unlink("c/f"));
	show("b/g");
	look("b/g");
}

CASE(link_many, "link(2), stat(2) st_nlink")
{
	char name[16];
	int made = 0;

	put("f", "text", 0644);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		made += link("f", name) == 0;
	}
	tell("%d made", made);
	look("f");
	same_inode("f", "l199");
}

CASE(symlink_new, "symlink(2)")
{
	char target[100];
	struct stamps before = stamps_of(".");

	R(symlink("some/where", "l"));
	tell_moved(".", &before);
	look("l");
	R(readlink("l", target, sizeof(target)));
	R(readlink("l", target, 4));
	tell("%.4s", target);
}

CASE(symlink_fails, "symlink(2) EEXIST ENOENT ENOTDIR")
{
	put("f", "", 0644);
	make_folder("d", 0755);
	R(symlink("x", "f"));
	R(symlink("x", "d"));
	R(symlink("", "l"));
	R(symlink("x", "none/l"));
	R(symlink("x", "f/l"));
	R(symlink("x", "l/"));
	R(symlink("x", "l"));
	R(symlink("x", "l"));
	list(".");
}

CASE(symlink_lengths, "symlink(2) ENAMETOOLONG: PATH_MAX")
{
	char target[4200], back[4200];

	memset(target, 't', sizeof(target));
	for (size_t len = 4094; len <= 4097; len++) {
		char name[16];

		target[len] = '\0';
		snprintf(name, sizeof(name), "l%zu", len);
		tell("%zu: %s", len, symlink(target, name) == 0 ? "made" : strerrorname_np(errno));
		tell("reads %zd", readlink(name, back, sizeof(back)));
		target[len] = 't';
	}
	look("l4095");
}

CASE(symlink_bytes, "symlink(2): the target is any string")
{
	char back[100] = "";

	R(symlink("/\x01\xff\n //../x", "l"));
	R(readlink("l", back, sizeof(back)));
	tell("%s", strcmp(back, "/\x01\xff\n //../x") == 0 ? "the same" : "another");
}

CASE(symlink_resolves_in_the_mount, "path_resolution(7)")
{
	make_folder("d", 0755);
	put("f", "text", 0644);
	R(symlink("../f", "d/up"));
	show("d/up");
	R(symlink("d/../d/up", "round"));
	show("round");
	R(symlink(".", "here"));
	show("here/here/here/f");
}

CASE(readlink_fails, "readlink(2) EINVAL ENOENT ENOTDIR")
{
	char target[16];

	put("f", "", 0644);
	make_folder("d", 0755);
	R(readlink("f", target, sizeof(target)));
	R(readlink("d", target, sizeof(target)));
	R(readlink("none", target, sizeof(target)));
	R(readlink("f/x", target, sizeof(target)));
	R(readlink("d", target, 0));
}

CASE(names_with_dots, "path_resolution(7)")
{
	make_folder("d", 0755);
	put("d/f", "text", 0644);
	show("d/../d/./f");
	show("d//f");
	F(open("d/f/..", O_RDONLY));
	F(open("none/..", O_RDONLY));
	F(open("d/f/.", O_RDONLY));
	same_inode("d/.", "d");
	same_inode("d/..", ".");
}

CASE(names_differ_by_case, "POSIX 3.170 Filename")
{
	put("File", "1", 0644);
	put("file", "2", 0644);
	put("FILE", "3", 0644);
	show("File"), show("file"), show("FILE");
	list(".");
}

CASE(names_come_and_go, "stat(2) ENOENT: what is absent is remembered no longer than it is true")
{
	struct stat st;
	int right = 0;

	for (int i = 0; i < 50; i++) {
		right += stat("f", &st) == -1;
		put("f", "x", 0644);
		right += stat("f", &st) == 0;
		must(unlink("f") == 0, "unlink");
	}
	tell("%d of 100", right);
}

CASE(at_functions, "openat(2), mkdirat(2), linkat(2), symlinkat(2), renameat(2)")
{
	make_folder("d", 0755);
	put("f", "text", 0644);
	int d = must_open("d", O_RDONLY | O_DIRECTORY), f = must_open("f", O_RDONLY);

	R(mkdirat(d, "e", 0755));
	R(symlinkat("x", d, "l"));
	R(linkat(AT_FDCWD, "f", d, "g", 0));
	R(renameat(d, "g", AT_FDCWD, "h"));
	R(mkdirat(f, "x", 0755));
	F(openat(f, "x", O_RDONLY));
	F(openat(d, "../f", O_RDONLY));
	list("d"), list(".");
}
