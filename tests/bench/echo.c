/* SPDX-License-Identifier: MIT */
/*
 * Both ends of the latency rows. They do next to nothing, so that what is measured is what lies between them.
 *
 *	echo serve PORT                         answers each byte with itself, on 127.0.0.1; until stdin ends
 *	echo connect ADDRESS PORT COUNT [OPEN]  seconds from connect() to the first byte's answer, a line a connection;
 *	                                        beside OPEN others that were answered before, and stay
 *	echo byte ADDRESS PORT COUNT            seconds from a byte to its answer, on one connection
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in address(const char *text, const char *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (inet_pton(AF_INET, text, &in.sin_addr) != 1)
		die(text);
	return in;
}

static void at_once(int fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		die("TCP_NODELAY");
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ------------------------------------------------------------------------------------------------------ the server */

static void watch(int epoll, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static void take_connection(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	at_once(fd);
	watch(epoll, fd);
}

static void answer(int fd)
{
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n <= 0 || send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
		close(fd);
}

static int serve(const char *port)
{
	struct sockaddr_in in = address("127.0.0.1", port);
	int epoll = epoll_create1(EPOLL_CLOEXEC), listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (epoll < 0 || listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(listener, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(listener, 1024) < 0)
		die("listening");
	watch(epoll, listener);
	watch(epoll, STDIN_FILENO);
	puts("listening");
	fflush(stdout);
	while (true) {
		struct epoll_event e;

		if (epoll_wait(epoll, &e, 1, -1) < 0)
			continue;
		if (e.data.fd == STDIN_FILENO)
			return 0;
		if (e.data.fd == listener)
			take_connection(epoll, listener);
		else
			answer(e.data.fd);
	}
}

/* ------------------------------------------------------------------------------------------------------ the client */

static int connected(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		die("connecting");
	at_once(fd);
	return fd;
}

static void ask(int fd)
{
	char byte = 'e';

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
		die("no answer");
}

static int time_connections(const struct sockaddr_in *to, int count, int open)
{
	while (open--)
		ask(connected(to));
	while (count--) {
		double before = now();
		int fd = connected(to);

		ask(fd);
		printf("%.9f\n", now() - before);
		close(fd);
	}
	return 0;
}

static int time_bytes(const struct sockaddr_in *to, int count)
{
	int fd = connected(to);

	ask(fd);
	while (count--) {
		double before = now();

		ask(fd);
		printf("%.9f\n", now() - before);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	if (argc != 5 && argc != 6)
		return 2;
	to = address(argv[2], argv[3]);
	if (strcmp(argv[1], "connect") == 0)
		return time_connections(&to, atoi(argv[4]), argc == 6 ? atoi(argv[5]) : 0);
	return time_bytes(&to, atoi(argv[4]));
}
