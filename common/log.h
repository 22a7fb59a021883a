/* SPDX-License-Identifier: MIT */
/*
 * log: one line an event, to stderr and, where one is set, to a sink (the guest's agent sends its lines to the host).
 * The journal reads stderr with <N> priorities, when JOURNAL_STREAM is set; in a file each line begins with the time.
 * Lines are single lines: what a peer wrote is passed through text_printable() first. Any thread may log.
 */
#ifndef HOMEPORT_LOG_H
#define HOMEPORT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR, /* somebody has to do something */
	LOG_LEVEL_WARN,  /* something was survived, and is worth knowing */
	LOG_LEVEL_INFO,  /* a session, a mount or a port changed */
	LOG_LEVEL_DEBUG, /* -v */
	LOG_LEVEL_COUNT,
};

typedef void log_sink_fn(void *ctx, enum log_level level, const char *line);

/* `program` stands in front of each line and must stay valid. Lines above `max` are dropped. */
void log_init(const char *program, enum log_level max);
void log_set_level(enum log_level max);
bool log_enabled(enum log_level level);

/* Hands each line also to sink, called on the logging thread; NULL ends it. */
void log_set_sink(log_sink_fn *sink, void *ctx);

const char *log_level_name(enum log_level level);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) (log_enabled(LOG_LEVEL_DEBUG) ? log_at(LOG_LEVEL_DEBUG, __VA_ARGS__) : (void)0)

/*
 * For what a peer can trigger: at most `burst` lines a second; the next line that passes says how many were
 * suppressed. Zero-initialise the struct (static), give the monotonic time in microseconds.
 *	static struct log_limit limit;
 *	if (log_limit_pass(&limit, now_us, 5)) log_warn(...);
 */
struct log_limit {
	uint64_t window_us;
	unsigned passed, suppressed;
};
bool log_limit_pass(struct log_limit *limit, uint64_t now_us, unsigned burst);

/*
 * Copies `len` bytes that came from outside into dst (of `size` bytes, always NUL-terminated) as printable text:
 * control characters and invalid UTF-8 become \xNN, and what does not fit ends in "...". Returns dst.
 */
char *text_printable(char *dst, size_t size, const void *src, size_t len);

#endif
