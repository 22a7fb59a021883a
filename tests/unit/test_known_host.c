/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "known_host.h"

#define ED "ssh-ed25519"

/* Stands for HMAC-SHA1: "|h|NAME" is the hash of NAME. */
static bool fake_hash(const char *hashed, const char *name)
{
	return strncmp(hashed, "|h|", 3) == 0 && strcmp(hashed + 3, name) == 0;
}

static struct known_host_result scan(const char *name, unsigned port, const char *key, const char *text)
{
	struct known_host_query q = {name, port, ED, key, fake_hash};
	struct known_host_result r;

	known_host_begin(&r);
	known_host_scan(&q, "file", text, strlen(text), &r);
	return r;
}

static void a_key_is_known_changed_or_unknown(void **state)
{
	const char *text = "# comment\n\nother ssh-ed25519 AAAA\nguest ssh-ed25519 BBBB me@here\n";
	struct known_host_result r = scan("guest", 22, "BBBB", text);

	(void)state;
	assert_int_equal(r.verdict, KNOWN_HOST_OK);
	r = scan("guest", 22, "CCCC", text);
	assert_int_equal(r.verdict, KNOWN_HOST_CHANGED);
	assert_string_equal(r.path, "file");
	assert_int_equal(r.line, 4);
	assert_int_equal(scan("elsewhere", 22, "BBBB", text).verdict, KNOWN_HOST_UNKNOWN);
	assert_int_equal(scan("guest", 2222, "BBBB", text).verdict, KNOWN_HOST_UNKNOWN);
}

static void one_right_line_is_enough_beside_a_wrong_one(void **state)
{
	(void)state;
	assert_int_equal(scan("g", 22, "BB", "g ssh-ed25519 AA\ng ssh-ed25519 BB\n").verdict, KNOWN_HOST_OK);
	assert_int_equal(scan("g", 22, "BB", "g ssh-ed25519 BB\ng ssh-ed25519 AA\n").verdict, KNOWN_HOST_OK);
}

static void a_key_of_another_type_says_nothing_but_its_type(void **state)
{
	struct known_host_result r = scan("g", 22, "BB", "g ssh-rsa AA\ng ssh-rsa CC\ng ecdsa-sha2-nistp256 DD");

	(void)state;
	assert_int_equal(r.verdict, KNOWN_HOST_UNKNOWN);
	assert_int_equal(r.type_count, 2);
	assert_string_equal(r.types[0], "ssh-rsa");
	assert_string_equal(r.types[1], "ecdsa-sha2-nistp256");
}

static void a_port_that_is_not_22_is_part_of_the_name(void **state)
{
	(void)state;
	assert_int_equal(scan("Guest", 2222, "BB", "[guest]:2222 ssh-ed25519 BB").verdict, KNOWN_HOST_OK);
	assert_int_equal(scan("g", 22, "BB", "[g]:2222 ssh-ed25519 BB").verdict, KNOWN_HOST_UNKNOWN);
}

static void patterns_and_negations_count_as_in_ssh(void **state)
{
	(void)state;
	assert_int_equal(scan("a.example", 22, "B", "*.example ssh-ed25519 B").verdict, KNOWN_HOST_OK);
	assert_int_equal(scan("a.example", 22, "B", "?.e*e,x ssh-ed25519 B").verdict, KNOWN_HOST_OK);
	assert_int_equal(scan("a.example", 22, "B", "*.example,!a.* ssh-ed25519 B").verdict, KNOWN_HOST_UNKNOWN);
	assert_int_equal(scan("a.example", 22, "B", "!a.*,*.example ssh-ed25519 B").verdict, KNOWN_HOST_UNKNOWN);
	assert_int_equal(scan("aXexample", 22, "B", "a.example ssh-ed25519 B").verdict, KNOWN_HOST_UNKNOWN);
	assert_int_equal(scan("abcabd", 22, "B", "*abd ssh-ed25519 B").verdict, KNOWN_HOST_OK);
}

