/* SPDX-License-Identifier: MIT */
/* The ELF header leads to the program headers, one of them to the notes, one of those is the build id. */
#include "build_id.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHA1_SIZE   20
#define HEADERS_MAX 64
#define NOTES_MAX   4096

static int read_at(int fd, void *to, size_t len, uint64_t at)
{
	ssize_t n = pread(fd, to, len, (off_t)at);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -ENOEXEC;
}

/* A note's name and contents are each filled up to four bytes. */
static size_t filled(uint32_t size)
{
	return ((size_t)size + 3) & ~(size_t)3;
}

static bool notes_find(const uint8_t *notes, size_t len, char id[BUILD_ID_SIZE])
{
	Elf64_Nhdr note;

	for (size_t at = 0; at + sizeof(note) <= len;) {
		const uint8_t *name = notes + at + sizeof(note), *hash;

		memcpy(&note, notes + at, sizeof(note));
		at += sizeof(note) + filled(note.n_namesz) + filled(note.n_descsz);
		if (at > len)
			return false;
		hash = name + filled(note.n_namesz);
		if (note.n_type != NT_GNU_BUILD_ID || note.n_descsz != SHA1_SIZE || note.n_namesz != sizeof("GNU") ||
		    memcmp(name, "GNU", sizeof("GNU")) != 0)
			continue;
		for (size_t i = 0; i < SHA1_SIZE; i++)
			snprintf(id + 2 * i, 3, "%02x", hash[i]);
		return true;
	}
	return false;
}

int build_id_read(int fd, char id[BUILD_ID_SIZE])
{
	static const uint16_t one = 1;
	const uint8_t order = *(const uint8_t *)&one ? ELFDATA2LSB : ELFDATA2MSB;
	uint8_t notes[NOTES_MAX];
	Elf64_Ehdr elf;
	Elf64_Phdr part;
	int rc = read_at(fd, &elf, sizeof(elf), 0);

	if (rc < 0)
		return rc;
	if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_ident[EI_CLASS] != ELFCLASS64 ||
	    elf.e_ident[EI_DATA] != order || elf.e_phentsize != sizeof(part) || elf.e_phnum > HEADERS_MAX)
		return -ENOEXEC;
	for (unsigned i = 0; i < elf.e_phnum; i++) {
		rc = read_at(fd, &part, sizeof(part), elf.e_phoff + i * sizeof(part));
		if (rc < 0)
			return rc;
		if (part.p_type != PT_NOTE || part.p_filesz > sizeof(notes))
			continue;
		rc = read_at(fd, notes, part.p_filesz, part.p_offset);
		if (rc < 0)
			return rc;
		if (notes_find(notes, part.p_filesz, id))
			return 0;
	}
	return -ENODATA;
}

const char *build_id_own(void)
{
	static char id[BUILD_ID_SIZE];
	int fd;

	if (id[0])
		return id;
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || build_id_read(fd, id) < 0)
		id[0] = '\0';
	if (fd >= 0)
		close(fd);
	return id;
}
