/* SPDX-License-Identifier: MIT */
/*
 * One host: its session of the moment, and the mounts that outlive sessions. See instance.h.
 *
 * Theory of operation
 *
 * Connections come and go below a session, which notices nothing (session.h). A session ends when the host says so, is
 * silent for longer than its timeout, or is replaced: the host's agent was started anew, and comes with another id.
 * What the ended one had mounted stays (host_mounts.h), without a way to its shares, so that programs in it wait, not
 * fail:
 *
 *	GOODBYE(stopped), expired	all is unmounted
 *	replaced, or any other end	mounts are orphans, claimed by the next session's MOUNT of the same target; what
 *					it does not claim within CLAIM_US of its CONFIG goes; all, after the timeout
 */
#include "instance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attachment.h"
#include "chan.h"
#include "clock_step.h"
#include "dial.h"
#include "greeter.h"
#include "host_mounts.h"
#include "instance_priv.h"
#include "log.h"
#include "loop.h"
#include "move.h"
#include "mux.h"
#include "op_meter.h"
#include "peer.h"
#include "ports.h"

static void check_ended(struct instance *i)
{
	if (i->seat || !host_mounts_is_empty(i->mounts) || i->ended)
		return;
	i->ended = true;
	i->events->ended(i->ctx, i);
}

/* --------------------------------------------------------------------------------------------------------- to the host
 */

int instance_send(struct instance *i, const struct control_msg *msg)
{
	return i->seat ? control_stream_send(&i->seat->control, msg) : -ENOTCONN;
}

void instance_log(struct instance *i, int level, const char *line)
{
	struct control_msg msg = {.type = CONTROL_LOG};

	msg.log.level = (uint8_t)level;
	snprintf(msg.log.text, sizeof(msg.log.text), "%s", line);
	instance_send(i, &msg); /* a line that finds no room is in our own log */
}

/* -------------------------------------------------------------------------------------------------------------- mounts
 */

static void on_mounts_message(void *ctx, const struct control_msg *msg)
{
	instance_send(ctx, msg);
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

/* --------------------------------------------------------------------------------------------------------- the session
 */

static void seat_leave_connection(struct seat *seat, const char *why)
{
	move_free(seat->move);
	seat->move = NULL;
	instance_lane_lost(seat);
	attachment_close(seat->attachment, why);
	seat->attachment = NULL;
}

static void seat_free(void *ctx)
{
	struct seat *seat = ctx;

	seat_leave_connection(seat, NULL);
	instance_lane_end(seat);
	peer_free(seat->peer);
	control_stream_free(&seat->control);
	free(seat);
}

/* The instance goes on without this session. */
static void leave_seat(struct instance *i)
{
	instance_control_undo(i);
	instance_lane_end(i->seat);
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

	if (i && kind == MUX_KIND_CONTROL && !control_stream_is_open(&seat->control) && !seat->configured) {
		instance_control_begin(seat, stream);
	} else if (i && (kind == MUX_KIND_TCP || kind == MUX_KIND_UDP) && i->dial) {
		dial_open(i->dial, stream, kind, args, len);
	} else if (i && kind == MUX_KIND_UNIX && i->dial) {
		dial_open_unix(i->dial, stream, args, len);
	} else if (i && kind == MUX_KIND_LANE) {
		instance_lane_open(seat, stream);
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
	control_stream_reset(&old->control);
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
	instance_lane_begin(seat);
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

static void refused(const struct instance *i, struct attachment *attachment, int error)
{
	log_warn("host %s: a connection was refused: %s", i->config.instance_name, strerror(-error));
	attachment_close(attachment, NULL);
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
	rc = peer_check_attach(seat->peer, hello);
	if (rc < 0) {
		chan_free(chan);
		refused(i, attachment, rc);
		return;
	}
	i->timeout_s = hello->timeout_s;
	loop_timer_stop(i->linger);
	/* The connection that was there, if one was, ends in peer_attach(): its process is let go first. */
	seat_leave_connection(seat, NULL);
	if (attachment->ends.server.len)
		seat->ssh_port = sock_address_port(&attachment->ends.server);
	seat->attachment = attachment;
	rc = peer_attach(seat->peer, chan, hello, rest, rest_len);
	if (rc < 0) {
		seat->attachment = NULL;
		refused(i, attachment, rc);
	}
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
