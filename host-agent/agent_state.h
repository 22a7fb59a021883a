/* SPDX-License-Identifier: MIT */
/*
 * agent_state: the struct behind agent.h, for the files that are the agent together: agent.c (life and death),
 * agent_mounts.c (what is mounted), agent_guest.c (what is said to the guest), agent_services.c (what the session
 * itself has there), agent_direct.c (which connection it goes through), agent_lane.c (bulk's own one), agent_live.c
 * (what changes while it runs),
 * agent_ctl.c (what the commands ask), agent_change.c and change_*.c, agent_save.c (the commands that change it),
 * agent_events.c, agent_top.c, agent_doctor.c and status.c (what is told and shown).
 */
#ifndef HOMEPORT_AGENT_STATE_H
#define HOMEPORT_AGENT_STATE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "by_hand.h"
#include "control_msg.h"
#include "control_stream.h"
#include "guest_builds.h"
#include "guest_env.h"
#include "link.h"
#include "mount_plan.h"
#include "relay.h"
#include "session.h"
#include "sock_address.h"
#include "socket_path.h"

struct anchor;
struct change;
struct config;
struct ctl_client;
struct ctl_socket;
struct direct;
struct forward;
struct forward_info;
struct lane;
struct loop;
struct loop_signal;
struct loop_timer;
struct mux_stream;
struct offload;
struct peer;
struct port_command;
struct problems;
struct relay_caller;
struct resolver;
struct reverse;
struct rules;
struct runtime_dir;
struct served;
struct sftp_target;
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

/* One share of a mount: who serves it, and its number for the guest, which no other share ever has. */
struct agent_share {
	struct served *served;
	uint32_t number;
	enum control_mount_status told; /* by an event */
};

/* One mount: what is wanted (the plan's), and what is. */
struct agent_mount {
	const struct planned_mount *plan;
	uint32_t id;                /* for the guest; no other mount ever has it */
	struct agent_share *shares; /* one a planned share */
	char target[1024];          /* asked for; then where the guest says it is */
	bool sent;                  /* MOUNT was sent in this session */
	bool tried;                 /* in this one or an earlier one */
	bool barred;                /* failed, and not asked for: mounts of their own lie below it */
	bool outdated;              /* its shares are others since: MOUNT has to be sent again */
	bool unmount_sent;
	enum control_mount_status status;
	uint32_t error;
	char text[512]; /* why it failed, and always something then; else a note, or "" */
};

/* A mount of the guest's that is not wanted any more, until it is gone. */
struct agent_leaving {
	TAILQ_ENTRY(agent_leaving) next;
	uint32_t id;
	char target[1024];
	bool unmount_sent;
};

/* A command that gets more than one answer. */
enum watcher_kind {
	WATCHER_WAIT,   /* `up`: until everything is as wanted, or cannot be */
	WATCHER_DOWN,   /* until the agent ends */
	WATCHER_STATUS, /* --watch */
	WATCHER_PORTS,
	WATCHER_EVENTS, /* from now on: agent_events.c */
	WATCHER_CHANGE, /* until what it asked for is so: agent_change.c */
	WATCHER_TOP,    /* until the guest says what it counted: agent_top.c */
};
struct watcher {
	TAILQ_ENTRY(watcher) next;
	struct ctl_client *client;
	enum watcher_kind kind;
	bool json;
	bool over;      /* of events: it was let go */
	uint64_t shown; /* a digest of what was shown last: nothing is shown twice */
	struct change *change;
};

/* The session's way beside SSH: agent_direct.c. */
struct agent_direct {
	struct sock_address local, remote; /* of the SSH connection; len 0: it is none of IP's */
	struct direct *attempt;
	enum direct_way way; /* tried last */
	uint8_t key[DIRECT_KEY_SIZE];
	uint32_t number;        /* of the last DIRECT; never begins anew */
	bool asked;             /* and it is not answered */
	bool moving, up;        /* the session is about to go directly; it does */
	struct anchor *anchor;  /* the SSH connection since */
	uint64_t began_us;      /* it moved then; 0: it did not, or ended for a good reason */
	uint64_t not_before_us; /* nothing is tried until then */
	char why[160];          /* there is none; "" */
};

/* Bulk's connection beside it: agent_lane.c. */
struct agent_lane {
	struct relay_carrier carrier;
	struct lane *lane; /* NULL: there is none */
	struct direct *attempt;
	uint8_t key[DIRECT_KEY_SIZE];
	uint32_t number;        /* of the DIRECT that asked for it; 0: none is waited for */
	bool up, direct;        /* has a connection; that is one of its own */
	bool short_lived;       /* it lost that soon after it got it */
	unsigned promised;      /* relays that leave for it, and have not come yet */
	uint64_t began_us;      /* when it got that; 0: it has none, or lost it for a good reason */
	uint64_t not_before_us; /* none is asked for until then */
	uint64_t tunnel_us;     /* when it was last given a stream of the session's instead */
	struct relay *tunnel;   /* that one's; NULL: there is none */
	struct relay_carrier tunnel_carrier;
	struct loop_timer *again;
};

