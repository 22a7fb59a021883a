/* SPDX-License-Identifier: MIT */
/* heap: how malloc treats the memory that streams take and give back all the time. */
#ifndef HOMEPORT_HEAP_H
#define HOMEPORT_HEAP_H

/* Once, at the program's start, before there is a second thread. */
void heap_init(void);

#endif
