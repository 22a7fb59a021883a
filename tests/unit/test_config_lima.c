/* SPDX-License-Identifier: MIT */
/* What Lima keeps of a VM, and what is made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_lima.h"

#define PLAIN "plain: true\n"

static char lines[4096]; /* of the last parse, one problem a line */

/* The configuration of three texts (NULL: there is no such file), or NULL; what was said is in `lines`. */
static struct config *parsed(const char *least, const char *text, const char *most, int *r)
{
	const struct lima_text texts[LIMA_FILES] = {
		[LIMA_DEFAULT] = {"d", least, least ? strlen(least) : 0},
		[LIMA_INSTANCE] = {"f", text, strlen(text)},
		[LIMA_OVERRIDE] = {"o", most, most ? strlen(most) : 0},
	};
	const struct lima_instance instance = {
		.name = "vm", .dir = "/home/me/.lima/vm", .home = "/home/me", .user = "me", .uid = 1000};
	struct problems *problems = problems_new();
	struct config *config = NULL;
	size_t n = 0;

	*r = config_lima_parse(texts, &instance, problems, &config);
	lines[0] = '\0';
	for (size_t i = 0; problems_line(problems, i) != NULL; i++)
		n += (size_t)snprintf(lines + n, sizeof(lines) - n, "%s\n", problems_line(problems, i));
	assert_int_equal(config != NULL, *r == 0);
	assert_int_equal(*r, problems_count(problems, PROBLEM_ERROR) > 0 ? -EINVAL : 0);
	problems_free(problems);
	return config;
}

static struct config *config_of_three(const char *least, const char *text, const char *most)
{
	int r;
	struct config *config = parsed(least, text, most, &r);

	if (config == NULL)
		fail_msg("%s", lines);
	return config;
}

static struct config *config_of(const char *text)
{
	return config_of_three(NULL, text, NULL);
}

static void assert_mount(const struct config *config, const char *point, const char *location, bool writable)
{
	const struct config_mount *mount = config_find_mount(config, point);

	if (mount == NULL)
		fail_msg("no mount at %s", point);
	assert_string_equal(mount->location.path, location);
	assert_int_equal(mount->writable, writable);
	assert_true(mount->mask);
}

static void the_default_template_is_its_two_mounts(void **state)
{
	struct config *config = config_of("vmType: null\n"
					  "images:\n"
					  "- location: \"https://example.org/a.img\"\n"
					  "  arch: x86_64\n"
					  "cpus: null\n"
					  "mounts:\n"
					  "- location: \"~\"\n"
					  "  mountPoint: null\n"
					  "  writable: null\n"
					  "  sshfs:\n"
					  "    cache: null\n"
					  "    followSymlinks: null\n"
					  "  9p:\n"
					  "    msize: null\n"
					  "- location: \"/tmp/lima\"\n"
					  "  writable: true\n"
					  "mountTypesUnsupported:\n"
					  "mountType: null\n"
					  "ssh:\n"
					  "  localPort: null\n"
					  "containerd:\n"
					  "  system: null\n"
					  "  user: null\n" PLAIN);

	assert_int_equal(config->mount_count, 2);
	assert_mount(config, "/home/me", "/home/me", false);
	assert_mount(config, "/tmp/lima", "/tmp/lima", true);
	assert_int_equal(config->forward_count, 0);
	assert_string_equal(config->ssh.host, "lima-vm");
	assert_string_equal(config->ssh.config_file.path, "/home/me/.lima/vm/ssh.config");
	assert_string_equal(lines, "f: warning: these keys are for Lima alone, and passed over: images\n");
	config_free(config);
}

static void without_mounts_nothing_is_mounted(void **state)
{
	static const char *const texts[] = {PLAIN, "mounts:\n" PLAIN, "mounts: []\n" PLAIN, "mounts: null\n" PLAIN};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct config *config = config_of(texts[i]);

		assert_int_equal(config->mount_count, 0);
		assert_false(config->default_mounts);
		assert_string_equal(lines, "");
		config_free(config);
	}
}

