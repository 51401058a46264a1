// SPDX-License-Identifier: GPL-2.0
/*
 * Named areas of shared memory.
 *
 * An area lives as long as somebody holds a reference: an open handle, a
 * mapping (through the file it was mapped from), or kernel code.  Its name
 * goes with unlink or with the last reference, whichever comes first.  So a
 * killed process leaves nothing behind, and nobody can free memory under
 * somebody else.
 *
 * Who may do what is asked like the rights to a file: the file system uid, the
 * groups and the mode bits, with CAP_IPC_OWNER in the user namespace of the
 * area's IPC namespace overriding them.  No umask is applied, as with the
 * other SysV objects.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/instruction_pointer.h>
#include <linux/moduleparam.h>
#include <linux/nospec.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/xarray.h>
#include <semshare/core/key.h>

#include "area.h"
#include "compat/compat.h"
#include "resolve.h"
#include "usage.h"

static unsigned long max_area_bytes = 256UL << 20;
module_param(max_area_bytes, ulong, 0644);
MODULE_PARM_DESC(max_area_bytes, "largest size of one area, in bytes (default 256 MiB)");

static unsigned long max_total_bytes = 1UL << 30;
module_param(max_total_bytes, ulong, 0644);
MODULE_PARM_DESC(max_total_bytes, "size of all areas together, in bytes (default 1 GiB)");

static unsigned long max_user_bytes = 512UL << 20;
module_param(max_user_bytes, ulong, 0644);
MODULE_PARM_DESC(max_user_bytes,
		 "size of all areas of one user without CAP_SYS_RESOURCE, in bytes (default 512 MiB)");

/*
 * Guards the tables below, the totals, and area->linked.  The last reference
 * is dropped under it (kref_put_mutex), so whatever stands in a table has
 * references and may be given another.
 */
static DEFINE_MUTEX(areas_mutex);
static DEFINE_XARRAY(areas_by_id);		/* all that live, unlinked ones too */
static DEFINE_HASHTABLE(areas_by_name, 10);	/* those that have their name */
static u64 last_id;
static u64 total_bytes;
static struct semshare_usage bytes_by_uid = SEMSHARE_USAGE_INIT(bytes_by_uid.mutex);

static u64 area_bytes(const struct semshare_area *area)
{
	return (u64)area->nr_pages << PAGE_SHIFT;
}

/* ------------------------------------------------------------- accounting */

/* Limits are looked at once each: root may change them at any time. */
static int area_charge(struct semshare_area *area)
{
	u64 bytes = area_bytes(area);
	int err;

	lockdep_assert_held(&areas_mutex);
	if (total_bytes + bytes > READ_ONCE(max_total_bytes))
		return -ENOSPC;
	err = semshare_usage_charge(&bytes_by_uid, area->uid, bytes, READ_ONCE(max_user_bytes));
	if (err)
		return err == -EDQUOT ? -ENOSPC : err;
	total_bytes += bytes;
	return 0;
}

static void area_uncharge(struct semshare_area *area)
{
	lockdep_assert_held(&areas_mutex);
	total_bytes -= area_bytes(area);
	semshare_usage_uncharge(&bytes_by_uid, area->uid, area_bytes(area));
}

/* ----------------------------------------------------------------- memory */

static const struct semshare_backing *const backings[] = {
	[SEMSHARE_AREA_PAGES] = &semshare_backing_pages,
	[SEMSHARE_AREA_MEMFD] = &semshare_backing_memfd,
	[SEMSHARE_AREA_SYSV] = &semshare_backing_sysv,
	[SEMSHARE_AREA_CONTIGUOUS] = &semshare_backing_contiguous,
	[SEMSHARE_AREA_RESERVED] = &semshare_backing_reserved,
};

static bool is_imported(u32 kind)
{
	return kind == SEMSHARE_AREA_MEMFD || kind == SEMSHARE_AREA_SYSV;
}

