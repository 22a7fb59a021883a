/* SPDX-License-Identifier: MIT */
/*
 * A listing as a server may say it, remembered, looked up in, doubted, forgotten. What must hold: each lookup that the
 * server counted for a listing that was taken is given back once; a name that is listed is found; one that is doubted
 * is neither found nor absent.
 *
 * Input: how many entries it says it has, flags (1 end, 2 folds), u16 length and that many bytes of entries, then names
 * that end with NUL: every other one is doubted before it is looked up.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dir_listing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t owed;

static void must(int holds)
{
	if (!holds)
		abort();
}

static void on_forget(void *ctx, uint16_t share, uint64_t server, uint64_t given)
{
	(void)ctx;
	(void)share;
	(void)server;
	owed -= (int64_t)given;
}

static void all_are_found(const struct listing *l)
{
	for (uint32_t i = 0; i < l->count; i++) {
		struct sftp_entry e = listing_entry(l, i);
		uint32_t index;

		owed += e.flags & NATIVE_ENTRY_NODE ? 1 : 0;
		must(listing_find(l, (const char *)e.name, e.name_len, &index));
	}
}

static void look_up(struct listing_memory *m, struct node *dir, struct wire_reader r)
{
	struct listing *l;
	uint32_t index;

	for (int doubt = 0; r.left; doubt = !doubt) {
		const char *name = (const char *)r.at;
		const uint8_t *end = memchr(r.at, '\0', r.left);
		enum listing_answer answer;

		if (!end)
			return;
		wire_get_bytes(&r, (size_t)(end - r.at) + 1);
		if (!sftp_name_valid((const uint8_t *)name, (size_t)(end - (const uint8_t *)name)))
			continue;
		if (doubt)
			listing_memory_doubt(m, dir, name);
		answer = listing_memory_look_up(m, dir, name, 0, &l, &index);
		must(!doubt || answer == LISTING_UNKNOWN);
		must(answer != LISTING_FOUND || l->slots[index].node);
		must(answer != LISTING_ABSENT || l->whole);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_reader r = wire_reader(data, size);
	struct listing_told told = {
		.count = wire_get_u8(&r), .generation = 1, .stamp = 1, .begins = true, .plus = true};
	uint8_t flags = wire_get_u8(&r);
	uint16_t len = wire_get_u16(&r);
	const uint8_t *entries = wire_get_bytes(&r, len);
	struct node_table *t = node_table_new(on_forget, NULL);
	struct node *root = node_add_root(t, 0, NULL, NULL);
	struct listing_memory memory;
	struct listing *l = NULL;

	owed = 0;
	told.end = flags & 1;
	told.folds = flags & 2;
	node_bind(t, root, NATIVE_ROOT);
	listing_memory_init(&memory, t);
	if (entries && listing_new(t, root, &told, wire_reader(entries, len), &l) == 0) {
		all_are_found(l);
		listing_memory_put(&memory, root, l);
		look_up(&memory, root, r);
		listing_unref(t, l);
	}
	listing_memory_clear(&memory);
	/* A server that calls an entry the root gets that lookup back with the pipe. */
	must(owed == (int64_t)root->given && node_table_count(t) == 1);
	node_table_free(t);
	return 0;
}
