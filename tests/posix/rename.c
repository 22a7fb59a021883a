/* SPDX-License-Identifier: MIT */
/* rename(2), renameat2(2). */
#include "conform.h"

CASE(rename_file, "rename(2)")
{
	put("f", "text", 0640);
	make_folder("d", 0755);
	struct stamps before = stamps_of("f"), from = stamps_of("."), to = stamps_of("d");

	R(rename("f", "d/g"));
	tell_moved("d/g", &before);
	tell_moved(".", &from);
	tell_moved("d", &to);
	show("d/g"), look("d/g");
	list("."), list("d");
}

CASE(rename_over_file, "rename(2)")
{
	put("f", "new", 0640);
	put("g", "old", 0600);
	R(rename("f", "g"));
	show("g"), look("g");
	list(".");
}

CASE(rename_over_one_of_two_names, "rename(2), stat(2) st_nlink")
{
	put("f", "new", 0640);
	put("g", "old", 0600);
	must(link("g", "h") == 0, "link");
	R(rename("f", "g"));
	look("h"), show("h"), show("g");
}

CASE(rename_over_the_first_of_three_names, "rename(2), stat(2) st_nlink")
{
	put("f", "text", 0644);
	put("new", "new", 0644);
	must(link("f", "g") == 0 && link("f", "h") == 0, "link");
	R(chmod("h", 0600));
	R(rename("new", "f"));
	look("g"), look("h"), look("f");
}

CASE(rename_of_one_of_two_names, "rename(2), POSIX: ctime")
{
	put("f", "text", 0644);
	must(link("f", "g") == 0 && chmod("g", 0600) == 0, "link");
	struct stamps before = stamps_of("g");

	R(rename("f", "h"));
	tell_moved("g", &before);
}

CASE(rename_to_itself, "rename(2): the same file, nothing is done")
{
	put("f", "text", 0644);
	make_folder("d", 0755);
	must(link("f", "g") == 0, "link");
	struct stamps before = stamps_of(".");

	R(rename("f", "f"));
	R(rename("f", "g"));
	R(rename("d", "d"));
	R(rename("d", "d/"));
	tell_moved(".", &before);
	list(".");
}

CASE(rename_folder, "rename(2)")
{
	make_folder("d", 0755);
	make_folder("d/sub", 0755);
	put("d/sub/f", "text", 0644);
	make_folder("to", 0755);
	R(rename("d", "to/e"));
	show("to/e/sub/f");
	same_inode("to/e/..", "to");
	look("."), look("to");
}

CASE(rename_folder_over_empty, "rename(2)")
{
	make_folder("d", 0755);
	put("d/f", "text", 0644);
	make_folder("e", 0700);
	R(rename("d", "e"));
	show("e/f"), look("e");
	list(".");
	look(".");
}

CASE(rename_fails, "rename(2) EISDIR ENOTDIR ENOTEMPTY ENOENT EINVAL")
{
	put("f", "", 0644);
	make_folder("d", 0755);
	make_folder("full", 0755);
	put("full/x", "", 0644);
	R(rename("f", "d"));
	R(rename("d", "f"));
	R(rename("d", "full"));
	R(rename("none", "g"));
	R(rename("f", "none/g"));
	R(rename("f", "f/g"));
	R(rename("d", "d/e"));
	R(rename("full", "full/x/y"));
	R(rename("d", "d/none/e"));
	R(rename("full/x", "full"));
	R(rename("f/", "g"));
	R(rename("f", "g/"));
	R(rename("d", "new/"));
	R(rename("new/", "d"));
	R(rename(".", "x"));
	R(rename("d/.", "x"));
	R(rename("d", "."));
	R(rename("d/..", "x"));
	list("."), list("full");
}

CASE(rename_links, "rename(2): links are renamed, not followed")
{
	put("f", "text", 0644);
	make_folder("d", 0755);
	must(symlink("f", "l") == 0 && symlink("d", "m") == 0 && symlink("none", "dangling") == 0, "symlink");
	R(rename("l", "l2"));
	R(rename("f", "m"));
	R(rename("dangling", "x"));
	list(".");
	R(rename("d", "l2"));
	R(rename("m", "x/"));
}

CASE(rename_noreplace, "renameat2(2) RENAME_NOREPLACE")
{
	put("f", "f", 0644);
	put("g", "g", 0644);
	make_folder("d", 0755);
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "h", RENAME_NOREPLACE));
	list(".");
}

