/* SPDX-License-Identifier: MIT */
/* resolv.conf: which name servers it names, and that another file is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "name_servers.h"

/* "127.0.0.53:53 [::1]:53" */
static const char *shown(const struct name_servers *servers)
{
	static char all[NAME_SERVERS_MAX * SOCK_ADDRESS_TEXT_MAX];
	char text[SOCK_ADDRESS_TEXT_MAX];

	all[0] = '\0';
	for (size_t i = 0; i < servers->count; i++) {
		strcat(all, i ? " " : "");
		strcat(all, sock_address_text(text, &servers->at[i]));
	}
	return all;
}

static void those_that_the_text_names_are_asked_and_no_others(void **state)
{
	static const char *const rows[][2] = {
		{"", "127.0.0.1:53"},
		{"search example\noptions edns0\n", "127.0.0.1:53"},
		{"nameserver 10.0.0.1", "10.0.0.1:53"},
		{"# nameserver 1.1.1.1\n;nameserver 1.1.1.2\nnameserver\t10.0.0.1 # mine\r\n nameserver 10.0.0.2\n",
		 "10.0.0.1:53 10.0.0.2:53"},
		{"nameserver ::1\nnameserver 10.1\nnameserver\nnameserver name\nnameservers 1.2.3.4\nnameserver "
		 "9.9.9.9\n",
		 "[::1]:53 9.9.9.9:53"},
		{"nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4\n",
		 "1.0.0.1:53 1.0.0.2:53 1.0.0.3:53"},
	};
	struct name_servers servers;
	char longest[300];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		name_servers_parse(rows[i][0], strlen(rows[i][0]), &servers);
		assert_string_equal(shown(&servers), rows[i][1]);
	}
	name_servers_parse("nameserver fe80::1%lo\n", 22, &servers);
	assert_int_equal(servers.count, 1);
	assert_int_equal(servers.at[0].in6.sin6_scope_id, 1);
	memset(longest, ' ', sizeof(longest));
	memcpy(longest, "nameserver 10.0.0.1", 19);
	name_servers_parse(longest, sizeof(longest), &servers);
	assert_string_equal(shown(&servers), "127.0.0.1:53");
	name_servers_parse("nameserver \0 1.1.1.1\nnameserver 2.2.2.2", 39, &servers);
	assert_string_equal(shown(&servers), "2.2.2.2:53");
}

static void write_file(const char *path, const char *text)
{
	char fresh[80];
	FILE *file;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	file = fopen(fresh, "w");
	fputs(text, file);
	fclose(file);
	rename(fresh, path);
}

static void another_file_is_noticed_and_one_that_is_gone(void **state)
{
	char folder[] = "/tmp/name_servers.XXXXXX", path[64];
	struct name_servers_file file = {.path = path};

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/resolv.conf", folder);
	assert_true(name_servers_look(&file));
	assert_string_equal(shown(&file.servers), "127.0.0.1:53");
	assert_false(name_servers_look(&file));
	write_file(path, "nameserver 10.0.0.1\n");
	assert_true(name_servers_look(&file));
	assert_false(name_servers_look(&file));
	assert_string_equal(shown(&file.servers), "10.0.0.1:53");
	write_file(path, "nameserver 10.0.0.2\n");
	assert_true(name_servers_look(&file));
	assert_string_equal(shown(&file.servers), "10.0.0.2:53");
	unlink(path);
	assert_true(name_servers_look(&file));
	assert_string_equal(shown(&file.servers), "127.0.0.1:53");
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(those_that_the_text_names_are_asked_and_no_others),
		cmocka_unit_test(another_file_is_noticed_and_one_that_is_gone),
	};

	return cmocka_run_group_tests_name("name_servers", tests, NULL, NULL);
}