/* The backing of what is to be made, or NULL if it makes no sense. */
static const struct semshare_backing *make_backing(const struct semshare_area_make *make)
{
	const struct semshare_backing *backing;

	if (make->kind >= ARRAY_SIZE(backings))
		return NULL;
	backing = backings[array_index_nospec(make->kind, ARRAY_SIZE(backings))];
	if (make->flags & ~backing->flags || make->mode & ~0666 || make->address & ~PAGE_MASK ||
	    (make->source && !is_imported(make->kind)))
		return NULL;
	if (make->guard && make->kind != SEMSHARE_AREA_PAGES)
		return NULL;
	if (make->guard > make->size || make->guard & ~PAGE_MASK)
		return NULL;
	return backing;
}

static void area_empty(struct semshare_area *area)
{
	area->backing->empty(area);
	area->pages = NULL;
	area->data = NULL;
}

static void area_free(struct semshare_area *area)
{
	kfree(area->ring.common);
	put_pid(area->creator);
	semshare_ipc_ns_put(area->ns);
	kfree(area);
}

/* ------------------------------------------------------------------ names */

static struct semshare_area *name_find(struct ipc_namespace *ns, const char *name, u32 key)
{
	struct semshare_area *area;

	lockdep_assert_held(&areas_mutex);
	hash_for_each_possible(areas_by_name, area, by_name, key) {
		if (area->ns == ns && !memcmp(area->name, name, SEMSHARE_NAME_SIZE))
			return area;
	}
	return NULL;
}

static void area_unlink(struct semshare_area *area)
{
	lockdep_assert_held(&areas_mutex);
	if (area->linked) {
		WRITE_ONCE(area->linked, false);	/* read by LIST without the mutex */
		hash_del(&area->by_name);
	}
}

/* A C string of kernel code as the zero-padded name that all else works with. */
static int name_pad(char *padded, const char *name)
{
	if (strscpy_pad(padded, name, SEMSHARE_NAME_SIZE) < 0)
		return -EINVAL;
	return semshare_name_length(padded);
}

/* As far as the mode tells: without CAP_IPC_OWNER. */
static bool area_mode_grants(const struct semshare_area *area, u32 access)
{
	umode_t granted = area->mode;
	umode_t wanted = 0;

	if (access & SEMSHARE_ACCESS_READ)
		wanted |= 04;
	if (access & SEMSHARE_ACCESS_WRITE)
		wanted |= 02;
	if (uid_eq(current_fsuid(), area->uid))
		granted >>= 6;
	else if (in_group_p(area->gid))
		granted >>= 3;
	return !(wanted & ~granted);
}

static int area_permission(const struct semshare_area *area, u32 access)
{
	if (area_mode_grants(area, access) || ns_capable(area->ns->user_ns, CAP_IPC_OWNER))
		return 0;
	return -EACCES;
}

/* Nobody asked for this very area: to be refused is nothing for the audit log. */
static bool area_is_listed(const struct semshare_area *area)
{
	return uid_eq(current_fsuid(), area->uid) || area_mode_grants(area, SEMSHARE_ACCESS_READ) ||
	       ns_capable_noaudit(area->ns->user_ns, CAP_IPC_OWNER);
}

/* ------------------------------------------------------------- references */

void semshare_area_hold(struct semshare_area *area, enum semshare_area_user user)
{
	kref_get(&area->refs);
	atomic_inc(&area->users[user]);
}

/*
 * Called with areas_mutex held, which it gives back.  The owned set goes before
 * the name, so that whoever finds the name free finds its key free as well.
 * This may run in the last close of a killed process, whose nsproxy is gone
 * already: the namespace is the one remembered, the credentials the kernel's.
 */
