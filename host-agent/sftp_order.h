/* SPDX-License-Identifier: MIT */
/*
 * sftp_order: which request may begin, and which waits for its turn, without a thread. Any thread may call; a place is
 * taken by the reader alone, one request at a time, hence in the order sent.
 */
#ifndef HOMEPORT_SFTP_ORDER_H
#define HOMEPORT_SFTP_ORDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bounds.h"
#include "sftp_job.h"

#define SFTP_DEVICE_OF_PATHS SFTP_DEVICES_MAX /* of requests by path, which may lead to any */

struct sftp_order {
	pthread_mutex_t lock; /* of all that follows, and of what handles.h says */
	pthread_cond_t room;
	struct {
		unsigned active;
		struct job_list waiting;
	} devices[SFTP_DEVICES_MAX + 1];
	struct job_list waiting; /* all that wait, anywhere */
	size_t waiting_bytes;
	unsigned under_way; /* read and not answered */
};

void sftp_order_init(struct sftp_order *order);
void sftp_order_clear(struct sftp_order *order);

/* Returns when one more request can be kept: a client has at most so many under way, and those that wait take memory.
 */
void sftp_order_wait_for_room(struct sftp_order *order);

/* One more request was read that will be answered; it was. */
void sftp_order_count_in(struct sftp_order *order);
void sftp_order_count_out(struct sftp_order *order);

/* Gives the job its place, by its row, handle and device. True: it may run. False: it waits. */
bool sftp_order_enter(struct sftp_order *order, struct sftp_job *job);

/* The job was carried out: what may run now is put into `ready`. */
void sftp_order_leave(struct sftp_order *order, struct sftp_job *job, struct job_list *ready);

/* The native request of this id that waits, cancelled and ready to be answered; NULL: none waits, it may have begun. */
struct sftp_job *sftp_order_cancel(struct sftp_order *order, uint32_t id);

#endif
