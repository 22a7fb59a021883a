/* SPDX-License-Identifier: MIT */
/*
 * control_msg: the messages of the control stream, to and from bytes. Pure. PROTOCOL.md, "Control". Both sides are ours
 * and of one version: a message that does not parse ends the session.
 */
#ifndef HOMEPORT_CONTROL_MSG_H
#define HOMEPORT_CONTROL_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bounds.h"
#include "id_map.h"
#include "op_counters.h"

struct wire_buf;

enum control_type {
	/* host -> guest */
	CONTROL_CONFIG = 1, /* first: who the host's user is, what is wanted of the guest */
	CONTROL_MOUNT,      /* wanted: these shares there. The same target again: the shares it has now */
	CONTROL_UNMOUNT,    /* no longer wanted */
	/* guest -> host */
	CONTROL_GUEST,       /* first: who and what the guest is */
	CONTROL_MOUNT_STATE, /* of one mount, whenever it changes */
	CONTROL_PORTS_BEGIN, /* a full snapshot follows: with its end, what it did not name is gone */
	CONTROL_PORT_ADD,    /* a listener; the same key again replaces it */
	CONTROL_PORT_REMOVE,
	CONTROL_PORTS_END,
	CONTROL_LOG,
	/* reverse forwards */
	CONTROL_LISTEN,       /* host -> guest: listen there, for the host */
	CONTROL_LISTEN_STATE, /* guest -> host: of one of these, whenever it changes */
	CONTROL_UNLISTEN,     /* host -> guest: no more */
	CONTROL_ENVIRONMENT,  /* host -> guest: the variables it is to have, instead of those before */
	/* the guest's clock, only where the configuration asks for it */
	CONTROL_CLOCK_CHECK, /* host -> guest: it may be late */
	CONTROL_CLOCK_ASK,   /* guest -> host: what time is it? */
	CONTROL_CLOCK,       /* host -> guest: the answer */
	/* what `homeport top` shows */
	CONTROL_COUNT,    /* host -> guest: say what was counted */
	CONTROL_COUNTERS, /* guest -> host: the answer to one of these, in their order */
	/* a connection beside SSH (direct.h) */
	CONTROL_DIRECT,       /* host -> guest: let there be one, in this way */
	CONTROL_DIRECT_STATE, /* guest -> host: what it does about the last of these */
	CONTROL_TYPE_END,
};

struct control_config {
	uint32_t host_uid, host_gid;
	char host_user[64];
	char instance_name[80]; /* NAME, for messages */
	bool report_ports;
};

/* One share of a mount: at `point` ("" is the mount's root, else a relative path below) the host serves `source`. */
struct control_share {
	char *point;
	char *source;    /* for messages only */
	uint32_t number; /* the host's name for it, never that of another share while the session lives */
	bool writable;
	bool virtual_owners;        /* its files' owners are the guest's numbers, recorded on the host */
	struct id_map *uids, *gids; /* NULL: an empty one */
};

struct control_mount {
	uint32_t id;     /* the host's name for it in this session */
	char *target;    /* absolute path in the guest, as the user wrote it */
	bool host_locks; /* locks of the mount's files are taken on the host */
	bool acl;        /* POSIX ACLs are the host's, and hold in the guest */
	uint32_t share_count;
	struct control_share shares[CONTROL_MOUNTS_MAX]; /* shares[0].point is ""; the others sorted by point */
};

struct control_guest {
	char agent_version[32];
	char user[64], hostname[80];
	char home[1024];
	uint32_t uid, gid;
	uint16_t ssh_port; /* of the connection that brought us, from SSH_CONNECTION; 0 unknown */
};

enum control_mount_status {
	MOUNT_MOUNTING,
	MOUNT_MOUNTED,
	MOUNT_FAILED,
	MOUNT_UNMOUNTED,
	MOUNT_STATUS_COUNT,
};

struct control_mount_state {
	uint32_t id;
	enum control_mount_status status;
	uint32_t error;    /* errno, 0 */
	char target[1024]; /* where it really is (the collision rule may move it) */
	char text[512];    /* a sentence: why it failed, or what was done instead; "" */
};

enum { LISTENER_TCP = 6, LISTENER_UDP = 17 };

const char *listener_proto_name(uint8_t proto); /* "tcp", "udp" */

