// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare-parameters-test, for root and for tests only: lets a process call
 * the functions of kapi.h that are about parameters, and has kernel threads look
 * at what they read.
 */
#include <linux/fs.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <semshare/kapi.h>
#include <semshare/parameters_test.h>

struct params_test;

struct params_reader {
	struct params_test *test;
	struct task_struct *task;
	bool irqs_off;
	u64 looks;
	u64 changes;
	u64 mixed;
	u64 outside;
	u64 before[SEMSHARE_PARAMETERS_GROUPS];
	struct semshare_parameters_reader reader;
};

struct params_test {
	struct mutex mutex;	/* one call at a time */
	struct semshare_parameters *parameters;
	struct semshare_parameters_test_create declared;
	struct params_reader *readers[SEMSHARE_PARAMETERS_TEST_THREADS];
	struct semshare_parameters_reader reader;
};

/* Nothing but what was declared is believed here: neither the reader's checks nor its counts. */
static void reader_check(struct params_reader *self, const u64 *values)
{
	const struct semshare_parameters_test_create *declared = &self->test->declared;
	s64 first[SEMSHARE_PARAMETERS_GROUPS] = {};
	s64 next[SEMSHARE_PARAMETERS_GROUPS] = {};
	bool mixed = false;
	u32 i;

	for (i = 0; i < declared->parameters; i++) {
		const struct semshare_parameter *entry = &declared->entries[i];
		s64 value = values[i];
		u64 alone = semshare_parameters_get(self->test->parameters, i);

		if (!semshare_parameter_within(entry, value) ||
		    !semshare_parameter_within(entry, alone))
			self->outside++;
		if (!entry->group)
			continue;
		if (!next[entry->group])
			first[entry->group] = value;
		else if (value != first[entry->group] + next[entry->group])
			mixed = true;
		next[entry->group]++;
	}
	self->mixed += mixed;
	for (i = 1; i < SEMSHARE_PARAMETERS_GROUPS; i++) {
		self->changes += self->before[i] != first[i];
		self->before[i] = first[i];
	}
}

static int reader_thread(void *data)
{
	struct params_reader *self = data;
	const u64 *values;

	while (!kthread_should_stop()) {
		if (self->irqs_off)
			local_irq_disable();
		values = semshare_parameters_read(self->test->parameters, &self->reader);
		reader_check(self, values);
		if (self->irqs_off)
			local_irq_enable();
		self->looks++;
		cond_resched();
	}
	return 0;
}

static void readers_stop(struct params_test *test, struct semshare_parameters_test_readers *report)
{
	u32 i;

	for (i = 0; i < SEMSHARE_PARAMETERS_TEST_THREADS; i++) {
		struct params_reader *reader = test->readers[i];

		if (!reader)
			continue;
		kthread_stop(reader->task);
		report->looks += reader->looks;
		report->changes += reader->changes;
		report->mixed += reader->mixed;
		report->outside += reader->outside;
		kfree(reader);
		test->readers[i] = NULL;
	}
}

static int readers_start(struct params_test *test, u32 threads)
{
	u32 i;

	for (i = 0; i < threads; i++) {
		struct params_reader *reader = kzalloc(sizeof(*reader), GFP_KERNEL);
		struct task_struct *task;

		if (!reader)
			return -ENOMEM;
		reader->test = test;
		reader->irqs_off = i & 1;
		semshare_parameters_reader_start(test->parameters, &reader->reader);
		task = kthread_run(reader_thread, reader, "semshare_params/%u", i);
		if (IS_ERR(task)) {
			kfree(reader);
			return PTR_ERR(task);
		}
		reader->task = task;
		test->readers[i] = reader;
	}
	return 0;
}

static long ioctl_readers(struct params_test *test, void __user *argument)
{
	struct semshare_parameters_test_readers readers, report = {};
	int err;

	if (copy_from_user(&readers, argument, sizeof(readers)))
		return -EFAULT;
	if (readers.threads > SEMSHARE_PARAMETERS_TEST_THREADS || readers.reserved)
		return -EINVAL;
	if (!test->parameters)
		return -EBADFD;
	readers_stop(test, &report);
	err = readers_start(test, readers.threads);
	report.threads = readers.threads;
	if (!err && copy_to_user(argument, &report, sizeof(report)))
		err = -EFAULT;
	return err;
}

