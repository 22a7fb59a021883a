/* SPDX-License-Identifier: MIT */
/*
 * The one table of what is masked, and how a name in a folder is held against it.
 *
 * Each row is split into its folder and its last name; what leads there (.config of .config/gh) becomes a mask of its
 * own, MASK_FOLDER, or a guest could move the folder away and put its own in its place. So does the way to the home.
 *
 * A folder is looked up each time one of its names is met, so that it is known as soon as it appears, and whatever was
 * seen there stays known as long as the process lives: ~/.config renamed to ~/c still hides ~/c/gh.
 *
 * Where a name of the table, or a folder on its way, is a symlink at the start (dot files kept in a folder of their
 * own), what it leads to is masked where it really lies, and so is the way there.
 *
 * Where the environment has such a folder elsewhere, as $LIMA_HOME, what the table says of it holds there as well.
 *
 * What is not masked: another name (".ssh ", ".SSH"), a copy, and a hard link made elsewhere before (a mask is a name).
 */
#include "masks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEEN_MAX    8u /* identities kept of one folder */
#define FILTER_BITS 2048u
#define LINKS_MAX   40u /* as the kernel's */

static const struct {
	const char *path; /* below the home */
	enum mask mask;
} table[] = {
	/* Keys, tokens, passwords, sessions. */
	{".ssh", MASK_HIDDEN},
	{".gnupg", MASK_HIDDEN},
	{".aws", MASK_HIDDEN},
	{".azure", MASK_HIDDEN},
	{".kube", MASK_HIDDEN},
	{".oci", MASK_HIDDEN},
	{".netrc", MASK_HIDDEN},
	{".pgpass", MASK_HIDDEN},
	{".my.cnf", MASK_HIDDEN},
	{".git-credentials", MASK_HIDDEN},
	{".npmrc", MASK_HIDDEN},
	{".pypirc", MASK_HIDDEN},
	{".vault-token", MASK_HIDDEN},
	{".password-store", MASK_HIDDEN},
	{".pki", MASK_HIDDEN},
	{".Xauthority", MASK_HIDDEN},
	{".ICEauthority", MASK_HIDDEN},
	{".cargo/credentials", MASK_HIDDEN},
	{".cargo/credentials.toml", MASK_HIDDEN},
	{".docker/config.json", MASK_HIDDEN},
	{".gem/credentials", MASK_HIDDEN},
	{".m2/settings.xml", MASK_HIDDEN},
	{".terraform.d/credentials.tfrc.json", MASK_HIDDEN},
	{".config/gcloud", MASK_HIDDEN},
	{".config/gh", MASK_HIDDEN},
	{".config/git/credentials", MASK_HIDDEN},
	{".config/hub", MASK_HIDDEN},
	{".config/op", MASK_HIDDEN},
	{".config/rclone", MASK_HIDDEN},
	{".config/containers/auth.json", MASK_HIDDEN},
	{".config/sops", MASK_HIDDEN},
	{".lima/_config/user", MASK_HIDDEN},
	{".local/share/keyrings", MASK_HIDDEN},
	{".local/share/kwalletd", MASK_HIDDEN},
	/* Browsers and mail: cookies are passwords. */
	{".mozilla", MASK_HIDDEN},
	{".thunderbird", MASK_HIDDEN},
	{".config/google-chrome", MASK_HIDDEN},
	{".config/chromium", MASK_HIDDEN},
	{".config/BraveSoftware", MASK_HIDDEN},
	{".config/microsoft-edge", MASK_HIDDEN},
	{".config/Bitwarden", MASK_HIDDEN},
	/* What was typed. */
	{".bash_history", MASK_HIDDEN},
	{".zsh_history", MASK_HIDDEN},
	{".python_history", MASK_HIDDEN},
	{".psql_history", MASK_HIDDEN},
	{".mysql_history", MASK_HIDDEN},
	{".local/share/fish/fish_history", MASK_HIDDEN},
	/* What the host would execute, or let in. */
	{".ssh/authorized_keys", MASK_PROTECTED},
	{".ssh/authorized_keys2", MASK_PROTECTED},
	{".ssh/config", MASK_PROTECTED},
	{".ssh/environment", MASK_PROTECTED},
	{".ssh/rc", MASK_PROTECTED},
	{".profile", MASK_PROTECTED},
	{".login", MASK_PROTECTED},
	{".bashrc", MASK_PROTECTED},
	{".bash_profile", MASK_PROTECTED},
	{".bash_login", MASK_PROTECTED},
	{".bash_logout", MASK_PROTECTED},
	{".bash_aliases", MASK_PROTECTED},
	{".bash_completion", MASK_PROTECTED},
	{".zshrc", MASK_PROTECTED},
	{".zshenv", MASK_PROTECTED},
	{".zprofile", MASK_PROTECTED},
	{".zlogin", MASK_PROTECTED},
	{".zlogout", MASK_PROTECTED},
	{".cshrc", MASK_PROTECTED},
	{".tcshrc", MASK_PROTECTED},
	{".kshrc", MASK_PROTECTED},
	{".inputrc", MASK_PROTECTED},
	{".pam_environment", MASK_PROTECTED},
	{".xprofile", MASK_PROTECTED},
	{".xinitrc", MASK_PROTECTED},
	{".xsession", MASK_PROTECTED},
	{".xsessionrc", MASK_PROTECTED},
	{".forward", MASK_PROTECTED},
	{".gitconfig", MASK_PROTECTED},
	{".config/git", MASK_PROTECTED},
	{".vimrc", MASK_PROTECTED},
	{".vim", MASK_PROTECTED},
	{".config/nvim", MASK_PROTECTED},
	{".emacs", MASK_PROTECTED},
	{".emacs.d", MASK_PROTECTED},
	{".tmux.conf", MASK_PROTECTED},
	{".gdbinit", MASK_PROTECTED},
	{".config/autostart", MASK_PROTECTED},
	{".config/environment.d", MASK_PROTECTED},
	{".config/fish", MASK_PROTECTED},
	{".config/zsh", MASK_PROTECTED},
	{".oh-my-zsh", MASK_PROTECTED},
	{".config/homeport", MASK_PROTECTED},
	{".lima", MASK_PROTECTED},
	{".config/plasma-workspace", MASK_PROTECTED},
	{".config/systemd", MASK_PROTECTED},
	{".local/bin", MASK_PROTECTED},
	{"bin", MASK_PROTECTED}, /* Debian's and Fedora's profiles put it first in PATH */
	{".cargo/bin", MASK_PROTECTED},
	{".cargo/env", MASK_PROTECTED},
	{".selected_editor", MASK_PROTECTED},
	{".local/share/applications", MASK_PROTECTED},
	{".local/share/dbus-1", MASK_PROTECTED},
	{".local/share/systemd", MASK_PROTECTED},
};
#define TABLE_ROWS (sizeof(table) / sizeof(table[0]))

