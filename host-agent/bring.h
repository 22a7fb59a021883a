/* SPDX-License-Identifier: MIT */
/*
 * bring: what is said to the guest's shell, and what it answers, before homeport-guest runs there. Pure text; bringer.h
 * has the conversation. PROTOCOL.md, "Bringing the agent along".
 */
#ifndef HOMEPORT_BRING_H
#define HOMEPORT_BRING_H

#include <stdbool.h>
#include <stddef.h>

struct guest_builds;

#define BRING_LINE_MAX 1024 /* a longer line is not one of ours */

/* What the guest's sh says, a line each. */
enum bring_word {
	BRING_ATTACH,   /* homeport-guest is there: it is what speaks from here on */
	BRING_SEND,     /* send the build for the architecture named */
	BRING_OTHER,    /* another homeport-guest is installed; the one brought along is used. Its own words */
	BRING_NO_BUILD, /* the command knows no build for the system named */
	BRING_NO_PLACE, /* no folder would have it: which, and why */
	BRING_WORD_COUNT,
};

/*
 * The command that the guest's login shell, whichever it is, runs: finds homeport-guest or asks for it, and becomes
 * `homeport-guest WORDS`, such as `attach INSTANCE`. Words are of letters, digits and ./_+- with blanks between. The
 * caller frees it. NULL: out of memory, or other words.
 */
char *bring_command(const struct guest_builds *builds, const char *words);

/* Whether this text is such a word. */
bool bring_word_is_plain(const char *text);

/* Whether a line (without its end) is one of ours; *text, within it, is what stands behind the word. */
bool bring_parse(const char *line, enum bring_word *word, const char **text);

#endif
