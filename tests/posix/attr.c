/* SPDX-License-Identifier: MIT */
/* Attributes of one's own files: chmod, utimensat, truncate, access, stat, statx, statvfs. */
#include "conform.h"

#include <sys/statvfs.h>

CASE(chmod_file, "chmod(2)")
{
	put("f", "text", 0644);
	make_folder("d", 0755);
	struct stamps before = stamps_of("f");

	R(chmod("f", 0751));
	tell_moved("f", &before);
	look("f");
	R(chmod("f", 07777));
	look("f");
	R(chmod("f", 0));
	look("f");
	R(chmod("d", 01777));
	look("d");
	R(chmod("d", 06711));
	look("d");
}

CASE(chmod_fails, "chmod(2) ENOENT ENOTDIR")
{
	put("f", "", 0644);
	R(chmod("none", 0644));
	R(chmod("f/x", 0644));
	R(chmod("f/", 0644));
	R(fchmodat(AT_FDCWD, "f", 0600, 0x8000));
}

CASE(chmod_same, "POSIX chmod(): ctime is marked whatever the mode was")
{
	put("f", "", 0644);
	struct stamps before = stamps_of("f");

	R(chmod("f", 0644));
	tell_moved("f", &before);
}

CASE(chmod_link, "fchmodat(2) AT_SYMLINK_NOFOLLOW EOPNOTSUPP")
{
	put("f", "", 0644);
	must(symlink("f", "l") == 0, "symlink");
	R(fchmodat(AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
	R(chmod("l", 0600));
	look("l"), look("f");
	R(fchmodat(AT_FDCWD, "f", 0640, AT_SYMLINK_NOFOLLOW));
	look("f");
}

CASE(chmod_open, "fchmod(2)")
{
	int fd = F(open("f", O_RDWR | O_CREAT, 0600));

	R(fchmod(fd, 04711));
	look_fd(fd);
	R(unlink("f"));
	R(fchmod(fd, 0644));
	look_fd(fd);
}

CASE(chmod_takes_effect, "access(2)")
{
	put("f", "", 0200);
	int readable = access("f", R_OK) == 0;

	R(chmod("f", 0600));
	tell("readable %d before", readable || am_root());
	R(access("f", R_OK));
	R(chmod("f", 0755));
	R(access("f", X_OK));
}

CASE(access_modes, "access(2)")
{
	put("f", "", 0644);
	put("x", "", 0755);
	make_folder("d", 0755);
	R(access("f", F_OK));
	R(access("f", R_OK | W_OK));
	R(access("f", X_OK));
	R(access("x", X_OK));
	R(access("d", R_OK | W_OK | X_OK));
	R(access("none", F_OK));
	R(access("f/x", F_OK));
	R(access("f", 8));
	R(faccessat(AT_FDCWD, "x", X_OK, AT_EACCESS));
}

CASE(access_of_ones_own_closed, "access(2), path_resolution(7): the owner's bits decide for the owner")
{
	if (am_root())
		return;
	put("f", "text", 0077);
	make_folder("d", 0755);
	put("d/f", "", 0644);
	R(chmod("d", 0000));
	R(access("f", R_OK));
	R(access("f", W_OK));
	F(open("f", O_RDONLY));
	F(open("d/f", O_RDONLY));
	F(open("d", O_RDONLY));
	R(mkdir("d/e", 0755));
	R(unlink("d/f"));
	R(rename("d/f", "g"));
	R(link("d/f", "g"));
	list("d");
	R(chmod("d", 0300));
	F(open("d/f", O_RDONLY));
	list("d");
	R(chmod("d", 0400));
	F(open("d/f", O_RDONLY));
	R(chmod("d", 0500));
	F(open("d/f", O_RDWR));
	F(open("d/g", O_RDWR | O_CREAT, 0644));
	R(unlink("d/f"));
	R(chmod("d", 0700));
	R(chmod("f", 0444));
	F(open("f", O_WRONLY));
	F(open("f", O_RDONLY | O_TRUNC));
	R(truncate("f", 0));
	show("f");
}

CASE(utimes_exact, "utimensat(2): nanoseconds")
{
	const struct timespec times[2] = {{123456789, 123456789}, {987654321, 999999999}};
	struct stat st;

	put("f", "", 0644);
	struct stamps before = stamps_of("f");

	R(utimensat(AT_FDCWD, "f", times, 0));
	must(stat("f", &st) == 0, "stat");
	tell("%ld.%09ld %ld.%09ld", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	tell_moved("f", &before);
}

static void set_times(const char *path, time_t seconds, long ns)
{
	const struct timespec times[2] = {{seconds, ns}, {seconds, ns}};
	struct stat st;
	int r = utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);

	must(lstat(path, &st) == 0, path);
	tell("%lld.%09ld: %d, %lld.%09ld %lld.%09ld", (long long)seconds, ns, r, (long long)st.st_atim.tv_sec,
	     st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

CASE(utimes_far_away, "utimensat(2): before 1970, after 2038 and 2106, beyond what the file system keeps")
{
	put("f", "", 0644);
	set_times("f", -1, 500000000);
	set_times("f", -2147483648, 0);
	set_times("f", -2147483649, 1);
	set_times("f", 2147483648, 1);
	set_times("f", 4294967296, 999999999);
	set_times("f", 15032385535, 0);
	set_times("f", 15032385536, 5);
	set_times("f", 1ll << 40, 5);
	set_times("f", 0, 0);
}

CASE(utimes_of_folder_and_link, "utimensat(2) AT_SYMLINK_NOFOLLOW")
{
	struct stat st;

	make_folder("d", 0755);
	put("f", "", 0644);
	must(symlink("f", "l") == 0, "symlink");
	set_times("d", 1000, 1);
	set_times("l", 2000, 2);
	must(stat("f", &st) == 0, "stat");
	tell("the file's own: %s", st.st_mtim.tv_sec == 2000 ? "changed" : "as before");
}

CASE(utimes_now_and_omit, "utimensat(2) UTIME_NOW UTIME_OMIT")
{
	const struct timespec old[2] = {{1000, 1}, {2000, 2}};
	const struct timespec omit_now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	const struct timespec now_omit[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
	const struct timespec omit[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	const struct timespec set_omit[2] = {{5000, 5}, {0, UTIME_OMIT}};
	struct stat st;

	put("f", "", 0644);
	must(utimensat(AT_FDCWD, "f", old, 0) == 0, "utimensat");
	struct stamps before = stamps_of("f");

	R(utimensat(AT_FDCWD, "f", omit, 0));
	tell_moved("f", &before);
	R(utimensat(AT_FDCWD, "f", set_omit, 0));
	must(stat("f", &st) == 0, "stat");
	tell("%ld.%09ld", st.st_atim.tv_sec, st.st_atim.tv_nsec);
	tell_moved("f", &before);
	R(utimensat(AT_FDCWD, "f", omit_now, 0));
	must(stat("f", &st) == 0, "stat");
	tell("atime %ld, mtime %s", st.st_atim.tv_sec, st.st_mtim.tv_sec > 1000000 ? "now" : "old");
	must(utimensat(AT_FDCWD, "f", old, 0) == 0, "utimensat");
	R(utimensat(AT_FDCWD, "f", now_omit, 0));
	must(stat("f", &st) == 0, "stat");
	tell("atime %s, mtime %ld", st.st_atim.tv_sec > 1000000 ? "now" : "old", st.st_mtim.tv_sec);
	R(utimensat(AT_FDCWD, "f", NULL, 0));
	must(stat("f", &st) == 0, "stat");
	tell("both %s, the same %d", st.st_mtim.tv_sec > 1000000 ? "now" : "old",
	     st.st_atim.tv_nsec == st.st_mtim.tv_nsec);
}

CASE(utimes_fails, "utimensat(2) EINVAL ENOENT")
{
	const struct timespec bad[2] = {{0, 1000000000}, {0, 0}}, fine[2] = {{1, 0}, {1, 0}};

	put("f", "", 0644);
	R(utimensat(AT_FDCWD, "f", bad, 0));
	R(utimensat(AT_FDCWD, "none", fine, 0));
	R(utimensat(AT_FDCWD, "f/x", fine, 0));
}

CASE(utimes_of_an_open_file, "futimens(3)")
{
	const struct timespec times[2] = {{1000, 1}, {2000, 2}};
	struct stat st;

	put("f", "text", 0644);
	int fd = must_open("f", O_RDONLY), w = must_open("f", O_WRONLY);

	R(write(w, "TEXT", 4));
	R(futimens(fd, times));
	R(close(w));
	must(fstat(fd, &st) == 0, "fstat");
	tell("%ld.%09ld", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	R(unlink("f"));
	R(futimens(fd, times));
}

CASE(times_of_making, "POSIX open(): all times of a new file, and its folder's mtime and ctime")
{
	struct stat st;
	struct stamps folder = stamps_of(".");

	put("f", "", 0644);
	must(stat("f", &st) == 0, "stat");
	tell_moved(".", &folder);
	must(mkdir("d", 0755) == 0 && stat("d", &st) == 0, "mkdir");
	tell("equal: %d", st.st_atim.tv_nsec == st.st_mtim.tv_nsec && st.st_mtim.tv_nsec == st.st_ctim.tv_nsec);
}

CASE(times_of_writing, "POSIX write(): mtime and ctime")
{
	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR);
	struct stamps before = stamps_of("f");

	R(pwrite(fd, "x", 1, 0));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(pwrite(fd, "x", 0, 0));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(ftruncate(fd, 4));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(truncate("f", 4));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(ftruncate(fd, 2));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(close(fd));
	tell_moved("f", &before);
}

CASE(times_of_names, "POSIX rename(), link(), unlink(): the folders' mtime")
{
	make_folder("d", 0755);
	put("f", "", 0644);
	struct stamps d = stamps_of("d");

	R(link("f", "d/g"));
	tell_moved("d", &d);
	d = stamps_of("d");
	R(rename("d/g", "d/h"));
	tell_moved("d", &d);
	d = stamps_of("d");
	R(unlink("d/h"));
	tell_moved("d", &d);
	d = stamps_of("d");
	R(chmod("d", 0700));
	tell_moved("d", &d);
	put("d/x", "", 0644);
	d = stamps_of("d");
	fill("d/x", 'x', 100);
	tell_moved("d", &d);
}

CASE(times_of_a_renamed_folder, "rename(2)")
{
	make_folder("d", 0755);
	make_folder("e", 0755);
	struct stamps before = stamps_of("d");

	R(rename("d", "f"));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(rename("f", "e/f"));
	tell_moved("e/f", &before);
}

CASE(times_of_reading, "POSIX read(): atime; mount(8) relatime")
{
	const struct timespec times[2] = {{1000, 1}, {2000, 2}};
	struct stat st;

	put("f", "text", 0644);
	must(utimensat(AT_FDCWD, "f", times, 0) == 0, "utimensat");
	show("f");
	must(stat("f", &st) == 0, "stat");
	tell("atime %s", st.st_atim.tv_sec > 1000 ? "later" : "stays");
}

CASE(times_of_reading_without, "open(2) O_NOATIME")
{
	const struct timespec times[2] = {{1000, 1}, {2000, 2}};
	char data[8];
	struct stat st;

	put("f", "text", 0644);
	must(utimensat(AT_FDCWD, "f", times, 0) == 0, "utimensat");
	int fd = F(open("f", O_RDONLY | O_NOATIME));

	R(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	R(read(fd, data, sizeof(data)));
	must(stat("f", &st) == 0, "stat");
	tell("atime %ld", (long)st.st_atim.tv_sec);
	fd = must_open("f", O_RDONLY);
	R(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	R(read(fd, data, sizeof(data)));
	must(stat("f", &st) == 0, "stat");
	tell("atime %s", st.st_atim.tv_sec > 1000 ? "later" : "stays");
}

CASE(truncate_sizes, "truncate(2)")
{
	put("f", "0123456789", 0644);
	R(truncate("f", 4));
	show("f");
	R(truncate("f", 8));
	show("f");
	R(truncate("f", 0));
	look("f");
	R(truncate("f", 3));
	show("f");
}

CASE(truncate_fails, "truncate(2) EINVAL EISDIR ENOENT ENOTDIR EFBIG")
{
	put("f", "text", 0644);
	make_folder("d", 0755);
	R(truncate("f", -1));
	R(truncate("d", 0));
	R(truncate("none", 0));
	R(truncate("f/x", 0));
	R(truncate("f", INT64_MAX));
	R(truncate("f", 1ll << 60));
	look("f");
}

CASE(truncate_open, "ftruncate(2)")
{
	put("f", "0123456789", 0644);
	int fd = must_open("f", O_RDWR), dir = must_open(".", O_RDONLY | O_DIRECTORY);

	R(ftruncate(fd, 5));
	R(pwrite(fd, "xyz", 3, 8));
	show_fd(fd);
	R(ftruncate(fd, 9));
	R(ftruncate(fd, 20));
	show_fd(fd);
	R(ftruncate(fd, -1));
	R(ftruncate(dir, 0));
	R(ftruncate(fd, INT64_MAX));
	look_fd(fd);
}

CASE(truncate_huge_hole, "truncate(2), inode(7) st_blocks")
{
	struct stat st;

	put("f", "", 0644);
	R(truncate("f", 1ll << 40));
	must(stat("f", &st) == 0, "stat");
	tell("%lld bytes in %lld blocks", (long long)st.st_size, (long long)st.st_blocks);
	int fd = must_open("f", O_RDWR);

	R(pwrite(fd, "end", 3, (1ll << 40) - 3));
	R(fsync(fd));
	must(stat("f", &st) == 0, "stat");
	tell("%lld bytes, fewer than 100 blocks: %d", (long long)st.st_size, st.st_blocks < 100);
}

CASE(truncate_while_mode_forbids, "ftruncate(2) looks at the descriptor, truncate(2) at the file")
{
	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR);

	R(chmod("f", 0444));
	R(ftruncate(fd, 2));
	look("f");
}

CASE(stat_fails, "stat(2) ENOENT ENOTDIR ELOOP ENAMETOOLONG")
{
	struct stat st;

	put("f", "", 0644);
	must(symlink("loop", "loop") == 0 && symlink("none", "dangling") == 0, "symlink");
	R(stat("none", &st));
	R(stat("f/x", &st));
	R(stat("f/", &st));
	R(stat("loop", &st));
	R(lstat("loop", &st));
	R(stat("dangling", &st));
	R(stat("", &st));
	R(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
}

CASE(stat_blocks, "inode(7) st_blocks, st_blksize")
{
	struct stat st;

	fill("f", 'x', 100000);
	int fd = must_open("f", O_RDWR);

	R(fsync(fd));
	must(fstat(fd, &st) == 0, "fstat");
	tell("blocks %lld of %ld", (long long)st.st_blocks, (long)st.st_blksize);
	must(symlink("short", "l") == 0 && lstat("l", &st) == 0, "symlink");
	tell("a link's blocks %lld", (long long)st.st_blocks);
}

CASE(stat_one_device, "stat(2) st_dev")
{
	struct stat a, b, c;

	put("f", "", 0644);
	make_folder("d", 0755);
	must(stat("f", &a) == 0 && stat("d", &b) == 0 && stat(".", &c) == 0, "stat");
	tell("one device: %d", a.st_dev == b.st_dev && b.st_dev == c.st_dev);
	tell("inodes differ: %d", a.st_ino != b.st_ino && b.st_ino != c.st_ino);
}

CASE(stat_again_and_again, "stat(2): an inode number is for life")
{
	struct stat a, b;

	put("f", "", 0644);
	must(stat("f", &a) == 0, "stat");
	R(rename("f", "g"));
	must(stat("g", &b) == 0, "stat");
	tell("same after a rename: %d", a.st_ino == b.st_ino);
	fill("g", 'x', 10);
	R(chmod("g", 0600));
	must(stat("g", &b) == 0, "stat");
	tell("same after writing: %d", a.st_ino == b.st_ino);
}

static void tell_mask(const char *path, int flags, unsigned mask)
{
	struct statx stx = {0};
	int r = statx(AT_FDCWD, path, flags, mask, &stx);

	tell("statx %s = %s, asked %#x, of it %#x", path, r < 0 ? strerrorname_np(errno) : "0", mask,
	     stx.stx_mask & mask);
}

CASE(statx_masks, "statx(2) stx_mask")
{
	put("f", "text", 0644);
	must(symlink("f", "l") == 0, "symlink");
	tell_mask("f", 0, STATX_BASIC_STATS);
	tell_mask("f", 0, STATX_BASIC_STATS | STATX_BTIME);
	tell_mask("f", 0, STATX_BTIME);
	tell_mask("l", AT_SYMLINK_NOFOLLOW, STATX_BTIME);
	tell_mask(".", 0, STATX_BTIME | STATX_SIZE);
	tell_mask("f", AT_STATX_FORCE_SYNC, STATX_ALL);
	tell_mask("f", AT_STATX_DONT_SYNC, STATX_ALL);
	tell_mask("none", 0, STATX_ALL);
	tell_mask("f", 0x8000, STATX_ALL);
	tell_mask("f", 0, 0x80000000);
}

CASE(statx_birth, "statx(2) stx_btime: never moves")
{
	struct statx first = {0}, then = {0};
	struct stat st;

	put("f", "text", 0644);
	must(stat("f", &st) == 0 && statx(AT_FDCWD, "f", 0, STATX_ALL, &first) == 0, "statx");
	tell("about now: %d",
	     first.stx_btime.tv_sec >= st.st_mtim.tv_sec - 5 && first.stx_btime.tv_sec <= st.st_mtim.tv_sec);
	tell("not after the ctime: %d",
	     first.stx_btime.tv_sec < first.stx_ctime.tv_sec || (first.stx_btime.tv_sec == first.stx_ctime.tv_sec &&
								 first.stx_btime.tv_nsec <= first.stx_ctime.tv_nsec));
	nap();
	set_times("f", 1000, 0);
	must(rename("f", "g") == 0 && chmod("g", 0600) == 0, "rename");
	must(statx(AT_FDCWD, "g", 0, STATX_ALL, &then) == 0, "statx");
	tell("the same: %d", memcmp(&first.stx_btime, &then.stx_btime, sizeof(first.stx_btime)) == 0);
	tell("mtime moved: %d", then.stx_mtime.tv_sec == 1000);
}

CASE(statx_birth_of_each, "statx(2) stx_btime")
{
	struct statx a = {0}, b = {0}, c = {0};

	put("a", "", 0644);
	nap();
	make_folder("b", 0755);
	must(statx(AT_FDCWD, "a", 0, STATX_BTIME, &a) == 0 && statx(AT_FDCWD, "b", 0, STATX_BTIME, &b) == 0, "statx");
	tell("the folder is younger: %d",
	     a.stx_btime.tv_sec < b.stx_btime.tv_sec || a.stx_btime.tv_nsec < b.stx_btime.tv_nsec);
	int fd = must_open("a", O_RDWR);

	must(unlink("a") == 0, "unlink");
	R(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &c));
	tell("known of the unlinked: %d", memcmp(&a.stx_btime, &c.stx_btime, sizeof(a.stx_btime)) == 0);
	tell("%llu bytes, %u links", (unsigned long long)c.stx_size, c.stx_nlink);
}

CASE(statx_after_writing, "statx(2): size and times are those of what was just written")
{
	struct statx stx = {0};
	int fd = F(open("f", O_RDWR | O_CREAT, 0644));

	R(write(fd, "0123456789", 10));
	must(statx(AT_FDCWD, "f", 0, STATX_ALL, &stx) == 0, "statx");
	tell("%llu bytes, mode %o, links %u", (unsigned long long)stx.stx_size, stx.stx_mode, stx.stx_nlink);
	R(pwrite(fd, "x", 1, 99));
	must(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_BTIME, &stx) == 0, "statx");
	tell("%llu bytes", (unsigned long long)stx.stx_size);
}

CASE(statvfs_says, "statvfs(3)")
{
	struct statvfs a, b;

	put("f", "", 0644);
	int fd = must_open("f", O_RDONLY);

	must(statvfs(".", &a) == 0 && fstatvfs(fd, &b) == 0, "statvfs");
	tell("names to %lu, blocks of %lu, fragments of %lu", a.f_namemax, a.f_bsize, a.f_frsize);
	tell("the same of a file: %d", a.f_blocks == b.f_blocks && a.f_files == b.f_files);
	R(statvfs("none", &a));
}

CASE(pathconf_says, "pathconf(3)")
{
	R(pathconf(".", _PC_NAME_MAX));
	R(pathconf(".", _PC_PATH_MAX));
	R(pathconf(".", _PC_PIPE_BUF));
	R(pathconf(".", _PC_NO_TRUNC));
}

CASE(chown_to_oneself, "chown(2)")
{
	put("f", "text", 0644);
	struct stamps before = stamps_of("f");

	R(chown("f", geteuid(), getegid()));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(chown("f", (uid_t)-1, getegid()));
	tell_moved("f", &before);
	before = stamps_of("f");
	R(chown("f", (uid_t)-1, (gid_t)-1));
	tell_moved("f", &before);
	R(chown("none", geteuid(), getegid()));
	R(chown("f/x", geteuid(), getegid()));
	R(lchown("f", geteuid(), (gid_t)-1));
	R(fchownat(AT_FDCWD, "f", geteuid(), getegid(), 0x8000));
}

CASE(chown_to_oneself_clears, "chown(2): set-ID bits of what is executable")
{
	put("f", "text", 06755);
	R(chown("f", geteuid(), getegid()));
	look("f");
	R(chmod("f", 02644));
	R(chown("f", geteuid(), getegid()));
	look("f");
	R(chmod("f", 06711));
	int fd = must_open("f", O_RDONLY);

	R(fchown(fd, geteuid(), getegid()));
	look_fd(fd);
	make_folder("d", 06755);
	R(chown("d", geteuid(), getegid()));
	look("d");
}

CASE(chown_to_others_as_a_user, "chown(2) EPERM")
{
	if (am_root())
		return;
	put("f", "text", 0644);
	R(chown("f", 0, (gid_t)-1));
	R(chown("f", (uid_t)-1, 0));
	R(chown("f", 12345, 12345));
	look("f");
}

CASE_BUT(chown_to_another_group_of_ones_own, "chown(2): the owner may give it to any of its groups", CASE_DIFFERS_USER,
	 "an ordinary user's host knows one group of the guest's user: its own")
{
	gid_t groups[8];
	int count = getgroups(8, groups);

	if (am_root())
		return;
	put("f", "text", 06755);
	must(count > 0, "a second group");
	R(chown("f", (uid_t)-1, groups[0]));
	look("f");
}

CASE(set_id_cleared_by_writing_as_a_user, "write(2), truncate(2), inode(7)")
{
	if (am_root())
		return;
	put("f", "text", 06777);
	int fd = must_open("f", O_RDWR);

	R(pwrite(fd, "x", 1, 0));
	look("f");
	R(chmod("f", 06777));
	R(ftruncate(fd, 2));
	look("f");
	R(chmod("f", 06777));
	R(truncate("f", 1));
	look("f");
	R(chmod("f", 06777));
	F(open("f", O_WRONLY | O_TRUNC));
	look("f");
	R(chmod("f", 02766));
	R(pwrite(fd, "x", 1, 0));
	look("f");
}
