// SPDX-License-Identifier: GPL-2.0
/*
 * A client of semshare's in-kernel API, and the kernel's part of `semshare demo`:
 * a process asks /dev/semshare-demo for kernel threads that put records into the
 * ring of its area, or count on a plain counter in it, beside other processes.
 *
 * Threads belong to the open file that started them: STOP or its last close
 * stops them, so that a killed process leaves none.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/crc32.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <semshare/core/ring.h>
#include <semshare/demo.h>
#include <semshare/kapi.h>

/* How long a thread waits before it looks whether it is still wanted. */
#define DEMO_TIMEOUT	HZ

/* A thread that is to put few records looks this often whether that changed. */
#define DEMO_LOOK_NS	(20 * NSEC_PER_MSEC)

/* What users set, and see, of the threads of a file: places among the entries. */
enum demo_entry {
	DEMO_RATE,
	DEMO_PAYLOAD,
	DEMO_PARAMETERS,
	DEMO_PRODUCED = DEMO_PARAMETERS,
	DEMO_BYTES,
	DEMO_THREADS,
	DEMO_ENTRIES,
};

/* Threads of all runs that were not stopped. */
static atomic_t demo_threads = ATOMIC_INIT(0);

struct demo_run;

/**
 * struct demo_thread - one kernel thread
 * @run: what it belongs to
 * @task: with a reference, so that it may end before it is stopped
 * @ring: its own handle, until the run is stopped
 * @record: RECORDS: where it makes them
 * @producer: its number
 * @done: records put, or additions made
 * @error: 0 or the negative errno that ended it
 * @running: not done yet
 * @statistics: of @ring, from when it was closed
 * @due_ns: when the next record is
 * @reader: its own view of the parameters
 */
struct demo_thread {
	struct demo_run *run;
	struct task_struct *task;
	struct semshare_ring *ring;
	struct semshare_demo_record *record;
	u32 producer;
	u64 done;
	int error;
	bool running;
	struct semshare_lock_statistics statistics;
	u64 due_ns;
	struct semshare_parameters_reader reader;
};

/**
 * struct demo_run - what one START started
 * @start: its argument
 * @counter: COUNTER: the word in the area
 * @area: held until the run is stopped, then NULL
 * @parameters: of its file, if it declared some
 * @threads: @start.threads of them
 */
struct demo_run {
	struct semshare_demo_start start;
	u64 *counter;
	struct semshare_area *area;
	struct semshare_parameters *parameters;
	struct demo_thread threads[];
};

/**
 * struct demo_file - an open file
 * @mutex: one ioctl at a time
 * @run: the last run, for STATUS after its end
 * @parameters: what users may change while it runs, if DECLARE was called
 * @payload_max: the limit of the payload there
 */
struct demo_file {
	struct mutex mutex;	/* all else */
	struct demo_run *run;
	struct semshare_parameters *parameters;
	u32 payload_max;
};

/* ------------------------------------------------------------------ threads */

static bool demo_unlocked(const struct demo_thread *thread)
{
	return thread->run->start.flags & SEMSHARE_DEMO_UNLOCKED;
}

static size_t demo_make_record(struct demo_thread *thread, u32 payload_max)
{
	struct semshare_demo_record *record = thread->record;
	u64 sequence = thread->done;
	u8 *pattern = (u8 *)(record + 1);
	u32 length, i;
	size_t size;

	/* 0 to payload_max, as good as random, and the same in each run. */
	length = hash_64(((u64)thread->producer << 40) ^ sequence, 32);
	length = ((u64)length * (payload_max + 1ULL)) >> 32;
	record->producer = thread->producer;
	record->sequence = sequence;
	record->time_ns = ktime_get_ns();
	for (i = 0; i < length; i++)
		pattern[i] = thread->producer + sequence + i;
	size = sizeof(*record) + length;
	/* As zlib's crc32(). */
	record->checksum = ~crc32_le(~0, (u8 *)record + sizeof(record->checksum),
				     size - sizeof(record->checksum));
	return size;
}

/* Wait until @until, at most a moment: what users set counts soon. */
static void demo_nap(u64 now, u64 until)
{
	ktime_t nap = min_t(u64, until - now, DEMO_LOOK_NS);

	set_current_state(TASK_INTERRUPTIBLE);
	if (kthread_should_stop())
		__set_current_state(TASK_RUNNING);
	else
		schedule_hrtimeout(&nap, HRTIMER_MODE_REL);
}

/*
 * Wait until a record is due at the rate that users set, a double: in thousandths
 * it is a number that kernel code can work with.  Rate and payload are those of
 * one moment.  Returns the longest payload, or -EINTR.
 */