/* Folders of the table that may lie elsewhere. */
static const struct {
	const char *variable, *path;
} elsewhere[] = {
	{"LIMA_HOME", ".lima"},
	{"XDG_CONFIG_HOME", ".config"},
	{"XDG_DATA_HOME", ".local/share"},
};
#define ELSEWHERE_ROWS (sizeof(elsewhere) / sizeof(elsewhere[0]))

struct identity {
	uint64_t dev, ino;
};

struct folder {
	char *path; /* below the home, or absolute */
	struct identity seen[SEEN_MAX];
	unsigned count, next;
};

struct entry {
	size_t folder;
	char *name;
	enum mask mask;
};

struct masks {
	pthread_mutex_t lock; /* of what is seen of the folders; the rest never changes */
	int home_fd;
	struct folder *folders;
	size_t folder_count;
	struct entry *entries;
	size_t entry_count;
	uint64_t filter[FILTER_BITS / 64]; /* a bit a name */
};

/* ---- names ---- */

static unsigned name_hash(const char *name)
{
	uint32_t h = 0x811c9dc5;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x01000193;
	return (h ^ h >> 16) % FILTER_BITS;
}

bool masks_may_hold(const struct masks *m, const char *name)
{
	unsigned bit = name_hash(name);

	return m->filter[bit / 64] >> bit % 64 & 1;
}

/* ---- folders ---- */

static void folder_see(struct folder *f, const struct stat *st)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->seen[i].dev == st->st_dev && f->seen[i].ino == st->st_ino)
			return;
	f->seen[f->next] = (struct identity){st->st_dev, st->st_ino};
	f->next = (f->next + 1) % SEEN_MAX;
	if (f->count < SEEN_MAX)
		f->count++;
}

