/* SPDX-License-Identifier: MIT */
/* Who may be connected to, for the host; the connecting is the dialer's. Runs on the loop's thread. */
#include "dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_msg.h"
#include "dialer.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "open_args.h"
#include "ports.h"
#include "sock_address.h"

struct dial {
	struct loop *loop;
	const struct ports *ports;
	struct dialer *dialer;
	struct relay_caller caller; /* of each connection */
	struct log_limit limit;
};

/* --- who may be connected to ------------------------------------------------------------------------------------ */

static const uint8_t zero[16];

static bool is_unspecified(const struct tcp_target *t)
{
	return memcmp(t->addr, zero, t->family == 4 ? 4 : 16) == 0;
}

static bool is_loopback(const struct dial *d, uint8_t proto, const struct tcp_target *t)
{
	static const uint8_t loopback6[16] = {[15] = 1};

	return t->family == 4 ? t->addr[0] == 127 : memcmp(t->addr, loopback6, 16) == 0;
}

static bool is_reported(const struct dial *d, uint8_t proto, const struct tcp_target *t)
{
	return d->ports && ports_is_listening(d->ports, proto, t);
}

static bool (*const dial_table[])(const struct dial *d, uint8_t proto, const struct tcp_target *t) = {
	is_loopback, /* what is meant for this machine, whoever listens there */
	is_reported, /* another address of the guest, once the host was told of it; nothing beyond the guest */
};

static bool dial_allows(const struct dial *d, uint8_t proto, const struct tcp_target *t)
{
	for (size_t i = 0; i < sizeof(dial_table) / sizeof(dial_table[0]); i++)
		if (dial_table[i](d, proto, t))
			return true;
	return false;
}

/* --- what the host opens ---------------------------------------------------------------------------------------- */

void dial_open(struct dial *d, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	uint8_t proto = kind == MUX_KIND_UDP ? LISTENER_UDP : LISTENER_TCP;
	struct sock_address to;
	struct tcp_target t;

	if (tcp_target_get(args, len, &t) < 0) {
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	if (is_unspecified(&t)) {
		t.addr[0] = t.family == 4 ? 127 : 0;
		t.addr[t.family == 4 ? 3 : 15] = 1;
	}
	if (!dial_allows(d, proto, &t)) {
		if (log_limit_pass(&d->limit, loop_now_us(d->loop), 1))
			log_warn("the host may connect to loopback and to what listens here, not to port %u elsewhere",
				 t.port);
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	sock_address_ip(&to, t.family, t.addr, t.scope, t.port);
	if (proto == LISTENER_UDP)
		dialer_connect_udp(d->dialer, stream, &to, NULL);
	else
		dialer_connect(d->dialer, stream, &to, 1, &d->caller);
}

/* Which sockets the login user may connect to is the kernel's to say. */
void dial_open_unix(struct dial *d, struct mux_stream *stream, const uint8_t *args, size_t len)
{
	struct sock_address to;
	struct unix_target t;

	if (unix_target_get(args, len, &t) < 0 || sock_address_unix(&to, t.path) < 0) {
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	dialer_connect(d->dialer, stream, &to, 1, &d->caller);
}

void dial_set_carrier(struct dial *d, const struct relay_carrier *carrier)
{
	d->caller.carrier = carrier;
}

struct dial *dial_new(struct loop *loop, const struct ports *ports)
{
	struct dial *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = loop;
	d->ports = ports;
	d->dialer = dialer_new(loop);
	if (d->dialer)
		return d;
	free(d);
	return NULL;
}

void dial_free(struct dial *d)
{
	if (!d)
		return;
	dialer_free(d->dialer);
	free(d);
}
