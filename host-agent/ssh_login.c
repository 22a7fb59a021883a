/* SPDX-License-Identifier: MIT */
/*
 * Logging in by libssh, on a worker thread, where it may block.
 *
 * libssh gets a descriptor that is connected already: by itself it tries one address only, and cannot be cancelled. Its
 * reading of ssh_config and known_hosts is off: `ssh -G` knows the first better (ssh_config.c), and of the second it
 * cannot say which line is wrong, and passes over @revoked (known_host.c).
 *
 * The socket has a twin, a duplicate that stays ours: libssh closes its own when a write fails, and neither the cancel
 * nor the loop may hold a number that was given to another file meanwhile.
 *
 * Everything the guest opens towards us, channels and global requests, is refused; libssh would queue it without bound.
 */
#include "ssh_login.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <libssh/server.h>

#include "cancel.h"
#include "child.h"
#include "known_host.h"
#include "link_error.h"
#include "log.h"
#include "ssh_auth.h"
#include "ssh_proxy.h"
#include "ssh_target.h"
#include "tcp_connect.h"

/* libssh prefers chacha20, which costs three times the CPU of AES with the instructions every machine has. */
#define CIPHERS   "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com"
#define HOST_KEYS "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256"

/*
 * A host has up to three keys and shows one: a pinned key may be any of them. So where the one shown first is not it,
 * the others are asked for; what the first attempt found is what a person is told.
 */
#define PINNED_TRIES 2
static const char *const pinned_tries[PINNED_TRIES] = {
	"ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
	"rsa-sha2-512,rsa-sha2-256",
};

/* A peer that allows no more than libssh's own headers in a packet would make it loop for ever. */
#define PACKET_MIN 1024u

struct ssh_login {
	char *name; /* of the host, for messages */
	char *command;
	ssh_session session;
	ssh_channel channel;
	struct child proxy;
	int fd;   /* libssh's once `handed` */
	int twin; /* a duplicate of fd, always ours: to shut it down, and to watch it */
	bool handed;
	unsigned packet_max; /* of the channel, as the peer told */
	struct ssh_channel_callbacks_struct callbacks;
	char exit_signal[32];
	const char *only; /* host key algorithms of this attempt; NULL: as configured */
	char *host_key;   /* "SHA256:..." */
	const char *host_key_type;
};

/* --------------------------------------------------------------------------------------------- the connection */

static int fail_memory(struct link_error *err)
{
	link_error_set(err, LINK_ERROR_LOCAL, "out of memory");
	return -ENOMEM;
}

static int login_socket(struct ssh_login *l, const struct ssh_target *t, struct cancel *cancel, struct link_error *err)
{
	int rc = 0;

	if (t->proxy_jump || t->proxy_command) {
		rc = ssh_proxy_start(t, &l->proxy);
		if (rc < 0)
			link_error_set(err, LINK_ERROR_LOCAL, "%s: the proxy cannot be run: %s", t->name,
				       strerror(-rc));
		l->fd = l->proxy.fd;
		l->proxy.fd = -1;
	} else {
		l->fd = tcp_connect(t, cancel, err);
		rc = l->fd < 0 ? l->fd : 0;
	}
	if (rc < 0)
		return rc;
	l->twin = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
	/* libssh keeps 16 bits of the number. */
	if (l->twin < 0 || l->fd > 0xffff) {
		link_error_set(err, LINK_ERROR_LOCAL, "%s: too many open files", t->name);
		return -EMFILE;
	}
	cancel_guard_socket(cancel, l->twin);
	return 0;
}

/* --------------------------------------------------------------------------------------------------- the session */

/* The guest asks for something (a channel, a forwarding, ...): 1 makes libssh say no. */
static int on_message(ssh_session session, ssh_message message, void *ctx)
{
	(void)session;
	(void)message;
	(void)ctx;
	return 1;
}

/* libssh tells the size of packets the peer takes in its log alone. (This thread's log, which nobody else reads.) */
static void on_libssh_log(int priority, const char *function, const char *line, void *ctx)
{
	struct ssh_login *l = ctx;
	const char *at = strstr(line, "maxpacket : ");

	(void)function;
	if (at && strstr(line, "Remote window : "))
		l->packet_max = (unsigned)strtoul(at + strlen("maxpacket : "), NULL, 10);
	if (priority <= SSH_LOG_WARNING)
		log_debug("%s: libssh: %s", l->name, line);
}

