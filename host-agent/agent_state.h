/* SPDX-License-Identifier: MIT */
/*
 * agent_state: the struct behind agent.h, for the files that are the agent together: agent.c (life and death),
 * agent_guest.c (what is said to the guest), agent_ctl.c (what the commands ask), status.c (what they are shown).
 */
#ifndef HOMEPORT_AGENT_STATE_H
#define HOMEPORT_AGENT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "control_msg.h"
#include "guest_builds.h"
#include "link.h"
#include "mount_plan.h"
#include "session.h"
#include "wire.h"

struct config;
struct ctl_client;
struct ctl_socket;
struct forward;
struct loop;
struct loop_signal;
struct loop_timer;
struct mux_stream;
struct peer;
struct rules;
struct runtime_dir;
struct served;
struct shares;

/*
 * CONNECTING -> (session up) CONNECTED -> (connection lost) RECONNECTING -> CONNECTED ...; any -> STOPPED, the last.
 * The names are the ones of `status --json`.
 */
enum agent_state {
	AGENT_CONNECTING,
	AGENT_CONNECTED,
	AGENT_RECONNECTING,
	AGENT_STOPPED,
	AGENT_STATE_COUNT,
};

/* One mount: what is wanted (the plan's), and what is. */
struct agent_mount {
	const struct planned_mount *plan;
	struct served **shares; /* one a planned share */
	char target[1024];      /* asked for; then where the guest says it is */
	bool sent;              /* MOUNT was sent in this session */
	bool unmount_sent;
	enum control_mount_status status;
	uint32_t error;
	char text[512]; /* why it failed, and always something then; else a note, or "" */
};

/* A command that gets more than one answer. */
enum watcher_kind {
	WATCHER_WAIT,   /* `up`: until everything is as wanted, or cannot be */
	WATCHER_DOWN,   /* until the agent ends */
	WATCHER_STATUS, /* --watch */
	WATCHER_PORTS,
};
struct watcher {
	TAILQ_ENTRY(watcher) next;
	struct ctl_client *client;
	enum watcher_kind kind;
	bool json;
	uint64_t shown; /* a digest of what was shown last: nothing is shown twice */
};

struct agent {
	const struct config *config;
	const struct runtime_dir *dir;
	uint8_t instance[SESSION_ID_SIZE];

	struct loop *loop;
	struct loop_signal *sigterm, *sigint;
	struct loop_timer *turn;        /* of zero: agent_changed() */
	struct loop_timer *doubt_timer; /* whether the connection still lives */
	char doubt[128];
	uint64_t doubt_us;
	struct loop_timer *stop_timer, *watchdog, *watch_timer;
	struct ctl_socket *ctl;
	TAILQ_HEAD(, watcher) watchers;
	struct link *link;
	struct guest_builds builds; /* what the link brings along; none with a guestCommand */
	struct peer *peer;          /* NULL: no session */
	struct shares *shares;
	struct rules *rules; /* with forward, from the first GUEST on: they need to know the guest's ssh port */
	struct forward *forward;

	/* The control stream; NULL when the session has none (yet). */
	struct mux_stream *control;
	struct wire_buf control_in;

	enum agent_state state;
	time_t since; /* of this state */
	unsigned reconnects;
	bool ever_connected, stopping, ready_told;
	bool goodbye_sent;
	int exit_status;
	struct link_error error; /* why there is no connection; kind NONE when there is one */

	struct mount_plan plan;
	struct agent_mount *mounts; /* plan.count */

	/* What is known of the guest. */
	bool guest_known; /* GUEST came in this session */
	bool ports_known; /* a whole snapshot came in this session */
	struct control_guest guest;
	char ssh_host[256], ssh_user[256], ssh_key[128];
	unsigned ssh_port;
};

/* agent.c */
const char *agent_state_name(enum agent_state state);
void agent_told(struct agent *a);    /* `up` knows why it failed: there is nothing left to do */
void agent_changed(struct agent *a); /* something status shows, or `up` waits for: looked at in the next turn */
void agent_stop(struct agent *a);    /* unmount, say goodbye, end */
void agent_fail(struct agent *a, int exit_status); /* end; a->error says why */
bool agent_settled(const struct agent *a);         /* each mount is mounted or failed, the ports are known */
size_t agent_failed_mounts(const struct agent *a);

/* agent_guest.c */
int agent_guest_begin(struct agent *a);      /* a new session: opens the control stream, sends CONFIG */
void agent_guest_end(struct agent *a);       /* the session is over */
void agent_guest_reconcile(struct agent *a); /* wanted and actual mounts: sends what makes them the same */
bool agent_guest_unmounted(const struct agent *a);
struct served *agent_guest_share(struct agent *a, const struct sftp_target *target); /* NULL: there is none */

/* agent_ctl.c */
int agent_ctl_begin(struct agent *a);
void agent_ctl_end(struct agent *a);
void agent_ctl_update(struct agent *a); /* tells the commands that listen */

/* status.c */
struct status_text {
	char *text;
	size_t len;
};
struct status_text status_json(const struct agent *a); /* text NULL: out of memory; the caller frees it */
struct status_text status_human(const struct agent *a);
struct status_text ports_json(const struct agent *a);
struct status_text ports_human(const struct agent *a);

#endif
