/* SPDX-License-Identifier: MIT */
/*
 * The fixed parts of SFTP and of the native requests, to and from bytes. See sftp_wire.h and PROTOCOL.md.
 *
 * Attributes are what a listing of a thousand entries is made of, so they are put with one reservation and read with
 * one check of the length; everything else goes through the cursors of wire.h.
 */
#include "sftp_wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bounds.h"

static_assert(NATIVE_CANCEL == 149 && NATIVE_REMOVEXATTR == 156 && NATIVE_END == 161,
	      "each native request has the number of PROTOCOL.md");
static_assert(SFTP_ATTR_SIZE == 3 * 8 + 8 * 4 + 4 * 12, "attr is as long as its fields");

/* ---- times and attributes ---- */

static uint8_t *poke32(uint8_t *p, uint32_t v)
{
	wire_poke_u32(p, v);
	return p + 4;
}

static uint8_t *poke64(uint8_t *p, uint64_t v)
{
	wire_poke_u64(p, v);
	return p + 8;
}

static uint8_t *poke_time(uint8_t *p, const struct sftp_time *t)
{
	return poke32(poke64(p, (uint64_t)t->sec), t->nsec);
}

static uint32_t peek32(const uint8_t **p)
{
	*p += 4;
	return wire_peek_u32(*p - 4);
}

static uint64_t peek64(const uint8_t **p)
{
	*p += 8;
	return wire_peek_u64(*p - 8);
}

static struct sftp_time peek_time(const uint8_t **p)
{
	struct sftp_time t;

	t.sec = (int64_t)peek64(p);
	t.nsec = peek32(p);
	return t;
}

void sftp_attr_put(struct wire_buf *out, const struct sftp_attr *a)
{
	uint8_t *p = wire_buf_reserve(out, SFTP_ATTR_SIZE);

	if (!p)
		return;
	p = poke64(p, a->ino);
	p = poke64(p, a->size);
	p = poke64(p, a->blocks);
	p = poke32(p, a->mode);
	p = poke32(p, a->nlink);
	p = poke32(p, a->uid);
	p = poke32(p, a->gid);
	p = poke32(p, a->rdev_major);
	p = poke32(p, a->rdev_minor);
	p = poke32(p, a->dev);
	p = poke32(p, a->flags);
	p = poke_time(p, &a->atime);
	p = poke_time(p, &a->mtime);
	p = poke_time(p, &a->ctime);
	poke_time(p, &a->btime);
	out->len += SFTP_ATTR_SIZE;
}

void sftp_attr_get(struct wire_reader *r, struct sftp_attr *a)
{
	const uint8_t *p = wire_get_bytes(r, SFTP_ATTR_SIZE);

	*a = (struct sftp_attr){0};
	if (!p)
		return;
	a->ino = peek64(&p);
	a->size = peek64(&p);
	a->blocks = peek64(&p);
	a->mode = peek32(&p);
	a->nlink = peek32(&p);
	a->uid = peek32(&p);
	a->gid = peek32(&p);
	a->rdev_major = peek32(&p);
	a->rdev_minor = peek32(&p);
	a->dev = peek32(&p);
	a->flags = peek32(&p);
	a->atime = peek_time(&p);
	a->mtime = peek_time(&p);
	a->ctime = peek_time(&p);
	a->btime = peek_time(&p);
}

/* ---- what goes with a modifying request ---- */

static void time_put(struct wire_buf *out, const struct sftp_time *t)
{
	wire_put_i64(out, t->sec);
	wire_put_u32(out, t->nsec);
}

static void time_get(struct wire_reader *r, struct sftp_time *t)
{
	t->sec = wire_get_i64(r);
	t->nsec = wire_get_u32(r);
}

void sftp_change_put(struct wire_buf *out, const struct sftp_change *c)
{
	wire_put_u64(out, c->size);
	time_put(out, &c->mtime);
	time_put(out, &c->ctime);
	sftp_attr_put(out, &c->after);
}

void sftp_change_get(struct wire_reader *r, struct sftp_change *c)
{
	c->size = wire_get_u64(r);
	time_get(r, &c->mtime);
	time_get(r, &c->ctime);
	sftp_attr_get(r, &c->after);
}

void sftp_caller_put(struct wire_buf *out, const struct sftp_caller *c)
{
	wire_put_u64(out, c->request);
	wire_put_u32(out, c->uid);
	wire_put_u32(out, c->gid);
}

void sftp_caller_get(struct wire_reader *r, struct sftp_caller *c)
{
	c->request = wire_get_u64(r);
	c->uid = wire_get_u32(r);
	c->gid = wire_get_u32(r);
}

