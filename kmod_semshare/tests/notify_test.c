// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare-notify-test, for root and for tests only: kernel code that puts
 * records, in a thread or in interrupts, and kernel code that is called when there
 * are records to take, or space for some, or an eventfd is signalled.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <semshare/kapi.h>
#include <semshare/notify_test.h>

#define PRODUCERS	8
#define MOST		64	/* records of one call of a listener */
#define FEW		4	/* of one that puts: others are to have space as well */
#define LONGEST		1024	/* of what is longer no more is taken: the listener ends */

struct payload {
	u64 producer;
	u64 number;
};

struct notify_test {
	struct mutex mutex;	/* one ioctl at a time */
	struct semshare_notify_test_start start;
	struct semshare_notify_test_state state;
	struct semshare_area *area;
	struct semshare_ring *ring;
	struct task_struct *thread;
	struct irq_work interrupt;
	struct payload payload;
	int result;
	struct semshare_listener listener;
	bool listening;
	u64 next[PRODUCERS];
	union {
		struct payload payload;
		u8 bytes[LONGEST];
	} got;
	struct semshare_eventfd_listener *eventfd;
};

/* ---------------------------------------------------------------------- put */

static void put_interrupt(struct irq_work *work)
{
	struct notify_test *test = container_of(work, struct notify_test, interrupt);

	if (test->start.what == SEMSHARE_NOTIFY_TEST_RING)
		semshare_area_notify(test->area, SEMSHARE_EVENT_DATA);
	else
		test->result = semshare_ring_put(test->ring, 0, &test->payload,
						 sizeof(test->payload), 0);
}

static int put_one(struct notify_test *test)
{
	if (test->start.what == SEMSHARE_NOTIFY_TEST_PUT)
		return semshare_ring_put(test->ring, 0, &test->payload, sizeof(test->payload), HZ);
	irq_work_queue(&test->interrupt);
	irq_work_sync(&test->interrupt);
	return test->result;
}

/* Pauses of all lengths, so that who takes the records goes to sleep at all of its places. */
static void put_pause(u32 most)
{
	u32 chance = get_random_u32();

	if (!most)
		return;
	if (chance % 8 == 0)
		usleep_range(1, most);
	else
		udelay((chance >> 8) % min(most, 20u));
}

/*
 * A few records each time that there may be space.  It arms before it puts: whoever
 * takes one of them calls it again.
 */
static void fill_call(struct semshare_listener *listener, u32 events)
{
	struct notify_test *test = container_of(listener, struct notify_test, listener);
	struct semshare_notify_test_state *state = &test->state;
	unsigned int turns;
	int err = 0;

	WRITE_ONCE(state->calls, state->calls + 1);
	semshare_ring_arm(test->ring, SEMSHARE_EVENT_SPACE);
	test->payload.producer = test->start.number;
	for (turns = 0; turns < FEW && state->done < test->start.count; turns++) {
		test->payload.number = state->done;
		err = semshare_ring_put(test->ring, 0, &test->payload, sizeof(test->payload), 0);
		if (err)
			break;
		WRITE_ONCE(state->done, state->done + 1);
		cond_resched();
	}
	if (err && err != -EAGAIN)
		WRITE_ONCE(state->error, err);
	if (err != -EAGAIN)
		return;
	state->full++;
	/* The lock is somebody else's, or a user says that there is space where there is none. */
	usleep_range(10, 100);
	if (semshare_ring_arm(test->ring, SEMSHARE_EVENT_SPACE))
		semshare_area_notify(test->area, SEMSHARE_EVENT_SPACE);
}

