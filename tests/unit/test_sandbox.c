/* SPDX-License-Identifier: MIT */
/*
 * The sandbox by its effect: each test is a process of its own that enters it and then tries. A share whose table would
 * let everything through is still read-only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sandbox.h"
#include "sftp_server.h"

static char base[64], share_path[80];

/* base/outside, base/share/f, base/share/d */
static int make_tree(void **state)
{
	int fd;

	strcpy(base, "/tmp/homeport-test.XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(share_path, sizeof(share_path), "%s/share", base);
	fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(fd, "share", 0755) < 0 || mkdirat(fd, "share/d", 0755) < 0)
		return -1;
	close(openat(fd, "outside", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	close(openat(fd, "share/f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	close(fd);
	return 0;
}

static int remove_tree(void **state)
{
	static const char *const names[] = {"share/new/in", "share/new", "share/d/f", "share/f",
					    "share/d",      "share",     "outside"};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, names[i]);
		remove(path);
	}
	return rmdir(base);
}

/* Runs `check` in a process of its own; it returns the line that did not hold, or 0. */
static void in_child(int (*check)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(check());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Lines are told by an exit status: their last 8 bits, never 0. */
#define HOLDS(x)                                                    \
	do {                                                        \
		if (!(x))                                           \
			return __LINE__ % 255 ? __LINE__ % 255 : 1; \
	} while (0)
#define REFUSED(x) HOLDS((x) < 0 && (errno == EACCES || errno == EPERM))

static int enter(bool writable)
{
	struct sandbox_options options = {.writable = writable};
	char why[SANDBOX_WHY_MAX] = "";
	int r;

	options.root_fd = open(share_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = sandbox_enter(&options, why);
	if (r < 0)
		fprintf(stderr, "%s\n", why);
	return r < 0 ? r : options.root_fd;
}

static int check_read_only(void)
{
	struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	int root = enter(false);
	int fd;

	HOLDS(root >= 0);
	fd = openat(root, "f", O_RDONLY | O_CLOEXEC);
	HOLDS(fd >= 0);
	REFUSED(openat(root, "f", O_WRONLY | O_CLOEXEC));
	REFUSED(openat(root, "f", O_RDONLY | O_TRUNC | O_CLOEXEC));
	REFUSED(openat(root, "new", O_RDONLY | O_CREAT | O_CLOEXEC, 0644));
	REFUSED(mkdirat(root, "new", 0755));
	REFUSED(symlinkat("x", root, "new"));
	REFUSED(linkat(root, "f", root, "new", 0));
	REFUSED(mknodat(root, "new", S_IFREG | 0644, 0));
	REFUSED(mknodat(root, "new", S_IFIFO | 0644, 0));
	REFUSED(openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	REFUSED(unlinkat(root, "f", 0));
	REFUSED(unlinkat(root, "d", AT_REMOVEDIR));
	REFUSED(renameat(root, "f", root, "d/f"));
	REFUSED(fchmod(fd, 0777));
	REFUSED(fchmodat(root, "f", 0777, 0));
	REFUSED(fchown(fd, getuid(), getgid()));
	REFUSED(fchownat(root, "f", getuid(), getgid(), 0));
	REFUSED(utimensat(root, "f", now, 0));
	REFUSED(fsetxattr(fd, "user.x", "y", 1, 0));
	REFUSED(fremovexattr(fd, "user.x"));
	return 0;
}

static void nothing_of_a_read_only_share_can_be_changed(void **state)
{
	in_child(check_read_only);
}

static int check_outside(void)
{
	char path[128];
	int root = enter(true);

	HOLDS(root >= 0);
	snprintf(path, sizeof(path), "%s/outside", base);
	REFUSED(open(path, O_RDONLY | O_CLOEXEC));
	REFUSED(openat(root, "../outside", O_RDONLY | O_CLOEXEC));
	REFUSED(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	REFUSED(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
	REFUSED(unlink(path));
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
	REFUSED(execl("/bin/true", "true", NULL));
	HOLDS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	HOLDS(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	return 0;
}

static void nothing_outside_of_a_share_can_be_opened_and_nothing_started(void **state)
{
	in_child(check_outside);
}

static int check_writable(void)
{
	int root = enter(true);
	int fd;

	HOLDS(root >= 0);
	HOLDS(mkdirat(root, "new", 0755) == 0);
	fd = openat(root, "new/in", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	HOLDS(fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 10) == 0 && fchmod(fd, 0600) == 0);
	HOLDS(renameat(root, "f", root, "d/f") == 0 && renameat(root, "d/f", root, "f") == 0);
	HOLDS(mknodat(root, "fifo", S_IFIFO | 0600, 0) == 0 && unlinkat(root, "fifo", 0) == 0);
	HOLDS(mknodat(root, "socket", S_IFSOCK | 0600, 0) == 0 && unlinkat(root, "socket", 0) == 0);
	fd = openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	HOLDS(fd >= 0 || errno == EOPNOTSUPP);
	/* Refused by the kernel where it is refused, not by us. */
	if (mknodat(root, "device", S_IFCHR | 0600, makedev(1, 3)) == 0)
		HOLDS(unlinkat(root, "device", 0) == 0);
	else
		HOLDS(errno == EPERM);
	HOLDS(unlinkat(root, "new/in", 0) == 0 && unlinkat(root, "new", AT_REMOVEDIR) == 0);
	return 0;
}

static void a_writable_share_can_be_written_and_takes_special_files(void **state)
{
	in_child(check_writable);
}

/* ---- the whole server with its table switched off ---- */

static struct share share;
static struct sftp_server *server;

/* The errno of one native request; -1 where there is no such reply. */
static int ask(uint8_t type, const struct wire_buf *body)
{
	struct wire_buf packet = {0}, reply = {0};
	int error = -1;

	wire_put_u8(&packet, type);
	wire_put_u32(&packet, 1);
	wire_put_bytes(&packet, body->data, body->len);
	if (sftp_server_packet(server, packet.data, packet.len, &reply) == 0 && reply.len >= 21 &&
	    reply.data[4] == NATIVE_REPLY)
		error = (int)wire_peek_u32(reply.data + 9);
	wire_buf_free(&packet);
	wire_buf_free(&reply);
	return error;
}

/* Where each body's name, or what follows the caller, comes from. */
static int ask_in_root(uint8_t type, const char *name, uint32_t number)
{
	const struct sftp_caller caller = {.request = 1};
	struct wire_buf body = {0};
	int error;

	if (type != NATIVE_LOOKUP)
		sftp_caller_put(&body, &caller);
	wire_put_u64(&body, NATIVE_ROOT);
	wire_put_cstring(&body, name);
	if (type == NATIVE_MKDIR || type == NATIVE_CREATE)
		wire_put_u32(&body, number);
	if (type == NATIVE_CREATE)
		wire_put_u32(&body, 0644);
	error = ask(type, &body);
	wire_buf_free(&body);
	return error;
}

static int ask_of_node(uint8_t type, uint64_t node, uint32_t first)
{
	const struct sftp_caller caller = {.request = 1};
	const uint8_t zeroes[32 + 8] = {0};
	struct wire_buf body = {0};
	int error;

	sftp_caller_put(&body, &caller);
	wire_put_u64(&body, node);
	if (type == NATIVE_SETATTR)
		wire_put_u64(&body, 0);
	wire_put_u32(&body, first);
	wire_put_u32(&body, 0);
	if (type == NATIVE_SETATTR)
		wire_put_bytes(&body, zeroes, 4 + 4 + 8 + 12 + 12);
	error = ask(type, &body);
	wire_buf_free(&body);
	return error;
}

static bool refused(int error)
{
	return error == EACCES || error == EPERM;
}

static int check_server(void)
{
	struct sandbox_options options = {.writable = false};
	char why[SANDBOX_WHY_MAX];
	const char *what;

	HOLDS(root_open(&share.root, share_path, false, &what) == 0);
	share.writable = true;
	share.native = true;
	HOLDS(share_init(&share, 256, false) == 0);
	server = sftp_server_new(&share);
	options.root_fd = share.root.fd;
	HOLDS(server && sandbox_enter(&options, why) == 0);
	HOLDS(ask_in_root(NATIVE_LOOKUP, "f", 0) == 0);
	HOLDS(ask_of_node(NATIVE_OPEN, 2, NATIVE_O_READ) == 0);
	HOLDS(refused(ask_of_node(NATIVE_OPEN, 2, NATIVE_O_WRITE)));
	HOLDS(refused(ask_of_node(NATIVE_OPEN, 2, NATIVE_O_WRITE | NATIVE_O_TRUNC)));
	HOLDS(refused(ask_of_node(NATIVE_SETATTR, 2, NATIVE_SET_MODE)));
	HOLDS(refused(ask_of_node(NATIVE_SETATTR, 2, NATIVE_SET_UID)));
	HOLDS(refused(ask_of_node(NATIVE_SETATTR, 2, NATIVE_SET_SIZE)));
	HOLDS(refused(ask_of_node(NATIVE_SETATTR, 2, NATIVE_SET_MTIME_NOW)));
	HOLDS(refused(ask_in_root(NATIVE_MKDIR, "new", 0755)));
	HOLDS(refused(ask_in_root(NATIVE_CREATE, "new", NATIVE_O_WRITE)));
	HOLDS(refused(ask_in_root(NATIVE_UNLINK, "f", 0)));
	HOLDS(refused(ask_in_root(NATIVE_RMDIR, "d", 0)));
	sftp_server_free(server);
	share_clear(&share);
	return 0;
}

static void a_read_only_share_holds_even_when_the_table_lets_everything_through(void **state)
{
	in_child(check_server);
}

static int check_descriptors(void)
{
	int keep = open("/dev/null", O_RDONLY | O_CLOEXEC);

	HOLDS(dup2(keep, 20) == 20 && dup2(keep, 100) == 100);
	HOLDS(sandbox_close_descriptors(20) == 3);
	HOLDS(fcntl(3, F_GETFD) >= 0 && fcntl(4, F_GETFD) < 0 && fcntl(20, F_GETFD) < 0 && fcntl(100, F_GETFD) < 0);
	HOLDS(sandbox_close_descriptors(-1) == -1 && fcntl(3, F_GETFD) < 0);
	HOLDS(sandbox_close_descriptors(77) == -EBADF);
	return 0;
}

static void every_descriptor_but_the_one_to_keep_is_closed(void **state)
{
	in_child(check_descriptors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_of_a_read_only_share_can_be_changed, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(nothing_outside_of_a_share_can_be_opened_and_nothing_started, make_tree,
						remove_tree),
		cmocka_unit_test_setup_teardown(a_writable_share_can_be_written_and_takes_special_files, make_tree,
						remove_tree),
		cmocka_unit_test_setup_teardown(a_read_only_share_holds_even_when_the_table_lets_everything_through,
						make_tree, remove_tree),
		cmocka_unit_test(every_descriptor_but_the_one_to_keep_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
