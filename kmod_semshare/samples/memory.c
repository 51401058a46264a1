// SPDX-License-Identifier: GPL-2.0
/*
 * A client of semshare's in-kernel API that has memory for a device: an area that
 * it makes, or one that a process made, of a memfd perhaps; and the addresses by
 * which a device gets at it.  A driver does the same in its probe function, with
 * the device that it is given; here is one that does nothing.
 *
 *	insmod semshare_memory.ko area=frames bytes=1048576 kind=contiguous
 *	python3:  semshare.Area.attach("frames").array("u1")
 *	rmmod semshare_memory
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <semshare/kapi.h>

static char *area = "memory";
module_param(area, charp, 0444);
MODULE_PARM_DESC(area, "name of the area (default memory)");

static unsigned long bytes;
module_param(bytes, ulong, 0444);
MODULE_PARM_DESC(bytes, "make an area of so many bytes (default 0: attach one that is there)");

static char *kind = "contiguous";
module_param(kind, charp, 0444);
MODULE_PARM_DESC(kind, "of a new area: pages, contiguous or reserved (default contiguous)");

static unsigned int segments;
module_param(segments, uint, 0444);
MODULE_PARM_DESC(segments, "pieces in which the device sees the area (read-only)");

static unsigned long long address;
module_param(address, ullong, 0444);
MODULE_PARM_DESC(address, "where the device finds the first of them (read-only)");

static struct platform_device *device;
static struct semshare_area *memory;
static struct sg_table *table;

static int kind_number(void)
{
	if (!strcmp(kind, "pages"))
		return SEMSHARE_AREA_PAGES;
	if (!strcmp(kind, "contiguous"))
		return SEMSHARE_AREA_CONTIGUOUS;
	if (!strcmp(kind, "reserved"))
		return SEMSHARE_AREA_RESERVED;
	return -EINVAL;
}

static struct semshare_area *get_area(void)
{
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_area_params params = { .size = bytes, .mode = 0600 };
	struct semshare_area *got = ERR_PTR(-EINVAL);
	int number = kind_number();

	if (!ns)
		return ERR_PTR(-ESRCH);
	if (!bytes) {
		got = semshare_area_attach(ns, area, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	} else if (number >= 0) {
		params.kind = number;
		got = semshare_area_create_kind(ns, area, &params);
	}
	semshare_ipc_ns_put(ns);
	return got;
}

static struct platform_device *make_device(void)
{
	struct platform_device *made;
	int err;

	made = platform_device_register_simple("semshare_memory", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(made))
		return made;
	err = dma_coerce_mask_and_coherent(&made->dev, DMA_BIT_MASK(64));
	if (err) {
		platform_device_unregister(made);
		return ERR_PTR(err);
	}
	dma_set_max_seg_size(&made->dev, SZ_1G);
	return made;
}

static int __init memory_init(void)
{
	struct scatterlist *each;
	unsigned int i;
	int err;

	memory = get_area();
	if (IS_ERR(memory))
		return PTR_ERR(memory);
	device = make_device();
	if (IS_ERR(device)) {
		err = PTR_ERR(device);
		goto err_area;
	}
	table = semshare_area_map_dma(memory, &device->dev, DMA_BIDIRECTIONAL);
	if (IS_ERR(table)) {
		err = PTR_ERR(table);
		goto err_device;
	}
	/* Here a driver would write them into its device. */
	for_each_sgtable_dma_sg(table, each, i)
		pr_debug("%u bytes at %pad\n", sg_dma_len(each), &sg_dma_address(each));
	segments = table->nents;
	address = sg_dma_address(table->sgl);
	return 0;

err_device:
	platform_device_unregister(device);
err_area:
	semshare_area_put(memory);
	return err;
}

static void __exit memory_exit(void)
{
	semshare_area_unmap_dma(memory, &device->dev, table, DMA_BIDIRECTIONAL);
	platform_device_unregister(device);
	semshare_area_put(memory);
}

module_init(memory_init);
module_exit(memory_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("Memory for a device: a sample client of semshare");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
