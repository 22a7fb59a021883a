/* SPDX-License-Identifier: MIT */
/* See listing.h. */
#include "listing.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define LISTING_BUFFER (32u << 10)

/* More of the folder into the listing, from `cookie` on. */
static int listing_fill(struct handle *h, uint64_t cookie)
{
	struct handle_listing *l = &h->listing;
	ssize_t n;

	if (!l->data) {
		l->data = malloc(LISTING_BUFFER);
		if (!l->data)
			return -ENOMEM;
		l->cookie = 0;
	}
	if (cookie != l->cookie && lseek(h->fd, (off_t)cookie, SEEK_SET) < 0)
		return -errno;
	n = getdents64(h->fd, l->data, LISTING_BUFFER);
	if (n < 0)
		return -errno;
	l->cookie = cookie;
	l->at = 0;
	l->len = (size_t)n;
	l->end = n == 0;
	return 0;
}

/* The entry that follows `cookie`; NULL at the end. */
int listing_next(struct handle *h, uint64_t cookie, const struct dirent64 **entry)
{
	struct handle_listing *l = &h->listing;
	int r = 0;

	if (!l->data || l->cookie != cookie || (l->at == l->len && !l->end))
		r = listing_fill(h, cookie);
	*entry = r == 0 && l->at < l->len ? (const struct dirent64 *)(const void *)(l->data + l->at) : NULL;
	return r;
}

void listing_take(struct handle *h, const struct dirent64 *entry)
{
	h->listing.at += entry->d_reclen;
	h->listing.cookie = (uint64_t)entry->d_off;
}
