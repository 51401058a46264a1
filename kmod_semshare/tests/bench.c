// SPDX-License-Identifier: GPL-2.0
/*
 * Uncontended lock pairs in a kernel thread, for bench/instructions.py to
 * count.  What is counted is one function for each kind, which a debugger can
 * find and step through.
 */
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/timex.h>
#include <linux/uaccess.h>
#include <semshare/bench_test.h>
#include <semshare/kapi.h>

#define WARM_UP		32	/* pairs; a set is out of its global mode after 10 operations */
#define MAX_PAIRS	1000000

/**
 * struct bench - one run
 * @in: what was asked for, and the answer
 * @ns: the caller's IPC namespace
 * @ring: for SEMSHARE_BENCH_RING
 * @error: of the pairs
 * @done: the pairs are through
 */
struct bench {
	struct semshare_bench_run in;
	struct ipc_namespace *ns;
	struct semshare_ring *ring;
	int error;
	struct completion done;
};

static noinline int semshare_bench_semop_pair(struct bench *bench)
{
	struct sembuf take = { .sem_op = -1 };
	struct sembuf give = { .sem_op = 1 };
	int error = semshare_semop(bench->ns, bench->in.semid, &take, 1);

	return error ? error : semshare_semop(bench->ns, bench->in.semid, &give, 1);
}

static noinline int semshare_bench_ring_pair(struct bench *bench)
{
	int error = semshare_ring_lock(bench->ring, MAX_SCHEDULE_TIMEOUT);

	return error ? error : semshare_ring_unlock(bench->ring);
}

static int run_semop_pairs(struct bench *bench, u32 pairs)
{
	int error = 0;

	while (pairs-- && !error)
		error = semshare_bench_semop_pair(bench);
	return error;
}

static int run_ring_pairs(struct bench *bench, u32 pairs)
{
	int error = 0;

	while (pairs-- && !error)
		error = semshare_bench_ring_pair(bench);
	return error;
}

/* Pairs that nobody else's wait for long: MAX_PAIRS of them are a second. */
static int run_pairs(struct bench *bench, u32 pairs)
{
	return bench->in.kind == SEMSHARE_BENCH_SEMOP ? run_semop_pairs(bench, pairs) :
							run_ring_pairs(bench, pairs);
}

static int bench_thread(void *data)
{
	struct bench *bench = data;
	cycles_t began;

	bench->error = run_pairs(bench, WARM_UP);
	began = get_cycles();
	if (!bench->error)
		bench->error = run_pairs(bench, bench->in.pairs);
	bench->in.cycles = get_cycles() - began;
	complete(&bench->done);

	/* A kernel thread must not end before it is stopped. */
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static int run_thread(struct bench *bench)
{
	struct task_struct *thread;
	int interrupted;

	init_completion(&bench->done);
	thread = kthread_run(bench_thread, bench, "semshare-bench");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	interrupted = wait_for_completion_interruptible(&bench->done);
	kthread_stop(thread);
	return interrupted ? -EINTR : bench->error;
}

static int run_with_ring(struct bench *bench)
{
	const struct semshare_ring_params params = {
		.capacity = SEMSHARE_RING_MIN_CAPACITY,
		.variant = SEMSHARE_RING_SYSV,
	};
	struct semshare_area *area;
	char name[SEMSHARE_NAME_SIZE] = {};
	int error;

	snprintf(name, sizeof(name), "bench-%d", task_pid_nr(current));
	area = semshare_area_create(bench->ns, name,
				    SEMSHARE_RING_CONTROL_SIZE + SEMSHARE_RING_MIN_CAPACITY, 0600);
	if (IS_ERR(area))
		return PTR_ERR(area);
	bench->ring = semshare_ring_create(area, &params, 0600);
	if (IS_ERR(bench->ring)) {
		error = PTR_ERR(bench->ring);
		semshare_area_unlink(bench->ns, name);
	} else {
		error = run_thread(bench);
		semshare_ring_destroy(bench->ring);
	}
	semshare_area_put(area);
	return error;
}

static long bench_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct semshare_bench_run __user *user = (void __user *)argument;
	struct bench bench = {};
	long error;

	if (command != SEMSHARE_BENCH_IOC_RUN)
		return -ENOTTY;
	if (copy_from_user(&bench.in, user, sizeof(bench.in)))
		return -EFAULT;
	if (bench.in.reserved || bench.in.pairs > MAX_PAIRS)
		return -EINVAL;
	bench.ns = semshare_ipc_ns_get();
	switch (bench.in.kind) {
	case SEMSHARE_BENCH_SEMOP:
		error = run_thread(&bench);
		break;
	case SEMSHARE_BENCH_RING:
		error = run_with_ring(&bench);
		break;
	default:
		error = -EINVAL;
	}
	semshare_ipc_ns_put(bench.ns);
	if (!error && copy_to_user(user, &bench.in, sizeof(bench.in)))
		error = -EFAULT;
	return error;
}

static const struct file_operations bench_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-bench",
	.fops = &bench_operations,
	.mode = 0600,
};

module_misc_device(bench_device);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("Lock pairs in a kernel thread, for the benchmarks of semshare");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
