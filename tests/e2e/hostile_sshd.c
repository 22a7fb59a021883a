/* SPDX-License-Identifier: MIT */
/*
 * An SSH server that lets everybody in, says yes to the first command, and then opens channels towards the client
 * without end: what a compromised guest could run in sshd's place.
 *
 *     hostile_sshd PORT HOSTKEY OPENS
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <libssh/server.h>

static ssh_channel session_channel;
static bool running;

static int on_pubkey(ssh_session session, const char *user, struct ssh_key_struct *key, char state, void *ctx)
{
	(void)session;
	(void)user;
	(void)key;
	(void)state;
	(void)ctx;
	return SSH_AUTH_SUCCESS;
}

static int on_exec(ssh_session session, ssh_channel channel, const char *command, void *ctx)
{
	(void)session;
	(void)channel;
	(void)command;
	(void)ctx;
	running = true;
	return 0;
}

static struct ssh_channel_callbacks_struct channel_callbacks = {.channel_exec_request_function = on_exec};

static ssh_channel on_open(ssh_session session, void *ctx)
{
	(void)ctx;
	session_channel = ssh_channel_new(session);
	ssh_set_channel_callbacks(session_channel, &channel_callbacks);
	return session_channel;
}

static struct ssh_server_callbacks_struct server_callbacks = {
	.auth_pubkey_function = on_pubkey,
	.channel_open_request_session_function = on_open,
};

int main(int argc, char **argv)
{
	ssh_bind bind = ssh_bind_new();
	ssh_session session = ssh_new();
	ssh_event event = ssh_event_new();
	long opens;

	if (argc != 4)
		return 2;
	opens = atol(argv[3]);
	ssh_callbacks_init(&server_callbacks);
	ssh_callbacks_init(&channel_callbacks);
	ssh_bind_options_set(bind, SSH_BIND_OPTIONS_BINDADDR, "127.0.0.1");
	ssh_bind_options_set(bind, SSH_BIND_OPTIONS_BINDPORT_STR, argv[1]);
	ssh_bind_options_set(bind, SSH_BIND_OPTIONS_HOSTKEY, argv[2]);
	if (ssh_bind_listen(bind) < 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	if (ssh_bind_accept(bind, session) != SSH_OK)
		return 1;
	ssh_set_server_callbacks(session, &server_callbacks);
	if (ssh_handle_key_exchange(session) != SSH_OK)
		return 1;
	ssh_set_auth_methods(session, SSH_AUTH_METHOD_PUBLICKEY);
	ssh_event_add_session(event, session);
	while (!running) {
		if (ssh_event_dopoll(event, -1) == SSH_ERROR)
			return 1;
	}
	ssh_set_blocking(session, 0);
	for (long i = 0; i < opens; i++) {
		ssh_channel channel = ssh_channel_new(session);

		if (ssh_channel_open_reverse_forward(channel, "host", 1, "guest", 1) == SSH_ERROR &&
		    !ssh_is_connected(session))
			break;
	}
	printf("done\n");
	fflush(stdout);
	while (ssh_event_dopoll(event, -1) != SSH_ERROR)
		;
	return 0;
}
