/* SPDX-License-Identifier: MIT */
/*
 * bpf_watch: says that what listens in this network namespace may have changed, the moment it does. It never says what:
 * that is sockdiag's, which is asked then, so that a hint too many costs a look and one too few a late look.
 *
 * It takes Linux 5.15, cgroup2 and root (CAP_BPF and CAP_NET_ADMIN) to attach it, and nothing to read what it says:
 * root may do the former for another process (helper_watch.h), which adopts the ring.
 */
#ifndef HOMEPORT_BPF_WATCH_H
#define HOMEPORT_BPF_WATCH_H

struct bpf_watch;

/* What may have changed, as bits. */
enum {
	BPF_WATCH_TCP = 1,
	BPF_WATCH_UDP = 2,
};

/* Begins to watch the network namespace of the socket; -1: our own. Returns 0, or a negative errno with a clause in
 * `why` that says what is missing: -EPERM, it takes root. */
#define BPF_WATCH_WHY_MAX 96
int bpf_watch_open(int sock, struct bpf_watch **out, char why[BPF_WATCH_WHY_MAX]);

/* Goes on with what another process has attached and holds: its ring, by bpf_watch_fd(), which is the watch's from here
 * on. 0, or a negative errno, and the ring is closed. */
int bpf_watch_adopt(int ring, struct bpf_watch **out);

/* Ends it; so does the end of the process, however it comes. NULL is fine. */
void bpf_watch_close(struct bpf_watch *w);

/* Readable while there is a hint. The descriptor stays the watch's. */
int bpf_watch_fd(const struct bpf_watch *w);

/* Takes the hints there are. While nobody does, the kernel does not wake anybody for another. */
unsigned bpf_watch_take(struct bpf_watch *w);

#endif
