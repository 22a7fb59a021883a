/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_YAML_H
#define HOMEPORT_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "problems.h"

/*
 * YAML as far as a configuration needs it: text into a tree of nodes that know where they stand, and a scalar back into
 * text. Tags, anchors, aliases and several documents are refused. Pure: bytes in, tree out.
 */

#define CONFIG_YAML_DEPTH_MAX 16    /* a list in a mapping in a list is 4; the tree is freed by recursion */
#define CONFIG_YAML_NODES_MAX 65536 /* a file of 1 MiB can hold half a million empty lists */

enum config_node_kind {
	CONFIG_NODE_SCALAR,
	CONFIG_NODE_LIST,
	CONFIG_NODE_MAP, /* its children are the keys, scalars with a `value` */
	CONFIG_NODE_BAD, /* was reported when it was read: to be passed over in silence */
	CONFIG_NODE_KINDS
};

struct config_node {
	enum config_node_kind kind;
	unsigned line, column;
	unsigned last_line; /* of a scalar: where its text ends */
	bool flow;          /* of a list or a mapping: in brackets or braces */
	char *text;         /* of a scalar: UTF-8 without NUL */
	bool plain;         /* a scalar that stood without quotes */
	struct config_node *value;
	struct config_node *children, *last;
	struct config_node *next;
};

/*
 * Reads one document. 0 with the tree in *root, NULL where the text is empty; what was wrong but not fatal is in
 * `problems`. -EINVAL when it is not YAML at all (said in `problems`), -ENOMEM. `file` names the text in messages.
 */
int config_yaml_read(const char *file, const char *text, size_t size, struct problems *problems,
		     struct config_node **root);

void config_node_free(struct config_node *node);

/* The child of a mapping with this key, or NULL. */
const struct config_node *config_node_get(const struct config_node *map, const char *key);

/* "text", "a list", "a mapping": for messages. */
const char *config_node_kind_name(enum config_node_kind kind);

/*
 * Writes a text as a double-quoted scalar that reads back as the same; bytes that are not UTF-8, which YAML cannot
 * hold, become U+FFFD.
 */
void config_yaml_quote(FILE *out, const char *text);

#endif
