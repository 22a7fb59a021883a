/* SPDX-License-Identifier: MIT */
/* Several users: who may what, and whose it is then. Run by root, who becomes them. */
#include "conform.h"

CASE_BUT(owner_of_what_is_made, "open(2), mkdir(2), symlink(2), mknod(2): effective user and group",
	 CASE_ROOT | CASE_DIFFERS_VIRTUAL, "a symbolic link cannot have a record of its owner")
{
	make_folder("open", 0777);
	R(chdir("open"));
	AS(ALICE)
	{
		put("f", "text", 0644);
		R(mkdir("d", 0755));
		R(symlink("x", "l"));
		R(mknod("n", S_IFREG | 0640, 0));
		R(mkfifo("p", 0600));
	}
	look("f"), look("d"), look("l"), look("n"), look("p");
}

CASE_BUT(owner_group_of_a_sgid_folder, "inode(7): S_ISGID, the folder's group", CASE_ROOT | CASE_DIFFERS_VIRTUAL,
	 "a symbolic link cannot have a record of its owner")
{
	make_folder("d", 0777);
	must(chown("d", 0, ALICE.gid) == 0 && chmod("d", 02777) == 0, "chown");
	AS(BOB)
	{
		put("d/f", "text", 0644);
		R(mkdir("d/e", 0755));
		R(symlink("x", "d/l"));
		F(open("d/x", O_RDWR | O_CREAT, 02755));
		F(open("d/y", O_RDWR | O_CREAT, 02644));
		R(mknod("d/n", S_IFREG | 02755, 0));
	}
	AS(CAROL)
	{
		F(open("d/z", O_RDWR | O_CREAT, 02755));
	}
	look("d/f"), look("d/e"), look("d/l"), look("d/x"), look("d/y"), look("d/n"), look("d/z");
}

CASE_OF_ROOT(owner_set_id_at_making, "open(2), mknod(2): set-ID bits of a new file")
{
	F(open("a", O_RDWR | O_CREAT, 06755));
	R(mknod("b", S_IFREG | 06755, 0));
	R(mkdir("c", 06755));
	make_folder("open", 0777);
	AS(ALICE)
	{
		F(open("open/a", O_RDWR | O_CREAT, 06755));
		R(mknod("open/b", S_IFREG | 06755, 0));
	}
	look("a"), look("b"), look("c"), look("open/a"), look("open/b");
}

CASE_OF_ROOT(owner_denies_files, "open(2) EACCES, path_resolution(7)")
{
	put("f", "text", 0640);
	must(chown("f", ALICE.uid, ALICE.gid) == 0, "chown");
	AS(ALICE)
	{
		F(open("f", O_RDWR));
	}
	AS(BOB)
	{
		F(open("f", O_RDONLY));
		F(open("f", O_WRONLY));
		F(open("f", O_PATH));
		R(access("f", R_OK));
	}
	AS(CAROL)
	{
		F(open("f", O_RDONLY));
		F(open("f", O_WRONLY));
		R(access("f", R_OK));
		R(access("f", W_OK));
	}
	R(chmod("f", 0007));
	AS(ALICE)
	{
		F(open("f", O_RDONLY));
	}
	AS(CAROL)
	{
		F(open("f", O_RDONLY));
	}
	AS(BOB)
	{
		F(open("f", O_RDWR));
	}
}

CASE_OF_ROOT(owner_denies_folders, "path_resolution(7)")
{
	make_folder("d", 0750);
	put("d/f", "text", 0666);
	must(chown("d", ALICE.uid, ALICE.gid) == 0, "chown");
	AS(BOB)
	{
		F(open("d/f", O_RDONLY));
		list("d");
		R(chdir("d"));
	}
	AS(CAROL)
	{
		F(open("d/f", O_RDWR));
		list("d");
		F(open("d/g", O_RDWR | O_CREAT, 0644));
		R(unlink("d/f"));
		R(mkdir("d/e", 0755));
		R(symlink("x", "d/l"));
		R(link("d/f", "d/g"));
		R(rename("d/f", "d/g"));
	}
	R(chmod("d", 0711));
	AS(BOB)
	{
		F(open("d/f", O_RDONLY));
		F(open("d/none", O_RDONLY));
		list("d");
	}
}

CASE_OF_ROOT(owner_of_a_sticky_folder, "inode(7): S_ISVTX; unlink(2), rename(2), rmdir(2) EPERM")
{
	make_folder("d", 0777);
	must(chmod("d", 01777) == 0, "chmod");
	AS(ALICE)
	{
		put("d/f", "text", 0666);
		R(mkdir("d/e", 0777));
	}
	AS(BOB)
	{
		put("d/g", "text", 0644);
		R(unlink("d/f"));
		R(rename("d/f", "d/h"));
		R(rename("d/g", "d/f"));
		R(rmdir("d/e"));
		R(rename("d/e", "d/x"));
		F(open("d/f", O_RDWR));
		R(unlink("d/g"));
	}
	AS(ALICE)
	{
		R(rename("d/f", "d/h"));
		R(rmdir("d/e"));
	}
	list("d");
}