static void area_release(struct kref *refs)
{
	struct semshare_area *area = container_of(refs, struct semshare_area, refs);

	if (area->bind_flags & SEMSHARE_BIND_OWN) {
		int err = semshare_sem_remove(area->ns, area->semid, &area->facts);

		/* Gone already, or its id names another set by now: not ours. */
		if (err && err != -EIDRM && err != -EINVAL)
			pr_warn("area %s: its set %d could not be removed (%d): ipcrm -s %d\n",
				area->name, area->semid, err, area->semid);
	}
	area_unlink(area);
	xa_erase(&areas_by_id, area->id);
	mutex_unlock(&areas_mutex);

	semshare_notify_drain(area);
	area_empty(area);

	mutex_lock(&areas_mutex);
	area_uncharge(area);
	mutex_unlock(&areas_mutex);
	area_free(area);
}

void semshare_area_drop(struct semshare_area *area, enum semshare_area_user user)
{
	atomic_dec(&area->users[user]);
	kref_put_mutex(&area->refs, area_release, &areas_mutex);
}

/* ------------------------------------------------------ create and attach */

/**
 * semshare_area_make - make an area for a handle or for kernel code
 * @ns: the IPC namespace of the name
 * @make: what it is to be; the name is checked by semshare_name_length()
 * @user: for whom
 *
 * The owner is current's file system uid and gid, the memory is charged to
 * current's memory cgroup.
 *
 * Return: the area with one reference, or an error, see semshare_area_create()
 * and struct semshare_area_make.
 */
struct semshare_area *semshare_area_make(struct ipc_namespace *ns,
					 const struct semshare_area_make *make,
					 enum semshare_area_user user)
{
	const struct semshare_backing *backing = make_backing(make);
	const char *name = make->name;
	u64 size = make->size;
	struct semshare_area *area;
	u64 nr_pages;
	int err;

	if (!backing || !size || size > READ_ONCE(max_area_bytes))
		return ERR_PTR(-EINVAL);
	if (backing->privileged && user == SEMSHARE_AREA_HANDLE && !capable(CAP_SYS_RAWIO))
		return ERR_PTR(-EPERM);
	/* Root may have set the limit to anything. */
	nr_pages = (size >> PAGE_SHIFT) + !!(size & ~PAGE_MASK);
	if (nr_pages > INT_MAX / sizeof(struct page *))
		return ERR_PTR(-EINVAL);

	area = kzalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	if (!area)
		return ERR_PTR(-ENOMEM);
	kref_init(&area->refs);
	mutex_init(&area->mutex);
	semshare_notify_init(area);
	atomic_set(&area->users[user], 1);
	memcpy(area->name, name, SEMSHARE_NAME_SIZE);
	area->key = semshare_key(name, strlen(name));
	area->mode = make->mode;
	area->size = size;
	area->kind = make->kind;
	area->backing = backing;
	area->address = make->address;
	area->nr_pages = nr_pages;
	area->guard_pages = make->guard >> PAGE_SHIFT;
	area->uid = current_fsuid();
	area->gid = current_fsgid();
	area->created_ns = ktime_get_real_ns();
	area->creator = get_pid(task_tgid(current));
	area->ns = get_ipc_ns(ns);
	area->semid = -1;

	/* The charge first: what is over a limit costs nobody any memory. */
	mutex_lock(&areas_mutex);
	err = name_find(ns, name, area->key) ? -EEXIST : area_charge(area);
	mutex_unlock(&areas_mutex);
	if (err) {
		area_free(area);
		return ERR_PTR(err);
	}

	err = backing->fill(area, make);

	/* Published last, when nothing about it can fail any more. */
	mutex_lock(&areas_mutex);
	if (!err && name_find(ns, name, area->key))
		err = -EEXIST;
	if (!err) {
		area->id = last_id + 1;
		err = xa_insert(&areas_by_id, area->id, area, GFP_KERNEL_ACCOUNT);
	}
	if (err) {
		area_uncharge(area);
		mutex_unlock(&areas_mutex);
		area_empty(area);
		area_free(area);
		return ERR_PTR(err);
	}
	last_id = area->id;
	area->linked = true;
	hash_add(areas_by_name, &area->by_name, area->key);
	mutex_unlock(&areas_mutex);
	return area;
}

