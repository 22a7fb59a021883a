/* SPDX-License-Identifier: MIT */
/*
 * The words of a command line that have a form of their own: hosts, names, mounts, forwards.
 *
 * Host and user end up in the arguments of ssh and in ssh's own configuration language, so what would be an option
 * there, or means something to a shell that a ProxyCommand starts, is refused here as ssh refuses it.
 */
#include "host_arg.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_fields.h"

static int __attribute__((format(printf, 2, 3))) refuse(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, ARG_WHY_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

/* ---- hosts and names ---- */

static bool has_byte_of(const char *text, const char *refused)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f || strchr(refused, *text) != NULL)
			return true;
	return false;
}

const char *host_arg_check_host(const char *host)
{
	if (host[0] == '\0')
		return "is empty; name a host";
	if (host[0] == '-')
		return "begins with '-', which ssh would take for an option";
	if (strlen(host) > HOST_TEXT_MAX)
		return "is longer than a host name can be";
	if (has_byte_of(host, "'\"`$\\;&<>|(){}[]/@*?!#="))
		return "has a character no host name has";
	return NULL;
}

const char *host_arg_check_user(const char *user)
{
	if (user[0] == '\0')
		return "is empty; name a user of the guest";
	if (user[0] == '-')
		return "begins with '-', which ssh would take for an option";
	if (strlen(user) > HOST_TEXT_MAX)
		return "is longer than a user name can be";
	if (has_byte_of(user, "'\"`$\\;&<>|(){}/:"))
		return "has a character no user name has";
	return NULL;
}

