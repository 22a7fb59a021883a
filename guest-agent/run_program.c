/* SPDX-License-Identifier: MIT */
/* See run_program.h. */
#include "run_program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void child(const char *const argv[], int out)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setsid();
	signal(SIGPIPE, SIG_DFL); /* what is ignored stays so */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(RUN_PROGRAM_NONE);
	execvp(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(RUN_PROGRAM_NONE);
}

/* All is read, so that the program can end; the beginning is kept. */
static void read_all(int fd, char *said)
{
	char chunk[512];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR)) {
		size_t take = n < 0 ? 0 : (size_t)n;

		if (take > RUN_PROGRAM_SAID - 1 - len)
			take = RUN_PROGRAM_SAID - 1 - len;
		memcpy(said + len, chunk, take);
		len += take;
	}
	said[len] = '\0';
}

int run_program(const char *const argv[], char *said)
{
	int out[2], status;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child(argv, out[1]);
	close(out[1]);
	if (pid > 0)
		read_all(out[0], said);
	close(out[0]);
	if (pid < 0)
		return -EAGAIN;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
