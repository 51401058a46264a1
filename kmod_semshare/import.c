// SPDX-License-Identifier: GPL-2.0
/*
 * Areas made of memory that user space has already: a memfd, or a SysV shared
 * memory segment.
 *
 * The file is mapped for a moment in the process that asks, its pages are pinned
 * by way of that mapping, and the mapping is taken away again.  This is how the
 * rights to the file are asked as always, how pages get out of places where
 * nothing may stay for long (FOLL_LONGTERM), and how ordinary and huge pages are
 * all the same.  From then on the area needs neither the process nor the file:
 * whoever unmaps, truncates, punches holes or removes takes pages out of the
 * file, and these pages live until the area goes.
 *
 * Who maps the area gets these very pages, by number (see semshare_backing): a
 * mapping of the file would show other ones after a hole was punched; and pages
 * of somebody else's file may not be mapped as ours, since the kernel takes them
 * out of each mapping that it knows of when it truncates the file, and would find
 * them still mapped.  The price: such a mapping is no memory to read(2) into with
 * O_DIRECT, or for a debugger.
 *
 * Other threads of the process may put something else in place of the mapping
 * at any time.  So it is looked at, and its pages pinned, under one hold of the
 * mmap lock.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/nsproxy.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "area.h"
#include "backing.h"
#include "compat/compat.h"
#include "import.h"
#include "resolve.h"

/* So many pages are given back without a pause. */
#define UNPIN_BATCH	512u
#define UNMAP_TRIES	10

/* ------------------------------------------------------------- accounting */

/*
 * By user, not by process: the pins outlive the process.  The credentials are
 * kept for the user that they lead to, so it is the same who gets it back.
 */
static int pins_charge(struct semshare_area *area, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	const struct cred *cred = current_cred();
	long was, will;

	if (!pages || capable(CAP_IPC_LOCK))
		return 0;
	was = atomic_long_read(&cred->user->locked_vm);
	do {
		will = was + pages;
		if (will > limit)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&cred->user->locked_vm, &was, will));
	if (!area->payer)
		area->payer = get_cred(cred);
	area->charged += pages;
	return 0;
}

/* A pin of a part keeps all of a huge page: that part was charged already, as if it were all. */
static int pins_charge_whole(struct semshare_area *area)
{
	struct folio *folio, *last = NULL;
	unsigned long held = 0;
	unsigned int i;

	for (i = 0; i < area->nr_pages; i++) {
		folio = page_folio(area->pages[i]);
		if (folio != last)
			held += folio_nr_pages(folio);
		last = folio;
	}
	return pins_charge(area, held - area->nr_pages);
}

static void pins_uncharge(struct semshare_area *area)
{
	if (!area->payer)
		return;
	atomic_long_sub(area->charged, &area->payer->user->locked_vm);
	put_cred(area->payer);
}

/* ---------------------------------------------------------------- pinning */

/* Whether @vma is of the file of that segment, and not what somebody put there since. */
static bool is_segment(const struct vm_area_struct *vma, int shmid)
{
	const struct inode *inode = file_inode(vma->vm_file);
	unsigned long magic = inode->i_sb->s_magic;

	return inode->i_ino == (unsigned int)shmid &&
	       (magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC);
}

/**
 * pages_pin - pin the pages of a mapping that was made just now
 * @pinned: how many, and memory for them; out: what was pinned, also on an error
 * @start: where it starts, in current's address space
 * @file: of which file it is, or NULL: of segment @shmid
 * @shmid: see @file
 * @length: out: bytes of the mapping from @start, if it is what it was
 *
 * Return: 0; -EINVAL: it is shorter than that; -EFAULT: it is something else
 * by now, or its pages cannot be had; -EINTR; -ENOMEM.
 */
static int pages_pin(struct semshare_pinned *pinned, unsigned long start, struct file *file,
		     int shmid, unsigned long *length)
{
	const unsigned long wanted = VM_SHARED | VM_WRITE;
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	long count = 0;
	int err = -EFAULT;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = vma_lookup(mm, start);
	if (!vma || !vma->vm_file || (vma->vm_flags & wanted) != wanted ||
	    vma->vm_pgoff + ((start - vma->vm_start) >> PAGE_SHIFT) ||
	    (file ? vma->vm_file != file : !is_segment(vma, shmid)))
		goto out;
	*length = vma->vm_end - start;
	err = -EINVAL;
	if (*length >> PAGE_SHIFT < pinned->wanted)
		goto out;
	err = 0;
	while (!err && pinned->count < pinned->wanted) {
		count = semshare_pin_user_pages(start + ((u64)pinned->count << PAGE_SHIFT),
						pinned->wanted - pinned->count,
						FOLL_WRITE | FOLL_LONGTERM,
						pinned->pages + pinned->count);
		if (count > 0)
			pinned->count += count;
		else
			err = count ?: -EFAULT;
	}
	if (fatal_signal_pending(current))
		err = -EINTR;
out:
	mmap_read_unlock(mm);
	return err;
}

/*
 * To unmap needs memory itself.  What cannot be unmapped stays with the process, which
 * has a right to it.
 */
static void unmap(unsigned long start, unsigned long length)
{
	unsigned int tries;

	for (tries = 0; tries < UNMAP_TRIES; tries++)
		if (vm_munmap(start, length) != -ENOMEM)
			return;
}

