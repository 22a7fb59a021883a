/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the reader of known_hosts, which other programs write. The first line of the input is the name looked for.
 * What must hold: a verdict that names a line names one that is there, and each type collected stands in the text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "known_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static bool fake_hash(const char *hashed, const char *name)
{
	return strlen(hashed) % 2 == strlen(name) % 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *end = size ? memchr(text, '\n', size) : NULL;
	struct known_host_query query = {.port = size % 3 ? 22 : 2222, .key_type = "ssh-ed25519", .key = "AAAA"};
	struct known_host_result result;
	size_t lines = 1;
	char name[128];

	if (!end || end - text >= (long)sizeof(name))
		return 0;
	memcpy(name, text, (size_t)(end - text));
	name[end - text] = '\0';
	query.name = name;
	query.hash_matches = fake_hash;
	size -= (size_t)(end + 1 - text);
	text = end + 1;
	known_host_begin(&result);
	known_host_scan(&query, "file", text, size, &result);
	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	must(result.verdict == KNOWN_HOST_UNKNOWN || (result.line >= 1 && result.line <= lines));
	must(result.type_count <= KNOWN_HOST_TYPES_MAX);
	for (size_t i = 0; i < result.type_count; i++)
		must(memmem(text, size, result.types[i], strlen(result.types[i])) != NULL);
	return 0;
}
