/* SPDX-License-Identifier: MIT */
/*
 * loop: the one event loop of a process. The only file that knows libevent is loop.c.
 *
 * A turn is: wait for descriptors, timers and signals (awake for a moment, where that pays: busy_poll.h); run their
 * callbacks; run the after-turn hooks (where peers write what the turn produced, in one go); run what was deferred
 * (where objects that ended inside a callback are freed). Every function here belongs to the loop's own thread; other
 * threads hand work over through handoff.h.
 */
#ifndef HOMEPORT_LOOP_H
#define HOMEPORT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_signal;
struct loop_hook;

enum {
	LOOP_READ = 1,
	LOOP_WRITE = 2,
};

/* `what` is LOOP_READ or LOOP_WRITE. A callback may free its own object and any other. */
typedef void loop_fd_cb(void *ctx, int fd, unsigned what);
typedef void loop_cb(void *ctx);
typedef void loop_signal_cb(void *ctx, int signo);

/* Returns NULL when memory or an epoll descriptor cannot be had. */
struct loop *loop_new(void);

/* Frees the loop; everything made on it must have been freed before. Runs what is still deferred. NULL is fine. */
void loop_free(struct loop *loop);

/* Runs turns until loop_stop(). Returns 0, or a negative errno when the backend fails. */
int loop_run(struct loop *loop);

/* Ends loop_run() after the present turn, its hooks and deferred calls. */
void loop_stop(struct loop *loop);

/* While it is held (as often as it is let go again), the loop sleeps at once instead of polling first: others have work
 * for the processors. */
void loop_hold_polling(struct loop *loop, bool hold);

/* Monotonic time in microseconds. */
uint64_t loop_now_us(const struct loop *loop);

/* Which turn this is; they are counted. */
uint64_t loop_turn(const struct loop *loop);

/*
 * Watches fd (level-triggered) for `interest`, which may be 0 for now. The descriptor stays the caller's and must
 * outlive the watch. NULL when out of memory or when fd cannot be watched.
 */
struct loop_fd *loop_fd_new(struct loop *loop, int fd, unsigned interest, loop_fd_cb *cb, void *ctx);

/* Changes the interest; cheap when nothing changes. Returns 0 or a negative errno. */
int loop_fd_set(struct loop_fd *watch, unsigned interest);

/* Ends the watch; no callback comes after it, not even one of the present turn. NULL is fine. */
void loop_fd_free(struct loop_fd *watch);

/* A one-shot timer, not yet set. NULL when out of memory. */
struct loop_timer *loop_timer_new(struct loop *loop, loop_cb *cb, void *ctx);

/* (Re)arms the timer to fire once, `after_us` microseconds from now. */
void loop_timer_set(struct loop_timer *timer, uint64_t after_us);
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/* Delivers signo to the loop instead of to a handler. NULL when out of memory. */
struct loop_signal *loop_signal_new(struct loop *loop, int signo, loop_signal_cb *cb, void *ctx);
void loop_signal_free(struct loop_signal *sig);

/* Calls cb after the callbacks of every turn, in the order of creation. A hook may be freed from anywhere. */
struct loop_hook *loop_hook_new(struct loop *loop, loop_cb *cb, void *ctx);
void loop_hook_free(struct loop_hook *hook);

/*
 * Calls cb once, at the end of the present turn (or of the next, outside of one), after the hooks. What a deferred
 * call defers runs in the same sweep. This is how an object that ends inside its own callback is freed safely.
 */
void loop_defer(struct loop *loop, loop_cb *cb, void *ctx);

#endif
