/* SPDX-License-Identifier: MIT */
/*
 * notify: what a service tells systemd (sd_notify(3)), without its library: one datagram to $NOTIFY_SOCKET. Where the
 * variable is not set every call does nothing, so callers need not ask. And whether there is a systemd at all.
 */
#ifndef HOMEPORT_NOTIFY_H
#define HOMEPORT_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether systemd runs this machine, and can be asked about units and sessions (sd_booted(3)). */
bool notify_booted(void);

/* Whether a service manager listens. */
bool notify_wanted(void);

/* Sends assignments such as "READY=1\nSTATUS=two mounts". Returns 1 when sent, 0 when nobody listens, or a negative
 * errno. Never blocks. */
int notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* How often WATCHDOG=1 must be sent, in microseconds: half of what the manager allows. 0: not asked for. */
uint64_t notify_watchdog_us(void);

#endif
