// SPDX-License-Identifier: GPL-2.0
/*
 * A timer that fills the pages of a ring as a DMA engine does: one after the other,
 * round and round, whether somebody reads them or not.  Nothing but the pages says
 * how far it is.  Who sleeps until there is one is woken, as a device's interrupt
 * would have it.
 *
 * The timer's function runs in a softirq.  It takes no lock and waits for nobody,
 * and what it believes (where the pages are, how long they are, which is next) is in
 * kernel memory.  What users may ask of it is limited: how often for how many bytes,
 * how many timers in all, and where softirqs take too long a thread runs them.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "../compat/compat.h"
#include "paged_area.h"

/* Runs that were started and not stopped. */
static atomic_t runs = ATOMIC_INIT(0);

/**
 * struct paged_file - an open file
 * @mutex: one ioctl at a time
 * @timer: fills the pages
 * @start: what was asked for
 * @area: where they are, until the run is stopped
 * @done: pages written
 * @running: the timer has more to do
 */
struct paged_file {
	struct mutex mutex;	/* @start, @area */
	struct hrtimer timer;
	struct semshare_paged_start start;
	struct paged_area area;
	u64 done;
	bool running;
};

static void fill_page(struct paged_file *file)
{
	struct semshare_paged *paged = paged_area_pages(&file->area);
	const struct semshare_paged_start *start = &file->start;
	struct semshare_page *page;

	page = semshare_paged_open_page(paged, start->payload, SEMSHARE_PAGED_RECORD_TYPE,
					semshare_now());
	paged_area_pattern((u8 *)(page + 1), start->payload, paged->next);
	if (start->unfinished && paged->next % start->unfinished == 0)
		paged->next++;
	else
		semshare_paged_close_page(paged);
	paged_area_notify(&file->area);
}

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	struct paged_file *file = container_of(timer, struct paged_file, timer);
	const struct semshare_paged_start *start = &file->start;

	fill_page(file);
	WRITE_ONCE(file->done, file->done + 1);
	if (start->count && file->done == start->count) {
		smp_store_release(&file->running, false);	/* Pairs with is_running(). */
		return HRTIMER_NORESTART;
	}
	/* Late ones are left out: a storm of them would stop this processor. */
	hrtimer_forward_now(timer, ns_to_ktime(start->period_ns));
	return HRTIMER_RESTART;
}

static bool is_running(struct paged_file *file)
{
	/* Pairs with tick(): with its end come its last words. */
	return smp_load_acquire(&file->running);
}

static void stop(struct paged_file *file)
{
	hrtimer_cancel(&file->timer);
	WRITE_ONCE(file->running, false);
	if (file->area.ring)
		atomic_dec(&runs);
	paged_area_close(&file->area);
}

static int ioctl_start(struct paged_file *file, const void __user *argument)
{
	struct semshare_paged_start start;
	int err;

	if (copy_from_user(&start, argument, sizeof(start)))
		return -EFAULT;
	if (start.reserved || start.payload > SEMSHARE_PAGED_MAX_PAGE ||
	    start.period_ns < SEMSHARE_PAGED_MIN_PERIOD_NS(start.payload) ||
	    start.period_ns > NSEC_PER_SEC)
		return -EINVAL;
	if (is_running(file))
		return -EBUSY;
	stop(file);
	if (atomic_inc_return(&runs) > SEMSHARE_PAGED_MAX_RUNS)
		err = -EBUSY;
	else
		err = paged_area_open(&file->area, &start, SEMSHARE_PAGED_MAX_PAGE);
	if (err) {
		atomic_dec(&runs);
		return err;
	}
	file->start = start;
	file->done = 0;
	file->running = true;
	hrtimer_start(&file->timer, ns_to_ktime(start.period_ns), HRTIMER_MODE_REL_SOFT);
	return 0;
}

static int ioctl_status(struct paged_file *file, void __user *argument)
{
	struct semshare_paged_status status = {
		.running = is_running(file),
		.done = READ_ONCE(file->done),
		.next = READ_ONCE(paged_area_pages(&file->area)->next),
	};

	return copy_to_user(argument, &status, sizeof(status)) ? -EFAULT : 0;
}

static long paged_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	struct paged_file *file = filp->private_data;
	void __user *user = (void __user *)argument;
	long err = 0;

	if (mutex_lock_interruptible(&file->mutex))
		return -EINTR;
	switch (command) {
	case SEMSHARE_PAGED_IOC_START:
		err = ioctl_start(file, user);
		break;
	case SEMSHARE_PAGED_IOC_STOP:
		stop(file);
		break;
	case SEMSHARE_PAGED_IOC_STATUS:
		err = ioctl_status(file, user);
		break;
	default:
		err = -ENOTTY;
	}
	mutex_unlock(&file->mutex);
	return err;
}

static int paged_open(struct inode *inode, struct file *filp)
{
	struct paged_file *file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);

	if (!file)
		return -ENOMEM;
	mutex_init(&file->mutex);
	semshare_hrtimer_setup(&file->timer, tick, HRTIMER_MODE_REL_SOFT);
	filp->private_data = file;
	return nonseekable_open(inode, filp);
}

static int paged_release(struct inode *inode, struct file *filp)
{
	struct paged_file *file = filp->private_data;

	stop(file);
	kfree(file);
	return 0;
}

static const struct file_operations paged_fops = {
	.owner = THIS_MODULE,
	.open = paged_open,
	.release = paged_release,
	.unlocked_ioctl = paged_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice paged_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-paged",
	.fops = &paged_fops,
	.mode = 0660,
};

module_misc_device(paged_device);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("A timer that fills a ring of pages as a DMA engine does");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
