/* SPDX-License-Identifier: MIT */
/* Where a mount may go. See mount_target.h. */
#include "mount_target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Not /root: it is where the home of a host's root belongs, for whoever may call the helper through sudo. */
static const char *const system_folders[] = {
	"/bin",    "/boot", "/dev", "/etc",  "/lib", "/lib32", "/lib64",
	"/libx32", "/proc", "/run", "/sbin", "/sys", "/usr",   "/var",
};

bool mount_target_within(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/' || strcmp(folder, "/") == 0);
}

static bool component_valid(const char *at, size_t len)
{
	return len > 0 && !(at[0] == '.' && (len == 1 || (len == 2 && at[1] == '.')));
}

/* Absolute, without empty components, "." and ".."; trailing slashes are dropped. Returns the length or -EINVAL. */
static ssize_t path_length(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	if (path[0] != '/')
		return -EINVAL;
	for (const char *at = path + 1; at < path + len;) {
		size_t n = strcspn(at, "/");

		if (!component_valid(at, n))
			return -EINVAL;
		at += n + 1;
	}
	return (ssize_t)len;
}

int mount_target_resolve(const char *target, const char *home, char *out, size_t size, char *text, size_t text_size)
{
	ssize_t len = path_length(target);
	int n;

	snprintf(text, text_size, "%s", "");
	if (len < 0) {
		snprintf(text, text_size, "a mount point is an absolute path without . and ..");
		return (int)len;
	}
	n = snprintf(out, size, "%.*s", (int)len, target);
	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	if (!home || home[0] != '/' || !mount_target_within(home, out))
		return 0;
	if (strlen(home) != (size_t)len) {
		snprintf(text, text_size,
			 "%s contains the login user's home %s, whose .ssh it would hide: choose another mount point",
			 out, home);
		return -EEXIST;
	}
	n = snprintf(out, size, "%s/host", home);
	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	snprintf(
		text, text_size,
		"%s is the login user's own home, whose .ssh the mount would hide: it is at %s; for the same path give "
		"the login user another home: `homeport guest install --move-home`",
		home, out);
	return 0;
}

bool mount_target_allowed(const char *target)
{
	if (path_length(target) <= 1)
		return false;
	for (size_t i = 0; i < sizeof(system_folders) / sizeof(*system_folders); i++)
		if (mount_target_within(target, system_folders[i]))
			return false;
	return true;
}
