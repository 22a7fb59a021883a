/* SPDX-License-Identifier: MIT */
/*
 * The host's agent: one loop, one desired state (the configuration), and what makes it true.
 *
 * Theory of operation
 *
 * The link keeps a connection wanted and hands out a chan; the peer makes a session of it that survives the loss of
 * the chan; a new session opens the control stream and asks for the mounts; the guest opens a stream for each share,
 * which shares serves, and reports ports, which forward answers. What any of these learns only marks the agent as
 * changed: in the next turn agent_turn() compares what is wanted with what is, sends what is missing, and tells whoever
 * watches (a waiting `up`, `status --watch`, the service manager).
 *
 * A session that the guest does not know any more (its agent died) is replaced by a new one, and all is asked for
 * again. Stopping is the same comparison with nothing wanted: unmount, then GOODBYE, then the end; never longer than
 * AGENT_STOP_US, whatever the guest does.
 */
#include "agent.h"

#include <assert.h>
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent_state.h"
#include "bounds.h"
#include "bring.h"
#include "chan.h"
#include "config.h"
#include "config_file.h"
#include "daemonize.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "nofile.h"
#include "notify.h"
#include "offload.h"
#include "open_args.h"
#include "peer.h"
#include "port_command.h"
#include "reverse.h"
#include "runtime_dir.h"
#include "shares.h"
#include "ssh_args.h"

#define AGENT_STOP_US 5000000u
/*
 * How long an agent that failed waits for the `up` that started it to ask why (on a machine that is busy with other
 * things it asks late), and then for the answer to leave.
 */
#define AGENT_LAST_WORDS_US 10000000u
#define AGENT_TOLD_US       50000u
#define AGENT_DOUBT_US      (SESSION_PING_US + 200000u)

static const char *const state_names[] = {
	[AGENT_CONNECTING] = "connecting",
	[AGENT_CONNECTED] = "connected",
	[AGENT_RECONNECTING] = "reconnecting",
	[AGENT_STOPPED] = "stopped",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == AGENT_STATE_COUNT, "each state has a name");

const char *agent_state_name(enum agent_state state)
{
	return state_names[state];
}

void agent_changed(struct agent *a)
{
	if (a->turn && !loop_timer_is_set(a->turn))
		loop_timer_set(a->turn, 0);
}

static void set_state(struct agent *a, enum agent_state state)
{
	assert(a->state != AGENT_STOPPED || state == AGENT_STOPPED);
	if (a->state == state)
		return;
	a->state = state;
	a->since = time(NULL);
	log_info("session %s: %s", a->dir->name, agent_state_name(state));
	agent_event_session(a);
	agent_changed(a);
}

/* ------------------------------------------------------------------------------------------------- what is settled */

bool agent_settled(const struct agent *a)
{
	if (a->state != AGENT_CONNECTED || !a->guest_known)
		return false;
	if (a->config->max_forwards > 0 && !a->ports_known)
		return false;
	if (a->reverse && !reverse_is_settled(a->reverse))
		return false;
	for (size_t i = 0; i < a->plan.count; i++)
		if (a->mounts[i].outdated ||
		    (a->mounts[i].status != MOUNT_MOUNTED && a->mounts[i].status != MOUNT_FAILED))
			return false;
	return TAILQ_EMPTY(&a->leaving);
}

size_t agent_failed_mounts(const struct agent *a)
{
	size_t failed = 0;

	for (size_t i = 0; i < a->plan.count; i++)
		failed += a->mounts[i].status == MOUNT_FAILED;
	return failed;
}

/* -------------------------------------------------------------------------------------------------------- the end */

static void end_now(struct agent *a)
{
	set_state(a, AGENT_STOPPED);
	loop_stop(a->loop);
}

void agent_fail(struct agent *a, int exit_status)
{
	a->exit_status = exit_status;
	log_error("%s%s%s", a->error.sentence, a->error.advice[0] ? "; " : "", a->error.advice);
	set_state(a, AGENT_STOPPED);
	link_stop(a->link);
	loop_timer_set(a->stop_timer, getenv(DAEMONIZE_ENV) ? AGENT_LAST_WORDS_US : AGENT_TOLD_US);
}

