// SPDX-License-Identifier: GPL-2.0
/*
 * GETALL and SETALL on kernel memory, by the kernel's own semctl_main().
 *
 * That function reads and writes the values through a user address, and only
 * it can do so atomically.  So it is given a user address, of memory that no
 * user can write:
 *
 *   kernel threads	an address space of the module's own, which belongs to
 *			no process.  The thread borrows it for the call
 *   GETALL by a	goes to a worker, with the process's credentials, and
 *   process		from there as above: what passes through a mapping of
 *			the process is what its other threads made of it
 *   SETALL by a	must run in the process, because the set remembers who
 *   process		changed it.  The values lie in kernel memory, mapped
 *			read-only into the process for the length of the call
 *
 * How many values semctl_main() moves is up to the set that it finds, which
 * need not be the one whose size was asked for a moment ago.  So a value that
 * no semaphore can have stands behind the last one: SETALL of a larger set
 * stumbles over it before anything is changed, and after GETALL it tells how
 * many were written.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "compat/compat.h"
#include "resolve.h"
#include "scratch.h"
#include "sem.h"

#define NO_VALUE	0xffff		/* SEMVMX is 0x7fff */

/* What stays mapped between calls: enough for SEMMSL as it is by default. */
#define SPACE_KEPT	SZ_64K

#define UNMAP_TRIES	100

/**
 * struct values_call - one GETALL or SETALL
 * @ns: whose set
 * @semid: which set
 * @cmd: GETALL or SETALL
 * @count: semaphores that the caller believes are in the set
 * @size: bytes at @image that matter
 * @image: @count values and NO_VALUE, in memory of vmalloc_user()
 * @cred: on whose behalf, for the worker
 * @result: of the worker
 * @work: for the worker
 */
struct values_call {
	struct ipc_namespace *ns;
	int semid;
	int cmd;
	unsigned int count;
	size_t size;
	u16 *image;
	const struct cred *cred;
	int result;
	struct work_struct work;
};

static struct workqueue_struct *worker;

/* The address space of the module's own, one user at a time. */
static DEFINE_MUTEX(space_lock);
static struct mm_struct *space;
static unsigned long space_address;
static size_t space_size;

static int semctl_main_at(const struct values_call *call, void __user *at)
{
	return static_call(semshare_semctl_main)(call->ns, call->semid, 0, call->cmd, at);
}

/* ------------------------------------------------- in the module's own space */

static int unmap_space(void)
{
	if (space_size && vm_munmap(space_address, space_size))
		return -ENOMEM;
	space_size = 0;
	return 0;
}

