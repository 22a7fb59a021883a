/* SPDX-License-Identifier: MIT */
/* See fusermount.h. */
#include "fusermount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd_packet.h"

/* Takes the descriptor sent over the socket; negative when there is none. */
static int receive_fd(int sock)
{
	char byte;
	int fd;

	return fd_packet_receive(sock, &byte, 1, &fd, 1) > 0 && fd >= 0 ? fd : -EIO;
}

/* The first line the program says on stderr is the text of the error. */
static void read_complaint(int fd, char *text, size_t size)
{
	ssize_t len = read(fd, text, size - 1);
	size_t used;

	text[len > 0 ? len : 0] = '\0';
	used = strcspn(text, "\n");
	text[used] = '\0';
	if (strstr(text, "no write access"))
		snprintf(text + used, size - used, "; choose one below its home, or allow it sudo without a password");
}

/* Runs fusermount3 with these arguments; sock (or -1) is where it sends the descriptor. Returns what it may read from.
 */
static pid_t fusermount_spawn(char *const argv[], int sock, int complaints)
{
	char number[16];
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (sock >= 0) {
		fcntl(sock, F_SETFD, 0);
		snprintf(number, sizeof(number), "%d", sock);
		setenv("_FUSE_COMMFD", number, 1);
	}
	dup2(complaints, STDERR_FILENO);
	execvp(argv[0], argv);
	if (errno == ENOENT)
		dprintf(STDERR_FILENO,
			"the guest has no way to mount: the login is not root, has no sudo without a password, "
			"and there is no fusermount3; install that there (sudo apt-get install fuse3)\n");
	else
		dprintf(STDERR_FILENO, "fusermount3: %s\n", strerror(errno));
	_exit(127);
}

int fusermount_mount(const char *target, const char *options, char *text, size_t size)
{
	char *argv[] = {(char *)"fusermount3", (char *)"-o", (char *)options, (char *)"--", (char *)target, NULL};
	int sock[2] = {-1, -1}, complaints[2] = {-1, -1}, fd, status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0 || pipe2(complaints, O_CLOEXEC) < 0) {
		int error = errno;

		snprintf(text, size, "socket: %s", strerror(error));
		if (sock[0] >= 0) {
			close(sock[0]);
			close(sock[1]);
		}
		return -error;
	}
	pid = fusermount_spawn(argv, sock[1], complaints[1]);
	close(sock[1]);
	close(complaints[1]);
	fd = pid < 0 ? -EAGAIN : receive_fd(sock[0]);
	if (fd < 0)
		read_complaint(complaints[0], text, size);
	close(sock[0]);
	close(complaints[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return fd;
}

int fusermount_unmount(const char *target, bool lazy)
{
	char *argv[] = {(char *)"fusermount3", (char *)"-u",   (char *)(lazy ? "-z" : "-q"),
			(char *)"--",          (char *)target, NULL};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), status = -1;
	pid_t pid = fusermount_spawn(argv, -1, null);

	if (pid > 0)
		waitpid(pid, &status, 0);
	close(null);
	return status == 0 ? 0 : -EBUSY;
}
