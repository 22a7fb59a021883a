/* SPDX-License-Identifier: MIT */
/*
 * What the host of a session says on its control stream, and what is done about it. Runs on the loop's thread.
 *
 * What the host sends is checked by control_msg; it is trusted as the login user is, who runs us. Still, a message out
 * of order ends the session.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "attachment.h"
#include "chan.h"
#include "clock_step.h"
#include "dial.h"
#include "etc_environment.h"
#include "etc_hosts.h"
#include "greeter.h"
#include "host_mounts.h"
#include "installed.h"
#include "instance_priv.h"
#include "listener_source.h"
#include "log.h"
#include "loop.h"
#include "move.h"
#include "op_meter.h"
#include "peer.h"
#include "ports.h"
#include "reverse.h"

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
	instance_send(i, &msg);
}

static int on_ports_message(void *ctx, const struct control_msg *msg)
{
	return instance_send(ctx, msg);
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
	dial_set_carrier(i->dial, &i->seat->lane.carrier);
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
	instance_send(ctx, msg);
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
	if (!seat->reverse)
		return -ENOMEM;
	reverse_set_carrier(seat->reverse, &seat->lane.carrier);
	return reverse_listen(seat->reverse, &msg->listen);
}

static void on_clock_ask(void *ctx, uint64_t token)
{
	struct control_msg msg = {.type = CONTROL_CLOCK_ASK, .clock = {.token = token}};

	instance_send(ctx, &msg);
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
	return instance_send(i, &answer);
}

/* --------------------------------------------------------------------------------------------- a direct connection */

void instance_send_of_seat(void *ctx, const struct control_msg *msg)
{
	struct seat *seat = ctx;

	if (seat->instance)
		instance_send(seat->instance, msg);
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
	.message = instance_send_of_seat,
	.connected = on_move_connected,
	.ended = on_move_ended,
};

static int on_direct(struct instance *i, const struct control_direct *direct)
{
	struct seat *seat = i->seat;

	if (direct->lane)
		return instance_lane_direct(seat, direct);
	if (!seat->move)
		seat->move = move_new(i->loop, &seat->attachment->ends, &move_events, seat);
	if (!seat->move)
		return -ENOMEM;
	move_ask(seat->move, direct);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ the stream */

static int on_message(void *ctx, struct control_msg *msg)
{
	struct seat *seat = ctx;
	struct instance *i = seat->instance;

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

static const struct control_stream_events control_events = {.other = "host", .message = on_message};

void instance_control_undo(struct instance *i)
{
	struct seat *seat = i->seat;

	if (seat->named)
		name_host(i, false);
	seat->named = false;
	if (seat->configured)
		set_variables(i, NULL, 0);
	reverse_free(seat->reverse);
	seat->reverse = NULL;
	clock_step_free(seat->clock);
	seat->clock = NULL;
}

void instance_control_begin(struct seat *seat, struct mux_stream *stream)
{
	control_stream_accept(&seat->control, seat->peer, stream, &control_events, seat);
}