/**
 * semshare_area_find - find an area by name, for a handle or for kernel code
 * @ns: the IPC namespace of the name
 * @name: SEMSHARE_NAME_SIZE bytes, checked by semshare_name_length()
 * @access: SEMSHARE_ACCESS_* that current must have
 * @user: for whom
 *
 * Return: the area with one more reference, -ENOENT or -EACCES.
 */
struct semshare_area *semshare_area_find(struct ipc_namespace *ns, const char *name,
					 u32 access, enum semshare_area_user user)
{
	struct semshare_area *area;
	int err = -ENOENT;

	mutex_lock(&areas_mutex);
	area = name_find(ns, name, semshare_key(name, strlen(name)));
	if (area)
		err = area_permission(area, access);
	if (!err)
		semshare_area_hold(area, user);
	mutex_unlock(&areas_mutex);
	return err ? ERR_PTR(err) : area;
}

/**
 * semshare_area_create - make a named area, for kernel code
 * @ns: the IPC namespace of the name
 * @name: 1 to SEMSHARE_NAME_MAX characters of [A-Za-z0-9._-]
 * @size: bytes, 1 to the module parameter max_area_bytes
 * @mode: permission bits, 0 to 0666
 *
 * The memory is zeroed.  Owner is current's file system uid and gid; the memory
 * is charged to current's memory cgroup.
 *
 * Context: process context, sleeps.
 * Return: the area with a reference that semshare_area_put() gives back, or
 * -EINVAL (name, size or mode), -EEXIST (the name is taken), -ENOSPC (over
 * max_total_bytes or max_user_bytes), -ENOMEM, -EINTR (killed meanwhile),
 * -EOPNOTSUPP (called where sleeping is not allowed).
 */
struct semshare_area *semshare_area_create(struct ipc_namespace *ns, const char *name,
					   u64 size, umode_t mode)
{
	struct semshare_area_make make = { .size = size, .mode = mode };

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (name_pad(make.name, name) < 0)
		return ERR_PTR(-EINVAL);
	return semshare_area_make(ns, &make, SEMSHARE_AREA_KERNEL);
}
EXPORT_SYMBOL_GPL(semshare_area_create);

/**
 * semshare_area_create_kind - make a named area of a kind of memory
 * @ns: the IPC namespace of the name
 * @name: as of semshare_area_create()
 * @params: kind, size and what else there is to say
 *
 * What user space needs CAP_SYS_RAWIO for, kernel code may have made; areas of
 * a process's own memory (SEMSHARE_AREA_MEMFD, SEMSHARE_AREA_SYSV) only processes
 * make.
 *
 * Context: process context, sleeps.
 * Return: as semshare_area_create(), and -ENODEV: SEMSHARE_AREA_RESERVED, and the
 * module was given no range; -ENOMEM: of it, or of memory in one run, there is not
 * so much.
 */
struct semshare_area *semshare_area_create_kind(struct ipc_namespace *ns, const char *name,
						const struct semshare_area_params *params)
{
	struct semshare_area_make make = {
		.size = params->size,
		.address = params->address,
		.mode = params->mode,
		.kind = params->kind,
		.flags = params->flags,
	};

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (name_pad(make.name, name) < 0 || is_imported(params->kind))
		return ERR_PTR(-EINVAL);
	return semshare_area_make(ns, &make, SEMSHARE_AREA_KERNEL);
}
EXPORT_SYMBOL_GPL(semshare_area_create_kind);

/**
 * semshare_area_attach - find a named area, for kernel code
 * @ns: the IPC namespace of the name
 * @name: its name
 * @access: SEMSHARE_ACCESS_* that current must have; a kernel thread has all
 *
 * To write, an area with a guard is a kernel thread's alone.
 *
 * Context: process context, sleeps.
 * Return: the area with a reference that semshare_area_put() gives back, or
 * -EINVAL (name or access), -ENOENT, -EACCES, -EOPNOTSUPP (called where sleeping
 * is not allowed).
 */
