/* SPDX-License-Identifier: MIT */
/* opendir, readdir, seekdir, telldir, rewinddir, getdents64. */
#include "conform.h"

#include <sys/syscall.h>

static void make_many(const char *folder, int count)
{
	char name[64];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/name-%05d", folder, i);
		put(name, "", 0644);
	}
}

/* How many of name-00000… were listed, each once. */
static void tell_listed(DIR *d, int count)
{
	char *seen = calloc((size_t)count, 1);
	int once = 0, more = 0, other = 0;
	const struct dirent *e;

	must(seen, "memory");
	while ((e = readdir(d))) {
		int i;

		if (sscanf(e->d_name, "name-%d", &i) != 1 || i < 0 || i >= count)
			other++;
		else if (seen[i]++)
			more++;
		else
			once++;
	}
	free(seen);
	tell("%d once, %d again, %d others", once, more, other);
}

CASE(list_empty, "readdir(3)")
{
	make_folder("d", 0755);
	list("d");
}

CASE(list_kinds, "readdir(3) d_type")
{
	put("f", "", 0644);
	make_folder("d", 0755);
	must(symlink("x", "l") == 0 && mkfifo("p", 0600) == 0, "mkfifo");
	list(".");
}

CASE(list_fails, "opendir(3) ENOENT ENOTDIR")
{
	put("f", "", 0644);
	list("none");
	list("f");
	list("f/x");
	tell("fdopendir = %s", fdopendir(must_open("f", O_RDONLY)) ? "a folder" : strerrorname_np(errno));
}

CASE(list_what_may_not_be_searched, "POSIX opendir(): read permission alone; path_resolution(7)")
{
	make_folder("empty", 0400);
	list("empty");
	make_folder("d", 0755);
	put("d/a", "text", 0644);
	make_folder("d/b", 0755);
	R(chmod("d", 0600));
	list("d");
	look("d/a");
	R(close(must_open("d", O_RDONLY | O_DIRECTORY)));
	R(rmdir("empty"));
	R(chmod("d", 0100));
	list("d");
	look("d/a");
}

CASE(list_inodes, "readdir(3) d_ino")
{
	DIR *d;
	const struct dirent *e;
	struct stat st;
	int same = 0, other = 0;

	make_many(".", 20);
	make_folder("d", 0755);
	must((d = opendir(".")), "opendir");
	while ((e = readdir(d)))
		if (strcmp(e->d_name, "..") != 0 && lstat(e->d_name, &st) == 0)
			*(e->d_ino == st.st_ino ? &same : &other) += 1;
	tell("%d the same, %d others", same, other);
}

CASE(list_thousands, "readdir(3): each once")
{
	make_folder("d", 0755);
	make_many("d", 3000);
	DIR *d = opendir("d");

	must(d, "opendir");
	tell_listed(d, 3000);
	rewinddir(d);
	tell_listed(d, 3000);
}

CASE(list_rewound, "rewinddir(3): the present state")
{
	make_folder("d", 0755);
	make_many("d", 10);
	DIR *d = opendir("d");

	must(d, "opendir");
	tell_listed(d, 100);
	put("d/name-00050", "", 0644);
	must(unlink("d/name-00001") == 0, "unlink");
	rewinddir(d);
	tell_listed(d, 100);
}

CASE(list_seeks, "telldir(3), seekdir(3)")
{
	long places[301];
	char names[301][300];
	const struct dirent *e;
	int count = 0, right = 0;

	make_folder("d", 0755);
	make_many("d", 250);
	DIR *d = opendir("d");

	must(d, "opendir");
	for (; count < 300; count++) {
		places[count] = telldir(d);
		e = readdir(d);
		if (!e)
			break;
		strcpy(names[count], e->d_name);
	}
	for (int i = count - 1; i >= 0; i -= 7) {
		seekdir(d, places[i]);
		e = readdir(d);
		right += e && strcmp(e->d_name, names[i]) == 0;
	}
	tell("%d entries, %d of them found again", count, right);
	seekdir(d, places[count]);
	tell("at the end: %s", readdir(d) ? "an entry" : "nothing");
	seekdir(d, places[0]);
	tell_listed(d, 250);
}

