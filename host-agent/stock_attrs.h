/* SPDX-License-Identifier: MIT */
/* stock_attrs: SFTP version 3's attributes and its lines as of `ls -l`. draft-ietf-secsh-filexfer-02, section 5. */
#ifndef HOMEPORT_STOCK_ATTRS_H
#define HOMEPORT_STOCK_ATTRS_H

#include "fsop.h"
#include "sftp_wire.h"

void stock_attrs_put(struct wire_buf *out, const struct sftp_attr *attr);

/* What a client wants set. The reader carries the error. */
void stock_attrs_get(struct wire_reader *r, struct fsop_set *set);

/* A line as `ls -l` writes it, as a string. Owners are numbers: the sandbox reads no user database. */
void stock_long_name_put(struct wire_buf *out, const char *name, const struct sftp_attr *attr);

#endif
