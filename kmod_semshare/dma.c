// SPDX-License-Identifier: GPL-2.0
/* Areas as devices see them. */
#include <linux/dma-mapping.h>
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "area.h"
#include "sem.h"

/* Whether there is a struct page for all of a run of memory that the system does not use. */
static bool run_has_pages(const struct semshare_area *area)
{
	unsigned int i;

	for (i = 0; i < area->nr_pages; i++) {
		if (!pfn_valid(semshare_area_pfn(area, i)))
			return false;
	}
	return true;
}

static int run_map(struct semshare_area *area, struct device *dev, struct sg_table *table,
		   enum dma_data_direction dir)
{
	size_t bytes = (size_t)area->nr_pages << PAGE_SHIFT;
	dma_addr_t address;
	int err;

	/* An entry of a table cannot say more. */
	if (bytes > UINT_MAX)
		return -EOVERFLOW;
	/* Asked here, because the DMA layer takes it for a bug. */
	if (area->start + bytes - 1 > dma_get_mask(dev))
		return -EIO;
	address = dma_map_resource(dev, area->start, bytes, dir, 0);
	if (dma_mapping_error(dev, address))
		return -EIO;
	err = sg_alloc_table(table, 1, GFP_KERNEL);
	if (err) {
		dma_unmap_resource(dev, address, bytes, dir, 0);
		return err;
	}
	table->sgl->length = bytes;
	sg_dma_address(table->sgl) = address;
	sg_dma_len(table->sgl) = bytes;
	return 0;
}

static int pages_map(struct semshare_area *area, struct device *dev, struct sg_table *table,
		     enum dma_data_direction dir)
{
	struct page **pages = area->pages;
	unsigned int i, longest = max_t(unsigned int, dma_get_max_seg_size(dev), PAGE_SIZE);
	int err = -ENOMEM;

	if (!pages) {
		pages = kvcalloc(area->nr_pages, sizeof(*pages), GFP_KERNEL);
		if (!pages)
			return -ENOMEM;
		for (i = 0; i < area->nr_pages; i++)
			pages[i] = pfn_to_page(semshare_area_pfn(area, i));
	}
	err = sg_alloc_table_from_pages_segment(table, pages, area->nr_pages, 0,
						(size_t)area->nr_pages << PAGE_SHIFT,
						longest & PAGE_MASK, GFP_KERNEL);
	if (pages != area->pages)
		kvfree(pages);
	if (err)
		return err;
	err = dma_map_sgtable(dev, table, dir, 0);
	if (err)
		sg_free_table(table);
	return err;
}

/**
 * semshare_area_map_dma - make an area known to a device
 * @area: an area the caller has a reference to
 * @dev: the device, its DMA mask and largest segment set
 * @dir: DMA_TO_DEVICE, DMA_FROM_DEVICE or DMA_BIDIRECTIONAL
 *
 * The addresses are those of for_each_sgtable_dma_sg(); all pages of the area,
 * in order.  One of SEMSHARE_AREA_CONTIGUOUS or SEMSHARE_AREA_RESERVED gives one
 * segment, if the device takes any that long (dma_set_max_seg_size()).
 *
 * This is a streaming mapping: where a device is not coherent, or its mask does
 * not reach the memory and the system puts a bounce buffer in between, what it
 * wrote is seen after dma_sync_sgtable_for_cpu(), and it sees what was written
 * before dma_sync_sgtable_for_device().  An area of SEMSHARE_AREA_RESERVED without
 * struct pages has nothing to synchronize, and sg_page() of it is none.
 *
 * The table holds a reference to the area.
 *
 * Context: process context, sleeps.
 * Return: the table, for semshare_area_unmap_dma(); -ENOMEM; -EIO: the device
 * cannot reach the memory; -EOVERFLOW: 4 GiB and more, without struct pages;
 * -EINVAL: what else dma_map_sgtable() refuses;
 * -EOPNOTSUPP: called where sleeping is not allowed.
 */
struct sg_table *semshare_area_map_dma(struct semshare_area *area, struct device *dev,
				       enum dma_data_direction dir)
{
	struct sg_table *table;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		return ERR_PTR(-ENOMEM);
	if (area->pages || run_has_pages(area))
		err = pages_map(area, dev, table, dir);
	else
		err = run_map(area, dev, table, dir);
	if (err) {
		kfree(table);
		return ERR_PTR(err);
	}
	semshare_area_hold(area, SEMSHARE_AREA_KERNEL);
	return table;
}
EXPORT_SYMBOL_GPL(semshare_area_map_dma);

/**
 * semshare_area_unmap_dma - a device is done with an area
 * @area: the area
 * @dev: as in semshare_area_map_dma()
 * @table: what that returned; freed
 * @dir: as there
 *
 * Gives the table's reference to the area back.
 *
 * Context: process context, sleeps.
 */
void semshare_area_unmap_dma(struct semshare_area *area, struct device *dev,
			     struct sg_table *table, enum dma_data_direction dir)
{
	if (area->pages || run_has_pages(area))
		dma_unmap_sgtable(dev, table, dir, 0);
	else
		dma_unmap_resource(dev, sg_dma_address(table->sgl), sg_dma_len(table->sgl), dir, 0);
	sg_free_table(table);
	kfree(table);
	semshare_area_put(area);
}
EXPORT_SYMBOL_GPL(semshare_area_unmap_dma);