CASE(rename_exchange, "renameat2(2) RENAME_EXCHANGE")
{
	put("f", "file", 0644);
	make_folder("d", 0755);
	put("d/x", "inner", 0644);
	must(symlink("t", "l") == 0, "symlink");
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_EXCHANGE));
	show("f/x"), show("d");
	R(renameat2(AT_FDCWD, "l", AT_FDCWD, "f", RENAME_EXCHANGE));
	list(".");
	R(renameat2(AT_FDCWD, "d", AT_FDCWD, "none", RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "none", AT_FDCWD, "d", RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "d", AT_FDCWD, "d", RENAME_EXCHANGE));
}

CASE(rename_exchange_across_folders, "renameat2(2) RENAME_EXCHANGE, stat(2) st_nlink")
{
	make_folder("a", 0755);
	make_folder("b", 0755);
	make_folder("a/d", 0755);
	put("b/f", "file", 0644);
	int fd = must_open("b/f", O_RDWR);

	R(renameat2(AT_FDCWD, "a/d", AT_FDCWD, "b/f", RENAME_EXCHANGE));
	look("a"), look("b");
	show("a/d");
	R(pwrite(fd, "F", 1, 0));
	R(fsync(fd));
	show("a/d");
	R(renameat2(AT_FDCWD, "a", AT_FDCWD, "b/f", RENAME_EXCHANGE));
}

CASE(rename_bad_flags, "renameat2(2) EINVAL")
{
	put("f", "", 0644);
	put("g", "", 0644);
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE | RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_EXCHANGE | RENAME_WHITEOUT));
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", 1 << 10));
	list(".");
}

CASE_OF_ROOT(rename_whiteout, "renameat2(2) RENAME_WHITEOUT")
{
	put("f", "text", 0644);
	R(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_WHITEOUT));
	look("f");
	show("g");
	list(".");
}

CASE(rename_tree_in_use, "rename(2): a whole tree with open files and a working folder below")
{
	make_folder("a", 0755);
	make_folder("a/b", 0755);
	make_folder("a/b/c", 0755);
	put("a/b/c/f", "text", 0644);
	int fd = must_open("a/b/c/f", O_RDWR), dir = must_open("a/b", O_RDONLY | O_DIRECTORY);

	R(chdir("a/b/c"));
	R(rename("../../../a", "../../../z"));
	show("f");
	R(pwrite(fd, "T", 1, 0));
	put("g", "new", 0644);
	F(openat(dir, "c/g", O_RDONLY));
	list(".");
	R(chdir("../../.."));
	list("z/b/c");
	show("z/b/c/f");
	F(open("a/b/c/f", O_RDONLY));
}

CASE(rename_replaced_while_listed, "rename(2), readdir(3)")
{
	make_folder("d", 0755);
	put("d/a", "1", 0644);
	put("d/b", "2", 0644);
	list("d");
	R(rename("d/a", "d/b"));
	list("d");
	R(rename("d/b", "d/c"));
	list("d");
}

CASE(rename_many_times, "rename(2)")
{
	char from[16], to[16];
	int done = 0;

	put("f0", "text", 0644);
	int fd = must_open("f0", O_RDWR);

	for (int i = 0; i < 200; i++) {
		snprintf(from, sizeof(from), "f%d", i);
		snprintf(to, sizeof(to), "f%d", i + 1);
		done += rename(from, to) == 0;
		must(pwrite(fd, "x", 1, i) == 1, "write");
	}
	tell("%d", done);
	look("f200");
	show_fd(fd);
}

CASE(rename_folder_keeps_open_listing, "rename(2), readdir(3)")
{
	make_folder("d", 0755);
	put("d/a", "", 0644);
	int fd = must_open("d", O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);
	int count = 0;

	must(d, "fdopendir");
	R(rename("d", "e"));
	while (readdir(d))
		count++;
	tell("%d entries", count);
	R(closedir(d));
}

CASE(rename_changes_a_folders_parent, "rename(2): dot-dot of a moved folder")
{
	make_folder("a", 0755);
	make_folder("b", 0755);
	make_folder("a/d", 0755);
	same_inode("a/d/..", "a");
	R(rename("a/d", "b/d"));
	same_inode("b/d/..", "b");
	look("a"), look("b");
}

CASE(rename_old_name_is_free, "rename(2)")
{
	put("f", "1", 0644);
	R(rename("f", "g"));
	put("f", "2", 0644);
	R(rename("f", "h"));
	put("f", "3", 0644);
	show("f"), show("g"), show("h");
}

CASE(rename_swaps_through_a_third, "rename(2)")
{
	put("a", "a", 0644);
	put("b", "b", 0644);
	R(rename("a", "t"));
	R(rename("b", "a"));
	R(rename("t", "b"));
	show("a"), show("b");
	list(".");
}
