/* SPDX-License-Identifier: MIT */
/* known_hosts files, line by line. See known_host.h. Runs on a worker thread. */
#include "known_host.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_LEN 1024
#define SSH_PORT     22

struct line {
	const char *marker, *hosts, *type, *key;
	size_t marker_len, hosts_len, type_len, key_len;
};

static bool is(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* The next word of *p, which ends before `end`. */
static const char *word(const char **p, const char *end, size_t *len)
{
	const char *start;

	while (*p < end && (**p == ' ' || **p == '\t'))
		(*p)++;
	start = *p;
	while (*p < end && **p != ' ' && **p != '\t' && **p != '\r')
		(*p)++;
	*len = (size_t)(*p - start);
	return start;
}

/* False for what is no entry: comments, empty lines, lines with a field missing. */
static bool line_split(const char *p, const char *end, struct line *l)
{
	l->marker_len = 0;
	l->hosts = word(&p, end, &l->hosts_len);
	if (l->hosts_len > 0 && l->hosts[0] == '@') {
		l->marker = l->hosts;
		l->marker_len = l->hosts_len;
		l->hosts = word(&p, end, &l->hosts_len);
	}
	l->type = word(&p, end, &l->type_len);
	l->key = word(&p, end, &l->key_len);
	return l->hosts_len > 0 && l->hosts[0] != '#' && l->type_len > 0 && l->key_len > 0;
}

/* `*` and `?` as in a shell, case ignored. Iterative: one star is remembered, which is enough for globs. */
static bool glob_matches(const char *glob, size_t glob_len, const char *name)
{
	size_t g = 0, star = glob_len;
	const char *resume = NULL;

	while (*name) {
		if (g < glob_len && glob[g] == '*') {
			star = g++;
			resume = name;
		} else if (g < glob_len &&
			   (glob[g] == '?' || tolower((unsigned char)glob[g]) == tolower((unsigned char)*name))) {
			g++;
			name++;
		} else if (resume) {
			g = star + 1;
			name = ++resume;
		} else {
			return false;
		}
	}
	while (g < glob_len && glob[g] == '*')
		g++;
	return g == glob_len;
}

static bool hosts_match(const struct known_host_query *q, const struct line *l, const char *name)
{
	const char *p = l->hosts, *end = l->hosts + l->hosts_len;
	bool found = false;

	if (*p == '|') {
		char hashed[NAME_MAX_LEN];

		if (l->hosts_len >= sizeof(hashed) || !q->hash_matches)
			return false;
		memcpy(hashed, p, l->hosts_len);
		hashed[l->hosts_len] = '\0';
		return q->hash_matches(hashed, name);
	}
	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;
		bool negated = p < stop && *p == '!';

		p += negated;
		if (glob_matches(p, (size_t)(stop - p), name)) {
			if (negated)
				return false;
			found = true;
		}
		p = comma ? comma + 1 : end;
	}
	return found;
}

static void add_type(struct known_host_result *r, const char *type, size_t len)
{
	if (len >= sizeof(r->types[0]) || r->type_count == KNOWN_HOST_TYPES_MAX)
		return;
	for (size_t i = 0; i < r->type_count; i++) {
		if (is(type, len, r->types[i]))
			return;
	}
	memcpy(r->types[r->type_count], type, len);
	r->types[r->type_count++][len] = '\0';
}

static void conclude(struct known_host_result *r, enum known_host_verdict verdict, const char *path, unsigned line)
{
	static const int weight[] = {
		[KNOWN_HOST_UNKNOWN] = 0,
		[KNOWN_HOST_CHANGED] = 1,
		[KNOWN_HOST_OK] = 2,
		[KNOWN_HOST_REVOKED] = 3,
	};

	if (weight[verdict] <= weight[r->verdict])
		return;
	r->verdict = verdict;
	snprintf(r->path, sizeof(r->path), "%s", path);
	r->line = line;
}

static void judge(const struct known_host_query *q, const struct line *l, const char *path, unsigned number,
		  struct known_host_result *r)
{
	bool revoked = is(l->marker, l->marker_len, "@revoked");
	bool same_type = q->key_type && is(l->type, l->type_len, q->key_type);

	if (l->marker_len > 0 && !revoked)
		return;
	if (!revoked)
		add_type(r, l->type, l->type_len);
	if (!same_type)
		return;
	if (is(l->key, l->key_len, q->key))
		conclude(r, revoked ? KNOWN_HOST_REVOKED : KNOWN_HOST_OK, path, number);
	else if (!revoked)
		conclude(r, KNOWN_HOST_CHANGED, path, number);
}

void known_host_begin(struct known_host_result *result)
{
	memset(result, 0, sizeof(*result));
}

void known_host_scan(const struct known_host_query *query, const char *path, const char *text, size_t len,
		     struct known_host_result *result)
{
	const char *p = text, *end = text + len;
	char name[NAME_MAX_LEN];

	known_host_name(name, sizeof(name), query->name, query->port);
	for (unsigned number = 1; p < end; number++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		const char *stop = newline ? newline : end;
		struct line l = {.marker = ""};

		if (line_split(p, stop, &l) && hosts_match(query, &l, name))
			judge(query, &l, path, number, result);
		p = newline ? newline + 1 : end;
	}
}

/* The whole file, or NULL. */
static char *file_read(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *text = NULL;

	if (fd < 0)
		return NULL;
	*len = 0;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= KNOWN_HOST_FILE_MAX)
		text = malloc((size_t)st.st_size + 1);
	while (text && *len < (size_t)st.st_size) {
		ssize_t n = read(fd, text + *len, (size_t)st.st_size - *len);

		if (n <= 0)
			break;
		*len += (size_t)n;
	}
	close(fd);
	return text;
}

static void scan_files(const struct known_host_query *query, char *const *paths, size_t count,
		       struct known_host_result *result)
{
	for (size_t i = 0; i < count; i++) {
		size_t len;
		char *text = file_read(paths[i], &len);

		if (text)
			known_host_scan(query, paths[i], text, len, result);
		free(text);
	}
}

void known_host_check_files(const struct known_host_query *query, char *const *paths, size_t count,
			    struct known_host_result *result)
{
	struct known_host_query bare = *query;
	struct known_host_result second;

	known_host_begin(result);
	scan_files(query, paths, count, result);
	if (result->verdict != KNOWN_HOST_UNKNOWN || query->port == 0 || query->port == SSH_PORT)
		return;
	bare.port = 0;
	known_host_begin(&second);
	scan_files(&bare, paths, count, &second);
	/* Another key for the bare name is another machine's business; a revoked one is everybody's. */
	if (second.verdict == KNOWN_HOST_CHANGED)
		second.verdict = KNOWN_HOST_UNKNOWN;
	if (result->type_count == 0 || second.verdict != KNOWN_HOST_UNKNOWN)
		*result = second;
}

void known_host_name(char *dst, size_t size, const char *name, unsigned port)
{
	if (port == 0 || port == SSH_PORT)
		snprintf(dst, size, "%s", name);
	else
		snprintf(dst, size, "[%s]:%u", name, port);
	for (char *p = dst; *p; p++)
		*p = (char)tolower((unsigned char)*p);
}
