/* SPDX-License-Identifier: MIT */
/*
 * The guest's agent: one loop; attach processes knock at a socket and bring the descriptors of a connection; a greeter
 * reads whose it is; the instance of that host takes it from there. See instance.h for sessions and mounts.
 *
 *	meet ── knock ── greeter ── instance ── peer ── control, mounts, ports
 *
 * Started on demand it ends AGENT_IDLE_US after the last host left; a service stays.
 */
#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include <limits.h>

#include "attachment.h"
#include "brought.h"
#include "chan.h"
#include "chan_fd.h"
#include "commands.h"
#include "greeter.h"
#include "handoff.h"
#include "instance.h"
#include "keep_socket.h"
#include "log.h"
#include "loop.h"
#include "meet.h"
#include "nofile.h"
#include "notify.h"

#define AGENT_IDLE_US       1000000u
#define PLACE_LOOK_S        2
#define AGENT_INSTANCES_MAX 16u  /* hosts at once */
#define AGENT_KNOCKS_MAX    64u  /* connections nobody has a name for yet */
#define AGENT_LINES_MAX     256u /* log lines that wait to be sent to the hosts */

struct agent;

/* A connection to the socket that has not become a host's yet, or never will. */
struct knock {
	TAILQ_ENTRY(knock) next;
	struct agent *agent;
	int fd;
	struct loop_fd *watch;
	struct greeter *greeter; /* NULL until it brought its descriptors */
	struct ssh_ends ends;
	const struct instance *releasing; /* waits for its end; NULL: for nothing */
};

struct entry {
	TAILQ_ENTRY(entry) next;
	struct instance *instance;
};

struct log_line {
	struct handoff_item item;
	int level;
	char text[];
};

struct agent {
	struct loop *loop;
	bool on_demand;
	int listener;
	char folder[PATH_MAX];
	struct loop_fd *watch;
	struct loop_signal *sigterm, *sigint, *sigusr1;
	bool leaving; /* what is mounted is the next agent's */
	struct loop_timer *idle, *watchdog;
	TAILQ_HEAD(, knock) knocks;
	unsigned knock_count;
	TAILQ_HEAD(, entry) instances;
	unsigned instance_count;
	struct handoff *lines;
	struct loop_fd *lines_watch;
	_Atomic unsigned lines_waiting;
};

/* ----------------------------------------------------------------------------------------------------------- log lines
 */

/* Any thread logs; the mux is the loop's: lines cross over. One too many is dropped, it is in our own log. */
static void on_log_line(void *ctx, enum log_level level, const char *text)
{
	struct agent *a = ctx;
	size_t len = strlen(text);
	struct log_line *line;

	if (level > LOG_LEVEL_INFO || a->lines_waiting >= AGENT_LINES_MAX)
		return;
	line = malloc(sizeof(*line) + len + 1);
	if (!line)
		return;
	line->level = level;
	memcpy(line->text, text, len + 1);
	a->lines_waiting++;
	if (!handoff_push(a->lines, &line->item)) {
		a->lines_waiting--;
		free(line);
	}
}

static void on_lines(void *ctx, int fd, unsigned what)
{
	struct agent *a = ctx;
	struct handoff_item *item = handoff_take_all(a->lines), *next;
	struct entry *e;

	(void)fd;
	(void)what;
	for (; item; item = next) {
		struct log_line *line = (struct log_line *)item;

		next = item->next;
		a->lines_waiting--;
		TAILQ_FOREACH(e, &a->instances, next)
		instance_log(e->instance, line->level, line->text);
		free(line);
	}
}

/* ----------------------------------------------------------------------------------------------------------- instances
 */

static void tell_manager(const struct agent *a)
{
	notify_send("STATUS=%u host%s", a->instance_count, a->instance_count == 1 ? "" : "s");
}

static void consider_idle(struct agent *a)
{
	if (a->on_demand && !a->instance_count && !a->knock_count)
		loop_timer_set(a->idle, AGENT_IDLE_US);
	else
		loop_timer_stop(a->idle);
	tell_manager(a);
}

static void on_idle(void *ctx)
{
	struct agent *a = ctx;

	loop_stop(a->loop);
}

