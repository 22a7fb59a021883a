/* SPDX-License-Identifier: MIT */
/*
 * From `ssh -G` to what a connection needs.
 *
 * An option that decides who is reached, how they prove who they are, or by which algorithms, is either honoured or, if
 * the user changed it, refused by name: silently doing otherwise would connect in a way the user ruled out. Options of
 * what runs in a session (forwardings, terminals, environment) mean nothing here and are passed over, as is what only
 * adds a way in (passwords, GSSAPI): without it the login fails with its own sentence. StrictHostKeyChecking is not
 * asked: an unknown key is never taken. NoHostAuthenticationForLocalhost is, as what a VM reached through a port of
 * this machine is configured with (Lima): the path to such a key never leaves the machine.
 *
 * `ssh -G` does not expand tokens and leaves most `~`: that is done here, by ssh_config(5), "TOKENS".
 */
#include "ssh_target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link_error.h"
#include "ssh_settings.h"

#define CONNECT_TIMEOUT_S 10u
#define LIST_MAX          64u /* identity files, known_hosts files */

/* What libssh 0.10 can do. (ssh_target may not ask it: chan_ssh.c alone knows libssh.) */
#define LIBSSH_CIPHERS \
	"aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr"
#define LIBSSH_MACS                                                                                            \
	"hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,hmac-sha2-256," \
	"hmac-sha2-512,hmac-sha1"
#define LIBSSH_KEX                                                                                                 \
	"curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521," \
	"diffie-hellman-group18-sha512,diffie-hellman-group16-sha512,diffie-hellman-group-exchange-sha256,"        \
	"diffie-hellman-group14-sha256,diffie-hellman-group14-sha1"
#define LIBSSH_HOST_KEYS                                                                                      \
	"ssh-ed25519,ecdsa-sha2-nistp521,ecdsa-sha2-nistp384,ecdsa-sha2-nistp256,sk-ssh-ed25519@openssh.com," \
	"sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256"
#define LIBSSH_PUBLIC_KEYS                                                                   \
	"ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,"         \
	"ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com," \
	"rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com," LIBSSH_HOST_KEYS

/* Options that are refused when they are set to anything but `off` and the user set them. */
static const struct {
	const char *keyword, *name, *off;
} refused[] = {
	{"proxyusefdpass", "ProxyUseFdpass", "no"},
	{"pkcs11provider", "PKCS11Provider", "none"},
	{"revokedhostkeys", "RevokedHostKeys", "none"},
	{"knownhostscommand", "KnownHostsCommand", "none"},
	{"pubkeyauthentication", "PubkeyAuthentication", "true"},
	{"permitlocalcommand", "PermitLocalCommand", "no"},
};

struct build {
	struct ssh_target *t;
	const struct ssh_settings *mine, *plain;
	const struct ssh_person *who;
	struct link_error *err;
};

static int fail_memory(struct link_error *err)
{
	link_error_set(err, LINK_ERROR_LOCAL, "out of memory");
	return -ENOMEM;
}

static bool changed(const struct build *b, const char *keyword)
{
	return !ssh_settings_same(b->mine, b->plain, keyword);
}

/* ------------------------------------------------------------------------------------------------ expansion */

/* What %c stands for; NULL when it is not known here. */
static const char *token(const struct build *b, char c, char *buf, size_t size)
{
	const struct ssh_target *t = b->t;

	switch (c) {
	case '%':
		return "%";
	case 'h':
		return t->hostname;
	case 'n':
		return t->name;
	case 'k':
		return t->host_key_alias ? t->host_key_alias : t->hostname;
	case 'r':
		return t->user;
	case 'd':
		return b->who->home;
	case 'u':
		return b->who->user;
	case 'l':
		return b->who->hostname;
	case 'L':
		snprintf(buf, size, "%.*s", (int)strcspn(b->who->hostname, "."), b->who->hostname);
		return buf;
	case 'p':
		snprintf(buf, size, "%u", t->port);
		return buf;
	case 'i':
		snprintf(buf, size, "%u", b->who->uid);
		return buf;
	default:
		return NULL;
	}
}

