/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "build_id.h"

/* A program of one part, its notes. */
struct program {
	Elf64_Ehdr elf;
	Elf64_Phdr part;
	Elf64_Nhdr first;
	char first_name[4], first_text[4];
	Elf64_Nhdr note;
	char name[4];
	uint8_t hash[20];
};

static const struct program sound = {
	.elf = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
		.e_phoff = offsetof(struct program, part),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1},
	.part = {.p_type = PT_NOTE,
		 .p_offset = offsetof(struct program, first),
		 .p_filesz = sizeof(struct program) - offsetof(struct program, first)},
	.first = {.n_namesz = 2, .n_descsz = 3, .n_type = NT_GNU_BUILD_ID},
	.first_name = "x",
	.note = {.n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID},
	.name = "GNU",
	.hash = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xff},
};

static int read_program(const struct program *program, size_t len, char id[BUILD_ID_SIZE])
{
	int fd = memfd_create("program", MFD_CLOEXEC), rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, program, len), (ssize_t)len);
	rc = build_id_read(fd, id);
	close(fd);
	return rc;
}

static void it_is_found_among_the_notes(void **state)
{
	char id[BUILD_ID_SIZE];

	(void)state;
	assert_int_equal(read_program(&sound, sizeof(sound), id), 0);
	assert_string_equal(id, "0123456789abcdef000102030405060708090aff");
}

static void every_program_cut_short_is_refused(void **state)
{
	char id[BUILD_ID_SIZE];

	(void)state;
	for (size_t len = 0; len < sizeof(sound); len++)
		assert_int_equal(read_program(&sound, len, id), -ENOEXEC);
}

static void what_is_no_program_of_this_kind_is_refused(void **state)
{
	struct program p = sound;
	char id[BUILD_ID_SIZE];

	(void)state;
	p.elf.e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(read_program(&p, sizeof(p), id), -ENOEXEC);
	p = sound;
	p.elf.e_ident[EI_DATA] = ELFDATA2MSB;
	assert_int_equal(read_program(&p, sizeof(p), id), -ENOEXEC);
	p = sound;
	p.elf.e_phnum = 1000;
	assert_int_equal(read_program(&p, sizeof(p), id), -ENOEXEC);
	p = sound;
	p.elf.e_phoff = UINT64_MAX - 1;
	assert_true(read_program(&p, sizeof(p), id) < 0);
}

static void notes_that_lie_about_their_size_lead_nowhere(void **state)
{
	struct program p = sound;
	char id[BUILD_ID_SIZE];

	(void)state;
	p.first.n_descsz = UINT32_MAX;
	assert_int_equal(read_program(&p, sizeof(p), id), -ENODATA);
	p = sound;
	p.first.n_namesz = UINT32_MAX - 2;
	assert_int_equal(read_program(&p, sizeof(p), id), -ENODATA);
	p = sound;
	p.note.n_descsz = 16;
	assert_int_equal(read_program(&p, sizeof(p), id), -ENODATA);
	p = sound;
	p.note.n_descsz = 24; /* beyond the end */
	assert_int_equal(read_program(&p, sizeof(p), id), -ENODATA);
	p = sound;
	p.part.p_filesz = 1 << 20;
	assert_int_equal(read_program(&p, sizeof(p), id), -ENODATA);
}

static void this_program_has_one(void **state)
{
	(void)state;
	assert_int_equal(strlen(build_id_own()), BUILD_ID_SIZE - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_found_among_the_notes),
		cmocka_unit_test(every_program_cut_short_is_refused),
		cmocka_unit_test(what_is_no_program_of_this_kind_is_refused),
		cmocka_unit_test(notes_that_lie_about_their_size_lead_nowhere),
		cmocka_unit_test(this_program_has_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
