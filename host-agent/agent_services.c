/* SPDX-License-Identifier: MIT */
/*
 * What the session itself has in the guest: variables, the tunnels to this machine's proxies, its name servers,
 * the user's ssh-agent.
 *
 * A tunnel is a reverse rule like a person's, behind theirs (rules.h, enum rule_service), so it is listened at, shown
 * and kept out of the forwards as any of these. Variables whose tunnel does not answer are kept back, with the reason:
 * a program without a proxy says more than one that waits for another program's port.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "bounds.h"
#include "config.h"
#include "ctl_socket.h"
#include "ctl_words.h"
#include "fnv.h"
#include "forward.h"
#include "guest_env.h"
#include "log.h"
#include "mux.h"
#include "name_servers.h"
#include "relay.h"
#include "resolver.h"
#include "reverse.h"
#include "rules.h"
#include "sock_address.h"
#include "socket_path.h"

/* Where the guest asks. As root at DNS's own port, since resolv.conf can name no other. */
#define RESOLVER_ADDRESS    "127.0.0.153"
#define RESOLVER_PORT       53
#define RESOLVER_USERS_PORT 1053

#define SSH_AGENT_SOCKET "{{.Home}}/.cache/homeport/{{.Name}}.agent"

static int make_env(const struct agent *a, const struct config *config, struct guest_env *env)
{
	return guest_env_make(env, config->env, config->env_count, config->propagate_proxy_env ? &a->proxies : NULL);
}

/* ----------------------------------------------------------------------------------------------------------- the rules
 */

static int add_rule(struct rules *rules, const struct rule_spec *spec)
{
	char why[RULE_WHY_MAX];
	int rc = rules_add(rules, spec, why);

	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		log_warn("%s: not there in the guest: %s", rule_service_name(spec->service), why);
	return 0;
}

/* Whether a reverse rule of the configuration has this port of the guest. */
static bool is_taken(const struct config *config, unsigned port)
{
	for (size_t i = 0; i < config->forward_count; i++) {
		const struct rule_spec *spec = &config->forwards[i];

		if (spec->reverse && !spec->guest_socket && spec->proto != RULE_PROTO_UDP &&
		    (spec->guest_port ? spec->guest_port : spec->host_port) == port)
			return true;
	}
	return false;
}

static int add_tunnels(const struct agent *a, const struct config *config, struct rules *rules)
{
	struct guest_env env;
	int rc = make_env(a, config, &env);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < env.tunnel_count && rc == 0; i++) {
		const struct proxy_tunnel *tunnel = &env.tunnels[i];
		struct rule_spec spec = {
			.origin = "the proxy variables",
			.service = RULE_SERVICE_PROXY,
			.reverse = true,
			.guest_ip = "127.0.0.1",
			.guest_port = tunnel->port,
			.host_ip = tunnel->host_ip,
			.host_port = tunnel->port,
		};

		if (!is_taken(config, tunnel->port))
			rc = add_rule(rules, &spec);
	}
	guest_env_clear(&env);
	return rc;
}

static int add_resolver(const struct agent *a, const struct config *config, struct rules *rules)
{
	struct rule_spec spec = {
		.origin = "hostResolver",
		.service = RULE_SERVICE_RESOLVER,
		.reverse = true,
		.proto = RULE_PROTO_UDP,
		.guest_ip = RESOLVER_ADDRESS,
		.guest_port = a->guest.uid == 0 ? RESOLVER_PORT : RESOLVER_USERS_PORT,
	};
	int rc;

	if (!config->resolver.enabled)
		return 0;
	rc = add_rule(rules, &spec);
	spec.proto = RULE_PROTO_TCP;
	return rc < 0 ? rc : add_rule(rules, &spec);
}

/* Where ssh(1) would ask it; NULL: there is none. */
static const char *ssh_agent(void)
{
	const char *path = getenv("SSH_AUTH_SOCK");

	return path && path[0] == '/' ? path : NULL;
}

