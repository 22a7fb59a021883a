/* SPDX-License-Identifier: MIT */
/*
 * See resolver.h. Runs on the loop's thread.
 *
 *   stream of datagrams -> asker -> question -> a socket a name server -> the first answer -> the stream
 *
 * A question goes to the name server that answered last, from a socket of its own, so that nobody who does not see it
 * can guess where an answer has to go. One that says nothing for a while, or is not there, gives way to the next, and
 * may answer all the same: the sockets stay open until one has. When all were asked in vain the guest is told so, and
 * its programs need not wait for longer. Which servers there are is looked up with each question.
 */
#include "resolver.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "bounds.h"
#include "datagram.h"
#include "dialer.h"
#include "dns_message.h"
#include "loop.h"
#include "mux.h"
#include "name_servers.h"
#include "relay.h"

/* A stub resolver asks again after five seconds: by then each of three was asked. */
#define TRY_US        1500000u
#define QUESTIONS_MAX 256u
#define QUESTION_SIZE 4096u /* bytes of one; EDNS's clients say no more */

_Static_assert(DIALER_ADDRESSES_MAX >= NAME_SERVERS_MAX, "one connection tries them all");

/* One stream of datagrams. */
struct asker {
	TAILQ_ENTRY(asker) next;
	struct resolver *resolver;
	struct mux_stream *stream;
	struct datagram_reader reader;
	struct relay_caller caller;
};

struct question;

struct
try {
	struct question *question;
	int fd; /* -1: none */
	struct loop_fd *watch;
	size_t server; /* its number among the name servers */
};

struct question {
	TAILQ_ENTRY(question) next;
	struct resolver *resolver;
	struct asker *asker;
	struct name_servers servers; /* as they were when it came */
	struct try tries[NAME_SERVERS_MAX];
	size_t tried, first;
	struct loop_timer *timer;
	size_t len;
	uint8_t message[]; /* len bytes */
};

struct name {
	char *name;
	uint8_t addr[16];
	size_t addr_len;
};

struct resolver {
	struct loop *loop;
	struct dialer *dialer;
	struct name_servers_file file;
	size_t good; /* the name server that answered last */
	TAILQ_HEAD(, asker) askers;
	TAILQ_HEAD(question_list, question) questions; /* oldest first */
	unsigned count;
	struct name *names;
	size_t name_count;
};

static struct datagram incoming; /* one for all, which run on one thread */

/* --- one question ----------------------------------------------------------------------------------------------- */

