// SPDX-License-Identifier: GPL-2.0
/*
 * The entry points, called as kernel code calls them, on behalf of a test
 * program: every function, from every context, with any arguments.  The
 * program may pass nonsense; it may not pass what only a bug in a kernel caller
 * could (a wild pointer), because that is undefined there as well.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <semshare/kapi.h>
#include <semshare/test.h>

#include "../compat/compat.h"

#define MAX_BUFFER	SZ_1M
#define MAX_SLEEPERS	256
#define GUARD_SIZE	64
#define GUARD_BYTE	0xa5

static int sleeper_semid = -1;
module_param(sleeper_semid, int, 0444);
MODULE_PARM_DESC(sleeper_semid, "a set, in whose semaphore 0 kernel threads sleep from load to unload");

static unsigned int sleeper_threads = 1;
module_param(sleeper_threads, uint, 0444);
MODULE_PARM_DESC(sleeper_threads, "how many threads, with sleeper_semid");

static struct ipc_namespace *loader_ns;

/* --------------------------------------------------------------- one call */

/**
 * struct call - a call on its way through its context
 * @in: what the program asked for, and the answer
 * @ns: the namespace to pass
 * @buffer: @in.size bytes and a guard, or NULL
 * @mm: the caller's, for SEMSHARE_TEST_KTHREAD_MM
 * @done: the call has returned
 * @timer: for SEMSHARE_TEST_SOFTIRQ
 * @work: for SEMSHARE_TEST_WORKQUEUE
 */
struct call {
	struct semshare_test_call in;
	struct ipc_namespace *ns;
	void *buffer;
	struct mm_struct *mm;
	struct completion done;
	struct timer_list timer;
	struct work_struct work;
};

static int run_semctl(const struct semshare_test_call *in, struct ipc_namespace *ns, void *buffer)
{
	union semshare_semun arg = {};

	if (in->command == SETVAL)
		arg.val = in->value;
	else
		arg.buf = buffer;
	return semshare_semctl(ns, in->id, in->number, in->command, arg);
}

static int run_semtimedop(const struct semshare_test_call *in, struct ipc_namespace *ns,
			  struct sembuf *sops)
{
	struct timespec64 timeout = {
		.tv_sec = in->timeout_sec,
		.tv_nsec = in->timeout_nsec,
	};

	return semshare_semtimedop(ns, in->id, sops, in->number, in->timed ? &timeout : NULL);
}

/* The task's count of what is still to succeed, as in /proc/self/fail-nth. */
#ifdef CONFIG_FAULT_INJECTION
static unsigned int swap_fail_nth(unsigned int nth)
{
	unsigned int old = READ_ONCE(current->fail_nth);

	WRITE_ONCE(current->fail_nth, nth);
	return old;
}
#else
static unsigned int swap_fail_nth(unsigned int nth)
{
	return nth;
}
#endif

static void run_function(struct call *call)
{
	struct semshare_test_call *in = &call->in;

	switch (in->function) {
	case SEMSHARE_TEST_SEMGET:
		in->result = semshare_semget(call->ns, in->id, in->number, in->command);
		break;
	case SEMSHARE_TEST_SEMOP:
		in->result = semshare_semop(call->ns, in->id, call->buffer, in->number);
		break;
	case SEMSHARE_TEST_SEMTIMEDOP:
		in->result = run_semtimedop(in, call->ns, call->buffer);
		break;
	case SEMSHARE_TEST_SEMCTL:
		in->result = run_semctl(in, call->ns, call->buffer);
		break;
	case SEMSHARE_TEST_SEMCTL_VALUES:
		in->result = semshare_semctl_values(call->ns, in->id, in->command, call->buffer,
						    in->number);
		break;
	}
}

static void run(struct call *call)
{
	struct semshare_test_call *in = &call->in;
	unsigned int outer;

	in->pid = task_tgid_nr(current);
	if (!in->fail_nth) {
		run_function(call);
		return;
	}
	outer = swap_fail_nth(in->fail_nth);
	run_function(call);
	in->unfailed = swap_fail_nth(outer);
}

/* A kernel thread must not end before it is stopped. */
static void wait_for_stop(void)
{
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
}

static int thread_run(void *data)
{
	struct call *call = data;

	if (call->mm)
		kthread_use_mm(call->mm);
	run(call);
	if (call->mm)
		kthread_unuse_mm(call->mm);
	complete(&call->done);
	wait_for_stop();
	return 0;
}

static int run_in_thread(struct call *call)
{
	struct task_struct *thread;
	int interrupted;

	if (call->in.context == SEMSHARE_TEST_KTHREAD_MM)
		call->mm = current->mm;
	thread = kthread_run(thread_run, call, "semshare-test");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	/* A signal to the program stops the thread, and that its operation. */
	interrupted = wait_for_completion_interruptible(&call->done);
	kthread_stop(thread);
	return interrupted ? -EINTR : 0;
}

