/* SPDX-License-Identifier: MIT */
/*
 * The guest's end of a session's lane (lane.h): made when its first connection comes, which the host asks for as it
 * does for the session's own (move.h). Where that is lost the host brings another, through a stream of the session.
 * Runs on the loop's thread.
 */
#include <errno.h>

#include "attachment.h"
#include "chan.h"
#include "greeter.h"
#include "instance_priv.h"
#include "lane.h"
#include "log.h"
#include "move.h"

static void *on_take(void *ctx, struct relay *relay, uint32_t id, struct relay_luggage *luggage)
{
	struct seat *seat = ctx;

	if (seat->lane.lane)
		return lane_take(seat->lane.lane, relay, id, luggage);
	relay_luggage_drop(luggage);
	return NULL;
}

void instance_lane_begin(struct seat *seat)
{
	seat->lane.carrier = (struct relay_carrier){.take = on_take, .drop = lane_drop, .ctx = seat};
}

static void end(struct seat *seat)
{
	struct lane *lane = seat->lane.lane;

	seat->lane.lane = NULL;
	lane_free(lane);
}

/* Another connection is the host's to bring. */
static void on_state(void *ctx, enum lane_state state)
{
	if (state == LANE_DEAD)
		end(ctx);
}

static const struct lane_events lane_events = {.state = on_state};

static void on_connected(void *ctx, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
			 size_t rest_len)
{
	struct seat *seat = ctx;

	/* One that the host has given up may not have ended here yet. */
	if (seat->lane.lane && !lane_is(seat->lane.lane, hello))
		end(seat);
	if (!seat->lane.lane && hello->resume) {
		greeter_refuse(chan, SESSION_REASON_UNKNOWN, "this lane is not known here (any more)");
		return;
	}
	if (!seat->lane.lane)
		seat->lane.lane = lane_new(seat->loop, SESSION_GUEST, hello, &lane_events, seat);
	if (seat->lane.lane)
		lane_attach(seat->lane.lane, chan, hello, rest, rest_len);
	else
		greeter_refuse(chan, SESSION_REASON_RESOURCES, "out of memory");
}

/* ------------------------------------------------------------------------------------------------ a direct connection
 */

static void on_move_ended(void *ctx, const char *why)
{
	/* It holds no SSH connection. */
	(void)ctx;
	(void)why;
}

static const struct move_events move_events = {
	.message = instance_send_of_seat,
	.connected = on_connected,
	.ended = on_move_ended,
};

int instance_lane_direct(struct seat *seat, const struct control_direct *direct)
{
	struct seat_lane *l = &seat->lane;

	if (!l->move)
		l->move = move_new(seat->loop, &seat->attachment->ends, &move_events, seat);
	if (!l->move)
		return -ENOMEM;
	move_ask(l->move, direct);
	return 0;
}

/* ------------------------------------------------------------------------------------- through a stream of the session
 */

static void on_greeted(void *ctx, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		       size_t rest_len, const char *why)
{
	struct seat *seat = ctx;

	seat->lane.greeter = NULL;
	if (chan)
		on_connected(ctx, chan, hello, rest, rest_len);
	else
		log_debug("a lane's connection came to nothing: %s", why);
}

void instance_lane_open(struct seat *seat, struct mux_stream *stream)
{
	struct relay *relay;
	struct chan *chan;

	if (!seat->lane.lane) {
		mux_stream_refuse(stream, MUX_REASON_NOT_FOUND);
		return;
	}
	chan = lane_through(seat->loop, stream, NULL, &relay);
	if (!chan)
		return;
	mux_stream_accept(stream, NULL, NULL);
	greeter_free(seat->lane.greeter);
	seat->lane.greeter = greeter_new(seat->loop, chan, on_greeted, seat);
}

/* A lane hangs on the login as the session's direct connection does. */
void instance_lane_lost(struct seat *seat)
{
	greeter_free(seat->lane.greeter);
	seat->lane.greeter = NULL;
	move_free(seat->lane.move);
	seat->lane.move = NULL;
	if (seat->lane.lane)
		lane_disconnect(seat->lane.lane);
}

void instance_lane_end(struct seat *seat)
{
	instance_lane_lost(seat);
	end(seat);
}