CASE_OF_ROOT(owner_protected_files, "proc(5) protected_regular, protected_fifos, protected_hardlinks")
{
	make_folder("d", 0777);
	must(chmod("d", 01777) == 0, "chmod");
	AS(ALICE)
	{
		put("d/f", "text", 0666);
		put("d/secret", "text", 0600);
		must(symlink("f", "d/l") == 0, "symlink");
	}
	AS(BOB)
	{
		F(open("d/f", O_RDWR | O_CREAT, 0644));
		R(link("d/secret", "d/mine"));
		R(link("d/f", "d/mine2"));
		F(open("d/l", O_RDONLY));
	}
	list("d");
}

CASE_OF_ROOT(owner_chmod, "chmod(2) EPERM")
{
	put("f", "text", 0666);
	make_folder("d", 0777);
	AS(BOB)
	{
		R(chmod("f", 0777));
		R(chmod("d", 0700));
	}
	must(chown("f", BOB.uid, ALICE.gid) == 0, "chown");
	AS(BOB)
	{
		R(chmod("f", 06755));
		look("f");
		R(chmod("f", 01644));
		look("f");
	}
	must(chown("f", CAROL.uid, ALICE.gid) == 0, "chown");
	AS(CAROL)
	{
		R(chmod("f", 06755));
		look("f");
	}
}

CASE_OF_ROOT(owner_chown, "chown(2) EPERM")
{
	put("f", "text", 0644);
	must(chown("f", CAROL.uid, CAROL.gid) == 0, "chown");
	AS(CAROL)
	{
		R(chown("f", BOB.uid, (gid_t)-1));
		R(chown("f", (uid_t)-1, BOB.gid));
		R(chown("f", (uid_t)-1, ALICE.gid));
		look("f");
		R(chown("f", CAROL.uid, CAROL.gid));
		look("f");
	}
	AS(BOB)
	{
		R(chown("f", BOB.uid, (gid_t)-1));
		R(chown("f", (uid_t)-1, BOB.gid));
		R(chown("f", CAROL.uid, CAROL.gid));
		R(chown("f", (uid_t)-1, (gid_t)-1));
	}
	R(chown("f", 7, 8));
	look("f");
	R(lchown("f", (uid_t)-1, 9));
	look("f");
}

CASE_OF_ROOT(owner_chown_clears, "chown(2): set-ID bits")
{
	put("f", "text", 06755);
	R(chown("f", ALICE.uid, ALICE.gid));
	look("f");
	R(chmod("f", 02644));
	R(chown("f", BOB.uid, (gid_t)-1));
	look("f");
	must(chown("f", CAROL.uid, CAROL.gid) == 0 && chmod("f", 06711) == 0, "chown");
	AS(CAROL)
	{
		R(chown("f", (uid_t)-1, ALICE.gid));
	}
	look("f");
	make_folder("d", 06755);
	R(chown("d", ALICE.uid, ALICE.gid));
	look("d");
}

CASE_BUT(owner_chown_link, "lchown(2)", CASE_ROOT | CASE_DIFFERS_VIRTUAL,
	 "a symbolic link cannot have a record of its owner")
{
	put("f", "text", 0644);
	must(symlink("f", "l") == 0, "symlink");
	R(lchown("l", ALICE.uid, ALICE.gid));
	look("l"), look("f");
	R(chown("l", BOB.uid, BOB.gid));
	look("l"), look("f");
}

CASE_OF_ROOT(owner_write_clears, "write(2), inode(7): set-ID bits go when another writes")
{
	put("f", "text", 06777);
	AS(BOB)
	{
		int fd = must_open("f", O_RDWR);

		R(pwrite(fd, "x", 1, 0));
		look_fd(fd);
	}
	look("f");
	R(chmod("f", 06777));
	int fd = must_open("f", O_RDWR);

	R(pwrite(fd, "x", 1, 0));
	look("f");
}

CASE_BUT(owner_write_clears_sgid_alone, "write(2), inode(7): set-group-ID of what no group may execute",
	 CASE_ROOT | CASE_DIFFERS,
	 "the kernel's FUSE takes set-group-ID only with group execution; who is in the group it does not say")
{
	put("f", "text", 02767);
	AS(BOB)
	{
		int fd = must_open("f", O_RDWR);

		R(pwrite(fd, "x", 1, 0));
	}
	look("f");
}

CASE_OF_ROOT(owner_append_clears, "write(2), inode(7): set-ID bits go when another appends")
{
	put("f", "text", 06777);
	AS(BOB)
	{
		int fd = must_open("f", O_RDWR | O_APPEND);

		R(write(fd, "x", 1));
	}
	look("f");
}

