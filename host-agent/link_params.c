/* SPDX-License-Identifier: MIT */
/* One block of memory: the struct, the list of options, then the strings. */
#include "link_params.h"

#include <stdlib.h>
#include <string.h>

#include "link.h"

static size_t text_size(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

/* Copies text to *end, moves *end, and returns where it went. */
static const char *text_copy(char **end, const char *text)
{
	char *to = *end;
	size_t size = text_size(text);

	if (!text)
		return NULL;
	memcpy(to, text, size);
	*end += size;
	return to;
}

struct link_params *link_params_copy(const struct link_params *p)
{
	const struct ssh_request *r = &p->ssh;
	struct link_params *copy;
	const char **options;
	size_t count = 0, size;
	char *end;

	size = text_size(r->destination) + text_size(r->config_file) + text_size(r->user) +
	       text_size(r->identity_file) + text_size(p->host_key) + text_size(p->command);
	while (r->options && r->options[count])
		size += text_size(r->options[count++]);
	copy = malloc(sizeof(*copy) + (count + 1) * sizeof(*options) + size);
	if (!copy)
		return NULL;
	options = (const char **)(copy + 1);
	end = (char *)(options + count + 1);
	*copy = (struct link_params){
		.ssh =
			{
				.destination = text_copy(&end, r->destination),
				.config_file = text_copy(&end, r->config_file),
				.port = r->port,
				.user = text_copy(&end, r->user),
				.identity_file = text_copy(&end, r->identity_file),
				.options = options,
			},
		.host_key = text_copy(&end, p->host_key),
		.command = text_copy(&end, p->command),
		.builds = p->builds,
	};
	for (size_t i = 0; i < count; i++)
		options[i] = text_copy(&end, r->options[i]);
	options[count] = NULL;
	return copy;
}

void link_params_free(struct link_params *params)
{
	free(params);
}