void agent_told(struct agent *a)
{
	loop_timer_set(a->stop_timer, AGENT_TOLD_US);
}

static void on_stop_timer(void *ctx)
{
	struct agent *a = ctx;

	if (a->state == AGENT_STOPPED) {
		loop_stop(a->loop);
		return;
	}
	if (!a->goodbye_sent)
		log_warn("session %s: the guest did not unmount in time; it does so when it hears that this side has "
			 "gone",
			 a->dir->name);
	end_now(a);
}

void agent_stop(struct agent *a)
{
	if (a->stopping)
		return;
	a->stopping = true;
	notify_send("STOPPING=1");
	loop_timer_set(a->stop_timer, AGENT_STOP_US);
	agent_changed(a);
}

/* One step towards the end: unmounted, then said goodbye; `dead` follows when the guest has undone the rest as well.
 * Without a connection there is nobody to tell, and nothing to wait for. */
static void stop_step(struct agent *a)
{
	/* On its way from one connection to the other nobody hears it. */
	if (a->goodbye_sent || a->direct.moving)
		return;
	if (!a->peer || !peer_is_up(a->peer)) {
		if (agent_failed_mounts(a) < a->plan.count && a->ever_connected)
			log_warn("session %s: the guest cannot be reached; what it mounted stays until it gives the "
				 "session up",
				 a->dir->name);
		end_now(a);
	} else if (a->restarting || agent_guest_unmounted(a)) {
		a->goodbye_sent = true;
		/* What is mounted waits there for the next session. */
		peer_part(a->peer, a->restarting ? SESSION_REASON_REPLACED : SESSION_REASON_STOPPED, "");
	}
}

static void on_signal(void *ctx, int signo)
{
	struct agent *a = ctx;

	if (signo == SIGHUP) {
		agent_reload(a);
		return;
	}
	a->restarting = signo == SIGUSR1 && !a->stopping;
	agent_stop(a);
}

/* ------------------------------------------------------------------------------------------------------- the session
 */

static void free_peer(void *ctx)
{
	peer_free(ctx);
}

static void on_peer_up(void *ctx, bool resumed, const struct session_hello *remote)
{
	struct agent *a = ctx;

	(void)remote;
	if (a->state == AGENT_STOPPED)
		return;
	agent_lane_resume(a);
	if (agent_direct_moved(a))
		return;
	a->error = (struct link_error){0};
	if (a->ever_connected)
		a->reconnects++;
	a->ever_connected = true;
	if (!resumed && agent_guest_begin(a) < 0)
		peer_goodbye(a->peer, SESSION_REASON_RESOURCES, "out of memory");
	if (resumed) {
		agent_guest_check_clock(a);
		agent_direct_begin(a);
	}
	set_state(a, AGENT_CONNECTED);
	agent_changed(a);
}

/* The sentence, without the host's name in front, which some have already. */
static const char *without_name(const struct agent *a, const char *why)
{
	size_t len = strlen(a->config->ssh.host);

	return !strncmp(why, a->config->ssh.host, len) && !strncmp(why + len, ": ", 2) ? why + len + 2 : why;
}

static void on_peer_down(void *ctx, const char *why)
{
	struct agent *a = ctx;

	agent_direct_end(a, true);
	agent_lane_lost(a);
	if (a->state == AGENT_STOPPED)
		return;
	log_warn("session %s: %s", a->dir->name, why);
	set_state(a, a->ever_connected ? AGENT_RECONNECTING : AGENT_CONNECTING);
	link_error_set(&a->error, LINK_ERROR_LOST, "%s: %s", a->config->ssh.host, without_name(a, why));
	link_lost(a->link);
	agent_changed(a);
}

/* What of a session's end no new session would mend. */
static bool death_is_final(struct agent *a, enum session_reason reason, const char *text)
{
	switch (reason) {
	case SESSION_REASON_VERSION:
		link_error_set(&a->error, LINK_ERROR_PROTOCOL, "the guest has another version of homeport: %s", text);
		link_error_advise(&a->error, "leave --guest-command out: homeport brings its own along");
		return true;
	case SESSION_REASON_REPLACED:
		link_error_set(&a->error, LINK_ERROR_LOST,
			       "another agent with this session's state took the guest over");
		return true;
	default:
		return false;
	}
}

