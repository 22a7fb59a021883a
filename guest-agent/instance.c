/* SPDX-License-Identifier: MIT */
/*
 * One host: its session of the moment, and the mounts that outlive sessions. See instance.h.
 *
 * Theory of operation
 *
 * Connections come and go below a session, which notices nothing (session.h). A session ends when the host says so, is
 * silent for longer than its timeout, or is replaced: the host's agent was started anew, and comes with another id.
 *What the ended one had mounted stays (host_mounts.h), without a way to its shares, so that programs in it wait, not
 *fail:
 *
 *	GOODBYE(stopped), expired	all is unmounted
 *	replaced, or any other end	mounts are orphans, claimed by the next session's MOUNT of the same target; what
 *					it does not claim within CLAIM_US of its CONFIG goes; all, after the timeout
 *
 * What the host sends is checked by control_msg; it is trusted as the login user is, who runs us. Still, a message out
 *of order ends the session.
 */
#include "instance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "attachment.h"
#include "bounds.h"
#include "chan.h"
#include "clock_step.h"
#include "control_msg.h"
#include "dial.h"
#include "etc_environment.h"
#include "etc_hosts.h"
#include "greeter.h"
#include "host_mounts.h"
#include "installed.h"
#include "listener_source.h"
#include "log.h"
#include "loop.h"
#include "move.h"
#include "mux.h"
#include "op_meter.h"
#include "peer.h"
#include "ports.h"
#include "reverse.h"
#include "wire.h"

#define CLAIM_US 5000000u

/* One session. An ended one lives on without its instance until its GOODBYE is written. */
struct seat {
	struct instance *instance; /* NULL: replaced */
	struct loop *loop;
	struct peer *peer;
	struct attachment *attachment; /* of the present connection; NULL: none */
	struct move *move;             /* of it, to a direct one; NULL: there was none */
	uint16_t ssh_port;
	struct mux_stream *control;
	struct wire_buf in;
	struct reverse *reverse;  /* from the first LISTEN on; NULL: it listens for nobody */
	struct clock_step *clock; /* from the first CLOCK_CHECK on; NULL: the clock is no matter of this host's */
	bool named;               /* and the host has its name in /etc/hosts */
	bool configured;          /* CONFIG came */
	bool moving;              /* the connection is just being changed for a direct one */
};

struct instance {
	struct loop *loop;
	const struct instance_events *events;
	void *ctx;
	char *guarded; /* a folder no mount may hide: our socket's */
	uint8_t id[SESSION_ID_SIZE];
	uint32_t timeout_s;
	struct control_config config; /* of the last session that was configured */
	struct seat *seat;            /* NULL: no session */
	struct host_mounts *mounts;
	struct ports *ports; /* NULL: not wanted */
	struct dial *dial;
	struct op_meter *meter;
	struct loop_timer *claim, *linger;
	bool ended;
};

static void check_ended(struct instance *i)
{
	if (i->seat || !host_mounts_is_empty(i->mounts) || i->ended)
		return;
	i->ended = true;
	i->events->ended(i->ctx, i);
}

/* --------------------------------------------------------------------------------------------------------- to the host
 */

static int host_send(struct instance *i, const struct control_msg *msg)
{
	struct wire_buf out = {0};
	int rc = -ENOTCONN;

	if (i->seat && i->seat->control) {
		control_msg_put(&out, msg);
		rc = out.failed ? -ENOMEM : mux_stream_write_all(i->seat->control, out.data, out.len);
		wire_buf_free(&out);
	}
	return rc;
}

void instance_log(struct instance *i, int level, const char *line)
{
	struct control_msg msg = {.type = CONTROL_LOG};

	msg.log.level = (uint8_t)level;
	snprintf(msg.log.text, sizeof(msg.log.text), "%s", line);
	host_send(i, &msg); /* a line that finds no room is in our own log */
}

static const char *first_of(const char *a, const char *b, const char *otherwise)
{
	return a && *a ? a : b && *b ? b : otherwise;
}