struct agent {
	const struct agent_start *start;
	struct config *base; /* what was read: the file, with the command line's options on top */
	struct by_hand by_hand;
	struct config *config; /* with what was changed by hand: what is made true */
	const struct runtime_dir *dir;
	uint8_t instance[SESSION_ID_SIZE];

	struct loop *loop;
	struct loop_signal *sigterm, *sigint, *sighup, *sigusr1;
	struct loop_timer *turn;        /* of zero: agent_changed() */
	struct loop_timer *doubt_timer; /* whether the connection still lives */
	char doubt[128];
	uint64_t doubt_us;
	struct loop_timer *stop_timer, *watchdog, *watch_timer;
	struct ctl_socket *ctl;
	TAILQ_HEAD(, watcher) watchers;
	struct offload *reader; /* reads the configuration again; NULL: nobody does */
	unsigned reads;         /* begun so far */
	bool read_again;        /* when the present one is done */
	struct link *link;
	struct guest_builds builds; /* what the link brings along; none with a guestCommand */
	struct peer *peer;          /* NULL: no session */
	struct agent_direct direct;
	struct loop_timer *direct_timer; /* it is tried again */
	struct agent_lane lane;
	struct shares *shares;
	struct proxy_env proxies; /* of whoever started the session, or last had it read again */
	struct rules *rules; /* these three from the first GUEST on: they need to know the guest's ssh port and home */
	struct forward *forward;
	struct reverse *reverse;
	struct resolver *resolver; /* NULL: the guest has none */
	struct socket_world world;
	char host_home[PATH_MAX], host_user[64];
	struct port_command *on_forward;

	/* agent_top.c: questions to the guest of this session, how many it answered, how long that is waited for, and
	 * how long the servers go on taking time. */
	struct {
		uint32_t asked, answered;
		struct loop_timer *patience, *timed;
	} top;

	struct control_stream control;

	enum agent_state state;
	time_t since; /* of this state */
	unsigned reconnects;
	bool ever_connected, stopping, ready_told;
	bool restarting; /* another agent goes on with it: the guest keeps what is mounted */
	bool goodbye_sent;
	int exit_status;
	struct link_error error; /* why there is no connection; kind NONE when there is one */

	struct mount_plan plan;
	struct agent_mount *mounts; /* plan.count */
	TAILQ_HEAD(, agent_leaving) leaving;
	uint32_t last_mount, next_share;

	/* What is known of the guest. */
	bool guest_known; /* GUEST came in this session */
	bool ports_known; /* a whole snapshot came in this session */
	struct control_guest guest;
	uint64_t environment_told; /* a digest of what the guest of this session was told last; 0: nothing */
	char ssh_host[256], ssh_user[256], ssh_key[128], ssh_key_type[64];
	unsigned ssh_port;
};

/* agent.c */
const char *agent_state_name(enum agent_state state);
int agent_new_hello(const struct agent *a, struct session_hello *hello); /* of a new session; 0, or -EIO */
void agent_told(struct agent *a);    /* `up` knows why it failed: there is nothing left to do */
void agent_changed(struct agent *a); /* something status shows, or `up` waits for: looked at in the next turn */
void agent_stop(struct agent *a);    /* unmount, say goodbye, end */
void agent_fail(struct agent *a, int exit_status); /* end; a->error says why */
bool agent_settled(const struct agent *a);         /* each mount is mounted or failed, the ports are known */
size_t agent_failed_mounts(const struct agent *a);

/* agent_mounts.c */

/* Wants what `config`, which must outlive it, says, from here on. 0; or -ENOMEM, and all is as before. */
int agent_mounts_set(struct agent *a, const struct config *config);
void agent_mounts_end(struct agent *a);
bool agent_mount_is_blocked(const struct agent *a, const struct agent_mount *mount); /* by one that is leaving */
void agent_leaving_free(struct agent *a, struct agent_leaving *leaving);

/* agent_live.c */

/* Makes `next` true instead of what was: only what differs is touched. It is the agent's; or -ENOMEM, and all is as
 * before, `next` too. */
int agent_config_set(struct agent *a, struct config *next);

/*
 * Other things are wanted: what was read (`base`, or NULL: as it is), what was changed by hand (or NULL: as it is).
 * Both are taken; or a negative errno, and all is as before. */
int agent_live_set(struct agent *a, struct config *base, struct by_hand *by_hand);

/* Reads the configuration again and makes it true; agent_change_read() hears of it. Returns which reading that is. */
unsigned agent_reload(struct agent *a);

/* agent_change.c */
bool agent_change_request(struct agent *a, struct ctl_client *client, const char *line); /* false: not of these */
bool agent_change_update(struct agent *a, struct watcher *w);                            /* true: it has its answer */
void agent_change_free(struct change *change);                                           /* NULL is fine */