static int add_ssh_agent(const struct config *config, struct rules *rules)
{
	struct rule_spec spec = {
		.origin = "ssh.forwardAgent",
		.service = RULE_SERVICE_SSH_AGENT,
		.reverse = true,
		.guest_socket = SSH_AGENT_SOCKET,
		.host_socket = ssh_agent(),
	};

	if (!config->ssh.forward_agent)
		return 0;
	if (spec.host_socket)
		return add_rule(rules, &spec);
	log_warn("ssh.forwardAgent: there is no ssh-agent to forward: SSH_AUTH_SOCK is not set for homeport");
	return 0;
}

int agent_services_rules(const struct agent *a, const struct config *config, struct rules *rules)
{
	int rc = add_tunnels(a, config, rules);

	if (rc == 0)
		rc = add_resolver(a, config, rules);
	return rc < 0 ? rc : add_ssh_agent(config, rules);
}

/* -------------------------------------------------------------------------------------------------------- the resolver
 */

void agent_services_end(struct agent *a)
{
	resolver_free(a->resolver);
	a->resolver = NULL;
}

/* Made when it is first asked; the names are those of now. */
static struct resolver *the_resolver(struct agent *a)
{
	if (!a->resolver)
		a->resolver = resolver_new(a->loop, RESOLV_CONF);
	if (a->resolver &&
	    resolver_set_names(a->resolver, a->config->resolver.hosts, a->config->resolver.host_count) < 0)
		return NULL;
	return a->resolver;
}

void agent_services_resolve(struct agent *a, struct mux_stream *stream, uint8_t proto,
			    const struct relay_caller *caller)
{
	struct resolver *resolver = the_resolver(a);

	if (!resolver) {
		caller->done(caller->ctx, -ENOMEM);
		mux_stream_refuse(stream, MUX_REASON_RESOURCES);
	} else if (proto == LISTENER_UDP) {
		resolver_open_udp(resolver, stream, caller);
	} else {
		resolver_open_tcp(resolver, stream, caller);
	}
}

/* ------------------------------------------------------------------------------------------------------- the variables
 */

/* How a row stands: of this end in the guest, that leads to this one here ("": wherever). */
struct row_look {
	char guest[SOCK_ADDRESS_TEXT_MAX], host[SOCK_ADDRESS_TEXT_MAX];
	const char *proto;
	bool answers;
	char reason[SOCK_ADDRESS_TEXT_MAX + 128]; /* why not */
};

static void on_row(void *ctx, const struct forward_info *info)
{
	struct row_look *look = ctx;
	bool same = !look->host[0];

	for (size_t i = 0; i < info->host_count; i++)
		same |= strcmp(info->host[i], look->host) == 0;
	if (!same || strcmp(info->guest, look->guest) != 0 || strcmp(info->proto, look->proto) != 0)
		return;
	look->answers = info->state == FORWARD_FORWARDED;
	snprintf(look->reason, sizeof(look->reason), "%s", info->reason ? info->reason : "");
}

static void look_at_tunnel(const struct agent *a, const struct proxy_tunnel *tunnel, struct row_look *look)
{
	*look = (struct row_look){.proto = "tcp", .reason = "the guest is not there"};
	snprintf(look->guest, sizeof(look->guest), "127.0.0.1:%u", tunnel->port);
	snprintf(look->host, sizeof(look->host), "%s:%u",
		 strcmp(tunnel->host_ip, "localhost") == 0 ? "127.0.0.1" : tunnel->host_ip, tunnel->port);
	if (!a->reverse)
		return;
	snprintf(look->reason, sizeof(look->reason), "another rule has %s of the guest", look->guest);
	reverse_list(a->reverse, on_row, look);
}

static void put_variable(struct ctl_client *client, const char *text)
{
	size_t size = strlen("env ") + 3 * strlen(text) + 1;
	char *line = malloc(size);

	if (!line)
		return;
	line[0] = '\0';
	if (ctl_words_add(line, size, "env") && ctl_words_add(line, size, text))
		ctl_client_text(client, 'o', line, strlen(line));
	free(line);
}

