/* SPDX-License-Identifier: MIT */
/*
 * Runs onForward. See port_command.h. Runs on the loop's thread.
 *
 * Theory of operation. A port that answers is remembered with what was said of it, so that its end is told with the
 * same facts, and once. What is to be run waits in `queue` and moves to `running`, a process group of its own, of which
 * a pidfd tells the end: the guest decides how many ports come and go, so both are bounded, and what finds no room is
 * dropped with a line in the log.
 */
#include "port_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/close_range.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "address.h"
#include "forward.h"
#include "log.h"
#include "loop.h"

#define RUNNING_MAX 4u
#define QUEUE_MAX   256u
#define LIMIT_US    30000000u

enum fact { FACT_EVENT, FACT_NAME, FACT_PROTO, FACT_GUEST, FACT_HOST, FACT_PROCESS, FACTS };

static const char *const fact_names[] = {
	[FACT_EVENT] = "HOMEPORT_EVENT", [FACT_NAME] = "HOMEPORT_NAME", [FACT_PROTO] = "HOMEPORT_PROTO",
	[FACT_GUEST] = "HOMEPORT_GUEST", [FACT_HOST] = "HOMEPORT_HOST", [FACT_PROCESS] = "HOMEPORT_PROCESS",
};
_Static_assert(sizeof(fact_names) / sizeof(fact_names[0]) == FACTS, "each fact has a name");

/* What is said of a port. */
struct facts {
	char proto[8], guest[ADDRESS_TEXT_MAX], host[2 * ADDRESS_TEXT_MAX], process[128];
};

/* A port that answers. */
struct answering {
	UT_hash_handle hh;
	char key[ADDRESS_TEXT_MAX + 8]; /* protocol and guest address */
	struct facts facts;
};

/* One run, waiting or under way. */
struct run {
	TAILQ_ENTRY(run) next;
	struct port_command *command;
	bool gone;
	struct facts facts;
	pid_t pid;
	int pidfd;
	struct loop_fd *watch;
	struct loop_timer *limit;
};

struct port_command {
	struct loop *loop;
	const char *name;
	char **words; /* NULL: nothing is run */
	struct answering *answering;
	TAILQ_HEAD(run_list, run) queue, running;
	unsigned queued, under_way;
	struct log_limit log_limit;
};

/* --- one run ---------------------------------------------------------------------------------------------------- */

static void run_free(struct run *r)
{
	loop_fd_free(r->watch);
	loop_timer_free(r->limit);
	if (r->pidfd >= 0)
		close(r->pidfd);
	free(r);
}

/* The environment: ours, with the facts on top. In one piece of memory, to be freed. */
static char **make_environment(const struct run *r)
{
	const char *values[FACTS] = {
		[FACT_EVENT] = r->gone ? "gone" : "forwarded",
		[FACT_NAME] = r->command->name,
		[FACT_PROTO] = r->facts.proto,
		[FACT_GUEST] = r->facts.guest,
		[FACT_HOST] = r->facts.host,
		[FACT_PROCESS] = r->facts.process,
	};
	size_t count = 0, size = 0, n = 0;
	char **all, *text;

	while (environ[count])
		count++;
	for (int i = 0; i < FACTS; i++)
		size += strlen(fact_names[i]) + strlen(values[i]) + 2;
	all = calloc(1, (count + FACTS + 1) * sizeof(*all) + size);
	if (!all)
		return NULL;
	text = (char *)(all + count + FACTS + 1);
	for (int i = 0; i < FACTS; i++) {
		all[n++] = text;
		text += snprintf(text, size, "%s=%s", fact_names[i], values[i]) + 1;
	}
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], "HOMEPORT_", strlen("HOMEPORT_")) != 0)
			all[n++] = environ[i];
	return all;
}

/* In the child: a group of its own, nothing on stdin and stdout, our log as stderr, no other descriptor. */
static void run_exec(char *const *words, char *const *environment, int null)
{
	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(127);
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	execvpe(words[0], words, environment);
	_exit(errno == ENOENT ? 127 : 126);
}