static void test_end(struct params_test *test)
{
	struct semshare_parameters_test_readers report = {};

	readers_stop(test, &report);
	if (test->parameters)
		semshare_parameters_destroy(test->parameters);
	test->parameters = NULL;
}

static long ioctl_create(struct params_test *test, void __user *argument)
{
	struct semshare_parameters_test_create *create = &test->declared;
	struct semshare_parameters *made;
	struct ipc_namespace *ns;

	if (test->parameters)
		return -EBUSY;
	if (copy_from_user(create, argument, sizeof(*create)))
		return -EFAULT;
	if (create->reserved || strnlen(create->name, SEMSHARE_NAME_SIZE) == SEMSHARE_NAME_SIZE)
		return -EINVAL;
	ns = semshare_ipc_ns_get();
	if (!ns)
		return -ESRCH;
	made = semshare_parameters_create(ns, create->name, create->entries, create->parameters,
					  create->states, create->mode);
	semshare_ipc_ns_put(ns);
	if (IS_ERR(made))
		return PTR_ERR(made);
	test->parameters = made;
	semshare_parameters_reader_start(made, &test->reader);
	return 0;
}

static long test_call(struct params_test *test, struct semshare_parameters_test_call *call)
{
	const struct semshare_parameters_test_create *declared = &test->declared;
	bool parameter = call->index < declared->parameters;
	bool state = !parameter && call->index < declared->parameters + declared->states;

	switch (call->operation) {
	case SEMSHARE_PARAMETERS_TEST_GET:
		if (!parameter)
			return -EINVAL;
		call->bits = semshare_parameters_get(test->parameters, call->index);
		return 0;
	case SEMSHARE_PARAMETERS_TEST_READ:
		memcpy(call->values, semshare_parameters_read(test->parameters, &test->reader),
		       sizeof(call->values));
		return 0;
	case SEMSHARE_PARAMETERS_TEST_SET_STATE:
		if (!state)
			return -EINVAL;
		semshare_parameters_set_state(test->parameters, call->index, call->bits);
		return 0;
	case SEMSHARE_PARAMETERS_TEST_ADD_STATE:
		if (!state)
			return -EINVAL;
		semshare_parameters_add_state(test->parameters, call->index, call->bits);
		return 0;
	case SEMSHARE_PARAMETERS_TEST_DESTROY:
		test_end(test);
		return 0;
	case SEMSHARE_PARAMETERS_TEST_SCALED:
		call->bits = semshare_double_scaled(call->bits, call->index);
		return 0;
	default:
		return -EINVAL;
	}
}

static long ioctl_call(struct params_test *test, void __user *argument)
{
	struct semshare_parameters_test_call call;
	long err;

	if (copy_from_user(&call, argument, sizeof(call)))
		return -EFAULT;
	if (!test->parameters)
		return -EBADFD;
	err = test_call(test, &call);
	if (!err && copy_to_user(argument, &call, sizeof(call)))
		err = -EFAULT;
	return err;
}

static long test_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct params_test *test = file->private_data;
	void __user *user = (void __user *)argument;
	long err;

	if (mutex_lock_interruptible(&test->mutex))
		return -EINTR;
	switch (command) {
	case SEMSHARE_PARAMETERS_TEST_IOC_CREATE:
		err = ioctl_create(test, user);
		break;
	case SEMSHARE_PARAMETERS_TEST_IOC_CALL:
		err = ioctl_call(test, user);
		break;
	case SEMSHARE_PARAMETERS_TEST_IOC_READERS:
		err = ioctl_readers(test, user);
		break;
	default:
		err = -ENOTTY;
	}
	mutex_unlock(&test->mutex);
	return err;
}

static int test_open(struct inode *inode, struct file *file)
{
	struct params_test *test = kzalloc(sizeof(*test), GFP_KERNEL);

	if (!test)
		return -ENOMEM;
	mutex_init(&test->mutex);
	file->private_data = test;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct params_test *test = file->private_data;

	test_end(test);
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
	.name = "semshare-parameters-test",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_device);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("The parameters of semshare, call by call, for its tests");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
