/* SPDX-License-Identifier: MIT */
/* own_unit: homeport-guest@USER.service, the unit of systemd's in which this user's agent may run. */
#ifndef HOMEPORT_OWN_UNIT_H
#define HOMEPORT_OWN_UNIT_H

#include <stdbool.h>

/* Whether it is about to run: at boot, or a moment after its agent died. Blocks: asks systemd, for at most two seconds.
 * False where there is none, where it runs, and where nobody says. */
bool own_unit_is_coming(void);

/* The same of what `systemctl show --property=SubState --property=Job` printed. Pure. */
bool own_unit_says_coming(const char *printed);

#endif
