/* SPDX-License-Identifier: MIT */
/* Reading and writing. */
#include "conform.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

CASE(read_positions, "read(2), pread(2), lseek(2)")
{
	char data[32];

	put("f", "0123456789", 0644);
	int fd = must_open("f", O_RDONLY);

	R(read(fd, data, 4));
	R(lseek(fd, 0, SEEK_CUR));
	R(pread(fd, data, 4, 8));
	R(pread(fd, data, 4, 10));
	R(pread(fd, data, 4, 1ll << 40));
	R(pread(fd, data, 4, -1));
	R(lseek(fd, 0, SEEK_CUR));
	R(lseek(fd, -3, SEEK_END));
	R(read(fd, data, 10));
	R(read(fd, data, 10));
	R(read(fd, data, 0));
}

CASE(seek_fails, "lseek(2) EINVAL")
{
	put("f", "0123456789", 0644);
	int fd = must_open("f", O_RDWR);

	R(lseek(fd, -1, SEEK_SET));
	R(lseek(fd, -11, SEEK_END));
	R(lseek(fd, 100, SEEK_SET));
	R(lseek(fd, 0, 99));
	R(lseek(fd, 1ll << 41, SEEK_SET));
	R(write(fd, "", 0));
	look_fd(fd);
}

CASE(write_beyond_the_end, "lseek(2): the gap reads as zeros")
{
	put("f", "0123", 0644);
	int fd = must_open("f", O_RDWR);

	R(pwrite(fd, "x", 1, 20));
	show_fd(fd);
	R(lseek(fd, 5000, SEEK_END));
	R(write(fd, "y", 1));
	show_fd(fd);
	look_fd(fd);
}

CASE(write_at_the_limits, "write(2), pwrite(2) EFBIG EINVAL: 8 EiB")
{
	char data[16];
	int fd = F(open("f", O_RDWR | O_CREAT, 0644));

	R(pwrite(fd, "x", 1, INT64_MAX));
	R(pwrite(fd, "xx", 2, INT64_MAX));
	R(pwrite(fd, "x", 1, INT64_MAX - 1));
	R(pwrite(fd, "x", 1, 1ll << 62));
	R(pwrite(fd, "x", 1, -1));
	R(pread(fd, data, 1, INT64_MAX));
	R(pread(fd, data, 1, INT64_MAX - 1));
	R(close(fd));
	look("f");
}

CASE(write_at_the_file_systems_limit, "write(2) EFBIG: 16 TiB on ext4 with blocks of 4 KiB")
{
	int fd = F(open("f", O_RDWR | O_CREAT, 0644));

	R(pwrite(fd, "x", 1, (16ll << 40) - 8192));
	R(pwrite(fd, "x", 1, 17ll << 40));
	R(fsync(fd));
	look_fd(fd);
}