CASE(list_seeks_from_another_descriptor, "telldir(3), lseek(2): a place in a folder is of the folder")
{
	char names[2][300] = {"", ""};
	long place;
	const struct dirent *e;

	make_folder("d", 0755);
	make_many("d", 100);
	DIR *a = opendir("d"), *b = opendir("d");

	must(a && b, "opendir");
	for (int i = 0; i < 50; i++)
		must(readdir(a), "readdir");
	place = telldir(a);
	e = readdir(a);
	must(e, "readdir");
	strcpy(names[0], e->d_name);
	seekdir(b, place);
	e = readdir(b);
	if (e)
		strcpy(names[1], e->d_name);
	tell("the same: %d", strcmp(names[0], names[1]) == 0);
}

CASE(list_while_removing, "POSIX readdir(): what is removed may or may not be listed; nothing else is lost")
{
	const struct dirent *e;
	char path[300];
	int removed = 0;

	make_folder("d", 0755);
	make_many("d", 1000);
	DIR *d = opendir("d");

	must(d, "opendir");
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "d/%s", e->d_name);
		removed += unlink(path) == 0;
	}
	tell("%d removed", removed);
	list("d");
	R(rmdir("d"));
}

CASE(list_while_adding, "POSIX readdir(): each of those that stay is listed once")
{
	const struct dirent *e;
	char path[300];
	int before = 0, step = 0;
	static char seen[1000];

	make_folder("d", 0755);
	make_many("d", 500);
	DIR *d = opendir("d");

	must(d, "opendir");
	while ((e = readdir(d)) && step < 100000) {
		int i;

		if (sscanf(e->d_name, "name-%d", &i) == 1 && i < 500) {
			before += !seen[i];
			must(!seen[i]++, "listed twice");
		}
		if (step++ % 5 == 0 && step < 2000) {
			snprintf(path, sizeof(path), "d/new-%d", step);
			put(path, "", 0644);
		}
	}
	tell("%d of 500", before);
}

CASE(list_removed_folder, "getdents(2) ENOENT")
{
	char data[1024];

	make_folder("d", 0755);
	int fd = must_open("d", O_RDONLY | O_DIRECTORY);

	R(rmdir("d"));
	R(syscall(SYS_getdents64, fd, data, sizeof(data)));
}

CASE(list_raw, "getdents(2) EINVAL ENOTDIR")
{
	char data[1024];

	put("f", "", 0644);
	int fd = must_open(".", O_RDONLY | O_DIRECTORY), file = must_open("f", O_RDONLY);

	R(syscall(SYS_getdents64, fd, data, 4));
	R(syscall(SYS_getdents64, file, data, sizeof(data)));
	R(syscall(SYS_getdents64, fd, data, sizeof(data)) > 0);
	R(syscall(SYS_getdents64, fd, data, sizeof(data)));
	R(lseek(fd, 0, SEEK_SET));
	R(syscall(SYS_getdents64, fd, data, sizeof(data)) > 0);
}

CASE(list_long_names, "readdir(3)")
{
	char name[256], wanted[256];
	const struct dirent *e;
	int found = 0;

	make_folder("d", 0755);
	must(chdir("d") == 0, "chdir");
	for (int i = 0; i < 26; i++) {
		memset(name, 'a' + i, 255);
		name[255] = '\0';
		put(name, "", 0644);
	}
	DIR *d = opendir(".");

	must(d, "opendir");
	while ((e = readdir(d))) {
		memset(wanted, e->d_name[0], 255);
		wanted[255] = '\0';
		found += strcmp(e->d_name, wanted) == 0;
	}
	tell("%d of 26", found);
}

CASE(list_sees_renames_at_once, "readdir(3)")
{
	char from[32], to[32];

	make_folder("d", 0755);
	put("d/n0", "", 0644);
	for (int i = 0; i < 5; i++) {
		snprintf(from, sizeof(from), "d/n%d", i);
		snprintf(to, sizeof(to), "d/n%d", i + 1);
		must(rename(from, to) == 0, "rename");
		list("d");
	}
}

CASE(list_by_two, "readdir(3): two streams are independent")
{
	int counts[2] = {0, 0};

	make_folder("d", 0755);
	make_many("d", 200);
	DIR *a = opendir("d"), *b = opendir("d");

	must(a && b, "opendir");
	for (int i = 0; i < 300; i++) {
		counts[0] += readdir(a) != NULL;
		if (i % 2)
			counts[1] += readdir(b) != NULL;
	}
	tell("%d and %d", counts[0], counts[1]);
}
