// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare-channel-test, for root and for tests only: an open file asks by the
 * channel functions of kapi.h as its process says, or answers by itself.
 */
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <semshare/channel_test.h>
#include <semshare/kapi.h>

#define HELD_MAX	64
#define FLOOD_MAX	1000000

struct channel_test {
	struct mutex mutex;	/* one OPEN at a time */
	struct semshare_channel *channel;	/* stored last, with release */
	bool asks;
	unsigned int held;
	struct semshare_channel_command *holds[HELD_MAX];
};

/* ---------------------------------------------------------------- answering */

static void answer_echo(struct semshare_channel *channel,
			struct semshare_channel_command *command, void *context)
{
	semshare_channel_reply(channel, command, 0, command->data, command->size);
}

static void answer_hold(struct semshare_channel *channel,
			struct semshare_channel_command *command, void *context)
{
	struct channel_test *test = context;

	if (test->held < HELD_MAX)
		test->holds[test->held++] = command;
	else
		semshare_channel_reply(channel, command, -EBUSY, NULL, 0);
}

static void answer_release(struct semshare_channel *channel,
			   struct semshare_channel_command *command, void *context)
{
	struct channel_test *test = context;

	while (test->held) {
		struct semshare_channel_command *held = test->holds[--test->held];

		if (READ_ONCE(held->cancelled))
			semshare_channel_reply(channel, held, -ECANCELED, NULL, 0);
		else
			answer_echo(channel, held, NULL);
	}
	semshare_channel_reply(channel, command, 0, NULL, 0);
}

static void answer_fail(struct semshare_channel *channel,
			struct semshare_channel_command *command, void *context)
{
	static const char text[] = "as was asked for";

	semshare_channel_reply(channel, command, -EIO, text, sizeof(text) - 1);
}

static const struct semshare_channel_operation operations[] = {
	{ SEMSHARE_CHANNEL_TEST_ECHO, 0, U32_MAX, answer_echo },
	{ SEMSHARE_CHANNEL_TEST_HOLD, 0, U32_MAX, answer_hold },
	{ SEMSHARE_CHANNEL_TEST_RELEASE, 0, 0, answer_release },
	{ SEMSHARE_CHANNEL_TEST_FAIL, 8, 8, answer_fail },
};

/* ------------------------------------------------------------------- asking */

struct asker {
	struct channel_test *test;
	struct semshare_channel_test_call *call;
};

static int ask(void *argument)
{
	struct asker *asker = argument;
	struct semshare_channel_test_call *call = asker->call;
	long timeout = call->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT :
					      (long)msecs_to_jiffies(call->timeout_ms);

	call->result = semshare_channel_call(asker->test->channel, call->opcode, call->data,
					     call->size, call->data, sizeof(call->data), timeout);
	return 0;
}

