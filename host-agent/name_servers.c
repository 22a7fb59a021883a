/* SPDX-License-Identifier: MIT */
/* See name_servers.h. */
#include "name_servers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <net/if.h>

#define TEXT_MAX (64u << 10) /* what stands behind is not read */

/* An address, of IPv6 with its interface behind a %, as a name or a number. */
static bool parse_address(char *text, struct sock_address *out)
{
	char *scope = strchr(text, '%');
	unsigned char bytes[16];
	unsigned index = 0;

	if (inet_pton(AF_INET, text, bytes) == 1) {
		sock_address_ip(out, 4, bytes, 0, NAME_SERVERS_PORT);
		return true;
	}
	if (scope) {
		*scope++ = '\0';
		index = if_nametoindex(scope);
		index = index ? index : (unsigned)strtoul(scope, NULL, 10);
	}
	if (inet_pton(AF_INET6, text, bytes) != 1)
		return false;
	sock_address_ip(out, 6, bytes, index, NAME_SERVERS_PORT);
	return true;
}

static void parse_line(const char *line, size_t len, struct name_servers *out)
{
	char text[128], *word, *rest = NULL;

	if (len >= sizeof(text) || out->count == NAME_SERVERS_MAX)
		return;
	memcpy(text, line, len);
	text[len] = '\0';
	word = strtok_r(text, " \t\r", &rest);
	if (!word || strcmp(word, "nameserver") != 0)
		return;
	word = strtok_r(NULL, " \t\r", &rest);
	if (word && parse_address(word, &out->at[out->count]))
		out->count++;
}

void name_servers_parse(const char *text, size_t len, struct name_servers *out)
{
	static const unsigned char loopback[4] = {127, 0, 0, 1};

	*out = (struct name_servers){0};
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		parse_line(text, n, out);
		n += end != NULL;
		text += n;
		len -= n;
	}
	if (out->count == 0)
		sock_address_ip(&out->at[out->count++], 4, loopback, 0, NAME_SERVERS_PORT);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool name_servers_look(struct name_servers_file *file)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st = {0};
	ssize_t n = 0;
	char *text;

	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
		st = (struct stat){0};
	if (file->read && same_file(&st, &file->seen)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	text = malloc(TEXT_MAX);
	if (text && fd >= 0)
		n = read(fd, text, TEXT_MAX);
	if (fd >= 0)
		close(fd);
	name_servers_parse(text ? text : "", n > 0 ? (size_t)n : 0, &file->servers);
	file->read = text != NULL;
	file->seen = st;
	free(text);
	return true;
}
