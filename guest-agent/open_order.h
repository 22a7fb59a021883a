/* SPDX-License-Identifier: MIT */
/*
 * open_order: OPENs of one file that changes, one after the other. Runs on the loop's thread.
 *
 * Theory of operation
 *
 * An OPEN that finds a change has the kernel forget the attributes; the first read then asks for them (GETATTR), and
 * goes by the size in the answer. Were the kernel made to forget once more between that question and the moment in
 * which the reader takes the answer, it would take nothing of it (fs/fuse/inode.c, fuse_change_attributes():
 * attr_version), and the reader would go by the size of before the change, without an error. So a file that was opened
 * so is new until it is read, and meanwhile other OPENs that would have the kernel forget wait: for as long as there is
 * between open(2) and read(2), and OPEN_ORDER_US at most.
 */
#ifndef HOMEPORT_OPEN_ORDER_H
#define HOMEPORT_OPEN_ORDER_H

#include <stdbool.h>

struct call;
struct file;
struct mount;

/* -ENOMEM or 0. Ended in both cases, and after all calls. */
int open_order_init(struct mount *m);
void open_order_free(struct mount *m);

/* Whether the answer to the OPEN has to wait; open_reply() is then called again. */
bool open_order_wait(struct call *call);

/* The file is about to be answered with, after the kernel forgot; it was read, or goes (any file). */
void open_order_begin(struct file *f);
void open_order_done(struct file *f);

#endif
