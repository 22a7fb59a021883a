/* SPDX-License-Identifier: MIT */
/* Asks a running agent and prints what it says. See ctl_client.h. */
#include "ctl_client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "ctl_socket.h"
#include "runtime_dir.h"
#include "wire.h"

static int ctl_connect(const struct runtime_dir *dir)
{
	char path[RUNTIME_PATH_MAX];
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	runtime_dir_socket_path(dir, path);
	memcpy(to.sun_path, path, strlen(path)); /* runtime_dir_open() saw that it fits */
	if (!connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return fd;
	/* Refused: the socket of one that died, which the next agent replaces. */
	rc = errno == ECONNREFUSED ? -ENOENT : -errno;
	close(fd);
	return rc;
}

/* Hands on the whole lines there are. Returns the exit status once it came, else -EAGAIN. */
static int take_lines(struct wire_buf *in, ctl_line_fn *line, void *ctx)
{
	char *start, *end;

	while (in->len && (end = memchr(in->data, '\n', in->len))) {
		start = (char *)in->data;
		*end = '\0';
		if (start[0] == 'x')
			return atoi(start + 1);
		if (end - start >= 2)
			line(ctx, start[0], start + 2, (size_t)(end - start - 2));
		wire_buf_consume(in, (size_t)(end - start) + 1);
	}
	return -EAGAIN;
}

static int read_answer(int fd, unsigned timeout_s, ctl_line_fn *line, void *ctx, struct wire_buf *in)
{
	int64_t end = clock_ms(CLOCK_MONOTONIC) + (int64_t)timeout_s * 1000;

	for (;;) {
		struct pollfd watch = {.fd = fd, .events = POLLIN};
		int64_t now = clock_ms(CLOCK_MONOTONIC);
		uint8_t *room;
		ssize_t n;
		int rc;

		if (timeout_s && now >= end)
			return -ETIMEDOUT;
		/* A signal that has a handler is meant to end the waiting. */
		if (poll(&watch, 1, timeout_s ? (int)(end - now) : -1) < 0)
			return -errno;
		if (!watch.revents)
			continue;
		room = wire_buf_reserve(in, 65536);
		if (!room)
			return -ENOMEM;
		n = read(fd, room, 65536);
		if (n <= 0)
			return -ECONNRESET;
		in->len += (size_t)n;
		rc = take_lines(in, line, ctx);
		if (rc != -EAGAIN)
			return rc;
	}
}

int ctl_ask(const struct runtime_dir *dir, const char *request, unsigned timeout_s, ctl_line_fn *line, void *ctx)
{
	char text[CTL_REQUEST_MAX];
	struct wire_buf in = {0};
	int fd = ctl_connect(dir), rc;

	if (fd < 0)
		return fd;
	snprintf(text, sizeof(text), "%s\n", request);
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		rc = -errno;
	else
		rc = read_answer(fd, timeout_s, line, ctx, &in);
	wire_buf_free(&in);
	close(fd);
	return rc;
}

/* What is longer than the terminal's line could not be taken back: it is cut. */
static void print_progress(const char *text, size_t len)
{
	struct winsize size = {0};
	size_t width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;

	if (len >= width)
		fprintf(stderr, "%.*s...", width > 4 ? (int)width - 4 : 0, text);
	else
		fputs(text, stderr);
}

void ctl_print_line(void *ctx, char tag, const char *text, size_t len)
{
	static bool progress; /* the terminal's line holds one that the next thing printed replaces */
	bool terminal = isatty(STDERR_FILENO);

	(void)ctx;
	if (progress && tag != 'c') {
		fputs("\r\033[K", stderr);
		progress = false;
	}
	switch (tag) {
	case 'o':
		fwrite(text, 1, len, stdout);
		putchar('\n');
		break;
	case 'e':
		fprintf(stderr, "%s\n", text);
		break;
	case 'p':
		if (terminal) {
			print_progress(text, len);
			progress = true;
		}
		break;
	case 'c':
		if (isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout);
		break;
	default:
		break;
	}
	fflush(stdout);
}
