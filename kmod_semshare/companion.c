// SPDX-License-Identifier: GPL-2.0
/*
 * The companion of a set: a SysV shared memory segment of the same key, in which
 * lies what the semaphores cannot remember.
 *
 * Its pages are pinned in the process that opens the set, with the rights of that
 * process (import.c), and from then on neither the process nor the segment are
 * needed.  There may be none, as with a set that a plain program made, or none that
 * this user may write: then the set is used without.
 *
 * Whoever may write the segment may write anything there at any time.  Its head is
 * copied once, the copy is checked, and what the kernel relies on (kind, limit,
 * size) stays in kernel memory.  The words behind it are only ever compared, or
 * told: nothing is found, counted or ended by them.
 *
 * The pins are charged to nobody.  They are pages of a segment that its maker's
 * memory cgroup pays for, 2 MiB of the largest set that there can be, and each open
 * set is something that a kernel module holds.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <semshare/core/platform.h>

#include "companion.h"
#include "resolve.h"

/* What each kind needs. */
static size_t size_of_kind(u32 kind, u32 nsems)
{
	switch (kind) {
	case SEMSHARE_SET_POOL:
		return offsetof(struct semshare_lock_segment, state) +
		       nsems * sizeof(struct semshare_lock_state);
	case SEMSHARE_SET_CONDITION:
	case SEMSHARE_SET_BARRIER:
		return SEMSHARE_PLACES_SEGMENT_SIZE;
	default:
		return SEMSHARE_LOCK_SEGMENT_SIZE;
	}
}

static bool is_count_sane(u32 kind, u32 nsems)
{
	switch (kind) {
	case SEMSHARE_SET_RWLOCK:
		return nsems == SEMSHARE_RWLOCK_NSEMS;
	case SEMSHARE_SET_CONDITION:
	case SEMSHARE_SET_BARRIER:
		return nsems == SEMSHARE_PLACES_NSEMS;
	default:
		return kind < SEMSHARE_SET_KINDS;
	}
}

static bool is_limit_sane(u32 kind, u32 limit)
{
	switch (kind) {
	case SEMSHARE_SET_BOUNDED:
		return limit >= 1 && limit <= SEMVMX;
	case SEMSHARE_SET_BARRIER:
		return limit >= 1 && limit <= SEMSHARE_PLACES;
	default:
		return true;
	}
}

static void companion_unmap(struct semshare_companion *companion)
{
	vunmap(companion->data);
	semshare_unpin(&companion->pinned);
	kvfree(companion->pinned.pages);
	memset(companion, 0, sizeof(*companion));
	companion->kind = SEMSHARE_SET_KINDS;
}

static int companion_map(struct semshare_companion *companion, int shmid, size_t size)
{
	struct semshare_pinned *pinned = &companion->pinned;
	int err;

	pinned->wanted = PAGE_ALIGN(size) >> PAGE_SHIFT;
	pinned->pages = kvcalloc(pinned->wanted, sizeof(*pinned->pages), GFP_KERNEL_ACCOUNT);
	err = pinned->pages ? semshare_segment_pin(pinned, shmid) : -ENOMEM;
	if (!err) {
		companion->data = vmap(pinned->pages, pinned->wanted, VM_MAP, PAGE_KERNEL);
		err = companion->data ? 0 : -ENOMEM;
	}
	if (err)
		companion_unmap(companion);
	else
		companion->size = size;
	return err;
}

/* Return: 1 if this is it, 0 if it is something else, or an error. */
static int companion_look(struct semshare_companion *companion, u32 key, int semid, u32 nsems,
			  const char *name)
{
	const struct semshare_lock_segment *segment = companion->data;
	struct semshare_lock_segment head;

	/* Stored last: whoever sees it sees the rest. */
	head.magic = semshare_load_acquire(&segment->magic);
	if (!head.magic)
		return -EAGAIN;
	if (head.magic != SEMSHARE_LOCK_MAGIC)
		return 0;
	semshare_copy(&head, segment, offsetof(struct semshare_lock_segment, state));
	if (head.abi_version != SEMSHARE_ABI_VERSION)
		return -EPROTO;
	/* That of a set which was removed and left it behind. */
	if (head.key != key || head.semid != semid || head.nsems != nsems)
		return 0;
	if (name && head.name[0] && strncmp(head.name, name, SEMSHARE_NAME_SIZE))
		return -EEXIST;
	if (!is_count_sane(head.kind, nsems) || !is_limit_sane(head.kind, head.limit))
		return -EPROTO;
	companion->kind = head.kind;
	companion->limit = head.limit;
	return 1;
}

static bool is_none(int err)
{
	switch (err) {
	case -ENOENT:		/* there is none, ... */
	case -EIDRM:		/* ... no more, ... */
	case -EINVAL:		/* ... or it is too short to be one */
	case -EACCES:		/* current's user may not write it, ... */
	case -EPERM:		/* ... or a security module forbids it */
	case -EOPNOTSUPP:	/* this kernel lacks a function */
		return true;
	default:
		return false;
	}
}

/**
 * semshare_companion_open - map the companion of a set
 * @companion: zeroed
 * @key: the set's key
 * @semid: the set, of current's IPC namespace
 * @nsems: its semaphores
 * @name: its name, or NULL if it was opened by its key
 *
 * Context: process context of a process, sleeps.
 * Return: 0, with @companion->data NULL if there is none for this user;
 * -EAGAIN: its maker has not filled it in yet, or it is another program's segment of the
 * same key, whose first word is 0: they look the same, see semshare_set_open();
 * -EEXIST: it is that of another name with the same key; -EPROTO: it is of another
 * version, or makes no sense; -EINTR; -EFAULT: another thread of the process
 * interfered; -ENOMEM.
 */
int semshare_companion_open(struct semshare_companion *companion, u32 key, int semid, u32 nsems,
			    const char *name)
{
	long shmid = -EOPNOTSUPP;
	size_t size = SEMSHARE_LOCK_SEGMENT_SIZE;
	int err;

	companion->kind = SEMSHARE_SET_KINDS;
	if (semshare_has(SEMSHARE_FN_SHMGET))
		shmid = static_call(semshare_ksys_shmget)(key, 0, 0);
	if (shmid < 0)
		return is_none(shmid) ? 0 : shmid;
	for (;;) {
		err = companion_map(companion, shmid, size);
		if (err)
			return is_none(err) ? 0 : err;
		err = companion_look(companion, key, semid, nsems, name);
		if (err <= 0) {
			companion_unmap(companion);
			return err;
		}
		if (size_of_kind(companion->kind, nsems) <= size)
			return 0;
		/* Now that it is known how long it is: all of it. */
		size = size_of_kind(companion->kind, nsems);
		companion_unmap(companion);
	}
}

/**
 * semshare_companion_close - let go of a companion
 * @companion: nobody uses it any more
 *
 * Context: process context, may sleep.
 */
void semshare_companion_close(struct semshare_companion *companion)
{
	companion_unmap(companion);
}