struct semshare_area *semshare_area_attach(struct ipc_namespace *ns, const char *name,
					   u32 access)
{
	char padded[SEMSHARE_NAME_SIZE];
	struct semshare_area *area;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (name_pad(padded, name) < 0 ||
	    access & ~(SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE))
		return ERR_PTR(-EINVAL);
	area = semshare_area_find(ns, padded, access, SEMSHARE_AREA_KERNEL);
	/* Who gets this writes all of it, maybe on behalf of a user who may not. */
	if (!IS_ERR(area) && access & SEMSHARE_ACCESS_WRITE && !(current->flags & PF_KTHREAD) &&
	    semshare_area_guarded_from(area, access)) {
		semshare_area_put(area);
		return ERR_PTR(-EACCES);
	}
	return area;
}
EXPORT_SYMBOL_GPL(semshare_area_attach);

/**
 * semshare_area_unlink - take an area's name away
 * @ns: the IPC namespace of the name
 * @name: its name
 *
 * The memory lives on to its last reference.  Current must be the area's owner
 * or have CAP_SYS_ADMIN in the user namespace of @ns.
 *
 * Context: process context, sleeps.
 * Return: 0, -EINVAL (name), -ENOENT, -EPERM, -EOPNOTSUPP (called where sleeping is
 * not allowed).
 */
int semshare_area_unlink(struct ipc_namespace *ns, const char *name)
{
	char padded[SEMSHARE_NAME_SIZE];
	struct semshare_area *area;
	int err = 0;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (name_pad(padded, name) < 0)
		return -EINVAL;
	mutex_lock(&areas_mutex);
	area = name_find(ns, padded, semshare_key(padded, strlen(padded)));
	if (!area)
		err = -ENOENT;
	else if (!uid_eq(current_fsuid(), area->uid) &&
		 !ns_capable(ns->user_ns, CAP_SYS_ADMIN))
		err = -EPERM;
	else
		area_unlink(area);
	mutex_unlock(&areas_mutex);
	return err;
}
EXPORT_SYMBOL_GPL(semshare_area_unlink);

/**
 * semshare_area_hide - take the name of this very area away
 * @area: an area the caller has a reference to
 */
void semshare_area_hide(struct semshare_area *area)
{
	mutex_lock(&areas_mutex);
	area_unlink(area);
	mutex_unlock(&areas_mutex);
}

/**
 * semshare_area_put - give a reference of kernel code back
 * @area: from semshare_area_create(), _attach() or _from_fd()
 *
 * With the last reference go the memory, the name, and the set that is bound
 * with SEMSHARE_BIND_OWN.
 *
 * Context: process context, sleeps.
 */
void semshare_area_put(struct semshare_area *area)
{
	semshare_area_drop(area, SEMSHARE_AREA_KERNEL);
}
EXPORT_SYMBOL_GPL(semshare_area_put);

/**
 * semshare_area_data - where an area lies in the kernel's address space
 * @area: an area the caller has a reference to
 *
 * Users may write there at any time: load each word once, check it, use it.
 *
 * Return: its first byte.
 */
void *semshare_area_data(struct semshare_area *area)
{
	return area->data;
}
EXPORT_SYMBOL_GPL(semshare_area_data);

/**
 * semshare_area_size - how large an area is
 * @area: an area the caller has a reference to
 *
 * Return: bytes, as asked for at creation.
 */
u64 semshare_area_size(struct semshare_area *area)
{
	return area->size;
}
EXPORT_SYMBOL_GPL(semshare_area_size);

/* ---------------------------------------------------------------- the set */

