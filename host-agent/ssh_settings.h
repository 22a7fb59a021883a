/* SPDX-License-Identifier: MIT */
/*
 * ssh_settings: what `ssh -G` prints, as a list of keywords and values. Pure.
 */
#ifndef HOMEPORT_SSH_SETTINGS_H
#define HOMEPORT_SSH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

/* Real output is some 90 lines and 6 KiB; algorithm lists are the longest lines. */
#define SSH_SETTINGS_MAX  512u
#define SSH_SETTINGS_SIZE (256u << 10)

struct ssh_settings;

/*
 * Parses lines of `keyword value`. Keywords are kept in lower case, values as they are. Returns NULL when it is not
 * such output: NUL bytes, too long, too many lines, or out of memory.
 */
struct ssh_settings *ssh_settings_parse(const char *text, size_t len);
void ssh_settings_free(struct ssh_settings *s);

/* The value of the first line with the keyword; NULL when there is none. */
const char *ssh_settings_get(const struct ssh_settings *s, const char *keyword);

/* The value of the index-th line with the keyword (0 is the first); NULL past the last. */
const char *ssh_settings_at(const struct ssh_settings *s, const char *keyword, size_t index);

/* Whether the keyword has the same values, in the same order, in both. */
bool ssh_settings_same(const struct ssh_settings *a, const struct ssh_settings *b, const char *keyword);

#endif