static int demo_pace(struct demo_thread *thread)
{
	struct semshare_parameters *parameters = thread->run->parameters;
	u64 rate, interval, now;
	const u64 *values;

	while (!kthread_should_stop()) {
		values = semshare_parameters_read(parameters, &thread->reader);
		rate = semshare_double_scaled(values[DEMO_RATE], 1000);
		interval = rate ? div64_u64(1000 * NSEC_PER_SEC, rate) : U64_MAX;
		now = ktime_get_ns();
		if (rate && now >= thread->due_ns) {
			/* What is late is made good, but no more than a moment of it. */
			thread->due_ns = max(thread->due_ns, now - DEMO_LOOK_NS) + interval;
			return values[DEMO_PAYLOAD];
		}
		/* A higher rate than before brings it forward. */
		if (rate)
			thread->due_ns = min(thread->due_ns, now + interval);
		demo_nap(now, rate ? thread->due_ns : U64_MAX);
	}
	return -EINTR;
}

static int demo_put_record(struct demo_thread *thread)
{
	struct semshare_parameters *parameters = thread->run->parameters;
	int payload_max = parameters ? demo_pace(thread) : thread->run->start.payload_max;
	size_t size;
	int err;

	if (payload_max < 0)
		return payload_max;
	size = demo_make_record(thread, payload_max);

	do {
		err = semshare_ring_put(thread->ring, SEMSHARE_DEMO_RECORD_TYPE, thread->record,
					size, DEMO_TIMEOUT);
		/* Without the lock the cursors may contradict each other for a while. */
		if (err == -EPROTO && demo_unlocked(thread)) {
			schedule_timeout_interruptible(1);
			err = -ETIMEDOUT;
		}
	} while (err == -ETIMEDOUT && !kthread_should_stop());
	if (!err && parameters) {
		semshare_parameters_add_state(parameters, DEMO_PRODUCED, 1);
		semshare_parameters_add_state(parameters, DEMO_BYTES, size);
	}
	return err == -ETIMEDOUT ? -EINTR : err;
}

static int demo_add(struct demo_thread *thread)
{
	u64 *counter = thread->run->counter;
	int err;

	do {
		err = semshare_ring_lock(thread->ring, DEMO_TIMEOUT);
	} while (err == -ETIMEDOUT && !kthread_should_stop());
	if (err)
		return err == -ETIMEDOUT ? -EINTR : err;
	/* Deliberately no atomic operation: the lock alone makes this right. */
	WRITE_ONCE(*counter, READ_ONCE(*counter) + 1);
	return semshare_ring_unlock(thread->ring);
}

static int demo_thread(void *data)
{
	struct demo_thread *thread = data;
	const struct semshare_demo_start *start = &thread->run->start;
	struct semshare_parameters *parameters = thread->run->parameters;
	int err = 0;

	if (parameters) {
		semshare_parameters_reader_start(parameters, &thread->reader);
		semshare_parameters_add_state(parameters, DEMO_THREADS, 1);
	}
	while (!kthread_should_stop() && (!start->count || thread->done < start->count)) {
		err = start->mode == SEMSHARE_DEMO_RECORDS ? demo_put_record(thread) :
							     demo_add(thread);
		if (err)
			break;
		WRITE_ONCE(thread->done, thread->done + 1);
		cond_resched();
	}
	if (parameters)
		semshare_parameters_add_state(parameters, DEMO_THREADS, -1);
	/* Being told to stop is no error. */
	WRITE_ONCE(thread->error, err == -EINTR && kthread_should_stop() ? 0 : err);
	smp_store_release(&thread->running, false); /* Pairs with demo_is_running(). */
	return 0;
}

static bool demo_is_running(struct demo_thread *thread)
{
	/* Pairs with demo_thread(): with the end come its last words. */
	return smp_load_acquire(&thread->running);
}

/* --------------------------------------------------------------------- runs */

/* Stop the threads and let the area go; what they counted stays. */
static void demo_stop(struct demo_run *run)
{
	u32 i;

	if (!run->area)
		return;
	for (i = 0; i < run->start.threads; i++) {
		struct demo_thread *thread = &run->threads[i];

		if (thread->task) {
			kthread_stop(thread->task);
			put_task_struct(thread->task);
			thread->task = NULL;
		}
		if (thread->ring) {
			semshare_ring_statistics(thread->ring, &thread->statistics);
			semshare_ring_close(thread->ring);
			thread->ring = NULL;
		}
		kvfree(thread->record);
		thread->record = NULL;
		/* One that was stopped before its first instruction never said so. */
		thread->running = false;
	}
	atomic_sub(run->start.threads, &demo_threads);
	semshare_area_put(run->area);
	run->area = NULL;
}