static void timer_run(struct timer_list *timer)
{
	struct call *call = container_of(timer, struct call, timer);

	run(call);
	complete(&call->done);
}

static void run_in_timer(struct call *call)
{
	timer_setup(&call->timer, timer_run, 0);
	mod_timer(&call->timer, jiffies + 1);
	wait_for_completion(&call->done);
	timer_delete_sync(&call->timer);
}

static void work_run(struct work_struct *work)
{
	run(container_of(work, struct call, work));
}

static int run_in_context(struct call *call)
{
	unsigned long flags;

	switch (call->in.context) {
	case SEMSHARE_TEST_PROCESS:
		run(call);
		return 0;
	case SEMSHARE_TEST_KTHREAD:
	case SEMSHARE_TEST_KTHREAD_MM:
		return run_in_thread(call);
	case SEMSHARE_TEST_SOFTIRQ:
		run_in_timer(call);
		return 0;
	case SEMSHARE_TEST_PREEMPT_OFF:
		preempt_disable();
		run(call);
		preempt_enable();
		return 0;
	case SEMSHARE_TEST_IRQS_OFF:
		local_irq_save(flags);
		run(call);
		local_irq_restore(flags);
		return 0;
	case SEMSHARE_TEST_RCU_READER:
		rcu_read_lock();
		run(call);
		rcu_read_unlock();
		return 0;
	case SEMSHARE_TEST_WORKQUEUE:
		INIT_WORK(&call->work, work_run);
		schedule_work(&call->work);
		flush_work(&call->work);
		return 0;
	default:
		return -EINVAL;
	}
}

static void *get_buffer(const struct semshare_test_call *in)
{
	void *buffer;

	if (!in->buffer)
		return NULL;
	if (in->size > MAX_BUFFER)
		return ERR_PTR(-E2BIG);
	buffer = kvmalloc(in->size + GUARD_SIZE, GFP_KERNEL);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	if (copy_from_user(buffer, u64_to_user_ptr(in->buffer), in->size)) {
		kvfree(buffer);
		return ERR_PTR(-EFAULT);
	}
	memset(buffer + in->size, GUARD_BYTE, GUARD_SIZE);
	return buffer;
}

/* ------------------------------------------------------------- sleepers */

/**
 * struct sleeper - a kernel thread asleep in a semaphore
 * @ns: of the set
 * @semid: the set
 * @semnum: the semaphore
 * @task: the thread
 * @result: what the operation returned: -EINTR if the thread was stopped
 */
struct sleeper {
	struct ipc_namespace *ns;
	int semid;
	u32 semnum;
	struct task_struct *task;
	int result;
};

/**
 * struct sleepers - those of one open file, or of the module
 * @count: how many
 * @sleeper: each
 */
struct sleepers {
	unsigned int count;
	struct sleeper *sleeper[MAX_SLEEPERS];
};

static struct sleepers loaded_sleepers;

static int sleeper_run(void *data)
{
	struct sleeper *sleeper = data;
	struct sembuf take = { .sem_num = sleeper->semnum, .sem_op = -1 };

	sleeper->result = semshare_semop(sleeper->ns, sleeper->semid, &take, 1);
	wait_for_stop();
	return 0;
}

static int start_sleeper(struct sleepers *sleepers, struct ipc_namespace *ns, int semid,
			 u32 semnum)
{
	struct sleeper *sleeper;

	if (sleepers->count == MAX_SLEEPERS)
		return -ENOSPC;
	sleeper = kzalloc(sizeof(*sleeper), GFP_KERNEL);
	if (!sleeper)
		return -ENOMEM;
	sleeper->ns = ns;
	sleeper->semid = semid;
	sleeper->semnum = semnum;
	sleeper->result = -EINTR;
	sleeper->task = kthread_run(sleeper_run, sleeper, "semshare-sleep");
	if (IS_ERR(sleeper->task)) {
		int error = PTR_ERR(sleeper->task);

		kfree(sleeper);
		return error;
	}
	sleepers->sleeper[sleepers->count++] = sleeper;
	return 0;
}

/* Stop them all; how many had returned by themselves, and what the first says. */
static void stop_sleepers(struct sleepers *sleepers, u32 *returned, s32 *result)
{
	unsigned int i;

	*returned = 0;
	*result = 0;
	for (i = 0; i < sleepers->count; i++) {
		struct sleeper *sleeper = sleepers->sleeper[i];

		kthread_stop(sleeper->task);
		*returned += sleeper->result != -EINTR;
		if (i == 0)
			*result = sleeper->result;
		kfree(sleeper);
	}
	sleepers->count = 0;
}

/* -------------------------------------------------------------- the device */

/**
 * struct test_file - an open file
 * @ns: the IPC namespace in which it was opened
 * @mutex: guards @sleepers
 * @sleepers: its threads
 */
struct test_file {
	struct ipc_namespace *ns;
	struct mutex mutex;	/* guards @sleepers */
	struct sleepers sleepers;
};

