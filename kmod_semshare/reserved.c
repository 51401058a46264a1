// SPDX-License-Identifier: GPL-2.0
/*
 * Areas in a range of physical memory that the system was told to leave alone:
 * memmap=16M$0x7000000 on the kernel's command line, and the same words for the
 * module's parameter reserved.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "area.h"
#include "backing.h"

static char *reserved = "";
module_param(reserved, charp, 0444);
MODULE_PARM_DESC(reserved,
		 "a range of physical memory for areas, SIZE$ADDRESS as in memmap= (default none)");

static DEFINE_MUTEX(reserved_mutex);	/* guards reserved_used */
static phys_addr_t reserved_start;
static unsigned long reserved_pages;	/* 0: there is none */
static unsigned long *reserved_used;	/* a bit for each page */

static void reserved_empty(struct semshare_area *area)
{
	if (area->data)
		memunmap(area->data);
	if (!area->start)
		return;
	mutex_lock(&reserved_mutex);
	bitmap_clear(reserved_used, PHYS_PFN(area->start - reserved_start), area->nr_pages);
	mutex_unlock(&reserved_mutex);
}

static int reserved_fill(struct semshare_area *area, const struct semshare_area_make *make)
{
	size_t bytes = (size_t)area->nr_pages << PAGE_SHIFT;
	size_t done, step;
	unsigned long at;

	if (!reserved_pages)
		return -ENODEV;
	mutex_lock(&reserved_mutex);
	at = bitmap_find_next_zero_area(reserved_used, reserved_pages, 0, area->nr_pages, 0);
	if (at + area->nr_pages <= reserved_pages) {
		bitmap_set(reserved_used, at, area->nr_pages);
		area->start = reserved_start + PFN_PHYS(at);
	}
	mutex_unlock(&reserved_mutex);
	if (!area->start)
		return -ENOMEM;

	area->data = memremap(area->start, bytes, MEMREMAP_WB);
	if (!area->data)
		return -ENOMEM;
	for (done = 0; done < bytes; done += step) {
		step = min_t(size_t, SZ_1M, bytes - done);
		memset(area->data + done, 0, step);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

const struct semshare_backing semshare_backing_reserved = {
	.privileged = true,
	.by_number = true,
	.fill = reserved_fill,
	.empty = reserved_empty,
};

/**
 * semshare_reserved_init - take the range that the parameter names
 *
 * Context: module load.
 * Return: 0, also without one; -EINVAL: it is none, or memory that the system
 * uses; -EBUSY: somebody else has it; -ENOMEM.
 */
int semshare_reserved_init(void)
{
	char *end = reserved;
	u64 start = 0, size;

	if (!*reserved)
		return 0;
	size = memparse(reserved, &end);
	if (*end == '$')
		start = memparse(end + 1, &end);
	if (*end || !start || !size || (start | size) & ~PAGE_MASK || start + size < start) {
		pr_err("parameter reserved=%s: give SIZE$ADDRESS, as to memmap=, in whole pages\n",
		       reserved);
		return -EINVAL;
	}
	if (region_intersects(start, size, IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT) {
		pr_err("parameter reserved=%s: the system uses memory there; give memmap=%s to the kernel\n",
		       reserved, reserved);
		return -EINVAL;
	}
	if (!request_mem_region(start, size, KBUILD_MODNAME)) {
		pr_err("parameter reserved=%s: somebody has it; see /proc/iomem\n", reserved);
		return -EBUSY;
	}
	reserved_used = bitmap_zalloc(PHYS_PFN(size), GFP_KERNEL);
	if (!reserved_used) {
		release_mem_region(start, size);
		return -ENOMEM;
	}
	reserved_start = start;
	reserved_pages = PHYS_PFN(size);
	return 0;
}

void semshare_reserved_exit(void)
{
	if (!reserved_pages)
		return;
	bitmap_free(reserved_used);
	release_mem_region(reserved_start, PFN_PHYS(reserved_pages));
}