static void shell_ssh_agent(const struct agent *a, struct ctl_client *client)
{
	struct row_look look = {.proto = "unix", .reason = "the guest is not there"};
	char *path = a->reverse ? socket_path_expand(SSH_AGENT_SOCKET, &a->world.guest) : NULL, *text;

	if (path) {
		text_printable(look.guest, sizeof(look.guest), path, strlen(path));
		snprintf(look.reason, sizeof(look.reason), "SSH_AUTH_SOCK is not set for homeport here");
		reverse_list(a->reverse, on_row, &look);
	}
	if (!look.answers) {
		ctl_client_line(client, 'e', "homeport: shell: without the ssh-agent: %s", look.reason);
	} else if (asprintf(&text, "SSH_AUTH_SOCK=%s", path) >= 0) {
		put_variable(client, text);
		free(text);
	}
	free(path);
}

static void shell_variables(const struct agent *a, struct ctl_client *client)
{
	struct row_look looks[PROXY_VARIABLES];
	struct guest_env env;

	if (make_env(a, a->config, &env) < 0)
		return;
	for (size_t i = 0; i < env.tunnel_count; i++) {
		look_at_tunnel(a, &env.tunnels[i], &looks[i]);
		if (!looks[i].answers)
			ctl_client_line(client, 'e', "homeport: shell: without the proxy at %s: %s", looks[i].host,
					looks[i].reason);
	}
	for (size_t i = 0; i < env.count; i++)
		if (env.variables[i].tunnel < 0 || looks[env.variables[i].tunnel].answers)
			put_variable(client, env.variables[i].text);
	guest_env_clear(&env);
}

void agent_services_shell(const struct agent *a, struct ctl_client *client)
{
	shell_variables(a, client);
	if (a->config->ssh.forward_agent)
		shell_ssh_agent(a, client);
}

/* Whether it is other than what this session's guest was told last; it is remembered as that. */
static bool is_news(struct agent *a, const struct control_environment *e)
{
	uint64_t digest = FNV1A_START;

	/* Each with its NUL, which is where one ends. */
	for (uint32_t i = 0; i < e->count; i++)
		digest = fnv1a(digest, e->variables[i], strlen(e->variables[i]) + 1);
	if (a->environment_told == digest)
		return false;
	a->environment_told = digest;
	return true;
}

/* The same to the guest's agent: it may have a file for them. */
void agent_services_tell(struct agent *a)
{
	struct control_msg msg = {.type = CONTROL_ENVIRONMENT};
	struct row_look looks[PROXY_VARIABLES];
	struct guest_env env;

	if (!control_stream_is_open(&a->control) || !a->guest_known || make_env(a, a->config, &env) < 0)
		return;
	for (size_t i = 0; i < env.tunnel_count; i++)
		look_at_tunnel(a, &env.tunnels[i], &looks[i]);
	for (size_t i = 0; i < env.count && msg.environment.count < ENVIRONMENT_MAX; i++)
		if (env.variables[i].tunnel < 0 || looks[env.variables[i].tunnel].answers)
			msg.environment.variables[msg.environment.count++] = env.variables[i].text;
	if (is_news(a, &msg.environment))
		agent_guest_send(a, &msg);
	guest_env_clear(&env);
}

int agent_services_set_proxies(struct agent *a, struct proxy_env *proxies)
{
	struct proxy_env before = a->proxies;
	struct config *next;
	int rc;

	if (proxy_env_equal(&a->proxies, proxies))
		return 0;
	a->proxies = *proxies;
	next = config_clone(a->config);
	rc = next ? agent_config_set(a, next) : -ENOMEM;
	if (rc < 0) {
		config_free(next);
		a->proxies = before;
		return rc;
	}
	*proxies = (struct proxy_env){0};
	proxy_env_clear(&before);
	return 1;
}
