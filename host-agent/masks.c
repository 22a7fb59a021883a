/* SPDX-License-Identifier: MIT */
#include "masks.h"

#include <stddef.h>

void masks_free(struct masks *masks)
{
}
enum mask masks_check(struct masks *masks, uint64_t dev, uint64_t ino, const char *name)
{
	return MASK_NONE;
}
int masks_may_hold(const char *name)
{
	return 0;
}