/**
 * semshare_area_bind - say which set guards an area
 * @area: an area the caller has a reference to
 * @semid: a set of the area's IPC namespace that current may alter
 * @flags: SEMSHARE_BIND_OWN: remove the set with the area's last reference;
 *	current must be allowed to remove it
 *
 * The rights are asked here, of the one who binds, because the kernel threads
 * that use the set later pass every check.  The set is remembered by more than
 * its id, which another set may have one day.
 *
 * Context: process context, sleeps; in the area's own IPC namespace.
 * Return: 0; -EINVAL (flags, or no such set); -EXDEV (not called in the area's
 * namespace); -EBUSY (a set is bound already); -EACCES (no right to alter the
 * set); -EPERM (neither the area's owner nor CAP_IPC_OWNER, or no right to
 * remove the set); -EIDRM (removed meanwhile); -EOPNOTSUPP (called where sleeping
 * is not allowed, or this kernel lacks a function).
 */
int semshare_area_bind(struct semshare_area *area, int semid, u32 flags)
{
	struct semshare_sem_facts facts;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (flags & ~SEMSHARE_BIND_OWN || semid < 0)
		return -EINVAL;
	if (!current->nsproxy || current->nsproxy->ipc_ns != area->ns)
		return -EXDEV;

	if (!uid_eq(current_fsuid(), area->uid) && !ns_capable(area->ns->user_ns, CAP_IPC_OWNER))
		return -EPERM;

	mutex_lock(&area->mutex);
	err = area->semid < 0 ? 0 : -EBUSY;
	/* Known first and last: what was asked in between was asked of that set. */
	if (!err)
		err = semshare_sem_facts(area->ns, semid, &facts);
	if (!err)
		err = semshare_sem_may_alter(area->ns, semid);
	if (!err && flags & SEMSHARE_BIND_OWN)
		err = semshare_sem_may_remove(area->ns, semid);
	if (!err && !semshare_sem_same(area->ns, semid, &facts))
		err = -EIDRM;
	if (!err) {
		area->facts = facts;
		area->bind_flags = flags;
		area->semid = semid;
	}
	mutex_unlock(&area->mutex);
	return err;
}
EXPORT_SYMBOL_GPL(semshare_area_bind);

/**
 * semshare_area_make_set - a set of an area's own, bound to it, its mutex and roles free
 * @area: an area made by the caller, in its own IPC namespace
 * @nsems: semaphores: a mutex, two hints, which are 0 at first, and then roles, to
 *	SEMSHARE_RING_LANES_NSEMS in all
 * @mode: permission bits of the set
 *
 * Context: process context, sleeps.
 * Return: its id, or what semget() and semshare_area_bind() answer.
 */
int semshare_area_make_set(struct semshare_area *area, unsigned int nsems, umode_t mode)
{
	struct sembuf publish[SEMSHARE_RING_LANES_NSEMS] = {
		{ .sem_num = SEMSHARE_SEM_MUTEX, .sem_op = 1 },
	};
	struct semshare_sem_facts facts;
	unsigned int nsops = 1;
	unsigned int role;
	int semid;
	int err;

	/* Without these the set could be neither bound nor removed again. */
	if (!semshare_has(SEMSHARE_FN_SEMCTL_STAT) || !semshare_has(SEMSHARE_FN_SEMCTL_DOWN))
		return -EOPNOTSUPP;
	semid = semshare_semget(area->ns, area->key, nsems, IPC_CREAT | IPC_EXCL | mode);
	if (semid < 0)
		return semid;
	err = semshare_sem_facts(area->ns, semid, &facts);
	if (err)
		return err;
	for (role = SEMSHARE_SEM_PRODUCER; role < nsems && nsops < ARRAY_SIZE(publish); role++)
		publish[nsops++] = (struct sembuf){ .sem_num = role, .sem_op = 1 };
	/* An operation rather than SETVAL: it sets sem_otime, for which openers wait. */
	err = semshare_semop(area->ns, semid, publish, nsops);
	if (!err)
		err = semshare_area_bind(area, semid, SEMSHARE_BIND_OWN);
	if (err) {
		semshare_sem_remove(area->ns, semid, &facts);
		return err;
	}
	return semid;
}

/**
 * semshare_area_remove_set - remove the set that goes with an area, now
 * @area: an area the caller has a reference to
 *
 * Its sleepers get EIDRM, and its key can be used again.
 *
 * Context: process context, sleeps.
 * Return: false if no set goes with it.
 */