static void try_close(struct try *t)
{
	loop_fd_free(t->watch);
	t->watch = NULL;
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

static void question_free(struct question *q)
{
	TAILQ_REMOVE(&q->resolver->questions, q, next);
	q->resolver->count--;
	for (size_t i = 0; i < q->tried; i++)
		try_close(&q->tries[i]);
	loop_timer_free(q->timer);
	free(q);
}

/* The first len bytes of `incoming`, for the asker. */
static void asker_tell(struct asker *a, size_t len)
{
	if (datagram_write(a->stream, &incoming, len) && a->caller.counters)
		a->caller.counters->bytes_in += len;
}

static void question_fail(struct question *q)
{
	size_t len = dns_failure_put(incoming.data, q->message, q->len);

	if (len)
		asker_tell(q->asker, len);
	question_free(q);
}

/* The answer in `incoming` is for the asker as it is. */
static void question_answered(struct try *t, size_t len)
{
	struct question *q = t->question;

	q->resolver->good = t->server;
	asker_tell(q->asker, len);
	question_free(q);
}

static void question_next(struct question *q);

static bool any_open(const struct question *q)
{
	for (size_t i = 0; i < q->tried; i++)
		if (q->tries[i].fd >= 0)
			return true;
	return false;
}

/* What came, which may be nobody's answer; or who was asked is not there. */
static void on_answer(void *ctx, int fd, unsigned what)
{
	struct try *t = ctx;
	struct question *q = t->question;
	ssize_t n = recv(fd, incoming.data, sizeof(incoming.data), 0);

	(void)what;
	if (n >= 0 && dns_is_answer(incoming.data, (size_t)n, q->message, q->len)) {
		question_answered(t, (size_t)n);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		try_close(t);
		if (!any_open(q) || t == &q->tries[q->tried - 1])
			question_next(q);
	}
}

static int try_begin(struct question *q, struct try *t)
{
	const struct sock_address *to = &q->servers.at[t->server];

	t->fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (t->fd < 0 || connect(t->fd, &to->any, to->len) < 0 || send(t->fd, q->message, q->len, MSG_NOSIGNAL) < 0)
		return -errno;
	t->watch = loop_fd_new(q->resolver->loop, t->fd, LOOP_READ, on_answer, t);
	return t->watch ? 0 : -ENOMEM;
}

/* Asks the next that can be asked; or waits for those that were; or gives up. */
static void question_next(struct question *q)
{
	while (q->tried < q->servers.count) {
		struct try *t = &q->tries[q->tried];

		*t = (struct try){.question = q, .fd = -1, .server = (q->first + q->tried) % q->servers.count};
		q->tried++;
		if (try_begin(q, t) == 0) {
			loop_timer_set(q->timer, TRY_US);
			return;
		}
		try_close(t);
	}
	if (!any_open(q))
		question_fail(q);
	else if (!loop_timer_is_set(q->timer))
		loop_timer_set(q->timer, TRY_US);
}

static void on_silence(void *ctx)
{
	struct question *q = ctx;

	if (q->tried < q->servers.count)
		question_next(q);
	else
		question_fail(q);
}

static void question_ask(struct asker *a, const uint8_t *message, size_t len)
{
	struct resolver *r = a->resolver;
	struct question *q = calloc(1, sizeof(*q) + len);

	if (q)
		q->timer = loop_timer_new(r->loop, on_silence, q);
	if (!q || !q->timer) {
		free(q);
		return;
	}
	if (r->count >= QUESTIONS_MAX)
		question_free(TAILQ_FIRST(&r->questions));
	q->resolver = r;
	q->asker = a;
	q->servers = r->file.servers;
	q->first = r->good;
	q->len = len;
	memcpy(q->message, message, len);
	TAILQ_INSERT_TAIL(&r->questions, q, next);
	r->count++;
	question_next(q);
}

/* --- names of our own ------------------------------------------------------------------------------------------- */

/* The address of this type that the name has; what has another type alone is known to have none. False: not ours. */
static bool find_name(const struct resolver *r, const struct dns_question *q, const struct name **found)
{
	size_t want = q->type == DNS_TYPE_A ? 4 : q->type == DNS_TYPE_AAAA ? 16 : 0;
	bool known = false;

	*found = NULL;
	for (size_t i = 0; i < r->name_count && !*found && q->class == DNS_CLASS_IN; i++) {
		if (strcasecmp(r->names[i].name, q->name) != 0)
			continue;
		known = true;
		if (r->names[i].addr_len == want)
			*found = &r->names[i];
	}
	return known;
}

static bool answer_here(struct asker *a, const uint8_t *message, size_t len)
{
	const struct name *found;
	struct dns_question q;

	if (!dns_question_get(message, len, &q) || !find_name(a->resolver, &q, &found))
		return false;
	asker_tell(a,
		   dns_answer_put(incoming.data, message, &q, found ? found->addr : NULL, found ? found->addr_len : 0));
	return true;
}

static void names_free(struct name *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i].name);
	free(names);
}

int resolver_set_names(struct resolver *r, char *const *names, size_t count)
{
	struct name *made = calloc(count + 1, sizeof(*made));

	for (size_t i = 0; made && i < count; i++) {
		const char *addr = strchr(names[i], '=') + 1;

		made[i].name = strndup(names[i], (size_t)(addr - names[i] - 1));
		made[i].addr_len = inet_pton(AF_INET, addr, made[i].addr) == 1    ? 4
				   : inet_pton(AF_INET6, addr, made[i].addr) == 1 ? 16
										  : 0;
		if (!made[i].name) {
			names_free(made, count);
			made = NULL;
		}
	}
	if (!made)
		return -ENOMEM;
	names_free(r->names, r->name_count);
	r->names = made;
	r->name_count = count;
	return 0;
}

