/* SPDX-License-Identifier: MIT */
/*
 * sftp_io: packets from a descriptor, by one reader at a time, and replies to one, by any thread. Descriptors may block
 * or not; they stay the caller's.
 */
#ifndef HOMEPORT_SFTP_IO_H
#define HOMEPORT_SFTP_IO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sftp_job.h"

struct sftp_input {
	int fd;
	uint8_t *buf;
	size_t at, len;
};

int sftp_input_init(struct sftp_input *in, int fd);
void sftp_input_clear(struct sftp_input *in);

/* The next packet, from its type on, into `packet`. 1; 0: the end; -EPROTO: a length of 0 or too long; -errno. */
int sftp_input_next(struct sftp_input *in, struct wire_buf *packet);

struct sftp_output {
	int fd; /* -1: replies go to `memory` */
	struct wire_buf *memory;
	void (*sent)(struct sftp_job *job); /* gives the job back, sent or lost; without locks */
	pthread_mutex_t lock;
	pthread_cond_t room;
	struct job_list placed; /* whose order is settled: goes before the others */
	struct job_list small, bulk;
	size_t reserved;
	bool writing;
	atomic_bool broken; /* the peer reads no more: replies are dropped */
};

void sftp_output_init(struct sftp_output *out, int fd, void (*sent)(struct sftp_job *));
void sftp_output_clear(struct sftp_output *out);

/* Waits until a reply of `size` bytes can be stored, and sets that aside for the job until it is sent. */
void sftp_output_reserve(struct sftp_output *out, struct sftp_job *job, size_t size);

/* Sends job->out: now, or when who is writing comes to it; the job is `sent`'s from here on. Small ones go first. */
void sftp_output_send(struct sftp_output *out, struct sftp_job *job);

/*
 * Puts a message of the server's own (job->out) behind all replies that are queued and before all that come, and sends
 * it with the next of these. In the same moment `stamp` is advanced and written at `stamp_at`: who has read it since
 * cannot be answered before the message.
 */
void sftp_output_place(struct sftp_output *out, struct sftp_job *job, _Atomic uint64_t *stamp, size_t stamp_at);

/* Gives the job back without a reply. */
void sftp_output_drop(struct sftp_output *out, struct sftp_job *job);

#endif
