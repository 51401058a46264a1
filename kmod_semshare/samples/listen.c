// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the records that anybody puts into a ring into the kernel's log, without
 * a thread of its own and without ever looking in vain: it is called when there
 * are some.
 *
 *	insmod semshare_listen.ko area=NAME
 *
 * The ring is that of the area NAME of the module, in insmod's IPC namespace.  See
 * docs/concepts/notifications.md.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/module.h>
#include <semshare/kapi.h>

static char *area_name;
module_param_named(area, area_name, charp, 0444);
MODULE_PARM_DESC(area, "name of the area whose ring is printed");

#define LONGEST		128	/* of what is longer no more is taken: the listener ends */
#define MOST		64	/* records of one call */

static struct semshare_area *area;
static struct semshare_ring *ring;

/* Called in process context by a worker of semshare's, once for one record or for many. */
static void listen_call(struct semshare_listener *listener, u32 events)
{
	struct semshare_record head;
	char payload[LONGEST];
	unsigned int turns;
	ssize_t size;

	for (turns = 0; turns < MOST; turns++) {
		size = semshare_ring_get(ring, &head, payload, sizeof(payload), 0);
		if (size >= 0) {
			/* A number that is missing is that of a record that was dropped. */
			pr_info_ratelimited("%s: %llu: type %u, %zd bytes: %*pE\n", area_name,
					    head.sequence, head.type, size, (int)size, payload);
		} else if (size != -EAGAIN) {
			pr_warn("%s: no more records: %pe\n", area_name, ERR_PTR(size));
			return;
		} else if (!semshare_ring_arm(ring, SEMSHARE_EVENT_DATA)) {
			/* It will be called again.  Else look again, for what came before that. */
			return;
		}
		cond_resched();
	}
	/* Whoever puts that many does not keep the others of this worker waiting. */
	semshare_area_notify(area, SEMSHARE_EVENT_DATA);
}

static struct semshare_listener listener = {
	.events = SEMSHARE_EVENT_DATA | SEMSHARE_EVENT_BROKEN,
	.call = listen_call,
};

static int __init listen_init(void)
{
	struct ipc_namespace *ns;
	int err;

	if (!area_name)
		return -EINVAL;
	ns = semshare_ipc_ns_get();
	if (!ns)
		return -ESRCH;
	area = semshare_area_attach(ns, area_name, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	semshare_ipc_ns_put(ns);
	if (IS_ERR(area))
		return PTR_ERR(area);
	ring = semshare_ring_open(area, 0);
	if (IS_ERR(ring)) {
		err = PTR_ERR(ring);
		goto put_area;
	}
	/* Where there can be one consumer only, this is it from now on. */
	err = semshare_ring_take_role(ring, SEMSHARE_ROLE_CONSUMER);
	if (err)
		goto close_ring;
	semshare_area_listen(area, &listener);
	/* For what is in the ring already. */
	semshare_area_notify(area, SEMSHARE_EVENT_DATA);
	return 0;

close_ring:
	semshare_ring_close(ring);
put_area:
	semshare_area_put(area);
	return err;
}

static void __exit listen_exit(void)
{
	semshare_area_unlisten(area, &listener);
	semshare_ring_close(ring);
	semshare_area_put(area);
}

module_init(listen_init);
module_exit(listen_exit);

MODULE_DESCRIPTION("semshare: prints the records of a ring");
MODULE_LICENSE("GPL");
