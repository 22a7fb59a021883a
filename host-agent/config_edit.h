/* SPDX-License-Identifier: MIT */
/*
 * config_edit: one change made in the text of a configuration, with every other byte as it was, comments included.
 * Pure.
 *
 * An edit that cannot be made safely, such as one of a list in brackets, is refused. What comes out is read again and
 * compared with the configuration it should be, so that an edit is right or is not made.
 */
#ifndef HOMEPORT_CONFIG_EDIT_H
#define HOMEPORT_CONFIG_EDIT_H

#include <stddef.h>

#include "by_hand.h"

/* The text as a file has it, and what it is called in messages. */
struct config_text {
	const char *file;
	const char *home; /* what ~ stands for */
	char *text;
	size_t size;
};

#define CONFIG_EDIT_WHY_MAX 1024

/*
 * Makes the change in the text, which is replaced. 0; -EINVAL with a sentence in `why` (CONFIG_EDIT_WHY_MAX bytes) that
 * says what to write by hand; -ENOMEM.
 */
int config_edit(struct config_text *in, const struct by_hand_change *change, char *why);

#endif
