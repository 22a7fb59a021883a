/* SPDX-License-Identifier: MIT */
/* ACLs between host and guest. See acl.h. */
#include "acl.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#define HEADER sizeof(struct posix_acl_xattr_header)
#define ENTRY  sizeof(struct posix_acl_xattr_entry)
#define NO_ID  0xffffffffu

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

static struct entry entry_get(const uint8_t *acl, size_t index)
{
	struct posix_acl_xattr_entry e;

	memcpy(&e, acl + HEADER + index * ENTRY, ENTRY);
	return (struct entry){le16toh(e.e_tag), le16toh(e.e_perm), le32toh(e.e_id)};
}

static void entry_put(uint8_t *acl, size_t index, const struct entry *entry)
{
	const struct posix_acl_xattr_entry e = {htole16(entry->tag), htole16(entry->perm), htole32(entry->id)};

	memcpy(acl + HEADER + index * ENTRY, &e, ENTRY);
}

static size_t acl_end(uint8_t *acl, size_t count)
{
	const struct posix_acl_xattr_header header = {htole32(POSIX_ACL_XATTR_VERSION)};

	memcpy(acl, &header, HEADER);
	return HEADER + count * ENTRY;
}

static bool tag_is_known(uint16_t tag)
{
	return tag == ACL_USER_OBJ || tag == ACL_USER || tag == ACL_GROUP_OBJ || tag == ACL_GROUP || tag == ACL_MASK ||
	       tag == ACL_OTHER;
}

/* How many entries there are; negative: it is no ACL. The order of the tags is that of their numbers. */
static ssize_t acl_count(const uint8_t *acl, size_t len)
{
	struct posix_acl_xattr_header header;
	uint16_t before = 0;
	size_t count;

	if (len < HEADER || (len - HEADER) % ENTRY || len > ACL_BYTES_MAX)
		return -1;
	memcpy(&header, acl, HEADER);
	if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION)
		return -1;
	count = (len - HEADER) / ENTRY;
	for (size_t i = 0; i < count; i++) {
		const struct entry e = entry_get(acl, i);

		if (!tag_is_known(e.tag) || e.tag < before || e.perm & ~7u)
			return -1;
		before = e.tag;
	}
	return (ssize_t)count;
}

static bool is_named(const struct entry *e)
{
	return e->tag == ACL_USER || e->tag == ACL_GROUP;
}

/* False: whom it names is not there. */
static bool translate(const struct idmap *m, enum id_way way, struct entry *e)
{
	return e->tag == ACL_USER ? idmap_user(m, way, e->id, &e->id) : idmap_group(m, way, e->id, &e->id);
}

ssize_t acl_to_guest(const struct idmap *m, uint8_t *acl, size_t len)
{
	ssize_t count = acl_count(acl, len);
	size_t kept = 0;

	if (count < 0)
		return -EPROTO;
	for (size_t i = 0; i < (size_t)count; i++) {
		struct entry e = entry_get(acl, i);

		if (!is_named(&e) || translate(m, ID_TO_GUEST, &e))
			entry_put(acl, kept++, &e);
	}
	return (ssize_t)acl_end(acl, kept);
}

/* ------------------------------------------------------------------------------------------------------- merging */

/* An ACL being read, and the permissions that its mask leaves. */
struct source {
	const uint8_t *acl;
	size_t count, at;
	uint16_t mask;
};

static bool source_open(struct source *s, const uint8_t *acl, size_t len)
{
	ssize_t count = acl ? acl_count(acl, len) : 0;

	*s = (struct source){.acl = acl, .count = count < 0 ? 0 : (size_t)count, .mask = 7};
	for (size_t i = 0; i < s->count; i++) {
		const struct entry e = entry_get(acl, i);

		if (e.tag == ACL_MASK)
			s->mask = e.perm;
	}
	return count >= 0;
}

/* The next entry of the tag; false: there is no more. */
static bool source_next(struct source *s, uint16_t tag, struct entry *e)
{
	if (s->at == s->count)
		return false;
	*e = entry_get(s->acl, s->at);
	if (e->tag != tag)
		return false;
	s->at++;
	return true;
}

/* What is being made. */
struct target {
	uint8_t *acl;
	size_t count, named;
	uint16_t group_perm;
	bool masked;
};

static void target_add(struct target *t, const struct entry *e)
{
	entry_put(t->acl, t->count++, e);
	t->named += is_named(e);
	t->masked |= e->tag == ACL_MASK;
	if (e->tag == ACL_GROUP_OBJ)
		t->group_perm = e->perm;
}

/* Of the present entries of a tag those that the guest does not see; their rights are not more than they were. */
static void add_unseen(const struct idmap *m, struct target *t, struct source *present, uint16_t tag)
{
	struct entry e, seen;

	while (source_next(present, tag, &e)) {
		seen = e;
		if (!is_named(&e) || translate(m, ID_TO_GUEST, &seen))
			continue;
		e.perm &= present->mask;
		target_add(t, &e);
	}
}

static bool add_wanted(const struct idmap *m, struct target *t, struct source *wanted, uint16_t tag)
{
	struct entry e;

	while (source_next(wanted, tag, &e)) {
		if (is_named(&e) && !translate(m, ID_TO_HOST, &e))
			return false;
		target_add(t, &e);
	}
	return true;
}

static bool has_unseen(const struct idmap *m, const struct source *present)
{
	for (size_t i = 0; i < present->count; i++) {
		struct entry e = entry_get(present->acl, i);

		if (is_named(&e) && !translate(m, ID_TO_GUEST, &e))
			return true;
	}
	return false;
}

/* Of an ACL that is to go, what is nobody's by name. */
static void add_unnamed(struct target *t, struct source *present, uint16_t tag)
{
	struct source copy = *present;
	struct entry e;

	while (source_next(&copy, tag, &e))
		if (!is_named(&e))
			target_add(t, &e);
}

ssize_t acl_to_host(const struct idmap *m, const uint8_t *wanted, size_t wanted_len, const uint8_t *present,
		    size_t present_len, uint8_t *out)
{
	static const uint16_t tags[] = {ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER};
	struct target t = {.acl = out};
	struct source from_guest, there;

	if (!source_open(&there, present, present_len))
		return -EPROTO;
	if (!source_open(&from_guest, wanted, wanted_len))
		return -EINVAL;
	if (!wanted && !has_unseen(m, &there))
		return 0;
	for (size_t i = 0; i < sizeof(tags) / sizeof(*tags); i++) {
		/* Names need a mask: one that leaves the group what it was given. */
		const struct entry mask = {ACL_MASK, t.group_perm, NO_ID};

		if (tags[i] == ACL_OTHER && t.named && !t.masked)
			target_add(&t, &mask);
		if (!add_wanted(m, &t, &from_guest, tags[i]))
			return -EINVAL;
		if (!wanted)
			add_unnamed(&t, &there, tags[i]);
		add_unseen(m, &t, &there, tags[i]);
	}
	return (ssize_t)acl_end(out, t.count);
}

bool acl_is_whole(const struct idmap *m)
{
	return idmap_is_identity(m) && !m->uids.count && !m->gids.count;
}
