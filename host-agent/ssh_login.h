/* SPDX-License-Identifier: MIT */
/*
 * ssh_login: connects, checks the host's key, authenticates and starts the command, on a worker thread. What comes out
 * is made a chan on the loop by chan_ssh.h. These two and ssh_auth.h alone know libssh.
 */
#ifndef HOMEPORT_SSH_LOGIN_H
#define HOMEPORT_SSH_LOGIN_H

struct cancel;
struct link_error;
struct ssh_channel_struct;
struct ssh_login;
struct ssh_session_struct;
struct ssh_target;

/* libssh's version, such as "0.10.6". */
const char *ssh_login_library(void);

/* Has the library of libssh's ciphers register what it does at exit(). For who has to do something before that. */
void ssh_login_init(void);

/*
 * host_key: the pinned "SHA256:...", NULL when known_hosts decides. Blocks. Returns 0 and the login, which is the
 * caller's and may be used on another thread from here on, or a negative errno with err filled in.
 */
int ssh_login_run(const struct ssh_target *target, const char *host_key, const char *command, struct cancel *cancel,
		  struct ssh_login **login, struct link_error *err);

/* Drops the connection; never waits. NULL is fine. */
void ssh_login_free(struct ssh_login *login);

/* All of these stay the login's. */
const char *ssh_login_name(const struct ssh_login *login); /* of the host, for messages */
const char *ssh_login_command(const struct ssh_login *login);
const char *ssh_login_host_key(const struct ssh_login *login);      /* "SHA256:..." */
const char *ssh_login_host_key_type(const struct ssh_login *login); /* "ssh-ed25519" */
const char *ssh_login_cipher(const struct ssh_login *login);
const char *ssh_login_exit_signal(const struct ssh_login *login); /* "KILL": what ended the command; "": nothing told */
struct ssh_session_struct *ssh_login_session(const struct ssh_login *login); /* non-blocking */
struct ssh_channel_struct *ssh_login_channel(const struct ssh_login *login);
int ssh_login_watch_fd(const struct ssh_login *login); /* to watch; libssh has its own duplicate of it */

#endif
