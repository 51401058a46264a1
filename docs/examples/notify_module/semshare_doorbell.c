// SPDX-License-Identifier: GPL-2.0
/*
 * A doorbell in each direction, and no thread here: a process signals an eventfd, and
 * the function below is called; it puts a record, and the process that waits at a
 * descriptor is woken.
 *
 *	python3:  ring = semshare.aio.Ring.create("answers", 65536, variant="mpsc")
 *		  bell = os.eventfd(0)
 *	shell:    insmod semshare_doorbell.ko area=answers
 *	python3:  open("/sys/module/semshare_doorbell/parameters/eventfd", "w").write(str(bell))
 *		  os.eventfd_write(bell, 1)
 *		  await ring.get()
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/module.h>
#include <linux/timekeeping.h>
#include <semshare/kapi.h>

#define DOORBELL_TYPE	1

static char *area = "answers";
module_param(area, charp, 0444);
MODULE_PARM_DESC(area, "name of the area with the ring (default answers)");

static struct semshare_ring *ring;

/* Parameters can be written before init has ended, and until exit has: under their lock. */
static struct semshare_eventfd_listener *listener;
static bool open_to_users;

/* In process context, once for one signal or for several that came together. */
static void ring_back(void *unused)
{
	u64 now = ktime_get_ns();

	/* Whoever waits for records is woken; where nobody does this is a copy and a store. */
	(void)semshare_ring_put(ring, DOORBELL_TYPE, &now, sizeof(now), 0);
}

/* The descriptor is one of the process that writes here; it is handed over once. */
static int set_eventfd(const char *text, const struct kernel_param *parameter)
{
	struct semshare_eventfd_listener *given;
	int fd, err = kstrtoint(text, 10, &fd);

	if (err)
		return err;
	if (!open_to_users)
		return -EAGAIN;
	given = semshare_eventfd_listen(fd, ring_back, NULL);
	if (IS_ERR(given))
		return PTR_ERR(given);
	if (listener)
		semshare_eventfd_unlisten(listener);
	listener = given;
	return 0;
}

static const struct kernel_param_ops eventfd_operations = { .set = set_eventfd };
module_param_cb(eventfd, &eventfd_operations, NULL, 0200);
MODULE_PARM_DESC(eventfd, "number of an eventfd of who writes it: each signal of it puts a record");

static int __init doorbell_init(void)
{
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_area *buffer;

	if (!ns)
		return -ESRCH;
	buffer = semshare_area_attach(ns, area, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	semshare_ipc_ns_put(ns);
	if (IS_ERR(buffer)) {
		/* Of -ENOENT insmod says that a symbol is unknown. */
		pr_err("area %s: %pe\n", area, buffer);
		return PTR_ERR(buffer);
	}
	ring = semshare_ring_open(buffer, 0);
	/* The handle has a reference of its own. */
	semshare_area_put(buffer);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	kernel_param_lock(THIS_MODULE);
	open_to_users = true;
	kernel_param_unlock(THIS_MODULE);
	return 0;
}

static void __exit doorbell_exit(void)
{
	kernel_param_lock(THIS_MODULE);
	open_to_users = false;
	kernel_param_unlock(THIS_MODULE);
	/* When this returns no call is under way. */
	if (listener)
		semshare_eventfd_unlisten(listener);
	semshare_ring_close(ring);
}

module_init(doorbell_init);
module_exit(doorbell_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Answers an eventfd's signals by records of semshare");
