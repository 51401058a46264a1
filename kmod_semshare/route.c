// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare-route: the system calls on SysV semaphores as ioctls, so that
 * any program can be run on this module's entry points.
 *
 * What comes from user memory is copied here, once, in the order in which the
 * system calls look at it: the first thing that is wrong decides the errno.
 * Then either the caller carries out the operation or a kernel thread does, one
 * for each call, so that one that sleeps is in nobody's way.
 *
 * An open file holds nothing.  Everything a call depends on is the caller's, at
 * the call: whoever passes a descriptor on gives nothing away, so the device is
 * open to all.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <semshare/route.h>

#include "device.h"
#include "route.h"
#include "sem.h"
#include "usage.h"

/* Up to so many operations need no allocation; most calls have one. */
#define SOPS_FAST	16

/**
 * struct operation - a call, all of it in kernel memory
 * @carry_out: what to do; what it returns is the call's result
 * @context: enum semshare_route_context
 * @ns: the caller's IPC namespace, which it cannot leave while it waits
 * @semid: the set
 * @sops: semtimedop: the operations
 * @nsops: semtimedop: how many
 * @timeout: semtimedop: or NULL
 * @semnum: semctl: the semaphore
 * @cmd: semctl: the command
 * @arg: semctl: its argument
 * @count: semctl GETALL, SETALL: values at @arg.array
 * @cred: KTHREAD: the caller's credentials
 * @begun: KTHREAD: the thread runs
 * @done: KTHREAD: it has been carried out
 * @result: KTHREAD: what came of it
 */
struct operation {
	int (*carry_out)(const struct operation *operation);
	u32 context;
	struct ipc_namespace *ns;
	int semid;
	struct sembuf *sops;
	unsigned int nsops;
	const struct timespec64 *timeout;
	int semnum;
	int cmd;
	union semshare_semun arg;
	unsigned int count;
	const struct cred *cred;
	struct completion begun;
	struct completion done;
	int result;
};

/* ----------------------------------------------- kernel threads, by user */

/*
 * Kernel threads count against no limit of a process or a control group.  One
 * caller waits for each, so a user's own limits bound them, but the system's
 * limit on threads is made with one thread for each of a user's in mind.
 */
static unsigned int max_user_threads = 4096;
module_param(max_user_threads, uint, 0644);
MODULE_PARM_DESC(max_user_threads,
		 "kernel threads that work at once for one user without CAP_SYS_RESOURCE (default 4096)");

static struct semshare_usage threads_by_uid = SEMSHARE_USAGE_INIT(threads_by_uid.mutex);

/* ------------------------------------------------------------ who does it */

static int operation_thread(void *data)
{
	struct operation *operation = data;
	const struct cred *old = override_creds(operation->cred);

	complete(&operation->begun);
	operation->result = operation->carry_out(operation);
	revert_creds(old);
	complete(&operation->done);
	return 0;
}

/*
 * A signal to the caller stops the thread, whose sleep ends with -EINTR unless
 * it has ended already: what was done is never reported as interrupted.  Nor is
 * anything interrupted that need not sleep: a thread that is stopped before it
 * runs never would, so first let it run, which takes no longer than a processor
 * takes to get to it.
 */
static int carry_out_in_thread(struct operation *operation)
{
	kuid_t uid = current_uid();
	struct task_struct *thread;
	int error;

	if (semshare_usage_charge(&threads_by_uid, uid, 1, READ_ONCE(max_user_threads)))
		return -ENOMEM;
	operation->cred = current_cred();
	init_completion(&operation->begun);
	init_completion(&operation->done);
	thread = kthread_create(operation_thread, operation, "semshare/%d", task_pid_nr(current));
	if (IS_ERR(thread)) {
		/* To the caller -EAGAIN means that the semaphore is not to be had. */
		error = PTR_ERR(thread) == -EAGAIN ? -ENOMEM : PTR_ERR(thread);
		goto out;
	}
	get_task_struct(thread);
	wake_up_process(thread);
	wait_for_completion(&operation->begun);
	/* What woke us does not matter: kthread_stop() waits for the end in any case. */
	(void)wait_for_completion_interruptible(&operation->done);
	kthread_stop(thread);
	put_task_struct(thread);
	error = operation->result;
out:
	semshare_usage_uncharge(&threads_by_uid, uid, 1);
	return error;
}

