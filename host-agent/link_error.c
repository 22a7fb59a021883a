/* SPDX-License-Identifier: MIT */
/* The kinds of link errors, by table. See link_error.h. */
#include "link_error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *name;
	bool permanent;
} kinds[] = {
	[LINK_ERROR_NONE] = {"none", false},
	[LINK_ERROR_RESOLVE] = {"resolve", false},
	[LINK_ERROR_CONNECT_REFUSED] = {"refused", false},
	[LINK_ERROR_NO_ROUTE] = {"no-route", false},
	[LINK_ERROR_TIMEOUT] = {"timeout", false},
	[LINK_ERROR_HOST_KEY_UNKNOWN] = {"host-key-unknown", true},
	[LINK_ERROR_HOST_KEY_CHANGED] = {"host-key-changed", true},
	[LINK_ERROR_AUTH] = {"auth", true},
	[LINK_ERROR_COMMAND] = {"command", true},
	[LINK_ERROR_CONFIG] = {"config", true},
	[LINK_ERROR_PROTOCOL] = {"protocol", false},
	[LINK_ERROR_LOST] = {"lost", false},
	[LINK_ERROR_LOCAL] = {"local", false},
	[LINK_ERROR_CANCELLED] = {"cancelled", false},
};
static_assert(sizeof(kinds) / sizeof(kinds[0]) == LINK_ERROR_KIND_COUNT, "a row for each kind");

const char *link_error_kind_name(enum link_error_kind kind)
{
	return (unsigned)kind < LINK_ERROR_KIND_COUNT ? kinds[kind].name : "unknown";
}

/* What a guest's sshd says may be in it, and it goes into the log and to the service manager, line by line. */
static void flatten(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
}

void link_error_set(struct link_error *err, enum link_error_kind kind, const char *fmt, ...)
{
	va_list args;

	err->kind = kind;
	err->permanent = kinds[kind].permanent;
	err->advice[0] = '\0';
	va_start(args, fmt);
	vsnprintf(err->sentence, sizeof(err->sentence), fmt, args);
	va_end(args);
	flatten(err->sentence);
}

void link_error_advise(struct link_error *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(err->advice, sizeof(err->advice), fmt, args);
	va_end(args);
}