static void what_only_lima_uses_is_told_in_one_line(void **state)
{
	struct config *config = config_of("memory: 4GiB\n"
					  "provision: [{mode: system, script: \"apt\"}]\n"
					  "mounts:\n"
					  "- {location: /a, 9p: {msize: 1KiB}, sshfs: {cache: null}}\n"
					  "portForwards:\n"
					  "- {guestPort: 80, aKeyToCome: 1}\n"
					  "env: {}\n" PLAIN);

	assert_string_equal(lines, "f: warning: these keys are for Lima alone, and passed over: memory, provision, "
				   "mounts.9p, portForwards.aKeyToCome\n");
	assert_int_equal(config->mount_count, 1);
	assert_int_equal(config->forwards[0].guest_port, 80);
	config_free(config);
}

static void a_vm_that_lima_mounts_for_is_warned_of(void **state)
{
	static const char *const texts[] = {"", "plain: null\n", "plain: false\n"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		config_free(config_of(texts[i]));
		assert_non_null(strstr(lines, "f: warning: Lima mounts and forwards all of this itself"));
		assert_non_null(strstr(lines, "limactl edit --set '.plain = true' vm"));
	}
	config_free(config_of_three("plain: true\n", "plain: null\n", NULL));
	assert_string_equal(lines, "");
	config_free(config_of_three(NULL, PLAIN, "plain: false\n"));
	assert_string_not_equal(lines, "");
}

static void templates_become_what_they_stand_for(void **state)
{
	struct config *config =
		config_of("param: {where: deep}\n"
			  "user: {name: you, uid: 1234, home: \"/home/{{.User}}.linux\"}\n"
			  "mounts:\n"
			  "- {location: \"{{.Home}}/a\", mountPoint: \"{{ .Home }}/a\"}\n"
			  "- {location: \"{{.Dir}}/b\", mountPoint: \"/b/{{.Param.where}}\"}\n"
			  "- {location: \"{{.GlobalTempDir}}/c-{{.User}}-{{.UID}}\", mountPoint: \"/c\"}\n"
			  "- {location: /d, mountPoint: \"/d-{{.Name}}-{{.Hostname}}-{{.User}}-{{.UID}}\"}\n" PLAIN);

	assert_mount(config, "/home/you.linux/a", "/home/me/a", false);
	assert_mount(config, "/b/deep", "/home/me/.lima/vm/b", false);
	assert_mount(config, "/c", "/tmp/c-me-1000", false);
	assert_mount(config, "/d-vm-lima-vm-you-1234", "/d", false);
	assert_string_equal(lines, "");
	config_free(config);
}

static void what_is_not_known_is_left_out_and_told(void **state)
{
	struct config *config = config_of("mounts:\n"
					  "- {location: /a, mountPoint: \"{{.Home}}/a\"}\n"
					  "- location: /b\n"
					  "- {location: \"/c/{{.Param.none}}\"}\n"
					  "- {location: \"/d/{{.Home\"}\n"
					  "- {location: \"/e/{{if .Home}}\"}\n" PLAIN);

	assert_int_equal(config->mount_count, 1);
	assert_mount(config, "/b", "/b", false);
	assert_non_null(strstr(lines, "f:2:30: warning: what \"{{.Home}}/a\" stands for is not known here, so this"));
	assert_non_null(strstr(lines, "f:4:14: warning: what \"{{.Param.none}}\""));
	assert_non_null(strstr(lines, "f:5:14: warning: what \"{{.Home\""));
	assert_non_null(strstr(lines, "f:6:14: warning: what \"{{if .Home}}\""));
	config_free(config);
}

