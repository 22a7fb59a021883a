/* SPDX-License-Identifier: MIT */
/*
 * Lima's YAML, made ours before the tables of config_schema.c read it.
 *
 * Lima's `mounts` and `portForwards` mean here what they mean there, so nothing but the tree is changed: what is null
 * is as if absent (Lima's templates write every default so), keys that only Lima has a use for are taken out and told
 * in one line, and templates become what they stand for. What a mistake is, and where, is said by the tables.
 *
 * The three files are put together as Lima does it: rules of the one that counts most come first, and a mount takes the
 * place of one before at the same mount point. A file without `mounts` has none: ~ is the default of Lima's templates,
 * which write it, and not Lima's.
 */
#include "config_lima.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config_yaml.h"

struct variable {
	const char *name;
	const char *value; /* NULL: it is not known here */
};

enum {
	VARIABLE_HOME,
	VARIABLE_USER,
	VARIABLE_UID,
	VARIABLE_NAME,
	VARIABLE_OTHER, /* what only one machine has, from here on */
	VARIABLES = VARIABLE_OTHER + 6,
};

/* One entry without a name ends each list. */
struct lima {
	const struct lima_instance *instance;
	struct problems *problems;
	const char *file; /* the one that is worked on */
	struct config_node *trees[LIMA_FILES];
	struct config_node *params[LIMA_FILES], *users[LIMA_FILES]; /* out of the trees: the keys, or NULL */
	struct variable host[VARIABLES], guest[VARIABLES], guest_socket[VARIABLES];
	char host_uid[16], hostname[80];
	char *limas_home, *guest_home; /* to be freed */
	bool plain;
	FILE *others; /* keys that are for Lima alone */
	char *others_text;
	size_t others_size;
	bool no_memory;
};

/* ---- trees ---- */

static bool is_null(const struct config_node *node)
{
	return node->kind == CONFIG_NODE_SCALAR && node->plain &&
	       (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcasecmp(node->text, "null") == 0);
}

/* Whether anything in it is set. */
static bool says_something(const struct config_node *node)
{
	if (node->kind == CONFIG_NODE_SCALAR)
		return !is_null(node);
	for (const struct config_node *child = node->children; child != NULL; child = child->next)
		if (says_something(node->kind == CONFIG_NODE_MAP ? child->value : child))
			return true;
	return false;
}

/* The value of a key that is a text of its own, or NULL. */
static const char *text_of(const struct config_node *map, const char *key)
{
	const struct config_node *node = map != NULL ? config_node_get(map, key) : NULL;

	return node != NULL && node->kind == CONFIG_NODE_SCALAR && !is_null(node) ? node->text : NULL;
}

/* Takes out the children that `keeps` does not want. */
static void prune(struct lima *lima, struct config_node *parent,
		  bool (*keeps)(struct lima *lima, struct config_node *child))
{
	struct config_node **at = &parent->children;

	parent->last = NULL;
	while (*at != NULL) {
		struct config_node *child = *at;

		if (keeps(lima, child)) {
			parent->last = child;
			at = &child->next;
			continue;
		}
		*at = child->next;
		child->next = NULL;
		config_node_free(child);
	}
}

/* Unlinks a key with its value, for the caller to free. NULL: it is not there. */
static struct config_node *take_key(struct config_node *map, const char *key)
{
	struct config_node **at = &map->children, *found;

	if (map->kind != CONFIG_NODE_MAP)
		return NULL;
	map->last = NULL;
	while (*at != NULL && strcmp((*at)->text, key) != 0) {
		map->last = *at;
		at = &(*at)->next;
	}
	found = *at;
	if (found == NULL)
		return NULL;
	*at = found->next;
	while (*at != NULL) {
		map->last = *at;
		at = &(*at)->next;
	}
	found->next = NULL;
	return found;
}

static bool is_among(const char *key, const char *const *keys)
{
	while (*keys != NULL && strcmp(*keys, key) != 0)
		keys++;
	return *keys != NULL;
}

/* Whether a key stays: one of `keys` that has a value. Others are for Lima alone. */
static bool keeps_key(struct lima *lima, const struct config_node *key, const char *section, const char *const *keys)
{
	bool ours = is_among(key->text, keys);

	if (!ours && says_something(key->value))
		fprintf(lima->others, "%s%s%s", ftell(lima->others) > 0 ? ", " : "", section, key->text);
	return ours && !is_null(key->value);
}

/* ---- templates ---- */

