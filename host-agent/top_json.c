/* SPDX-License-Identifier: MIT */
/* An interval as one line of JSON, for programs. See top_view.h. Each kind of request is always there. */
#include "json.h"
#include "top_view.h"

static uint64_t us_of(uint64_t ns)
{
	return ns / 1000 + (ns % 1000 >= 500);
}

static void put_ops(struct json *j, enum op_kind kind, const struct top_ops *ops)
{
	json_open(j, NULL, '{');
	json_string(j, "kind", op_kind_name(kind));
	json_u64(j, "count", ops->count);
	json_u64(j, "at_once", ops->at_once);
	json_u64(j, "p50_us", us_of(ops->p50));
	json_u64(j, "p99_us", us_of(ops->p99));
	json_open(j, "host", '{');
	json_u64(j, "count", ops->host_count);
	json_u64(j, "p50_us", us_of(ops->host_p50));
	json_u64(j, "p99_us", us_of(ops->host_p99));
	json_close(j, '}');
	json_close(j, '}');
}

static void put_operations(struct json *j, const struct top_interval *i)
{
	if (!i->guest_us) {
		json_string(j, "operations", NULL);
		return;
	}
	json_open(j, "operations", '[');
	for (unsigned k = 0; k < OP_KINDS; k++)
		put_ops(j, (enum op_kind)k, &i->ops[k]);
	json_close(j, ']');
}

static void put_mounts(struct json *j, const struct top_interval *i)
{
	json_open(j, "mounts", '[');
	for (size_t k = 0; k < i->now->mount_count; k++) {
		json_open(j, NULL, '{');
		json_bytes(j, "target", i->mounts[k].target);
		json_string(j, "state", i->mounts[k].state);
		json_u64(j, "requests", i->mounts[k].requests);
		json_u64(j, "bytes_read", i->mounts[k].read);
		json_u64(j, "bytes_written", i->mounts[k].written);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_ports(struct json *j, const struct top_interval *i)
{
	json_open(j, "ports", '[');
	for (size_t k = 0; k < i->now->port_count; k++) {
		json_open(j, NULL, '{');
		json_string(j, "proto", i->ports[k].proto);
		json_bytes(j, "guest", i->ports[k].guest);
		json_bytes(j, "process", i->ports[k].process[0] ? i->ports[k].process : NULL);
		json_u64(j, "connections", i->ports[k].connections);
		json_u64(j, "bytes_in", i->ports[k].in);
		json_u64(j, "bytes_out", i->ports[k].out);
		json_close(j, '}');
	}
	json_close(j, ']');
}

void top_view_json(const struct top_interval *i, const char *time, struct wire_buf *out)
{
	const struct top_sample *now = i->now;
	struct json j = {.out = *out};

	json_open(&j, NULL, '{');
	json_string(&j, "time", time);
	json_bytes(&j, "name", now->name);
	json_string(&j, "state", now->state);
	json_bytes(&j, "error", now->trouble[0] ? now->trouble : NULL);
	json_u64(&j, "interval_ms", i->us / 1000);
	json_u64(&j, "rtt_us", now->rtt_us);
	if (now->guest_told)
		json_u64(&j, "waiting", now->waiting);
	else
		json_string(&j, "waiting", NULL);
	json_u64(&j, "operations_ms", i->guest_us / 1000);
	put_operations(&j, i);
	put_mounts(&j, i);
	put_ports(&j, i);
	json_close(&j, '}');
	*out = j.out;
}
