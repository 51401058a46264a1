// SPDX-License-Identifier: GPL-2.0
/*
 * Uncontended lock pairs in a kernel thread, for bench/instructions.py to
 * count.  What is counted is one function for each kind, which a debugger can
 * find and step through.
 *
 * And records of kernel code, for bench/records.py: put into a ring, or given by
 * read(), one for each call, by a device that is as simple as can be: there is
 * neither a queue nor anybody who fills it.
 */
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timex.h>
#include <linux/uaccess.h>
#include <semshare/bench_test.h>
#include <semshare/kapi.h>

#define WARM_UP		32	/* pairs; a set is out of its global mode after 10 operations */
#define MAX_PAIRS	1000000
#define BATCH		64	/* records of a put */
#define RECORD_WORDS	(SEMSHARE_BENCH_RECORD / sizeof(u64))

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

/* -------------------------------------------------------------------- records */

/**
 * struct bench_file - an open file
 * @mutex: one PUT at a time
 * @ring: where it puts records, or NULL
 * @made: records so far
 * @entries: of one batch: @records
 * @records: their payloads
 */
struct bench_file {
	struct mutex mutex;	/* all of it */
	struct semshare_ring *ring;
	u64 made;
	struct semshare_ring_entry entries[BATCH];
	u64 records[BATCH][RECORD_WORDS];
};

static void make_record(struct bench_file *bench, u64 *record)
{
	memset64(record, bench->made++, RECORD_WORDS);
}

static long attach_ring(struct bench_file *bench, int fd)
{
	struct semshare_area *area;
	long error;

	if (bench->ring)
		return -EBUSY;
	area = semshare_area_from_fd(fd, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	if (IS_ERR(area))
		return PTR_ERR(area);
	bench->ring = semshare_ring_open(area, 0);
	semshare_area_put(area);
	error = PTR_ERR_OR_ZERO(bench->ring);
	if (error)
		bench->ring = NULL;
	return error ? error : semshare_ring_take_role(bench->ring, SEMSHARE_ROLE_PRODUCER);
}

/* How many of them were put, or an error. */
static int put_batch(struct bench_file *bench, u32 count)
{
	u32 n;

	for (n = 0; n < count; n++) {
		make_record(bench, bench->records[n]);
		bench->entries[n].payload = bench->records[n];
		bench->entries[n].size = SEMSHARE_BENCH_RECORD;
		bench->entries[n].type = 0;
	}
	return semshare_ring_put_batch(bench->ring, bench->entries, count, 0);
}

static long put_records(struct bench_file *bench, const struct semshare_bench_records *records)
{
	u32 left = records->count;
	long error = 0;

	if (records->count > MAX_PAIRS)
		return -EINVAL;
	if (mutex_lock_interruptible(&bench->mutex))
		return -EINTR;
	if (records->area_fd >= 0)
		error = attach_ring(bench, records->area_fd);
	if (!error && !bench->ring)
		error = -EBADFD;
	while (left && !error) {
		error = put_batch(bench, min_t(u32, left, BATCH));
		if (error > 0) {
			left -= error;
			error = 0;
		}
	}
	mutex_unlock(&bench->mutex);
	return error;
}

static ssize_t bench_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	struct bench_file *bench = file->private_data;
	u64 record[RECORD_WORDS];

	if (size < sizeof(record))
		return -EMSGSIZE;
	make_record(bench, record);
	return copy_to_user(to, record, sizeof(record)) ? -EFAULT : (ssize_t)sizeof(record);
}

static int bench_open(struct inode *inode, struct file *file)
{
	struct bench_file *bench = kzalloc(sizeof(*bench), GFP_KERNEL);

	if (!bench)
		return -ENOMEM;
	mutex_init(&bench->mutex);
	file->private_data = bench;
	return nonseekable_open(inode, file);
}

static int bench_release(struct inode *inode, struct file *file)
{
	struct bench_file *bench = file->private_data;

	if (bench->ring)
		semshare_ring_close(bench->ring);
	kfree(bench);
	return 0;
}

/* ------------------------------------------------------------------------- */

static long bench_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct semshare_bench_run __user *user = (void __user *)argument;
	struct semshare_bench_records records;
	struct bench bench = {};
	long error;

	if (command == SEMSHARE_BENCH_IOC_PUT) {
		if (copy_from_user(&records, (void __user *)argument, sizeof(records)))
			return -EFAULT;
		return put_records(file->private_data, &records);
	}
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
	.open = bench_open,
	.release = bench_release,
	.read = bench_read,
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
MODULE_DESCRIPTION("Lock pairs and records of kernel code, for the benchmarks of semshare");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