/* {{.Param.KEY}}: the file that counts most decides. */
static const char *find_param(const struct lima *lima, const char *key)
{
	for (size_t i = LIMA_FILES; i-- > 0;) {
		const char *text = text_of(lima->params[i] != NULL ? lima->params[i]->value : NULL, key);

		if (text != NULL)
			return text;
	}
	return NULL;
}

/* What "{{.Name}}" at `at` stands for, and how long it is. NULL: nobody knows. */
static const char *look_up(const struct lima *lima, const struct variable *variables, const char *at, size_t *length)
{
	const char *name = at + 2 + strspn(at + 2, " "), *end;
	char key[128];

	end = name + strcspn(name, " }");
	*length = (size_t)(end - at) + strspn(end, " ") + 2;
	if (name[0] != '.' || strncmp(end + strspn(end, " "), "}}", 2) != 0 || (size_t)(end - name) >= sizeof(key))
		return NULL;
	memcpy(key, name + 1, (size_t)(end - name) - 1);
	key[end - name - 1] = '\0';
	if (strncmp(key, "Param.", 6) == 0)
		return find_param(lima, key + 6);
	while (variables->name != NULL && strcmp(variables->name, key) != 0)
		variables++;
	return variables->value;
}

/* The text with its templates replaced, for the caller to free. NULL: no memory, or *unknown is where one is that is
 * not known. */
static char *expand(struct lima *lima, const struct variable *variables, const char *text, const char **unknown)
{
	char *expanded = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&expanded, &size);

	*unknown = NULL;
	while (out != NULL && *text != '\0' && *unknown == NULL) {
		size_t length = 1;
		const char *value = strncmp(text, "{{", 2) == 0 ? look_up(lima, variables, text, &length) : text;

		if (value == NULL)
			*unknown = text;
		else if (value == text)
			fputc(*text, out);
		else
			fputs(value, out);
		text += value != NULL ? length : 0;
	}
	if (out == NULL || fclose(out) != 0) {
		lima->no_memory = true;
	} else if (*unknown == NULL) {
		return expanded;
	}
	free(expanded);
	return NULL;
}

/* The same of a scalar, in its place. False: what is not known was told, or there is no memory. */
static bool expand_node(struct lima *lima, const struct variable *variables, struct config_node *node)
{
	const char *unknown;
	char *text;

	if (node == NULL || node->kind != CONFIG_NODE_SCALAR || strstr(node->text, "{{") == NULL)
		return true;
	text = expand(lima, variables, node->text, &unknown);
	if (text == NULL) {
		if (unknown != NULL)
			problems_add(
				lima->problems, PROBLEM_WARNING,
				(struct problem_place){lima->file, node->line, node->column},
				"what \"%.60s\" stands for is not known here, so this entry is left out; `homeport "
				"mount` and `homeport forward` add by hand what it asks for",
				unknown);
		return false;
	}
	free(node->text);
	node->text = text;
	return true;
}

/* ---- mounts ---- */

static struct config_node *value_of(struct config_node *map, const char *key)
{
	for (struct config_node *child = map->children; child != NULL; child = child->next)
		if (strcmp(child->text, key) == 0)
			return child->value;
	return NULL;
}

static bool keeps_mount_key(struct lima *lima, struct config_node *key)
{
	static const char *const ours[] = {"location", "mountPoint", "writable", NULL};

	return keeps_key(lima, key, "mounts.", ours);
}

static bool keeps_mount(struct lima *lima, struct config_node *entry)
{
	if (entry->kind != CONFIG_NODE_MAP)
		return true;
	prune(lima, entry, keeps_mount_key);
	return expand_node(lima, lima->host, value_of(entry, "location")) &&
	       expand_node(lima, lima->guest, value_of(entry, "mountPoint"));
}

/* ---- port rules ---- */

static bool keeps_forward_key(struct lima *lima, struct config_node *key)
{
	static const char *const ours[] = {
		"proto",          "guestIPMustBeZero",
		"guestIP",        "guestPort",
		"guestPortRange", "guestSocket",
		"hostIP",         "hostPort",
		"hostSocket",     "hostPortRange",
		"reverse",        "ignore",
		"static",         NULL,
	};

	return keeps_key(lima, key, "portForwards.", ours);
}

/* Where Lima's own would be: whoever uses the VM looks there. */
static void place_socket(struct lima *lima, struct config_node *node)
{
	char *path;

	if (node == NULL || node->kind != CONFIG_NODE_SCALAR || node->text[0] == '/')
		return;
	if (asprintf(&path, "%s/sock/%s", lima->instance->dir, node->text) < 0) {
		lima->no_memory = true;
		return;
	}
	free(node->text);
	node->text = path;
}