static void send_guest(struct instance *i)
{
	struct control_msg msg = {.type = CONTROL_GUEST};
	struct utsname machine;

	uname(&machine);
	snprintf(msg.guest.agent_version, sizeof(msg.guest.agent_version), "%s", HOMEPORT_VERSION);
	snprintf(msg.guest.user, sizeof(msg.guest.user), "%s", first_of(getenv("USER"), getenv("LOGNAME"), "unknown"));
	snprintf(msg.guest.hostname, sizeof(msg.guest.hostname), "%s", machine.nodename);
	snprintf(msg.guest.home, sizeof(msg.guest.home), "%s", first_of(getenv("HOME"), NULL, "/"));
	msg.guest.uid = geteuid();
	msg.guest.gid = getegid();
	msg.guest.ssh_port = i->seat->ssh_port;
	host_send(i, &msg);
}

/* -------------------------------------------------------------------------------------------------------------- mounts
 */

static void on_mounts_message(void *ctx, const struct control_msg *msg)
{
	host_send(ctx, msg);
}

static void on_mounts_take_over(void *ctx, const char *target)
{
	struct instance *i = ctx;

	i->events->take_over(i->ctx, i, target);
}

static void on_mounts_empty(void *ctx)
{
	check_ended(ctx);
}

static const struct host_mounts_events mounts_events = {
	.message = on_mounts_message,
	.take_over = on_mounts_take_over,
	.empty = on_mounts_empty,
};

static void unmount_all(struct instance *i)
{
	host_mounts_unmount_all(i->mounts);
	check_ended(i);
}

void instance_give_up(struct instance *i, const char *target)
{
	if ((i->seat && peer_is_up(i->seat->peer)) || !host_mounts_give_up(i->mounts, target))
		return;
	log_info("mount %s: another host takes it over from one that is away", target);
	check_ended(i);
}

static void on_claim_timer(void *ctx)
{
	host_mounts_settle(((struct instance *)ctx)->mounts);
}

static void on_linger_timer(void *ctx)
{
	struct instance *i = ctx;

	log_info("a host has been away for longer than its session timeout");
	unmount_all(i);
}

/* --------------------------------------------------------------------------------------------------------- the control
 */

static int on_ports_message(void *ctx, const struct control_msg *msg)
{
	return host_send(ctx, msg);
}

static const struct ports_events ports_events = {.message = on_ports_message};

static int begin_ports(struct instance *i)
{
	struct listener_source *source;

	if (i->config.report_ports && !i->ports) {
		source = listener_poll_new(i->loop, LISTENER_POLL_BPF | LISTENER_POLL_BIRTHS);
		i->ports = source ? ports_new(i->loop, source, &ports_events, i) : NULL;
		if (!i->ports)
			return -ENOMEM;
	}
	if (!i->dial)
		i->dial = dial_new(i->loop, i->ports);
	if (!i->dial)
		return -ENOMEM;
	if (i->ports && i->config.report_ports)
		ports_start(i->ports);
	return 0;
}

/*
 * Root alone may, and where it cannot be there is no name: the ports are there all the same. What an agent that was
 * killed has left is taken away by the next session.
 */
static void name_host(struct instance *i, bool present)
{
	int rc;

	if (geteuid() != 0)
		return;
	rc = etc_hosts_set(ETC_HOSTS, i->id, present);
	if (rc < 0 && rc != -ENOENT)
		log_warn("%s: host.homeport.internal is not %s: %s", ETC_HOSTS, present ? "added" : "removed",
			 strerror(-rc));
}

/*
 * Root alone may, and does so where it was installed for good: the file is every user's. What an agent that was killed
 * has left is taken away by the next session, or by uninstall.
 */
static void set_variables(struct instance *i, char *const *variables, size_t count)
{
	int rc;

	if (geteuid() != 0 || access(INSTALLED_FILE, F_OK) < 0)
		return;
	rc = etc_environment_set(ETC_ENVIRONMENT, i->id, variables, count);
	if (rc < 0)
		log_warn("%s: the host's variables are not %s: %s", ETC_ENVIRONMENT, count > 0 ? "added" : "removed",
			 strerror(-rc));
}

