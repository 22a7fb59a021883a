/* SPDX-License-Identifier: MIT */
/* shell_line: what `homeport shell` has the guest's login shell run. Pure text. */
#ifndef HOMEPORT_SHELL_LINE_H
#define HOMEPORT_SHELL_LINE_H

/* A program's one argument in Linux may have 128 KiB; this leaves room for what sshd and the shell put around it. */
#define SHELL_LINE_MAX (120u << 10)

struct shell_line {
	const char *folder;     /* to begin in; NULL: where the login begins */
	const char *complaint;  /* for stderr when that folder cannot be entered */
	char *const *variables; /* NAME=VALUE of the session's, NULL at the end; NULL: none */
	char *const *words; /* K=V..., which go before those, then a program and its arguments; none of it: the login
			       shell. NULL at the end */
};

/* The caller frees it. NULL: out of memory. */
char *shell_line_make(const struct shell_line *line);

#endif
