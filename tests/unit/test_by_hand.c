/* SPDX-License-Identifier: MIT */
/* Changes by hand: applied to any configuration, forgotten where they are undone or configured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "by_hand.h"

static struct config *config_of(const char *text)
{
	struct problems *problems = problems_new();
	struct config *config = NULL;

	if (config_parse("dev.yaml", text, strlen(text), "/home/me", problems, &config) < 0)
		fail_msg("%s", problems_line(problems, 0));
	problems_free(problems);
	return config;
}

static const struct config_mount src = {
	.location = {.path = (char *)"/home/me/src"}, .mount_point = (char *)"/src", .mask = true};
static const struct rule_spec web = {
	.origin = "homeport forward 8080:80", .guest_port = 80, .host_port = 8080, .host_ip = "localhost"};
static const struct rule_spec hidden = {.origin = "x", .guest_ip = "::", .guest_port = 80, .ignore = true};

/* What becomes of a configuration, as text. */
static const char *applied(const struct by_hand *all, const char *text)
{
	static char shown[4096];
	struct config *config = config_of(text);
	FILE *out = fmemopen(shown, sizeof(shown), "w");

	shown[0] = '\0';
	assert_int_equal(by_hand_apply(all, config), 0);
	for (size_t i = 0; i < config->mount_count; i++)
		fprintf(out, "%s%s ", config->mounts[i].mount_point, config->mounts[i].by_hand ? "*" : "");
	for (size_t i = 0; i < config->forward_count; i++)
		fprintf(out, "%u%s%s ", config->forwards[i].guest_port, config->forwards[i].ignore ? "-" : "",
			config->forwards[i].by_hand ? "*" : "");
	fclose(out);
	config_free(config);
	return shown;
}

static void a_mount_is_taken_back_and_what_it_replaced_is_there_again(void **state)
{
	struct config_mount other = src;
	struct by_hand all, before;

	other.writable = true;
	by_hand_init(&all);
	assert_int_equal(by_hand_mount(&all, &src, "mount a"), 0);
	assert_int_equal(by_hand_rule(&all, &web, "forward"), 0);
	assert_int_equal(by_hand_clone(&all, &before), 0);
	assert_int_equal(by_hand_mount(&all, &other, "mount a:w"), 0);
	assert_int_equal(by_hand_take_back_mount(&all, "mount b", &before), 0);
	assert_int_equal(by_hand_take_back_mount(&all, "mount a:w", &before), 1);
	assert_int_equal(all.count, 2);
	assert_string_equal(TAILQ_FIRST(&all.list)->words, "forward");
	assert_string_equal(TAILQ_LAST(&all.list, by_hand_list)->words, "mount a");
	assert_false(TAILQ_LAST(&all.list, by_hand_list)->mount.writable);
	by_hand_clear(&before);
	assert_int_equal(by_hand_take_back_mount(&all, "mount a", &before), 1);
	assert_string_equal(applied(&all, "mounts: []\n"), "80* ");
	by_hand_clear(&all);
}

static void a_mount_is_added_and_the_default_one_stays(void **state)
{
	struct by_hand all;

	by_hand_init(&all);
	assert_int_equal(by_hand_mount(&all, &src, "mount a"), 0);
	assert_string_equal(applied(&all, ""), "/home/me /src* ");
	assert_string_equal(applied(&all, "mounts: []\n"), "/src* ");
	assert_string_equal(applied(&all, "mounts: [{location: /x, mountPoint: /src}]\n"), "/src* ");
	assert_int_equal(by_hand_umount(&all, "/src", "umount"), 0);
	assert_int_equal(all.count, 1);
	assert_string_equal(applied(&all, "mounts: [{location: /x, mountPoint: /src}, {location: /y}]\n"), "/y ");
	assert_int_equal(by_hand_umount(&all, "/home/me", "umount"), 0);
	assert_string_equal(applied(&all, ""), "");
	by_hand_clear(&all);
}