static void demo_free(struct demo_run *run)
{
	if (!run)
		return;
	demo_stop(run);
	kvfree(run);
}

static int demo_start_thread(struct demo_run *run, u32 index)
{
	const struct semshare_demo_start *start = &run->start;
	struct demo_thread *thread = &run->threads[index];
	u32 flags = start->flags & SEMSHARE_DEMO_UNLOCKED ? SEMSHARE_RING_OPEN_UNLOCKED : 0;
	struct semshare_ring *ring = semshare_ring_open(run->area, flags);
	struct task_struct *task;
	u64 capacity, behind;

	if (IS_ERR(ring))
		return PTR_ERR(ring);
	thread->run = run;
	thread->ring = ring;
	thread->producer = start->first_producer + index;

	capacity = semshare_ring_capacity(ring);
	if (start->mode == SEMSHARE_DEMO_RECORDS) {
		if (sizeof(*thread->record) + (u64)start->payload_max >
		    semshare_ring_max_payload(capacity))
			return -EMSGSIZE;
		thread->record = kvmalloc(sizeof(*thread->record) + start->payload_max,
					  GFP_KERNEL_ACCOUNT);
		if (!thread->record)
			return -ENOMEM;
	} else {
		behind = SEMSHARE_RING_CONTROL_SIZE + capacity;
		if (start->counter_offset % sizeof(u64) || start->counter_offset < behind ||
		    start->counter_offset > semshare_area_size(run->area) ||
		    semshare_area_size(run->area) - start->counter_offset < sizeof(u64))
			return -EINVAL;
		run->counter = semshare_area_data(run->area) + start->counter_offset;
	}

	task = kthread_create(demo_thread, thread, "semshare_demo/%u", thread->producer);
	if (IS_ERR(task))
		return PTR_ERR(task);
	get_task_struct(task);
	thread->task = task;
	thread->running = true;
	return 0;
}

static int demo_make_run(const struct semshare_demo_start *start,
			 struct semshare_parameters *parameters, struct demo_run **made)
{
	struct semshare_area *area;
	struct demo_run *run;
	int err = 0;
	u32 i;