bool semshare_area_remove_set(struct semshare_area *area)
{
	bool owned;

	mutex_lock(&area->mutex);
	owned = area->bind_flags & SEMSHARE_BIND_OWN;
	if (owned) {
		semshare_sem_remove(area->ns, area->semid, &area->facts);
		/* A successor of the same name must not be taken for it. */
		area->bind_flags &= ~SEMSHARE_BIND_OWN;
	}
	mutex_unlock(&area->mutex);
	return owned;
}

/* ---------------------------------------------------------------- listing */

/**
 * semshare_area_describe - what INFO and LIST say of an area
 * @area: an area the caller has a reference to
 * @info: out, but for @info->access, which is the handle's
 */
void semshare_area_describe(struct semshare_area *area, struct semshare_area_info *info)
{
	memset(info, 0, sizeof(*info));
	info->id = area->id;
	info->size = area->size;
	info->created_ns = area->created_ns;
	memcpy(info->name, area->name, SEMSHARE_NAME_SIZE);
	info->uid = from_kuid_munged(current_user_ns(), area->uid);
	info->gid = from_kgid_munged(current_user_ns(), area->gid);
	info->mode = area->mode;
	info->handles = atomic_read(&area->users[SEMSHARE_AREA_HANDLE]);
	info->maps = atomic_read(&area->maps);
	info->kernel_users = atomic_read(&area->users[SEMSHARE_AREA_KERNEL]);
	info->flags = READ_ONCE(area->linked) ? 0 : SEMSHARE_AREA_UNLINKED;
	if (area->guard_pages)
		info->flags |= SEMSHARE_AREA_GUARDED;
	info->creator_pid = pid_vnr(area->creator);
	info->key = area->key;
	info->address = area->address;
	info->kind = area->kind;
	info->huge_pages = area->huge_pages;
	mutex_lock(&area->mutex);
	info->semid = area->semid;
	info->bind_flags = area->bind_flags;
	mutex_unlock(&area->mutex);
}

/**
 * semshare_area_next - the listing: the next area that current may see
 * @ns: the IPC namespace to list
 * @info: in: @info->id, the area after which to go on; out: the next one
 *
 * Seen are the areas that current may read, and its own whatever their mode:
 * who may unlink must be able to find.  Those without a name are among them,
 * marked as such: they hold memory.
 *
 * Return: 0, or -ENOENT at the end.
 */
int semshare_area_next(struct ipc_namespace *ns, struct semshare_area_info *info)
{
	unsigned long id = info->id;
	struct semshare_area *area;

	mutex_lock(&areas_mutex);
	do {
		area = xa_find_after(&areas_by_id, &id, ULONG_MAX, XA_PRESENT);
	} while (area && (area->ns != ns || !area_is_listed(area)));
	if (area)
		kref_get(&area->refs);
	mutex_unlock(&areas_mutex);
	if (!area)
		return -ENOENT;

	semshare_area_describe(area, info);
	kref_put_mutex(&area->refs, area_release, &areas_mutex);
	return 0;
}

/* ---------------------------------------------------------------- mapping */

/*
 * The mapping holds its file, the file its handle, the handle the area; what is
 * counted here is only for the listing.  Pages are handed out as they are
 * touched: a mapping of a large area costs nothing that is not used.
 */
static void area_vm_open(struct vm_area_struct *vma)
{
	struct semshare_area *area = vma->vm_private_data;

	atomic_inc(&area->maps);
}

static void area_vm_close(struct vm_area_struct *vma)
{
	struct semshare_area *area = vma->vm_private_data;

	atomic_dec(&area->maps);
}