static int test_open(struct inode *inode, struct file *file)
{
	struct test_file *test;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	test = kvzalloc(sizeof(*test), GFP_KERNEL);
	if (!test)
		return -ENOMEM;
	mutex_init(&test->mutex);
	test->ns = semshare_ipc_ns_get();
	file->private_data = test;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct test_file *test = file->private_data;
	u32 returned;
	s32 result;

	stop_sleepers(&test->sleepers, &returned, &result);
	semshare_ipc_ns_put(test->ns);
	kvfree(test);
	return 0;
}

static long ioctl_call(struct test_file *test, struct semshare_test_call __user *argument)
{
	struct call *call;
	struct ipc_namespace *current_ns = semshare_ipc_ns_get();
	long error;

	call = kzalloc(sizeof(*call), GFP_KERNEL);
	error = -ENOMEM;
	if (!call)
		goto out_ns;
	init_completion(&call->done);
	error = -EFAULT;
	if (copy_from_user(&call->in, argument, sizeof(call->in)))
		goto out_call;
	error = -EINVAL;
	if (call->in.unfailed || call->in.function < SEMSHARE_TEST_SEMGET ||
	    call->in.function > SEMSHARE_TEST_SEMCTL_VALUES)
		goto out_call;
	switch (call->in.ns) {
	case SEMSHARE_TEST_NS_CURRENT:
		call->ns = current_ns;
		break;
	case SEMSHARE_TEST_NS_OPENED:
		call->ns = test->ns;
		break;
	case SEMSHARE_TEST_NS_LOADER:
		call->ns = loader_ns;
		break;
	case SEMSHARE_TEST_NS_NULL:
		break;
	default:
		goto out_call;
	}
	call->buffer = get_buffer(&call->in);
	error = PTR_ERR_OR_ZERO(call->buffer);
	if (error)
		goto out_call;

	call->in.result = -EINTR;	/* of a thread stopped before it ran */
	error = run_in_context(call);
	/* A thread that a signal stopped has an answer all the same: its -EINTR. */
	if (error == -EINTR)
		error = 0;
	if (call->buffer) {
		call->in.overrun = !!memchr_inv(call->buffer + call->in.size, GUARD_BYTE,
						GUARD_SIZE);
		if (!error && copy_to_user(u64_to_user_ptr(call->in.buffer), call->buffer,
					   call->in.size))
			error = -EFAULT;
	}
	if (!error && copy_to_user(argument, &call->in, sizeof(call->in)))
		error = -EFAULT;
	kvfree(call->buffer);
out_call:
	kfree(call);
out_ns:
	semshare_ipc_ns_put(current_ns);
	return error;
}

static long ioctl_sleep(struct test_file *test, const void __user *argument)
{
	struct semshare_test_sleep sleep;
	int error = 0;

	if (copy_from_user(&sleep, argument, sizeof(sleep)))
		return -EFAULT;
	if (sleep.reserved)
		return -EINVAL;
	mutex_lock(&test->mutex);
	while (!error && sleep.threads--)
		error = start_sleeper(&test->sleepers, test->ns, sleep.id, sleep.number);
	mutex_unlock(&test->mutex);
	return error;
}

static long ioctl_wake(struct test_file *test, void __user *argument)
{
	struct semshare_test_sleep sleep = {};

	mutex_lock(&test->mutex);
	stop_sleepers(&test->sleepers, &sleep.returned, &sleep.result);
	mutex_unlock(&test->mutex);
	return copy_to_user(argument, &sleep, sizeof(sleep)) ? -EFAULT : 0;
}

static long test_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct test_file *test = file->private_data;

	switch (command) {
	case SEMSHARE_TEST_IOC_CALL:
		return ioctl_call(test, (void __user *)argument);
	case SEMSHARE_TEST_IOC_SLEEP:
		return ioctl_sleep(test, (void __user *)argument);
	case SEMSHARE_TEST_IOC_WAKE:
		return ioctl_wake(test, (void __user *)argument);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations test_operations = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.unlocked_ioctl = test_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice test_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-test",
	.fops = &test_operations,
	.mode = 0600,
};

static int __init test_init(void)
{
	u32 returned;
	s32 result;
	int error = 0;
	unsigned int i;

	loader_ns = semshare_ipc_ns_get();
	for (i = 0; sleeper_semid >= 0 && i < sleeper_threads && !error; i++)
		error = start_sleeper(&loaded_sleepers, loader_ns, sleeper_semid, 0);
	if (!error)
		error = misc_register(&test_device);
	if (error) {
		stop_sleepers(&loaded_sleepers, &returned, &result);
		semshare_ipc_ns_put(loader_ns);
	}
	return error;
}

static void __exit test_exit(void)
{
	u32 returned;
	s32 result;

	misc_deregister(&test_device);
	stop_sleepers(&loaded_sleepers, &returned, &result);
	semshare_ipc_ns_put(loader_ns);
}

module_init(test_init);
module_exit(test_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("semshare's entry points for its tests: not for use");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
