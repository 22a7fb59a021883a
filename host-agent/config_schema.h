/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_SCHEMA_H
#define HOMEPORT_CONFIG_SCHEMA_H

#include "config_fields.h"

/*
 * The tables of struct config's fields. For config.c, which walks them; everybody else uses config.h.
 */

/* Rows of the top table that config.c treats apart. */
enum {
	CONFIG_TOP_SSH,
	CONFIG_TOP_MOUNTS,
	CONFIG_TOP_ON_FORWARD,
};

extern const struct config_field config_top_fields[];      /* struct config */
extern const struct config_field config_ssh_fields[];      /* struct config_ssh */
extern const struct config_field config_resolver_fields[]; /* struct config_resolver */
extern const struct config_field config_mount_fields[];    /* struct config_mount */
extern const struct config_field config_forward_fields[];  /* struct rule_spec */

#endif
