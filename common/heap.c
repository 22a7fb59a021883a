/* SPDX-License-Identifier: MIT */
/*
 * glibc gives the heap's end back to the kernel as soon as 128 KiB of it are free, and maps each larger block anew. A
 * stream's queue grows and empties some thousand times a second, by more than that: each time its pages would be
 * unmapped, mapped, faulted in and cleared again, which costs more than moving the bytes. So some MiB are kept.
 */
#include "heap.h"

#include <malloc.h>

#define HEAP_KEEP (4 << 20) /* the largest of the blocks that come and go: an SFTP packet and what is around it */

void heap_trim(void)
{
	malloc_trim(HEAP_KEEP);
}

void heap_init(void)
{
	mallopt(M_TRIM_THRESHOLD, HEAP_KEEP);
	mallopt(M_MMAP_THRESHOLD, HEAP_KEEP);
}
