/* SPDX-License-Identifier: MIT */
/* instance_priv: what instance.c (which sessions there are, and what outlives them) and instance_control.c (what the
 * host of one says, and is told) have in common. */
#ifndef HOMEPORT_INSTANCE_PRIV_H
#define HOMEPORT_INSTANCE_PRIV_H

#include "control_msg.h"
#include "control_stream.h"
#include "instance.h"
#include "relay.h"

#define CLAIM_US \
	5000000u /* what a host does not ask for within so long, of what an earlier session had mounted, goes */

struct mux_stream;

/* Bulk's connection beside it: instance_lane.c. */
struct seat_lane {
	struct relay_carrier carrier;
	struct lane *lane;       /* NULL: there is none */
	struct move *move;       /* to a direct connection; NULL: none was asked for */
	struct greeter *greeter; /* of a stream that carries it instead; NULL: none is waited for */
};

/* One session. An ended one lives on without its instance until its GOODBYE is written. */
struct seat {
	struct instance *instance; /* NULL: replaced */
	struct loop *loop;
	struct peer *peer;
	struct attachment *attachment; /* of the present connection; NULL: none */
	struct move *move;             /* of it, to a direct one; NULL: there was none */
	struct seat_lane lane;
	uint16_t ssh_port;
	struct control_stream control;
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

/* instance.c: a message for the host. 0, or a negative errno: -ENOTCONN when there is no control stream. */
int instance_send(struct instance *i, const struct control_msg *msg);

/* instance_lane.c */
void instance_lane_begin(struct seat *seat);
int instance_lane_direct(struct seat *seat, const struct control_direct *direct); /* the host asks; 0 or -ENOMEM */
void instance_lane_open(struct seat *seat, struct mux_stream *stream); /* its connection comes through a stream */
void instance_lane_lost(struct seat *seat);                            /* the session's connection is gone */
void instance_lane_end(struct seat *seat);

/* instance_control.c */
void instance_send_of_seat(void *ctx, const struct control_msg *msg);      /* of its instance, if it still has one */
void instance_control_begin(struct seat *seat, struct mux_stream *stream); /* takes the control stream */
void instance_control_undo(struct instance *i); /* what the host had asked of this guest for its session */

#endif
