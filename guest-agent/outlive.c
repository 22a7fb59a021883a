/* SPDX-License-Identifier: MIT */
/* See outlive.h. */
#include "outlive.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOOTED     "/run/systemd/system" /* sd_booted(3) */
#define LOGIND_MS  2000
#define ANSWER_MAX 16

bool outlive_is_yes(const char *printed)
{
	return !strcmp(printed, "yes\n") || !strcmp(printed, "yes");
}

/* What a command prints, its beginning; "" when it does not, or not in time. */
static void ask(char *const argv[], char answer[ANSWER_MAX])
{
	posix_spawn_file_actions_t actions;
	struct pollfd ready = {.events = POLLIN};
	int ends[2];
	ssize_t n = 0;
	pid_t pid;

	answer[0] = '\0';
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (!posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ)) {
		close(ends[1]);
		ends[1] = -1;
		ready.fd = ends[0];
		if (poll(&ready, 1, LOGIND_MS) > 0)
			n = read(ends[0], answer, ANSWER_MAX - 1);
		answer[n > 0 ? n : 0] = '\0';
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
}

enum outlive_way outlive_first(void)
{
	char *argv[] = {(char *)"loginctl",          (char *)"show-session", (char *)"-p",
			(char *)"KillUserProcesses", (char *)"--value",      NULL};
	char answer[ANSWER_MAX];

	if (access(BOOTED, F_OK) < 0)
		return OUTLIVE_PLAIN;
	ask(argv, answer);
	return outlive_is_yes(answer) ? OUTLIVE_SCOPE : OUTLIVE_PLAIN;
}

const char *outlive_argv(enum outlive_way way, char *self, char *argv[OUTLIVE_ARGV_MAX])
{
	static const char *const scope[] = {"systemd-run", "--user", "--scope", "--quiet", "--collect", "--"};
	static const char *const serve[] = {"serve", "--on-demand"};
	const char *file = "/proc/self/exe"; /* also when its name is gone */
	int count = 0;

	if (way == OUTLIVE_SCOPE) {
		for (size_t i = 0; i < sizeof(scope) / sizeof(scope[0]); i++)
			argv[count++] = (char *)scope[i];
		file = scope[0];
	}
	argv[count++] = way == OUTLIVE_SCOPE ? self : (char *)"homeport-guest";
	for (size_t i = 0; i < sizeof(serve) / sizeof(serve[0]); i++)
		argv[count++] = (char *)serve[i];
	argv[count] = NULL;
	return file;
}