static bool keeps_forward(struct lima *lima, struct config_node *entry)
{
	if (entry->kind != CONFIG_NODE_MAP)
		return true;
	prune(lima, entry, keeps_forward_key);
	if (!expand_node(lima, lima->guest_socket, value_of(entry, "guestSocket")) ||
	    !expand_node(lima, lima->host, value_of(entry, "hostSocket")))
		return false;
	place_socket(lima, value_of(entry, "hostSocket"));
	return true;
}

/* ---- a file ---- */

static bool keeps_top_key(struct lima *lima, struct config_node *key)
{
	static const char *const ours[] = {"mounts", "portForwards", NULL};
	/* Their meaning is taken from elsewhere: of ssh from ssh.config. */
	static const char *const known[] = {"plain", "mountType", "ssh", NULL};

	if (is_among(key->text, known) || !keeps_key(lima, key, "", ours))
		return false;
	if (key->value->kind == CONFIG_NODE_LIST)
		prune(lima, key->value, strcmp(key->text, "mounts") == 0 ? keeps_mount : keeps_forward);
	return true;
}

static int others_begin(struct lima *lima)
{
	lima->others = open_memstream(&lima->others_text, &lima->others_size);
	return lima->others != NULL ? 0 : -ENOMEM;
}

static void others_end(struct lima *lima)
{
	if (fclose(lima->others) != 0)
		lima->no_memory = true;
	else if (lima->others_size > 0)
		problems_add(lima->problems, PROBLEM_WARNING, (struct problem_place){.file = lima->file},
			     "these keys are for Lima alone, and passed over: %s", lima->others_text);
	free(lima->others_text);
	lima->others_text = NULL;
}

static int translate(struct lima *lima, enum lima_file which, const struct lima_text *text, struct config **out)
{
	struct config_node *tree = lima->trees[which];

	lima->file = text->file;
	if (tree != NULL && tree->kind == CONFIG_NODE_MAP) {
		if (others_begin(lima) < 0)
			return -ENOMEM;
		prune(lima, tree, keeps_top_key);
		others_end(lima);
	}
	return lima->no_memory ? -ENOMEM
			       : config_parse_tree(text->file, tree, lima->instance->home, lima->problems, out);
}

/* ---- all three ---- */

/* What more than one entry needs. */
static int gather(struct lima *lima)
{
	const struct lima_instance *instance = lima->instance;
	const char *user = instance->user, *uid, *home = NULL, *unknown;

	snprintf(lima->host_uid, sizeof(lima->host_uid), "%u", instance->uid);
	snprintf(lima->hostname, sizeof(lima->hostname), "lima-%s", instance->name);
	if (asprintf(&lima->limas_home, "%.*s", (int)(strrchr(instance->dir, '/') - instance->dir), instance->dir) <
	    0) {
		lima->limas_home = NULL;
		return -ENOMEM;
	}
	uid = lima->host_uid;
	for (size_t i = 0; i < LIMA_FILES; i++) {
		const struct config_node *tree = lima->trees[i];
		const struct config_node *whose = lima->users[i] != NULL ? lima->users[i]->value : NULL;
		const char *plain = tree != NULL ? text_of(tree, "plain") : NULL;

		lima->plain = plain != NULL ? strcmp(plain, "true") == 0 : lima->plain;
		user = text_of(whose, "name") ? text_of(whose, "name") : user;
		uid = text_of(whose, "uid") ? text_of(whose, "uid") : uid;
		home = text_of(whose, "home") ? text_of(whose, "home") : home;
	}
	memcpy(lima->host,
	       (struct variable[]){{"Home", instance->home},
				   {"User", instance->user},
				   {"UID", lima->host_uid},
				   {"Name", instance->name},
				   {"Dir", instance->dir},
				   {"GlobalTempDir", "/tmp"},
				   {"Instance", instance->name},
				   {"LimaHome", lima->limas_home}},
	       8 * sizeof(struct variable));
	memcpy(lima->guest,
	       (struct variable[]){{"Home", NULL},
				   {"User", user},
				   {"UID", uid},
				   {"Name", instance->name},
				   {"Hostname", lima->hostname}},
	       5 * sizeof(struct variable));
	/* These the agent asks the guest for. */
	memcpy(lima->guest_socket, lima->guest, sizeof(lima->guest));
	lima->guest_socket[VARIABLE_HOME].value = "{{.Home}}";
	lima->guest_socket[VARIABLE_USER].value = "{{.User}}";
	lima->guest_socket[VARIABLE_UID].value = "{{.UID}}";
	if (home != NULL)
		lima->guest_home = expand(lima, lima->guest, home, &unknown);
	lima->guest[VARIABLE_HOME].value = lima->guest_home;
	return lima->no_memory ? -ENOMEM : 0;
}

