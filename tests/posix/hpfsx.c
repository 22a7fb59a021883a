/* SPDX-License-Identifier: MIT */
/*
 * hpfsx: random operations on one file, held against a model of it in memory. What a read, a map, a size or a whole
 * look at the file brings must be what the model says; the first difference ends the run with the last operations and
 * the seed, which brings them again.
 *
 *	hpfsx [-s SEED] [-n OPERATIONS] [-l LENGTH] [-r INDEX/COUNT] FILE
 *
 * Without -r the file is this process's alone: it also grows, shrinks, is renamed, and is replaced while it is open.
 * With -r several processes share it, each with a part of LENGTH bytes of its own: part INDEX of COUNT, of a file that
 * is made beforehand. Any of them may run on the host: what one does to its part must never show in another's.
 *
 * Two descriptors of the file are open at any time, and operations choose one of them. What the file system does not
 * have (EOPNOTSUPP) is left out from then on, and said at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/falloc.h>

#define TOLD    40 /* operations remembered for the report */
#define PIECE   (64u << 10)
#define FDS     2
#define PATH_ID 2 /* names the file goes by */

struct run {
	uint64_t seed, random;
	size_t length; /* of the file at most, or of our part */
	off_t base;    /* of our part */
	bool alone;
	char names[PATH_ID][4096];
	int name;
	int fds[FDS];

	uint8_t *model;
	size_t size; /* of the file, when it is ours alone */
	uint8_t *buffer;
	unsigned long step;
	char told[TOLD][96];
};

static void fail(const struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
static void fail(const struct run *r, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "hpfsx: seed %llu, step %lu: ", (unsigned long long)r->seed, r->step);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	for (unsigned long s = r->step > TOLD ? r->step - TOLD + 1 : 1; s <= r->step; s++)
		fprintf(stderr, "  %lu %s\n", s, r->told[s % TOLD]);
	exit(1);
}

/* xorshift64*: the same numbers everywhere for the same seed. */
static uint64_t random_number(struct run *r)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return r->random * 0x2545f4914f6cdd1dull;
}

static size_t random_below(struct run *r, size_t limit)
{
	return limit ? (size_t)(random_number(r) % limit) : 0;
}

static void tell(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->told[r->step % TOLD], sizeof(r->told[0]), fmt, ap);
	va_end(ap);
}

static int any_fd(struct run *r)
{
	return r->fds[random_below(r, FDS)];
}

/* A range within what may be used; its end lies on a page's now and then. */
static void any_range(struct run *r, size_t limit, size_t *at, size_t *len)
{
	*at = random_below(r, limit);
	*len = 1 + random_below(r, PIECE);
	if (random_below(r, 4) == 0)
		*at &= ~(size_t)4095;
	if (*len > limit - *at)
		*len = limit - *at;
}

static void fill(struct run *r, uint8_t *data, size_t len)
{
	uint64_t word = random_number(r);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(word >> (i % 8 * 8)) ^ (uint8_t)(i >> 3);
}

/* Where the model says so; beyond the size there is nothing. */
static void compare(const struct run *r, const char *what, size_t at, const uint8_t *got, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (got[i] != r->model[at + i])
			fail(r, "%s: byte %zu is %02x and should be %02x (range %zu+%zu)", what, at + i, got[i],
			     r->model[at + i], at, len);
}

/* The model's bytes up to `end` exist from here on. */
static void model_grow(struct run *r, size_t end)
{
	if (end > r->size)
		r->size = end;
}

static size_t readable(const struct run *r)
{
	return r->alone ? r->size : r->length;
}

/* ------------------------------------------------------------------------------------------------------- operations */

/* Each returns 0, or the positive errno of what the file system does not have. */