static int on_config(struct instance *i, struct control_msg *msg)
{
	if (i->seat->configured)
		return -EPROTO;
	i->seat->configured = true;
	i->config = msg->config;
	log_info("host %s: connected", i->config.instance_name);
	send_guest(i);
	name_host(i, false);
	set_variables(i, NULL, 0);
	loop_timer_set(i->claim, CLAIM_US);
	return begin_ports(i);
}

static void on_reverse_message(void *ctx, const struct control_msg *msg)
{
	host_send(ctx, msg);
}

static const struct reverse_events reverse_events = {.message = on_reverse_message};

static int on_listen(struct instance *i, const struct control_msg *msg)
{
	struct seat *seat = i->seat;

	if (msg->listen.family && !seat->named) {
		seat->named = true;
		name_host(i, true);
	}
	if (!seat->reverse)
		seat->reverse = reverse_new(i->loop, peer_mux(seat->peer), &reverse_events, i);
	return seat->reverse ? reverse_listen(seat->reverse, &msg->listen) : -ENOMEM;
}

static void on_clock_ask(void *ctx, uint64_t token)
{
	struct control_msg msg = {.type = CONTROL_CLOCK_ASK, .clock = {.token = token}};

	host_send(ctx, &msg);
}

static const struct clock_events clock_events = {.ask = on_clock_ask};

static int on_clock_check(struct instance *i)
{
	struct seat *seat = i->seat;

	if (geteuid() != 0) {
		log_info("the clock is not set by the host's: it takes root");
		return 0;
	}
	if (!seat->clock)
		seat->clock = clock_step_new(&clock_ops_machine, &clock_events, i);
	if (!seat->clock)
		return -ENOMEM;
	clock_step_check(seat->clock);
	return 0;
}

static int on_count(struct instance *i, const struct control_msg *msg)
{
	struct control_msg answer = {.type = CONTROL_COUNTERS};

	op_meter_time(i->meter, msg->count.seconds);
	answer.counters.number = msg->count.number;
	answer.counters.waiting = i->meter->waiting;
	answer.counters.counters = &i->meter->counters;
	return host_send(i, &answer);
}

static void on_move_message(void *ctx, const struct control_msg *msg)
{
	struct seat *seat = ctx;

	if (seat->instance)
		host_send(seat->instance, msg);
}

static void on_move_listening(void *ctx, uint64_t inode)
{
	struct seat *seat = ctx;

	if (seat->instance && seat->instance->ports)
		ports_hide(seat->instance->ports, inode);
}

static void on_move_connected(void *ctx, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
			      size_t rest_len)
{
	struct seat *seat = ctx;
	struct chan *old;

	if (!session_matches(peer_identity(seat->peer), hello)) {
		greeter_refuse(chan, SESSION_REASON_UNKNOWN, "this is another session");
		return;
	}
	seat->moving = true;
	peer_move(seat->peer, chan, hello, rest, rest_len, &old);
	seat->moving = false;
	if (old && move_leave(seat->move, old) < 0)
		peer_drop_connection(seat->peer, "out of memory");
}

static void on_move_ended(void *ctx, const char *why)
{
	struct seat *seat = ctx;

	peer_drop_connection(seat->peer, why);
}

static const struct move_events move_events = {
	.message = on_move_message,
	.listening = on_move_listening,
	.connected = on_move_connected,
	.ended = on_move_ended,
};

static int on_direct(struct instance *i, const struct control_direct *direct)
{
	struct seat *seat = i->seat;

	if (!seat->attachment)
		return -EPROTO;
	if (!seat->move)
		seat->move = move_new(i->loop, &seat->attachment->ends, &move_events, seat);
	if (!seat->move)
		return -ENOMEM;
	move_ask(seat->move, direct);
	return 0;
}

