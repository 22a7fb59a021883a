/* SPDX-License-Identifier: MIT */
/* See socket_path.h. */
#include "socket_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"

/* Writes what the template that `at` begins with stands for; returns its length, 0 where none begins here. */
static size_t put_template(FILE *out, const char *at, const struct socket_names *names)
{
	const struct {
		const char *template, *text;
	} rows[] = {
		{"{{.Home}}", names->home},
		{"{{.User}}", names->user},
		{"{{.Name}}", names->name},
		{"{{.Dir}}", names->dir},
	};
	static const char uid[] = "{{.UID}}";

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].template);

		if (strncmp(at, rows[i].template, len) != 0)
			continue;
		fputs(rows[i].text, out);
		return len;
	}
	if (strncmp(at, uid, strlen(uid)) != 0)
		return 0;
	fprintf(out, "%u", names->uid);
	return strlen(uid);
}

static char *expand(const char *written, const struct socket_names *names)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	for (const char *at = written; *at;) {
		size_t n = put_template(out, at, names);

		if (n == 0)
			putc(*at++, out);
		at += n;
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

char *socket_path_expand(const char *written, const struct socket_names *names)
{
	char *path = expand(written, names), *absolute;

	if (!path || path[0] == '/')
		return path;
	if (asprintf(&absolute, "%s/sock/%s", names->dir, path) < 0)
		absolute = NULL;
	free(path);
	return absolute;
}

const char *socket_path_fault(const char *path)
{
	_Static_assert(SOCKET_PATH_MAX == 108, "the sentence says so");
	return strlen(path) < SOCKET_PATH_MAX ? NULL : "the path is longer than 107 bytes, which no socket's can be";
}