/* fork(2), not posix_spawn(3): that returns when the program is loaded, from a disk that may not answer. */
static pid_t run_spawn(const struct run *r)
{
	char **environment = make_environment(r);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = environment && null >= 0 ? fork() : -1;

	if (pid == 0)
		run_exec(r->command->words, environment, null);
	if (pid > 0)
		setpgid(pid, pid); /* in both: whoever is first */
	if (null >= 0)
		close(null);
	free(environment);
	return pid;
}

static void start_next(struct port_command *c);

static void run_log_end(struct run *r, int status)
{
	struct port_command *c = r->command;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (!log_limit_pass(&c->log_limit, loop_now_us(c->loop), 5))
		return;
	if (WIFSIGNALED(status))
		log_warn("onForward: %s for port %s was ended by signal %d", c->words ? c->words[0] : "the program",
			 r->facts.guest, WTERMSIG(status));
	else
		log_warn("onForward: %s for port %s ended with status %d%s", c->words ? c->words[0] : "the program",
			 r->facts.guest, WEXITSTATUS(status),
			 WEXITSTATUS(status) == 127 ? ": there is no such program" : "");
}

static void on_ended(void *ctx, int fd, unsigned what)
{
	struct run *r = ctx;
	struct port_command *c = r->command;
	int status = 0;

	(void)fd;
	(void)what;
	if (waitpid(r->pid, &status, WNOHANG) != r->pid)
		return;
	run_log_end(r, status);
	TAILQ_REMOVE(&c->running, r, next);
	c->under_way--;
	run_free(r);
	start_next(c);
}

static void on_limit(void *ctx)
{
	struct run *r = ctx;

	log_warn("onForward: %s for port %s takes longer than %u s: it is ended",
		 r->command->words ? r->command->words[0] : "the program", r->facts.guest, LIMIT_US / 1000000);
	kill(-r->pid, SIGKILL);
}

/* Takes its place among those that run; false: it could not be started, and is gone. */
static bool run_start(struct run *r)
{
	struct port_command *c = r->command;

	r->limit = loop_timer_new(c->loop, on_limit, r);
	r->pid = r->limit ? run_spawn(r) : -1;
	if (r->pid > 0)
		r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (r->pidfd >= 0)
		r->watch = loop_fd_new(c->loop, r->pidfd, LOOP_READ, on_ended, r);
	if (r->watch) {
		loop_timer_set(r->limit, LIMIT_US);
		TAILQ_INSERT_TAIL(&c->running, r, next);
		c->under_way++;
		return true;
	}
	if (r->pid > 0) { /* nobody would hear of its end */
		kill(-r->pid, SIGKILL);
		waitpid(r->pid, NULL, WNOHANG);
	}
	if (log_limit_pass(&c->log_limit, loop_now_us(c->loop), 5))
		log_warn("onForward: %s cannot be started: out of memory, processes or descriptors", c->words[0]);
	run_free(r);
	return false;
}

/* --- the queue -------------------------------------------------------------------------------------------------- */

static void start_next(struct port_command *c)
{
	struct run *r;

	while (c->words && c->under_way < RUNNING_MAX && (r = TAILQ_FIRST(&c->queue))) {
		TAILQ_REMOVE(&c->queue, r, next);
		c->queued--;
		run_start(r);
	}
}

static void forget_queue(struct port_command *c)
{
	struct run *r;

	while ((r = TAILQ_FIRST(&c->queue))) {
		TAILQ_REMOVE(&c->queue, r, next);
		run_free(r);
	}
	c->queued = 0;
}