CASE_OF_ROOT(owner_truncate_clears, "truncate(2), open(2) O_TRUNC: set-ID bits")
{
	put("f", "text", 06777);
	AS(BOB)
	{
		R(truncate("f", 2));
	}
	look("f");
	R(chmod("f", 06777));
	AS(BOB)
	{
		F(open("f", O_WRONLY | O_TRUNC));
	}
	look("f");
	fill("f", 'x', 10);
	R(chmod("f", 06777));
	AS(BOB)
	{
		F(open("f", O_WRONLY | O_TRUNC | O_CREAT, 0644));
	}
	look("f");
	R(chmod("f", 06777));
	R(truncate("f", 0));
	look("f");
}

CASE_OF_ROOT(owner_utimes, "utimensat(2) EPERM EACCES")
{
	const struct timespec times[2] = {{1000, 1}, {2000, 2}}, now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
	const struct timespec one[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};

	put("f", "text", 0666);
	put("g", "text", 0644);
	AS(BOB)
	{
		R(utimensat(AT_FDCWD, "f", times, 0));
		R(utimensat(AT_FDCWD, "f", NULL, 0));
		R(utimensat(AT_FDCWD, "f", now, 0));
		R(utimensat(AT_FDCWD, "f", one, 0));
		R(utimensat(AT_FDCWD, "g", NULL, 0));
		R(utimensat(AT_FDCWD, "g", times, 0));
	}
}

CASE_OF_ROOT(owner_truncate, "truncate(2) EACCES")
{
	put("f", "text", 0644);
	AS(BOB)
	{
		R(truncate("f", 0));
		F(open("f", O_RDONLY | O_TRUNC));
	}
	show("f");
}

CASE_OF_ROOT(owner_noatime, "open(2) O_NOATIME EPERM")
{
	put("f", "text", 0644);
	AS(BOB)
	{
		F(open("f", O_RDONLY | O_NOATIME));
		int fd = must_open("f", O_RDONLY);

		R(fcntl(fd, F_SETFL, O_NOATIME));
	}
}

CASE_OF_ROOT(owner_descriptor_passes, "open(2): the descriptor decides, not who holds it")
{
	put("f", "text", 0600);
	int fd = must_open("f", O_RDWR);

	AS(BOB)
	{
		R(pwrite(fd, "T", 1, 0));
		show_fd(fd);
		R(fchmod(fd, 0666));
		R(fchown(fd, BOB.uid, BOB.gid));
		R(ftruncate(fd, 2));
	}
	show("f");
	look("f");
}

CASE_OF_ROOT(owner_folder_passes, "openat(2), path_resolution(7): each step asks for search")
{
	make_folder("d", 0700);
	put("d/f", "text", 0644);
	int fd = must_open("d", O_RDONLY | O_DIRECTORY);

	AS(BOB)
	{
		F(openat(fd, "f", O_RDONLY));
		R(faccessat(fd, "f", F_OK, 0));
		R(fchdir(fd));
		R(mkdirat(fd, "e", 0755));
	}
}

CASE_OF_ROOT(owner_real_and_effective, "access(2): the real user")
{
	put("f", "text", 0600);
	IN_CHILD
	{
		must(setresuid(ALICE.uid, 0, 0) == 0, "setresuid");
		R(access("f", R_OK));
		R(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
		F(open("f", O_RDONLY));
	}
}

CASE_OF_ROOT(owner_fsgid, "credentials(7), setfsgid(2)")
{
	IN_CHILD
	{
		must(setresgid(0, ALICE.gid, 0) == 0, "setresgid");
		put("f", "text", 0644);
		R(mkdir("d", 0755));
	}
	look("f"), look("d");
}

CASE_OF_ROOT(owner_exec_of_others, "execve(2) EACCES")
{
	put("f", "#!/bin/true\n", 0744);
	AS(BOB)
	{
		R(access("f", X_OK));
		execl("./f", "f", NULL);
		tell("execve = %s", strerrorname_np(errno));
	}
}

CASE_OF_ROOT(owner_moves_folders, "rename(2) EACCES: dot-dot of a folder has to be written")
{
	make_folder("a", 0777);
	make_folder("b", 0777);
	make_folder("a/d", 0755);
	AS(BOB)
	{
		R(rename("a/d", "a/e"));
		R(rename("a/e", "b/e"));
	}
	list("a"), list("b");
}

CASE_OF_ROOT(owner_root_passes, "capabilities(7) CAP_DAC_OVERRIDE")
{
	put("f", "text", 0000);
	make_folder("d", 0000);
	must(chown("f", ALICE.uid, ALICE.gid) == 0 && chown("d", ALICE.uid, ALICE.gid) == 0, "chown");
	F(open("f", O_RDWR));
	put("d/g", "text", 0644);
	look("d/g");
	R(access("f", R_OK | W_OK));
	R(access("f", X_OK));
	list("d");
}

CASE_OF_ROOT(owner_user_ids_at_the_edge, "chown(2)")
{
	put("f", "text", 0644);
	R(chown("f", 0x7fffffff, 0x7fffffff));
	look("f");
	R(chown("f", 0xfffffffe, 0xfffffffe));
	look("f");
	R(chown("f", 65534, 65534));
	look("f");
}