static void on_peer_dead(void *ctx, enum session_reason reason, const char *text)
{
	struct agent *a = ctx;
	char why[SESSION_TEXT_MAX + 1];

	text_printable(why, sizeof(why), text, strlen(text));
	if (reason != SESSION_REASON_STOPPED)
		log_warn("session %s: over (%s)%s%s", a->dir->name, session_reason_name(reason), why[0] ? ": " : "",
			 why);
	loop_defer(a->loop, free_peer, a->peer);
	a->peer = NULL;
	agent_direct_end(a, false);
	agent_lane_end(a);
	agent_guest_end(a);
	agent_changed(a);
	if (a->stopping) {
		end_now(a);
	} else if (a->state == AGENT_STOPPED) {
		return;
	} else if (death_is_final(a, reason, why)) {
		agent_fail(a, 1);
	} else {
		set_state(a, a->ever_connected ? AGENT_RECONNECTING : AGENT_CONNECTING);
		link_lost(a->link);
	}
}

/*
 * The guest may open its shares, and what a reverse rule names, by numbers it was given, and nothing else: it never
 * names an address of the host.
 */
static void on_peer_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct agent *a = ctx;
	struct sftp_target target;
	struct served *share;

	if (kind == MUX_KIND_REVERSE && a->reverse) {
		reverse_open(a->reverse, stream, args, len);
		return;
	}
	if (kind != MUX_KIND_SFTP || sftp_target_get(args, len, &target) < 0) {
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	share = agent_guest_share(a, &target);
	if (share)
		served_stream(share, stream);
	else
		mux_stream_refuse(stream, MUX_REASON_NOT_FOUND);
}

static void on_peer_skipped(void *ctx, const uint8_t *data, size_t len)
{
	char text[512];

	(void)ctx;
	log_info("the guest's login shell printed, before homeport-guest: %s",
		 text_printable(text, sizeof(text), data, len));
}

static const struct peer_events peer_events = {
	.up = on_peer_up,
	.down = on_peer_down,
	.dead = on_peer_dead,
	.open = on_peer_open,
	.skipped = on_peer_skipped,
};

int agent_new_hello(const struct agent *a, struct session_hello *hello)
{
	*hello = (struct session_hello){.timeout_s = a->config->session_timeout_s};
	if (getrandom(hello->id, sizeof(hello->id), 0) != sizeof(hello->id) ||
	    getrandom(hello->secret, sizeof(hello->secret), 0) != sizeof(hello->secret))
		return -EIO;
	memcpy(hello->instance, a->instance, sizeof(hello->instance));
	snprintf(hello->agent_version, sizeof(hello->agent_version), "%s", HOMEPORT_VERSION);
	return 0;
}

static struct peer *new_peer(struct agent *a)
{
	struct session_hello hello;

	return agent_new_hello(a, &hello) < 0 ? NULL : peer_new(a->loop, SESSION_HOST, &hello, &peer_events, a);
}

/* ----------------------------------------------------------------------------------------------------------- the link
 */

static void on_link_connected(void *ctx, struct chan *chan, const struct link_info *info)
{
	struct agent *a = ctx;

	snprintf(a->ssh_host, sizeof(a->ssh_host), "%s", info->host);
	snprintf(a->ssh_user, sizeof(a->ssh_user), "%s", info->user);
	snprintf(a->ssh_key, sizeof(a->ssh_key), "%s", info->host_key);
	snprintf(a->ssh_key_type, sizeof(a->ssh_key_type), "%s", info->host_key_type);
	a->ssh_port = info->port;
	a->direct.local = info->local;
	a->direct.remote = info->remote;
	if (!a->peer)
		a->peer = new_peer(a);
	if (!a->peer) {
		chan_free(chan);
		link_lost(a->link);
	} else if (peer_attach(a->peer, chan, NULL, NULL, 0) < 0) {
		link_lost(a->link);
	}
}

