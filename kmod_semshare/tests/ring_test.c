// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare-ring-test, for root and for tests only: lets a process call the
 * ring functions of kapi.h in its own context, one at a time, and where they must
 * not be called.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <semshare/kapi.h>
#include <semshare/ring_test.h>

#include "context.h"

struct ring_test {
	struct mutex mutex;	/* a handle belongs to one thread at a time */
	struct semshare_ring *ring;
	struct semshare_ring_place place;	/* its payload is NULL if none is open */
	u64 reserved;		/* bytes of it */
	struct semshare_ring_record records[SEMSHARE_RING_TEST_ENTRIES];
};

static long ioctl_open(struct ring_test *test, void __user *argument)
{
	struct semshare_ring_test_open open;
	struct semshare_area *area;
	struct semshare_ring *ring;

	if (copy_from_user(&open, argument, sizeof(open)))
		return -EFAULT;
	if (open.context > SEMSHARE_RING_TEST_PREEMPT_OFF)
		return -EINVAL;
	if (test->ring)
		return -EBUSY;
	area = semshare_area_from_fd(open.area_fd, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	if (IS_ERR(area))
		return PTR_ERR(area);
	if (open.context == SEMSHARE_RING_TEST_PREEMPT_OFF)
		preempt_disable();
	if (open.capacity) {
		struct semshare_ring_params params = {
			.capacity = open.capacity,
			.variant = open.variant,
			.policy = open.policy,
			.max_payload = open.max_payload,
		};

		ring = semshare_ring_create(area, &params, open.mode);
	} else {
		ring = semshare_ring_open(area, open.flags);
	}
	if (open.context == SEMSHARE_RING_TEST_PREEMPT_OFF)
		preempt_enable();
	semshare_area_put(area);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	test->ring = ring;
	return 0;
}

static void test_entries(struct semshare_ring_test_call *call,
			 struct semshare_ring_entry *entries)
{
	u32 i;

	for (i = 0; i < call->count; i++) {
		entries[i].payload = call->data + call->offsets[i];
		entries[i].size = call->sizes[i];
		entries[i].type = call->types[i];
	}
}

/* What a test asks for must lie in the call's own memory, and be refused where it may not sleep. */
static bool test_sane(const struct semshare_ring_test_call *call)
{
	u32 i;

	if (call->context && call->operation == SEMSHARE_RING_TEST_DESTROY)
		return false;
	if (call->operation == SEMSHARE_RING_TEST_BURST &&
	    (call->size > SEMSHARE_RING_TEST_BURST_MAX || call->sizes[0] < sizeof(u64) ||
	     call->sizes[0] > SEMSHARE_RING_TEST_DATA))
		return false;
	if (call->count > SEMSHARE_RING_TEST_ENTRIES ||
	    (call->size > SEMSHARE_RING_TEST_DATA &&
	     call->operation != SEMSHARE_RING_TEST_BURST))
		return false;
	for (i = 0; i < SEMSHARE_RING_TEST_ENTRIES; i++) {
		if (call->offsets[i] > SEMSHARE_RING_TEST_DATA ||
		    call->sizes[i] > SEMSHARE_RING_TEST_DATA - call->offsets[i])
			return false;
	}
	return true;
}

static long test_get_batch(struct ring_test *test, struct semshare_ring_test_call *call,
			   long timeout)
{
	long result = semshare_ring_get_batch(test->ring, test->records, call->count, call->data,
					      call->size, timeout);
	long i;

	for (i = 0; i < result; i++) {
		call->offsets[i] = (u8 *)test->records[i].payload - call->data;
		call->records[i] = test->records[i].head;
	}
	return result;
}

static long test_reserve(struct ring_test *test, struct semshare_ring_test_call *call,
			 long timeout)
{
	struct semshare_ring_place place;
	long err;

	if (test->place.payload)
		return -EBUSY;
	err = semshare_ring_reserve(test->ring, call->size, &place, timeout);
	if (!err) {
		test->place = place;
		test->reserved = call->size;
	}
	return err;
}

static long test_commit(struct ring_test *test, struct semshare_ring_test_call *call)
{
	long err;

	if (!test->place.payload)
		return -EBADFD;
	if (call->sizes[0] <= test->reserved)
		memcpy(test->place.payload, call->data, call->sizes[0]);
	err = semshare_ring_commit(test->ring, &test->place, call->types[0], call->sizes[0]);
	if (err != -EMSGSIZE)
		test->place.payload = NULL;
	return err;
}

static long test_cancel(struct ring_test *test)
{
	if (!test->place.payload)
		return -EBADFD;
	semshare_ring_cancel(test->ring, &test->place);
	test->place.payload = NULL;
	return 0;
}

static long test_call(struct ring_test *test, struct semshare_ring_test_call *call)
{
	struct semshare_ring_entry entries[SEMSHARE_RING_TEST_ENTRIES];
	long timeout = call->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT :
					      (long)msecs_to_jiffies(call->timeout_ms);

	switch (call->operation) {
	case SEMSHARE_RING_TEST_PUT:
		return semshare_ring_put(test->ring, call->types[0], call->data, call->sizes[0],
					 timeout);
	case SEMSHARE_RING_TEST_GET:
		return semshare_ring_get(test->ring, &call->records[0], call->data, call->size,
					 timeout);
	case SEMSHARE_RING_TEST_PUT_BATCH:
		test_entries(call, entries);
		return semshare_ring_put_batch(test->ring, entries, call->count, timeout);
	case SEMSHARE_RING_TEST_GET_BATCH:
		return test_get_batch(test, call, timeout);
	case SEMSHARE_RING_TEST_LOCK:
		return semshare_ring_lock(test->ring, timeout);
	case SEMSHARE_RING_TEST_UNLOCK:
		return semshare_ring_unlock(test->ring);
	case SEMSHARE_RING_TEST_TAKE_ROLE:
		return semshare_ring_take_role(test->ring, call->types[0]);
	case SEMSHARE_RING_TEST_STATUS:
		semshare_ring_status(test->ring, (struct semshare_ring_status *)call->data);
		return 0;
	case SEMSHARE_RING_TEST_RESERVE:
		return test_reserve(test, call, timeout);
	case SEMSHARE_RING_TEST_COMMIT:
		return test_commit(test, call);
	case SEMSHARE_RING_TEST_CANCEL:
		return test_cancel(test);
	case SEMSHARE_RING_TEST_DESTROY:
		test_cancel(test);
		semshare_ring_destroy(test->ring);
		test->ring = NULL;
		return 0;
	default:
		return -EINVAL;
	}
}

/* One call, or a few records of a burst, in some context. */
struct test_job {
	struct ring_test *test;
	struct semshare_ring_test_call *call;
	u64 next;	/* number of the next record */
	u64 end;
};

static long test_call_job(void *argument)
{
	struct test_job *job = argument;

	return test_call(job->test, job->call);
}

static long test_burst_job(void *argument)
{
	struct test_job *job = argument;
	u64 *words = (u64 *)job->call->data;
	u64 longest = job->call->sizes[0] / sizeof(u64);
	unsigned int records;
	u64 i, count;
	int err;

	for (records = 0; records < 16 && job->next < job->end; records++) {
		count = 1 + job->next % longest;
		for (i = 0; i < count; i++)
			words[i] = job->next;
		err = semshare_ring_put(job->test->ring, job->call->types[0], words,
					count * sizeof(u64), 0);
		if (err)
			return records ? 0 : err;
		job->next++;
	}
	return 0;
}

static long test_burst(struct test_job *job)
{
	struct semshare_ring_test_call *call = job->call;
	ktime_t deadline = ktime_add_ms(ktime_get(), call->timeout_ms);
	u64 first = call->types[1];
	long err = 0;

	job->next = first;
	job->end = first + call->size;
	call->count = 0;
	while (job->next < job->end && !err) {
		err = test_run_in(call->context, call->cpu, test_burst_job, job);
		if (err != -EAGAIN) {
			cond_resched();
			continue;
		}
		call->count++;
		err = signal_pending(current) ? -EINTR : 0;
		if (ktime_after(ktime_get(), deadline))
			break;
		usleep_range(50, 200);
	}
	return err ? err : (long)(job->next - first);
}

static long ioctl_call(struct ring_test *test, void __user *argument)
{
	struct semshare_ring_test_call *call;
	long err = 0;

	if (!test->ring)
		return -EBADFD;
	call = memdup_user(argument, sizeof(*call));
	if (IS_ERR(call))
		return PTR_ERR(call);
	if (test_sane(call)) {
		struct test_job job = { .test = test, .call = call };

		if (call->operation == SEMSHARE_RING_TEST_BURST)
			call->result = test_burst(&job);
		else
			call->result = test_run_in(call->context, call->cpu, test_call_job, &job);
		if (copy_to_user(argument, call, sizeof(*call)))
			err = -EFAULT;
	} else {
		err = -EINVAL;
	}
	kfree(call);
	return err;
}

static long test_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct ring_test *test = file->private_data;
	void __user *user = (void __user *)argument;
	long err;

	if (mutex_lock_interruptible(&test->mutex))
		return -EINTR;
	switch (command) {
	case SEMSHARE_RING_TEST_IOC_OPEN:
		err = ioctl_open(test, user);
		break;
	case SEMSHARE_RING_TEST_IOC_CALL:
		err = ioctl_call(test, user);
		break;
	default:
		err = -ENOTTY;
	}
	mutex_unlock(&test->mutex);
	return err;
}

static int test_open(struct inode *inode, struct file *file)
{
	struct ring_test *test = kzalloc(sizeof(*test), GFP_KERNEL);

	if (!test)
		return -ENOMEM;
	mutex_init(&test->mutex);
	file->private_data = test;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct ring_test *test = file->private_data;

	test_cancel(test);
	if (test->ring)
		semshare_ring_close(test->ring);
	kfree(test);
	return 0;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.unlocked_ioctl = test_ioctl,
};

static struct miscdevice test_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-ring-test",
	.fops = &test_fops,
	.mode = 0600,
};

static int __init test_init(void)
{
	int err = test_contexts_init();

	if (err)
		return err;
	err = misc_register(&test_device);
	if (err)
		test_contexts_exit();
	return err;
}

static void __exit test_exit(void)
{
	misc_deregister(&test_device);
	test_contexts_exit();
}

module_init(test_init);
module_exit(test_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("The ring functions of semshare, call by call, for its tests");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
