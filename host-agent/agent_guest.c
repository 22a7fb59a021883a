/* SPDX-License-Identifier: MIT */
/*
 * What is said to the guest, and what it says: the control stream's host end. PROTOCOL.md, "Control".
 *
 * A session begins with CONFIG from us and GUEST from the guest; then mounts are asked for. Everything the guest says
 * is bounded and checked by control_msg; a message it may not send ends the session, nothing more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent_state.h"
#include "bounds.h"
#include "config.h"
#include "forward.h"
#include "log.h"
#include "loop.h"
#include "open_args.h"
#include "peer.h"
#include "port_command.h"
#include "reverse.h"
#include "rules.h"
#include "runtime_dir.h"

#define STATE_LOG_BURST 20 /* lines a second about mounts, which the guest can cause */

/* ---------------------------------------------------------------------------------------------------- to the guest */

/* A message that cannot be queued means that the guest has long stopped reading: the connection is given up. */
void agent_guest_send(struct agent *a, const struct control_msg *msg)
{
	int rc = control_stream_send(&a->control, msg);

	if (rc < 0 && rc != -ENOTCONN)
		peer_drop_connection(a->peer, "the guest does not read its control messages");
}

static void send_config(struct agent *a)
{
	struct control_msg msg = {.type = CONTROL_CONFIG};

	msg.config.host_uid = geteuid();
	msg.config.host_gid = getegid();
	msg.config.report_ports = a->config->max_forwards > 0;
	snprintf(msg.config.host_user, sizeof(msg.config.host_user), "%s", a->host_user);
	snprintf(msg.config.instance_name, sizeof(msg.config.instance_name), "%s", a->dir->name);
	agent_guest_send(a, &msg);
}

static void send_mount(struct agent *a, struct agent_mount *mount)
{
	struct control_msg msg = {.type = CONTROL_MOUNT};

	msg.mount.id = mount->id;
	msg.mount.target = mount->target;
	msg.mount.host_locks = mount->plan->host_locks;
	msg.mount.acl = mount->plan->acl;
	msg.mount.share_count = (uint32_t)mount->plan->share_count;
	for (size_t i = 0; i < mount->plan->share_count; i++) {
		struct planned_share *share = &mount->plan->shares[i];

		msg.mount.shares[i] = (struct control_share){
			.point = share->point,
			.source = share->source->location.path,
			.number = mount->shares[i].number,
			.writable = share->source->writable,
			.virtual_owners = share->source->virtual_owners,
			.uids = &share->uids,
			.gids = &share->gids,
		};
	}
	agent_guest_send(a, &msg);
	mount->sent = mount->tried = true;
	mount->outdated = false;
	mount->status = MOUNT_MOUNTING;
}

void agent_guest_count(struct agent *a, const struct control_count *count)
{
	const struct control_msg msg = {.type = CONTROL_COUNT, .count = *count};

	agent_guest_send(a, &msg);
}

static void send_unmount(struct agent *a, uint32_t id, bool *sent)
{
	struct control_msg msg = {.type = CONTROL_UNMOUNT, .unmount_id = id};

	if (*sent)
		return;
	agent_guest_send(a, &msg);
	*sent = true;
}

void agent_guest_reconcile(struct agent *a)
{
	struct agent_leaving *leaving;

	if (!control_stream_is_open(&a->control) || !a->guest_known)
		return;
	TAILQ_FOREACH(leaving, &a->leaving, next)
	send_unmount(a, leaving->id, &leaving->unmount_sent);
	for (size_t i = 0; i < a->plan.count && control_stream_is_open(&a->control); i++) {
		struct agent_mount *mount = &a->mounts[i];

		if (a->stopping && mount->sent && !a->restarting)
			send_unmount(a, mount->id, &mount->unmount_sent);
		else if (!a->stopping && !mount->barred && (!mount->sent || mount->outdated) &&
			 !agent_mount_is_blocked(a, mount))
			send_mount(a, mount);
	}
}

bool agent_guest_unmounted(const struct agent *a)
{
	if (!TAILQ_EMPTY(&a->leaving))
		return false;
	for (size_t i = 0; i < a->plan.count; i++) {
		const struct agent_mount *mount = &a->mounts[i];

		if (mount->sent && mount->status != MOUNT_UNMOUNTED && mount->status != MOUNT_FAILED)
			return false;
	}
	return true;
}

