/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernel versions, and nothing else: the rest of the
 * module reads like code for the newest kernel it supports.
 */
#ifndef SEMSHARE_COMPAT_H
#define SEMSHARE_COMPAT_H

#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/version.h>

/* Before 6.0 kthread_stop() does not end a sleep in semop(). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "semshare needs Linux 6.1 or newer"
#endif

/* 6.4 gave all kernel threads that are cloned from a process one flag. */
#ifndef PF_USER_WORKER
#define PF_USER_WORKER PF_IO_WORKER
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* It always was 1. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define eventfd_signal(ctx) eventfd_signal(ctx, 1)
#endif

/* 6.13 gave the function with the rest. */
static inline void semshare_hrtimer_setup(struct hrtimer *timer,
					  enum hrtimer_restart (*function)(struct hrtimer *timer),
					  enum hrtimer_mode mode)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	hrtimer_init(timer, CLOCK_MONOTONIC, mode);
	timer->function = function;
#else
	hrtimer_setup(timer, function, CLOCK_MONOTONIC, mode);
#endif
}

/* 6.5 took away the argument that nobody used. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define semshare_pin_user_pages(start, nr_pages, flags, pages) \
	pin_user_pages(start, nr_pages, flags, pages, NULL)
#else
#define semshare_pin_user_pages pin_user_pages
#endif

/*
 * A huge page that a fault handler returns, older kernels map as a whole.  6.18, and
 * stable kernels after it, do not if it lies behind the end of the file, and a
 * device is a file of no size; 6.15 got a function to do it oneself.  In between
 * a huge page is mapped in small pieces.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#define SEMSHARE_HUGE_FAULT(handler) NULL
static inline vm_fault_t vmf_insert_folio_pmd(struct vm_fault *vmf, struct folio *folio, bool write)
{
	return VM_FAULT_FALLBACK;
}
#else
#define SEMSHARE_HUGE_FAULT(handler) handler
#endif

#endif /* SEMSHARE_COMPAT_H */