static bool hash_matches(const char *hashed, const char *name)
{
	/* Any valid key will do: libssh looks at the name first, and that is what is asked. */
	static const char key[] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
	struct ssh_knownhosts_entry *entry = NULL;
	char line[2048];
	int rc;

	if ((size_t)snprintf(line, sizeof(line), "%s %s", hashed, key) >= sizeof(line))
		return false;
	rc = ssh_known_hosts_parse_line(name, line, &entry);
	if (rc == SSH_OK)
		ssh_knownhosts_entry_free(entry);
	return rc == SSH_OK;
}

static struct known_host_query known_query(const struct ssh_target *t)
{
	return (struct known_host_query){
		.name = t->host_key_alias ? t->host_key_alias : t->hostname,
		.port = t->host_key_alias ? 0 : t->port,
		.hash_matches = hash_matches,
	};
}

static bool type_is_known(const struct known_host_result *known, const char *algorithm, size_t len)
{
	for (size_t i = 0; i < known->type_count; i++) {
		const char *type = known->types[i];

		if (strlen(type) == len && strncmp(type, algorithm, len) == 0)
			return true;
		if (strcmp(type, "ssh-rsa") == 0 && strncmp(algorithm, "rsa-sha2-", 9) == 0)
			return true;
	}
	return false;
}

/* The algorithms whose keys are known for this host first: else a host that has three keys shows one never seen. */
static void order_host_keys(const struct ssh_target *t, char *out, size_t size)
{
	const char *all = t->host_key_algorithms ? t->host_key_algorithms : HOST_KEYS;
	struct known_host_query query = known_query(t);
	struct known_host_result *known = malloc(sizeof(*known));
	size_t used = 0;

	*out = '\0';
	if (!known)
		return;
	known_host_check_files(&query, t->known_hosts.items, t->known_hosts.count, known);
	for (int wanted = 1; wanted >= 0; wanted--) {
		for (const char *p = all; *p;) {
			size_t n = strcspn(p, ",");

			if (type_is_known(known, p, n) == (bool)wanted && used + n + 2 < size)
				used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? "," : "", (int)n, p);
			p += n + (p[n] == ',');
		}
	}
	free(known);
}

