// SPDX-License-Identifier: GPL-2.0
/*
 * A driver of QEMU's educational PCI device (-device edu), whose DMA engine fills the
 * pages of a ring: real DMA, out of the device, into memory that a process has mapped.
 *
 * The device can move up to 4096 bytes between memory and a buffer of its own, one
 * transfer at a time, and interrupts when it is done.  A page takes two:
 *
 *	LOAD	the driver's buffer ----> the device's	what the page is to be
 *	STORE	the ring's page <-------- the device's	the page arrives, fences and all
 *
 * The processor never writes into the ring, and no index says that a page is there:
 * the consumer finds its fences.  The interrupt after a STORE wakes a consumer that
 * sleeps.  A transfer takes the device 100 ms.
 *
 * The device writes into an area's pages, so they are given back only when it does not
 * any more: who stops waits for the transfer under way, and if that never ends takes
 * the right to use the bus away from the device.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "paged_area.h"

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

/* Registers in BAR 0. */
#define EDU_ID		0x00	/* 0xRRrr00edu */
#define EDU_IRQ_STATUS	0x24
#define EDU_IRQ_ACK	0x64
#define EDU_DMA_FROM	0x80
#define EDU_DMA_TO	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_COMMAND	0x98

#define EDU_DMA_START	0x1
#define EDU_DMA_STORE	0x2	/* from the device to memory */
#define EDU_DMA_IRQ	0x4

#define EDU_BUFFER	0x40000
#define EDU_TIMEOUT	(10 * HZ)

static unsigned int dma_bits = 28;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "bits of an address that the device drives: its property dma_mask (default 28)");

/**
 * struct edu - the device
 * @pdev: it
 * @registers: its BAR 0
 * @buffer: what a page is to be; SEMSHARE_EDU_MAX_PAGE bytes
 * @buffer_dma: the same, as the device sees it
 * @lock: guards what follows
 * @owner: the open file whose run it is; NULL: idle
 * @start: what was asked for
 * @area: the ring
 * @page_dma: the page that is being stored; DMA_MAPPING_ERROR: none
 * @done: pages stored
 * @error: what ended the run
 * @stopping: no further transfer
 * @busy: a transfer is under way
 * @idle: when it is not any more
 */
struct edu {
	struct pci_dev *pdev;
	void __iomem *registers;
	struct semshare_page *buffer;
	dma_addr_t buffer_dma;

	spinlock_t lock;	/* what follows */
	struct file *owner;
	struct semshare_paged_start start;
	struct paged_area area;
	dma_addr_t page_dma;
	u64 done;
	int error;
	bool stopping;
	bool busy;
	struct completion idle;
};

static DEFINE_MUTEX(edu_mutex);	/* @the_edu; one ioctl at a time */
static struct edu *the_edu;

/* ---------------------------------------------------------------- transfers */

static void edu_transfer(struct edu *edu, u64 from, u64 to, u64 command)
{
	u64 size = paged_area_pages(&edu->area)->size;

	writeq(from, edu->registers + EDU_DMA_FROM);
	writeq(to, edu->registers + EDU_DMA_TO);
	writeq(size, edu->registers + EDU_DMA_COUNT);
	writeq(command | EDU_DMA_START | EDU_DMA_IRQ, edu->registers + EDU_DMA_COMMAND);
	edu->busy = true;
}

/* Make the next page, in memory of our own, and have the device fetch it. */
static void edu_load(struct edu *edu)
{
	struct semshare_paged *paged = paged_area_pages(&edu->area);
	const struct semshare_paged_start *start = &edu->start;
	/* As if the buffer were the ring: a page of it, with its fences. */
	struct semshare_paged here = *paged;

	here.pages = (unsigned char *)edu->buffer;
	here.mask = 0;
	memset(edu->buffer, 0, paged->size);
	paged_area_pattern((u8 *)(semshare_paged_open_page(&here, start->payload,
							   SEMSHARE_PAGED_RECORD_TYPE,
							   semshare_now()) + 1),
			   start->payload, paged->next);
	if (!start->unfinished || paged->next % start->unfinished)
		semshare_paged_close_page(&here);
	edu->page_dma = DMA_MAPPING_ERROR;
	edu_transfer(edu, edu->buffer_dma, EDU_BUFFER, 0);
}

