// SPDX-License-Identifier: GPL-2.0
/*
 * Areas that are one run of physical memory, for devices that know no scatter
 * and gather.  It comes from the page allocator, so it is charged like any other
 * memory, is at most some megabytes long, and is found more easily early.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "area.h"
#include "backing.h"

static void contiguous_empty(struct semshare_area *area)
{
	unsigned int i;

	/* One by one: a process may still have a reference to one of them. */
	for (i = 0; area->data && i < area->nr_pages; i++)
		__free_page(area->pages[i]);
	kvfree(area->pages);
}

static int contiguous_fill(struct semshare_area *area, const struct semshare_area_make *make)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	unsigned int i;

	if (make->flags & SEMSHARE_MAKE_DMA32)
		gfp |= GFP_DMA32;
	area->pages = kvcalloc(area->nr_pages, sizeof(*area->pages), GFP_KERNEL_ACCOUNT);
	if (!area->pages)
		return -ENOMEM;
	/* Pages of their own, not one compound page: each can be mapped by itself. */
	area->data = alloc_pages_exact((size_t)area->nr_pages << PAGE_SHIFT, gfp);
	if (!area->data)
		return -ENOMEM;
	for (i = 0; i < area->nr_pages; i++)
		area->pages[i] = virt_to_page(area->data + ((size_t)i << PAGE_SHIFT));
	return 0;
}

const struct semshare_backing semshare_backing_contiguous = {
	.flags = SEMSHARE_MAKE_DMA32,
	.privileged = true,
	.fill = contiguous_fill,
	.empty = contiguous_empty,
};