static int do_read(struct run *r)
{
	size_t at, len, want;
	ssize_t n;

	any_range(r, r->length, &at, &len);
	tell(r, "read %zu+%zu", at, len);
	want = at >= readable(r) ? 0 : len > readable(r) - at ? readable(r) - at : len;
	n = pread(any_fd(r), r->buffer, r->alone ? len : want, r->base + (off_t)at);
	if (n < 0 || (size_t)n != want)
		fail(r, "read: %zd of %zu: %s", n, want, n < 0 ? strerror(errno) : "");
	compare(r, "read", at, r->buffer, want);
	return 0;
}

static int do_write(struct run *r)
{
	size_t at, len;
	ssize_t n;

	any_range(r, r->length, &at, &len);
	tell(r, "write %zu+%zu", at, len);
	fill(r, r->model + at, len);
	n = pwrite(any_fd(r), r->model + at, len, r->base + (off_t)at);
	if (n < 0 || (size_t)n != len)
		fail(r, "write: %zd of %zu: %s", n, len, n < 0 ? strerror(errno) : "");
	model_grow(r, at + len);
	return 0;
}

/* A map of the pages around a range; *data is where the range begins in it. */
static uint8_t *map_range(struct run *r, int fd, int protection, size_t at, size_t len, uint8_t **data, size_t *mapped)
{
	size_t before = (size_t)(r->base + (off_t)at) & 4095;
	uint8_t *map;

	*mapped = before + len;
	map = mmap(NULL, *mapped, protection, MAP_SHARED, fd, r->base + (off_t)(at - before));
	if (map == MAP_FAILED)
		fail(r, "mmap: %s", strerror(errno));
	*data = map + before;
	return map;
}

static int do_map_read(struct run *r)
{
	size_t at, len, mapped;
	uint8_t *map, *data;

	if (!readable(r))
		return 0;
	any_range(r, readable(r), &at, &len);
	tell(r, "map and read %zu+%zu", at, len);
	map = map_range(r, any_fd(r), PROT_READ, at, len, &data, &mapped);
	compare(r, "map", at, data, len);
	munmap(map, mapped);
	return 0;
}

static int do_map_write(struct run *r)
{
	bool sync = random_below(r, 2);
	size_t at, len, mapped;
	uint8_t *map, *data;

	if (!readable(r))
		return 0;
	any_range(r, readable(r), &at, &len);
	tell(r, "map and write %zu+%zu%s", at, len, sync ? ", msync" : "");
	fill(r, r->model + at, len);
	map = map_range(r, any_fd(r), PROT_READ | PROT_WRITE, at, len, &data, &mapped);
	memcpy(data, r->model + at, len);
	if (sync && msync(map, mapped, MS_SYNC) < 0)
		fail(r, "msync: %s", strerror(errno));
	munmap(map, mapped);
	return 0;
}

static int do_truncate(struct run *r)
{
	size_t size = random_below(r, r->length + 1);
	bool by_name = random_below(r, 2);
	int rc;

	tell(r, "truncate to %zu%s", size, by_name ? " by name" : "");
	rc = by_name ? truncate(r->names[r->name], (off_t)size) : ftruncate(any_fd(r), (off_t)size);
	if (rc < 0)
		fail(r, "truncate: %s", strerror(errno));
	if (size < r->size)
		memset(r->model + size, 0, r->size - size);
	r->size = size;
	return 0;
}

