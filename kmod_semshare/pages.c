// SPDX-License-Identifier: GPL-2.0
/*
 * Areas in pages of the system's memory.
 *
 * Single pages put together by vmap(), because vmalloc_user() memory is on no
 * memory cgroup's bill while GFP_KERNEL_ACCOUNT pages are.  A limit that is
 * reached is -ENOMEM for the caller (__GFP_RETRY_MAYFAIL), not the end of some
 * process.
 *
 * Huge pages are compound ones: get_user_pages() counts references to the head of
 * one that is mapped as a whole, whichever part of it was asked for.  They lie at
 * multiples of their size only: a fault that may map one as a whole takes that for
 * granted, and would show the wrong pages.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "area.h"
#include "backing.h"

static void pages_empty(struct semshare_area *area)
{
	unsigned int i, order;

	vunmap(area->data);
	for (i = 0; area->pages && i < area->nr_pages && area->pages[i]; i += 1u << order) {
		order = folio_order(page_folio(area->pages[i]));
		__free_pages(area->pages[i], order);
		cond_resched();
	}
	kvfree(area->pages);
}

static int pages_fill(struct semshare_area *area, const struct semshare_area_make *make)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;
	unsigned int i, j, count;
	struct page *page;

	area->pages = kvcalloc(area->nr_pages, sizeof(*area->pages), GFP_KERNEL_ACCOUNT);
	if (!area->pages)
		return -ENOMEM;
	for (i = 0; i < area->nr_pages; i += count) {
		page = NULL;
		count = SEMSHARE_HUGE_PAGES;
		if (make->flags & SEMSHARE_MAKE_HUGE && IS_ALIGNED(i, count) &&
		    area->nr_pages - i >= count)
			page = alloc_pages(gfp | __GFP_COMP | __GFP_NORETRY, SEMSHARE_HUGE_ORDER);
		if (page) {
			area->huge_pages++;
		} else {
			count = 1;
			page = alloc_page(gfp | __GFP_RETRY_MAYFAIL);
		}
		if (!page)
			return -ENOMEM;
		for (j = 0; j < count; j++)
			area->pages[i + j] = page + j;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	area->data = vmap(area->pages, area->nr_pages, VM_MAP, PAGE_KERNEL);
	return area->data ? 0 : -ENOMEM;
}

const struct semshare_backing semshare_backing_pages = {
	.flags = SEMSHARE_MAKE_HUGE,
	.fill = pages_fill,
	.empty = pages_empty,
};