CASE(write_over_the_resource_limit, "setrlimit(2) RLIMIT_FSIZE: EFBIG, SIGXFSZ")
{
	const struct rlimit limit = {100, 100};
	char data[200] = {0};

	put("f", "", 0644);
	IN_CHILD
	{
		int fd = must_open("f", O_RDWR);

		must(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
		signal(SIGXFSZ, SIG_IGN);
		R(write(fd, data, 200));
		R(write(fd, data, 1));
		R(ftruncate(fd, 200));
		signal(SIGXFSZ, SIG_DFL);
		write(fd, data, 1);
	}
	look("f");
}

CASE(write_and_read_by_two, "POSIX write(): a read after a write sees it")
{
	put("f", "0123456789", 0644);
	int a = must_open("f", O_RDWR), b = must_open("f", O_RDWR);
	char data[16] = "";

	R(pwrite(a, "AB", 2, 2));
	R(pread(b, data, 10, 0));
	tell("%s", data);
	R(pwrite(b, "CD", 2, 3));
	R(pread(a, data, 10, 0));
	tell("%s", data);
	IN_CHILD
	{
		R(pread(b, data, 10, 0));
		tell("%s", data);
		R(pwrite(b, "E", 1, 0));
	}
	R(pread(a, data, 10, 0));
	tell("%s", data);
}

CASE(write_shared_position, "open(2), fork(2): one file position")
{
	put("f", "", 0644);
	int fd = must_open("f", O_RDWR);

	R(write(fd, "a", 1));
	IN_CHILD
	{
		R(write(fd, "b", 1));
	}
	R(write(fd, "c", 1));
	int other = dup(fd);

	R(write(other, "d", 1));
	R(lseek(fd, 0, SEEK_CUR));
	show("f");
}

CASE(write_vectors, "writev(2), readv(2), pwritev(2)")
{
	char a[4] = "", b[4] = "";
	char first[] = "01", last[] = "234";
	const struct iovec out[3] = {{first, 2}, {first, 0}, {last, 3}};
	const struct iovec in[2] = {{a, 3}, {b, 3}};
	int fd = F(open("f", O_RDWR | O_CREAT, 0644));

	R(writev(fd, out, 3));
	R(pwritev(fd, out, 3, 10));
	R(preadv(fd, in, 2, 0));
	tell("%s %s", a, b);
	R(writev(fd, out, (int)sysconf(_SC_IOV_MAX) + 1));
	R(pwritev2(fd, out, 3, 0, RWF_APPEND));
	R(pwritev2(fd, out, 1, 0, RWF_DSYNC));
	R(pwritev2(fd, out, 1, 0, 0x40000000));
	show_fd(fd);
}

CASE(write_large, "write(2)")
{
	const size_t size = 5u << 20;
	char *data = malloc(size), *back = malloc(size);
	int fd = F(open("f", O_RDWR | O_CREAT, 0644));

	must(data && back, "memory");
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 7 + i / 4096);
	R(write(fd, data, size));
	R(pread(fd, back, size, 0));
	tell("the same: %d", memcmp(data, back, size) == 0);
	R(pwrite(fd, data, 100001, 333));
	memcpy(data + 333, memcpy(back, data, 100001), 100001);
	R(pread(fd, back, size, 0));
	tell("the same: %d", memcmp(data, back, size) == 0);
	look_fd(fd);
}

CASE(write_random_pieces, "pwrite(2), ftruncate(2) against memory")
{
	static char model[100000], back[100000];
	unsigned seed = 7;
	size_t size = 0;
	int fd = F(open("f", O_RDWR | O_CREAT, 0644));

	for (int i = 0; i < 500; i++) {
		unsigned a = rand_r(&seed), b = rand_r(&seed);
		size_t at = a % 90000, len = b % 9000;

		if (a % 7 == 0) {
			must(ftruncate(fd, (off_t)at) == 0, "ftruncate");
			memset(model + at, 0, sizeof(model) - at);
			size = at;
			continue;
		}
		memset(back, (int)('a' + a % 26), len);
		memcpy(model + at, back, len);
		must(pwrite(fd, back, len, (off_t)at) == (ssize_t)len, "pwrite");
		size = len && at + len > size ? at + len : size;
	}
	tell("size as it should be: %d", lseek(fd, 0, SEEK_END) == (off_t)size);
	tell("read %d", pread(fd, back, sizeof(back), 0) == (ssize_t)size);
	tell("content as it should be: %d", memcmp(back, model, size) == 0);
}

CASE(write_bad_memory, "write(2), read(2) EFAULT")
{
	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR);
	char *volatile nowhere = (char *)8;

	R(write(fd, nowhere, 10));
	R(pread(fd, nowhere, 4, 0));
	show_fd(fd);
}