/**
 * semshare_unpin - give back what is pinned
 * @pinned: the pages
 *
 * Context: process context, may sleep.
 */
void semshare_unpin(struct semshare_pinned *pinned)
{
	unsigned int i, count;

	for (i = 0; i < pinned->count; i += count) {
		count = min(pinned->count - i, UNPIN_BATCH);
		/* Kernel code may have written any of them. */
		unpin_user_pages_dirty_lock(pinned->pages + i, count, true);
		cond_resched();
	}
	pinned->count = 0;
}

static int import_begin(struct semshare_area *area)
{
	if (!current->mm)
		return -EOPNOTSUPP;
	area->pages = kvcalloc(area->nr_pages, sizeof(*area->pages), GFP_KERNEL_ACCOUNT);
	return area->pages ? pins_charge(area, area->nr_pages) : -ENOMEM;
}

static int import_end(struct semshare_area *area, int err)
{
	if (!err)
		err = pins_charge_whole(area);
	if (err)
		return err;
	area->data = vmap(area->pages, area->nr_pages, VM_MAP, PAGE_KERNEL);
	return area->data ? 0 : -ENOMEM;
}

static void import_empty(struct semshare_area *area)
{
	struct semshare_pinned pinned = { .pages = area->pages, .count = area->nr_pinned };

	vunmap(area->data);
	semshare_unpin(&pinned);
	kvfree(area->pages);
	pins_uncharge(area);
}

/* ------------------------------------------------------------ the sources */

/* Seals are only ever added, and none against writing while a page is pinned. */
static int memfd_check(struct file *file, u64 size)
{
	long seals = static_call(semshare_memfd_fcntl)(file, F_GET_SEALS, 0);

	if (seals < 0)
		return -EINVAL;
	if (!(seals & F_SEAL_SHRINK) || seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	if (!(file->f_mode & FMODE_READ) || !(file->f_mode & FMODE_WRITE))
		return -EACCES;
	return size > i_size_read(file_inode(file)) ? -EINVAL : 0;
}

static int memfd_pin(struct semshare_area *area, struct file *file)
{
	struct semshare_pinned pinned = { .pages = area->pages, .wanted = area->nr_pages };
	unsigned long length = PAGE_ALIGN(i_size_read(file_inode(file)));
	unsigned long start, found;
	int err;

	/* All of it: of huge pages there can be no part. */
	start = vm_mmap(file, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	if (IS_ERR_VALUE(start))
		return (long)start;
	err = pages_pin(&pinned, start, file, 0, &found);
	area->nr_pinned = pinned.count;
	unmap(start, length);
	return err;
}

static int memfd_fill(struct semshare_area *area, const struct semshare_area_make *make)
{
	struct file *file;
	int err;

	if (!semshare_has(SEMSHARE_FN_MEMFD_FCNTL))
		return -EOPNOTSUPP;
	file = fget(make->source);
	if (!file)
		return -EBADF;
	err = memfd_check(file, area->size);
	if (!err)
		err = import_begin(area);
	if (!err)
		err = memfd_pin(area, file);
	fput(file);
	return import_end(area, err);
}

/**
 * semshare_segment_pin - pin the first pages of a SysV segment
 * @pinned: how many, and memory for them; what was pinned is its caller's to give
 *	back, also on an error
 * @shmid: the segment, of current's IPC namespace
 *
 * Context: process context of a process, sleeps.  The caller does not hold its
 * mmap_lock.
 * Return: 0; -EACCES: current may not write it; -EINVAL, -EIDRM: there is none, or it
 * is shorter; -EFAULT: something else was mapped in its place meanwhile, or its
 * pages cannot be had; -EINTR; -ENOMEM; -EOPNOTSUPP: this kernel lacks a function.
 */
int semshare_segment_pin(struct semshare_pinned *pinned, int shmid)
{
	unsigned long start, length = 0;
	int err;

	if (!semshare_has(SEMSHARE_FN_DO_SHMAT) || !current->mm)
		return -EOPNOTSUPP;
	err = static_call(semshare_do_shmat)(shmid, NULL, 0, &start, SHMLBA);
	if (err)
		return err;
	err = pages_pin(pinned, start, NULL, shmid, &length);
	if (length)
		unmap(start, length);
	return err;
}

static int sysv_pin(struct semshare_area *area, int shmid)
{
	struct semshare_pinned pinned = { .pages = area->pages, .wanted = area->nr_pages };
	int err = semshare_segment_pin(&pinned, shmid);

	area->nr_pinned = pinned.count;
	return err;
}

static int sysv_fill(struct semshare_area *area, const struct semshare_area_make *make)
{
	int err;

	if (!semshare_has(SEMSHARE_FN_DO_SHMAT))
		return -EOPNOTSUPP;
	if (!current->nsproxy || current->nsproxy->ipc_ns != area->ns)
		return -EXDEV;
	err = import_begin(area);
	if (!err)
		err = sysv_pin(area, make->source);
	return import_end(area, err);
}

const struct semshare_backing semshare_backing_memfd = {
	.by_number = true,
	.fill = memfd_fill,
	.empty = import_empty,
};

const struct semshare_backing semshare_backing_sysv = {
	.by_number = true,
	.fill = sysv_fill,
	.empty = import_empty,
};