static int run(struct operation *operation)
{
	switch (operation->context) {
	case SEMSHARE_ROUTE_CALLER:
		return operation->carry_out(operation);
	case SEMSHARE_ROUTE_KTHREAD:
		return carry_out_in_thread(operation);
	default:
		return -EINVAL;
	}
}

/* ------------------------------------------------------------------ semget */

static int route_semget(void __user *argument)
{
	struct semshare_route_semget call;

	if (copy_from_user(&call, argument, sizeof(call)))
		return -EFAULT;
	if (call.reserved)
		return -EINVAL;
	return semshare_semget(current->nsproxy->ipc_ns, call.key, call.nsems, call.flags);
}

/* -------------------------------------------------------- semop, semtimedop */

static int do_semtimedop(const struct operation *operation)
{
	return semshare_semtimedop(operation->ns, operation->semid, operation->sops,
				   operation->nsops, operation->timeout);
}

static int route_semtimedop(void __user *argument)
{
	struct semshare_route_semtimedop call;
	struct operation operation = { .carry_out = do_semtimedop };
	struct sembuf fast[SOPS_FAST];
	struct timespec64 timeout;
	int result;

	if (copy_from_user(&call, argument, sizeof(call)))
		return -EFAULT;
	if (call.reserved)
		return -EINVAL;
	operation.context = call.context;
	operation.ns = current->nsproxy->ipc_ns;
	operation.semid = call.semid;
	operation.nsops = call.nsops;
	operation.sops = fast;

	if (call.timeout) {
		if (get_timespec64(&timeout, u64_to_user_ptr(call.timeout)))
			return -EFAULT;
		operation.timeout = &timeout;
	}
	if (call.nsops > semshare_sem_max_nsops(operation.ns))
		return -E2BIG;
	if (!call.nsops)
		return -EINVAL;
	if (call.nsops > SOPS_FAST) {
		/* The limit may be set to what no allocation can have. */
		operation.sops = kvmalloc_array(call.nsops, sizeof(*operation.sops),
						GFP_KERNEL | __GFP_NOWARN);
		if (!operation.sops)
			return -ENOMEM;
	}
	if (copy_from_user(operation.sops, u64_to_user_ptr(call.sops),
			   call.nsops * sizeof(*operation.sops)))
		result = -EFAULT;
	else
		result = run(&operation);
	if (operation.sops != fast)
		kvfree(operation.sops);
	return result;
}

/* ------------------------------------------------------------------ semctl */

static int do_semctl(const struct operation *operation)
{
	return semshare_semctl(operation->ns, operation->semid, operation->semnum,
			       operation->cmd, operation->arg);
}

static int do_values(const struct operation *operation)
{
	return semshare_semctl_values(operation->ns, operation->semid, operation->cmd,
				      operation->arg.array, operation->count);
}

/* GETALL and SETALL of a set that has as many semaphores as @operation->count says. */
static int route_values_of(struct operation *operation, void __user *user)
{
	size_t size = operation->count * sizeof(*operation->arg.array);
	unsigned short *values = kvmalloc(size, GFP_KERNEL | __GFP_NOWARN);
	int result;

	if (!values)
		return -ENOMEM;
	operation->arg.array = values;
	if (operation->cmd == SETALL && copy_from_user(values, user, size)) {
		/* The system call asks for the right first. */
		result = semshare_sem_may_alter(operation->ns, operation->semid) ?: -EFAULT;
		goto out;
	}
	result = run(operation);
	if (!result && operation->cmd == GETALL && copy_to_user(user, values, size))
		result = -EFAULT;
out:
	kvfree(values);
	return result;
}

