/* SPDX-License-Identifier: MIT */
/*
 * A watch for an agent. See helper_watch.h, bpf_watch.h.
 *
 * The links stay here, and only the ring goes to the agent: so it is this process that counts, against what a user may
 * hold. The kernel lets 64 programs hang at one place, for all users together.
 */
#include "helper_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "bpf_watch.h"
#include "fd_packet.h"
#include "mount_policy.h"

#define WATCHES_MAX 4 /* of a user: one for each host that is connected */
#define LOCK_PATH   "/run/homeport-watch.lock"

static int refuse(struct helper_reply *reply, int error, const char *why)
{
	snprintf(reply->text, sizeof(reply->text), "%s", why);
	return -error;
}

/* One byte of a file for each watch, locked by whoever has it: 0, or a negative errno. The descriptor, and with it the
 * lock, is the process's until its end. */
static int place_take(uid_t uid)
{
	int fd = open(LOCK_PATH, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = -EUSERS;

	if (fd < 0)
		return -errno;
	for (off_t i = 0; i < WATCHES_MAX && rc < 0; i++) {
		struct flock lock = {.l_type = F_WRLCK, .l_start = (off_t)uid * WATCHES_MAX + i, .l_len = 1};

		rc = fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -EUSERS : 0;
	}
	if (rc < 0)
		close(fd);
	return rc;
}

/* CAP_BPF and CAP_NET_ADMIN, and every other one. Raw capset(2): libcap would be here for this alone. */
static int capabilities_drop(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

static int ring_send(int sock, const struct helper_reply *reply, int ring)
{
	struct wire_buf out = {0};
	int rc = -ENOMEM;

	helper_reply_put(&out, reply);
	if (!out.failed)
		rc = fd_packet_send(sock, out.data, out.len, &ring, 1);
	wire_buf_free(&out);
	return rc;
}

int helper_watch(int sock, uid_t caller, bool policy, struct helper_reply *reply)
{
	char why[BPF_WATCH_WHY_MAX], byte;
	struct bpf_watch *watch;
	int rc;

	if (policy && caller != 0 && mount_policy_ask(caller, NULL, reply->text, sizeof(reply->text)) < 0)
		return -EACCES;
	rc = caller != 0 ? place_take(caller) : 0;
	if (rc == -EUSERS)
		return refuse(reply, EUSERS, "this user has as many watches as one may have");
	if (rc < 0)
		return refuse(reply, -rc, LOCK_PATH " cannot be had");
	rc = bpf_watch_open(sock, &watch, why);
	if (rc < 0)
		return refuse(reply, -rc, why);
	rc = capabilities_drop();
	if (rc < 0) {
		bpf_watch_close(watch);
		return refuse(reply, -rc, "the helper's capabilities cannot be given up");
	}
	if (ring_send(sock, reply, bpf_watch_fd(watch)) == 0)
		while (recv(sock, &byte, 1, 0) > 0)
			;
	bpf_watch_close(watch);
	return 0;
}
