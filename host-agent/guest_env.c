/* SPDX-License-Identifier: MIT */
/* See guest_env.h. */
#include "guest_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <arpa/inet.h>

#define NO_PROXY 3 /* names where not to go: no address of a proxy */

static const char *const names[PROXY_VARIABLES][2] = {
	{"http_proxy", "HTTP_PROXY"},
	{"https_proxy", "HTTPS_PROXY"},
	{"ftp_proxy", "FTP_PROXY"},
	{"no_proxy", "NO_PROXY"},
};

/* ---- what an environment has ---- */

int proxy_env_read(struct proxy_env *env, char *(*get)(const char *name))
{
	*env = (struct proxy_env){0};
	for (size_t i = 0; i < PROXY_VARIABLES; i++) {
		const char *value = get(names[i][0]);

		value = value ? value : get(names[i][1]);
		if (!value || strlen(value) > PROXY_VALUE_MAX)
			continue;
		env->value[i] = strdup(value);
		if (!env->value[i]) {
			proxy_env_clear(env);
			return -ENOMEM;
		}
	}
	return 0;
}

int proxy_env_take(struct proxy_env *env, const char *word)
{
	for (size_t i = 0; i < PROXY_VARIABLES; i++) {
		size_t len = strlen(names[i][0]);
		char *value;

		if (strncmp(word, names[i][0], len) != 0 || word[len] != '=' ||
		    strlen(word + len + 1) > PROXY_VALUE_MAX)
			continue;
		value = strdup(word + len + 1);
		if (!value)
			return -ENOMEM;
		free(env->value[i]);
		env->value[i] = value;
		return 0;
	}
	return -EINVAL;
}

char *proxy_env_word(const struct proxy_env *env, size_t index)
{
	char *word;

	if (!env->value[index] || asprintf(&word, "%s=%s", names[index][0], env->value[index]) < 0)
		return NULL;
	return word;
}

bool proxy_env_equal(const struct proxy_env *a, const struct proxy_env *b)
{
	for (size_t i = 0; i < PROXY_VARIABLES; i++) {
		const char *left = a->value[i], *right = b->value[i];

		if (!left || !right ? left != right : strcmp(left, right) != 0)
			return false;
	}
	return true;
}

void proxy_env_clear(struct proxy_env *env)
{
	for (size_t i = 0; i < PROXY_VARIABLES; i++)
		free(env->value[i]);
	*env = (struct proxy_env){0};
}

/* ---- a proxy's address ---- */

/* Where in a URL, or in HOST:PORT, the host and its port stand. */
struct place {
	size_t host, host_len; /* an IPv6 address without its brackets */
	size_t begin, end;     /* of both together */
	unsigned port;
};

static unsigned default_port(const char *url)
{
	if (strncasecmp(url, "https://", 8) == 0)
		return 443;
	if (strncasecmp(url, "socks", 5) == 0)
		return 1080;
	return 80;
}

static bool find_place(const char *url, struct place *place)
{
	const char *scheme = strstr(url, "://"), *at, *end, *user, *port;

	at = scheme ? scheme + 3 : url;
	end = at + strcspn(at, "/?#");
	user = memrchr(at, '@', (size_t)(end - at));
	at = user ? user + 1 : at;
	place->begin = (size_t)(at - url);
	place->end = (size_t)(end - url);
	if (*at == '[') {
		port = memchr(at, ']', (size_t)(end - at));
		if (!port)
			return false;
		place->host = (size_t)(++at - url);
		place->host_len = (size_t)(port++ - at);
	} else {
		port = memchr(at, ':', (size_t)(end - at));
		port = port ? port : end;
		place->host = (size_t)(at - url);
		place->host_len = (size_t)(port - at);
	}
	place->port = default_port(url);
	if (port < end) {
		char *rest;
		unsigned long number = *port == ':' ? strtoul(port + 1, &rest, 10) : 0;

		if (number == 0 || number > 65535 || rest != end)
			return false;
		place->port = (unsigned)number;
	}
	return true;
}

