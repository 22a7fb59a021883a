/* SPDX-License-Identifier: MIT */
/* See mount_policy.h. */
#include "mount_policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount_target.h"
#include "sockowner.h"

#define POLICY_MAX 65536
#define BLANKS     " \t\r"

static bool is_user(const char *word, const char *user, uint32_t uid)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", uid);
	return (user[0] && strcmp(word, user) == 0) || strcmp(word, number) == 0;
}

/* One line, which is cut into its words. 1: it gives the user the target, 0: it does not, -EINVAL: what stands there?
 */
static int line_check(char *line, const char *user, uint32_t uid, const char *target)
{
	char *rest = NULL, *word;
	bool ours, named = false, within = false;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, BLANKS, &rest);
	if (!word)
		return 0;
	ours = is_user(word, user, uid);
	while ((word = strtok_r(NULL, BLANKS, &rest))) {
		if (!mount_target_allowed(word))
			return -EINVAL;
		named = true;
		within |= !target || mount_target_within(target, word);
	}
	return ours && (within || !named);
}

int mount_policy_check(const char *text, const char *user, uint32_t uid, const char *target, char *why, size_t size)
{
	char *copy = strdup(text), *rest = copy, *line;
	unsigned number = 0;
	bool given = false;
	int rc = 0;

	if (!copy)
		return -ENOMEM;
	while (rc >= 0 && (line = strsep(&rest, "\n"))) {
		number++;
		rc = line_check(line, user, uid, target);
		given |= rc > 0;
	}
	free(copy);
	if (rc < 0)
		snprintf(why, size, "%s:%u: not a user and mount points", MOUNT_POLICY_PATH, number);
	else if (!given)
		snprintf(why, size, "%.300s%s%s does not %s %s", target ? target : "", target ? ": " : "",
			 MOUNT_POLICY_PATH, target ? "give it to" : "name", user[0] ? user : "this user");
	return rc >= 0 && given ? 0 : -EACCES;
}

static int policy_read(int fd, char *text, size_t size, char *why, size_t why_size)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != 0 || st.st_mode & 022) {
		snprintf(why, why_size, "%s is not a file that root alone may write", MOUNT_POLICY_PATH);
		return -EACCES;
	}
	n = read(fd, text, size);
	if (n < 0 || (size_t)n == size) {
		snprintf(why, why_size, "%s: %s", MOUNT_POLICY_PATH, n < 0 ? strerror(errno) : "is too long");
		return -EACCES;
	}
	text[n] = '\0';
	return 0;
}

int mount_policy_ask(uint32_t uid, const char *target, char *why, size_t size)
{
	static char text[POLICY_MAX];
	char user[64];
	int fd = open(MOUNT_POLICY_PATH, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), rc;

	if (fd < 0) {
		snprintf(why, size, "%s: %s", MOUNT_POLICY_PATH, strerror(errno));
		return -EACCES;
	}
	rc = policy_read(fd, text, sizeof(text), why, size);
	close(fd);
	return rc < 0 ? rc : mount_policy_check(text, sockowner_user(uid, user, sizeof(user)), uid, target, why, size);
}
