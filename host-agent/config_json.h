/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_JSON_H
#define HOMEPORT_CONFIG_JSON_H

#include <stdio.h>

/*
 * Writes the JSON Schema (draft 2020-12) of a configuration file, made from the tables the file is read by: for
 * editors, which offer its keys and mark what is wrong. It takes whatever is read without an error; what it refuses is
 * refused, keys all of them, values as far as a schema can say. 0, or -ENOMEM.
 */
int config_json_schema(FILE *out);

#endif
