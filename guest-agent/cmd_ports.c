/* SPDX-License-Identifier: MIT */
/*
 * Shows what listens here: it is a host to itself, takes the snapshot that a host would get and, with --watch, the
 * changes from then on: a line each, "+" for what came or is known better, "-" for what went.
 */
#include "cmd_ports.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "commands.h"
#include "json.h"
#include "listener_source.h"
#include "log.h"
#include "loop.h"
#include "ports.h"

struct view {
	struct loop *loop;
	bool json, watch;
	bool complete; /* the snapshot was shown */
	struct listener *known;
	size_t count, cap;
	struct json list;
	int status;
};

/* --- one listener ----------------------------------------------------------------------------------------------- */

static void put_json(struct json *j, const struct listener *l, const char *change)
{
	char text[ADDRESS_TEXT_MAX];

	json_open(j, NULL, '{');
	if (change)
		json_string(j, "change", change);
	json_string(j, "proto", listener_proto_name(l->proto));
	json_string(j, "guest", address_text(text, l->family, l->addr, l->scope, l->port));
	json_bool(j, "v6only", l->v6only);
	json_u64(j, "uid", l->uid);
	json_string(j, "user", l->user[0] ? l->user : NULL);
	json_string(j, "unit", l->unit[0] ? l->unit : NULL);
	json_u64(j, "inode", l->inode);
	json_string(j, "process", l->process[0] ? l->process : NULL);
	json_u64(j, "pid", l->pid);
	json_close(j, '}');
}

static void print_json(struct json *j)
{
	if (!j->out.failed)
		printf("%.*s\n", (int)j->out.len, (const char *)j->out.data);
	json_free(j);
}

static void print_text(const struct listener *l, const char *sign)
{
	const char *proto = listener_proto_name(l->proto);
	char text[ADDRESS_TEXT_MAX];

	address_text(text, l->family, l->addr, l->scope, l->port);
	if (l->pid)
		printf("%s%s %-24s %s (pid %u)\n", sign, proto, text, l->process[0] ? l->process : "?", l->pid);
	else
		printf("%s%s %-24s uid %u\n", sign, proto, text, l->uid);
}

static void print_change(struct view *v, const struct listener *l, bool added)
{
	struct json j = {0};

	if (v->json) {
		put_json(&j, l, added ? "added" : "removed");
		print_json(&j);
	} else {
		print_text(l, added ? "+ " : "- ");
	}
	fflush(stdout);
}

/* --- what is known, for a removal names only a key --------------------------------------------------------------- */

static struct listener *known_find(struct view *v, uint64_t key)
{
	for (size_t i = 0; i < v->count; i++)
		if (v->known[i].key == key)
			return &v->known[i];
	return NULL;
}

static int known_add(struct view *v, const struct listener *l)
{
	struct listener *at = known_find(v, l->key);

	if (!at && v->count == v->cap) {
		size_t cap = v->cap ? 2 * v->cap : 64;
		struct listener *known = reallocarray(v->known, cap, sizeof(*known));

		if (!known)
			return -ENOMEM;
		v->known = known;
		v->cap = cap;
	}
	if (!at)
		at = &v->known[v->count++];
	*at = *l;
	if (v->complete)
		print_change(v, l, true);
	return 0;
}

static void known_remove(struct view *v, uint64_t key)
{
	struct listener *at = known_find(v, key), gone;

	if (!at)
		return;
	gone = *at;
	*at = v->known[--v->count];
	print_change(v, &gone, false);
}

static void print_snapshot(struct view *v)
{
	v->complete = true;
	if (v->json && !v->watch)
		json_open(&v->list, NULL, '[');
	for (size_t i = 0; i < v->count; i++) {
		if (v->watch)
			print_change(v, &v->known[i], true);
		else if (v->json)
			put_json(&v->list, &v->known[i], NULL);
		else
			print_text(&v->known[i], "");
	}
	if (v->json && !v->watch) {
		json_close(&v->list, ']');
		print_json(&v->list);
	}
	if (!v->watch)
		loop_stop(v->loop);
}

static int on_message(void *ctx, const struct control_msg *msg)
{
	struct view *v = ctx;

	switch (msg->type) {
	case CONTROL_PORT_ADD:
		return known_add(v, &msg->port);
	case CONTROL_PORT_REMOVE:
		known_remove(v, msg->port_key);
		return 0;
	case CONTROL_PORTS_END:
		print_snapshot(v);
		return 0;
	default:
		return 0;
	}
}

static void on_failed(void *ctx, int error)
{
	struct view *v = ctx;

	v->status = EXIT_FAILED;
	loop_stop(v->loop);
}

static const struct ports_events ports_events = {.message = on_message, .failed = on_failed};

/* --- the command ------------------------------------------------------------------------------------------------ */

static void on_signal(void *ctx, int signo)
{
	loop_stop(((struct view *)ctx)->loop);
}

static int view_run(struct view *v)
{
	struct listener_source *source = listener_poll_new(v->loop, 0);
	struct loop_signal *interrupt = loop_signal_new(v->loop, SIGINT, on_signal, v);
	struct loop_signal *terminate = loop_signal_new(v->loop, SIGTERM, on_signal, v);
	struct ports *ports = source ? ports_new(v->loop, source, &ports_events, v) : NULL;

	if (ports && interrupt && terminate) {
		ports_start(ports);
		loop_run(v->loop);
	} else {
		log_error("ports: out of memory");
		v->status = EXIT_FAILED;
	}
	ports_free(ports);
	loop_signal_free(interrupt);
	loop_signal_free(terminate);
	return v->status;
}

int cmd_ports(int argc, char **argv)
{
	struct view v = {.status = EXIT_DONE};
	int status;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			v.json = true;
		else if (!strcmp(argv[i], "--watch"))
			v.watch = true;
		else
			return command_usage("ports");
	}
	v.loop = loop_new();
	if (!v.loop) {
		log_error("ports: out of memory");
		return EXIT_FAILED;
	}
	status = view_run(&v);
	loop_free(v.loop);
	free(v.known);
	json_free(&v.list);
	return status;
}