void sftp_lock_put(struct wire_buf *out, const struct sftp_lock *l)
{
	wire_put_u64(out, l->owner);
	wire_put_u8(out, l->kind);
	wire_put_u8(out, l->type);
	wire_put_u64(out, l->start);
	wire_put_u64(out, l->length);
}

void sftp_lock_get(struct wire_reader *r, struct sftp_lock *l)
{
	l->owner = wire_get_u64(r);
	l->kind = wire_get_u8(r);
	l->type = wire_get_u8(r);
	l->start = wire_get_u64(r);
	l->length = wire_get_u64(r);
}

/* ---- listings ---- */

void sftp_entry_put(struct wire_buf *out, const struct sftp_entry *e)
{
	wire_put_u64(out, e->cookie);
	wire_put_u64(out, e->ino);
	wire_put_u8(out, e->type);
	wire_put_u8(out, e->flags);
	wire_put_string(out, e->name, e->name_len);
	if (e->flags & NATIVE_ENTRY_NODE) {
		wire_put_u64(out, e->node);
		sftp_attr_put(out, &e->attr);
	}
}

void sftp_entry_get(struct wire_reader *r, struct sftp_entry *e)
{
	*e = (struct sftp_entry){0};
	e->cookie = wire_get_u64(r);
	e->ino = wire_get_u64(r);
	e->type = wire_get_u8(r);
	e->flags = wire_get_u8(r);
	e->name = wire_get_string(r, &e->name_len, SFTP_NAME_MAX);
	if (e->flags & NATIVE_ENTRY_NODE) {
		e->node = wire_get_u64(r);
		sftp_attr_get(r, &e->attr);
	}
}

void sftp_invalidation_put(struct wire_buf *out, const struct sftp_invalidation *i)
{
	size_t mark = wire_put_length_begin(out);

	wire_put_u8(out, NATIVE_INVALIDATE);
	wire_put_u8(out, (uint8_t)i->kind);
	wire_put_u64(out, i->stamp);
	wire_put_u64(out, i->node);
	wire_put_string(out, i->name, i->name_len);
	wire_put_u64(out, i->offset);
	wire_put_u64(out, i->length);
	wire_put_length_end(out, mark);
}

void sftp_invalidation_get(struct wire_reader *r, struct sftp_invalidation *i)
{
	*i = (struct sftp_invalidation){.kind = wire_get_u8(r)};
	i->stamp = wire_get_u64(r);
	i->node = wire_get_u64(r);
	i->name = wire_get_string(r, &i->name_len, SFTP_NAME_MAX);
	i->offset = wire_get_u64(r);
	i->length = wire_get_u64(r);
	if (i->kind < NATIVE_INVALIDATE_ENTRY || i->kind > NATIVE_INVALIDATE_ALL)
		r->bad = true;
	if ((i->kind == NATIVE_INVALIDATE_ENTRY || i->name_len) && !r->bad && !sftp_name_valid(i->name, i->name_len))
		r->bad = true;
}

bool sftp_name_valid(const uint8_t *name, size_t len)
{
	if (len == 0 || len > SFTP_NAME_MAX)
		return false;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	return !memchr(name, '/', len) && !memchr(name, '\0', len);
}

/* ---- names for logs ---- */