/* Moves what `from` has into `to`, before which it counts. */
static int merge(struct lima *lima, struct config *to, struct config *from)
{
	int r = 0;

	for (size_t i = 0; i < from->mount_count && r == 0; i++) {
		struct config_mount mount;

		r = config_mount_clone(&from->mounts[i], &mount);
		if (r == 0)
			r = config_add_mount(to, &mount);
	}
	for (size_t i = from->forward_count; i-- > 0 && r == 0;) {
		struct rule_spec spec;

		r = config_forward_clone(&from->forwards[i], &spec);
		if (r == 0)
			r = config_put_forwards_first(to, &spec, 1);
	}
	if (r != -ENOSPC)
		return r;
	problems_add(lima->problems, PROBLEM_ERROR, (struct problem_place){.file = lima->file},
		     "with Lima's other files there are more than %u mounts or %d rules", CONFIG_MOUNTS_MAX, RULES_MAX);
	return -EINVAL;
}

static int set_ssh(const struct lima_instance *instance, struct config *config)
{
	struct config_path *file = &config->ssh.config_file;

	if (asprintf(&config->ssh.host, "lima-%s", instance->name) < 0)
		config->ssh.host = NULL;
	if (asprintf(&file->path, "%s/ssh.config", instance->dir) < 0)
		file->path = NULL;
	file->where = strdup("homeport: --lima");
	return config->ssh.host != NULL && file->path != NULL && file->where != NULL ? 0 : -ENOMEM;
}

static void warn_of_lima(const struct lima *lima, const char *file)
{
	const char *name = lima->instance->name;

	if (!lima->plain)
		problems_add(lima->problems, PROBLEM_WARNING, (struct problem_place){.file = file},
			     "Lima mounts and forwards all of this itself, so that homeport finds it taken; to leave "
			     "both to homeport: limactl stop %s && limactl edit --set '.plain = true' %s && "
			     "limactl start %s",
			     name, name, name);
}

static int read_trees(struct lima *lima, const struct lima_text texts[LIMA_FILES])
{
	int result = 0;

	for (size_t i = 0; i < LIMA_FILES; i++) {
		int r = 0;

		if (texts[i].text != NULL)
			r = config_yaml_read(texts[i].file, texts[i].text, texts[i].size, lima->problems,
					     &lima->trees[i]);
		result = r < 0 ? r : result;
		if (lima->trees[i] == NULL)
			continue;
		lima->params[i] = take_key(lima->trees[i], "param");
		lima->users[i] = take_key(lima->trees[i], "user");
	}
	return result;
}

static int translate_all(struct lima *lima, const struct lima_text texts[LIMA_FILES], struct config *whole)
{
	int result = 0;

	for (size_t i = 0; i < LIMA_FILES; i++) {
		struct config *one = NULL;
		int r = 0;

		if (texts[i].text != NULL)
			r = translate(lima, (enum lima_file)i, &texts[i], &one);
		if (r == 0 && one != NULL)
			r = merge(lima, whole, one);
		config_free(one);
		result = r < 0 ? r : result;
	}
	return result;
}

int config_lima_parse(const struct lima_text texts[LIMA_FILES], const struct lima_instance *instance,
		      struct problems *problems, struct config **out)
{
	struct lima lima = {.instance = instance, .problems = problems};
	struct config *whole = NULL;
	int r = read_trees(&lima, texts);

	if (r == 0)
		r = gather(&lima);
	if (r == 0)
		r = config_parse_tree(texts[LIMA_INSTANCE].file, NULL, instance->home, problems, &whole);
	if (r == 0)
		r = set_ssh(instance, whole);
	if (r == 0)
		r = translate_all(&lima, texts, whole);
	if (r == 0) {
		warn_of_lima(&lima, texts[LIMA_INSTANCE].file);
		*out = whole;
		whole = NULL;
	}
	config_free(whole);
	for (size_t i = 0; i < LIMA_FILES; i++) {
		config_node_free(lima.trees[i]);
		config_node_free(lima.params[i]);
		config_node_free(lima.users[i]);
	}
	free(lima.limas_home);
	free(lima.guest_home);
	return r;
}
