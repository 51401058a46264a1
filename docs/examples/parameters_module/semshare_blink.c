// SPDX-License-Identifier: GPL-2.0
/*
 * A kernel thread that is steered by parameters of semshare: it counts a blink,
 * on and off for as long as users say, and exports how many there were.
 *
 *	shell:    insmod semshare_blink.ko instance=left
 *	python3:  blink = semshare.Parameters.attach("blink.left")
 *		  blink.update(on_ms=20, off_ms=200)
 *		  blink.state["blinks"]
 *	shell:    semshare get blink.left
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <semshare/kapi.h>

static char *instance = "0";
module_param(instance, charp, 0444);
MODULE_PARM_DESC(instance, "which of several: the parameters are blink.INSTANCE (default 0)");

/* The places of the entries: first what users set, then what they see. */
enum blink_entry {
	BLINK_ON_MS,
	BLINK_OFF_MS,
	BLINK_GAIN,
	BLINK_PARAMETERS,
	BLINK_COUNT = BLINK_PARAMETERS,
	BLINK_BRIGHTNESS,
	BLINK_ENTRIES,
};

static const struct semshare_parameter entries[] = {
	/* Of one group: never the on of one setting and the off of another. */
	[BLINK_ON_MS] = { .name = "on_ms", .type = SEMSHARE_PARAMETER_INT, .group = 1,
		    .minimum = 1, .maximum = 10000, .initial = 100 },
	[BLINK_OFF_MS] = { .name = "off_ms", .type = SEMSHARE_PARAMETER_INT, .group = 1,
		     .minimum = 1, .maximum = 10000, .initial = 900 },
	/* A double is its bits: 0.0 to 2.0, at first 1.0. */
	[BLINK_GAIN] = { .name = "gain", .type = SEMSHARE_PARAMETER_DOUBLE,
		   .maximum = 0x4000000000000000ull, .initial = 0x3ff0000000000000ull },
	[BLINK_COUNT] = { .name = "blinks", .type = SEMSHARE_PARAMETER_INT },
	[BLINK_BRIGHTNESS] = { .name = "brightness", .type = SEMSHARE_PARAMETER_INT },
};

static struct semshare_parameters *parameters;
static struct task_struct *task;

static int blink(void *unused)
{
	struct semshare_parameters_reader reader;

	semshare_parameters_reader_start(parameters, &reader);
	while (!kthread_should_stop()) {
		const u64 *now = semshare_parameters_read(parameters, &reader);
		u64 off_ms = now[BLINK_OFF_MS];

		/* No floating point in the kernel: the gain in percent. */
		semshare_parameters_set_state(parameters, BLINK_BRIGHTNESS,
					      semshare_double_scaled(now[BLINK_GAIN], 100));
		msleep_interruptible(now[BLINK_ON_MS]);
		semshare_parameters_set_state(parameters, BLINK_BRIGHTNESS, 0);
		semshare_parameters_add_state(parameters, BLINK_COUNT, 1);
		if (!kthread_should_stop())
			msleep_interruptible(off_ms);
	}
	return 0;
}

static int __init blink_init(void)
{
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	char name[SEMSHARE_NAME_SIZE];
	int err;

	if (!ns)
		return -ESRCH;
	snprintf(name, sizeof(name), "blink.%s", instance);
	parameters = semshare_parameters_create(ns, name, entries, BLINK_PARAMETERS,
						BLINK_ENTRIES - BLINK_PARAMETERS, 0660);
	semshare_ipc_ns_put(ns);
	if (IS_ERR(parameters))
		return PTR_ERR(parameters);
	task = kthread_run(blink, NULL, "semshare_blink");
	if (IS_ERR(task)) {
		err = PTR_ERR(task);
		semshare_parameters_destroy(parameters);
		return err;
	}
	return 0;
}

static void __exit blink_exit(void)
{
	kthread_stop(task);
	semshare_parameters_destroy(parameters);
}

module_init(blink_init);
module_exit(blink_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A kernel thread whose rhythm users set through semshare");