static void free_instance(void *ctx)
{
	instance_free(ctx);
}

static void knock_free(struct knock *k);

static void on_instance_ended(void *ctx, struct instance *instance)
{
	struct agent *a = ctx;
	struct entry *e, *after;
	struct knock *k, *next;

	for (e = TAILQ_FIRST(&a->instances); e; e = after) {
		after = TAILQ_NEXT(e, next);
		if (e->instance != instance)
			continue;
		TAILQ_REMOVE(&a->instances, e, next);
		a->instance_count--;
		free(e);
		loop_defer(a->loop, free_instance, instance);
	}
	for (k = TAILQ_FIRST(&a->knocks); k; k = next) {
		next = TAILQ_NEXT(k, next);
		if (k->releasing == instance)
			knock_free(k);
	}
	consider_idle(a);
}

static void on_take_over(void *ctx, struct instance *instance, const char *target)
{
	struct agent *a = ctx;
	struct entry *e, *after;

	for (e = TAILQ_FIRST(&a->instances); e; e = after) {
		after = TAILQ_NEXT(e, next);
		if (e->instance != instance)
			instance_give_up(e->instance, target);
	}
}

static const struct instance_events instance_events = {.ended = on_instance_ended, .take_over = on_take_over};

static struct instance *instance_find(struct agent *a, const struct session_hello *hello)
{
	struct entry *e;

	TAILQ_FOREACH(e, &a->instances, next)
	if (instance_is(e->instance, hello))
		return e->instance;
	return NULL;
}

static struct instance *instance_add(struct agent *a, const struct session_hello *hello)
{
	struct entry *e = a->instance_count < AGENT_INSTANCES_MAX ? calloc(1, sizeof(*e)) : NULL;

	if (!e)
		return NULL;
	e->instance = instance_new(a->loop, hello, a->folder, &instance_events, a);
	if (!e->instance) {
		free(e);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&a->instances, e, next);
	a->instance_count++;
	return e->instance;
}

/* -------------------------------------------------------------------------------------------------------------- knocks
 */

static void knock_free(struct knock *k)
{
	struct agent *a = k->agent;

	TAILQ_REMOVE(&a->knocks, k, next);
	a->knock_count--;
	greeter_free(k->greeter);
	loop_fd_free(k->watch);
	if (k->fd >= 0)
		close(k->fd);
	free(k);
	consider_idle(a);
}

void attachment_close(struct attachment *attachment, const char *why)
{
	if (!attachment)
		return;
	if (why)
		meet_send(attachment->fd, why, NULL, 0);
	close(attachment->fd);
	free(attachment);
}

/* The attach process passes from the knock to whoever the connection belongs to. */
static struct attachment *attachment_take(struct knock *k)
{
	struct attachment *attachment = calloc(1, sizeof(*attachment));

	if (!attachment)
		return NULL;
	*attachment = (struct attachment){.fd = k->fd, .ends = k->ends};
	k->fd = -1;
	return attachment;
}

static void on_greeted(void *ctx, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		       size_t rest_len, const char *why)
{
	struct knock *k = ctx;
	struct agent *a = k->agent;
	struct attachment *attachment = attachment_take(k);
	struct instance *instance;

	k->greeter = NULL; /* it frees itself */
	loop_fd_free(k->watch);
	k->watch = NULL;
	if (!chan || !attachment) {
		log_warn("a connection came to nothing: %s", why ? why : "out of memory");
		chan_free(chan);
		attachment_close(attachment, why);
		knock_free(k);
		return;
	}
	instance = instance_find(a, hello);
	if (!instance && hello->resume) {
		greeter_refuse(chan, SESSION_REASON_UNKNOWN, "this session is not known here (any more)");
	} else {
		if (!instance)
			instance = instance_add(a, hello);
		if (!instance)
			greeter_refuse(chan, SESSION_REASON_RESOURCES, "homeport-guest serves as many hosts as it can");
	}
	if (instance)
		instance_connect(instance, chan, hello, rest, rest_len, attachment);
	else
		attachment_close(attachment, NULL);
	knock_free(k);
}

