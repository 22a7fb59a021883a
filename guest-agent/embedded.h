/* SPDX-License-Identifier: MIT */
/* embedded: text files of the source tree that the program has in it, so that it can install itself from one file. */
#ifndef HOMEPORT_EMBEDDED_H
#define HOMEPORT_EMBEDDED_H

extern const char embedded_unit[];          /* systemd/homeport-guest@.service */
extern const char embedded_hardened[];      /* systemd/homeport-guest-hardened.conf */
extern const char embedded_helper_socket[]; /* systemd/homeport-helper.socket */
extern const char embedded_helper_unit[];   /* systemd/homeport-helper@.service */
extern const char embedded_manual[];        /* homeport-guest.8 */

#endif
