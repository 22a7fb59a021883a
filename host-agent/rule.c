/* SPDX-License-Identifier: MIT */
/*
 * One port rule: from what its author wrote (struct rule_spec) to a rule with its defaults filled in (struct rule).
 *
 * Each field is checked once, here, and each refusal is a sentence that begins with the field's key. The defaults are
 * Lima's; two of them depend on each other: guestIPMustBeZero is true exactly if guestIP was written as 0.0.0.0, and
 * guestIP is 0.0.0.0 exactly if guestIPMustBeZero was written as true.
 */
#include "rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const struct rule_address rule_loopback4 = {.family = AF_INET, .bytes = {127, 0, 0, 1}};
const struct rule_address rule_loopback6 = {.family = AF_INET6, .bytes = {[15] = 1}};
static const struct rule_address zero4 = {.family = AF_INET};
static const struct rule_address zero6 = {.family = AF_INET6};

/* ---- addresses ---- */

bool rule_address_equal(const struct rule_address *a, const struct rule_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == AF_INET ? 4 : 16) == 0;
}

bool rule_address_is_unspecified(const struct rule_address *a)
{
	return rule_address_equal(a, &zero4) || rule_address_equal(a, &zero6);
}

bool rule_address_is_loopback(const struct rule_address *a)
{
	return (a->family == AF_INET && a->bytes[0] == 127) || rule_address_equal(a, &rule_loopback6);
}

/* ::ffff:a.b.c.d is a.b.c.d: a dual-stack program's listener must meet the same rules as an IPv4 one. */
struct rule_address rule_address_make(int family, const uint8_t bytes[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct rule_address a = {.family = family};

	if (family == AF_INET6 && memcmp(bytes, mapped, sizeof(mapped)) == 0) {
		a.family = AF_INET;
		memcpy(a.bytes, bytes + 12, 4);
	} else {
		memcpy(a.bytes, bytes, family == AF_INET ? 4 : 16);
	}
	return a;
}

bool rule_address_parse(const char *text, struct rule_address *out)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1)
		*out = rule_address_make(AF_INET, bytes);
	else if (inet_pton(AF_INET6, text, bytes) == 1)
		*out = rule_address_make(AF_INET6, bytes);
	else
		return false;
	return true;
}

/* ---- from what was written to a rule with its defaults ---- */