static void hashed_names_are_compared_by_their_hash(void **state)
{
	(void)state;
	assert_int_equal(scan("g", 22, "B", "|h|g ssh-ed25519 B").verdict, KNOWN_HOST_OK);
	assert_int_equal(scan("g", 22, "B", "|h|f ssh-ed25519 B").verdict, KNOWN_HOST_UNKNOWN);
	assert_int_equal(scan("g", 2222, "B", "|h|[g]:2222 ssh-ed25519 B").verdict, KNOWN_HOST_OK);
}

static void a_revoked_key_is_never_trusted(void **state)
{
	const char *after = "g ssh-ed25519 B\n@revoked * ssh-ed25519 B\n";
	const char *before = "@revoked * ssh-ed25519 B\ng ssh-ed25519 B\n";

	(void)state;
	assert_int_equal(scan("g", 22, "B", after).verdict, KNOWN_HOST_REVOKED);
	assert_int_equal(scan("g", 22, "B", after).line, 2);
	assert_int_equal(scan("g", 22, "B", before).verdict, KNOWN_HOST_REVOKED);
	assert_int_equal(scan("g", 22, "C", "@revoked * ssh-ed25519 B\n").verdict, KNOWN_HOST_UNKNOWN);
}

static void a_certificate_authority_is_no_host_key(void **state)
{
	(void)state;
	assert_int_equal(scan("g", 22, "B", "@cert-authority g ssh-ed25519 B").verdict, KNOWN_HOST_UNKNOWN);
}

static void broken_lines_are_passed_over(void **state)
{
	const char *text = "g\ng ssh-ed25519\n@revoked\n   \n\t\n|||| x y\n,,,!,! a b\ng ssh-ed25519 B\r\n";

	(void)state;
	assert_int_equal(scan("g", 22, "B", text).verdict, KNOWN_HOST_OK);
}

static void files_are_looked_through_and_the_bare_name_last(void **state)
{
	char a[] = "/tmp/known_host_a.XXXXXX", b[] = "/tmp/known_host_b.XXXXXX";
	char missing[] = "/nonexistent";
	char *paths[] = {missing, a, b};
	struct known_host_query q = {"g", 2222, ED, "B", fake_hash};
	struct known_host_result r;
	FILE *f;

	(void)state;
	f = fdopen(mkstemp(a), "w");
	fputs("g ssh-ed25519 B\n", f);
	fclose(f);
	f = fdopen(mkstemp(b), "w");
	fputs("[h]:2222 ssh-ed25519 C\n", f);
	fclose(f);
	known_host_check_files(&q, paths, 3, &r);
	assert_int_equal(r.verdict, KNOWN_HOST_OK);
	q.key = "X";
	known_host_check_files(&q, paths, 3, &r);
	assert_int_equal(r.verdict, KNOWN_HOST_UNKNOWN);
	q.name = "h";
	known_host_check_files(&q, paths, 3, &r);
	assert_int_equal(r.verdict, KNOWN_HOST_CHANGED);
	assert_string_equal(r.path, b);
	unlink(a);
	unlink(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_known_changed_or_unknown),
		cmocka_unit_test(one_right_line_is_enough_beside_a_wrong_one),
		cmocka_unit_test(a_key_of_another_type_says_nothing_but_its_type),
		cmocka_unit_test(a_port_that_is_not_22_is_part_of_the_name),
		cmocka_unit_test(patterns_and_negations_count_as_in_ssh),
		cmocka_unit_test(hashed_names_are_compared_by_their_hash),
		cmocka_unit_test(a_revoked_key_is_never_trusted),
		cmocka_unit_test(a_certificate_authority_is_no_host_key),
		cmocka_unit_test(broken_lines_are_passed_over),
		cmocka_unit_test(files_are_looked_through_and_the_bare_name_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
