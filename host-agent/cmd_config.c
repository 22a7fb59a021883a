/* SPDX-License-Identifier: MIT */
/*
 * `homeport config` and `homeport init`. check reads one file, or each of the configuration folder, and prints every
 * problem; show prints what `up NAME` would make true, and a file's problems as check does; schema is for editors; init
 * writes a file to begin with. None starts anything.
 */
#include "cmd_config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_fields.h"
#include "config_file.h"
#include "config_json.h"
#include "config_template.h"
#include "desired.h"
#include "folders.h"
#include "new_file.h"
#include "options.h"

/* From this program's folder to where `make install` puts the schema: the Makefile's to say. */
#ifndef HOMEPORT_SCHEMA
#define HOMEPORT_SCHEMA "../share/homeport/homeport.schema.json"
#endif

enum { EXIT_DONE = 0, EXIT_WRONG = 2 };

/* Warnings alone are fine; the list is printed in both cases. */
static int finish(struct problems *problems)
{
	int status = problems_count(problems, PROBLEM_ERROR) > 0 ? EXIT_WRONG : EXIT_DONE;

	problems_print(problems, stderr);
	problems_free(problems);
	return status;
}

static int no_memory(void)
{
	fprintf(stderr, "homeport: config: %s\n", strerror(ENOMEM));
	return 1;
}

static int check_file(const char *path, const char *home)
{
	struct problems *problems = problems_new();

	if (problems == NULL)
		return no_memory();
	config_check(path, home, problems);
	if (problems_count(problems, PROBLEM_ERROR) == 0)
		printf("%s: fine\n", path);
	return finish(problems);
}

static int is_yaml(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".yaml") == 0;
}

static int check_folder(const char *folder, const char *home)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, is_yaml, alphasort), status = EXIT_DONE;

	if (count < 0 && errno != ENOENT) {
		fprintf(stderr, "homeport: %s: %s\n", folder, strerror(errno));
		return 1;
	}
	if (count <= 0)
		printf("%s: no configuration there\n", folder);
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX];

		entries[i]->d_name[strlen(entries[i]->d_name) - strlen(".yaml")] = '\0';
		if (config_file_path(folder, entries[i]->d_name, path) < 0 || check_file(path, home) != EXIT_DONE)
			status = EXIT_WRONG;
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return status;
}

static int check_lima(const struct options *options)
{
	struct problems *problems = problems_new();
	struct desired desired;

	if (problems == NULL)
		return no_memory();
	if (desired_make(options, problems, &desired) == 0) {
		config_check_paths(desired.config, problems);
		desired_clear(&desired);
	}
	if (problems_count(problems, PROBLEM_ERROR) == 0)
		printf("%s: fine\n", options->target);
	return finish(problems);
}

int cmd_config_check(const struct options *options)
{
	char home[PATH_MAX], folder[PATH_MAX], path[PATH_MAX];
	const char *file = options->target;

	if (options->lima && file != NULL)
		return check_lima(options);
	if (options->lima) {
		fprintf(stderr, "homeport: config check: --lima needs the name of a VM; limactl list has them\n");
		return EXIT_WRONG;
	}
	if (config_home(home) < 0 || config_folder(home, folder) < 0) {
		fprintf(stderr, "homeport: HOME: is not set to an absolute path\n");
		return EXIT_WRONG;
	}
	if (file == NULL)
		return check_folder(folder, home);
	/* A name is as good as a file, where there is no such file. */
	if (access(file, F_OK) < 0 && host_arg_check_name(file) == NULL && config_file_path(folder, file, path) == 0 &&
	    access(path, F_OK) == 0)
		file = path;
	return check_file(file, home);
}

int cmd_config_show(const struct options *options)
{
	struct problems *problems = problems_new();
	struct desired desired;

	if (problems == NULL)
		return no_memory();
	if (desired_make(options, problems, &desired) == 0) {
		const char *source = options->lima ? "Lima's files" : desired.file;

		printf("# %s: %s\n", desired.name, source != NULL ? source : "no file of this name, so a host");
		config_show(desired.config, stdout);
		desired_clear(&desired);
	}
	return finish(problems);
}

int cmd_config_schema(const struct options *options)
{
	return config_json_schema(stdout) < 0 ? no_memory() : EXIT_DONE;
}

/* ---- init ---- */

static bool file_exists(void *ctx, const char *path)
{
	const char *home = ctx, *wrong;
	char *whole;
	bool there;

	if (config_path_expand(path, home, &whole, &wrong) < 0)
		return false;
	there = access(whole, R_OK) == 0;
	free(whole);
	return there;
}

/* False where it is not there. */
static bool find_schema(char path[PATH_MAX])
{
	char program[PATH_MAX], beside[PATH_MAX + sizeof("/" HOMEPORT_SCHEMA)];
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (length < 0)
		return false;
	program[length] = '\0';
	*strrchr(program, '/') = '\0';
	snprintf(beside, sizeof(beside), "%s/%s", program, HOMEPORT_SCHEMA);
	return realpath(beside, path) != NULL;
}

static void print_template(FILE *out, const char *name, char *home)
{
	char schema[PATH_MAX];

	if (find_schema(schema))
		fprintf(out, "# yaml-language-server: $schema=%s\n", schema);
	config_template_write(out, name, file_exists, home);
}

/* A file of the name, for it alone to be changed: what is there already stays. */
static int write_template(const char *name, const char *folder, char *home)
{
	char path[PATH_MAX], *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int r = -ENOMEM;

	if (out != NULL) {
		print_template(out, name, home);
		r = fclose(out) == 0 ? config_file_path(folder, name, path) : -ENOMEM;
	}
	if (r == 0)
		r = folders_make(folder);
	if (r == 0)
		r = new_file_write(path, text, size);
	free(text);
	if (r == -EEXIST)
		fprintf(stderr, "homeport: init: %s is there already; it stays as it is\n", path);
	else if (r < 0)
		fprintf(stderr, "homeport: init: %s: %s\n", folder, strerror(-r));
	else
		printf("%s: written; change it, then `homeport up %s`\n", path, name);
	return r < 0 ? 1 : EXIT_DONE;
}

int cmd_init(const struct options *options)
{
	char home[PATH_MAX], folder[PATH_MAX];
	const char *name = options->target, *wrong = name != NULL ? host_arg_check_name(name) : NULL;

	if (wrong != NULL) {
		fprintf(stderr, "homeport: init: \"%.100s\" %s\n", name, wrong);
		return EXIT_WRONG;
	}
	if (config_home(home) < 0 || config_folder(home, folder) < 0) {
		fprintf(stderr, "homeport: HOME: is not set to an absolute path\n");
		return EXIT_WRONG;
	}
	if (name != NULL)
		return write_template(name, folder, home);
	print_template(stdout, "vm", home);
	return EXIT_DONE;
}