void agent_guest_check_clock(struct agent *a)
{
	const struct control_msg msg = {.type = CONTROL_CLOCK_CHECK};

	if (a->config->step_clock && a->guest_known)
		agent_guest_send(a, &msg);
}

static int on_clock_ask(struct agent *a, uint64_t token)
{
	struct control_msg msg = {.type = CONTROL_CLOCK, .clock = {.token = token}};
	struct timespec now;

	if (!a->config->step_clock)
		return -EPROTO;
	clock_gettime(CLOCK_REALTIME, &now);
	msg.clock.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	agent_guest_send(a, &msg);
	return 0;
}

/* -------------------------------------------------------------------------------------------------- from the guest */

static void on_forward_changed(void *ctx)
{
	agent_changed(ctx);
}

static void on_port(void *ctx, const struct forward_info *info, bool gone)
{
	struct agent *a = ctx;

	agent_event_port(a, info, gone);
	port_command_port(a->on_forward, info, gone);
}

static const struct forward_events forward_events = {.changed = on_forward_changed, .port = on_port};

static void on_reverse_send(void *ctx, const struct control_msg *msg)
{
	struct agent *a = ctx;

	agent_guest_send(a, msg);
}

static void on_reverse_resolve(void *ctx, struct mux_stream *stream, uint8_t proto, const struct relay_caller *caller)
{
	agent_services_resolve(ctx, stream, proto, caller);
}

static const struct reverse_events reverse_events = {
	.send = on_reverse_send,
	.resolve = on_reverse_resolve,
	.changed = on_forward_changed,
};

/*
 * The guest says which port its sshd has; which one we dial we know ourselves. That is often a port of this host's
 * loopback, which whoever runs the VM listens on: a guest that got it when the VM starts anew would be what answers us,
 * and keep the VM from it.
 */
static int add_never(const struct agent *a, struct rules *rules)
{
	if (!a->ssh_port || a->ssh_port > UINT16_MAX)
		return 0;
	return rules_never(rules, (uint16_t)a->ssh_port, "never forwarded: homeport's own connection is to this port");
}

/* A session without ports has none of a person's rules. */
struct rules *agent_guest_rules(const struct agent *a, const struct config *config)
{
	struct rules *rules =
		config->max_forwards > 0 ? config_rules(config, a->guest.ssh_port) : rules_new(a->guest.ssh_port);

	if (rules && (add_never(a, rules) < 0 || agent_services_rules(a, config, rules) < 0)) {
		rules_free(rules);
		return NULL;
	}
	return rules;
}

static void forward_end(struct agent *a)
{
	forward_free(a->forward);
	reverse_free(a->reverse);
	rules_free(a->rules);
	a->forward = NULL;
	a->reverse = NULL;
	a->rules = NULL;
}

static int forward_make(struct agent *a)
{
	const struct forward_limits limits = {.max_forwards = a->config->max_forwards};

	a->world = (struct socket_world){
		.host = {a->host_home, a->host_user, geteuid(), a->dir->name, a->dir->run},
		.guest = {a->guest.home, a->guest.user, a->guest.uid, a->dir->name, a->dir->run},
	};
	a->rules = agent_guest_rules(a, a->config);
	if (a->rules)
		a->reverse = reverse_new(a->loop, a->rules, &a->world, &reverse_events, a);
	if (a->reverse && limits.max_forwards > 0)
		a->forward = forward_new(a->loop, a->rules, &a->world, &limits, &forward_events, a);
	if (a->reverse)
		reverse_set_carrier(a->reverse, &a->lane.carrier);
	if (a->forward)
		forward_set_carrier(a->forward, &a->lane.carrier);
	if (a->reverse && (a->forward || limits.max_forwards == 0))
		return 0;
	forward_end(a);
	return -ENOMEM;
}

/* What the rules, and the paths in them, need to know of the guest. */
static bool same_for_rules(const struct control_guest *x, const struct control_guest *y)
{
	return x->ssh_port == y->ssh_port && x->uid == y->uid && !strcmp(x->home, y->home) && !strcmp(x->user, y->user);
}