/* The address of this machine's loopback that a proxy's host is; false: another host. */
static bool is_loopback(const char *host, size_t len, char ip[16])
{
	char text[48];
	unsigned char bytes[16];

	if (len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	if (strcasecmp(text, "localhost") == 0 || strcmp(text, "127.0.0.1") == 0 || strcmp(text, "::1") == 0)
		snprintf(ip, 16, "localhost");
	else if (inet_pton(AF_INET, text, bytes) == 1 && bytes[0] == 127)
		snprintf(ip, 16, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
	else
		return false;
	return true;
}

static int tunnel_to(struct guest_env *env, unsigned port, const char *ip)
{
	struct proxy_tunnel *tunnel;
	size_t i;

	for (i = 0; i < env->tunnel_count; i++)
		if (env->tunnels[i].port == port && strcmp(env->tunnels[i].host_ip, ip) == 0)
			return (int)i;
	tunnel = &env->tunnels[env->tunnel_count++];
	tunnel->port = port;
	snprintf(tunnel->host_ip, sizeof(tunnel->host_ip), "%s", ip);
	return (int)i;
}

/* ---- all of it ---- */

/* Takes the text; NULL: there was no memory for it. */
static int add(struct guest_env *env, char *text, int tunnel)
{
	if (!text)
		return -ENOMEM;
	env->variables[env->count++] = (struct guest_variable){text, tunnel};
	return 0;
}

/* With a tunnel, what stands before the host and behind its port stays. */
static char *proxy_text(const char *name, const char *value, const struct place *place)
{
	char *text;
	int n = place ? asprintf(&text, "%s=%.*s127.0.0.1:%u%s", name, (int)place->begin, value, place->port,
				 value + place->end)
		      : asprintf(&text, "%s=%s", name, value);

	return n < 0 ? NULL : text;
}

static int add_proxy(struct guest_env *env, size_t which, const char *value)
{
	struct place place;
	char ip[16];
	int tunnel = -1, rc = 0;

	if (!*value)
		return 0;
	if (which != NO_PROXY && find_place(value, &place) && is_loopback(value + place.host, place.host_len, ip))
		tunnel = tunnel_to(env, place.port, ip);
	for (size_t i = 0; i < 2 && rc == 0; i++)
		rc = add(env, proxy_text(names[which][i], value, tunnel < 0 ? NULL : &place), tunnel);
	return rc;
}

/* The value of a variable among texts "NAME=VALUE"; NULL: it is not there. */
static const char *value_in(char *const *texts, size_t count, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < count; i++)
		if (strncmp(texts[i], name, len) == 0 && texts[i][len] == '=')
			return texts[i] + len + 1;
	return NULL;
}

static bool is_proxy(const char *text)
{
	for (size_t i = 0; i < PROXY_VARIABLES; i++)
		for (size_t k = 0; k < 2; k++)
			if (value_in((char *const *)&text, 1, names[i][k]))
				return true;
	return false;
}

int guest_env_make(struct guest_env *env, char *const *configured, size_t count, const struct proxy_env *proxies)
{
	int rc = 0;

	*env = (struct guest_env){.variables = calloc(count + 2 * PROXY_VARIABLES, sizeof(*env->variables))};
	if (!env->variables)
		return -ENOMEM;
	for (size_t i = 0; i < count && rc == 0; i++)
		if (!is_proxy(configured[i]))
			rc = add(env, strdup(configured[i]), -1);
	for (size_t i = 0; i < PROXY_VARIABLES && rc == 0; i++) {
		const char *value = proxies ? proxies->value[i] : NULL;

		for (size_t k = 0; k < 2 && !value; k++)
			value = value_in(configured, count, names[i][k]);
		if (value)
			rc = add_proxy(env, i, value);
	}
	if (rc < 0)
		guest_env_clear(env);
	return rc;
}

void guest_env_clear(struct guest_env *env)
{
	for (size_t i = 0; i < env->count; i++)
		free(env->variables[i].text);
	free(env->variables);
	*env = (struct guest_env){0};
}
