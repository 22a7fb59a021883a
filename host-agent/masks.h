/* SPDX-License-Identifier: MIT */
/*
 * masks: what a shared home does not show, and what even a writable one keeps as it is. One table, in masks.c.
 *
 * A mask is a name in a folder, and the folder is known by its device and inode: reached by another path, through a
 * symlink, or after it was renamed, it is the same folder. Any thread may ask.
 */
#ifndef HOMEPORT_MASKS_H
#define HOMEPORT_MASKS_H

#include <stdbool.h>
#include <stdint.h>

enum mask {
	MASK_NONE,
	MASK_FOLDER,    /* leads to others: may be made and entered; not renamed, replaced, linked */
	MASK_PROTECTED, /* is shown; it and what is below stays as it is (EACCES) */
	MASK_HIDDEN,    /* as if absent: ENOENT, not listed, EACCES to create */
};

struct masks;

/* For a home folder, and what the environment has of it elsewhere. `hide`: secrets too, else only what is protected.
 * -ENOENT: there is no such folder; -ENOMEM ... */
int masks_new(const char *home, bool hide, struct masks **masks);
void masks_free(struct masks *masks);

/* Is this name masked in some folder? False spares the caller finding out which folder it stands in. */
bool masks_may_hold(const struct masks *masks, const char *name);

/* Of `name` in the folder with this device (st_dev) and inode. */
enum mask masks_check(struct masks *masks, uint64_t dev, uint64_t ino, const char *name);

#endif
