/* SPDX-License-Identifier: MIT */
/* heap: how malloc treats the memory that streams take and give back all the time. */
#ifndef HOMEPORT_HEAP_H
#define HOMEPORT_HEAP_H

/* Once, at the program's start, before there is a second thread. */
void heap_init(void);

/*
 * Gives back to the kernel what malloc holds free, some MiB aside. For when many small objects have gone at once: glibc
 * by itself gives back no more than the heap's end. Takes the time of looking at all that is free.
 */
void heap_trim(void);

#endif