static const char *const type_names[] = {
	[SSH_FXP_INIT] = "INIT",
	[SSH_FXP_VERSION] = "VERSION",
	[SSH_FXP_OPEN] = "OPEN",
	[SSH_FXP_CLOSE] = "CLOSE",
	[SSH_FXP_READ] = "READ",
	[SSH_FXP_WRITE] = "WRITE",
	[SSH_FXP_LSTAT] = "LSTAT",
	[SSH_FXP_FSTAT] = "FSTAT",
	[SSH_FXP_SETSTAT] = "SETSTAT",
	[SSH_FXP_FSETSTAT] = "FSETSTAT",
	[SSH_FXP_OPENDIR] = "OPENDIR",
	[SSH_FXP_READDIR] = "READDIR",
	[SSH_FXP_REMOVE] = "REMOVE",
	[SSH_FXP_MKDIR] = "MKDIR",
	[SSH_FXP_RMDIR] = "RMDIR",
	[SSH_FXP_REALPATH] = "REALPATH",
	[SSH_FXP_STAT] = "STAT",
	[SSH_FXP_RENAME] = "RENAME",
	[SSH_FXP_READLINK] = "READLINK",
	[SSH_FXP_SYMLINK] = "SYMLINK",
	[SSH_FXP_STATUS] = "STATUS",
	[SSH_FXP_HANDLE] = "HANDLE",
	[SSH_FXP_DATA] = "DATA",
	[SSH_FXP_NAME] = "NAME",
	[SSH_FXP_ATTRS] = "ATTRS",
	[NATIVE_LOOKUP] = "native LOOKUP",
	[NATIVE_FORGET] = "native FORGET",
	[NATIVE_GETATTR] = "native GETATTR",
	[NATIVE_SETATTR] = "native SETATTR",
	[NATIVE_READLINK] = "native READLINK",
	[NATIVE_SYMLINK] = "native SYMLINK",
	[NATIVE_MKDIR] = "native MKDIR",
	[NATIVE_MKNOD] = "native MKNOD",
	[NATIVE_UNLINK] = "native UNLINK",
	[NATIVE_RMDIR] = "native RMDIR",
	[NATIVE_RENAME] = "native RENAME",
	[NATIVE_LINK] = "native LINK",
	[NATIVE_OPEN] = "native OPEN",
	[NATIVE_CREATE] = "native CREATE",
	[NATIVE_READ] = "native READ",
	[NATIVE_WRITE] = "native WRITE",
	[NATIVE_RELEASE] = "native RELEASE",
	[NATIVE_FSYNC] = "native FSYNC",
	[NATIVE_OPENDIR] = "native OPENDIR",
	[NATIVE_READDIR] = "native READDIR",
	[NATIVE_STATFS] = "native STATFS",
	[NATIVE_CANCEL] = "native CANCEL",
	[NATIVE_FALLOCATE] = "native FALLOCATE",
	[NATIVE_SEEK] = "native SEEK",
	[NATIVE_COPY] = "native COPY",
	[NATIVE_GETXATTR] = "native GETXATTR",
	[NATIVE_SETXATTR] = "native SETXATTR",
	[NATIVE_LISTXATTR] = "native LISTXATTR",
	[NATIVE_REMOVEXATTR] = "native REMOVEXATTR",
	[NATIVE_TMPFILE] = "native TMPFILE",
	[NATIVE_REPLY] = "native REPLY",
	[NATIVE_INVALIDATE] = "native INVALIDATE",
	[SSH_FXP_EXTENDED] = "EXTENDED",
	[SSH_FXP_EXTENDED_REPLY] = "EXTENDED_REPLY",
};

const char *sftp_type_name(uint8_t type)
{
	if (type >= sizeof(type_names) / sizeof(type_names[0]) || !type_names[type])
		return "?";
	return type_names[type];
}

/* ---- packets out of a stream ---- */

/* How many bytes the packet in `partial` needs in all, once its length is there; else 4. */
static int framer_wanted(const struct sftp_framer *f, size_t *wanted)
{
	uint32_t len;

	*wanted = 4;
	if (f->partial.len < 4)
		return 0;
	len = wire_peek_u32(f->partial.data);
	if (len == 0 || len > f->max)
		return -EPROTO;
	*wanted += len;
	return 0;
}

/* Moves what the packet begun in an earlier chunk still needs; hands it on when it is whole. */
static int framer_complete(struct sftp_framer *f, const uint8_t **data, size_t *len, sftp_packet_cb *packet, void *ctx)
{
	size_t wanted, n;
	int r;

	for (;;) {
		r = framer_wanted(f, &wanted);
		if (r < 0)
			return r;
		if (wanted > 4 && f->partial.len == wanted)
			break;
		n = wanted - f->partial.len;
		if (n > *len)
			n = *len;
		if (n == 0)
			return 0;
		wire_put_bytes(&f->partial, *data, n);
		if (f->partial.failed)
			return -ENOMEM;
		*data += n;
		*len -= n;
	}
	f->partial.len = 0;
	return packet(ctx, f->partial.data + 4, wanted - 4);
}

int sftp_framer_feed(struct sftp_framer *f, const uint8_t *data, size_t len, sftp_packet_cb *packet, void *ctx)
{
	while (len > 0) {
		uint32_t n = len >= 4 ? wire_peek_u32(data) : 0;
		int r;

		if (f->partial.len == 0 && len >= 4 && (n == 0 || n > f->max))
			return -EPROTO;
		if (f->partial.len == 0 && len >= 4 && len - 4 >= n) {
			r = packet(ctx, data + 4, n);
			data += 4 + n;
			len -= 4 + n;
		} else {
			r = framer_complete(f, &data, &len, packet, ctx);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

void sftp_framer_clear(struct sftp_framer *f)
{
	wire_buf_free(&f->partial);
}