/* Rules are made when the guest has told what they need to know; made anew when it is something else. */
static int forward_begin(struct agent *a, const struct control_guest *guest)
{
	bool same = a->reverse && same_for_rules(&a->guest, guest);
	int rc = 0;

	if (a->reverse && !same)
		forward_end(a);
	a->guest = *guest;
	if (!same)
		rc = forward_make(a);
	if (rc == 0 && a->forward)
		forward_set_mux(a->forward, peer_mux(a->peer));
	return rc;
}

static int on_guest(struct agent *a, const struct control_msg *msg)
{
	const struct control_guest *guest = &msg->guest;
	char hostname[256], user[256], version[128];
	int rc;

	if (a->guest_known)
		return -EPROTO;
	rc = forward_begin(a, guest);
	if (rc < 0)
		return rc;
	a->guest_known = true;
	log_info("guest %s: %s, homeport-guest %s",
		 text_printable(hostname, sizeof(hostname), guest->hostname, strlen(guest->hostname)),
		 text_printable(user, sizeof(user), guest->user, strlen(guest->user)),
		 text_printable(version, sizeof(version), guest->agent_version, strlen(guest->agent_version)));
	reverse_begin(a->reverse);
	agent_services_tell(a);
	agent_guest_check_clock(a);
	agent_direct_begin(a);
	return 0;
}

static struct agent_mount *mount_find(struct agent *a, uint32_t id)
{
	for (size_t i = 0; i < a->plan.count; i++)
		if (a->mounts[i].id == id)
			return &a->mounts[i];
	return NULL;
}

static struct agent_leaving *leaving_find(struct agent *a, uint32_t id)
{
	struct agent_leaving *leaving;

	TAILQ_FOREACH(leaving, &a->leaving, next)
	if (leaving->id == id)
		return leaving;
	return NULL;
}

/* Of a mount that is not wanted any more nothing counts but that it has gone. */
static void on_leaving_state(struct agent *a, struct agent_leaving *leaving, const struct control_mount_state *state)
{
	char target[sizeof(leaving->target)];

	if (state->status != MOUNT_UNMOUNTED && state->status != MOUNT_FAILED)
		return;
	log_info("mount %s: unmounted",
		 text_printable(target, sizeof(target), leaving->target, strlen(leaving->target)));
	agent_event_share(a, leaving->target, NULL, MOUNT_UNMOUNTED, NULL);
	agent_leaving_free(a, leaving);
}

static void log_mount_state(const struct agent *a, const struct agent_mount *mount, const char *target)
{
	static struct log_limit limit;

	if (mount->status == MOUNT_MOUNTING || !log_limit_pass(&limit, loop_now_us(a->loop), STATE_LOG_BURST))
		return;
	if (mount->status == MOUNT_MOUNTED)
		log_info("mount %s: mounted%s%s", target, mount->text[0] ? "; " : "", mount->text);
	else if (mount->status == MOUNT_FAILED)
		log_error("mount: %s", mount->text);
	else
		log_info("mount %s: unmounted", target);
}

/* The target is kept as it is, for programs; in text it is printable, as all that the guest sent. */
static int on_mount_state(struct agent *a, const struct control_msg *msg)
{
	const struct control_mount_state *state = &msg->mount_state;
	struct agent_mount *mount = mount_find(a, state->id);
	struct agent_leaving *leaving = leaving_find(a, state->id);
	char target[sizeof(mount->target)], text[sizeof(mount->text)];

	if (leaving) {
		on_leaving_state(a, leaving, state);
		return 0;
	}
	if (!mount || !mount->sent)
		return -EPROTO;
	mount->status = state->status;
	mount->error = state->error;
	if (state->target[0])
		snprintf(mount->target, sizeof(mount->target), "%s", state->target);
	text_printable(target, sizeof(target), mount->target, strlen(mount->target));
	text_printable(text, sizeof(text), state->text, strlen(state->text));
	snprintf(mount->text, sizeof(mount->text), "%s", text);
	if (state->status == MOUNT_FAILED && !text[0])
		snprintf(mount->text, sizeof(mount->text), "%.400s: %s", target, strerror((int)mount->error));
	log_mount_state(a, mount, target);
	if (state->status == MOUNT_FAILED && mount->plan->share_count > 1 && !a->stopping)
		return agent_mounts_set(a, a->config); /* what lies below it need not fail with it */
	return 0;
}

