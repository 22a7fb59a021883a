/* SPDX-License-Identifier: MIT */
/*
 * Paths in a configuration: those of the host, where ~ is known, and those of the guest, where it is not.
 *
 * A path is kept in one normal form, so that two mounts at one place are seen to be two. That is text only: a ".." is
 * refused instead of resolved, because behind a symbolic link it leads elsewhere than its text says.
 */
#include "config_fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

/* Appends the components of `path` to `out`, each with a slash in front. */
static int append_components(char *out, const char *path, const char **wrong)
{
	size_t end = strlen(out);

	while (*path != '\0') {
		size_t n = strcspn(path, "/");

		if (n == 2 && strncmp(path, "..", 2) == 0) {
			*wrong = "has a '..' in it; write the path without";
			return -EINVAL;
		}
		if (n > 0 && !(n == 1 && path[0] == '.')) {
			out[end++] = '/';
			memcpy(out + end, path, n);
			end += n;
		}
		path += n + strspn(path + n, "/");
	}
	out[end] = '\0';
	return 0;
}

static int path_normal(const char *prefix, const char *rest, char **out, const char **wrong)
{
	char *path = malloc(strlen(prefix) + strlen(rest) + 3);
	int r;

	if (path == NULL)
		return -ENOMEM;
	path[0] = '\0';
	r = append_components(path, prefix, wrong);
	if (r == 0)
		r = append_components(path, rest, wrong);
	if (r == 0 && strlen(path) >= SFTP_PATH_MAX) {
		*wrong = "is longer than a path can be";
		r = -EINVAL;
	}
	if (r < 0) {
		free(path);
		return r;
	}
	if (path[0] == '\0')
		strcpy(path, "/");
	*out = path;
	return 0;
}

int config_path_expand(const char *text, const char *home, char **out, const char **wrong)
{
	if (text[0] == '~' && (text[1] == '/' || text[1] == '\0'))
		return path_normal(home, text + 1, out, wrong);
	if (text[0] == '~')
		*wrong = "only ~ and ~/… stand for a home; write another user's as a whole path";
	else if (text[0] != '/')
		*wrong = "is not an absolute path; begin it with / or ~/";
	else
		return path_normal("", text, out, wrong);
	return -EINVAL;
}

int config_path_guest(const char *text, char **out, const char **wrong)
{
	char *path;
	int r;

	if (text[0] != '/') {
		*wrong = text[0] == '~' ? "is a path of the guest, where ~ is not known here; write it as a whole"
					: "is not an absolute path; begin it with /";
		return -EINVAL;
	}
	r = path_normal("", text, &path, wrong);
	if (r < 0)
		return r;
	if (path[1] == '\0')
		*wrong = "/ would hide the whole guest; name a folder";
	else if (strlen(path) > CONFIG_TARGET_MAX)
		*wrong = "is longer than a mount point can be";
	else {
		*out = path;
		return 0;
	}
	free(path);
	return -EINVAL;
}

static void host_path_read(struct config_reader *reader, const struct config_field *field,
			   const struct config_node *key, void *at)
{
	const char *text = config_read_text(reader, field, key->value), *wrong = NULL;
	struct config_path *path = at;
	int r;

	if (text == NULL)
		return;
	r = config_path_expand(text, reader->home, &path->path, &wrong);
	reader->no_memory |= r == -ENOMEM;
	if (r == -EINVAL)
		config_complain(reader, field, key->value, "\"%.200s\" %s", text, wrong);
	if (r < 0)
		return;
	path->where = config_copy(reader, reader->file);
	path->line = key->value->line;
	path->column = key->value->column;
}

static bool host_path_is_set(const struct config_field *field, const void *at)
{
	return ((const struct config_path *)at)->path != NULL;
}

static void host_path_write(FILE *out, const struct config_field *field, const void *at, unsigned indent)
{
	config_yaml_quote(out, ((const struct config_path *)at)->path);
}

static bool host_path_equal(const struct config_field *field, const void *a, const void *b)
{
	return config_same_text(((const struct config_path *)a)->path, ((const struct config_path *)b)->path);
}

static void host_path_free(const struct config_field *field, void *at)
{
	struct config_path *path = at;

	free(path->path);
	free(path->where);
	*path = (struct config_path){0};
}

static int host_path_own(const struct config_field *field, void *at)
{
	struct config_path *path = at;
	int rc = config_text_own(field, &path->path);

	return config_text_own(field, &path->where) < 0 ? -ENOMEM : rc;
}

const struct config_type config_type_host_path = {
	"a path",        CONFIG_NODE_SCALAR, host_path_read, host_path_is_set,
	host_path_write, host_path_equal,    host_path_free, host_path_own,
};

static void guest_path_read(struct config_reader *reader, const struct config_field *field,
			    const struct config_node *key, void *at)
{
	const char *text = config_read_text(reader, field, key->value), *wrong = NULL;
	int r;

	if (text == NULL)
		return;
	r = config_path_guest(text, at, &wrong);
	reader->no_memory |= r == -ENOMEM;
	if (r == -EINVAL)
		config_complain(reader, field, key->value, "\"%.200s\" %s", text, wrong);
}

const struct config_type config_type_guest_path = {
	"a path",          CONFIG_NODE_SCALAR, guest_path_read,  config_text_is_set,
	config_text_write, config_text_equal,  config_text_free, config_text_own,
};