static void the_last_rule_stands_first_and_one_undoes_the_other(void **state)
{
	struct by_hand all, copy;
	struct rule_spec other = web;

	by_hand_init(&all);
	assert_int_equal(by_hand_rule(&all, &hidden, "unforward 80"), 0);
	assert_string_equal(applied(&all, "portForwards: [{guestPort: 1}]\n"), "/home/me 80-* 1 ");
	assert_int_equal(by_hand_rule(&all, &web, "forward"), 0);
	assert_string_equal(applied(&all, "portForwards: [{guestPort: 1}]\n"), "/home/me 80* 1 ");
	other.guest_port = 81;
	assert_int_equal(by_hand_rule(&all, &other, "forward"), 0); /* the same port of the host */
	assert_int_equal(all.count, 1);
	other.host_port = 8081;
	assert_int_equal(by_hand_rule(&all, &other, "forward"), 0);
	assert_int_equal(by_hand_clone(&all, &copy), 0);
	assert_int_equal(by_hand_forget_forward(&all, "127.0.0.1", (struct rule_range){8080, 8080}), 0);
	assert_int_equal(by_hand_forget_forward(&all, NULL, (struct rule_range){8080, 8080}), 1);
	assert_int_equal(all.count, 1);
	assert_int_equal(copy.count, 2);
	by_hand_clear(&all);
	by_hand_clear(&copy);
}

static void a_rule_of_the_configuration_is_dropped(void **state)
{
	static const struct rule_spec ssh = {.guest_port = 1, .host_port = 2};
	struct by_hand all;

	by_hand_init(&all);
	assert_int_equal(by_hand_drop_rule(&all, &ssh, "unforward 2"), 0);
	assert_string_equal(applied(&all, "portForwards: [{guestPort: 1}, {guestPort: 1, hostPort: 2}]\n"),
			    "/home/me 1 ");
	by_hand_clear(&all);
}

static void what_is_configured_by_itself_is_forgotten(void **state)
{
	struct config *none = config_of(""),
		      *all_of_it = config_of("mounts: [{location: ~/src, mountPoint: /src}]\nportForwards: "
					     "[{guestPort: 80, hostPort: 8080, hostIP: localhost}]\n");
	struct config *shadowed = config_of("portForwards: [{guestPort: 80, ignore: true}, {guestPort: 80, hostPort: "
					    "8080, hostIP: localhost}]\n");
	struct by_hand all;

	by_hand_init(&all);
	by_hand_mount(&all, &src, "mount");
	by_hand_rule(&all, &web, "forward");
	by_hand_prune(&all, none);
	assert_int_equal(all.count, 2);
	by_hand_prune(&all, shadowed);
	assert_int_equal(all.count, 2); /* another rule comes first there */
	by_hand_prune(&all, all_of_it);
	assert_int_equal(all.count, 0);
	by_hand_umount(&all, "/nowhere", "umount");
	by_hand_prune(&all, none);
	assert_int_equal(all.count, 0);
	by_hand_clear(&all);
	config_free(none);
	config_free(all_of_it);
	config_free(shadowed);
}

static void there_are_not_more_than_a_bound(void **state)
{
	struct rule_spec rule = web;
	struct by_hand all;

	by_hand_init(&all);
	for (unsigned i = 0; i < BY_HAND_MAX; i++) {
		rule.host_port = i + 1;
		assert_int_equal(by_hand_rule(&all, &rule, "forward"), 0);
	}
	rule.host_port++;
	assert_int_equal(by_hand_rule(&all, &rule, "forward"), -ENOSPC);
	by_hand_clear(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mount_is_taken_back_and_what_it_replaced_is_there_again),
		cmocka_unit_test(a_mount_is_added_and_the_default_one_stays),
		cmocka_unit_test(the_last_rule_stands_first_and_one_undoes_the_other),
		cmocka_unit_test(a_rule_of_the_configuration_is_dropped),
		cmocka_unit_test(what_is_configured_by_itself_is_forgotten),
		cmocka_unit_test(there_are_not_more_than_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