static int on_message(struct instance *i, struct control_msg *msg)
{
	if (msg->type != CONTROL_CONFIG && !i->seat->configured)
		return -EPROTO;
	switch (msg->type) {
	case CONTROL_CONFIG:
		return on_config(i, msg);
	case CONTROL_MOUNT:
		host_mounts_want(i->mounts, peer_mux(i->seat->peer), &i->config, i->timeout_s, &msg->mount);
		return 0;
	case CONTROL_UNMOUNT:
		host_mounts_unwant(i->mounts, msg->unmount_id);
		return 0;
	case CONTROL_LISTEN:
		return on_listen(i, msg);
	case CONTROL_UNLISTEN:
		return i->seat->reverse ? reverse_unlisten(i->seat->reverse, msg->unlisten_id) : -EPROTO;
	case CONTROL_CLOCK_CHECK:
		return on_clock_check(i);
	case CONTROL_CLOCK:
		return i->seat->clock ? clock_step_answer(i->seat->clock, msg->clock.token, msg->clock.time_us)
				      : -EPROTO;
	case CONTROL_ENVIRONMENT:
		set_variables(i, msg->environment.variables, msg->environment.count);
		return 0;
	case CONTROL_COUNT:
		return on_count(i, msg);
	case CONTROL_DIRECT:
		return on_direct(i, &msg->direct);
	default:
		return -EPROTO; /* ours to send, not the host's */
	}
}

static int take_messages(struct seat *seat)
{
	struct control_msg msg;
	size_t at = 0;
	ssize_t used = 0;
	int rc = 0;

	while (!rc && (used = control_msg_get(seat->in.data + at, seat->in.len - at, &msg)) > 0) {
		at += (size_t)used;
		rc = on_message(seat->instance, &msg);
		control_msg_clear(&msg);
	}
	wire_buf_consume(&seat->in, at);
	return used < 0 ? (int)used : rc;
}

static void on_control_data(void *ctx, const uint8_t *data, size_t len)
{
	struct seat *seat = ctx;
	int rc;

	wire_put_bytes(&seat->in, data, len);
	mux_stream_consumed(seat->control, len);
	rc = seat->in.failed ? -ENOMEM : take_messages(seat);
	if (rc < 0)
		peer_goodbye(seat->peer, rc == -EPROTO ? SESSION_REASON_PROTOCOL : SESSION_REASON_RESOURCES,
			     "a control message of the host could not be taken");
}

static void on_control_fin(void *ctx)
{
	struct seat *seat = ctx;

	peer_goodbye(seat->peer, SESSION_REASON_PROTOCOL, "the host ended the control stream");
}

static void on_control_closed(void *ctx, enum mux_reason reason)
{
	struct seat *seat = ctx;

	seat->control = NULL;
	if (reason != MUX_REASON_LOST)
		on_control_fin(seat);
}

static const struct mux_stream_events control_events = {
	.data = on_control_data,
	.fin = on_control_fin,
	.closed = on_control_closed,
};

/* --------------------------------------------------------------------------------------------------------- the session
 */

static void seat_leave_connection(struct seat *seat, const char *why)
{
	move_free(seat->move);
	seat->move = NULL;
	attachment_close(seat->attachment, why);
	seat->attachment = NULL;
}

static void seat_free(void *ctx)
{
	struct seat *seat = ctx;

	seat_leave_connection(seat, NULL);
	peer_free(seat->peer);
	wire_buf_free(&seat->in);
	free(seat);
}

/* The instance goes on without this session. */
static void leave_seat(struct instance *i)
{
	if (i->seat->named)
		name_host(i, false);
	i->seat->named = false;
	if (i->seat->configured)
		set_variables(i, NULL, 0);
	reverse_free(i->seat->reverse);
	i->seat->reverse = NULL;
	clock_step_free(i->seat->clock);
	i->seat->clock = NULL;
	i->seat->instance = NULL;
	i->seat = NULL;
	loop_timer_stop(i->claim);
	if (i->ports)
		ports_stop(i->ports);
	dial_free(i->dial);
	i->dial = NULL;
	host_mounts_orphan(i->mounts);
	loop_timer_set(i->linger, (uint64_t)i->timeout_s * 1000000);
}