CASE(sync_calls, "fsync(2), fdatasync(2), sync_file_range(2), syncfs(2)")
{
	put("f", "text", 0644);
	int fd = must_open("f", O_RDWR), in = must_open("f", O_RDONLY), dir = must_open(".", O_RDONLY | O_DIRECTORY);

	R(write(fd, "T", 1));
	R(fsync(fd)), R(fdatasync(fd)), R(fsync(in)), R(fsync(dir)), R(fdatasync(dir));
	R(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	R(syncfs(fd));
	R(unlink("f"));
	R(fsync(fd));
}

CASE(copy_by_sendfile, "sendfile(2), splice(2)")
{
	int pipes[2];

	fill("f", 'x', 100000);
	int in = must_open("f", O_RDONLY), out = F(open("g", O_RDWR | O_CREAT, 0644));

	R(sendfile(out, in, NULL, 100000));
	look("g");
	must(pipe(pipes) == 0, "pipe");
	R(lseek(in, 0, SEEK_SET));
	R(splice(in, NULL, pipes[1], NULL, 5000, 0));
	R(splice(pipes[0], NULL, out, NULL, 5000, 0));
	look("g");
}

CASE(advise, "posix_fadvise(2), readahead(2)")
{
	fill("f", 'x', 100000);
	int fd = must_open("f", O_RDWR);

	R(posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
	R(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	R(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	R(posix_fadvise(fd, 0, 0, 99));
	R(readahead(fd, 0, 4096));
	show_fd(fd);
}

CASE(poll_says_ready, "poll(2): a file is always ready")
{
	put("f", "text", 0644);
	struct pollfd p = {.fd = must_open("f", O_RDWR), .events = POLLIN | POLLOUT | POLLPRI};

	R(poll(&p, 1, 0));
	tell("%#x", p.revents);
}

CASE(fcntl_on_files, "fcntl(2) F_DUPFD F_GETFD F_GETPIPE_SZ")
{
	put("f", "", 0644);
	int fd = must_open("f", O_RDWR);

	R(fcntl(fd, F_GETFD));
	R(fcntl(fd, F_GETPIPE_SZ));
	R(fcntl(fd, F_GETOWN));
	F(fcntl(fd, F_DUPFD, 100));
	R(lseek(fd, 0, SEEK_SET));
}

CASE(read_a_folder, "read(2) EISDIR")
{
	char data[16];
	int fd = must_open(".", O_RDONLY);

	R(read(fd, data, 16));
	R(pread(fd, data, 16, 0));
	R(write(fd, data, 1));
}

CASE(write_to_an_unlinked_file_from_another, "unlink(2)")
{
	put("f", "text", 0644);
	int a = must_open("f", O_RDWR), b = must_open("f", O_RDWR);

	R(unlink("f"));
	R(pwrite(a, "AAAA", 4, 0));
	show_fd(b);
	R(close(a));
	R(pwrite(b, "B", 1, 0));
	show_fd(b);
}

CASE(close_twice, "close(2) EBADF")
{
	int fd = F(open("f", O_RDWR | O_CREAT, 0644));

	R(close(fd));
	R(close(fd));
	R(fsync(fd));
}

CASE(append_by_many, "open(2) O_APPEND: no record is lost or torn")
{
	pid_t children[4];
	char line[65];
	int whole = 0;
	FILE *f;

	put("f", "", 0644);
	for (int c = 0; c < 4; c++) {
		children[c] = start_child();
		if (children[c] == 0) {
			int fd = must_open("f", O_WRONLY | O_APPEND);

			memset(line, 'a' + c, 63);
			line[63] = '\n';
			for (int i = 0; i < 50; i++)
				must(write(fd, line, 64) == 64, "write");
			leave();
		}
	}
	for (int c = 0; c < 4; c++)
		reap(children[c]);
	look("f");
	f = fopen("f", "r");
	must(f, "fopen");
	while (fgets(line, sizeof(line), f)) {
		size_t same = strspn(line, (char[]){line[0], '\0'});

		whole += same == 63;
	}
	tell("%d whole records", whole);
}
