/* SPDX-License-Identifier: MIT */
/*
 * An interval as a table. See top_view.h; top_json.c has the other form.
 *
 * The lines are made first, then cut: to the width, by characters, and to the height, with a last line that says so.
 * Numbers have at most seven characters whatever the guest says, so that columns stay where they are.
 */
#include "top_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define LINE_MAX_BYTES 1024
#define NAME_WIDTH     42 /* of a mount or a port: the three figures behind it end at column 79 */

#define NAME_SIZE (4 * NAME_WIDTH + 4)

#define BOLD  "\033[1m"
#define RED   "\033[31m"
#define PLAIN "\033[0m"

struct page {
	const struct top_look *look;
	FILE *out;
	size_t lines, hidden;
};

/* ------------------------------------------------------------------------------------------------------------ numbers
 */

/* Three digits that count, and a letter for the thousands. */
static const char *scaled(char text[16], double n, double step, const char *const *units, size_t count)
{
	size_t unit = 0;

	while (n >= 999.5 && unit + 1 < count) {
		n /= step;
		unit++;
	}
	if (n > 999)
		n = 999;
	if (n >= 9.95 || n == (double)(unsigned)n)
		snprintf(text, 16, "%.0f%s", n, units[unit]);
	else
		snprintf(text, 16, "%.1f%s", n, units[unit]);
	return text;
}

/* What happened so often in so many microseconds, a second. */
static const char *rate(char text[16], uint64_t n, uint64_t us)
{
	static const char *const units[] = {"", "k", "M", "G", "T"};

	return us ? scaled(text, (double)n * 1e6 / (double)us, 1000, units, 5) : "-";
}

static const char *bytes(char text[16], uint64_t n, uint64_t us)
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};

	return us ? scaled(text, (double)n * 1e6 / (double)us, 1024, units, 5) : "-";
}

static const char *duration(char text[16], uint64_t ns)
{
	static const char *const units[] = {" ns", " us", " ms"};

	if (!ns)
		return "-";
	if (ns < 999500000)
		return scaled(text, (double)ns, 1000, units, 3);
	snprintf(text, 16, "%.*f s", ns < 9950000000 ? 1 : 0, (double)ns / 1e9);
	return text;
}

static const char *percent(char text[16], uint64_t part, uint64_t whole)
{
	if (!whole)
		return "-";
	snprintf(text, 16, "%.0f %%", part < whole ? (double)part * 100 / (double)whole : 100.0);
	return text;
}

/* -------------------------------------------------------------------------------------------------------------- lines
 */

/* How many bytes the first `width` characters have. */
static size_t cut(const char *text, size_t width)
{
	size_t at = 0;

	for (; text[at]; at++)
		if (((unsigned char)text[at] & 0xc0) != 0x80 && width-- == 0)
			break;
	return at;
}