static void knock_attach(struct knock *k, const char *connection, const int fds[MEET_FDS])
{
	struct chan *chan = chan_fd_new(k->agent->loop, fds[0], fds[1]);

	ssh_ends_read(connection, &k->ends);
	k->greeter = chan ? greeter_new(k->agent->loop, chan, on_greeted, k) : NULL;
	if (!k->greeter) {
		meet_send(k->fd, "out of memory", NULL, 0);
		knock_free(k);
	}
}

static void knock_status(struct knock *k)
{
	char text[MEET_TEXT_MAX];
	FILE *out = fmemopen(text, sizeof(text), "w");
	struct entry *e;

	if (out) {
		fprintf(out, "homeport-guest %s, process %d\n", HOMEPORT_VERSION, (int)getpid());
		TAILQ_FOREACH(e, &k->agent->instances, next)
		instance_report(e->instance, out);
		fputc('\0', out);
		fclose(out);
		text[sizeof(text) - 1] = '\0';
		meet_send(k->fd, text, NULL, 0);
	}
	knock_free(k);
}

/* 32 hexadecimal digits, and nothing else. */
static bool instance_id_get(const char *text, uint8_t id[SESSION_ID_SIZE])
{
	if (strlen(text) != 2 * SESSION_ID_SIZE || strspn(text, "0123456789abcdef") != 2 * SESSION_ID_SIZE)
		return false;
	for (size_t i = 0; i < SESSION_ID_SIZE; i++) {
		const char digits[] = {text[2 * i], text[2 * i + 1], '\0'};

		id[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return true;
}

/* Answered by its end: at once, or when the instance has unmounted all it had. */
static void knock_end_instance(struct knock *k, const char *text, void (*end)(struct instance *i))
{
	uint8_t id[SESSION_ID_SIZE];
	struct entry *e;

	if (instance_id_get(text, id))
		TAILQ_FOREACH(e, &k->agent->instances, next)
	if (instance_has_id(e->instance, id)) {
		loop_fd_set(k->watch, 0);
		k->releasing = e->instance;
		end(e->instance);
		return;
	}
	knock_free(k);
}

/* The first message says what it is about; later there is only the end of file of an attach that was killed, which the
 * channel tells of as well. */
static void on_knock_readable(void *ctx, int fd, unsigned what)
{
	struct knock *k = ctx;
	char text[MEET_TEXT_MAX + 1];
	int fds[MEET_FDS], rc;
	bool attaching;

	(void)what;
	if (k->greeter) {
		loop_fd_set(k->watch, 0);
		return;
	}
	rc = meet_receive(fd, text, fds, MEET_FDS);
	attaching = rc > 0 && !strncmp(text, "attach ", 7);
	if (rc == -EAGAIN || rc == -EINTR)
		return;
	if (attaching) {
		knock_attach(k, text + 7, fds);
		return;
	}
	if (rc > 0)
		for (size_t i = 0; i < MEET_FDS; i++)
			close(fds[i]);
	if (rc == -EPROTO && !strcmp(text, "status"))
		knock_status(k);
	else if (rc == -EPROTO && !strncmp(text, "release ", 8))
		knock_end_instance(k, text + 8, instance_release);
	else if (rc == -EPROTO && !strncmp(text, "hand-over ", 10))
		knock_end_instance(k, text + 10, instance_hand_over);
	else
		knock_free(k);
}

static void on_knock(void *ctx, int listener, unsigned what)
{
	struct agent *a = ctx;
	int fd = meet_accept(listener);
	struct knock *k;

	(void)what;
	if (fd == -EPERM)
		log_warn("another user's process knocked at the socket");
	if (fd < 0)
		return;
	k = a->knock_count < AGENT_KNOCKS_MAX ? calloc(1, sizeof(*k)) : NULL;
	if (!k) {
		close(fd);
		return;
	}
	k->agent = a;
	k->fd = fd;
	TAILQ_INSERT_TAIL(&a->knocks, k, next);
	a->knock_count++;
	k->watch = loop_fd_new(a->loop, fd, LOOP_READ, on_knock_readable, k);
	if (!k->watch)
		knock_free(k);
	consider_idle(a);
}

/* ---------------------------------------------------------------------------------------------------------- begin, end
 */

static void on_signal(void *ctx, int signo)
{
	struct agent *a = ctx;

	a->leaving = signo == SIGUSR1;
	log_info("ending: %s", a->leaving ? "the next agent goes on with what is mounted" : strsignal(signo));
	notify_send("STOPPING=1");
	loop_stop(a->loop);
}

static void on_watchdog(void *ctx)
{
	struct agent *a = ctx;

	notify_send("WATCHDOG=1");
	loop_timer_set(a->watchdog, notify_watchdog_us());
}

static int begin(struct agent *a)
{
	nofile_raise();
	a->loop = loop_new();
	a->lines = handoff_new();
	if (!a->loop || !a->lines)
		return -ENOMEM;
	a->sigterm = loop_signal_new(a->loop, SIGTERM, on_signal, a);
	a->sigint = loop_signal_new(a->loop, SIGINT, on_signal, a);
	a->sigusr1 = loop_signal_new(a->loop, SIGUSR1, on_signal, a);
	a->idle = loop_timer_new(a->loop, on_idle, a);
	a->watchdog = loop_timer_new(a->loop, on_watchdog, a);
	a->watch = loop_fd_new(a->loop, a->listener, LOOP_READ, on_knock, a);
	a->lines_watch = loop_fd_new(a->loop, handoff_fd(a->lines), LOOP_READ, on_lines, a);
	if (!a->sigterm || !a->sigint || !a->sigusr1 || !a->idle || !a->watchdog || !a->watch || !a->lines_watch)
		return -ENOMEM;
	log_set_sink(on_log_line, a);
	if (notify_watchdog_us())
		on_watchdog(a);
	brought_sweep();
	keep_socket_sweep(a->folder);
	consider_idle(a);
	notify_send("READY=1");
	return 0;
}

static void end(struct agent *a)
{
	struct knock *k;
	struct entry *e;

	while ((k = TAILQ_FIRST(&a->knocks)))
		knock_free(k);
	while ((e = TAILQ_FIRST(&a->instances))) {
		TAILQ_REMOVE(&a->instances, e, next);
		if (a->leaving)
			instance_leave(e->instance);
		else
			instance_free(e->instance);
		free(e);
	}
	log_set_sink(NULL, NULL);
	if (a->lines)
		on_lines(a, -1, 0);
	loop_fd_free(a->lines_watch);
	handoff_free(a->lines);
	loop_fd_free(a->watch);
	loop_timer_free(a->idle);
	loop_timer_free(a->watchdog);
	loop_signal_free(a->sigterm);
	loop_signal_free(a->sigint);
	loop_signal_free(a->sigusr1);
	loop_free(a->loop);
}

/* A service waits where a connection has left an agent, instead of being started without end. */
static void wait_for_place(void)
{
	const struct timespec pause = {.tv_sec = PLACE_LOOK_S};

	notify_send("READY=1\nWATCHDOG=1\nSTATUS=waiting: an agent that a connection started serves this user");
	nanosleep(&pause, NULL);
}

int agent_serve(bool on_demand)
{
	struct agent a = {.on_demand = on_demand && !notify_wanted()};
	int rc;

	TAILQ_INIT(&a.knocks);
	TAILQ_INIT(&a.instances);
	while ((a.listener = meet_listen(a.folder, sizeof(a.folder))) == -EBUSY && notify_wanted())
		wait_for_place();
	if (a.listener == -EBUSY) {
		if (!on_demand)
			log_error("serve: another one serves this user already");
		return on_demand ? EXIT_DONE : EXIT_FAILED;
	}
	if (a.listener < 0) {
		log_error("serve: no folder for its socket can be made: %s", strerror(-a.listener));
		return EXIT_FAILED;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	rc = begin(&a);
	if (rc < 0)
		log_error("serve: cannot begin: %s", strerror(-rc));
	else
		rc = loop_run(a.loop);
	end(&a);
	meet_unlisten(a.folder);
	close(a.listener);
	return rc < 0 ? EXIT_FAILED : EXIT_DONE;
}