static vm_fault_t area_vm_fault(struct vm_fault *vmf)
{
	struct semshare_area *area = vmf->vma->vm_private_data;

	if (vmf->pgoff >= area->nr_pages)
		return VM_FAULT_SIGBUS;
	vmf->page = area->pages[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

/* Maps a huge page as a whole, where the mapping is aligned as it is and reaches as far. */
static __maybe_unused vm_fault_t area_vm_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	struct semshare_area *area = vma->vm_private_data;
	unsigned long start = vmf->address & PMD_MASK;
	unsigned long index;
	struct folio *folio;

	if (order != SEMSHARE_HUGE_ORDER || start < vma->vm_start ||
	    vma->vm_end - start < PMD_SIZE)
		return VM_FAULT_FALLBACK;
	index = vma->vm_pgoff + ((start - vma->vm_start) >> PAGE_SHIFT);
	if (index >= area->nr_pages || area->nr_pages - index < SEMSHARE_HUGE_PAGES)
		return VM_FAULT_FALLBACK;
	folio = page_folio(area->pages[index]);
	if (folio_order(folio) != order || folio_page(folio, 0) != area->pages[index])
		return VM_FAULT_FALLBACK;
	return vmf_insert_folio_pmd(vmf, folio, vmf->flags & FAULT_FLAG_WRITE);
}

static const struct vm_operations_struct area_vm_ops = {
	.open = area_vm_open,
	.close = area_vm_close,
	.fault = area_vm_fault,
	.huge_fault = SEMSHARE_HUGE_FAULT(area_vm_huge_fault),
};

/* The mapping holds the area, and the area the memory: no references are needed. */
static vm_fault_t area_vm_fault_by_number(struct vm_fault *vmf)
{
	struct semshare_area *area = vmf->vma->vm_private_data;

	if (vmf->pgoff >= area->nr_pages)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vmf->vma, vmf->address, semshare_area_pfn(area, vmf->pgoff));
}

static const struct vm_operations_struct area_vm_ops_by_number = {
	.open = area_vm_open,
	.close = area_vm_close,
	.fault = area_vm_fault_by_number,
};

/**
 * semshare_area_guarded_from - whether a handle must not write the start of an area
 * @area: the area
 * @access: SEMSHARE_ACCESS_* of the handle
 */
bool semshare_area_guarded_from(const struct semshare_area *area, u32 access)
{
	return area->guard_pages && !(access & SEMSHARE_ACCESS_GUARDED);
}

/**
 * semshare_area_map - map an area into a process
 * @area: the area, held by the file that @vma keeps open
 * @vma: the mapping
 * @access: SEMSHARE_ACCESS_* of the handle
 *
 * Return: 0; -EINVAL for a private mapping, or one that reaches past the area;
 * -EACCES for an executable one, or one that the handle does not allow.
 */
int semshare_area_map(struct semshare_area *area, struct vm_area_struct *vma, u32 access)
{
	unsigned long nr_pages = vma_pages(vma);

	/*
	 * Not VM_SHARED: mmap() clears that one on shared mappings of a file that
	 * is not open for writing.
	 */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff > area->nr_pages || nr_pages > area->nr_pages - vma->vm_pgoff)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	if (!(access & SEMSHARE_ACCESS_READ))
		return -EACCES;
	/* VM_DONTEXPAND below: a mapping behind the guard does not grow into it either. */
	if (semshare_area_guarded_from(area, access) && vma->vm_pgoff < area->guard_pages)
		access &= ~SEMSHARE_ACCESS_WRITE;
	if (!(access & SEMSHARE_ACCESS_WRITE)) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		vm_flags_clear(vma, VM_MAYWRITE);
	}
	vm_flags_clear(vma, VM_MAYEXEC);
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = area;
	vma->vm_ops = &area_vm_ops;
	if (area->backing->by_number) {
		vm_flags_set(vma, VM_PFNMAP);
		vma->vm_ops = &area_vm_ops_by_number;
	}
	area_vm_open(vma);
	return 0;
}

/* ------------------------------------------------------------------------- */

/* Files and kernel users pin the module: nothing can be left by now. */
void semshare_area_exit(void)
{
	WARN_ON(!xa_empty(&areas_by_id));
	xa_destroy(&areas_by_id);
}