static int put_thread(void *data)
{
	struct notify_test *test = data;
	struct semshare_notify_test_state *state = &test->state;
	int err;

	test->payload.producer = test->start.number;
	while (!kthread_should_stop() && state->done < test->start.count) {
		test->payload.number = state->done;
		err = put_one(test);
		if (!err) {
			WRITE_ONCE(state->done, state->done + 1);
		} else if (err == -EAGAIN || err == -ETIMEDOUT) {
			state->full++;
			usleep_range(10, 100);
		} else if (err != -EINTR) {
			WRITE_ONCE(state->error, err);
			break;
		}
		put_pause(test->start.pause_us);
		cond_resched();
	}
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

/* ---------------------------------------------------------------------- get */

static void get_one(struct notify_test *test, size_t size)
{
	const struct payload *payload = &test->got.payload;
	u64 producer = payload->producer;

	if (size != sizeof(*payload) || producer >= PRODUCERS ||
	    payload->number != test->next[producer])
		test->state.wrong++;
	else
		test->next[producer]++;
	WRITE_ONCE(test->state.done, test->state.done + 1);
}

static void get_call(struct semshare_listener *listener, u32 events)
{
	struct notify_test *test = container_of(listener, struct notify_test, listener);
	unsigned int turns;
	ssize_t size;

	WRITE_ONCE(test->state.calls, test->state.calls + 1);
	for (turns = 0; turns < MOST; turns++) {
		size = semshare_ring_get(test->ring, NULL, &test->got, sizeof(test->got), 0);
		if (size >= 0) {
			get_one(test, size);
		} else if (size != -EAGAIN) {
			WRITE_ONCE(test->state.error, size);
			return;
		} else if (!semshare_ring_arm(test->ring, SEMSHARE_EVENT_DATA)) {
			return;
		}
		cond_resched();
	}
	semshare_area_notify(test->area, SEMSHARE_EVENT_DATA);
}

static void eventfd_call(void *data)
{
	struct notify_test *test = data;

	WRITE_ONCE(test->state.calls, test->state.calls + 1);
}

/* ------------------------------------------------------------------- device */

static int start_ring(struct notify_test *test)
{
	struct semshare_ring *ring;
	u32 role;
	int err;

	ring = semshare_ring_open(test->area, 0);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	test->ring = ring;
	role = test->start.what == SEMSHARE_NOTIFY_TEST_GET ? SEMSHARE_ROLE_CONSUMER :
							      SEMSHARE_ROLE_PRODUCER;
	err = semshare_ring_take_role(ring, role);
	/* Many can be that, or a lock decides. */
	return err == -EINVAL ? 0 : err;
}

static void start_listener(struct notify_test *test)
{
	const bool gets = test->start.what == SEMSHARE_NOTIFY_TEST_GET;

	test->listener.events = gets ? SEMSHARE_EVENT_DATA : SEMSHARE_EVENT_SPACE;
	test->listener.call = gets ? get_call : fill_call;
	semshare_area_listen(test->area, &test->listener);
	test->listening = true;
	/* For what is there already, and to arm. */
	semshare_area_notify(test->area, test->listener.events);
}

static long ioctl_start(struct notify_test *test, void __user *argument)
{
	struct semshare_notify_test_start *start = &test->start;
	struct semshare_notify_test_start asked;
	int err = 0;

	if (start->what)
		return -EBUSY;
	if (copy_from_user(&asked, argument, sizeof(asked)))
		return -EFAULT;
	if (!asked.what || asked.what > SEMSHARE_NOTIFY_TEST_FILL)
		return -EINVAL;
	*start = asked;
	if (start->what == SEMSHARE_NOTIFY_TEST_EVENTFD) {
		test->eventfd = semshare_eventfd_listen(start->fd, eventfd_call, test);
		return PTR_ERR_OR_ZERO(test->eventfd);
	}
	test->area = semshare_area_from_fd(start->fd, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	if (IS_ERR(test->area))
		return PTR_ERR(test->area);
	init_irq_work(&test->interrupt, put_interrupt);
	if (start->what == SEMSHARE_NOTIFY_TEST_RING) {
		irq_work_queue(&test->interrupt);
		return 0;
	}
	err = start_ring(test);
	if (err)
		return err;
	if (start->what == SEMSHARE_NOTIFY_TEST_GET || start->what == SEMSHARE_NOTIFY_TEST_FILL) {
		start_listener(test);
		return 0;
	}
	test->thread = kthread_run(put_thread, test, "notify_test");
	return PTR_ERR_OR_ZERO(test->thread);
}

static long test_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct notify_test *test = file->private_data;
	long err = -ENOTTY;

	if (mutex_lock_interruptible(&test->mutex))
		return -EINTR;
	if (command == SEMSHARE_NOTIFY_TEST_IOC_START)
		err = ioctl_start(test, (void __user *)argument);
	else if (command == SEMSHARE_NOTIFY_TEST_IOC_STATE)
		err = copy_to_user((void __user *)argument, &test->state, sizeof(test->state)) ?
		      -EFAULT : 0;
	mutex_unlock(&test->mutex);
	return err;
}

static int test_open(struct inode *inode, struct file *file)
{
	struct notify_test *test = kzalloc(sizeof(*test), GFP_KERNEL);

	if (!test)
		return -ENOMEM;
	mutex_init(&test->mutex);
	file->private_data = test;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct notify_test *test = file->private_data;

	if (!IS_ERR_OR_NULL(test->thread))
		kthread_stop(test->thread);
	if (!IS_ERR_OR_NULL(test->area))
		irq_work_sync(&test->interrupt);
	if (test->listening)
		semshare_area_unlisten(test->area, &test->listener);
	if (!IS_ERR_OR_NULL(test->eventfd))
		semshare_eventfd_unlisten(test->eventfd);
	if (test->ring)
		semshare_ring_close(test->ring);
	if (!IS_ERR_OR_NULL(test->area))
		semshare_area_put(test->area);
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
	.name = "semshare-notify-test",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_device);

MODULE_DESCRIPTION("semshare: kernel code that rings and is rung for, for tests");
MODULE_LICENSE("GPL");
