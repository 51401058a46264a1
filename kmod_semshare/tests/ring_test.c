// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare-ring-test, for root and for tests only: lets a process call the
 * ring functions of kapi.h in its own context, one at a time, and where they must
 * not be called.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <semshare/kapi.h>
#include <semshare/ring_test.h>

struct ring_test {
	struct mutex mutex;	/* a handle belongs to one thread at a time */
	struct semshare_ring *ring;
};

static void test_begin(u32 context)
{
	if (context == SEMSHARE_RING_TEST_PREEMPT_OFF)
		preempt_disable();
}

static void test_end(u32 context)
{
	if (context == SEMSHARE_RING_TEST_PREEMPT_OFF)
		preempt_enable();
}

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
	test_begin(open.context);
	if (open.capacity) {
		struct semshare_ring_params params = {
			.capacity = open.capacity,
			.variant = SEMSHARE_RING_SYSV,
			.policy = open.policy,
		};

		ring = semshare_ring_create(area, &params, open.mode);
	} else {
		ring = semshare_ring_open(area, open.flags);
	}
	test_end(open.context);
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

	if (call->context > SEMSHARE_RING_TEST_PREEMPT_OFF || call->reserved ||
	    (call->context && call->operation == SEMSHARE_RING_TEST_DESTROY))
		return false;
	if (call->count > SEMSHARE_RING_TEST_ENTRIES || call->size > SEMSHARE_RING_TEST_DATA)
		return false;
	for (i = 0; i < SEMSHARE_RING_TEST_ENTRIES; i++) {
		if (call->offsets[i] > SEMSHARE_RING_TEST_DATA ||
		    call->sizes[i] > SEMSHARE_RING_TEST_DATA - call->offsets[i])
			return false;
	}
	return true;
}

static long test_call(struct ring_test *test, struct semshare_ring_test_call *call)
{
	struct semshare_ring_entry entries[SEMSHARE_RING_TEST_ENTRIES];
	long timeout = call->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT :
					      (long)msecs_to_jiffies(call->timeout_ms);
	long result;
	u32 i;

	switch (call->operation) {
	case SEMSHARE_RING_TEST_PUT:
		return semshare_ring_put(test->ring, call->types[0], call->data, call->sizes[0],
					 timeout);
	case SEMSHARE_RING_TEST_GET:
		return semshare_ring_get(test->ring, &call->types[0], call->data, call->size,
					 timeout);
	case SEMSHARE_RING_TEST_PUT_BATCH:
		test_entries(call, entries);
		return semshare_ring_put_batch(test->ring, entries, call->count, timeout);
	case SEMSHARE_RING_TEST_GET_BATCH:
		result = semshare_ring_get_batch(test->ring, entries, call->count, call->data,
						 call->size, timeout);
		for (i = 0; (long)i < result; i++) {
			call->offsets[i] = (u8 *)entries[i].payload - call->data;
			call->sizes[i] = entries[i].size;
			call->types[i] = entries[i].type;
		}
		return result;
	case SEMSHARE_RING_TEST_LOCK:
		return semshare_ring_lock(test->ring, timeout);
	case SEMSHARE_RING_TEST_UNLOCK:
		return semshare_ring_unlock(test->ring);
	case SEMSHARE_RING_TEST_DESTROY:
		semshare_ring_destroy(test->ring);
		test->ring = NULL;
		return 0;
	default:
		return -EINVAL;
	}
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
		test_begin(call->context);
		call->result = test_call(test, call);
		test_end(call->context);
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

module_misc_device(test_device);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("The ring functions of semshare, call by call, for its tests");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