static void __attribute__((format(printf, 3, 4))) line(struct page *p, const char *colour, const char *fmt, ...)
{
	const struct top_look *look = p->look;
	char text[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* One line is kept for saying how many there is no room for. */
	if (look->height && p->lines + 1 >= look->height) {
		p->hidden++;
		return;
	}
	p->lines++;
	if (!look->colour)
		colour = NULL;
	fprintf(p->out, "%s%.*s%s\n", colour ? colour : "", (int)cut(text, look->width), text, colour ? PLAIN : "");
}

/* Printable, and exactly as wide as its column. */
static const char *name_column(char out[NAME_SIZE], const char *raw)
{
	char text[2 * LINE_MAX_BYTES];
	size_t len, width = 0;

	text_printable(text, sizeof(text), raw, strlen(raw));
	len = cut(text, NAME_WIDTH);
	if (text[len]) {
		len = cut(text, NAME_WIDTH - 3);
		snprintf(out, NAME_SIZE, "%.*s...", (int)len, text);
		return out;
	}
	for (size_t i = 0; i < len; i++)
		width += ((unsigned char)text[i] & 0xc0) != 0x80;
	snprintf(out, NAME_SIZE, "%.*s%*s", (int)len, text, (int)(NAME_WIDTH - width), "");
	return out;
}

static void head(struct page *p, const struct top_interval *i)
{
	const struct top_sample *now = i->now;
	char text[512], name[160], trouble[512];
	int len;

	len = snprintf(text, sizeof(text), "%s: %s", text_printable(name, sizeof(name), now->name, strlen(now->name)),
		       now->state);
	if (now->rtt_us)
		len += snprintf(text + len, sizeof(text) - (size_t)len, ", round trip %.2f ms",
				(double)now->rtt_us / 1000);
	if (now->guest_told)
		snprintf(text + len, sizeof(text) - (size_t)len, ", %" PRIu64 " request%s waiting", now->waiting,
			 now->waiting == 1 ? "" : "s");
	else if (!strcmp(now->state, "connected"))
		snprintf(text + len, sizeof(text) - (size_t)len, ", the guest does not say what it counts");
	line(p, now->guest_told ? BOLD : RED, "%-*s %s", (int)(TOP_WIDTH_MIN - 1 - strlen(p->look->clock) - 1), text,
	     p->look->clock);
	if (now->trouble[0])
		line(p, RED, "%s", text_printable(trouble, sizeof(trouble), now->trouble, strlen(now->trouble)));
}

static void operations(struct page *p, const struct top_interval *i)
{
	bool any = false;

	for (unsigned k = 0; k < OP_KINDS; k++) {
		const struct top_ops *ops = &i->ops[k];
		char a[16], b[16], c[16], d[16], e[16], f[16], g[16];

		if (!ops->ever)
			continue;
		if (!any) {
			line(p, NULL, "%s", "");
			line(p, BOLD, "%-10s%9s%9s%9s%9s   %10s%9s%9s", "OPERATION", "/s", "AT ONCE", "p50", "p99",
			     "HOST /s", "p50", "p99");
		}
		any = true;
		line(p, NULL, "%-10s%9s%9s%9s%9s   %10s%9s%9s", op_kind_name((enum op_kind)k),
		     rate(a, ops->count, i->guest_us), i->guest_us ? percent(b, ops->at_once, ops->count) : "-",
		     i->guest_us ? duration(c, ops->p50) : "-", i->guest_us ? duration(d, ops->p99) : "-",
		     rate(e, ops->host_count, i->us), duration(f, ops->host_p50), duration(g, ops->host_p99));
	}
}

static void mounts(struct page *p, const struct top_interval *i)
{
	for (size_t k = 0; k < i->now->mount_count; k++) {
		const struct top_mount *mount = &i->mounts[k];
		char name[NAME_SIZE], a[16], b[16], c[16];
		bool well = !strcmp(mount->state, "mounted");

		if (k == 0) {
			line(p, NULL, "%s", "");
			line(p, BOLD, "%-*s%11s%12s%12s", NAME_WIDTH, "MOUNT", "REQUESTS/s", "READ/s", "WRITTEN/s");
		}
		line(p, well ? NULL : RED, "%s%11s%12s%12s", name_column(name, mount->target),
		     well ? rate(a, mount->requests, i->us) : mount->state, bytes(b, mount->read, i->us),
		     bytes(c, mount->written, i->us));
	}
}

static void ports(struct page *p, const struct top_interval *i)
{
	for (size_t k = 0; k < i->now->port_count; k++) {
		const struct top_port *port = &i->ports[k];
		char raw[512], name[NAME_SIZE], b[16], c[16];

		if (!p->look->height && k == TOP_PORTS_PLAIN) {
			line(p, NULL, "... and %zu more ports, with less traffic", i->now->port_count - k);
			return;
		}
		if (k == 0) {
			line(p, NULL, "%s", "");
			line(p, BOLD, "%-*s%11s%12s%12s", NAME_WIDTH, "PORT", "OPEN", "IN/s", "OUT/s");
		}
		snprintf(raw, sizeof(raw), "%s %s%s%s%s", port->proto, port->guest, port->process[0] ? " (" : "",
			 port->process, port->process[0] ? ")" : "");
		line(p, NULL, "%s%11" PRIu64 "%12s%12s", name_column(name, raw),
		     port->connections < 99999999 ? port->connections : 99999999, bytes(b, port->in, i->us),
		     bytes(c, port->out, i->us));
	}
}

void top_view_table(const struct top_interval *i, const struct top_look *look, FILE *out)
{
	struct page p = {.look = look, .out = out};

	head(&p, i);
	operations(&p, i);
	mounts(&p, i);
	ports(&p, i);
	if (p.hidden)
		fprintf(out, "... and %zu more line%s\n", p.hidden, p.hidden == 1 ? "" : "s");
}
