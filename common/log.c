/* SPDX-License-Identifier: MIT */
/*
 * Lines to stderr and to a sink. See log.h.
 *
 * A line is composed on the stack and written by one write(2), so that lines of several threads do not mix. The lock
 * guards the sink alone: log_set_sink(NULL) returns only when no thread is inside it any more.
 */
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "utf8.h"

#define LOG_LINE_MAX 2048

static const struct {
	const char *name;
	int priority; /* of syslog(3) */
} log_levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARN] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};
static_assert(sizeof(log_levels) / sizeof(log_levels[0]) == LOG_LEVEL_COUNT, "each level has a name");

static const char *log_program = "homeport";
static atomic_int log_max = LOG_LEVEL_INFO;
static atomic_bool log_to_journal, log_to_file;

static pthread_mutex_t log_sink_lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink_fn *log_sink;
static void *log_sink_ctx;
/* A sink that logs must neither wait for itself nor call itself. */
static _Thread_local bool log_in_sink;

/* systemd names its socket's device and inode: the variable alone is inherited also by what is redirected elsewhere. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

/* A file has nobody who notes when a line came. */
static bool stderr_is_file(void)
{
	struct stat st;

	return !fstat(STDERR_FILENO, &st) && S_ISREG(st.st_mode);
}

void log_init(const char *program, enum log_level max)
{
	log_program = program;
	log_to_journal = stderr_is_journal();
	log_to_file = stderr_is_file();
	log_set_level(max);
}

void log_set_level(enum log_level max)
{
	log_max = max;
}

bool log_enabled(enum log_level level)
{
	return (int)level <= log_max;
}

void log_set_sink(log_sink_fn *sink, void *ctx)
{
	pthread_mutex_lock(&log_sink_lock);
	log_sink = sink;
	log_sink_ctx = ctx;
	pthread_mutex_unlock(&log_sink_lock);
}

const char *log_level_name(enum log_level level)
{
	return (unsigned)level < LOG_LEVEL_COUNT ? log_levels[level].name : "unknown";
}

static void log_to_sink(enum log_level level, const char *line)
{
	if (log_in_sink)
		return;
	log_in_sink = true;
	pthread_mutex_lock(&log_sink_lock);
	if (log_sink)
		log_sink(log_sink_ctx, level, line);
	pthread_mutex_unlock(&log_sink_lock);
	log_in_sink = false;
}

/* A line is one line: what control characters slipped in become blanks. */
static void line_flatten(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = ' ';
}

static size_t put_time(char *line, size_t size)
{
	time_t now = time(NULL);
	struct tm utc;

	return strftime(line, size, "%Y-%m-%dT%H:%M:%SZ ", gmtime_r(&now, &utc));
}

void log_at(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[LOG_LINE_MAX];
	size_t at = 0;
	va_list ap;
	int n;

	if (!log_enabled(level))
		return;
	if (log_to_journal)
		at += (size_t)snprintf(line, sizeof(line), "<%d>", log_levels[level].priority);
	else if (log_to_file)
		at += put_time(line, sizeof(line));
	at += (size_t)snprintf(line + at, 256, "%s: ", log_program);
	va_start(ap, fmt);
	errno = saved;
	/* One byte is kept for the newline. */
	n = vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);
	va_end(ap);
	if (n >= (int)(sizeof(line) - at - 1))
		memcpy(line + sizeof(line) - 5, "...", 4);
	line_flatten(line + at);
	log_to_sink(level, line + at);
	n = (int)strlen(line);
	line[n++] = '\n';
	(void)!write(STDERR_FILENO, line, (size_t)n);
	errno = saved;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_us, unsigned burst)
{
	if (now_us - limit->window_us >= 1000000u) {
		if (limit->suppressed)
			log_warn("%u lines like the next were suppressed", limit->suppressed);
		*limit = (struct log_limit){.window_us = now_us};
	}
	if (limit->passed >= burst) {
		limit->suppressed++;
		return false;
	}
	limit->passed++;
	return true;
}

/*
 * The length of the character at p if it may be printed as it is, else 0: no control characters (C0, DEL, C1), nothing
 * that is not UTF-8 (RFC 3629), and none of the characters that end a line or turn the direction of text, with which a
 * name could make a line of ours look like another.
 */
static size_t utf8_printable(const uint8_t *p, size_t len)
{
	uint32_t c;
	size_t n = utf8_read(p, len, &c);

	if (!n || c < ' ' || (c >= 0x7f && c < 0xa0))
		return 0;
	return (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f ? 0 : n;
}

char *text_printable(char *dst, size_t size, const void *src, size_t len)
{
	const uint8_t *p = src;
	size_t at = 0, safe = 0; /* safe: the last place where "..." still fits */
	char unit[8];

	if (!size)
		return dst;
	for (size_t i = 0; i < len;) {
		size_t used = utf8_printable(p + i, len - i);
		size_t n = used;

		if (used)
			memcpy(unit, p + i, n);
		else
			n = (size_t)snprintf(unit, sizeof(unit), "\\x%02x", p[i]);
		if (at + n > size - 1) {
			at = safe;
			for (int dots = 0; dots < 3 && at < size - 1; dots++)
				dst[at++] = '.';
			break;
		}
		memcpy(dst + at, unit, n);
		at += n;
		if (at + 3 <= size - 1)
			safe = at;
		i += used ? used : 1;
	}
	dst[at] = '\0';
	return dst;
}
