/* SPDX-License-Identifier: MIT */
/* lock_type: the types of struct sftp_lock as fcntl(2) has them, for both agents. */
#ifndef HOMEPORT_LOCK_TYPE_H
#define HOMEPORT_LOCK_TYPE_H

#include <fcntl.h>

#include "sftp_wire.h"

/* What is none of the three is no lock. */
static inline short lock_type_to_fcntl(uint8_t type)
{
	return type == NATIVE_LOCK_READ ? F_RDLCK : type == NATIVE_LOCK_WRITE ? F_WRLCK : F_UNLCK;
}

static inline uint8_t lock_type_of_fcntl(short type)
{
	return type == F_RDLCK ? NATIVE_LOCK_READ : type == F_WRLCK ? NATIVE_LOCK_WRITE : NATIVE_LOCK_NONE;
}

#endif