/* Nothing is given up that once worked: a key or a program that is gone may come back. */
static void on_link_failed(void *ctx, const struct link_error *err)
{
	struct agent *a = ctx;
	bool news = a->error.kind != err->kind || strcmp(a->error.sentence, err->sentence);

	if (a->state == AGENT_STOPPED)
		return;
	a->error = *err;
	agent_changed(a);
	if (err->permanent && !a->ever_connected && !a->stopping)
		agent_fail(a, 1);
	else if (news) /* once, not with every attempt of a night: status says that it is so still */
		log_warn("session %s: %s", a->dir->name, err->sentence);
}

/*
 * The machine slept, or a network came or went. A connection that lives answers within a PING's second; one that does
 * not is given up now, not after the four seconds of an ordinary loss.
 */
static void on_link_doubtful(void *ctx, const char *why)
{
	struct agent *a = ctx;

	snprintf(a->doubt, sizeof(a->doubt), "%s", why);
	a->doubt_us = loop_now_us(a->loop);
	loop_timer_set(a->doubt_timer, AGENT_DOUBT_US);
}

static void on_doubt_timer(void *ctx)
{
	struct agent *a = ctx;

	if (!a->peer || !peer_is_up(a->peer))
		return;
	if (peer_heard_us(a->peer) < a->doubt_us)
		peer_drop_connection(a->peer, a->doubt);
	else
		agent_guest_check_clock(a);
}

static const struct link_events link_events = {
	.connected = on_link_connected,
	.failed = on_link_failed,
	.doubtful = on_link_doubtful,
};

/* What the guest's login shell runs: what the user says, or what finds homeport-guest there, or brings it along. */
static char *guest_command(struct agent *a, const struct guest_builds **builds)
{
	char words[sizeof("attach ") + 2 * sizeof(a->instance)] = "attach ", *command = NULL;

	for (size_t i = 0; i < sizeof(a->instance); i++)
		snprintf(words + strlen("attach ") + 2 * i, 3, "%02x", a->instance[i]);
	if (!a->config->guest_command) {
		guest_builds_find(&a->builds);
		*builds = &a->builds;
		return bring_command(&a->builds, words);
	}
	if (asprintf(&command, "exec %s %s", a->config->guest_command, words) < 0)
		return NULL;
	return command;
}

static int begin_link(struct agent *a)
{
	const struct config_ssh *ssh = &a->config->ssh;
	const char *options[CONFIG_SSH_OPTIONS_MAX + 1];
	struct link_params params = {.ssh = ssh_args_request(ssh, options), .host_key = ssh->host_key};
	char *command;

	params.command = command = guest_command(a, &params.builds);
	if (command)
		a->link = link_new(a->loop, &params, &link_events, a);
	free(command);
	if (!a->link)
		return -ENOMEM;
	link_start(a->link);
	return 0;
}

/* ----------------------------------------------------------------------------------------------------- once a turn */

static void tell_manager(struct agent *a)
{
	size_t failed = agent_failed_mounts(a);

	if (agent_settled(a) && !a->ready_told) {
		a->ready_told = true;
		notify_send("READY=1");
	}
	if (a->error.kind)
		notify_send("STATUS=%s: %s", agent_state_name(a->state), a->error.sentence);
	else if (failed)
		notify_send("STATUS=%s, %zu of %zu mounts failed", agent_state_name(a->state), failed, a->plan.count);
	else
		notify_send("STATUS=%s", agent_state_name(a->state));
}

static void agent_turn(void *ctx)
{
	struct agent *a = ctx;

	agent_event_mounts(a);
	if (a->state != AGENT_STOPPED)
		agent_guest_reconcile(a);
	if (a->stopping && a->state != AGENT_STOPPED)
		stop_step(a);
	tell_manager(a);
	agent_ctl_update(a);
}

static void on_watchdog(void *ctx)
{
	struct agent *a = ctx;

	notify_send("WATCHDOG=1");
	loop_timer_set(a->watchdog, notify_watchdog_us());
}

/* ------------------------------------------------------------------------------------------------------- begin, end */

static void on_shares_changed(void *ctx)
{
	agent_changed(ctx);
}

static const struct shares_events shares_events = {.changed = on_shares_changed};

static int know_user(struct agent *a)
{
	const struct passwd *me = getpwuid(geteuid());

	snprintf(a->host_user, sizeof(a->host_user), "%s", me ? me->pw_name : "");
	return config_home(a->host_home);
}

