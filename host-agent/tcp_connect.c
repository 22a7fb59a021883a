/* SPDX-License-Identifier: MIT */
/*
 * Connecting in the way of RFC 8305 (Happy Eyeballs), less what only browsers need. Runs on a worker thread.
 *
 * Which error is told when no address answers: the one that says most. A refusal proves that the machine is there; an
 * unreachable network proves nothing about the others; silence least of all.
 */
#include "tcp_connect.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cancel.h"
#include "clock.h"
#include "link_error.h"
#include "ssh_target.h"

#define ADDRESSES_MAX 8
#define STAGGER_MS    250

/* The kernel repeats a SYN after 1, 3, 7 s: a network that came back meanwhile would wait for the next. So once every
 * address has been tried, a fresh attempt starts each second beside those that still wait. */
#define AGAIN_MS     1000
#define ATTEMPTS_MAX 32

/* The session's own PING finds a dead peer in 4 s; these end what even that cannot, a socket nobody reads any more. */
#define KEEPALIVE_IDLE_S  30
#define KEEPALIVE_EVERY_S 10
#define KEEPALIVE_COUNT   3
#define USER_TIMEOUT_MS   30000

struct race {
	const struct ssh_target *target;
	struct addrinfo *addresses[ADDRESSES_MAX];
	struct pollfd fds[ATTEMPTS_MAX + 1]; /* the cancel, then the attempts as they started */
	size_t count;                        /* addresses */
	size_t started;
	int error; /* the one that says most so far */
};

static void set_option(int fd, int level, int name, int value)
{
	/* None of them can fail on a TCP socket but for a kernel without it; the connection works all the same. */
	setsockopt(fd, level, name, &value, sizeof(value));
}

void tcp_acknowledge_quickly(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
}

static void set_options(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	tcp_acknowledge_quickly(fd);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

static int family_of(const struct ssh_target *t)
{
	if (t->address_family && strcmp(t->address_family, "inet") == 0)
		return AF_INET;
	if (t->address_family && strcmp(t->address_family, "inet6") == 0)
		return AF_INET6;
	return AF_UNSPEC;
}

/*
 * The name itself is wrong, says who would know it: a mistake in writing, mostly. A resolver that does not answer may
 * do so later, and a machine's own multicast name (RFC 6762) is there once the machine is.
 */
static bool is_wrong_name(int rc, const char *hostname)
{
	size_t len = strlen(hostname);

	if (rc != EAI_NONAME && rc != EAI_NODATA && rc != EAI_ADDRFAMILY)
		return false;
	return len < 6 || strcasecmp(hostname + len - 6, ".local") != 0;
}

static int resolve(const struct ssh_target *t, struct addrinfo **list, struct link_error *err)
{
	struct addrinfo hints = {.ai_family = family_of(t), .ai_socktype = SOCK_STREAM};
	char port[16];
	int rc;

	snprintf(port, sizeof(port), "%u", t->port);
	rc = getaddrinfo(t->hostname, port, &hints, list);
	if (rc == 0)
		return 0;
	link_error_set(err, LINK_ERROR_RESOLVE, "%s: the name %s cannot be resolved: %s", t->name, t->hostname,
		       rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	err->permanent = is_wrong_name(rc, t->hostname);
	if (rc == EAI_AGAIN)
		link_error_advise(err, "is the network up, and its name server?");
	else
		link_error_advise(err, "check the spelling, or that its Host entry in ~/.ssh/config has a HostName");
	return -EHOSTUNREACH;
}

/* The resolver's order, but the families in turn, so that one broken family costs one address's time only. */
static void race_order(struct race *r, struct addrinfo *list)
{
	int wanted = list->ai_family;
	bool taken;

	do {
		struct addrinfo *pick = NULL;

		taken = false;
		for (struct addrinfo *a = list; a; a = a->ai_next) {
			bool used = false;

			for (size_t i = 0; i < r->count; i++)
				used |= r->addresses[i] == a;
			if (!used && (!pick || (pick->ai_family != wanted && a->ai_family == wanted)))
				pick = a;
		}
		if (pick) {
			r->addresses[r->count++] = pick;
			wanted = pick->ai_family == AF_INET6 ? AF_INET : AF_INET6;
			taken = true;
		}
	} while (taken && r->count < ADDRESSES_MAX);
}

static int bind_to(const struct ssh_target *t, int fd, int family)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list;
	int rc = 0;

	if (t->bind_interface &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, t->bind_interface, (socklen_t)strlen(t->bind_interface)) < 0)
		return -errno;
	if (!t->bind_address)
		return 0;
	if (getaddrinfo(t->bind_address, NULL, &hints, &list) != 0)
		return -EADDRNOTAVAIL;
	if (bind(fd, list->ai_addr, list->ai_addrlen) < 0)
		rc = -errno;
	freeaddrinfo(list);
	return rc;
}