/* Have @size bytes mapped at space_address.  The caller has space as its mm. */
static int map_space(size_t size)
{
	unsigned long address;
	int error;

	if (size <= space_size)
		return 0;
	error = unmap_space();
	if (error)
		return error;
	size = max_t(size_t, PAGE_ALIGN(size), SPACE_KEPT);
	address = vm_mmap(NULL, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (IS_ERR_VALUE(address))
		return -ENOMEM;
	space_address = address;
	space_size = size;
	return 0;
}

static int call_in_space(struct values_call *call)
{
	struct mm_struct *borrowed = current->mm;
	void __user *at;
	int error;

	/*
	 * Nobody holds this lock while waiting for anything that user space
	 * can delay, so it need not be interruptible.
	 */
	mutex_lock(&space_lock);
	if (borrowed)
		kthread_unuse_mm(borrowed);
	kthread_use_mm(space);

	error = map_space(call->size);
	at = (void __user *)space_address;
	if (!error)
		error = copy_to_user(at, call->image, call->size) ? -ENOMEM : 0;
	if (!error)
		error = semctl_main_at(call, at);
	if (!error && call->cmd == GETALL)
		error = copy_from_user(call->image, at, call->size) ? -ENOMEM : 0;
	if (space_size > SPACE_KEPT)
		unmap_space();

	kthread_unuse_mm(space);
	if (borrowed)
		kthread_use_mm(borrowed);
	mutex_unlock(&space_lock);
	return error;
}

static void run_in_worker(struct work_struct *work)
{
	struct values_call *call = container_of(work, struct values_call, work);
	const struct cred *old = override_creds(call->cred);

	call->result = call_in_space(call);
	revert_creds(old);
}

static int call_by_worker(struct values_call *call)
{
	call->cred = current_cred();
	INIT_WORK_ONSTACK(&call->work, run_in_worker);
	queue_work(worker, &call->work);
	flush_work(&call->work);
	destroy_work_on_stack(&call->work);
	return call->result;
}

/* ---------------------------------------------------- in the caller's process */

/* Other threads may not take it elsewhere, or in pieces, where unmap_image() would not find it. */
static int image_stays(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static int image_stays_whole(struct vm_area_struct *vma, unsigned long address)
{
	return -EINVAL;
}

static const struct vm_operations_struct image_vm_operations = {
	.mremap = image_stays,
	.may_split = image_stays_whole,
};

static int map_image(struct file *file, struct vm_area_struct *vma)
{
	void *image = file->private_data;
	unsigned long at;
	int error = 0;

	if (!image)
		return -EINVAL;
	/* A child forked by another thread in this moment gets no copy. */
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	vm_flags_clear(vma, VM_MAYWRITE | VM_MAYEXEC);
	vma->vm_ops = &image_vm_operations;
	for (at = vma->vm_start; at < vma->vm_end && !error; at += PAGE_SIZE)
		error = vm_insert_page(vma, at, vmalloc_to_page(image + (at - vma->vm_start)));
	return error;
}

static const struct file_operations image_operations = {
	.owner = THIS_MODULE,
	.mmap = map_image,
};

/*
 * To unmap takes memory.  It is short for a moment or the process is being
 * killed for it, and then its exit unmaps; so try for some ticks and no longer.
 */
static void unmap_image(unsigned long address, size_t size)
{
	int tries = UNMAP_TRIES;

	while (vm_munmap(address, size) == -ENOMEM && --tries && !fatal_signal_pending(current))
		schedule_timeout_uninterruptible(1);
}

static int call_in_process(struct values_call *call)
{
	unsigned long address;
	struct file *file;
	int error;

	file = anon_inode_getfile("[semshare]", &image_operations, call->image, O_RDONLY);
	if (IS_ERR(file))
		return PTR_ERR(file);
	address = vm_mmap(file, 0, PAGE_ALIGN(call->size), PROT_READ, MAP_SHARED, 0);
	if (IS_ERR_VALUE(address)) {
		error = -ENOMEM;
	} else {
		error = semctl_main_at(call, (void __user *)address);
		unmap_image(address, PAGE_ALIGN(call->size));
	}
	/* The pages have references of their own and outlive @image if need be; so may the file. */
	file->private_data = NULL;
	fput(file);
	return error;
}

/* ----------------------------------------------------------------------- all */

/* What an error, or its absence, means if the set has become another one. */
static int check_count(const struct values_call *call, int error, bool values_valid)
{
	struct semshare_sem_facts facts;

	/* Larger than all the memory mapped; or a page of it was not to be had. */
	if (error == -EFAULT)
		return semshare_sem_facts(call->ns, call->semid, &facts) ||
		       facts.nsems != call->count ? -EIDRM : -ENOMEM;
	if (call->cmd == SETALL)
		return error == -ERANGE && values_valid ? -EIDRM : error;
	if (error)
		return error;
	if (call->image[call->count] != NO_VALUE || call->image[call->count - 1] == NO_VALUE)
		return -EIDRM;
	return 0;
}

static bool are_valid(const u16 *values, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (values[i] > SEMVMX)
			return false;
	return true;
}

/**
 * semshare_scratch_semctl - GETALL or SETALL
 * @ns: namespace of the set
 * @semid: the set, not negative
 * @cmd: GETALL or SETALL
 * @values: @count values in kernel memory
 * @count: semaphores in the set, as found just now; at least 1
 *
 * Context: process context, may sleep; the caller holds no mmap_lock.
 * Return: 0; -EIDRM if the set was removed, or became one of another size, in
 * between; -EOPNOTSUPP if this kernel lacks a function; -ENOMEM; or what the
 * kernel's semctl_main() answers.
 */
int semshare_scratch_semctl(struct ipc_namespace *ns, int semid, int cmd,
			    unsigned short *values, unsigned int count)
{
	struct values_call call = {
		.ns = ns,
		.semid = semid,
		.cmd = cmd,
		.count = count,
		.size = (count + 1) * sizeof(u16),
	};
	bool valid = true;
	int error;

	if (!semshare_has(SEMSHARE_FN_SEMCTL_MAIN))
		return -EOPNOTSUPP;
	/* Accounted: where unmap_image() gives up, a process may keep it for a while. */
	call.image = __vmalloc(PAGE_ALIGN(call.size), GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!call.image)
		return -ENOMEM;
	memset(call.image, 0xff, PAGE_ALIGN(call.size));
	if (cmd == SETALL) {
		memcpy(call.image, values, count * sizeof(*values));
		valid = are_valid(call.image, count);
	}

	if (cmd == SETALL && !(current->flags & PF_KTHREAD) && current->mm)
		error = call_in_process(&call);
	else if (!semshare_scratch_ready())
		error = -EOPNOTSUPP;
	else if (current->flags & PF_KTHREAD)
		error = call_in_space(&call);
	else
		error = call_by_worker(&call);

	error = check_count(&call, error, valid);
	if (!error && cmd == GETALL)
		memcpy(values, call.image, count * sizeof(*values));
	vfree(call.image);
	return error;
}

/**
 * semshare_scratch_ready - whether GETALL works, and SETALL from kernel threads
 *
 * Context: any.
 * Return: true if so.
 */
bool semshare_scratch_ready(void)
{
	return space;
}

/**
 * semshare_scratch_init - make the address space of the module's own
 *
 * Nothing is mapped in it yet, because that takes a kernel thread: the first
 * that needs it does so.
 *
 * Context: module load, in the process that loads it.
 * Return: 0, also if this kernel lacks a function for it, or -ENOMEM.
 */
int __init semshare_scratch_init(void)
{
	if (!semshare_has(SEMSHARE_FN_MM_ALLOC) ||
	    !semshare_has(SEMSHARE_FN_ARCH_PICK_MMAP_LAYOUT) ||
	    !semshare_has(SEMSHARE_FN_SEMCTL_MAIN))
		return 0;
	worker = alloc_workqueue("semshare", WQ_UNBOUND, 0);
	if (!worker)
		return -ENOMEM;
	space = static_call(semshare_mm_alloc)();
	if (!space) {
		destroy_workqueue(worker);
		return -ENOMEM;
	}
#ifdef CONFIG_MEMCG
	/* It would name the loader and go on doing so after the loader's end. */
	rcu_assign_pointer(space->owner, NULL);
#endif
	space->task_size = TASK_SIZE;
	static_call(semshare_arch_pick_mmap_layout)(space, &current->signal->rlim[RLIMIT_STACK]);
	return 0;
}

/**
 * semshare_scratch_exit - give it back
 *
 * Context: module unload, when nobody can call semshare_scratch_semctl() any
 * more.
 */
void semshare_scratch_exit(void)
{
	if (!space)
		return;
	destroy_workqueue(worker);
	mmput(space);
	space = NULL;
}