static int begin(struct agent *a)
{
	int rc;

	nofile_raise();
	a->loop = loop_new();
	if (!a->loop)
		return -ENOMEM;
	a->sigterm = loop_signal_new(a->loop, SIGTERM, on_signal, a);
	a->sigint = loop_signal_new(a->loop, SIGINT, on_signal, a);
	a->sighup = loop_signal_new(a->loop, SIGHUP, on_signal, a);
	a->sigusr1 = loop_signal_new(a->loop, SIGUSR1, on_signal, a);
	a->turn = loop_timer_new(a->loop, agent_turn, a);
	a->doubt_timer = loop_timer_new(a->loop, on_doubt_timer, a);
	a->direct_timer = loop_timer_new(a->loop, agent_direct_again, a);
	a->stop_timer = loop_timer_new(a->loop, on_stop_timer, a);
	a->watchdog = loop_timer_new(a->loop, on_watchdog, a);
	a->shares = shares_new(a->loop, &shares_events, a);
	a->base = config_clone(a->start->desired->config);
	a->config = config_clone(a->start->desired->config);
	if (!a->sigterm || !a->sigint || !a->sighup || !a->sigusr1 || !a->base || !a->config || !a->turn ||
	    !a->doubt_timer || !a->direct_timer || !a->stop_timer || !a->watchdog || !a->shares)
		return -ENOMEM;
	rc = know_user(a);
	if (!rc)
		rc = agent_lane_begin(a);
	if (!rc)
		rc = proxy_env_read(&a->proxies, getenv);
	a->on_forward = port_command_new(a->loop, a->dir->name);
	if (!rc)
		rc = a->on_forward ? port_command_set(a->on_forward, a->config->on_forward, a->config->on_forward_count)
				   : -ENOMEM;
	if (!rc)
		rc = agent_ctl_begin(a);
	if (!rc)
		rc = agent_mounts_set(a, a->config);
	if (!rc)
		rc = begin_link(a);
	if (notify_watchdog_us())
		on_watchdog(a);
	return rc;
}

static void end(struct agent *a)
{
	offload_cancel(a->reader);
	agent_ctl_end(a);
	agent_guest_free(a);
	port_command_free(a->on_forward);
	agent_direct_end(a, false);
	agent_lane_end(a);
	loop_timer_free(a->lane.again);
	peer_free(a->peer);
	link_free(a->link);
	guest_builds_close(&a->builds);
	shares_free(a->shares);
	agent_mounts_end(a);
	by_hand_clear(&a->by_hand);
	config_free(a->base);
	config_free(a->config);
	proxy_env_clear(&a->proxies);
	control_stream_free(&a->control);
	loop_timer_free(a->turn);
	loop_timer_free(a->doubt_timer);
	loop_timer_free(a->direct_timer);
	loop_timer_free(a->stop_timer);
	loop_timer_free(a->watchdog);
	loop_signal_free(a->sigterm);
	loop_signal_free(a->sigint);
	loop_signal_free(a->sighup);
	loop_signal_free(a->sigusr1);
	loop_free(a->loop);
}

/* What the agent does not need it cannot be made to use: no program it starts gains rights, nobody reads its memory. */
static void restrict_process(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
}

/* The guest has lines in our log, and is there for months. */
static void on_log_line(void *ctx, enum log_level level, const char *line)
{
	(void)level;
	(void)line;
	runtime_dir_limit_log(ctx);
}

int agent_run(const struct agent_start *start)
{
	struct agent a = {.start = start, .dir = start->dir, .since = time(NULL)};
	int rc;

	TAILQ_INIT(&a.leaving);
	by_hand_init(&a.by_hand);
	memcpy(a.instance, start->instance, sizeof(a.instance));
	restrict_process();
	log_set_sink(on_log_line, (void *)start->dir);
	rc = begin(&a);
	if (rc < 0)
		log_error("session %s: cannot begin: %s", start->dir->name, strerror(-rc));
	else
		rc = loop_run(a.loop);
	end(&a);
	log_set_sink(NULL, NULL);
	return rc < 0 ? 1 : a.exit_status;
}