static int login_options(struct ssh_login *l, const struct ssh_target *t, struct link_error *err)
{
	ssh_session s = l->session;
	const char *ciphers = t->ciphers ? t->ciphers : CIPHERS;
	const char *compress = t->compression ? "yes" : "no";
	long timeout = t->connect_timeout_s;
	int no = 0, bits = (int)t->rsa_min_bits, bad = 0;
	uint64_t rekey_bytes = t->rekey_bytes;
	uint32_t rekey_s = (uint32_t)t->rekey_seconds;
	char host_keys[1024];

	if (l->only)
		snprintf(host_keys, sizeof(host_keys), "%s", l->only);
	else
		order_host_keys(t, host_keys, sizeof(host_keys));
	/* Its own reading of ssh_config and known_hosts is off; the name is for its messages only. */
	bad |= ssh_options_set(s, SSH_OPTIONS_PROCESS_CONFIG, &no);
	bad |= ssh_options_set(s, SSH_OPTIONS_HOST, "guest");
	bad |= ssh_options_set(s, SSH_OPTIONS_KNOWNHOSTS, "/dev/null");
	bad |= ssh_options_set(s, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
	bad |= ssh_options_set(s, SSH_OPTIONS_USER, t->user);
	bad |= ssh_options_set(s, SSH_OPTIONS_FD, &l->fd);
	bad |= ssh_options_set(s, SSH_OPTIONS_TIMEOUT, &timeout);
	bad |= ssh_options_set(s, SSH_OPTIONS_CIPHERS_C_S, ciphers);
	bad |= ssh_options_set(s, SSH_OPTIONS_CIPHERS_S_C, ciphers);
	bad |= ssh_options_set(s, SSH_OPTIONS_HOSTKEYS, host_keys);
	bad |= ssh_options_set(s, SSH_OPTIONS_COMPRESSION, compress);
	bad |= ssh_options_set(s, SSH_OPTIONS_RSA_MIN_SIZE, &bits);
	if (t->macs) {
		bad |= ssh_options_set(s, SSH_OPTIONS_HMAC_C_S, t->macs);
		bad |= ssh_options_set(s, SSH_OPTIONS_HMAC_S_C, t->macs);
	}
	if (t->kex)
		bad |= ssh_options_set(s, SSH_OPTIONS_KEY_EXCHANGE, t->kex);
	if (t->pubkey_algorithms)
		bad |= ssh_options_set(s, SSH_OPTIONS_PUBLICKEY_ACCEPTED_TYPES, t->pubkey_algorithms);
	if (t->identity_agent && strcmp(t->identity_agent, "none") != 0)
		bad |= ssh_options_set(s, SSH_OPTIONS_IDENTITY_AGENT, t->identity_agent);
	if (rekey_bytes)
		bad |= ssh_options_set(s, SSH_OPTIONS_REKEY_DATA, &rekey_bytes);
	if (rekey_s)
		bad |= ssh_options_set(s, SSH_OPTIONS_REKEY_TIME, &rekey_s);
	if (bad) {
		link_error_set(err, LINK_ERROR_CONFIG, "%s: libssh refuses an option: %s", t->name, ssh_get_error(s));
		return -EINVAL;
	}
	ssh_set_message_callback(s, on_message, NULL);
	return 0;
}

static int login_connect(struct ssh_login *l, const struct ssh_target *t, struct link_error *err)
{
	const char *why;

	l->handed = true;
	if (ssh_connect(l->session) == SSH_OK)
		return 0;
	why = ssh_get_error(l->session);
	if (strstr(why, "Timeout"))
		link_error_set(err, LINK_ERROR_TIMEOUT, "%s: %s port %u: no SSH server answers within %u s", t->name,
			       t->hostname, t->port, t->connect_timeout_s);
	else if (t->proxy_command || t->proxy_jump)
		link_error_set(err, LINK_ERROR_PROTOCOL, "%s: no SSH connection through the proxy: %s", t->name, why);
	else
		link_error_set(err, LINK_ERROR_PROTOCOL, "%s: %s port %u: no SSH connection: %s", t->name, t->hostname,
			       t->port, why);
	return -EPROTO;
}

/* -------------------------------------------------------------------------------------------------- the host's key */

static bool fingerprints_equal(const char *a, const char *b)
{
	size_t n = strcspn(a, "="), m = strcspn(b, "=");

	return n == m && strncmp(a, b, n) == 0;
}

/* "ED25519", as ssh-keyscan -t and people say it, in lower case. */
static const char *short_type(const char *type)
{
	if (strcmp(type, "ssh-ed25519") == 0)
		return "ed25519";
	if (strcmp(type, "ssh-rsa") == 0)
		return "rsa";
	return strncmp(type, "ecdsa-", 6) == 0 ? "ecdsa" : type;
}

static void explain_unknown(const struct ssh_login *l, const struct ssh_target *t, const char *key,
			    struct link_error *err)
{
	const struct known_host_query query = known_query(t);
	const char *file = t->user_known_hosts > 0 ? t->known_hosts.items[0] : "/dev/null";
	char name[600], port[24] = "";

	link_error_set(err, LINK_ERROR_HOST_KEY_UNKNOWN, "%s: host key %s is not known", t->name, l->host_key);
	known_host_name(name, sizeof(name), query.name, query.port);
	if (t->port != 22)
		snprintf(port, sizeof(port), "-p %u ", t->port);
	if (strcmp(file, "/dev/null") == 0)
		link_error_advise(err, "give --host-key %s", l->host_key);
	else if (t->host_key_alias || t->proxy_command || t->proxy_jump)
		link_error_advise(err, "add it with 'echo \"%s %s %s\" >> %s' or give --host-key %s", name,
				  l->host_key_type, key, file, l->host_key);
	else
		link_error_advise(err, "add it with 'ssh-keyscan -t %s %s%s >> %s' or give --host-key %s",
				  short_type(l->host_key_type), port, t->hostname, file, l->host_key);
}

static int judge_known(const struct ssh_login *l, const struct ssh_target *t, const char *key,
		       struct known_host_result *known, struct link_error *err)
{
	struct known_host_query query = known_query(t);
	char name[600];

	query.key_type = l->host_key_type;
	query.key = key;
	known_host_check_files(&query, t->known_hosts.items, t->known_hosts.count, known);
	known_host_name(name, sizeof(name), query.name, query.port);
	switch (known->verdict) {
	case KNOWN_HOST_OK:
		return 0;
	case KNOWN_HOST_CHANGED:
		link_error_set(err, LINK_ERROR_HOST_KEY_CHANGED,
			       "%s: host key has changed: it is %s, %s:%u has another", t->name, l->host_key,
			       known->path, known->line);
		link_error_advise(err,
				  "somebody may be listening in; if the host was made anew, remove the old key with "
				  "'ssh-keygen -f %s -R \"%s\"'",
				  known->path, name);
		return -EKEYREJECTED;
	case KNOWN_HOST_REVOKED:
		link_error_set(err, LINK_ERROR_HOST_KEY_CHANGED, "%s: host key %s is revoked by %s:%u", t->name,
			       l->host_key, known->path, known->line);
		return -EKEYREVOKED;
	default:
		explain_unknown(l, t, key, err);
		return -ENOKEY;
	}
}

static int check_known(const struct ssh_login *l, const struct ssh_target *t, const char *key, struct link_error *err)
{
	struct known_host_result *known = malloc(sizeof(*known));
	int rc = known ? judge_known(l, t, key, known, err) : fail_memory(err);

	free(known);
	return rc;
}

/* As ssh judges it: by the address that is connected, not by a name. A proxy's socket has none. */
static bool peer_is_loopback(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer = {0};
	socklen_t len = sizeof(peer);

	if (getpeername(fd, &peer.any, &len) < 0)
		return false;
	if (peer.any.sa_family == AF_INET)
		return ntohl(peer.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return peer.any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&peer.v6.sin6_addr);
}

static int login_host_key(struct ssh_login *l, const struct ssh_target *t, const char *pinned, struct link_error *err)
{
	unsigned char *hash = NULL;
	char *base64 = NULL;
	ssh_key key = NULL;
	size_t len;
	int rc = -EPROTO;

	if (ssh_get_server_publickey(l->session, &key) != SSH_OK ||
	    ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &len) != 0 ||
	    ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK ||
	    !(l->host_key = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, len))) {
		link_error_set(err, LINK_ERROR_PROTOCOL, "%s: the host shows no key", t->name);
	} else {
		l->host_key_type = ssh_key_type_to_char(ssh_key_type(key));
		if (!pinned && t->loopback_is_trusted && peer_is_loopback(l->twin)) {
			log_debug("%s: host key %s is taken as it is: NoHostAuthenticationForLocalhost", l->name,
				  l->host_key);
			rc = 0;
		} else if (!pinned) {
			rc = check_known(l, t, base64, err);
		} else if (fingerprints_equal(pinned, l->host_key)) {
			rc = 0;
		} else {
			link_error_set(err, LINK_ERROR_HOST_KEY_CHANGED,
				       "%s: host key is %s, but %s is the one to expect", t->name, l->host_key, pinned);
			link_error_advise(err,
					  "somebody may be listening in; if the host was made anew, give its new key");
			rc = -EKEYREJECTED;
		}
	}
	ssh_string_free_char(base64);
	ssh_clean_pubkey_hash(&hash);
	ssh_key_free(key);
	return rc;
}

