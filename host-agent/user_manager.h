/* SPDX-License-Identifier: MIT */
/*
 * user_manager: the service manager of this user (systemd --user), asked through systemctl(1), which finds it wherever
 * it is. Blocking; for the short-lived commands only.
 */
#ifndef HOMEPORT_USER_MANAGER_H
#define HOMEPORT_USER_MANAGER_H

#include <stdbool.h>
#include <time.h>

#define UNIT_NAME_MAX        128 /* homeport@NAME.service */
#define UNIT_STATE_MAX       32
#define USER_MANAGER_WHY_MAX 256

/* Whether there is one: without systemd, or in a login that has none (sudo, cron, a container), there is not. */
bool user_manager_answers(void);

/* Whether it stays when the user's last login ends, and starts with the machine (loginctl enable-linger). */
bool user_manager_lingers(void);

/*
 * Runs `systemctl --user VERB OPTION UNIT`, without OPTION where that is NULL. 0, or a negative errno with what
 * systemctl said in `why` (of USER_MANAGER_WHY_MAX bytes).
 */
int user_manager_tell(const char *verb, const char *option, const char *unit, char *why);

/* The unit's state: "active", "activating", "inactive", "failed" ... 0, or a negative errno where nobody answers. */
int user_manager_state(const char *unit, char state[UNIT_STATE_MAX]);

/* When the unit last ended, in seconds since the epoch; 0 where it never did, or nobody answers. */
time_t user_manager_ended(const char *unit);

#endif