/* Have the device write it to its place in the ring. */
static int edu_store(struct edu *edu)
{
	struct semshare_paged *paged = paged_area_pages(&edu->area);
	void *place = semshare_paged_at(paged, paged->next);

	/* See ioctl_start(): memory of single pages, and a page of this ring lies within one. */
	edu->page_dma = dma_map_page(&edu->pdev->dev, vmalloc_to_page(place), offset_in_page(place),
				     paged->size, DMA_FROM_DEVICE);
	if (dma_mapping_error(&edu->pdev->dev, edu->page_dma)) {
		edu->page_dma = DMA_MAPPING_ERROR;
		return -ENXIO;
	}
	edu_transfer(edu, EDU_BUFFER, edu->page_dma, EDU_DMA_STORE);
	return 0;
}

static void edu_unmap(struct edu *edu)
{
	if (edu->page_dma != DMA_MAPPING_ERROR)
		dma_unmap_page(&edu->pdev->dev, edu->page_dma, paged_area_pages(&edu->area)->size,
			       DMA_FROM_DEVICE);
	edu->page_dma = DMA_MAPPING_ERROR;
}

static bool edu_wants_more(const struct edu *edu)
{
	return !edu->stopping && !edu->error &&
	       (!edu->start.count || edu->done < edu->start.count);
}

/* The transfer is over. */
static void edu_go_on(struct edu *edu)
{
	edu->busy = false;
	if (edu->page_dma != DMA_MAPPING_ERROR) {
		edu_unmap(edu);
		paged_area_pages(&edu->area)->next++;
		edu->done++;
		paged_area_notify(&edu->area);
		if (edu_wants_more(edu))
			edu_load(edu);
	} else if (edu_wants_more(edu)) {
		edu->error = edu_store(edu);
	}
	if (!edu->busy)
		complete_all(&edu->idle);
}

static irqreturn_t edu_interrupt(int irq, void *data)
{
	struct edu *edu = data;
	u32 status = readl(edu->registers + EDU_IRQ_STATUS);

	if (!status)
		return IRQ_NONE;
	writel(status, edu->registers + EDU_IRQ_ACK);
	spin_lock(&edu->lock);
	if (edu->busy)
		edu_go_on(edu);
	spin_unlock(&edu->lock);
	return IRQ_HANDLED;
}

/* End the run, and give its area back once the device lets go of it. */
static void edu_stop(struct edu *edu)
{
	lockdep_assert_held(&edu_mutex);
	if (!edu->owner)
		return;
	spin_lock_irq(&edu->lock);
	edu->stopping = true;
	spin_unlock_irq(&edu->lock);
	if (!wait_for_completion_timeout(&edu->idle, EDU_TIMEOUT)) {
		pci_clear_master(edu->pdev);
		pci_err(edu->pdev, "a transfer does not end: no DMA from now on, load the driver again\n");
		spin_lock_irq(&edu->lock);
		edu->busy = false;
		edu->error = -EIO;
		edu_unmap(edu);
		spin_unlock_irq(&edu->lock);
	}
	paged_area_close(&edu->area);
	edu->owner = NULL;
}

/* ------------------------------------------------------------------- device */

static int ioctl_start(struct edu *edu, struct file *filp, const void __user *argument)
{
	struct semshare_paged_start start;
	const void *pages;
	int err;

	if (copy_from_user(&start, argument, sizeof(start)))
		return -EFAULT;
	if (start.reserved || start.period_ns)
		return -EINVAL;
	if (edu->owner && (edu->owner != filp || !completion_done(&edu->idle)))
		return -EBUSY;
	edu_stop(edu);
	if (edu->error == -EIO)
		return -EIO;
	err = paged_area_open(&edu->area, &start, SEMSHARE_EDU_MAX_PAGE);
	if (err)
		return err;
	pages = paged_area_pages(&edu->area)->pages;
	if (!is_vmalloc_addr(pages) || !pfn_valid(vmalloc_to_pfn(pages))) {
		paged_area_close(&edu->area);
		return -EOPNOTSUPP;
	}
	reinit_completion(&edu->idle);
	spin_lock_irq(&edu->lock);
	edu->owner = filp;
	edu->start = start;
	edu->done = 0;
	edu->error = 0;
	edu->stopping = false;
	edu_load(edu);
	spin_unlock_irq(&edu->lock);
	return 0;
}

