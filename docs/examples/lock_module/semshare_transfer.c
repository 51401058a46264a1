// SPDX-License-Identifier: GPL-2.0
/*
 * A kernel thread that moves money from one account to another, under the lock
 * that Python programs take to do the same.  The sum of both never changes: who finds
 * that somebody died between the two stores puts that right.
 *
 *	python3 transfer.py &
 *	insmod semshare_transfer.ko name=accounts
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <semshare/kapi.h>
#include <semshare/locks.h>

/* What lies in the area; its users can write anything there. */
struct accounts {
	s64 sum;
	s64 from;
	s64 to;
	u64 repairs;
};

static char *name = "accounts";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "name of the area with the accounts, and of their lock (default accounts)");

static struct semshare_area *area;
static struct semshare_mutex *lock;
static struct task_struct *task;

static int transfer(struct accounts *accounts)
{
	bool suspect;
	int err;

	semshare_scoped_mutex(lock, HZ, &suspect, err, return err) {
		if (suspect) {
			/* Half of a transfer is none: the first store counts. */
			WRITE_ONCE(accounts->to, accounts->sum - accounts->from);
			WRITE_ONCE(accounts->repairs, accounts->repairs + 1);
			semshare_mutex_consistent(lock);
		}
		WRITE_ONCE(accounts->from, accounts->from - 1);
		WRITE_ONCE(accounts->to, accounts->to + 1);
	}
	return err;
}

static int transfers(void *unused)
{
	int err;

	while (!kthread_should_stop()) {
		err = transfer(semshare_area_data(area));
		/* Whoever has the lock for so long gives it back some time. */
		if (err && err != -ETIMEDOUT && err != -EINTR) {
			pr_info("it is over: lock %s: %pe\n", name, ERR_PTR(err));
			break;
		}
		usleep_range(100, 200);
	}
	/* Until rmmod waits for it. */
	while (!kthread_should_stop())
		msleep_interruptible(1000);
	return 0;
}

static int open(struct ipc_namespace *ns)
{
	area = semshare_area_attach(ns, name, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	if (IS_ERR(area))
		return PTR_ERR(area);
	lock = semshare_mutex_open(ns, name);
	if (IS_ERR(lock))
		goto err_area;
	if (semshare_area_size(area) < sizeof(struct accounts)) {
		semshare_mutex_close(lock);
		lock = ERR_PTR(-EINVAL);
		goto err_area;
	}
	return 0;

err_area:
	semshare_area_put(area);
	return PTR_ERR(lock);
}

static int __init transfer_init(void)
{
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	int err;

	if (!ns)
		return -ESRCH;
	/* As the process that loads the module: its rights are asked. */
	err = open(ns);
	semshare_ipc_ns_put(ns);
	if (err) {
		/* Of -ENOENT insmod says that a symbol is unknown. */
		pr_err("area and lock %s: %pe\n", name, ERR_PTR(err));
		return err;
	}
	task = kthread_run(transfers, NULL, "semshare_transfer");
	if (IS_ERR(task)) {
		semshare_mutex_close(lock);
		semshare_area_put(area);
		return PTR_ERR(task);
	}
	return 0;
}

static void __exit transfer_exit(void)
{
	kthread_stop(task);
	semshare_mutex_close(lock);
	semshare_area_put(area);
}

module_init(transfer_init);
module_exit(transfer_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Moves money under a lock that it shares with Python");