/* A listening socket in the guest. addr holds 4 (family 4) or 16 bytes (family 6). */
struct listener {
	uint64_t key; /* the guest's name for it, never reused in an epoch */
	uint8_t proto, family;
	uint8_t addr[16];
	uint32_t scope; /* interface index of a link-local address */
	uint16_t port;
	bool v6only;
	bool ephemeral; /* UDP: in the range the kernel takes ports for clients from */
	uint32_t uid;
	uint64_t inode;
	uint32_t pid;     /* 0: not known */
	char process[32]; /* "": not known, as the two below */
	char user[33];    /* the name of uid */
	char unit[256];   /* the systemd unit of the process */
};

/* Where the guest listens for the host: each connection, or client of UDP, has a stream of kind reverse with this id.
 */
struct control_listen {
	uint32_t id;    /* the host's name for it in this session */
	uint8_t proto;  /* LISTENER_TCP, which a unix socket is of as well, or LISTENER_UDP */
	uint8_t family; /* 4 or 6; 0: a unix socket */
	uint8_t addr[16];
	uint16_t port;
	char path[SOCKET_PATH_MAX]; /* of a unix socket, absolute; else "" */
};

struct control_listen_state {
	uint32_t id;
	uint32_t error; /* errno, tried again; 0: it listens */
};

struct control_environment {
	uint32_t count;
	char *variables[ENVIRONMENT_MAX]; /* "NAME=VALUE" */
};

struct control_clock {
	uint64_t token;   /* the guest's, as it asked; never 0 */
	uint64_t time_us; /* since 1970; of an ASK nothing */
};

struct control_count {
	uint32_t number;  /* of the question */
	uint32_t seconds; /* requests are timed for so long from now on */
};

struct control_counters {
	uint32_t number;              /* of the question this answers */
	uint32_t waiting;             /* requests of the guest's kernel that have no answer yet */
	struct op_counters *counters; /* of all its mounts, since the guest's agent knows this host */
};

enum direct_way {
	DIRECT_GUEST_LISTENS = 1, /* at its end of the SSH connection, and says at which port */
	DIRECT_HOST_LISTENS,      /* at its own, at `port` */
};

struct control_direct {
	uint32_t number; /* the host's, one above the last one */
	enum direct_way way;
	uint16_t port; /* of the second way; else 0 */
	bool lane;     /* it is not for the session itself, but for a lane beside it */
	uint8_t key[DIRECT_KEY_SIZE];
};

struct control_direct_state {
	uint32_t number; /* of the DIRECT this answers */
	uint16_t port;   /* it listens there; 0: it does not */
	uint32_t error;  /* errno, and nothing comes of it */
};

struct control_msg {
	enum control_type type;
	union {
		struct control_config config;
		struct control_mount mount; /* owns its strings: control_msg_clear(); counters are owned, too */
		uint32_t unmount_id;
		struct control_guest guest;
		struct control_mount_state mount_state;
		uint64_t ports_epoch; /* BEGIN and END */
		struct listener port; /* ADD */
		uint64_t port_key;    /* REMOVE */
		struct control_listen listen;
		uint32_t unlisten_id;
		struct control_listen_state listen_state;
		struct control_clock clock;             /* ASK and CLOCK */
		struct control_environment environment; /* owns its strings: control_msg_clear() */
		struct control_count count;
		struct control_counters counters;
		struct control_direct direct;
		struct control_direct_state direct_state;
		struct {
			uint8_t level;
			char text[CONTROL_TEXT_MAX];
		} log;
	};
};

/* The message's name, for logs; "?" for none of ours. */
const char *control_type_name(enum control_type type);

/* Whether the host sends it; the other messages are the guest's. What its sender may not send ends the session. */
bool control_type_from_host(enum control_type type);

/* Appends the message with its length in front. Out of memory, or longer than CONTROL_MESSAGE_MAX: out->failed. */
void control_msg_put(struct wire_buf *out, const struct control_msg *msg);

/*
 * Reads one message from the front of the bytes: returns the bytes it took, 0 when it is not whole yet, -EPROTO when it
 * is not one of ours, -ENOMEM. Strings are checked: no NUL inside, paths absolute and without "..", points relative.
 */
ssize_t control_msg_get(const uint8_t *data, size_t len, struct control_msg *msg);

/* Frees what a message read by control_msg_get() owns. */
void control_msg_clear(struct control_msg *msg);

#endif