static int __attribute__((format(printf, 2, 3))) refuse(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, RULE_WHY_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

static unsigned range_length(const struct rule_range *range)
{
	return range->last - range->first;
}

bool rule_range_has(const struct rule_range *range, unsigned port)
{
	return port >= range->first && port <= range->last;
}

static bool range_written(const struct rule_range *range)
{
	return range->first != 0 || range->last != 0;
}

/* One side's ports: `single` and `range` as written, into `out`, which holds the default. */
static int fill_ports(const char *side, unsigned single, const struct rule_range *range, struct rule_range *out,
		      char *why)
{
	if (single > RULE_PORT_MAX)
		return refuse(why, "%sPort: %u is not a port; write 1 to 65535", side, single);
	if (range_written(range)) {
		if (range->first == 0 || range->first > RULE_PORT_MAX || range->last > RULE_PORT_MAX)
			return refuse(why, "%sPortRange: [%u, %u] has a port outside 1 to 65535", side, range->first,
				      range->last);
		if (range->first > range->last)
			return refuse(why, "%sPortRange: [%u, %u] ends before it starts; swap the two", side,
				      range->first, range->last);
		if (single != 0 && single != range->first)
			return refuse(why, "%sPort: %u is not the start of %sPortRange; remove one of the two", side,
				      single, side);
		*out = *range;
	} else if (single != 0) {
		*out = (struct rule_range){single, single};
	}
	return 0;
}

static int fill_guest_address(struct rule *rule, const struct rule_spec *spec, char *why)
{
	bool written = spec->guest_ip != NULL;

	if (written && !rule_address_parse(spec->guest_ip, &rule->guest))
		return refuse(why, "guestIP: \"%.64s\" is not an IP address", spec->guest_ip);
	if (spec->guest_ip_must_be_zero == RULE_UNSET)
		rule->must_be_zero = written && rule_address_equal(&rule->guest, &zero4);
	else
		rule->must_be_zero = spec->guest_ip_must_be_zero == RULE_YES;
	if (!written)
		rule->guest = rule->must_be_zero ? zero4 : rule_loopback4;
	if (rule->must_be_zero && !rule_address_equal(&rule->guest, &zero4))
		return refuse(why, "guestIPMustBeZero: true goes only with guestIP 0.0.0.0, not with %.64s",
			      spec->guest_ip);
	return 0;
}

static int fill_host_address(struct rule *rule, const struct rule_spec *spec, char *why)
{
	rule->host[0] = rule_loopback4;
	rule->host_count = 1;
	if (spec->host_ip == NULL)
		return 0;
	if (strcmp(spec->host_ip, "localhost") == 0) {
		rule->host[1] = rule_loopback6;
		rule->host_count = 2;
		return 0;
	}
	if (!rule_address_parse(spec->host_ip, &rule->host[0]))
		return refuse(why, "hostIP: \"%.64s\" is neither an IP address nor localhost", spec->host_ip);
	return 0;
}

/* A path may hold the templates Lima knows; what they expand to is not known here, so only the rest is measured. */
static int check_socket(const char *key, const char *path, bool absolute, char *why)
{
	static const char *const templates[] = {"Home", "User", "UID", "Name", "Dir"};
	size_t fixed = 0;
	/* What these two stand for is absolute. */
	bool templated = strncmp(path, "{{.Home}}", 9) == 0 || strncmp(path, "{{.Dir}}", 8) == 0;

	if (path[0] == '\0')
		return refuse(why, "%s: is empty; write the path of a socket", key);
	if (absolute && path[0] != '/' && !templated)
		return refuse(why, "%s: \"%.64s\" is not an absolute path", key, path);
	while (*path != '\0') {
		size_t i, n = strlen("{{.");
		const char *end = strncmp(path, "{{", 2) == 0 ? strstr(path, "}}") : path;

		if (end == path) {
			fixed++;
			path++;
			continue;
		}
		for (i = 0; end != NULL && i < sizeof(templates) / sizeof(templates[0]); i++)
			if (strncmp(path + n, templates[i], strlen(templates[i])) == 0 &&
			    path + n + strlen(templates[i]) == end && path[2] == '.')
				break;
		if (end == NULL || i == sizeof(templates) / sizeof(templates[0]))
			return refuse(why,
				      "%s: unknown template at \"%.32s\"; there are {{.Home}}, {{.User}}, "
				      "{{.UID}}, {{.Name}} and {{.Dir}}",
				      key, path);
		path = end + 2;
	}
	if (fixed > RULE_PATH_MAX)
		return refuse(why, "%s: the path is longer than %d bytes, which no socket's can be", key,
			      RULE_PATH_MAX);
	return 0;
}

static bool host_port_written(const struct rule_spec *spec)
{
	return spec->host_port != 0 || range_written(&spec->host_port_range);
}

static bool guest_port_written(const struct rule_spec *spec)
{
	return spec->guest_port != 0 || range_written(&spec->guest_port_range);
}

static int fill_ends(struct rule *rule, const struct rule_spec *spec, char *why)
{
	bool host_written = host_port_written(spec), guest_written = guest_port_written(spec);
	int r;

	rule->guest_ports = (struct rule_range){1, RULE_PORT_MAX};
	r = fill_ports("guest", spec->guest_port, &spec->guest_port_range, &rule->guest_ports, why);
	if (r < 0)
		return r;
	rule->host_ports = rule->guest_ports;
	r = fill_ports("host", spec->host_port, &spec->host_port_range, &rule->host_ports, why);
	if (r < 0)
		return r;
	if (spec->guest_socket != NULL) {
		r = check_socket("guestSocket", spec->guest_socket, true, why);
		if (r < 0)
			return r;
		if (guest_written)
			return refuse(why, "guestSocket: is one end and guestPort another; remove one of the two");
		if (spec->host_socket == NULL && !spec->ignore && (!host_written || range_length(&rule->host_ports)))
			return refuse(why, "guestSocket: needs one hostPort or a hostSocket, not a range of ports");
	}
	if (spec->host_socket != NULL) {
		r = check_socket("hostSocket", spec->host_socket, false, why);
		if (r < 0)
			return r;
		if (host_written)
			return refuse(why, "hostSocket: is one end and hostPort another; remove one of the two");
		if (spec->guest_socket == NULL && !spec->reverse && range_length(&rule->guest_ports) != 0)
			return refuse(why, "hostSocket: needs one guestPort or a guestSocket, not a range of ports");
	}
	if (spec->guest_socket == NULL && spec->host_socket == NULL && !spec->reverse &&
	    range_length(&rule->guest_ports) != range_length(&rule->host_ports))
		return refuse(why, "hostPortRange: %u ports cannot stand for the guest's %u; make both as long",
			      range_length(&rule->host_ports) + 1, range_length(&rule->guest_ports) + 1);
	return 0;
}

static int check_static(const struct rule_spec *spec, char *why)
{
	if (!spec->is_static)
		return 0;
	if (spec->ignore)
		return refuse(why, "static: goes not with ignore; remove one of the two");
	if (spec->guest_port == 0 && !range_written(&spec->guest_port_range))
		return refuse(why, "static: needs a guestPort or a guestPortRange");
	if (spec->process != NULL || spec->user != NULL || spec->unit != NULL)
		return refuse(why, "static: is there before anything listens, so it cannot ask who listens");
	return 0;
}

/* A socket is a stream's end: datagrams have none. */
static int fill_socket(struct rule *rule, const struct rule_spec *spec, char *why)
{
	const char *key = spec->guest_socket != NULL ? "guestSocket" : "hostSocket";

	if (spec->guest_socket == NULL && spec->host_socket == NULL)
		return 0;
	if (spec->proto == RULE_PROTO_UDP)
		return refuse(why, "%s: carries no datagrams; remove it or proto: udp", key);
	if (spec->guest_socket != NULL && !spec->reverse &&
	    (spec->process != NULL || spec->user != NULL || spec->unit != NULL))
		return refuse(why, "guestSocket: is there before anything listens, so it cannot ask who listens");
	rule->proto = RULE_PROTO_TCP;
	return 0;
}

/*
 * A reverse rule is one listener of the guest's and one service of the host's. Whichever port is not written is the
 * other's.
 */
static int fill_reverse(struct rule *rule, const struct rule_spec *spec, char *why)
{
	if (!spec->reverse)
		return 0;
	if (spec->ignore || spec->is_static)
		return refuse(why, "reverse: goes not with %s; remove one of the two",
			      spec->ignore ? "ignore" : "static");
	if (spec->process != NULL || spec->user != NULL || spec->unit != NULL)
		return refuse(why, "reverse: listens itself, so it cannot ask who listens in the guest");
	if (spec->self_only)
		return refuse(why, "access: is for who connects on the host; remove it or reverse");
	if (spec->guest_ip_must_be_zero != RULE_UNSET)
		return refuse(why, "reverse: listens at guestIP; remove guestIPMustBeZero");
	if (spec->guest_socket == NULL && !guest_port_written(spec)) {
		if (!host_port_written(spec))
			return refuse(why, "reverse: needs a guestPort or a guestSocket to listen at");
		rule->guest_ports = rule->host_ports;
	}
	if (spec->host_socket == NULL && !host_port_written(spec))
		rule->host_ports = rule->guest_ports;
	if ((spec->guest_socket == NULL && range_length(&rule->guest_ports) != 0) ||
	    (spec->host_socket == NULL && range_length(&rule->host_ports) != 0))
		return refuse(why, "reverse: needs one port or socket at each end, not a range of ports");
	return 0;
}

/*
 * {n,m} and back-references are refused: regcomp unrolls the first (a pattern of 30 bytes can take gigabytes), and the
 * second match in exponential time.
 */
static int fill_process(struct rule *rule, const char *pattern, char *why)
{
	char text[96];
	int r;

	if (strlen(pattern) > RULE_PATTERN_MAX)
		return refuse(why, "process: the pattern is longer than %d bytes", RULE_PATTERN_MAX);
	if (strchr(pattern, '{') != NULL)
		return refuse(why, "process: counts in braces are not supported; repeat the part instead");
	for (const char *p = strchr(pattern, '\\'); p != NULL; p = strchr(p + 2, '\\')) {
		if (p[1] == '\0')
			break;
		if (p[1] >= '0' && p[1] <= '9')
			return refuse(why, "process: back-references such as \\%c are not supported", p[1]);
	}
	r = regcomp(&rule->process, pattern, REG_EXTENDED | REG_NOSUB);
	if (r == REG_ESPACE)
		return -ENOMEM;
	if (r != 0) {
		regerror(r, &rule->process, text, sizeof(text));
		return refuse(why, "process: \"%.64s\" is not a regular expression: %s", pattern, text);
	}
	rule->has_process = true;
	return 0;
}

void rule_clear(struct rule *rule)
{
	free(rule->ignored_reason);
	free(rule->forward_reason);
	free(rule->guest_socket);
	free(rule->host_socket);
	free(rule->user);
	free(rule->unit);
	if (rule->has_process)
		regfree(&rule->process);
	memset(rule, 0, sizeof(*rule));
}

static int copy_string(char **out, const char *text)
{
	if (text == NULL)
		return 0;
	*out = strdup(text);
	return *out != NULL ? 0 : -ENOMEM;
}

/* As systemctl(1) takes it: a name without a type is a service. */
static int copy_unit(char **out, const char *unit)
{
	if (unit == NULL || strchr(unit, '.') != NULL)
		return copy_string(out, unit);
	if (asprintf(out, "%s.service", unit) >= 0)
		return 0;
	*out = NULL; /* asprintf leaves it undefined */
	return -ENOMEM;
}

static int fill_texts(struct rule *rule, const struct rule_spec *spec)
{
	const char *origin = spec->origin != NULL ? spec->origin : "a rule";

	if (asprintf(&rule->ignored_reason, "ignored by %s", origin) < 0) {
		rule->ignored_reason = NULL; /* asprintf leaves it undefined */
		return -ENOMEM;
	}
	if (copy_string(&rule->forward_reason, origin) < 0 ||
	    copy_string(&rule->guest_socket, spec->guest_socket) < 0 ||
	    copy_string(&rule->host_socket, spec->host_socket) < 0 || copy_string(&rule->user, spec->user) < 0)
		return -ENOMEM;
	return copy_unit(&rule->unit, spec->unit);
}

int rule_fill(struct rule *rule, const struct rule_spec *spec, char *why)
{
	int r;

	*rule = (struct rule){.proto = spec->proto,
			      .self_only = spec->self_only,
			      .ignore = spec->ignore,
			      .is_static = spec->is_static,
			      .reverse = spec->reverse,
			      .service = spec->service,
			      .by_hand = spec->by_hand};
	if ((r = fill_guest_address(rule, spec, why)) < 0 || (r = fill_host_address(rule, spec, why)) < 0 ||
	    (r = fill_ends(rule, spec, why)) < 0 || (r = check_static(spec, why)) < 0 ||
	    (r = fill_socket(rule, spec, why)) < 0 || (r = fill_reverse(rule, spec, why)) < 0)
		return r;
	if (spec->process != NULL && (r = fill_process(rule, spec->process, why)) < 0)
		return r;
	r = fill_texts(rule, spec);
	if (r < 0)
		rule_clear(rule);
	return r;
}
