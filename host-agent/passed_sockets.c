/* SPDX-License-Identifier: MIT */
/* See passed_sockets.h. They are the process's, as its environment is, and are open for as long as it lives. */
#include "passed_sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "sock_address.h"

#define FIRST_FD   3 /* SD_LISTEN_FDS_START */
#define PASSED_MAX 64

static struct passed {
	int fd;
	struct sock_address at;
} passed[PASSED_MAX];
static size_t passed_count;

/* The variable's number, whole and not negative; -1 where it is none. */
static long number_of(const char *variable)
{
	const char *text = getenv(variable);
	char *end;
	long n;

	if (!text || !*text)
		return -1;
	errno = 0;
	n = strtol(text, &end, 10);
	return errno || *end || n < 0 ? -1 : n;
}

static int option_of(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

static bool take(int fd, struct passed *out)
{
	out->fd = fd;
	out->at = (struct sock_address){.len = sizeof(out->at.un)};
	if (option_of(fd, SO_ACCEPTCONN) != 1 || option_of(fd, SO_PROTOCOL) != IPPROTO_TCP ||
	    getsockname(fd, &out->at.any, &out->at.len) < 0)
		return false;
	/* The open file is the manager's as well, which does not mind. */
	return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

void passed_sockets_init(void)
{
	long count = number_of("LISTEN_PID") == getpid() ? number_of("LISTEN_FDS") : 0;
	char text[SOCK_ADDRESS_TEXT_MAX];

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	for (int fd = FIRST_FD; fd < FIRST_FD + count && fcntl(fd, F_GETFD) >= 0; fd++) {
		if (passed_count < PASSED_MAX && take(fd, &passed[passed_count])) {
			log_info("%s: the service manager's socket", sock_address_text(text, &passed[passed_count].at));
			passed_count++;
			continue;
		}
		log_warn("descriptor %d of the service manager's is left alone: %s", fd,
			 passed_count < PASSED_MAX ? "no listening TCP socket" : "there are too many");
		close(fd);
	}
}

int passed_sockets_next(size_t *cursor, struct sock_address *at)
{
	if (*cursor >= passed_count)
		return -1;
	*at = passed[*cursor].at;
	return passed[(*cursor)++].fd;
}
