/* SPDX-License-Identifier: MIT */
/*
 * build_id: which build a program is: the hash of all its code and data that the linker wrote into it
 * (-Wl,--build-id=sha1). Two builds of one version differ in it; a copy and a stripped copy do not.
 */
#ifndef HOMEPORT_BUILD_ID_H
#define HOMEPORT_BUILD_ID_H

#define BUILD_ID_SIZE 41 /* 40 hexadecimal digits and NUL */

/*
 * Reads it from an open program of this byte order, 64 bits (of any architecture); the descriptor's position does not
 * matter. 0, or -ENOEXEC (not such a program), -ENODATA (it has none), another negative errno.
 */
int build_id_read(int fd, char id[BUILD_ID_SIZE]);

/* Of the running program; "" when it cannot be told. */
const char *build_id_own(void);

#endif
