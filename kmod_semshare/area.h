/* SPDX-License-Identifier: GPL-2.0 */
/* area.c: named areas of shared memory, and who may do what with them. */
#ifndef SEMSHARE_AREA_H
#define SEMSHARE_AREA_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/uidgid.h>
#include <semshare/kapi.h>

#include "backing.h"
#include "notify.h"
#include "sem.h"

/* Who holds a reference to an area. */
enum semshare_area_user {
	SEMSHARE_AREA_HANDLE,	/* an open file; a mapping holds its file */
	SEMSHARE_AREA_KERNEL,	/* kernel code */
	SEMSHARE_AREA_NR_USERS,
};

/* Beside SEMSHARE_ACCESS_*: of the handle that made the area, which may write all of it. */
#define SEMSHARE_ACCESS_GUARDED	BIT(31)

struct semshare_ring_common;

/**
 * struct semshare_ring_shared - the ring of an area, as the kernel knows it
 * @common: what all kernel handles share, see ring.h; stored once, with release,
 *	when the ring is made or first opened
 * @broken: sticky: the kernel does not touch the cursors of this ring again; set
 *	at any time
 */
struct semshare_ring_shared {
	struct semshare_ring_common *common;
	u32 broken;
};

/**
 * struct semshare_area - a named piece of shared memory
 * @refs: one for each of @users
 * @users: how many of each enum semshare_area_user
 * @maps: mappings
 * @id: identity, never used again
 * @name: zero-padded
 * @key: of @name
 * @mode: permission bits
 * @linked: @name is taken by this area (guarded by area.c's own mutex)
 * @by_name: in the table of names while @linked
 * @size: bytes, as asked for
 * @kind: enum semshare_area_kind
 * @backing: of that kind
 * @address: where processes agree to map it, 0 if they do not
 * @nr_pages: pages that hold them
 * @guard_pages: pages at the start that only who made the area writes
 * @huge_pages: pages of 2 MiB among them
 * @nr_pinned: import.c: of @pages, how many are pinned
 * @pages: the pages, NULL if there may be no struct page
 * @start: reserved.c: physical address
 * @payer: import.c: on whose account the pins are, NULL: on nobody's
 * @charged: import.c: how many pages are on it
 * @data: all of it in the kernel's address space
 * @ns: the IPC namespace of the name and of the bound set
 * @uid: owner, whose account the pages are on
 * @gid: its group
 * @created_ns: CLOCK_REALTIME
 * @creator: process that made it
 * @notify: the doorbell
 * @mutex: guards what follows; taken before no other lock but those of ipc/
 * @semid: the bound set, -1 if none
 * @bind_flags: SEMSHARE_BIND_*
 * @facts: by which the bound set is known again
 * @ring: see struct semshare_ring_shared
 */
struct semshare_area {
	struct kref refs;
	atomic_t users[SEMSHARE_AREA_NR_USERS];
	atomic_t maps;
	u64 id;
	char name[SEMSHARE_NAME_SIZE];
	u32 key;
	umode_t mode;
	bool linked;
	struct hlist_node by_name;
	u64 size;
	u32 kind;
	const struct semshare_backing *backing;
	u64 address;
	unsigned int nr_pages;
	unsigned int guard_pages;
	unsigned int huge_pages;
	unsigned int nr_pinned;
	struct page **pages;
	phys_addr_t start;
	const struct cred *payer;
	unsigned long charged;
	void *data;
	struct ipc_namespace *ns;
	kuid_t uid;
	kgid_t gid;
	u64 created_ns;
	struct pid *creator;
	struct semshare_notify notify;

	struct mutex mutex;	/* @semid to @ring */
	int semid;
	u32 bind_flags;
	struct semshare_sem_facts facts;
	struct semshare_ring_shared ring;
};

/* The page frame number of its page @index. */
static inline unsigned long semshare_area_pfn(const struct semshare_area *area, unsigned long index)
{
	return area->pages ? page_to_pfn(area->pages[index]) : PHYS_PFN(area->start) + index;
}

struct semshare_area *semshare_area_make(struct ipc_namespace *ns,
					 const struct semshare_area_make *make,
					 enum semshare_area_user user);
struct semshare_area *semshare_area_find(struct ipc_namespace *ns, const char *name,
					 u32 access, enum semshare_area_user user);
void semshare_area_hold(struct semshare_area *area, enum semshare_area_user user);
void semshare_area_drop(struct semshare_area *area, enum semshare_area_user user);
void semshare_area_hide(struct semshare_area *area);
void semshare_area_describe(struct semshare_area *area, struct semshare_area_info *info);
int semshare_area_next(struct ipc_namespace *ns, struct semshare_area_info *info);
bool semshare_area_guarded_from(const struct semshare_area *area, u32 access);
int semshare_area_map(struct semshare_area *area, struct vm_area_struct *vma, u32 access);
int semshare_area_make_set(struct semshare_area *area, unsigned int nsems, umode_t mode);
bool semshare_area_remove_set(struct semshare_area *area);

void semshare_area_exit(void);

#endif /* SEMSHARE_AREA_H */