/* What a reading came to. The texts are lines; `error`: nothing was changed. */
struct agent_read {
	unsigned number;
	bool error;
	const struct problems *problems;
	size_t changes;      /* that were made */
	const char *session; /* differences that take a new session, "" for none */
};
void agent_change_read(struct agent *a, const struct agent_read *read);

/* agent_guest.c */
struct rules *agent_guest_rules(const struct agent *a, const struct config *config); /* NULL: out of memory */
void agent_guest_send(struct agent *a, const struct control_msg *msg);               /* there is a control stream */
int agent_guest_begin(struct agent *a);        /* a new session: opens the control stream, sends CONFIG */
void agent_guest_check_clock(struct agent *a); /* the guest's may be late; only where it is to be set */
void agent_guest_end(struct agent *a);         /* the session is over */
void agent_guest_free(struct agent *a);        /* frees what the guest's reports were made of */
void agent_guest_reconcile(struct agent *a);   /* wanted and actual mounts: sends what makes them the same */
bool agent_guest_unmounted(const struct agent *a);
void agent_guest_count(struct agent *a, const struct control_count *count);          /* asks what it counted */
struct served *agent_guest_share(struct agent *a, const struct sftp_target *target); /* NULL: there is none */

/* agent_services.c */
int agent_services_rules(const struct agent *a, const struct config *config, struct rules *rules); /* 0 or -ENOMEM */
void agent_services_shell(const struct agent *a, struct ctl_client *client); /* "env NAME=VALUE" lines for a shell */
void agent_services_resolve(struct agent *a, struct mux_stream *stream, uint8_t proto,
			    const struct relay_caller *caller); /* reverse.h */
void agent_services_end(struct agent *a);
void agent_services_tell(struct agent *a); /* the guest: its variables */
/* Makes other proxies true: 1, and they were taken. 0: they are the same; -ENOMEM: all is as before. */
int agent_services_set_proxies(struct agent *a, struct proxy_env *proxies);

/* agent_direct.c */
void agent_direct_begin(struct agent *a); /* the session is up, through ssh */
void agent_direct_again(void *ctx);       /* the same, of an agent, later: what was in the way may have gone */
int agent_direct_state(struct agent *a, const struct control_direct_state *state); /* -EPROTO: nobody asked */
bool agent_direct_moved(struct agent *a); /* the session is up: whether that is all the move was waiting for */
/* The connection is gone, lost or for good; the SSH connection is closed, too. */
void agent_direct_end(struct agent *a, bool lost);

/* agent_lane.c */
int agent_lane_begin(struct agent *a);                                            /* 0 or -ENOMEM */
void agent_lane_state(struct agent *a, const struct control_direct_state *state); /* of the DIRECT with its number */
void agent_lane_lost(struct agent *a);                                            /* the session's connection is gone */
void agent_lane_resume(struct agent *a); /* the session has a connection again */
void agent_lane_end(struct agent *a);    /* the session is over */

/* agent_events.c: each tells those who listen, now. Pointers are not kept. */
void agent_event_session(struct agent *a);
void agent_event_mounts(struct agent *a); /* those that stand differently than was told */
void agent_event_share(struct agent *a, const char *target, const struct planned_share *share, /* NULL: not known */
		       enum control_mount_status status, const char *error);
void agent_event_port(struct agent *a, const struct forward_info *info, bool gone);

/* agent_ctl.c */
int agent_ctl_begin(struct agent *a);
void agent_ctl_end(struct agent *a);
void agent_ctl_update(struct agent *a); /* tells the commands that listen */
struct watcher *agent_ctl_watch(struct agent *a, struct ctl_client *client, enum watcher_kind kind);
void agent_ctl_unwatch(struct agent *a, struct watcher *w); /* its client has its answer */
void agent_ctl_mount_line(const struct agent_mount *mount, size_t index, struct ctl_client *client);
void agent_ctl_port_line(struct ctl_client *client, const struct forward_info *info);

/* agent_top.c */
int agent_top_begin(struct agent *a);
void agent_top_end(struct agent *a);
bool agent_top_request(struct agent *a, struct ctl_client *client, const char *line); /* false: not of these */
int agent_top_counters(struct agent *a, const struct control_counters *counters);     /* -EPROTO: nobody asked */
void agent_top_session(struct agent *a); /* the guest of before answers nothing any more */

/* agent_doctor.c */
void agent_doctor_answer(struct agent *a, struct ctl_client *client); /* what is not as wanted */

/* status.c */
const char *agent_mount_state_name(enum control_mount_status status);

/* Why a mount, or this share of it, does not work; NULL when it does. */
const char *agent_mount_trouble(const struct agent_mount *mount, size_t share);

struct status_text {
	char *text;
	size_t len;
};
struct status_text status_json(const struct agent *a); /* text NULL: out of memory; the caller frees it */
struct status_text status_human(const struct agent *a);
struct status_text ports_json(const struct agent *a);
struct status_text ports_human(const struct agent *a);

#endif
