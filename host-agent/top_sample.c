/* SPDX-License-Identifier: MIT */
/* An agent's answer to `top`, read and compared. See top_sample.h. */
#include "top_sample.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_words.h"

/* ----------------------------------------------------------------------------------------------------------- reading
 */

static bool take_u64(const char *word, uint64_t *out)
{
	char *end;

	if (word[0] < '0' || word[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(word, &end, 10);
	return !errno && !*end;
}

/* The same, or "-": 0, and false in *known. */
static bool take_known(const char *word, uint64_t *out, bool *known)
{
	*known = strcmp(word, "-") != 0;
	*out = 0;
	return !*known || take_u64(word, out);
}

static bool take_text(const char *word, char *out, size_t size)
{
	snprintf(out, size, "%s", strcmp(word, "-") ? word : "");
	return true;
}

static bool take_times(char *word, uint64_t times[HISTOGRAM_BUCKETS])
{
	char *item, *rest = strcmp(word, "-") ? word : NULL;

	while ((item = strsep(&rest, ","))) {
		char *count = strchr(item, ':');
		uint64_t bucket;

		if (!count)
			return false;
		*count++ = '\0';
		if (!take_u64(item, &bucket) || bucket >= HISTOGRAM_BUCKETS || !take_u64(count, &times[bucket]))
			return false;
	}
	return true;
}

static bool take_session(struct top_sample *s, char **words)
{
	bool rtt_known;

	s->whole = true;
	return take_text(words[1], s->name, sizeof(s->name)) && take_text(words[2], s->state, sizeof(s->state)) &&
	       take_known(words[3], &s->rtt_us, &rtt_known) && take_known(words[4], &s->waiting, &s->guest_told) &&
	       take_text(words[5], s->trouble, sizeof(s->trouble));
}

static bool take_counter(struct op_counters *counters, char **words)
{
	for (unsigned i = 0; i < OP_KINDS; i++) {
		struct op_counter *counter = &counters->kinds[i];
		bool known;

		if (strcmp(words[1], op_kind_name((enum op_kind)i)) != 0)
			continue;
		return take_u64(words[2], &counter->count) && take_known(words[3], &counter->at_once, &known) &&
		       take_times(words[4], counter->times);
	}
	return false;
}

static bool take_guest(struct top_sample *s, char **words)
{
	return take_counter(&s->guest, words);
}

static bool take_host(struct top_sample *s, char **words)
{
	return take_counter(&s->host, words);
}

/* A new last row of a list, zeroed; NULL: it is full, or memory is. */
static void *add_row(void **rows, size_t *count, size_t size)
{
	char *grown = *count < TOP_ROWS_MAX ? reallocarray(*rows, *count + 1, size) : NULL;

	if (!grown)
		return NULL;
	*rows = grown;
	return memset(grown + size * (*count)++, 0, size);
}

static bool take_mount(struct top_sample *s, char **words)
{
	struct top_mount *mount = add_row((void **)&s->mounts, &s->mount_count, sizeof(*mount));

	if (!mount || !(mount->target = strdup(words[1])))
		return false;
	return take_text(words[2], mount->state, sizeof(mount->state)) && take_u64(words[3], &mount->requests) &&
	       take_u64(words[4], &mount->read) && take_u64(words[5], &mount->written);
}

static bool take_port(struct top_sample *s, char **words)
{
	struct top_port *port = add_row((void **)&s->ports, &s->port_count, sizeof(*port));

	if (!port || !(port->guest = strdup(words[2])))
		return false;
	return take_text(words[1], port->proto, sizeof(port->proto)) &&
	       take_text(words[3], port->process, sizeof(port->process)) && take_u64(words[4], &port->connections) &&
	       take_u64(words[5], &port->in) && take_u64(words[6], &port->out);
}

void top_sample_line(struct top_sample *s, char *line)
{
	static const struct {
		const char *word;
		size_t count;
		bool (*take)(struct top_sample *s, char **words);
	} kinds[] = {
		{"session", 6, take_session}, {"guest", 5, take_guest}, {"host", 5, take_host},
		{"mount", 6, take_mount},     {"port", 7, take_port},
	};
	char *words[CTL_WORDS_MAX];
	size_t count = ctl_words_split(line, words);

	for (size_t i = 0; count && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(words[0], kinds[i].word)) {
			s->failed |= count != kinds[i].count || !kinds[i].take(s, words);
			return;
		}
	s->failed = true;
}

void top_sample_end(struct top_sample *s, const struct top_sample *before)
{
	if (s->guest_told) {
		s->guest_us = s->us;
		return;
	}
	s->guest = before->guest;
	s->guest_us = before->guest_us;
}

static void free_rows(struct top_sample *s)
{
	for (size_t i = 0; i < s->mount_count; i++)
		free(s->mounts[i].target);
	for (size_t i = 0; i < s->port_count; i++)
		free(s->ports[i].guest);
	free(s->mounts);
	free(s->ports);
}

void top_sample_reset(struct top_sample *s, uint64_t us)
{
	free_rows(s);
	memset(s, 0, sizeof(*s));
	s->us = us;
}

void top_sample_free(struct top_sample *s)
{
	if (s)
		free_rows(s);
	free(s);
}

/* --------------------------------------------------------------------------------------------------------- comparing
 */

static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

static bool make_ops(struct top_interval *out, const struct top_sample *before, const struct top_sample *now)
{
	struct op_counters *guest = malloc(sizeof(*guest)), *host = malloc(sizeof(*host));
	bool made = guest && host;

	if (made) {
		op_counters_since(&now->guest, &before->guest, guest);
		op_counters_since(&now->host, &before->host, host);
	}
	for (unsigned i = 0; made && i < OP_KINDS; i++)
		out->ops[i] = (struct top_ops){
			.count = guest->kinds[i].count,
			.at_once = guest->kinds[i].at_once,
			.p50 = histogram_percentile(guest->kinds[i].times, 500),
			.p99 = histogram_percentile(guest->kinds[i].times, 990),
			.host_count = host->kinds[i].count,
			.host_p50 = histogram_percentile(host->kinds[i].times, 500),
			.host_p99 = histogram_percentile(host->kinds[i].times, 990),
			.ever = now->guest.kinds[i].count || now->host.kinds[i].count,
		};
	free(guest);
	free(host);
	return made;
}

static void mount_since(struct top_mount *mount, const struct top_sample *before)
{
	for (size_t i = 0; i < before->mount_count; i++) {
		const struct top_mount *old = &before->mounts[i];

		if (strcmp(old->target, mount->target) != 0)
			continue;
		mount->requests = since(mount->requests, old->requests);
		mount->read = since(mount->read, old->read);
		mount->written = since(mount->written, old->written);
		return;
	}
}

static int compare_names(const void *a, const void *b)
{
	const struct top_port *x = a, *y = b;
	int rc = strcmp(x->guest, y->guest);

	return rc ? rc : strcmp(x->proto, y->proto);
}

static int compare_traffic(const void *a, const void *b)
{
	const struct top_port *x = a, *y = b;
	double traffic_x = (double)x->in + (double)x->out, traffic_y = (double)y->in + (double)y->out;

	if (traffic_x != traffic_y)
		return traffic_x < traffic_y ? 1 : -1;
	if (x->connections != y->connections)
		return x->connections < y->connections ? 1 : -1;
	return compare_names(a, b);
}

/* Thousands of ports in two samples: both sorted, and one looked up in the other. */
static bool make_ports(struct top_interval *out, const struct top_sample *before, const struct top_sample *now)
{
	struct top_port *old = calloc(before->port_count + 1, sizeof(*old));

	out->ports = calloc(now->port_count + 1, sizeof(*out->ports));
	if (!old || !out->ports) {
		free(old);
		return false;
	}
	if (before->port_count)
		memcpy(old, before->ports, before->port_count * sizeof(*old));
	if (now->port_count)
		memcpy(out->ports, now->ports, now->port_count * sizeof(*old));
	qsort(old, before->port_count, sizeof(*old), compare_names);
	for (size_t i = 0; i < now->port_count; i++) {
		struct top_port *port = &out->ports[i];
		const struct top_port *was = bsearch(port, old, before->port_count, sizeof(*old), compare_names);

		if (was) {
			port->in = since(port->in, was->in);
			port->out = since(port->out, was->out);
		}
	}
	qsort(out->ports, now->port_count, sizeof(*old), compare_traffic);
	free(old);
	return true;
}

bool top_interval_make(struct top_interval *out, const struct top_sample *before, const struct top_sample *now)
{
	*out = (struct top_interval){.us = since(now->us, before->us),
				     .guest_us = before->guest_us ? since(now->guest_us, before->guest_us) : 0,
				     .now = now};
	out->mounts = calloc(now->mount_count + 1, sizeof(*out->mounts));
	if (!out->mounts || !make_ops(out, before, now) || !make_ports(out, before, now)) {
		top_interval_free(out);
		return false;
	}
	for (size_t i = 0; i < now->mount_count; i++) {
		out->mounts[i] = now->mounts[i];
		mount_since(&out->mounts[i], before);
	}
	return true;
}

void top_interval_free(struct top_interval *i)
{
	free(i->mounts);
	free(i->ports);
	i->mounts = NULL;
	i->ports = NULL;
}
