/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the table of forwards: the input is the control messages of a hostile guest, with snapshots begun, cut short
 * and ended as it likes. The rules ignore all ports, so that no socket is opened. What must hold: the table stays
 * within its bound, is shown sorted, and nothing is left when it is freed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control_msg.h"
#include "forward.h"
#include "log.h"
#include "loop.h"
#include "rules.h"

#define FORWARDS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void on_row(void *ctx, const struct forward_info *info)
{
	must(info->guest && info->state == FORWARD_IGNORED && info->reason && info->host_count == 0);
	for (const char *c = info->process ? info->process : ""; *c; c++)
		must((unsigned char)*c >= ' ' && *c != 0x7f);
	++*(size_t *)ctx;
}

static void check(struct forward *f)
{
	size_t rows = 0;

	forward_list(f, on_row, &rows);
	must(rows <= 4 * FORWARDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct rule_spec ignore = {
		.origin = "all", .guest_ip = "0.0.0.0", .guest_ip_must_be_zero = RULE_NO, .ignore = true};
	const struct forward_limits limits = {.max_forwards = FORWARDS};
	struct loop *loop = loop_new();
	struct rules *rules = rules_new(0);
	struct forward *f;
	struct control_msg msg;
	char why[RULE_WHY_MAX];
	ssize_t n;

	log_set_level(LOG_LEVEL_ERROR);
	must(loop && rules && rules_add(rules, &ignore, why) == 0);
	f = forward_new(loop, rules, NULL, &limits, NULL, NULL);
	must(f != NULL);
	while ((n = control_msg_get(data, size, &msg)) > 0) {
		forward_message(f, &msg);
		control_msg_clear(&msg);
		check(f);
		data += n;
		size -= (size_t)n;
	}
	forward_free(f);
	rules_free(rules);
	loop_free(loop);
	return 0;
}
