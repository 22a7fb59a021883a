/* SPDX-License-Identifier: MIT */
/* The output of `ssh -G`: one `keyword value` a line. See ssh_settings.h. */
#include "ssh_settings.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct setting {
	const char *keyword;
	const char *value;
};

struct ssh_settings {
	char *text; /* what the settings point into */
	struct setting *list;
	size_t count;
};

/* A line without a value ("proxycommand " of some versions) has the empty one. */
static bool settings_add_line(struct ssh_settings *s, char *line)
{
	char *end = line + strcspn(line, " \t");
	char *value = end + strspn(end, " \t");

	if (*line == '\0')
		return true;
	if (s->count == SSH_SETTINGS_MAX)
		return false;
	*end = '\0';
	for (char *p = line; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	s->list[s->count++] = (struct setting){line, value};
	return true;
}

struct ssh_settings *ssh_settings_parse(const char *text, size_t len)
{
	struct ssh_settings *s;
	char *line, *rest;

	if (len > SSH_SETTINGS_SIZE || memchr(text, '\0', len))
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->text = strndup(text, len);
	s->list = calloc(SSH_SETTINGS_MAX, sizeof(*s->list));
	if (!s->text || !s->list)
		goto fail;
	rest = s->text;
	while ((line = strsep(&rest, "\n"))) {
		if (!settings_add_line(s, line))
			goto fail;
	}
	return s;
fail:
	ssh_settings_free(s);
	return NULL;
}

void ssh_settings_free(struct ssh_settings *s)
{
	if (!s)
		return;
	free(s->list);
	free(s->text);
	free(s);
}

const char *ssh_settings_at(const struct ssh_settings *s, const char *keyword, size_t index)
{
	for (size_t i = 0; i < s->count; i++) {
		if (strcmp(s->list[i].keyword, keyword) == 0 && index-- == 0)
			return s->list[i].value;
	}
	return NULL;
}

const char *ssh_settings_get(const struct ssh_settings *s, const char *keyword)
{
	return ssh_settings_at(s, keyword, 0);
}

bool ssh_settings_same(const struct ssh_settings *a, const struct ssh_settings *b, const char *keyword)
{
	const char *x, *y;
	size_t i = 0;

	do {
		x = ssh_settings_at(a, keyword, i);
		y = ssh_settings_at(b, keyword, i);
		if (!x != !y || (x && strcmp(x, y) != 0))
			return false;
		i++;
	} while (x);
	return true;
}