const char *host_arg_check_key(const char *key)
{
	static const char prefix[] = "SHA256:";
	const char *hash = key + strlen(prefix);

	if (strncmp(key, prefix, strlen(prefix)) != 0 || strlen(hash) != 43 ||
	    strspn(hash, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != 43)
		return "is not a fingerprint; write SHA256:… as ssh-keygen -lf prints it";
	return NULL;
}

const char *host_arg_check_option(const char *option)
{
	size_t key = 0;

	while (isalnum((unsigned char)option[key]))
		key++;
	if (key == 0 || option[key] != '=' || option[key + 1] == '\0')
		return "is not an option of ssh; write Key=Value";
	if (strpbrk(option, "\n\r") != NULL)
		return "has an end of line in it";
	return NULL;
}

static bool is_name_byte(char c)
{
	return isalnum((unsigned char)c) || (c != '\0' && strchr("._@:-", c) != NULL);
}

const char *host_arg_check_name(const char *name)
{
	if (name[0] == '\0')
		return "is empty";
	if (name[0] == '.' || name[0] == '-')
		return "begins with '.' or '-'; begin with a letter or a digit";
	if (strlen(name) > SESSION_NAME_MAX)
		return "is longer than 64 bytes; choose a shorter one with --name";
	for (; *name != '\0'; name++)
		if (!is_name_byte(*name))
			return "has a character a name cannot have; there are letters, digits, and . _ @ : -";
	return NULL;
}

int host_arg_name(const char *host, char name[SESSION_NAME_MAX + 1])
{
	char made[SESSION_NAME_MAX + 2];

	snprintf(made, sizeof(made), "%s", host); /* one byte more than a name has: too long stays too long */
	for (char *p = made; *p != '\0'; p++)
		if (!is_name_byte(*p))
			*p = '_';
	if (host_arg_check_name(made) != NULL)
		return -EINVAL;
	strcpy(name, made);
	return 0;
}

unsigned host_arg_port(const char *text, const char *end)
{
	unsigned value = 0;

	if (text == end || end - text > 5 || *text == '0')
		return 0;
	for (; text < end; text++) {
		if (!isdigit((unsigned char)*text))
			return 0;
		value = value * 10 + (unsigned)(*text - '0');
	}
	return value <= 65535 ? value : 0;
}

/* "[ADDRESS]:PORT", "NAME:PORT", or an IPv6 address without brackets: two colons are no port. */
static int split_host(const char *text, struct host_arg *out, char *why)
{
	const char *host = text, *end = text + strlen(text), *port = NULL;

	if (text[0] == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return refuse(why, "\"%.200s\": the '[' is not closed; write [ADDRESS] or [ADDRESS]:PORT",
				      text);
		port = end[1] == ':' ? end + 2 : NULL;
	} else if (strchr(text, ':') != NULL && strchr(text, ':') == strrchr(text, ':')) {
		end = strchr(text, ':');
		port = end + 1;
	}
	if (port != NULL) {
		out->port = host_arg_port(port, port + strlen(port));
		if (out->port == 0)
			return refuse(why, "\"%.200s\": \"%.20s\" is not a port; write 1 to 65535", text, port);
	}
	if (end - host > HOST_TEXT_MAX)
		return refuse(why, "\"%.60s…\" is longer than a host name can be", text);
	memcpy(out->host, host, (size_t)(end - host));
	out->host[end - host] = '\0';
	return 0;
}

int host_arg_parse(const char *text, struct host_arg *out, char *why)
{
	const char *at = strrchr(text, '@'), *wrong;
	struct host_arg arg = {.user = ""};
	int r;

	if (at != NULL) {
		if (at - text > HOST_TEXT_MAX)
			return refuse(why, "\"%.60s…\" is longer than a user name can be", text);
		memcpy(arg.user, text, (size_t)(at - text));
		wrong = host_arg_check_user(arg.user);
		if (wrong != NULL)
			return refuse(why, "the user in \"%.200s\" %s", text, wrong);
	}
	r = split_host(at != NULL ? at + 1 : text, &arg, why);
	if (r < 0)
		return r;
	wrong = host_arg_check_host(arg.host);
	if (wrong != NULL)
		return refuse(why, "the host in \"%.200s\" %s", text, wrong);
	*out = arg;
	return 0;
}

/* ---- SRC[:DST][:w] ---- */

static int fill_mount(const char *text, char *source, char *target, const char *home, struct config_mount *mount,
		      char *why)
{
	const char *wrong = NULL;
	int r = config_path_expand(source, home, &mount->location.path, &wrong);

	if (r == -EINVAL)
		return refuse(why, "\"%.200s\" %s", source, wrong);
	if (r < 0 || asprintf(&mount->location.where, "homeport: --mount %s", text) < 0)
		return -ENOMEM;
	if (target == NULL)
		target = mount->location.path;
	r = config_path_guest(target, &mount->mount_point, &wrong);
	if (r == -EINVAL)
		return refuse(why, "the mount point \"%.200s\" %s", target, wrong);
	return r;
}

int mount_arg_parse(const char *text, const char *home, struct config_mount *out, char *why)
{
	struct config_mount mount = {.mask = true};
	char *source = strdup(text), *target;
	size_t length;
	int r;

	if (source == NULL)
		return -ENOMEM;
	length = strlen(source);
	if (length >= 2 && strcmp(source + length - 2, ":w") == 0) {
		mount.writable = true;
		source[length - 2] = '\0';
	}
	target = strchr(source, ':');
	if (target != NULL)
		*target++ = '\0';
	if (target != NULL && (target[0] != '/' || strchr(target, ':') != NULL))
		r = refuse(why,
			   "\"%.200s\" is not SRC[:DST][:w] with an absolute DST; a path with ':' in it goes into the "
			   "configuration file",
			   text);
	else
		r = fill_mount(text, source, target, home, &mount, why);
	free(source);
	if (r < 0)
		config_mount_clear(&mount);
	else
		*out = mount;
	return r;
}

/* ---- HOST:GUEST[,static] ---- */

#define FORWARD_WORDS 4

/* Splits at the colons that stand outside brackets, and removes the brackets. Returns how many words, or 0. */
static size_t split_words(char *text, char *words[FORWARD_WORDS])
{
	size_t n = 0;

	while (n < FORWARD_WORDS) {
		char *end;

		words[n++] = text[0] == '[' ? text + 1 : text;
		end = text[0] == '[' ? strchr(text, ']') : text + strcspn(text, ":");
		if (end == NULL)
			return 0;
		if (*end == ']')
			*end++ = '\0';
		if (*end == '\0')
			return n;
		if (*end != ':')
			return 0;
		*end = '\0';
		text = end + 1;
	}
	return 0;
}

static bool parse_ports(const char *text, struct rule_range *out)
{
	const char *dash = strchr(text, '-'), *end = text + strlen(text);

	out->first = host_arg_port(text, dash != NULL ? dash : end);
	out->last = dash != NULL ? host_arg_port(dash + 1, end) : out->first;
	return out->first != 0 && out->last != 0;
}

static int keep(const char **out, const char *text)
{
	*out = strdup(text);
	return *out != NULL ? 0 : -ENOMEM;
}

/* 2 words: port, port. 3: the first or the second is an address, whichever is no port. 4: both are there. */
static int fill_forward(const char *text, char **words, size_t n, struct rule_spec *spec, char *why)
{
	struct rule_range unused;
	bool host_ip = n == 4 || (n == 3 && !parse_ports(words[0], &unused));
	bool guest_ip = n == 4 || (n == 3 && !host_ip);

	if (n < 2 || !parse_ports(words[host_ip ? 1 : 0], &spec->host_port_range) ||
	    !parse_ports(words[n - 1], &spec->guest_port_range))
		return refuse(why, "\"%.200s\" is not [HOSTIP:]PORT:[GUESTIP:]PORT[,static], such as 8080:80", text);
	/* Who writes two numbers means localhost, and a browser asks ::1 first. */
	if (keep(&spec->host_ip, host_ip ? words[0] : "localhost") < 0 ||
	    (guest_ip && keep(&spec->guest_ip, words[n - 2]) < 0))
		return -ENOMEM;
	return rules_check(spec, why);
}

/* Takes ",static" off the end of the text. */
static int take_static(const char *text, char *copy, struct rule_spec *spec, char *why)
{
	char *comma = strchr(copy, ',');

	if (comma == NULL)
		return 0;
	*comma++ = '\0';
	if (strcmp(comma, "static") != 0 && strcmp(comma, "static=true") != 0)
		return refuse(why, "\"%.200s\": only \",static\" may follow the ports", text);
	spec->is_static = true;
	return 0;
}

int forward_arg_parse(const char *text, struct rule_spec *out, char *why)
{
	struct rule_spec spec = {.proto = RULE_PROTO_TCP};
	char *copy = strdup(text), *words[FORWARD_WORDS], *origin = NULL;
	int r;

	if (copy == NULL || asprintf(&origin, "--port-forward %s", text) < 0) {
		free(copy);
		return -ENOMEM;
	}
	spec.origin = origin;
	if (strchr(text, '/') != NULL)
		r = refuse(why, "\"%.200s\": a socket goes into portForwards of the configuration file", text);
	else
		r = take_static(text, copy, &spec, why);
	if (r == 0)
		r = fill_forward(text, words, split_words(copy, words), &spec, why);
	free(copy);
	if (r < 0)
		config_forward_clear(&spec);
	else
		*out = spec;
	return r;
}
