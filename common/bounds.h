/* SPDX-License-Identifier: MIT */
/* Every limit in one place, each with its reason. What a peer can make us store is bounded by these. */
#ifndef HOMEPORT_BOUNDS_H
#define HOMEPORT_BOUNDS_H

/* Session. Unacknowledged bytes a direction: more than 1 MiB buys no throughput on a fast link (measured) and costs
 * milliseconds of queue; a long link needs its round trip x rate, up to 16 MiB (1 Gbit/s at 130 ms). */
#define SESSION_UNACKED_MIN (1u << 20)
#define SESSION_UNACKED_MAX (16u << 20)
#define SESSION_CROWDED_MIN (64u << 10) /* on a fast link, what is appended to it waits for some 100 us */
/* One DATA frame: large enough that its header and the cipher's set-up do not show, small enough to interleave. */
#define SESSION_FRAME_MAX (64u << 10)
/* Acknowledge at the latest after so many bytes: a sixteenth of the smallest cap, so that it never runs dry. */
#define SESSION_ACK_EVERY    (64u << 10)
#define SESSION_ACK_DELAY_US 20000u
/* Banner and HELLO of a connection. */
#define SESSION_HELLO_MAX 512u
/* What a login shell may print before the banner; more is not a banner but a mistake. */
#define SESSION_SKIP_MAX (64u << 10)
/* Data up to this size leave in one piece with the control frames before them: one packet for a small answer. */
#define SESSION_COALESCE (16u << 10)
/* A connection has its HELLO within so long, a slow login shell included. */
#define SESSION_GREETING_US 10000000u
#define SESSION_PING_US     1000000u
#define SESSION_LOST_US     4000000u
#define SESSION_TEXT_MAX    200u /* of GOODBYE */
#define SESSION_TIMEOUT_S   86400u

/* Mux. */
#define MUX_STREAMS_MAX    16384u      /* twice the 8,000 idle connections a busy guest keeps open */
#define MUX_FRAME_MAX      (32u << 10) /* of one DATA frame: how long a small message waits behind a bulk one */
#define MUX_ARGS_MAX       1024u       /* of OPEN */
#define MUX_CREDIT_INITIAL (256u << 10)
#define MUX_CREDIT_MAX     (4u << 20)   /* a stream's window grows while its reader keeps up */
#define MUX_GROWTH_MAX     (64u << 20)  /* by so much for all streams together */
#define MUX_SPARSE_MAX     (16u << 10)  /* a backlog that goes before bulk: some dozens of small messages, */
#define MUX_SPARSE_SHARE   16u          /* up to this part of all that is sent, for each stream, */
#define MUX_SPARSE_DEBT    (1u << 20)   /* and what is more is remembered up to here */
#define MUX_OVERTAKEN_MIN  (64u << 10)  /* of others have passed since: bulk was overtaken */
#define MUX_QUEUE_MAX      (512u << 10) /* bytes a stream queues before mux_stream_write() takes none */
#define MUX_MESSAGE_MAX    (4u << 20)   /* and before mux_stream_write_all() gives up: a peer that never reads */

#define MUX_HANGUP_US 2000u /* for how long a FIN that nobody waits for waits for company */

/* A turn of the loop reads and writes as much: alone, much at once costs least; while small messages pass as well, each
 * of which waits for the turn it comes into, on both sides, each way, little. */
#define PEER_TURN       (1u << 20)
#define PEER_TURN_MIXED (32u << 10)
/* A small message amid bulk is likely followed by others for so long. */
#define PEER_MIXED_US 20000u

#define PEER_GOODBYE_WAIT_US 500000u
#define PEER_PART_WAIT_US    2000000u

/* A direct connection: for how long one is tried for, and how many may call at once where one side listens for it. */
#define DIRECT_PATIENCE_US 3000000u
#define DIRECT_CALLERS_MAX 4u
#define DIRECT_KEY_SIZE    32u
#define ANCHOR_SIGN_US     30000000u /* how often the SSH connection beside it shows that somebody is there */

/* A lane that has nothing to carry stays for so long: who brought much may bring more. */
#define LANE_IDLE_US 30000000u