static int allocate(struct run *r, int mode, const char *what)
{
	size_t at, len;

	any_range(r, r->length, &at, &len);
	tell(r, "%s %zu+%zu", what, at, len);
	if (fallocate(any_fd(r), mode, r->base + (off_t)at, (off_t)len) < 0) {
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			return errno;
		fail(r, "%s: %s", what, strerror(errno));
	}
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memset(r->model + at, 0, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		model_grow(r, at + len);
	return 0;
}

static int do_punch(struct run *r)
{
	return allocate(r, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch");
}

static int do_zero(struct run *r)
{
	bool keep = random_below(r, 2);

	return allocate(r, FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0), keep ? "zero, keep size" : "zero");
}

static int do_allocate(struct run *r)
{
	return allocate(r, 0, "allocate");
}

static int do_copy(struct run *r)
{
	size_t from, to, len, left;
	off_t in, out;

	if (readable(r) < 2)
		return 0;
	any_range(r, readable(r), &from, &len);
	to = random_below(r, r->length);
	if (len > r->length - to)
		len = r->length - to;
	if (from < to + len && to < from + len)
		return 0; /* not of a range onto itself */
	tell(r, "copy %zu+%zu to %zu", from, len, to);
	in = r->base + (off_t)from;
	out = r->base + (off_t)to;
	for (left = len; left;) {
		ssize_t n = copy_file_range(any_fd(r), &in, any_fd(r), &out, left, 0);

		if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) && left == len)
			return errno;
		if (n <= 0)
			fail(r, "copy: %zd, %zu left: %s", n, left, n < 0 ? strerror(errno) : "");
		left -= (size_t)n;
	}
	memcpy(r->model + to, r->model + from, len);
	model_grow(r, to + len);
	return 0;
}

static int do_append(struct run *r)
{
	size_t len = 1 + random_below(r, PIECE);
	ssize_t n;
	int fd;

	if (len > r->length - r->size)
		return 0;
	tell(r, "append %zu at %zu", len, r->size);
	fill(r, r->model + r->size, len);
	fd = open(r->names[r->name], O_WRONLY | O_APPEND);
	n = fd < 0 ? -1 : write(fd, r->model + r->size, len);
	if (n < 0 || (size_t)n != len || close(fd) < 0)
		fail(r, "append: %zd of %zu: %s", n, len, strerror(errno));
	r->size += len;
	return 0;
}

static int open_file(struct run *r, int flags)
{
	int fd = open(r->names[r->name], O_RDWR | flags, 0600);

	if (fd < 0)
		fail(r, "open %s: %s", r->names[r->name], strerror(errno));
	return fd;
}

static int do_reopen(struct run *r)
{
	size_t which = random_below(r, FDS);

	tell(r, "reopen");
	if (close(r->fds[which]) < 0)
		fail(r, "close: %s", strerror(errno));
	r->fds[which] = open_file(r, 0);
	return 0;
}

static int do_rename(struct run *r)
{
	tell(r, "rename");
	if (rename(r->names[r->name], r->names[!r->name]) < 0)
		fail(r, "rename: %s", strerror(errno));
	r->name = !r->name;
	return 0;
}

/* A copy takes the file's place: as an editor saves. The descriptors go on with the copy. */
static int do_replace(struct run *r)
{
	int fd;

	tell(r, "replace");
	fd = open(r->names[!r->name], O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || pwrite(fd, r->model, r->size, 0) != (ssize_t)r->size || close(fd) < 0 ||
	    rename(r->names[!r->name], r->names[r->name]) < 0)
		fail(r, "replace: %s", strerror(errno));
	for (int i = 0; i < FDS; i++) {
		/* What was replaced stays what it was for who has it open. */
		ssize_t n = pread(r->fds[i], r->buffer, r->length, 0);

		if (n != (ssize_t)r->size)
			fail(r, "replaced: %zd bytes and not %zu", n, r->size);
		compare(r, "replaced", 0, r->buffer, r->size);
		close(r->fds[i]);
		r->fds[i] = open_file(r, 0);
	}
	return 0;
}

static int do_sync(struct run *r)
{
	bool data_only = random_below(r, 2);

	tell(r, "%s", data_only ? "fdatasync" : "fsync");
	if ((data_only ? fdatasync(any_fd(r)) : fsync(any_fd(r))) < 0)
		fail(r, "fsync: %s", strerror(errno));
	return 0;
}

/* All of it, by a descriptor of its own. */
static int do_look(struct run *r)
{
	int fd = open_file(r, 0);
	size_t want = readable(r);
	struct stat st;
	ssize_t n;

	tell(r, "look at all");
	if (fstat(fd, &st) < 0 || (r->alone && (size_t)st.st_size != r->size))
		fail(r, "size: %lld and not %zu", (long long)st.st_size, r->size);
	n = pread(fd, r->buffer, want, r->base);
	if (n != (ssize_t)want)
		fail(r, "look: %zd bytes and not %zu", n, want);
	compare(r, "look", 0, r->buffer, want);
	close(fd);
	return 0;
}