/* --------------------------------------------------------------------------------------------------- the command */

/* libssh tells it once, to who listens then: it may come right behind the answer to exec, before there is a chan. */
static void on_exit_signal(ssh_session session, ssh_channel channel, const char *sig, int core, const char *message,
			   const char *lang, void *ctx)
{
	struct ssh_login *l = ctx;

	(void)session;
	(void)channel;
	(void)core;
	(void)message;
	(void)lang;
	text_printable(l->exit_signal, sizeof(l->exit_signal), sig, strlen(sig));
}

static int login_listen(struct ssh_login *l)
{
	l->callbacks = (struct ssh_channel_callbacks_struct){
		.userdata = l,
		.channel_exit_signal_function = on_exit_signal,
	};
	ssh_callbacks_init(&l->callbacks);
	return ssh_set_channel_callbacks(l->channel, &l->callbacks);
}

static int login_command(struct ssh_login *l, struct link_error *err)
{
	tcp_acknowledge_quickly(l->twin);
	l->channel = ssh_channel_new(l->session);
	if (!l->channel || login_listen(l) != SSH_OK)
		return fail_memory(err);
	if (ssh_channel_open_session(l->channel) != SSH_OK) {
		link_error_set(err, LINK_ERROR_COMMAND, "%s: the host allows no session: %s", l->name,
			       ssh_get_error(l->session));
		link_error_advise(err, "see MaxSessions in sshd_config of the guest");
		err->permanent = false; /* somebody may let go of one */
		return -EPROTO;
	}
	if (l->packet_max < PACKET_MIN) {
		link_error_set(err, LINK_ERROR_PROTOCOL, "%s: the host takes packets of %u bytes only", l->name,
			       l->packet_max);
		return -EPROTO;
	}
	tcp_acknowledge_quickly(l->twin);
	if (ssh_channel_request_exec(l->channel, l->command) != SSH_OK) {
		link_error_set(err, LINK_ERROR_COMMAND, "%s: the host runs no command: %s", l->name,
			       ssh_get_error(l->session));
		return -EPROTO;
	}
	return 0;
}