static void sockets_are_where_limas_own_would_be(void **state)
{
	struct config *config =
		config_of("portForwards:\n"
			  "- {guestSocket: \"/run/user/{{.UID}}/docker.sock\", hostSocket: docker.sock}\n"
			  "- {guestSocket: \"{{.Home}}/{{.Name}}\", hostSocket: \"{{.Dir}}/s\"}\n"
			  "- {guestSocket: /g, hostSocket: \"{{.Home}}/r\", reverse: true}\n" PLAIN);

	assert_string_equal(config->forwards[0].guest_socket, "/run/user/{{.UID}}/docker.sock");
	assert_string_equal(config->forwards[0].host_socket, "/home/me/.lima/vm/sock/docker.sock");
	assert_string_equal(config->forwards[1].guest_socket, "{{.Home}}/vm");
	assert_string_equal(config->forwards[1].host_socket, "/home/me/.lima/vm/s");
	assert_string_equal(config->forwards[2].host_socket, "/home/me/r");
	assert_true(config->forwards[2].reverse);
	config_free(config);
}

static void rules_are_in_limas_order_and_mounts_replaced_by_what_counts_more(void **state)
{
	struct config *config = config_of_three("mounts: [{location: \"~\"}, {location: /d}]\n"
						"portForwards: [{guestPort: 5}]\n",
						"mounts: [{location: /f}]\n"
						"portForwards: [{guestPort: 3}, {guestPort: 4, ignore: true}]\n" PLAIN,
						"mounts: [{location: \"~\", writable: true}]\n"
						"portForwards: [{guestPort: 1, hostIP: 0.0.0.0}, {guestPort: 2}]\n");

	assert_int_equal(config->mount_count, 3);
	assert_mount(config, "/home/me", "/home/me", true);
	assert_mount(config, "/d", "/d", false);
	assert_mount(config, "/f", "/f", false);
	assert_int_equal(config->forward_count, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(config->forwards[i].guest_port, i + 1);
	assert_string_equal(config->forwards[0].host_ip, "0.0.0.0");
	assert_true(config->forwards[3].ignore);
	config_free(config);
}

static void mistakes_have_their_file_line_and_column(void **state)
{
	static const struct {
		const char *text, *said;
	} mistakes[] = {
		{"mounts: here\n", "f:1:9: mounts: expected a list"},
		{"mounts: [here]\n", "f:1:10: mounts: expected an entry of keys with values"},
		{"mounts:\n- {location: here}\n", "f:2:14: location: \"here\" is not an absolute path"},
		{"mounts:\n- {writable: true}\n", "f:2:3: location: is missing"},
		{"mounts:\n- {location: /a, writable: flase}\n", "f:2:28: writable: "},
		{"mounts:\n- location: /a\n- location: /a\n",
		 "f:3:13: mountPoint: \"/a\" is taken by the mount in line 2"},
		{"portForwards:\n- {guestPort: 70000}\n", "f:2:15: guestPort: "},
		{"mounts: &anchor []\n", "f:1:9: "},
		{"- a\n", "f:1:1: expected keys"},
		{"a: [\n", "f:2:1: "},
	};

	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		int r;

		assert_null(parsed(NULL, mistakes[i].text, NULL, &r));
		if (strstr(lines, mistakes[i].said) == NULL)
			fail_msg("%s: %s", mistakes[i].text, lines);
	}
	{
		int r;

		assert_null(parsed("mounts: here\n", PLAIN, "portForwards: there\n", &r));
		assert_non_null(strstr(lines, "d:1:9: mounts: "));
		assert_non_null(strstr(lines, "o:1:15: portForwards: "));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_template_is_its_two_mounts),
		cmocka_unit_test(without_mounts_nothing_is_mounted),
		cmocka_unit_test(what_only_lima_uses_is_told_in_one_line),
		cmocka_unit_test(a_vm_that_lima_mounts_for_is_warned_of),
		cmocka_unit_test(templates_become_what_they_stand_for),
		cmocka_unit_test(what_is_not_known_is_left_out_and_told),
		cmocka_unit_test(sockets_are_where_limas_own_would_be),
		cmocka_unit_test(rules_are_in_limas_order_and_mounts_replaced_by_what_counts_more),
		cmocka_unit_test(mistakes_have_their_file_line_and_column),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
