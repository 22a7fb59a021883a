/* SPDX-License-Identifier: MIT */
/*
 * masks: what a shared home does not show, and what even a writable one keeps as it is. One table, in masks.c.
 */
#ifndef HOMEPORT_MASKS_H
#define HOMEPORT_MASKS_H

#include <stdint.h>

enum mask {
	MASK_NONE,
	MASK_FOLDER,    /* holds others: may be made and entered, not renamed, replaced or linked */
	MASK_PROTECTED, /* is shown, it and what is below stays as it is (EACCES) */
	MASK_HIDDEN,    /* as if absent: ENOENT, not listed, EACCES to create */
};

struct masks;

/* For the home folder at `home`. -errno: it cannot be opened. */
int masks_new(const char *home, struct masks **masks);
void masks_free(struct masks *masks);

/* Of `name` in the folder with this device and inode, as they are now or were when they were seen before. */
enum mask masks_check(struct masks *masks, uint64_t dev, uint64_t ino, const char *name);

/* Might a name be masked somewhere? False lets the caller skip finding out which folder it stands in. */
int masks_may_hold(const char *name);

#endif
