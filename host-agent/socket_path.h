/* SPDX-License-Identifier: MIT */
/* socket_path: the path of a unix socket as a rule has it, with its templates, made a path. Pure. */
#ifndef HOMEPORT_SOCKET_PATH_H
#define HOMEPORT_SOCKET_PATH_H

/* What the templates of one machine stand for. Strings of the caller's. */
struct socket_names {
	const char *home, *user; /* {{.Home}}, {{.User}} */
	unsigned uid;            /* {{.UID}} */
	const char *name, *dir;  /* {{.Name}} of the session, {{.Dir}}: its folder on the host */
};

/* Both machines: hostSocket is of one, guestSocket of the other. */
struct socket_world {
	struct socket_names host, guest;
};

/*
 * What `written` means, for the caller to free: templates stand for what the names say, and a relative path lies in
 * {{.Dir}}/sock. The templates were checked with the rule. NULL: out of memory.
 */
char *socket_path_expand(const char *written, const struct socket_names *names);

/* Why no socket can have this path, as a phrase; NULL: one can. */
const char *socket_path_fault(const char *path);

#endif
