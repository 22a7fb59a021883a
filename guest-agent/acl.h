/* SPDX-License-Identifier: MIT */
/*
 * acl: POSIX ACLs as extended attributes (linux/posix_acl_xattr.h), between host and guest. Pure.
 *
 * Entries that name users and groups are translated by idmap.h. Those whose number is not the guest's are left out on
 * the way there: they are nobody's whom the guest's kernel could ask about. On the way back they stay on the host as
 * they are, whatever the guest sets, but for what the mask took from them: what is not seen here is neither given more
 * nor, where it denies something, taken away.
 */
#ifndef HOMEPORT_ACL_H
#define HOMEPORT_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "idmap.h"

#define ACL_BYTES_MAX (64u << 10) /* XATTR_SIZE_MAX */

/* Translates in place. How long it is then, or -EPROTO: it is none. */
ssize_t acl_to_guest(const struct idmap *m, uint8_t *acl, size_t len);

/*
 * What the host is to have: `wanted` by the guest, and of `present` (NULL: none) what the guest does not see. `wanted`
 * is NULL where the guest wants none. Written to out, of wanted_len + present_len + 8 bytes. How long it is; 0: none;
 * -EINVAL: `wanted` is none, or names somebody who has no number on the host; -EPROTO: `present` is none.
 */
ssize_t acl_to_host(const struct idmap *m, const uint8_t *wanted, size_t wanted_len, const uint8_t *present,
		    size_t present_len, uint8_t *out);

/* Whether every entry of the host's is seen in the guest, so that nothing need be known of the present ones. */
bool acl_is_whole(const struct idmap *m);

#endif
