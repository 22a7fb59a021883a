/* SPDX-License-Identifier: MIT */
/*
 * replay: feeds a fuzz target the inputs of a folder, one after the other, without libFuzzer.
 *
 * Linked in place of libFuzzer's main, so that every test run replays the committed corpora under the sanitizers with
 * the ordinary compiler. A target without a single input fails: a corpus that was forgotten must not pass unseen.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* Inputs are copied to a block of exactly their size, so that reading past the end is seen. */
static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	long size;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
		goto fail;
	data = malloc(size ? (size_t)size : 1);
	if (!data || fread(data, 1, (size_t)size, f) != (size_t)size)
		goto fail;
	fclose(f);
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	return 0;
fail:
	fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
	free(data);
	if (f)
		fclose(f);
	return -1;
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	char path[4096];
	int inputs = 0;
	int n;

	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	n = scandir(argv[1], &entries, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
			if (replay_file(path) < 0)
				return 1;
			inputs++;
		}
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	if (!inputs) {
		fprintf(stderr, "replay: %s holds no input: every fuzz target brings a corpus\n", argv[1]);
		return 1;
	}
	printf("%d inputs\n", inputs);
	return 0;
}
