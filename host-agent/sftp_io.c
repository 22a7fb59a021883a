/* SPDX-License-Identifier: MIT */
/*
 * Reading: small packets come out of one buffer, many with one read(2); of a long one the rest is read straight to
 * where it will stay.
 *
 * Writing: who has a reply and finds nobody writing writes it, and then whatever others have queued meanwhile: small
 * replies first, so that a listing does not wait behind a megabyte. Nobody waits for the descriptor but the one who
 * writes; what may queue up is bounded, since the room for each reply is set aside before its request is carried out.
 *
 * A message of the server's own is a fence: what is queued when it comes, small and bulk, is moved to `placed` in the
 * order it would have gone, and the message behind it. It says what its request's reply does not, so it leaves with
 * that.
 */
#include "sftp_io.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bounds.h"

#define INPUT_BUFFER (64u << 10)
#define SMALL_MAX    (16u << 10)
#define WRITE_JOBS   32

/* ---- reading ---- */

int sftp_input_init(struct sftp_input *in, int fd)
{
	*in = (struct sftp_input){.fd = fd, .buf = malloc(INPUT_BUFFER)};
	return in->buf ? 0 : -ENOMEM;
}

void sftp_input_clear(struct sftp_input *in)
{
	free(in->buf);
	in->buf = NULL;
}

/* At least one byte, 0 at the end, or negative errno. */
static ssize_t read_some(int fd, void *data, size_t len)
{
	for (;;) {
		ssize_t n = read(fd, data, len);

		if (n >= 0)
			return n;
		if (errno == EAGAIN)
			poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
		else if (errno != EINTR)
			return -errno;
	}
}

/* At least `need` bytes in the buffer. 1, 0 at the end, negative errno. */
static int input_fill(struct sftp_input *in, size_t need)
{
	while (in->len - in->at < need) {
		ssize_t n;

		if (INPUT_BUFFER - in->at < need || in->at == in->len) {
			memmove(in->buf, in->buf + in->at, in->len - in->at);
			in->len -= in->at;
			in->at = 0;
		}
		n = read_some(in->fd, in->buf + in->len, INPUT_BUFFER - in->len);
		if (n <= 0)
			return (int)n;
		in->len += (size_t)n;
	}
	return 1;
}

int sftp_input_next(struct sftp_input *in, struct wire_buf *packet)
{
	size_t len, here;
	uint8_t *p;
	int r = input_fill(in, 4);

	if (r <= 0)
		return r;
	len = wire_peek_u32(in->buf + in->at);
	if (len == 0 || len > SFTP_PACKET_MAX)
		return -EPROTO;
	in->at += 4;
	wire_buf_reset(packet);
	p = wire_buf_reserve(packet, len);
	if (!p)
		return -ENOMEM;
	here = in->len - in->at < len ? in->len - in->at : len;
	memcpy(p, in->buf + in->at, here);
	in->at += here;
	while (here < len) {
		ssize_t n = read_some(in->fd, p + here, len - here);

		if (n <= 0)
			return (int)n;
		here += (size_t)n;
	}
	packet->len = len;
	return 1;
}

/* ---- writing ---- */

void sftp_output_init(struct sftp_output *out, int fd, void (*sent)(struct sftp_job *))
{
	*out = (struct sftp_output){.fd = fd, .sent = sent};
	pthread_mutex_init(&out->lock, NULL);
	pthread_cond_init(&out->room, NULL);
	TAILQ_INIT(&out->placed);
	TAILQ_INIT(&out->small);
	TAILQ_INIT(&out->bulk);
}

void sftp_output_clear(struct sftp_output *out)
{
	pthread_mutex_destroy(&out->lock);
	pthread_cond_destroy(&out->room);
}

void sftp_output_reserve(struct sftp_output *out, struct sftp_job *job, size_t size)
{
	pthread_mutex_lock(&out->lock);
	while (out->reserved && out->reserved + size > SFTP_REPLIES_MAX && !out->broken)
		pthread_cond_wait(&out->room, &out->lock);
	out->reserved += size;
	job->reserved = size;
	pthread_mutex_unlock(&out->lock);
}