static int login_steps(struct ssh_login *l, const struct ssh_target *t, const char *pinned, struct cancel *cancel,
		       struct link_error *err)
{
	int rc = login_socket(l, t, cancel, err);

	if (!rc)
		rc = login_options(l, t, err);
	if (!rc)
		rc = login_connect(l, t, err);
	if (!rc)
		rc = login_host_key(l, t, pinned, err);
	if (!rc)
		rc = ssh_auth_run(l->session, l->twin, t, err);
	if (!rc)
		rc = login_command(l, err);
	cancel_guard_socket(cancel, -1);
	if (rc < 0 && cancel_is_set(cancel))
		link_error_set(err, LINK_ERROR_CANCELLED, "%s: given up", t->name);
	return rc;
}

static int login_once(const struct ssh_target *target, const char *pinned, const char *only, const char *command,
		      struct cancel *cancel, struct ssh_login **login, struct link_error *err)
{
	struct ssh_login *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return fail_memory(err);
	l->fd = l->twin = l->proxy.fd = l->proxy.err = -1;
	l->only = only;
	l->name = strdup(target->name);
	l->command = strdup(command);
	l->session = ssh_new();
	if (!l->name || !l->command || !l->session) {
		ssh_login_free(l);
		return fail_memory(err);
	}
	ssh_set_log_userdata(l);
	rc = login_steps(l, target, pinned, cancel, err);
	ssh_set_log_userdata(NULL);
	if (rc < 0) {
		ssh_login_free(l);
		return rc;
	}
	/* ssh_connect() made it blocking. */
	fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) | O_NONBLOCK);
	ssh_set_blocking(l->session, 0);
	*login = l;
	return 0;
}

void ssh_login_init(void)
{
	unsigned char byte;

	/* ssh_init() does not do it. */
	ssh_get_random(&byte, sizeof(byte), 0);
}

int ssh_login_run(const struct ssh_target *target, const char *host_key, const char *command, struct cancel *cancel,
		  struct ssh_login **login, struct link_error *err)
{
	int rc;

	ssh_set_log_level(SSH_LOG_PROTOCOL);
	ssh_set_log_callback(on_libssh_log);
	rc = login_once(target, host_key, NULL, command, cancel, login, err);
	for (size_t i = 0; host_key && err->kind == LINK_ERROR_HOST_KEY_CHANGED && i < PINNED_TRIES; i++) {
		struct link_error found = {0};
		int got = login_once(target, host_key, pinned_tries[i], command, cancel, login, &found);

		/* It has no such key (nothing in common: PROTOCOL), or that is not the one either. */
		if (found.kind == LINK_ERROR_PROTOCOL || found.kind == LINK_ERROR_HOST_KEY_CHANGED)
			continue;
		rc = got;
		*err = found;
	}
	ssh_set_log_level(SSH_LOG_NOLOG);
	return rc;
}

void ssh_login_free(struct ssh_login *l)
{
	if (!l)
		return;
	if (l->session) {
		/* Closes the descriptor, and waits for nobody. */
		if (l->handed)
			ssh_silent_disconnect(l->session);
		ssh_free(l->session);
	}
	if (!l->handed && l->fd >= 0)
		close(l->fd);
	if (l->twin >= 0)
		close(l->twin);
	child_end_later(&l->proxy);
	ssh_string_free_char(l->host_key);
	free(l->command);
	free(l->name);
	free(l);
}

const char *ssh_login_host_key(const struct ssh_login *login)
{
	return login->host_key;
}

const char *ssh_login_host_key_type(const struct ssh_login *login)
{
	return login->host_key_type;
}

const char *ssh_login_cipher(const struct ssh_login *login)
{
	return ssh_get_cipher_out(login->session);
}

const char *ssh_login_name(const struct ssh_login *login)
{
	return login->name;
}

const char *ssh_login_library(void)
{
	static char version[32];
	const char *all = ssh_version(0); /* "0.10.6/openssl/zlib" */

	snprintf(version, sizeof(version), "%.*s", (int)strcspn(all, "/"), all);
	return version;
}

const char *ssh_login_command(const struct ssh_login *login)
{
	return login->command;
}

const char *ssh_login_exit_signal(const struct ssh_login *login)
{
	return login->exit_signal;
}

struct ssh_session_struct *ssh_login_session(const struct ssh_login *login)
{
	return login->session;
}

struct ssh_channel_struct *ssh_login_channel(const struct ssh_login *login)
{
	return login->channel;
}

int ssh_login_watch_fd(const struct ssh_login *login)
{
	return login->twin;
}
