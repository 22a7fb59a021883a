/* SPDX-License-Identifier: MIT */
/*
 * link_error: why there is no connection to the guest: a kind for the program, a sentence and what to do for a person.
 * Neither text ends in a full stop nor names the program: `homeport: ` stands before the sentence where it is shown.
 */
#ifndef HOMEPORT_LINK_ERROR_H
#define HOMEPORT_LINK_ERROR_H

#include <stdbool.h>

enum link_error_kind {
	LINK_ERROR_NONE,
	LINK_ERROR_RESOLVE,          /* the host's name means nothing here; permanent where it is wrong */
	LINK_ERROR_CONNECT_REFUSED,  /* the machine answers, nothing listens there */
	LINK_ERROR_NO_ROUTE,         /* the network says it cannot get there */
	LINK_ERROR_TIMEOUT,          /* nothing answered in time */
	LINK_ERROR_HOST_KEY_UNKNOWN, /* never seen: somebody has to say it is right */
	LINK_ERROR_HOST_KEY_CHANGED, /* not the one that is known, pinned or allowed */
	LINK_ERROR_AUTH,             /* the guest accepts none of the keys */
	LINK_ERROR_COMMAND,          /* homeport-guest could not be run, or ended at once */
	LINK_ERROR_CONFIG,           /* ssh's configuration asks for what cannot be done */
	LINK_ERROR_PROTOCOL,         /* it does not speak SSH, or not with us */
	LINK_ERROR_LOST,             /* the connection broke */
	LINK_ERROR_LOCAL,            /* something of this machine: memory, descriptors, ssh(1) missing */
	LINK_ERROR_CANCELLED,        /* we gave it up ourselves; never shown */
	LINK_ERROR_KIND_COUNT,
};

#define LINK_ERROR_SENTENCE 512
#define LINK_ERROR_ADVICE   1024

struct link_error {
	enum link_error_kind kind;
	bool permanent; /* trying again helps only after somebody did something */
	char sentence[LINK_ERROR_SENTENCE];
	char advice[LINK_ERROR_ADVICE]; /* "" when there is nothing to advise */
};

/* "resolve", "refused", ...: for the journal and events. */
const char *link_error_kind_name(enum link_error_kind kind);

/*
 * Fills in kind, permanent (by the kind) and the sentence, which is made one line; empties the advice. What does not
 * fit is cut.
 */
void link_error_set(struct link_error *err, enum link_error_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void link_error_advise(struct link_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
