// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading: each part in its order, and back in the reverse one. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "area.h"
#include "backing.h"
#include "device.h"
#include "resolve.h"
#include "route.h"
#include "scratch.h"
#include "sem.h"

static int __init semshare_init(void)
{
	int error;

	error = semshare_resolve_init();
	if (error)
		return error;
	error = semshare_scratch_init();
	if (error)
		return error;
	error = semshare_sem_init();
	if (error)
		goto err_scratch;
	error = semshare_reserved_init();
	if (error)
		goto err_sem;
	error = semshare_route_init();
	if (error)
		goto err_reserved;
	/* Last, because from here on somebody may come in. */
	error = semshare_device_init();
	if (error)
		goto err_route;
	semshare_route_start();

	pr_info("loaded, version %s, ABI %d\n", SEMSHARE_MODULE_VERSION, SEMSHARE_ABI_VERSION);
	return 0;

err_route:
	semshare_route_exit();
err_reserved:
	semshare_reserved_exit();
err_sem:
	semshare_sem_exit();
err_scratch:
	semshare_scratch_exit();
	return error;
}

static void __exit semshare_exit(void)
{
	semshare_device_exit();
	semshare_route_exit();
	semshare_area_exit();
	semshare_reserved_exit();
	semshare_sem_exit();
	semshare_scratch_exit();
	pr_info("unloaded\n");
}

module_init(semshare_init);
module_exit(semshare_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("One SysV semaphore set and one buffer, shared by kernel code and processes");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