/* Copies "NAME" of "NAME}..." and moves *p past the brace; false when it is no name. */
static bool variable_name(const char **p, char *name, size_t size)
{
	size_t n = strcspn(*p, "}");

	if ((*p)[n] != '}' || n == 0 || n >= size)
		return false;
	memcpy(name, *p, n);
	name[n] = '\0';
	*p += n + 1;
	return true;
}

/*
 * Writes `in` with %tokens, and where `path` a leading ~/ and ${VARIABLES}, replaced. Returns 0 or a negative errno,
 * with err filled in.
 */
static int expand(const struct build *b, const char *name, const char *in, bool path, char **out)
{
	const char *start = in;
	size_t size;
	FILE *f = open_memstream(out, &size);

	if (!f)
		return fail_memory(b->err);
	if (path && in[0] == '~' && (in[1] == '/' || in[1] == '\0')) {
		fputs(b->who->home, f);
		in++;
	}
	while (*in) {
		char buf[256];
		const char *value;

		if (*in == '%') {
			value = token(b, in[1], buf, sizeof(buf));
			in += in[1] ? 2 : 1;
		} else if (path && in[0] == '$' && in[1] == '{') {
			in += 2;
			value = variable_name(&in, buf, sizeof(buf)) ? b->who->env(buf) : NULL;
		} else {
			fputc(*in++, f);
			continue;
		}
		if (!value) {
			fclose(f);
			free(*out);
			*out = NULL;
			link_error_set(b->err, LINK_ERROR_CONFIG,
				       "%s: %s in ssh's configuration cannot be expanded: %s", b->t->name, name, start);
			return -EINVAL;
		}
		fputs(value, f);
	}
	return fclose(f) == 0 && *out ? 0 : fail_memory(b->err);
}

static int list_add(const struct build *b, struct ssh_list *list, const char *name, const char *value)
{
	char **items;
	char *item;
	int rc;

	if (list->count == LIST_MAX)
		return 0;
	rc = expand(b, name, value, true, &item);
	if (rc < 0)
		return rc;
	items = realloc(list->items, (list->count + 1) * sizeof(*items));
	if (!items) {
		free(item);
		return fail_memory(b->err);
	}
	list->items = items;
	items[list->count++] = item;
	return 0;
}