/* Symlinks on the way are followed: it is the real folder that is meant. */
static void folder_look(const struct masks *m, struct folder *f)
{
	struct stat st;

	if (fstatat(m->home_fd, f->path, &st, *f->path ? 0 : AT_EMPTY_PATH) == 0)
		folder_see(f, &st);
}

static bool folder_is(const struct folder *f, uint64_t dev, uint64_t ino)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->seen[i].dev == dev && f->seen[i].ino == ino)
			return true;
	return false;
}

static int folder_add(struct masks *m, char *path, size_t *index)
{
	struct folder *folders = reallocarray(m->folders, m->folder_count + 1, sizeof(*folders));

	if (!folders) {
		free(path);
		return -ENOMEM;
	}
	m->folders = folders;
	*index = m->folder_count++;
	m->folders[*index] = (struct folder){.path = path};
	folder_look(m, &m->folders[*index]);
	return 0;
}

static int folder_find(struct masks *m, const char *path, size_t len, size_t *index)
{
	char *copy;

	for (size_t i = 0; i < m->folder_count; i++) {
		const char *have = m->folders[i].path;

		if (strncmp(have, path, len) == 0 && !have[len]) {
			*index = i;
			return 0;
		}
	}
	copy = strndup(path, len);
	return copy ? folder_add(m, copy, index) : -ENOMEM;
}

/* ---- entries ---- */

static int entry_add(struct masks *m, size_t folder, const char *name, size_t len, enum mask mask)
{
	struct entry *entries;
	unsigned bit;
	char *copy;

	for (size_t i = 0; i < m->entry_count; i++)
		if (m->entries[i].folder == folder && m->entries[i].mask == mask &&
		    strncmp(m->entries[i].name, name, len) == 0 && !m->entries[i].name[len])
			return 0;
	copy = strndup(name, len);
	entries = copy ? reallocarray(m->entries, m->entry_count + 1, sizeof(*entries)) : NULL;
	if (!entries) {
		free(copy);
		return -ENOMEM;
	}
	bit = name_hash(copy);
	m->filter[bit / 64] |= 1ull << bit % 64;
	m->entries = entries;
	m->entries[m->entry_count++] = (struct entry){folder, copy, mask};
	return 0;
}

/* A row: its last name, and each folder on the way there. */
static int row_add(struct masks *m, const char *path, enum mask mask)
{
	const char *name = path;
	size_t folder;
	int r;

	for (;;) {
		const char *slash = strchr(name, '/');

		r = folder_find(m, path, name == path ? 0 : (size_t)(name - path - 1), &folder);
		if (r < 0)
			return r;
		r = entry_add(m, folder, name, slash ? (size_t)(slash - name) : strlen(name),
			      slash ? MASK_FOLDER : mask);
		if (r < 0 || !slash)
			return r;
		name = slash + 1;
	}
}

/* ---- where links lead ---- */

/* An absolute path on its way through links. `at`: walked so far, without links; "": the root. */
struct way {
	char at[PATH_MAX], left[2 * PATH_MAX];
	bool add; /* what is walked from here on is masked */
	unsigned links;
};

static int place_add(struct masks *m, const char *at, const char *name, enum mask mask)
{
	size_t folder;
	int r = folder_find(m, *at ? at : "/", *at ? strlen(at) : 1, &folder);

	return r < 0 ? r : entry_add(m, folder, name, strlen(name), mask);
}

/* One name. What is not there is walked over: it may come to be. */
static int way_step(struct masks *m, struct way *w, const char *name, enum mask mask)
{
	char target[PATH_MAX], left[sizeof(w->left)];
	size_t len = strlen(w->at);
	ssize_t n;
	int r;

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		w->at[len ? (size_t)(strrchr(w->at, '/') - w->at) : 0] = '\0';
		return 0;
	}
	r = w->add ? place_add(m, w->at, name, w->left[strspn(w->left, "/")] ? MASK_FOLDER : mask) : 0;
	if (r < 0)
		return r;
	if (snprintf(w->at + len, sizeof(w->at) - len, "/%s", name) >= (int)(sizeof(w->at) - len))
		return -ENAMETOOLONG;
	n = readlink(w->at, target, sizeof(target) - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	w->at[target[0] == '/' ? 0 : len] = '\0';
	w->add = true;
	if (++w->links > LINKS_MAX || snprintf(left, sizeof(left), "%s/%s", target, w->left) >= (int)sizeof(left))
		left[0] = '\0'; /* leads nowhere */
	memcpy(w->left, left, strlen(left) + 1);
	return 0;
}

