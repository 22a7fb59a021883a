/* SPDX-License-Identifier: MIT */
/* What a running session knows of itself, for `doctor`: why it is not connected, which mounts and ports are not there.
 */
#include <string.h>

#include "agent_state.h"
#include "check.h"
#include "ctl_socket.h"
#include "forward.h"
#include "reverse.h"
#include "runtime_dir.h"

static void tell(struct ctl_client *client, const struct check *check)
{
	char line[CHECK_LINE_MAX];

	check_put(check, line);
	ctl_client_text(client, 'o', line, strlen(line));
}

static void tell_session(const struct agent *a, struct ctl_client *client)
{
	struct check check = {.name = "session"};

	if (a->state == AGENT_CONNECTED) {
		check_say(&check, CHECK_OK, "%s runs, and is connected %s%s%s", a->dir->name,
			  a->direct.up ? "directly, beside ssh" : "through ssh", a->direct.why[0] ? ": " : "",
			  a->direct.why);
	} else {
		check_say(&check, CHECK_PROBLEM, "%s is %s%s%s", a->dir->name, agent_state_name(a->state),
			  a->error.kind ? ": " : "", a->error.kind ? a->error.sentence : "");
		check_advise(&check, "%s", a->error.kind ? a->error.advice : "");
	}
	tell(client, &check);
}

static void tell_mount(const struct agent_mount *mount, struct ctl_client *client)
{
	struct check check = {.name = "mount"};

	for (size_t i = 0; i < mount->plan->share_count; i++) {
		const char *trouble = agent_mount_trouble(mount, i);

		if (!trouble)
			continue;
		check_say(&check, CHECK_PROBLEM, "%s", trouble);
		tell(client, &check);
	}
}

/* Nothing that a program of this machine holds is wrong by itself. */
static void on_port(void *ctx, const struct forward_info *info)
{
	struct check check = {.name = "port"};

	if (info->state != FORWARD_CONFLICT && info->state != FORWARD_FAILED)
		return;
	check_say(&check, CHECK_NOTE, "%s %s of the guest does not answer %s: %s", info->proto, info->guest,
		  info->reverse ? "there" : "here", info->reason ? info->reason : forward_state_name(info->state));
	if (info->state == FORWARD_CONFLICT && !info->reverse)
		check_advise(&check, "free the port, or have another one: homeport forward NAME HOST:GUEST");
	tell(ctx, &check);
}

void agent_doctor_answer(struct agent *a, struct ctl_client *client)
{
	tell_session(a, client);
	for (size_t i = 0; i < a->plan.count; i++)
		tell_mount(&a->mounts[i], client);
	if (a->forward)
		forward_list(a->forward, on_port, client);
	if (a->reverse)
		reverse_list(a->reverse, on_port, client);
	ctl_client_exit(client, 0);
}
