/* SPDX-License-Identifier: MIT */
/* Groups mounts by their mount points. See mount_plan.h. Mount points are in normal form: config saw to that. */
#include "mount_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

/* What of `path` lies below `above`, without a leading slash; NULL when it does not lie there. "" when it is the same.
 */
static const char *path_below(const char *path, const char *above)
{
	size_t len = strlen(above);

	if (!strcmp(above, "/"))
		return path + 1;
	if (strncmp(path, above, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path[len] ? path + len + 1 : path + len;
}

char *mount_plan_path(const char *target, const char *point)
{
	size_t len = strlen(target), more = strlen(point);
	char *path = malloc(len + more + 2);

	if (!path)
		return NULL;
	memcpy(path, target, len + 1);
	if (more) {
		if (path[len - 1] != '/')
			path[len++] = '/';
		memcpy(path + len, point, more + 1);
	}
	return path;
}

bool mount_plan_within(const char *path, const char *above)
{
	return path_below(path, above);
}

bool mount_plan_overlap(const char *a, const char *b)
{
	return path_below(a, b) || path_below(b, a);
}

/* By mount point: one above stands before those below it, since it is their beginning. */
static int by_mount_point(const void *a, const void *b)
{
	const struct config_mount *const *x = a, *const *y = b;

	return strcmp((*x)->mount_point, (*y)->mount_point);
}

/* What the configuration has was checked when it was read. */
static void fill_map(struct id_map *map, const struct id_range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++)
		(void)id_map_add(map, &ranges[i]);
}

static int add_share(struct planned_mount *mount, const char *point, const struct config_mount *source)
{
	struct planned_share *grown = reallocarray(mount->shares, mount->share_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	mount->shares = grown;
	grown += mount->share_count;
	*grown = (struct planned_share){.point = strdup(point), .source = source};
	fill_map(&grown->uids, source->uid_map, source->uid_map_count);
	fill_map(&grown->gids, source->gid_map, source->gid_map_count);
	if (!grown->point)
		return -ENOMEM;
	mount->share_count++;
	mount->host_locks |= source->host_locks;
	mount->acl |= source->acl;
	return 0;
}

/* The mount that takes in this one's mount point, which lies below it: sorting by bytes lets others stand in between
 * ("/a", "/a-b",
 * "/a/c"), so all are looked at. */
static struct planned_mount *mount_above(struct mount_plan *plan, const char *mount_point)
{
	for (size_t i = 0; i < plan->count; i++)
		if (!plan->mounts[i].alone && path_below(mount_point, plan->mounts[i].target))
			return &plan->mounts[i];
	return NULL;
}

static int add_mount(struct mount_plan *plan, const struct config_mount *source, bool alone)
{
	struct planned_mount *above = mount_above(plan, source->mount_point);
	struct planned_mount *fresh = &plan->mounts[plan->count];

	if (above)
		return add_share(above, path_below(source->mount_point, above->target), source);
	*fresh = (struct planned_mount){.target = strdup(source->mount_point), .alone = alone};
	plan->count++;
	if (!fresh->target)
		return -ENOMEM;
	return add_share(fresh, "", source);
}

int mount_plan_make(struct mount_plan *plan, const struct config *config, mount_plan_alone *alone, const void *ctx)
{
	const struct config_mount **sorted = calloc(config->mount_count + 1, sizeof(*sorted));
	int rc = 0;

	*plan = (struct mount_plan){.mounts = calloc(config->mount_count + 1, sizeof(*plan->mounts))};
	if (!sorted || !plan->mounts) {
		free(sorted);
		mount_plan_clear(plan);
		return -ENOMEM;
	}
	for (size_t i = 0; i < config->mount_count; i++)
		sorted[i] = &config->mounts[i];
	qsort(sorted, config->mount_count, sizeof(*sorted), by_mount_point);
	for (size_t i = 0; i < config->mount_count && !rc; i++)
		rc = add_mount(plan, sorted[i], alone && alone(ctx, sorted[i]->mount_point));
	free(sorted);
	if (rc)
		mount_plan_clear(plan);
	return rc;
}

void mount_plan_clear(struct mount_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		struct planned_mount *mount = &plan->mounts[i];

		for (size_t j = 0; j < mount->share_count; j++)
			free(mount->shares[j].point);
		free(mount->shares);
		free(mount->target);
	}
	free(plan->mounts);
	*plan = (struct mount_plan){0};
}
