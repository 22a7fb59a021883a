/* SPDX-License-Identifier: MIT */
/* Paths of sockets: what templates stand for, where relative ones lie, and what is too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "socket_path.h"

static const struct socket_names names = {"/home/me", "me", 1000, "dev", "/run/user/1000/homeport/dev"};

static void templates_stand_for_names_and_relative_paths_lie_in_the_session_s_folder(void **state)
{
	static const char *const rows[][2] = {
		{"/run/docker.sock", "/run/docker.sock"},
		{"{{.Home}}/.docker/run.sock", "/home/me/.docker/run.sock"},
		{"/run/user/{{.UID}}/{{.User}}-{{.Name}}{{.UID}}", "/run/user/1000/me-dev1000"},
		{"{{.Dir}}/a", "/run/user/1000/homeport/dev/a"},
		{"docker.sock", "/run/user/1000/homeport/dev/sock/docker.sock"},
		{"{{.Name}}.sock", "/run/user/1000/homeport/dev/sock/dev.sock"},
		{"/{{/}}.Home{", "/{{/}}.Home{"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *path = socket_path_expand(rows[i][0], &names);

		assert_string_equal(path, rows[i][1]);
		assert_null(socket_path_fault(path));
		free(path);
	}
}

/* A guest says what its home is called: it is text, whatever it looks like. */
static void what_a_template_stands_for_is_not_looked_into_again(void **state)
{
	const struct socket_names odd = {"/{{.User}}", "{{.Home}}", 1, "{{.Dir}}", "/d"};
	char *path = socket_path_expand("{{.Home}}/{{.User}}/{{.Name}}", &odd);

	assert_string_equal(path, "/{{.User}}/{{.Home}}/{{.Dir}}");
	free(path);
}

static void a_path_no_socket_can_have_is_one_that_is_too_long(void **state)
{
	char path[SOCKET_PATH_MAX + 1];

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[SOCKET_PATH_MAX - 1] = '\0';
	assert_null(socket_path_fault(path));
	path[SOCKET_PATH_MAX - 1] = 'x';
	path[SOCKET_PATH_MAX] = '\0';
	assert_string_equal(socket_path_fault(path), "the path is longer than 107 bytes, which no socket's can be");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_stand_for_names_and_relative_paths_lie_in_the_session_s_folder),
		cmocka_unit_test(what_a_template_stands_for_is_not_looked_into_again),
		cmocka_unit_test(a_path_no_socket_can_have_is_one_that_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