/* Control messages. */
#define CONTROL_MESSAGE_MAX  (64u << 10)
#define CONTROL_MOUNTS_MAX   64u /* mounts a session, and shares a mount */
#define CONTROL_TEXT_MAX     1024u
#define ENVIRONMENT_MAX      136u        /* variables: as many as `env` may have, and proxies */
#define ENVIRONMENT_TEXT_MAX (16u << 10) /* of one, with its name; all of them fit into a message */
#define COUNT_TIMED_MAX_S    7200u       /* requests are timed for no longer than this after `top` has asked */
#define ID_RANGES_MAX        16u /* of a share's uidMap, and of its gidMap: each id is looked for in all of them */

/* Ports. What a guest reports and a host keeps; more than any machine listens on, and a bound on what one may claim. */
#define PORTS_LISTENERS_MAX 16384u
#define PORTS_FORWARDS_MAX  4096u /* maxForwards, unless configured */
/* UDP. What a datagram of IPv6 can hold (of IPv4 20 bytes less); a client with whom nothing passed for so long is gone;
 * and how many clients are served at once, a descriptor of the guest's each. */
#define UDP_DATAGRAM_MAX 65527u
#define UDP_IDLE_US      90000000u
#define UDP_FLOWS_MAX    1024u
/* A connection in the guest that nobody answers, and how many may wait for it at once. */
#define DIAL_TIMEOUT_US  10000000u
#define DIAL_PENDING_MAX 1024u

/* Unix sockets: sun_path with its NUL. Reverse forwards of a session: as many as there are rules. */
#define SOCKET_PATH_MAX 108u
#define LISTENS_MAX     1024u
/* A unix socket whose queue is full is tried again so often, for as long as a connection may take. */
#define DIAL_AGAIN_US 10000u

/* SFTP and native requests. A write of 1 MiB is FUSE's largest; names and targets are the kernel's. */
#define SFTP_DATA_MAX     (1u << 20)
#define SFTP_PACKET_MAX   (SFTP_DATA_MAX + 4096u)
#define SFTP_NAME_MAX     255u
#define SFTP_PATH_MAX     4096u
#define SFTP_REQUESTS_MAX 256u /* requests a client has under way on one stream; the server reads no more */

/* The share's server. Nodes cost about 140 bytes: a tree of four million names is half a GiB, which is where it ends.
 */
#define SFTP_NODES_MAX     (4u << 20)
#define SFTP_NODE_NAMES    16u          /* names kept of one node; hard links beyond these are found again by LOOKUP */
#define SFTP_NODE_PATH_MAX (64u << 10)  /* of the names from the root down to a node */
#define SFTP_HANDLES_MAX   (128u << 10) /* open files and directories of one stream; 100,000 are to be possible */
#define SFTP_FOLDERS_MAX   32768u       /* of these, directories: 32 KiB each of a listing being read */
#define SFTP_KEEPERS_MAX   16u          /* tables of descriptors for them beside the process's own */
#define SFTP_DEVICES_MAX   1024u        /* file systems below one share */
#define SFTP_THREADS_MAX   16u          /* file calls under way */
#define SFTP_TAKEOVER_US   1000u        /* a call that takes longer no longer keeps the next request from being read */
#define SFTP_REPLIES_MAX   (32u << 20)  /* bytes of replies under way or waiting for a peer that does not read */
#define SFTP_WAITING_MAX   (64u << 20)  /* bytes of requests waiting for their turn */
#define SFTP_MEMORY_MAX    (8ull << 30) /* of address space of a share's server, threads and their heaps included */
#define SFTP_COPY_MAX      (256u << 20) /* bytes of one COPY: its target's other requests wait for it */
#define SFTP_OPEN_WANT_MAX (64u << 10)  /* first bytes that come with OPEN */
#define SFTP_LOCKS_MAX     4096u        /* pairs of a file and who holds locks on it, a descriptor each */
#define SFTP_TOLD_MAX      64u          /* invalidations in front of one reply: one of everything stands for the rest */

#endif
