/* SPDX-License-Identifier: GPL-2.0 */
/* area.c: named areas of shared memory, and who may do what with them. */
#ifndef SEMSHARE_AREA_H
#define SEMSHARE_AREA_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/uidgid.h>
#include <semshare/kapi.h>

#include "sem.h"

/* Who holds a reference to an area. */
enum semshare_area_user {
	SEMSHARE_AREA_HANDLE,	/* an open file; a mapping holds its file */
	SEMSHARE_AREA_KERNEL,	/* kernel code */
	SEMSHARE_AREA_NR_USERS,
};

/**
 * struct semshare_ring_shared - what all kernel handles of an area's ring share
 * @ready: the geometry below is that of the ring
 * @broken: sticky: the kernel does not touch the cursors of this ring again
 * @max_payload: the longest payload
 * @policy: what a put does that finds no space
 * @capacity: bytes of records
 *
 * In kernel memory, because the control page says whatever its users want it
 * to say.  The geometry is written once; @broken may be set at any time.
 */
struct semshare_ring_shared {
	bool ready;
	bool broken;
	u32 max_payload;
	u32 policy;
	u64 capacity;
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
 * @nr_pages: pages that hold them
 * @pages: the pages
 * @data: the pages in the kernel's address space
 * @ns: the IPC namespace of the name and of the bound set
 * @uid: owner, whose account the pages are on
 * @gid: its group
 * @created_ns: CLOCK_REALTIME
 * @creator: process that made it
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
	unsigned int nr_pages;
	struct page **pages;
	void *data;
	struct ipc_namespace *ns;
	kuid_t uid;
	kgid_t gid;
	u64 created_ns;
	struct pid *creator;

	struct mutex mutex;	/* @semid to @ring */
	int semid;
	u32 bind_flags;
	struct semshare_sem_facts facts;
	struct semshare_ring_shared ring;
};

struct semshare_area *semshare_area_make(struct ipc_namespace *ns, const char *name,
					 u64 size, umode_t mode,
					 enum semshare_area_user user);
struct semshare_area *semshare_area_find(struct ipc_namespace *ns, const char *name,
					 u32 access, enum semshare_area_user user);
void semshare_area_hold(struct semshare_area *area, enum semshare_area_user user);
void semshare_area_drop(struct semshare_area *area, enum semshare_area_user user);
void semshare_area_hide(struct semshare_area *area);
void semshare_area_describe(struct semshare_area *area, struct semshare_area_info *info);
int semshare_area_next(struct ipc_namespace *ns, struct semshare_area_info *info);
int semshare_area_map(struct semshare_area *area, struct vm_area_struct *vma, u32 access);

void semshare_area_exit(void);

#endif /* SEMSHARE_AREA_H */