static struct operation {
	const char *name;
	int (*run)(struct run *r);
	unsigned weight;
	bool alone; /* only where the file is ours */
	bool missing;
} operations[] = {
	{"read", do_read, 20, false, false},        {"write", do_write, 20, false, false},
	{"map read", do_map_read, 8, false, false}, {"map write", do_map_write, 8, false, false},
	{"truncate", do_truncate, 6, true, false},  {"punch", do_punch, 4, false, false},
	{"zero", do_zero, 4, true, false},          {"allocate", do_allocate, 2, true, false},
	{"copy", do_copy, 6, false, false},         {"append", do_append, 4, true, false},
	{"reopen", do_reopen, 6, false, false},     {"rename", do_rename, 2, true, false},
	{"replace", do_replace, 2, true, false},    {"sync", do_sync, 3, false, false},
	{"look", do_look, 4, false, false},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static struct operation *any_operation(struct run *r)
{
	for (;;) {
		size_t pick = random_below(r, 99);

		for (size_t i = 0; i < OPERATIONS; i++) {
			if (pick < operations[i].weight) {
				if (!operations[i].missing && (r->alone || !operations[i].alone))
					return &operations[i];
				break;
			}
			pick -= operations[i].weight;
		}
	}
}

/* --------------------------------------------------------------------------------------------------------- the run */

static void begin(struct run *r, const char *path)
{
	snprintf(r->names[0], sizeof(r->names[0]), "%s", path);
	snprintf(r->names[1], sizeof(r->names[1]), "%s.other", path);
	r->random = r->seed * 0x9e3779b97f4a7c15ull + 1;
	r->model = calloc(1, r->length);
	r->buffer = malloc(r->length > PIECE ? r->length : PIECE);
	if (!r->model || !r->buffer)
		fail(r, "out of memory");
	for (int i = 0; i < FDS; i++)
		r->fds[i] = open_file(r, r->alone ? O_CREAT | (i ? 0 : O_TRUNC) : 0);
	/* What a part holds at first is whatever it is. */
	if (!r->alone && pread(r->fds[0], r->model, r->length, r->base) != (ssize_t)r->length)
		fail(r, "the file is too short for our part");
}

int main(int argc, char **argv)
{
	struct run r = {.seed = 1, .length = 256u << 10, .alone = true};
	unsigned long steps = 1000, index, count;
	int option;

	while ((option = getopt(argc, argv, "s:n:l:r:")) >= 0) {
		if (option == 's') {
			r.seed = strtoull(optarg, NULL, 10);
		} else if (option == 'n') {
			steps = strtoul(optarg, NULL, 10);
		} else if (option == 'l') {
			r.length = strtoul(optarg, NULL, 10);
		} else if (option == 'r' && sscanf(optarg, "%lu/%lu", &index, &count) == 2 && index < count) {
			r.alone = false;
		} else {
			optind = argc + 1;
			break;
		}
	}
	if (optind + 1 != argc || !r.length || r.length % 4096) {
		fprintf(stderr, "usage: hpfsx [-s SEED] [-n OPERATIONS] [-l LENGTH] [-r INDEX/COUNT] FILE\n"
				"LENGTH is a multiple of 4096\n");
		return 2;
	}
	if (!r.alone)
		r.base = (off_t)(index * r.length);
	begin(&r, argv[optind]);
	for (r.step = 1; r.step <= steps; r.step++) {
		struct operation *o = any_operation(&r);

		tell(&r, "%s: nothing", o->name);
		if (o->run(&r) == 0)
			continue;
		o->missing = true;
		printf("%s: not here\n", o->name);
	}
	do_look(&r);
	printf("%lu operations, seed %llu\n", steps, (unsigned long long)r.seed);
	return 0;
}