static int ioctl_status(struct edu *edu, struct file *filp, void __user *argument)
{
	struct semshare_paged_status status = { .done = 0 };

	spin_lock_irq(&edu->lock);
	status.done = edu->done;
	status.next = paged_area_pages(&edu->area)->next;
	status.running = edu->owner == filp && edu->busy;
	status.error = -edu->error;
	spin_unlock_irq(&edu->lock);
	return copy_to_user(argument, &status, sizeof(status)) ? -EFAULT : 0;
}

static long edu_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;
	long err = 0;

	if (mutex_lock_interruptible(&edu_mutex))
		return -EINTR;
	if (!the_edu)
		err = -ENODEV;
	else if (command == SEMSHARE_PAGED_IOC_START)
		err = ioctl_start(the_edu, filp, user);
	else if (command == SEMSHARE_PAGED_IOC_STATUS)
		err = ioctl_status(the_edu, filp, user);
	else if (command != SEMSHARE_PAGED_IOC_STOP)
		err = -ENOTTY;
	else if (the_edu->owner == filp)
		edu_stop(the_edu);
	mutex_unlock(&edu_mutex);
	return err;
}

static int edu_release(struct inode *inode, struct file *filp)
{
	mutex_lock(&edu_mutex);
	if (the_edu && the_edu->owner == filp)
		edu_stop(the_edu);
	mutex_unlock(&edu_mutex);
	return 0;
}

static const struct file_operations edu_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.release = edu_release,
	.unlocked_ioctl = edu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice edu_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-edu",
	.fops = &edu_fops,
	.mode = 0660,
};

/* ---------------------------------------------------------- probe and remove */

static int edu_setup(struct edu *edu)
{
	struct pci_dev *pdev = edu->pdev;
	int err;

	err = pcim_enable_device(pdev);
	if (!err)
		err = pcim_iomap_regions(pdev, BIT(0), KBUILD_MODNAME);
	if (err)
		return err;
	edu->registers = pcim_iomap_table(pdev)[0];
	if ((readl(edu->registers + EDU_ID) & 0xffff) != 0x00ed)
		return -ENODEV;
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(dma_bits));
	if (err)
		return err;
	edu->buffer = dmam_alloc_coherent(&pdev->dev, SEMSHARE_EDU_MAX_PAGE, &edu->buffer_dma,
					  GFP_KERNEL);
	if (!edu->buffer)
		return -ENOMEM;
	pci_set_master(pdev);
	return 0;
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu;
	int err;

	edu = devm_kzalloc(&pdev->dev, sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	edu->pdev = pdev;
	edu->page_dma = DMA_MAPPING_ERROR;
	spin_lock_init(&edu->lock);
	init_completion(&edu->idle);
	err = edu_setup(edu);
	if (err)
		return err;
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_ALL_TYPES);
	if (err < 0)
		return err;
	err = request_irq(pci_irq_vector(pdev, 0), edu_interrupt, IRQF_SHARED, KBUILD_MODNAME, edu);
	if (err)
		goto err_vectors;
	mutex_lock(&edu_mutex);
	if (the_edu)
		err = -EBUSY;
	else
		the_edu = edu;
	mutex_unlock(&edu_mutex);
	if (err)
		goto err_irq;
	err = misc_register(&edu_misc);
	if (err)
		goto err_device;
	pci_set_drvdata(pdev, edu);
	return 0;

err_device:
	mutex_lock(&edu_mutex);
	the_edu = NULL;
	mutex_unlock(&edu_mutex);
err_irq:
	free_irq(pci_irq_vector(pdev, 0), edu);
err_vectors:
	pci_free_irq_vectors(pdev);
	return err;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	misc_deregister(&edu_misc);
	/* Files that are open find no device any more. */
	mutex_lock(&edu_mutex);
	edu_stop(edu);
	the_edu = NULL;
	mutex_unlock(&edu_mutex);
	pci_clear_master(pdev);
	free_irq(pci_irq_vector(pdev, 0), edu);
	pci_free_irq_vectors(pdev);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(EDU_VENDOR, EDU_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = KBUILD_MODNAME,
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};

module_pci_driver(edu_driver);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("The DMA engine of QEMU's edu device fills a ring of pages");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