/* As often as the id comes to name a set of another size meanwhile. */
static int route_values(struct operation *operation, void __user *user)
{
	struct semshare_sem_facts facts;
	int result;

	result = semshare_sem_facts(operation->ns, operation->semid, &facts);
	if (result)
		return result;
	operation->carry_out = do_values;
	do {
		operation->count = facts.nsems;
		result = route_values_of(operation, user);
	} while (result == -EINVAL && !signal_pending(current) &&
		 !semshare_sem_facts(operation->ns, operation->semid, &facts) &&
		 facts.nsems != operation->count);
	return result;
}

static int route_semctl(void __user *argument)
{
	struct semshare_route_semctl call;
	struct operation operation = { .carry_out = do_semctl };
	union {
		struct semid64_ds ds;
		struct seminfo info;
	} memory = {};
	void __user *user;
	size_t size;
	int result;

	if (copy_from_user(&call, argument, sizeof(call)))
		return -EFAULT;
	user = u64_to_user_ptr(call.arg);
	operation.context = call.context;
	operation.ns = current->nsproxy->ipc_ns;
	operation.semid = call.semid;
	operation.semnum = call.semnum;
	operation.cmd = call.cmd;
	if (call.semid < 0)
		return -EINVAL;

	switch (call.cmd) {
	case IPC_INFO:
	case SEM_INFO:
		operation.arg.info = &memory.info;
		size = sizeof(memory.info);
		break;
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		operation.arg.buf = &memory.ds;
		size = sizeof(memory.ds);
		break;
	case GETALL:
	case SETALL:
		return route_values(&operation, user);
	case IPC_SET:
		if (copy_from_user(&memory.ds, user, sizeof(memory.ds)))
			return -EFAULT;
		operation.arg.buf = &memory.ds;
		return run(&operation);
	case SETVAL:
		operation.arg.val = (int)call.arg;	/* as the system call cuts it */
		return run(&operation);
	case GETPID:
		/* The answer is an id in the pid namespace of who asks, and that is the caller. */
		if (operation.context == SEMSHARE_ROUTE_KTHREAD)
			operation.context = SEMSHARE_ROUTE_CALLER;
		return run(&operation);
	default:
		return run(&operation);
	}
	result = run(&operation);
	if (result >= 0 && copy_to_user(user, &memory, size))
		return -EFAULT;
	return result;
}

/* -------------------------------------------------------------- the device */

/*
 * A module that fails to load is freed even while a file of its is open, and
 * after this device there is more to come that can fail: let nobody open it
 * before.
 */
static bool started;

static int route_open(struct inode *inode, struct file *file)
{
	if (!READ_ONCE(started))
		return -ENODEV;
	return nonseekable_open(inode, file);
}

static long route_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;

	switch (command) {
	case SEMSHARE_IOC_VERSION:
		return semshare_ioctl_version(user);
	case SEMSHARE_ROUTE_SEMGET:
		return route_semget(user);
	case SEMSHARE_ROUTE_SEMTIMEDOP:
		return route_semtimedop(user);
	case SEMSHARE_ROUTE_SEMCTL:
		return route_semctl(user);
	default:
		return -ENOTTY;
	}
}

/* No compat_ioctl: structures inside the calls are those of 64-bit programs. */
static const struct file_operations route_fops = {
	.owner = THIS_MODULE,
	.open = route_open,
	.unlocked_ioctl = route_ioctl,
};

static struct miscdevice route_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-route",
	.fops = &route_fops,
	.mode = 0666,
};

/**
 * semshare_route_init - have the device there, which nobody can open yet
 *
 * Context: module load.
 * Return: 0 or what misc_register() answers.
 */
int __init semshare_route_init(void)
{
	return misc_register(&route_device);
}

/**
 * semshare_route_start - let them open it
 *
 * Context: module load, when nothing can fail any more.
 */
void semshare_route_start(void)
{
	WRITE_ONCE(started, true);
}

/**
 * semshare_route_exit - take it back
 *
 * Context: module unload: no file is open, so no call is under way.
 */
void semshare_route_exit(void)
{
	misc_deregister(&route_device);
}