	area = semshare_area_from_fd(start->area_fd,
				     SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	if (IS_ERR(area))
		return PTR_ERR(area);
	run = kvzalloc(struct_size(run, threads, start->threads), GFP_KERNEL_ACCOUNT);
	if (!run) {
		semshare_area_put(area);
		return -ENOMEM;
	}
	run->start = *start;
	run->area = area;
	run->parameters = parameters;
	if (atomic_add_return(start->threads, &demo_threads) > SEMSHARE_DEMO_MAX_ALL_THREADS)
		err = -ENOSPC;
	for (i = 0; i < start->threads && !err; i++)
		err = demo_start_thread(run, i);
	if (err) {
		demo_free(run);
		return err;
	}
	/* All or none, and all at once. */
	for (i = 0; i < start->threads; i++)
		wake_up_process(run->threads[i].task);
	*made = run;
	return 0;
}

/* ------------------------------------------------------------------- device */

static long ioctl_start(struct demo_file *file, void __user *argument)
{
	struct semshare_parameters *parameters = NULL;
	struct semshare_demo_start start;
	struct demo_run *run;
	long err;
	u32 i;

	if (copy_from_user(&start, argument, sizeof(start)))
		return -EFAULT;
	if ((start.mode != SEMSHARE_DEMO_RECORDS && start.mode != SEMSHARE_DEMO_COUNTER) ||
	    !start.threads || start.threads > SEMSHARE_DEMO_MAX_THREADS ||
	    start.flags & ~SEMSHARE_DEMO_UNLOCKED)
		return -EINVAL;
	run = file->run;
	for (i = 0; run && i < run->start.threads; i++) {
		if (demo_is_running(&run->threads[i]))
			return -EBUSY;
	}
	if (start.mode == SEMSHARE_DEMO_RECORDS && file->parameters) {
		parameters = file->parameters;
		start.payload_max = file->payload_max;
	}
	err = demo_make_run(&start, parameters, &run);
	if (err)
		return err;
	demo_free(file->run);
	file->run = run;
	return 0;
}

static long ioctl_declare(struct demo_file *file, void __user *argument)
{
	struct semshare_parameter entries[] = {
		[DEMO_RATE] = {
			.name = "rate", .type = SEMSHARE_PARAMETER_DOUBLE, .group = 1,
			.maximum = 0x412e848000000000ull,	/* 1e6 records a second, 0: none */
			.initial = 0x408f400000000000ull,	/* 1000 */
		},
		[DEMO_PAYLOAD] = {
			.name = "payload", .type = SEMSHARE_PARAMETER_INT, .group = 1,
		},
		[DEMO_PRODUCED] = { .name = "produced", .type = SEMSHARE_PARAMETER_INT },
		[DEMO_BYTES] = { .name = "bytes", .type = SEMSHARE_PARAMETER_INT },
		[DEMO_THREADS] = { .name = "threads", .type = SEMSHARE_PARAMETER_INT },
	};
	struct semshare_demo_declare declare;
	struct semshare_parameters *made;
	struct ipc_namespace *ns;

	if (copy_from_user(&declare, argument, sizeof(declare)))
		return -EFAULT;
	if (strnlen(declare.name, SEMSHARE_NAME_SIZE) == SEMSHARE_NAME_SIZE ||
	    declare.payload_max > SEMSHARE_RING_MAX_CAPACITY || declare.mode & ~0666)
		return -EINVAL;
	if (file->parameters)
		return -EBUSY;
	ns = semshare_ipc_ns_get();
	if (!ns)
		return -ESRCH;
	entries[DEMO_PAYLOAD].maximum = declare.payload_max;
	entries[DEMO_PAYLOAD].initial = declare.payload_max;
	made = semshare_parameters_create(ns, declare.name, entries, DEMO_PARAMETERS,
					  DEMO_ENTRIES - DEMO_PARAMETERS, declare.mode);
	semshare_ipc_ns_put(ns);
	if (IS_ERR(made))
		return PTR_ERR(made);
	file->parameters = made;
	file->payload_max = declare.payload_max;
	return 0;
}

static long ioctl_status(struct demo_file *file, struct semshare_demo_status __user *argument)
{
	struct semshare_lock_statistics *statistics;
	struct semshare_demo_status *status;
	struct demo_run *run = file->run;
	struct demo_thread *thread;
	long err = 0;
	u32 index;

	BUILD_BUG_ON(sizeof(status->wait_ns) != sizeof(statistics->wait_ns));
	if (get_user(index, &argument->index))
		return -EFAULT;
	if (!run || index >= run->start.threads)
		return -ENOENT;
	thread = &run->threads[index];

	status = kzalloc(sizeof(*status), GFP_KERNEL_ACCOUNT);
	if (!status)
		return -ENOMEM;
	status->index = index;
	status->running = demo_is_running(thread);
	status->error = -READ_ONCE(thread->error);
	status->done = READ_ONCE(thread->done);
	statistics = &thread->statistics;
	if (thread->ring)
		semshare_ring_statistics(thread->ring, statistics);
	status->acquisitions = statistics->acquisitions;
	status->contended = statistics->contended;
	memcpy(status->wait_ns, statistics->wait_ns, sizeof(status->wait_ns));
	if (copy_to_user(argument, status, sizeof(*status)))
		err = -EFAULT;
	kfree(status);
	return err;
}

static long demo_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	struct demo_file *file = filp->private_data;
	void __user *user = (void __user *)argument;
	long err = 0;

	if (mutex_lock_interruptible(&file->mutex))
		return -EINTR;
	switch (command) {
	case SEMSHARE_DEMO_IOC_START:
		err = ioctl_start(file, user);
		break;
	case SEMSHARE_DEMO_IOC_DECLARE:
		err = ioctl_declare(file, user);
		break;
	case SEMSHARE_DEMO_IOC_STOP:
		if (file->run)
			demo_stop(file->run);
		break;
	case SEMSHARE_DEMO_IOC_STATUS:
		err = ioctl_status(file, user);
		break;
	default:
		err = -ENOTTY;
	}
	mutex_unlock(&file->mutex);
	return err;
}

static int demo_open(struct inode *inode, struct file *filp)
{
	struct demo_file *file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);

	if (!file)
		return -ENOMEM;
	mutex_init(&file->mutex);
	filp->private_data = file;
	return nonseekable_open(inode, filp);
}

static int demo_release(struct inode *inode, struct file *filp)
{
	struct demo_file *file = filp->private_data;

	demo_free(file->run);
	if (file->parameters)
		semshare_parameters_destroy(file->parameters);
	kfree(file);
	return 0;
}

static const struct file_operations demo_fops = {
	.owner = THIS_MODULE,
	.open = demo_open,
	.release = demo_release,
	.unlocked_ioctl = demo_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice demo_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-demo",
	.fops = &demo_fops,
	.mode = 0660,
};

module_misc_device(demo_device);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("Kernel threads that share a semaphore set and a buffer with processes");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