static void seat_tell_mounts(struct seat *seat, bool linked)
{
	if (seat->instance)
		host_mounts_set_linked(seat->instance->mounts, linked);
}

static void on_up(void *ctx, bool resumed, const struct session_hello *remote)
{
	struct seat *seat = ctx;

	(void)remote;
	seat_tell_mounts(seat, true);
	if (resumed && seat->instance)
		log_info("host %s: connected %s", seat->instance->config.instance_name,
			 seat->moving ? "directly, beside ssh" : "again");
}

/*
 * A host that goes before it has said what it wants may never have heard from us (a login shell that prints without end
 * stands between), and comes back as somebody new: there is nothing to keep.
 */
static void on_down(void *ctx, const char *why)
{
	struct seat *seat = ctx;
	struct instance *i = seat->instance;

	seat_tell_mounts(seat, false);
	seat_leave_connection(seat, NULL);
	if (i && seat->configured) {
		log_info("host %s: %s", i->config.instance_name, why);
		return;
	}
	loop_defer(seat->loop, seat_free, seat);
	if (i) {
		leave_seat(i);
		check_ended(i);
	}
}

static void on_dead(void *ctx, enum session_reason reason, const char *text)
{
	struct seat *seat = ctx;
	struct instance *i = seat->instance;
	char why[SESSION_TEXT_MAX + 1];

	log_info("host %s: the session is over (%s) %s", i ? i->config.instance_name : "", session_reason_name(reason),
		 text_printable(why, sizeof(why), text, strlen(text)));
	/* The host takes the end of the connection for our word that all is undone. */
	if (i)
		leave_seat(i);
	seat_leave_connection(seat, NULL);
	loop_defer(seat->loop, seat_free, seat);
	if (!i)
		return;
	if (reason == SESSION_REASON_STOPPED || reason == SESSION_REASON_EXPIRED)
		unmount_all(i);
	else
		check_ended(i);
}

static void on_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct seat *seat = ctx;
	struct instance *i = seat->instance;

	if (i && kind == MUX_KIND_CONTROL && !seat->control && !seat->configured) {
		seat->control = stream;
		mux_stream_accept(stream, &control_events, seat);
	} else if (i && (kind == MUX_KIND_TCP || kind == MUX_KIND_UDP) && i->dial) {
		dial_open(i->dial, stream, kind, args, len);
	} else if (i && kind == MUX_KIND_UNIX && i->dial) {
		dial_open_unix(i->dial, stream, args, len);
	} else {
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
	}
}

static const struct peer_events peer_events = {.up = on_up, .down = on_down, .dead = on_dead, .open = on_open};

/* A host that was started anew, or lost its session otherwise. The old session hears why, if anybody is there to hear.
 */
static void replace_seat(struct instance *i)
{
	struct seat *old = i->seat;

	leave_seat(i);
	if (old->control)
		mux_stream_reset(old->control, MUX_REASON_CANCELLED);
	old->control = NULL;
	if (peer_is_up(old->peer))
		peer_goodbye(old->peer, SESSION_REASON_REPLACED, "");
	else
		loop_defer(i->loop, seat_free, old);
}

static struct seat *seat_new(struct instance *i, const struct session_hello *hello)
{
	struct seat *seat = calloc(1, sizeof(*seat));

	if (!seat)
		return NULL;
	seat->loop = i->loop;
	seat->instance = i;
	seat->peer = peer_new(i->loop, SESSION_GUEST, hello, &peer_events, seat);
	if (seat->peer)
		return seat;
	free(seat);
	return NULL;
}

/* The session a HELLO is about, made if it is a new one; NULL when the chan was refused (and taken). */
static struct seat *find_seat(struct instance *i, struct chan *chan, const struct session_hello *hello)
{
	struct session_hello own = *hello;

