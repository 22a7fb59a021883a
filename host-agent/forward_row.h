/* SPDX-License-Identifier: MIT */
/*
 * forward_row: one listener of the guest, or one port or socket that a rule has from start to end: what the rules say
 * about it, the addresses of the host it claims, and how it stands. Part of forward.c, which keeps the rows.
 */
#ifndef HOMEPORT_FORWARD_ROW_H
#define HOMEPORT_FORWARD_ROW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "address.h"
#include "control_msg.h"
#include "endpoint.h"
#include "forward.h"
#include "forward_conn.h"
#include "rules.h"
#include "sock_address.h"
#include "socket_path.h"

/* What makes two reports of different snapshots the same listener. Compared as bytes. */
struct forward_place {
	uint8_t proto, family, addr[16];
	uint16_t port;
	uint32_t scope;
};

struct forward_row {
	TAILQ_ENTRY(forward_row) next;
	UT_hash_handle hh;       /* by at.key, while the guest's snapshot names it */
	UT_hash_handle hh_stale; /* by place, while it waits to be named by a new one */
	struct forward_place place;
	struct listener at;
	char *socket;                            /* of the guest's, instead of `at`; NULL */
	char process[128], user[132], unit[256]; /* printable */
	struct rule_verdict verdict;
	struct endpoint_claim claims[2];
	struct forward_traffic *traffic;
	const char *fault; /* why there can be no claim; NULL */
	bool is_static;
	bool is_wanted; /* of a static one: the rules have it */
	bool stale;
	bool holds;    /* counts as one of maxForwards */
	bool is_known; /* `logged` is what the log says */
	bool is_told;  /* forward_events.port has heard of it */
	enum forward_state logged;
	uint16_t logged_port; /* of the host */
};

struct forward_place forward_place_of(const struct listener *l);

/* A row for the listener, not judged yet; NULL: out of memory. */
struct forward_row *forward_row_new(const struct listener *l);

/* A row for what a rule has from start to end. */
struct forward_row *forward_row_new_static(const struct rule_static *port, const struct socket_world *world);

/* Whether the row is for this of a rule's, and leads where that leads. */
bool forward_row_is_static(const struct forward_row *row, const struct rule_static *port,
			   const struct socket_world *world);

/* Gives up its claims. NULL is fine. */
void forward_row_free(struct forward_row *row);

/* Takes what may change of a listener that stays where it is: key, inode, owner. */
void forward_row_update(struct forward_row *row, const struct listener *l);

/* Whether two verdicts ask for the same, for whichever reason. */
bool forward_verdict_equal(const struct rule_verdict *a, const struct rule_verdict *b);

/* What these rules say of it. */
void forward_row_ask(const struct forward_row *row, const struct rules *rules, struct rule_verdict *verdict);

/* Asks the rules; returns whether the verdict asks for something else than before. */
bool forward_row_judge(struct forward_row *row, const struct rules *rules);

/* Whether the verdict is to forward it. */
bool forward_row_wants(const struct forward_row *row);

/* Claims what the verdict names, if it can be. Returns 0 or -ENOMEM, with nothing claimed. */
int forward_row_claim(struct forward_row *row, struct endpoints *endpoints, const struct socket_world *world);
void forward_row_release(struct forward_row *row);
void forward_row_leave(struct forward_row *row); /* as endpoint_leave() does */

/* Claims once more what the row holds, as far as there is memory: the caller releases what is in `claims`. */
void forward_row_claim_again(struct forward_row *row, struct endpoints *endpoints, struct endpoint_claim claims[2]);

/* Fills in how it stands; guest is where info->guest is written. */
void forward_row_info(const struct forward_row *row, struct forward_info *info, char guest[SOCK_ADDRESS_TEXT_MAX]);

#endif