static void enqueue(struct port_command *c, const struct facts *facts, bool gone)
{
	struct run *r = c->queued < QUEUE_MAX ? calloc(1, sizeof(*r)) : NULL;

	if (!c->words) {
		free(r);
		return;
	}
	if (!r) {
		if (log_limit_pass(&c->log_limit, loop_now_us(c->loop), 5))
			log_warn("onForward: too many ports change at once: port %s is passed over", facts->guest);
		return;
	}
	*r = (struct run){.command = c, .gone = gone, .facts = *facts, .pidfd = -1};
	TAILQ_INSERT_TAIL(&c->queue, r, next);
	c->queued++;
	start_next(c);
}

/* --- ports ------------------------------------------------------------------------------------------------------ */

static void facts_of(const struct forward_info *info, struct facts *facts)
{
	memset(facts, 0, sizeof(*facts));
	snprintf(facts->proto, sizeof(facts->proto), "%s", info->proto);
	snprintf(facts->guest, sizeof(facts->guest), "%s", info->guest);
	snprintf(facts->host, sizeof(facts->host), "%s%s%s", info->host_count > 0 ? info->host[0] : "",
		 info->host_count > 1 ? " " : "", info->host_count > 1 ? info->host[1] : "");
	snprintf(facts->process, sizeof(facts->process), "%s", info->process ? info->process : "");
}

static void end_answering(struct port_command *c, struct answering *a)
{
	enqueue(c, &a->facts, true);
	HASH_DELETE(hh, c->answering, a);
	free(a);
}

static void begin_answering(struct port_command *c, const char *key, const struct facts *facts)
{
	struct answering *a = calloc(1, sizeof(*a));

	if (!a)
		return;
	snprintf(a->key, sizeof(a->key), "%s", key);
	a->facts = *facts;
	HASH_ADD_STR(c->answering, key, a);
	if (!a->hh.tbl) {
		free(a);
		return;
	}
	enqueue(c, facts, false);
}

void port_command_port(struct port_command *c, const struct forward_info *info, bool gone)
{
	bool answers = !gone && info->state == FORWARD_FORWARDED;
	char key[ADDRESS_TEXT_MAX + 8];
	struct answering *a;
	struct facts facts;

	facts_of(info, &facts);
	snprintf(key, sizeof(key), "%s %s", facts.proto, facts.guest);
	HASH_FIND_STR(c->answering, key, a);
	if (a && (!answers || strcmp(a->facts.host, facts.host) != 0)) {
		end_answering(c, a);
		a = NULL;
	}
	if (answers && !a)
		begin_answering(c, key, &facts);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static void words_free(char **words)
{
	for (size_t i = 0; words && words[i]; i++)
		free(words[i]);
	free(words);
}

int port_command_set(struct port_command *c, char *const *words, size_t count)
{
	char **copy = count ? calloc(count + 1, sizeof(*copy)) : NULL;
	int rc = count && !copy ? -ENOMEM : 0;

	for (size_t i = 0; copy && i < count && !rc; i++) {
		copy[i] = strdup(words[i]);
		rc = copy[i] ? 0 : -ENOMEM;
	}
	words_free(c->words);
	c->words = rc ? NULL : copy;
	if (rc)
		words_free(copy);
	if (!c->words)
		forget_queue(c);
	return rc;
}

struct port_command *port_command_new(struct loop *loop, const char *name)
{
	struct port_command *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct port_command){.loop = loop, .name = name};
	TAILQ_INIT(&c->queue);
	TAILQ_INIT(&c->running);
	return c;
}

void port_command_free(struct port_command *c)
{
	struct answering *a, *after;
	struct run *r;

	if (!c)
		return;
	forget_queue(c);
	while ((r = TAILQ_FIRST(&c->running))) {
		TAILQ_REMOVE(&c->running, r, next);
		kill(-r->pid, SIGKILL);
		waitpid(r->pid, NULL, WNOHANG);
		run_free(r);
	}
	HASH_ITER(hh, c->answering, a, after)
	{
		HASH_DELETE(hh, c->answering, a);
		free(a);
	}
	words_free(c->words);
	free(c);
}
