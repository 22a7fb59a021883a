/* SPDX-License-Identifier: MIT */
/*
 * Proves who the user is: the ssh-agent's keys, key files without a passphrase, certificates. Runs on a worker thread.
 * Never asks anybody anything.
 */
#include "ssh_auth.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libssh/libssh.h>

#include "link_error.h"
#include "ssh_target.h"
#include "tcp_connect.h"

struct auth {
	ssh_session session;
	int fd; /* the session's */
	const struct ssh_target *t;
	unsigned offered; /* keys of files */
	bool agent_asked;
	bool wants_passphrase; /* set by on_passphrase */
	const char *locked;    /* the first key file with a passphrase */
	const char *exposed;   /* the first key file others can read */
	bool only_public;      /* of a named key only the .pub is there: the agent must have it */
};

/* libssh asks for a passphrase: there is nobody to ask. */
static int on_passphrase(const char *prompt, char *buf, size_t len, int echo, int verify, void *ctx)
{
	struct auth *a = ctx;

	(void)prompt;
	(void)buf;
	(void)len;
	(void)echo;
	(void)verify;
	a->wants_passphrase = true;
	return -1;
}

static int auth_agent(struct auth *a)
{
	const char *agent = a->t->identity_agent;
	int rc;

	if (agent ? strcmp(agent, "none") == 0 : !getenv("SSH_AUTH_SOCK"))
		return SSH_AUTH_DENIED;
	a->agent_asked = true;
	tcp_acknowledge_quickly(a->fd);
	rc = ssh_userauth_agent(a->session, NULL);
	/* An agent that answers nonsense is no reason not to try the files. */
	return rc == SSH_AUTH_ERROR && ssh_is_connected(a->session) ? SSH_AUTH_DENIED : rc;
}

/* libssh cannot say whether a certificate is this key's (it compares their types): the guest does. */
static int auth_certificate(struct auth *a, const char *path, const char *cert_path)
{
	ssh_key key = NULL, cert = NULL;
	int rc = SSH_AUTH_DENIED;

	if (ssh_pki_import_cert_file(cert_path, &cert) == SSH_OK &&
	    ssh_pki_import_privkey_file(path, NULL, on_passphrase, a, &key) == SSH_OK &&
	    ssh_pki_copy_cert_to_privkey(cert, key) == SSH_OK)
		rc = ssh_userauth_publickey(a->session, NULL, key);
	ssh_key_free(cert);
	ssh_key_free(key);
	return rc;
}

static int auth_key(struct auth *a, const char *path)
{
	ssh_key key = NULL;
	char own[4096];
	int rc;

	a->wants_passphrase = false;
	rc = ssh_pki_import_privkey_file(path, NULL, on_passphrase, a, &key);
	if (rc != SSH_OK) {
		if (a->wants_passphrase && !a->locked)
			a->locked = path;
		return SSH_AUTH_DENIED;
	}
	a->offered++;
	tcp_acknowledge_quickly(a->fd);
	snprintf(own, sizeof(own), "%s-cert.pub", path);
	rc = auth_certificate(a, path, own);
	for (size_t i = 0; rc == SSH_AUTH_DENIED && i < a->t->certificates.count; i++)
		rc = auth_certificate(a, path, a->t->certificates.items[i]);
	if (rc == SSH_AUTH_DENIED)
		rc = ssh_userauth_publickey(a->session, NULL, key);
	ssh_key_free(key);
	return rc;
}

static int auth_file(struct auth *a, const char *path)
{
	struct stat st;
	char public[4096];

	if (stat(path, &st) < 0) {
		snprintf(public, sizeof(public), "%s.pub", path);
		a->only_public |= stat(public, &st) == 0;
		return SSH_AUTH_DENIED;
	}
	/* As ssh: a key that others can read is not used. */
	if (st.st_uid == getuid() && (st.st_mode & 077)) {
		if (!a->exposed)
			a->exposed = path;
		return SSH_AUTH_DENIED;
	}
	return auth_key(a, path);
}

static int auth_files(struct auth *a)
{
	int rc = SSH_AUTH_DENIED;

	for (size_t i = 0; rc == SSH_AUTH_DENIED && i < a->t->identities.count; i++)
		rc = auth_file(a, a->t->identities.items[i]);
	return rc;
}

/*
 * Keys the user named go first: an agent full of others would use up the tries sshd allows (six). With IdentitiesOnly
 * the agent is asked only when a named key cannot be used without it; it then offers all it has, because libssh cannot
 * ask it for one.
 */
static int auth_run(struct auth *a)
{
	int rc;

	if (!a->t->identities_chosen) {
		rc = a->t->identities_only ? SSH_AUTH_DENIED : auth_agent(a);
		return rc == SSH_AUTH_DENIED ? auth_files(a) : rc;
	}
	rc = auth_files(a);
	if (rc == SSH_AUTH_DENIED && (!a->t->identities_only || a->locked || a->only_public))
		rc = auth_agent(a);
	return rc;
}

static void explain_denied(const struct auth *a, struct link_error *err)
{
	const struct ssh_target *t = a->t;
	char port[24] = "";

	if (t->port != 22)
		snprintf(port, sizeof(port), "-p %u ", t->port);
	if (a->locked) {
		link_error_set(err, LINK_ERROR_AUTH,
			       "%s: the key %s has a passphrase, and the ssh-agent does not hold it", t->name,
			       a->locked);
		link_error_advise(err, "add it to the ssh-agent: 'ssh-add %s'", a->locked);
	} else if (a->exposed) {
		link_error_set(err, LINK_ERROR_AUTH, "%s: the key %s can be read by others and is not used", t->name,
			       a->exposed);
		link_error_advise(err, "'chmod 600 %s'", a->exposed);
	} else if (a->offered == 0 && !a->agent_asked) {
		link_error_set(err, LINK_ERROR_AUTH, "%s: there is no key to log in with as %s", t->name, t->user);
		link_error_advise(err, "make one with 'ssh-keygen', put it there with 'ssh-copy-id %s%s@%s'", port,
				  t->user, t->hostname);
	} else {
		link_error_set(err, LINK_ERROR_AUTH, "%s: none of your keys is accepted for %s", t->name, t->user);
		link_error_advise(err, "put one there with 'ssh-copy-id %s%s@%s'", port, t->user, t->hostname);
	}
}

int ssh_auth_run(struct ssh_session_struct *session, int fd, const struct ssh_target *target, struct link_error *err)
{
	struct auth a = {.session = session, .fd = fd, .t = target};

	switch (auth_run(&a)) {
	case SSH_AUTH_SUCCESS:
		return 0;
	case SSH_AUTH_PARTIAL:
		link_error_set(err, LINK_ERROR_AUTH, "%s: a key alone is not enough to log in as %s", target->name,
			       target->user);
		link_error_advise(err, "the guest's sshd_config asks for more in AuthenticationMethods");
		return -EACCES;
	case SSH_AUTH_ERROR:
		if (!ssh_is_connected(session)) {
			link_error_set(err, LINK_ERROR_AUTH, "%s: the host ended the login of %s: %s", target->name,
				       target->user, ssh_get_error(session));
			return -EACCES;
		}
		/* fall through */
	default:
		explain_denied(&a, err);
		return -EACCES;
	}
}
