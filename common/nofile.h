/* SPDX-License-Identifier: MIT */
/* nofile: room for descriptors. */
#ifndef HOMEPORT_NOFILE_H
#define HOMEPORT_NOFILE_H

/*
 * Raises the soft limit of descriptors to the hard one. The soft limit is 1024 for the sake of programs that use
 * select(2), which none of ours does; a thousand forwards take two thousand listeners.
 */
void nofile_raise(void);

#endif