static int ask_and_stop(void *argument)
{
	ask(argument);
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

/* Once it has asked: the reply is not there, or it was not waited for. */
static long stop_asking(struct asker *asker)
{
	struct task_struct *task = kthread_run(ask_and_stop, asker, "channel_test");

	if (IS_ERR(task))
		return PTR_ERR(task);
	schedule_timeout_interruptible(HZ / 10);
	return kthread_stop(task);
}

static long ioctl_call(struct channel_test *test, void __user *argument, bool stop)
{
	struct semshare_channel_test_call *call = memdup_user(argument, sizeof(*call));
	struct asker asker = { .test = test, .call = call };
	long err = 0;

	if (IS_ERR(call))
		return PTR_ERR(call);
	if (call->size > sizeof(call->data)) {
		kfree(call);
		return -EINVAL;
	}
	if (stop)
		err = stop_asking(&asker);
	else
		ask(&asker);
	if (!err && copy_to_user(argument, call, sizeof(*call)))
		err = -EFAULT;
	kfree(call);
	return err;
}

struct flood {
	struct semshare_channel_test_flood *result;
	spinlock_t lock;	/* @told and *@result */
	unsigned long *told;
	u32 left;
	struct completion over;
};

static void flood_done(void *context, u64 cookie, int status, const void *data, size_t size)
{
	struct flood *flood = context;
	struct semshare_channel_test_flood *result = flood->result;
	bool over;

	spin_lock(&flood->lock);
	if (cookie >= result->count || __test_and_set_bit(cookie, flood->told))
		result->wrong++;
	else if (!status && size == sizeof(cookie) && !memcmp(data, &cookie, size))
		result->good++;
	else if (!status)
		result->wrong++;
	else if (status == -ETIMEDOUT)
		result->timeouts++;
	else if (status == -ECONNRESET)
		result->deaths++;
	else if (status == -ECANCELED)
		result->cancels++;
	else if (status == -EOPNOTSUPP)
		result->unknown++;
	else
		result->others++;
	over = !--flood->left;
	spin_unlock(&flood->lock);
	if (over)
		complete(&flood->over);
}

static int flood_ask(struct channel_test *test, struct flood *flood, u64 number, long timeout)
{
	struct semshare_channel_test_flood *result = flood->result;
	unsigned long until = jiffies + 10 * HZ;
	u64 id;
	int err;

	do {
		if (result->preempt_off)
			preempt_disable();
		err = semshare_channel_call_async(test->channel, result->opcode, number, &number,
						  sizeof(number), timeout, flood_done, flood, &id);
		if (result->preempt_off)
			preempt_enable();
		if (err != -EAGAIN)
			break;
		schedule_timeout_interruptible(1);
	} while (time_before(jiffies, until) && !signal_pending(current));
	if (!err && result->cancel_every && number % result->cancel_every == 0)
		semshare_channel_cancel(test->channel, id);
	return err;
}

static long ioctl_flood(struct channel_test *test, void __user *argument)
{
	struct semshare_channel_test_flood *result = memdup_user(argument, sizeof(*result));
	struct flood flood = { .result = result };
	long timeout;
	long err = 0;
	u32 i;

	if (IS_ERR(result))
		return PTR_ERR(result);
	if (!result->count || result->count > FLOOD_MAX) {
		err = -EINVAL;
		goto out;
	}
	timeout = msecs_to_jiffies(clamp_t(s64, result->timeout_ms, 0, INT_MAX));
	flood.told = bitmap_zalloc(result->count, GFP_KERNEL);
	if (!flood.told) {
		err = -ENOMEM;
		goto out;
	}
	spin_lock_init(&flood.lock);
	init_completion(&flood.over);
	/* One of its own, so that it is not over before all are asked. */
	flood.left = 1;
	for (i = 0; i < result->count; i++) {
		spin_lock(&flood.lock);
		flood.left++;
		spin_unlock(&flood.lock);
		if (flood_ask(test, &flood, i, timeout)) {
			spin_lock(&flood.lock);
			flood.left--;
			result->refused++;
			spin_unlock(&flood.lock);
		}
		if (signal_pending(current))
			break;
	}
	spin_lock(&flood.lock);
	if (!--flood.left)
		complete(&flood.over);
	spin_unlock(&flood.lock);
	/* They all have deadlines. */
	wait_for_completion(&flood.over);
	/* Who completed it may be just leaving the lock. */
	spin_lock(&flood.lock);
	spin_unlock(&flood.lock);
	bitmap_free(flood.told);
	if (copy_to_user(argument, result, sizeof(*result)))
		err = -EFAULT;
out:
	kfree(result);
	return err;
}

/* --------------------------------------------------------------------- both */

static long ioctl_open(struct channel_test *test, void __user *argument)
{
	struct semshare_channel_test_open open;
	struct semshare_channel *channel = NULL;
	struct semshare_area *area;
	int err = 0;

	if (copy_from_user(&open, argument, sizeof(open)))
		return -EFAULT;
	if (open.role < SEMSHARE_CHANNEL_TEST_ASKS || open.role > SEMSHARE_CHANNEL_TEST_ANSWERS ||
	    open.reserved)
		return -EINVAL;
	if (test->channel)
		return -EBUSY;
	area = semshare_area_from_fd(open.area_fd, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	if (IS_ERR(area))
		return PTR_ERR(area);
	if (open.depth) {
		const struct semshare_channel_params params = {
			.depth = open.depth,
			.max_payload = open.max_payload,
		};

		err = semshare_channel_create(area, &params, open.mode);
	}
	test->asks = open.role == SEMSHARE_CHANNEL_TEST_ASKS;
	if (!err) {
		channel = test->asks ? semshare_channel_open(area) :
				       semshare_channel_serve(area, operations,
							      ARRAY_SIZE(operations), test);
		err = PTR_ERR_OR_ZERO(channel);
	}
	semshare_area_put(area);
	if (err)
		return err;
	/* Pairs with test_ioctl(). */
	smp_store_release(&test->channel, channel);
	return 0;
}

static long ioctl_state(struct channel_test *test, void __user *argument)
{
	struct semshare_channel_statistics from;
	struct semshare_channel_test_state state;

	semshare_channel_statistics(test->channel, &from);
	state.calls = from.calls;
	state.replies = from.replies;
	state.timeouts = from.timeouts;
	state.cancels = from.cancels;
	state.deaths = from.deaths;
	state.unmatched = from.unmatched;
	state.malformed = from.malformed;
	state.refused = from.refused;
	state.dropped = from.dropped;
	state.outstanding = from.outstanding;
	return copy_to_user(argument, &state, sizeof(state)) ? -EFAULT : 0;
}

static long test_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct channel_test *test = file->private_data;
	void __user *user = (void __user *)argument;
	bool is_open;
	long err;

	if (command == SEMSHARE_CHANNEL_TEST_IOC_OPEN) {
		if (mutex_lock_interruptible(&test->mutex))
			return -EINTR;
		err = ioctl_open(test, user);
		mutex_unlock(&test->mutex);
		return err;
	}
	/* Pairs with ioctl_open(). */
	is_open = smp_load_acquire(&test->channel);
	switch (command) {
	case SEMSHARE_CHANNEL_TEST_IOC_CALL:
	case SEMSHARE_CHANNEL_TEST_IOC_STOP:
		return is_open && test->asks ?
		       ioctl_call(test, user, command == SEMSHARE_CHANNEL_TEST_IOC_STOP) : -EBADFD;
	case SEMSHARE_CHANNEL_TEST_IOC_FLOOD:
		return is_open && test->asks ? ioctl_flood(test, user) : -EBADFD;
	case SEMSHARE_CHANNEL_TEST_IOC_STATE:
		return is_open ? ioctl_state(test, user) : -EBADFD;
	default:
		return -ENOTTY;
	}
}

static int test_open(struct inode *inode, struct file *file)
{
	struct channel_test *test = kzalloc(sizeof(*test), GFP_KERNEL);

	if (!test)
		return -ENOMEM;
	mutex_init(&test->mutex);
	file->private_data = test;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct channel_test *test = file->private_data;

	semshare_channel_close(test->channel);
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
	.name = "semshare-channel-test",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_device);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("The channel functions of semshare, for its tests");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