static void race_note(struct race *r, int error)
{
	if (r->error == 0 || error == ECONNREFUSED || (r->error == ETIMEDOUT && error != 0))
		r->error = error;
}

/* Starts the next address. */
static void race_start(struct race *r)
{
	const struct addrinfo *a = r->addresses[r->started++ % r->count];
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	r->fds[r->started] = (struct pollfd){.fd = fd, .events = POLLOUT};
	if (fd < 0) {
		race_note(r, errno);
		return;
	}
	rc = bind_to(r->target, fd, a->ai_family);
	set_options(fd);
	if (rc == 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)
		rc = -errno;
	if (rc < 0) {
		race_note(r, -rc);
		close(fd);
		r->fds[r->started].fd = -1;
	}
}

/* Looks at those that have news: the descriptor that is connected, or -1. */
static int race_look(struct race *r)
{
	for (size_t i = 1; i <= r->started; i++) {
		int error = 0, fd = r->fds[i].fd;
		socklen_t len = sizeof(error);

		if (fd < 0 || !r->fds[i].revents)
			continue;
		r->fds[i].fd = -1;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
			return fd;
		race_note(r, error);
		close(fd);
	}
	return -1;
}

static bool race_alive(const struct race *r)
{
	for (size_t i = 1; i <= r->started; i++) {
		if (r->fds[i].fd >= 0)
			return true;
	}
	return false;
}

/* The connected descriptor, or a negative errno. */
static int race_run(struct race *r, struct cancel *cancel)
{
	int64_t deadline = clock_ms(CLOCK_MONOTONIC) + (int64_t)r->target->connect_timeout_s * 1000;
	int64_t next = 0;

	r->fds[0] = (struct pollfd){.fd = cancel_fd(cancel), .events = POLLIN};
	for (;;) {
		int64_t now = clock_ms(CLOCK_MONOTONIC), until;
		int fd;

		if (r->started < ATTEMPTS_MAX && (now >= next || (!race_alive(r) && r->started < r->count))) {
			race_start(r);
			next = now + (r->started < r->count ? STAGGER_MS : AGAIN_MS);
		}
		if (!race_alive(r)) {
			if (r->started >= r->count)
				return -r->error;
			continue;
		}
		if (now >= deadline)
			return r->error ? -r->error : -ETIMEDOUT;
		until = r->started < ATTEMPTS_MAX && next < deadline ? next : deadline;
		if (poll(r->fds, r->started + 1, (int)(until > now ? until - now : 0)) < 0 && errno != EINTR)
			return -errno;
		if (r->fds[0].revents)
			return -ECANCELED;
		fd = race_look(r);
		if (fd >= 0)
			return fd;
	}
}

static void explain(const struct ssh_target *t, int error, struct link_error *err)
{
	const char *who = t->name, *where = t->hostname;

	switch (error) {
	case ECANCELED:
		link_error_set(err, LINK_ERROR_CANCELLED, "%s: given up", who);
		break;
	case ECONNREFUSED:
		link_error_set(err, LINK_ERROR_CONNECT_REFUSED, "%s: %s port %u: connection refused", who, where,
			       t->port);
		link_error_advise(err, "is sshd running there, and on this port?");
		break;
	case ETIMEDOUT:
		link_error_set(err, LINK_ERROR_TIMEOUT, "%s: %s port %u: no answer within %u s", who, where, t->port,
			       t->connect_timeout_s);
		link_error_advise(err, "is the machine running, and does a firewall stand between?");
		break;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
		link_error_set(err, LINK_ERROR_NO_ROUTE, "%s: %s port %u: %s", who, where, t->port, strerror(error));
		link_error_advise(err, "is the machine running, and is the network up?");
		break;
	default:
		link_error_set(err, LINK_ERROR_LOCAL, "%s: %s port %u: %s", who, where, t->port, strerror(error));
		break;
	}
}

int tcp_connect(const struct ssh_target *target, struct cancel *cancel, struct link_error *err)
{
	struct race race = {.target = target};
	struct addrinfo *list;
	int rc = resolve(target, &list, err);

	if (rc < 0)
		return rc;
	race_order(&race, list);
	rc = race_run(&race, cancel);
	for (size_t i = 1; i <= race.started; i++) {
		if (race.fds[i].fd >= 0)
			close(race.fds[i].fd);
	}
	freeaddrinfo(list);
	if (rc < 0)
		explain(target, -rc, err);
	return rc;
}