static void on_log(const struct agent *a, uint8_t level, const char *raw)
{
	static struct log_limit limit;
	char text[CONTROL_TEXT_MAX];

	if (level >= LOG_LEVEL_COUNT || !log_limit_pass(&limit, loop_now_us(a->loop), 100))
		return;
	text_printable(text, sizeof(text), raw, strlen(raw));
	log_at((enum log_level)level, "guest: %s", text);
}

/* What the guest may say, and before it has said who it is. */
static int on_message(void *ctx, struct control_msg *msg)
{
	struct agent *a = ctx;
	int rc = 0;

	if (msg->type != CONTROL_GUEST && msg->type != CONTROL_LOG && !a->guest_known)
		return -EPROTO;
	switch (msg->type) {
	case CONTROL_GUEST:
		rc = on_guest(a, msg);
		break;
	case CONTROL_MOUNT_STATE:
		rc = on_mount_state(a, msg);
		break;
	case CONTROL_PORTS_END:
		a->ports_known = true;
		break;
	case CONTROL_PORTS_BEGIN:
	case CONTROL_PORT_ADD:
	case CONTROL_PORT_REMOVE:
		break;
	case CONTROL_LISTEN_STATE:
		rc = reverse_state(a->reverse, &msg->listen_state);
		if (rc == 0)
			agent_services_tell(a);
		break;
	case CONTROL_CLOCK_ASK:
		return on_clock_ask(a, msg->clock.token);
	case CONTROL_COUNTERS:
		return agent_top_counters(a, &msg->counters);
	case CONTROL_DIRECT_STATE:
		return agent_direct_state(a, &msg->direct_state);
	case CONTROL_LOG:
		on_log(a, msg->log.level, msg->log.text);
		return 0;
	default:
		return -EPROTO; /* ours to send, not the guest's */
	}
	if (!rc && a->forward)
		forward_message(a->forward, msg);
	agent_changed(a);
	return rc;
}

static const struct control_stream_events control_events = {.other = "guest", .message = on_message};

/* ----------------------------------------------------------------------------------------------- begin, end, shares */

int agent_guest_begin(struct agent *a)
{
	a->guest_known = a->ports_known = false;
	a->environment_told = 0;
	for (size_t i = 0; i < a->plan.count; i++) {
		struct agent_mount *mount = &a->mounts[i];

		mount->sent = mount->outdated = mount->unmount_sent = false;
		snprintf(mount->target, sizeof(mount->target), "%s", mount->plan->target);
	}
	if (agent_mounts_set(a, a->config) < 0) /* what was refused once may be taken now */
		return -ENOMEM;
	if (control_stream_open(&a->control, a->peer, &control_events, a) < 0)
		return -ENOMEM;
	send_config(a);
	return 0;
}

void agent_guest_end(struct agent *a)
{
	control_stream_forget(&a->control);
	a->guest_known = a->ports_known = false;
	agent_top_session(a);
	/* The guest unmounts what the next session does not ask for. */
	while (!TAILQ_EMPTY(&a->leaving))
		agent_leaving_free(a, TAILQ_FIRST(&a->leaving));
	for (size_t i = 0; i < a->plan.count; i++) {
		a->mounts[i].sent = a->mounts[i].outdated = false;
		if (a->mounts[i].status == MOUNT_MOUNTED)
			a->mounts[i].status = MOUNT_MOUNTING;
	}
	if (a->forward)
		forward_set_mux(a->forward, NULL);
	if (a->reverse)
		reverse_end(a->reverse);
}

void agent_guest_free(struct agent *a)
{
	agent_services_end(a);
	forward_end(a);
}

struct served *agent_guest_share(struct agent *a, const struct sftp_target *target)
{
	const struct agent_mount *mount = mount_find(a, target->mount_id);

	for (size_t i = 0; mount && mount->sent && i < mount->plan->share_count; i++)
		if (mount->shares[i].number == target->share)
			return mount->shares[i].served;
	return NULL;
}