/*
 * Masks the last name of an absolute path also where links lead it, and each link and folder on that way, or a client
 * could put its own in their place. `all`: the part before the first link as well.
 */
static int way_add(struct masks *m, const char *path, enum mask mask, bool all)
{
	struct way w = {.add = all};
	char name[NAME_MAX + 1];
	int r = strlen(path) < sizeof(w.left) ? 0 : -ENAMETOOLONG;

	if (r == 0)
		strcpy(w.left, path);
	while (r == 0) {
		size_t skip = strspn(w.left, "/"), len = strcspn(w.left + skip, "/");

		if (len == 0)
			break;
		if (len > NAME_MAX)
			return 0; /* cannot be there */
		memcpy(name, w.left + skip, len);
		name[len] = '\0';
		memmove(w.left, w.left + skip + len, strlen(w.left + skip + len) + 1);
		r = way_step(m, &w, name, mask);
	}
	return r;
}

static int target_add(struct masks *m, const char *home, const char *path, enum mask mask)
{
	char at[PATH_MAX];

	if (strlen(home) + strlen(path) + 2 > sizeof(at))
		return -ENAMETOOLONG;
	stpcpy(stpcpy(stpcpy(at, home), "/"), path);
	return way_add(m, at, mask, false);
}

/* What the row's folder is by the environment. A relative path is none, as for those who read these variables. */
static int elsewhere_add(struct masks *m, const char *path, enum mask mask)
{
	char at[PATH_MAX];
	int r = 0;

	for (size_t i = 0; i < ELSEWHERE_ROWS && r == 0; i++) {
		const char *folder = getenv(elsewhere[i].variable);
		size_t len = strlen(elsewhere[i].path);

		if (!folder || folder[0] != '/' || strncmp(path, elsewhere[i].path, len) != 0 ||
		    (path[len] != '/' && path[len]))
			continue;
		if (snprintf(at, sizeof(at), "%s%s", folder, path + len) >= (int)sizeof(at))
			return -ENAMETOOLONG;
		r = way_add(m, at, mask, true);
	}
	return r;
}

/* ---- what others call ---- */

int masks_new(const char *home, bool hide, struct masks **masks)
{
	struct masks *m = calloc(1, sizeof(*m));
	char real[PATH_MAX];
	int r;

	if (!m)
		return -ENOMEM;
	pthread_mutex_init(&m->lock, NULL);
	m->home_fd = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = m->home_fd < 0 || !realpath(home, real) ? -errno : way_add(m, real, MASK_FOLDER, true);
	for (size_t i = 0; r == 0 && i < TABLE_ROWS; i++) {
		if (table[i].mask == MASK_HIDDEN && !hide)
			continue;
		r = row_add(m, table[i].path, table[i].mask);
		if (r == 0)
			r = target_add(m, real, table[i].path, table[i].mask);
		if (r == 0)
			r = elsewhere_add(m, table[i].path, table[i].mask);
	}
	if (r < 0) {
		masks_free(m);
		return r;
	}
	*masks = m;
	return 0;
}

void masks_free(struct masks *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->folder_count; i++)
		free(m->folders[i].path);
	for (size_t i = 0; i < m->entry_count; i++)
		free(m->entries[i].name);
	free(m->folders);
	free(m->entries);
	if (m->home_fd >= 0)
		close(m->home_fd);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

enum mask masks_check(struct masks *m, uint64_t dev, uint64_t ino, const char *name)
{
	enum mask found = MASK_NONE;

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct entry *e = &m->entries[i];
		struct folder *f = &m->folders[e->folder];

		if (e->mask <= found || strcmp(e->name, name) != 0)
			continue;
		folder_look(m, f);
		if (folder_is(f, dev, ino))
			found = e->mask;
	}
	pthread_mutex_unlock(&m->lock);
	return found;
}