static int write_all(int fd, struct iovec *v, int count)
{
	while (count > 0) {
		ssize_t n = writev(fd, v, count);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -errno;
		for (; n > 0 && count > 0; v++, count--) {
			if ((size_t)n < v->iov_len) {
				v->iov_base = (char *)v->iov_base + n;
				v->iov_len -= (size_t)n;
				break;
			}
			n -= (ssize_t)v->iov_len;
		}
	}
	return 0;
}

static int write_list(struct sftp_output *out, struct job_list *list)
{
	struct iovec v[WRITE_JOBS];
	struct sftp_job *job;
	int count = 0;

	TAILQ_FOREACH(job, list, link)
	{
		if (out->fd < 0)
			wire_put_bytes(out->memory, job->out.data, job->out.len);
		else
			v[count++] = (struct iovec){job->out.data, job->out.len};
	}
	return count ? write_all(out->fd, v, count) : 0;
}

/* With the lock: what goes out next; small replies together, of the others one. False: nothing. */
static bool take_list(struct sftp_output *out, struct job_list *list)
{
	struct job_list *from = !TAILQ_EMPTY(&out->placed) ? &out->placed
				: TAILQ_EMPTY(&out->small) ? &out->bulk
							   : &out->small;
	int most = from == &out->bulk ? 1 : WRITE_JOBS;
	struct sftp_job *job;

	TAILQ_INIT(list);
	for (int i = 0; i < most && (job = TAILQ_FIRST(from)); i++) {
		TAILQ_REMOVE(from, job, link);
		TAILQ_INSERT_TAIL(list, job, link);
	}
	return !TAILQ_EMPTY(list);
}

/* Leaves the lock held. */
static void give_back(struct sftp_output *out, struct job_list *list)
{
	struct sftp_job *job;
	size_t done = 0;

	while ((job = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, job, link);
		done += job->reserved;
		out->sent(job);
	}
	pthread_mutex_lock(&out->lock);
	out->reserved -= done;
	if (done)
		pthread_cond_broadcast(&out->room);
}

void sftp_output_send(struct sftp_output *out, struct sftp_job *job)
{
	struct job_list list;
	int r;

	pthread_mutex_lock(&out->lock);
	if (job->out.len > SMALL_MAX)
		TAILQ_INSERT_TAIL(&out->bulk, job, link);
	else
		TAILQ_INSERT_TAIL(&out->small, job, link);
	if (out->writing) {
		pthread_mutex_unlock(&out->lock);
		return;
	}
	out->writing = true;
	while (take_list(out, &list)) {
		pthread_mutex_unlock(&out->lock);
		/* A peer that is gone also ends the input; until then the replies are just dropped. */
		r = out->broken ? 0 : write_list(out, &list);
		if (r < 0)
			out->broken = true;
		give_back(out, &list);
	}
	out->writing = false;
	pthread_mutex_unlock(&out->lock);
}

void sftp_output_place(struct sftp_output *out, struct sftp_job *job, _Atomic uint64_t *stamp, size_t stamp_at)
{
	pthread_mutex_lock(&out->lock);
	job->stamp = atomic_fetch_add(stamp, 1) + 1;
	wire_poke_u64(job->out.data + stamp_at, job->stamp);
	TAILQ_CONCAT(&out->placed, &out->small, link);
	TAILQ_CONCAT(&out->placed, &out->bulk, link);
	TAILQ_INSERT_TAIL(&out->placed, job, link);
	pthread_mutex_unlock(&out->lock);
}

void sftp_output_drop(struct sftp_output *out, struct sftp_job *job)
{
	struct job_list list = TAILQ_HEAD_INITIALIZER(list);

	TAILQ_INSERT_TAIL(&list, job, link);
	give_back(out, &list);
	pthread_mutex_unlock(&out->lock);
}