	if (i->seat && session_matches(peer_identity(i->seat->peer), hello))
		return i->seat;
	if (hello->resume) {
		greeter_refuse(chan, SESSION_REASON_UNKNOWN, "this session is not known here (any more)");
		return NULL;
	}
	if (i->seat)
		replace_seat(i);
	snprintf(own.agent_version, sizeof(own.agent_version), "%s", HOMEPORT_VERSION);
	i->seat = seat_new(i, &own);
	if (!i->seat)
		greeter_refuse(chan, SESSION_REASON_RESOURCES, "out of memory");
	return i->seat;
}

void instance_connect(struct instance *i, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		      size_t rest_len, struct attachment *attachment)
{
	struct seat *seat = find_seat(i, chan, hello);
	int rc;

	if (!seat) {
		attachment_close(attachment, NULL);
		check_ended(i);
		return;
	}
	i->timeout_s = hello->timeout_s;
	loop_timer_stop(i->linger);
	/* The connection that was there, if one was, ends in peer_attach(): its process is let go first. */
	seat_leave_connection(seat, NULL);
	if (attachment->ends.server.len)
		seat->ssh_port = sock_address_port(&attachment->ends.server);
	rc = peer_attach(seat->peer, chan, hello, rest, rest_len);
	if (rc < 0) {
		log_warn("host %s: a connection was refused: %s", i->config.instance_name, strerror(-rc));
		attachment_close(attachment, NULL);
		return;
	}
	seat->attachment = attachment;
}

/* ---------------------------------------------------------------------------------------------------------- begin, end
 */

bool instance_has_id(const struct instance *i, const uint8_t id[SESSION_ID_SIZE])
{
	return !i->ended && !memcmp(i->id, id, sizeof(i->id));
}

bool instance_is(const struct instance *i, const struct session_hello *hello)
{
	return instance_has_id(i, hello->instance);
}

void instance_release(struct instance *i)
{
	log_info("host %s: an agent of another build takes it over", i->config.instance_name);
	if (i->seat)
		replace_seat(i);
	unmount_all(i);
}

void instance_hand_over(struct instance *i)
{
	log_info("host %s: an agent of another build goes on with it", i->config.instance_name);
	if (i->seat)
		replace_seat(i);
	host_mounts_leave(i->mounts);
	check_ended(i);
}

void instance_leave(struct instance *i)
{
	host_mounts_leave(i->mounts);
	instance_free(i);
}

struct instance *instance_new(struct loop *loop, const struct session_hello *hello, const char *guarded,
			      const struct instance_events *events, void *ctx)
{
	struct instance *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	*i = (struct instance){.loop = loop, .events = events, .ctx = ctx, .timeout_s = hello->timeout_s};
	memcpy(i->id, hello->instance, sizeof(i->id));
	i->guarded = strdup(guarded);
	i->claim = loop_timer_new(loop, on_claim_timer, i);
	i->linger = loop_timer_new(loop, on_linger_timer, i);
	i->meter = op_meter_new(loop);
	i->mounts =
		i->guarded && i->meter ? host_mounts_new(loop, i->id, i->guarded, i->meter, &mounts_events, i) : NULL;
	if (i->mounts && i->claim && i->linger)
		return i;
	instance_free(i);
	return NULL;
}

void instance_free(struct instance *i)
{
	struct seat *seat;

	if (!i)
		return;
	i->ended = true;
	seat = i->seat;
	if (seat) {
		leave_seat(i);
		seat_free(seat);
	}
	host_mounts_free(i->mounts);
	dial_free(i->dial);
	ports_free(i->ports);
	op_meter_free(i->meter);
	loop_timer_free(i->claim);
	loop_timer_free(i->linger);
	free(i->guarded);
	free(i);
}

void instance_report(const struct instance *i, FILE *out)
{
	fprintf(out, "host %s (%s): %s\n", i->config.instance_name, i->config.host_user,
		i->seat && peer_is_up(i->seat->peer) ? "connected" : "away");
	host_mounts_report(i->mounts, out);
	if (i->ports && ports_how(i->ports)[0])
		fprintf(out, "  ports: %s\n", ports_how(i->ports));
	if (i->seat && i->seat->clock)
		clock_step_report(i->seat->clock, out);
}