/* One file a line: IdentityFile, CertificateFile. */
static int list_lines(const struct build *b, struct ssh_list *list, const char *keyword, const char *name)
{
	const char *value;

	for (size_t i = 0; (value = ssh_settings_at(b->mine, keyword, i)); i++) {
		int rc = strcmp(value, "none") == 0 ? 0 : list_add(b, list, name, value);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Several files in one line, parted by spaces: a name with a space in it cannot be told from two. */
static int list_words(const struct build *b, struct ssh_list *list, const char *keyword, const char *name)
{
	const char *value = ssh_settings_get(b->mine, keyword);
	char *words = value ? strdup(value) : NULL;
	char *word, *rest = words;
	int rc = value && !words ? fail_memory(b->err) : 0;

	while (rc == 0 && (word = strsep(&rest, " \t"))) {
		if (*word && strcmp(word, "none") != 0)
			rc = list_add(b, list, name, word);
	}
	free(words);
	return rc;
}

/* ----------------------------------------------------------------------------------------------- algorithms */

static bool in_list(const char *list, const char *word, size_t n)
{
	while (*list) {
		size_t m = strcspn(list, ",");

		if (m == n && strncmp(list, word, n) == 0)
			return true;
		list += m + (list[m] == ',');
	}
	return false;
}

/* The words of `wanted` that `able` has too, in the order of `wanted`. */
static char *intersect(const char *wanted, const char *able)
{
	char *out = calloc(1, strlen(wanted) + 1), *end = out;

	while (out && *wanted) {
		size_t n = strcspn(wanted, ",");

		if (in_list(able, wanted, n)) {
			if (end != out)
				*end++ = ',';
			memcpy(end, wanted, n);
			end += n;
		}
		wanted += n + (wanted[n] == ',');
	}
	return out;
}

static int choose(const struct build *b, const char *keyword, const char *name, const char *able, char **out)
{
	const char *wanted = ssh_settings_get(b->mine, keyword);

	if (!wanted || !changed(b, keyword))
		return 0;
	*out = intersect(wanted, able);
	if (!*out)
		return fail_memory(b->err);
	if (**out)
		return 0;
	link_error_set(b->err, LINK_ERROR_CONFIG, "%s: none of ssh's %s can be used here: %s", b->t->name, name,
		       wanted);
	link_error_advise(b->err, "allow one of %s", able);
	return -EOPNOTSUPP;
}

static int choose_algorithms(const struct build *b)
{
	struct ssh_target *t = b->t;
	const struct {
		const char *keyword, *name, *able;
		char **out;
	} lists[] = {
		{"ciphers", "Ciphers", LIBSSH_CIPHERS, &t->ciphers},
		{"macs", "MACs", LIBSSH_MACS, &t->macs},
		{"kexalgorithms", "KexAlgorithms", LIBSSH_KEX, &t->kex},
		{"hostkeyalgorithms", "HostKeyAlgorithms", LIBSSH_HOST_KEYS, &t->host_key_algorithms},
		{"pubkeyacceptedalgorithms", "PubkeyAcceptedAlgorithms", LIBSSH_PUBLIC_KEYS, &t->pubkey_algorithms},
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		int rc = choose(b, lists[i].keyword, lists[i].name, lists[i].able, lists[i].out);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -------------------------------------------------------------------------------------------------- the target */

static int refuse_unhonoured(const struct build *b)
{
	const char *methods = ssh_settings_get(b->mine, "preferredauthentications");

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *value = ssh_settings_get(b->mine, refused[i].keyword);

		if (!value || strcmp(value, refused[i].off) == 0 || !changed(b, refused[i].keyword))
			continue;
		link_error_set(b->err, LINK_ERROR_CONFIG, "%s: ssh's option %s %s cannot be honoured here", b->t->name,
			       refused[i].name, value);
		link_error_advise(b->err, "give -o %s=%s, or set it so for this host", refused[i].name, refused[i].off);
		return -EOPNOTSUPP;
	}
	if (methods && !in_list(methods, "publickey", strlen("publickey"))) {
		link_error_set(b->err, LINK_ERROR_CONFIG,
			       "%s: ssh's option PreferredAuthentications %s cannot be honoured here", b->t->name,
			       methods);
		link_error_advise(b->err,
				  "homeport logs in with keys alone: give -o PreferredAuthentications=publickey");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Copies the value of a keyword, NULL when it is missing or "none". */
static int copy(const struct build *b, const char *keyword, char **out)
{
	const char *value = ssh_settings_get(b->mine, keyword);

	if (!value || !*value || strcmp(value, "none") == 0)
		return 0;
	*out = strdup(value);
	return *out ? 0 : fail_memory(b->err);
}

static int take_address(const struct build *b)
{
	struct ssh_target *t = b->t;
	const char *port = ssh_settings_get(b->mine, "port");
	int rc = 0;

	if ((rc = copy(b, "hostname", &t->hostname)) < 0 || (rc = copy(b, "user", &t->user)) < 0 ||
	    (rc = copy(b, "hostkeyalias", &t->host_key_alias)) < 0 ||
	    (rc = copy(b, "addressfamily", &t->address_family)) < 0 ||
	    (rc = copy(b, "bindaddress", &t->bind_address)) < 0 ||
	    (rc = copy(b, "bindinterface", &t->bind_interface)) < 0)
		return rc;
	t->port = port ? (unsigned)strtoul(port, NULL, 10) : 22;
	if (!t->hostname || !t->user || t->port == 0 || t->port > 65535) {
		link_error_set(b->err, LINK_ERROR_CONFIG, "%s: `ssh -G` does not say where to connect", t->name);
		return -EINVAL;
	}
	/* [::1] is how ssh lets an address be typed; getaddrinfo() wants it bare. */
	if (t->hostname[0] == '[' && t->hostname[strlen(t->hostname) - 1] == ']') {
		t->hostname[strlen(t->hostname) - 1] = '\0';
		memmove(t->hostname, t->hostname + 1, strlen(t->hostname));
	}
	return 0;
}

static unsigned number(const struct build *b, const char *keyword, unsigned otherwise)
{
	const char *value = ssh_settings_get(b->mine, keyword);
	unsigned long n = value ? strtoul(value, NULL, 10) : 0;

	return n > 0 && n < 86400 ? (unsigned)n : otherwise;
}

/* "SSH_AUTH_SOCK" is the default by its name, "$NAME" the value of a variable, all else a path. */
static int take_agent(const struct build *b)
{
	const char *value = ssh_settings_get(b->mine, "identityagent");

	if (!value || strcmp(value, "SSH_AUTH_SOCK") == 0)
		return 0;
	if (value[0] == '$' && value[1] != '{') {
		value = b->who->env(value + 1);
		b->t->identity_agent = strdup(value ? value : "none");
		return b->t->identity_agent ? 0 : fail_memory(b->err);
	}
	return expand(b, "IdentityAgent", value, true, &b->t->identity_agent);
}

static int take_keys(const struct build *b)
{
	struct ssh_target *t = b->t;
	const char *only = ssh_settings_get(b->mine, "identitiesonly");
	const char *loopback = ssh_settings_get(b->mine, "nohostauthenticationforlocalhost");
	int rc;

	if ((rc = list_words(b, &t->known_hosts, "userknownhostsfile", "UserKnownHostsFile")) < 0)
		return rc;
	t->user_known_hosts = t->known_hosts.count;
	if ((rc = list_words(b, &t->known_hosts, "globalknownhostsfile", "GlobalKnownHostsFile")) < 0 ||
	    (rc = list_lines(b, &t->identities, "identityfile", "IdentityFile")) < 0 ||
	    (rc = list_lines(b, &t->certificates, "certificatefile", "CertificateFile")) < 0 ||
	    (rc = take_agent(b)) < 0)
		return rc;
	/* As ssh: a key that goes by a name of its own is looked up all the same. */
	t->loopback_is_trusted = loopback && strcmp(loopback, "yes") == 0 && !t->host_key_alias;
	t->identities_chosen = changed(b, "identityfile");
	t->identities_only = only && strcmp(only, "yes") == 0;
	return 0;
}

static int take_rest(const struct build *b)
{
	struct ssh_target *t = b->t;
	const char *compression = ssh_settings_get(b->mine, "compression");
	const char *rekey = ssh_settings_get(b->mine, "rekeylimit");
	const char *proxy = ssh_settings_get(b->mine, "proxycommand");
	const char *jump = ssh_settings_get(b->mine, "proxyjump");

	t->connect_timeout_s = number(b, "connecttimeout", CONNECT_TIMEOUT_S);
	t->rsa_min_bits = number(b, "requiredrsasize", 1024);
	t->compression = compression && strcmp(compression, "yes") == 0;
	if (rekey)
		sscanf(rekey, "%llu %llu", &t->rekey_bytes, &t->rekey_seconds);
	if (jump && *jump && strcmp(jump, "none") != 0)
		return expand(b, "ProxyJump", jump, false, &t->proxy_jump);
	if (proxy && *proxy && strcmp(proxy, "none") != 0)
		return expand(b, "ProxyCommand", proxy, false, &t->proxy_command);
	return 0;
}

struct ssh_target *ssh_target_new(const char *name, const struct ssh_settings *mine, const struct ssh_settings *plain,
				  const struct ssh_person *who, struct link_error *err)
{
	struct ssh_target *t = calloc(1, sizeof(*t));
	struct build b = {t, mine, plain, who, err};

	if (!t || !(t->name = strdup(name))) {
		fail_memory(err);
	} else if (take_address(&b) == 0 && refuse_unhonoured(&b) == 0 && choose_algorithms(&b) == 0 &&
		   take_keys(&b) == 0 && take_rest(&b) == 0) {
		return t;
	}
	ssh_target_free(t);
	return NULL;
}

static void list_free(struct ssh_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
}

void ssh_target_free(struct ssh_target *t)
{
	if (!t)
		return;
	char *const texts[] = {t->name,
			       t->hostname,
			       t->user,
			       t->host_key_alias,
			       t->proxy_command,
			       t->proxy_jump,
			       t->config_file,
			       t->address_family,
			       t->bind_address,
			       t->bind_interface,
			       t->identity_agent,
			       t->ciphers,
			       t->macs,
			       t->kex,
			       t->host_key_algorithms,
			       t->pubkey_algorithms};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	list_free(&t->known_hosts);
	list_free(&t->identities);
	list_free(&t->certificates);
	free(t);
}