/* --- streams ---------------------------------------------------------------------------------------------------- */

static void asker_release(void *ctx)
{
	struct asker *a = ctx;

	datagram_reader_clear(&a->reader);
	free(a);
}

/* The stream is over. Callers up the stack may still look at the asker. */
static void asker_end(struct asker *a)
{
	struct resolver *r = a->resolver;
	struct question *q, *after;

	for (q = TAILQ_FIRST(&r->questions); q; q = after) {
		after = TAILQ_NEXT(q, next);
		if (q->asker == a)
			question_free(q);
	}
	TAILQ_REMOVE(&r->askers, a, next);
	if (a->caller.done)
		a->caller.done(a->caller.ctx, 0);
	a->caller.counters = NULL;
	loop_defer(r->loop, asker_release, a);
}

static void look(struct resolver *r)
{
	if (name_servers_look(&r->file))
		r->good = 0;
}

/* What is no question is dropped, as what nobody would answer. */
static int on_question(void *ctx, const uint8_t *data, size_t len)
{
	struct asker *a = ctx;

	if (!dns_is_question(data, len) || len > QUESTION_SIZE)
		return 0;
	if (a->caller.counters)
		a->caller.counters->bytes_out += len;
	if (answer_here(a, data, len))
		return 0;
	look(a->resolver);
	question_ask(a, data, len);
	return 0;
}

static void on_stream_data(void *ctx, const uint8_t *data, size_t len)
{
	struct asker *a = ctx;
	int rc = datagram_read(&a->reader, data, len, on_question, a);

	if (rc == 0) {
		mux_stream_consumed(a->stream, len);
		return;
	}
	mux_stream_reset(a->stream, rc == -ENOMEM ? MUX_REASON_RESOURCES : MUX_REASON_INTERNAL);
	asker_end(a);
}

/* There is no FIN in such a stream. */
static void on_stream_fin(void *ctx)
{
	struct asker *a = ctx;

	mux_stream_reset(a->stream, MUX_REASON_INTERNAL);
	asker_end(a);
}

static void on_stream_closed(void *ctx, enum mux_reason reason)
{
	(void)reason;
	asker_end(ctx);
}

static const struct mux_stream_events asker_events = {
	.data = on_stream_data,
	.fin = on_stream_fin,
	.closed = on_stream_closed,
};

void resolver_open_udp(struct resolver *r, struct mux_stream *stream, const struct relay_caller *caller)
{
	struct asker *a = calloc(1, sizeof(*a));

	if (!a) {
		if (caller->done)
			caller->done(caller->ctx, -ENOMEM);
		mux_stream_refuse(stream, MUX_REASON_RESOURCES);
		return;
	}
	*a = (struct asker){.resolver = r, .stream = stream, .caller = *caller};
	TAILQ_INSERT_TAIL(&r->askers, a, next);
	mux_stream_accept(stream, &asker_events, a);
}

void resolver_open_tcp(struct resolver *r, struct mux_stream *stream, const struct relay_caller *caller)
{
	struct sock_address to[NAME_SERVERS_MAX];
	size_t count;

	look(r);
	count = r->file.servers.count;
	for (size_t i = 0; i < count; i++)
		to[i] = r->file.servers.at[(r->good + i) % count];
	dialer_connect(r->dialer, stream, to, count, caller);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct resolver *resolver_new(struct loop *loop, const char *path)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = loop;
	r->file.path = path;
	TAILQ_INIT(&r->askers);
	TAILQ_INIT(&r->questions);
	r->dialer = dialer_new(loop);
	if (r->dialer)
		return r;
	free(r);
	return NULL;
}

void resolver_free(struct resolver *r)
{
	struct asker *a;

	if (!r)
		return;
	while ((a = TAILQ_FIRST(&r->askers))) {
		mux_stream_reset(a->stream, MUX_REASON_CANCELLED);
		asker_end(a);
	}
	dialer_free(r->dialer);
	names_free(r->names, r->name_count);
	free(r);
}
