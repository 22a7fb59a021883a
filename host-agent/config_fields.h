/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_FIELDS_H
#define HOMEPORT_CONFIG_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config_yaml.h"
#include "problems.h"

/*
 * The types of values a configuration has, and what can be done with a struct that a table of fields describes: read it
 * from YAML, write it back, compare it, free it. config.c holds the tables; nobody else needs this header.
 */

struct config_reader {
	const char *file; /* for messages */
	const char *home; /* what ~ stands for: an absolute path */
	struct problems *problems;
	bool no_memory;
};

struct config_type;

/* One key. What a type does not use stays zero. */
struct config_field {
	const char *key;
	const struct config_type *type;
	const char *about;   /* a sentence or two: for `homeport init` and for editors */
	const char *example; /* a value for `homeport init`, as it stands behind the key; of paths, several to choose
				from */
	const char *needed;  /* in a list's entry: completes "KEY: is missing; …"; NULL: may be left out */
	size_t offset;
	unsigned least, most;                   /* numbers */
	const char *(*check)(const char *text); /* texts: what is wrong, or NULL */
	const struct config_field *fields;      /* sections and lists: of what is inside */
	size_t item_size, count_offset;         /* lists */
	void (*prepare)(void *item);            /* lists: the defaults of a zeroed item; may be NULL */
	void (*finish)(struct config_reader *reader, const struct config_node *node, size_t index, bool sound,
		       void *item);      /* lists: after an item; sound: nothing was wrong in it */
	bool (*omit)(const void *whole); /* not written when true */
	bool live;                       /* a running session can change it: config_swap_live() */
};

/*
 * A type is one row of functions over the value at `at`. It serves four needs of one table of fields: a key that can be
 * read can be written and compared, because nobody wrote that twice.
 */
struct config_type {
	const char *expected;       /* completes "expected …" where the kind of node is wrong */
	enum config_node_kind kind; /* CONFIG_NODE_KINDS: more than one, the type looks itself */
	void (*read)(struct config_reader *reader, const struct config_field *field, const struct config_node *key,
		     void *at);
	bool (*is_set)(const struct config_field *field, const void *at);
	void (*write)(FILE *out, const struct config_field *field, const void *at, unsigned indent);
	bool (*equal)(const struct config_field *field, const void *a, const void *b);
	void (*free)(const struct config_field *field, void *at);
	/* The bytes at `at` were copied from another value: gives them memory of their own. 0, or -ENOMEM, and what
	 * found none is empty. NULL: the bytes are all there is. */
	int (*own)(const struct config_field *field, void *at);
};

/* Bytes of all variables together: a shell of the guest is given them on its command line. */
#define CONFIG_VARIABLES_BYTES 12288

/* A table ends with a field without key, and has no more than these. */
#define CONFIG_FIELDS_MAX 20

extern const struct config_type config_type_text;       /* char *, NULL when not written */
extern const struct config_type config_type_host_path;  /* struct config_path; ~ expanded, absolute */
extern const struct config_type config_type_guest_path; /* char *; absolute, not / */
extern const struct config_type config_type_bool;       /* bool */
extern const struct config_type config_type_flag;       /* bool, written only when true */
extern const struct config_type config_type_choice;     /* enum rule_choice */
extern const struct config_type config_type_proto;      /* enum rule_proto */
extern const struct config_type config_type_locks;      /* bool: true for "host" */
extern const struct config_type config_type_ownership;  /* bool: true for "virtual" */
extern const struct config_type config_type_clock;      /* bool: true for "step" */
extern const struct config_type config_type_access;     /* bool: true for "self" */
extern const struct config_type config_type_port;       /* unsigned, 0 when not written */
extern const struct config_type config_type_count;      /* unsigned, always written */
extern const struct config_type config_type_range;      /* struct rule_range, 0 and 0 when not written */
extern const struct config_type config_type_duration;   /* unsigned seconds, always written */
extern const struct config_type config_type_section;    /* a struct of its own */
extern const struct config_type config_type_list;       /* a pointer to structs, and a size_t count */
extern const struct config_type config_type_texts;      /* char **, and a size_t count */
extern const struct config_type config_type_command;    /* char **, and a size_t count: a program and its arguments */
extern const struct config_type config_type_variables;  /* char **, and a size_t count: "NAME=VALUE" */
extern const struct config_type config_type_hosts;      /* the same: "NAME=ADDRESS" */
extern const struct config_type config_type_not_yet;    /* no value: the key is known, what it asks for is not built */

/* Reads a mapping into the struct at `to`; what is wrong goes to the reader's problems and leaves its field as it was.
 */
void config_fields_read(struct config_reader *reader, const struct config_field *fields, const struct config_node *map,
			void *to);

/* Writes what is set as YAML, each line after `indent` spaces. */
void config_fields_write(FILE *out, const struct config_field *fields, const void *from, unsigned indent);

/* Writes one field's value alone, or "nothing" where it is not set. */
void config_field_write_value(FILE *out, const struct config_field *field, const void *from);

bool config_field_equal(const struct config_field *field, const void *a, const void *b);
bool config_fields_equal(const struct config_field *fields, const void *a, const void *b);

/* Frees what the struct at `of` holds, and zeroes those fields. */
void config_fields_free(const struct config_field *fields, void *of);

/* Gives the struct at `of`, which was copied byte by byte from another one, memory of its own. 0, or -ENOMEM, and it
 * can be freed in both cases. */
int config_fields_own(const struct config_field *fields, void *of);

/* The two words of a field whose type is a bool that is written as one of them. */
#define CONFIG_WORD_MAX 16
void config_words_of(const struct config_field *field, char no[CONFIG_WORD_MAX], char yes[CONFIG_WORD_MAX]);

/* Whether the text is a time such as 24h, 30m, 10s or 1h30m, from 1 to `most` seconds. */
bool config_duration_parse(const char *text, unsigned most, unsigned *out);

/*
 * A normal form of an absolute path: no doubled or trailing slash, no "." component; for `~` and `~/…` the home's.
 * Memory the caller frees in *out; or *wrong a sentence (static), -EINVAL; or -ENOMEM.
 */
int config_path_expand(const char *text, const char *home, char **out, const char **wrong);

/* The same for a path of the guest, where there is no ~ and / is refused. */
int config_path_guest(const char *text, char **out, const char **wrong);

/* ---- for the files that define types ---- */

/* Adds an error at a node: "KEY: sentence". */
void config_complain(struct config_reader *reader, const struct config_field *field, const struct config_node *node,
		     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* strdup that remembers failure in the reader. */
char *config_copy(struct config_reader *reader, const char *text);

/* The text of a scalar that is one to YAML and passes the field's check, or NULL after a complaint. */
const char *config_read_text(struct config_reader *reader, const struct config_field *field,
			     const struct config_node *node);

/* Equal, where NULL is equal to NULL alone. */
bool config_same_text(const char *a, const char *b);

bool config_text_is_set(const struct config_field *field, const void *at);
void config_text_write(FILE *out, const struct config_field *field, const void *at, unsigned indent);
bool config_text_equal(const struct config_field *field, const void *a, const void *b);
void config_text_free(const struct config_field *field, void *at);
int config_text_own(const struct config_field *field, void *at);
bool config_always_set(const struct config_field *field, const void *at);
void config_nothing_to_free(const struct config_field *field, void *at);

#endif
