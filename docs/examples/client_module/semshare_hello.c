// SPDX-License-Identifier: GPL-2.0
/*
 * The smallest client of semshare: puts one record into the ring of an area
 * that a process made.
 *
 *	python3:  ring = semshare.Ring("hello", 65536, create=True)
 *	shell:    insmod semshare_hello.ko area=hello
 *	python3:  print(ring.get(timeout=1))
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/module.h>
#include <semshare/kapi.h>

#define HELLO_TYPE	1
#define HELLO_TIMEOUT	HZ

static char *area = "hello";
module_param(area, charp, 0444);
MODULE_PARM_DESC(area, "name of the area with the ring (default hello)");

static int put(struct semshare_area *buffer)
{
	static const char text[] = "hello from the kernel";
	struct semshare_ring *ring = semshare_ring_open(buffer, 0);
	int err;

	if (IS_ERR(ring))
		return PTR_ERR(ring);
	err = semshare_ring_put(ring, HELLO_TYPE, text, sizeof(text) - 1, HELLO_TIMEOUT);
	semshare_ring_close(ring);
	return err;
}

static int __init hello_init(void)
{
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_area *buffer;
	int err;

	if (!ns)
		return -ESRCH;
	buffer = semshare_area_attach(ns, area, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	err = PTR_ERR_OR_ZERO(buffer);
	if (!err) {
		err = put(buffer);
		semshare_area_put(buffer);
	} else {
		/* Of -ENOENT insmod says that a symbol is unknown. */
		pr_err("area %s: %pe\n", area, buffer);
	}
	semshare_ipc_ns_put(ns);
	return err;
}

static void __exit hello_exit(void)
{
}

module_init(hello_init);
module_exit(hello_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Puts one record into a ring of semshare");
