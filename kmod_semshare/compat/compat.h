/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernel versions, and nothing else: the rest of the
 * module reads like code for the newest kernel it supports.
 */
#ifndef SEMSHARE_COMPAT_H
#define SEMSHARE_COMPAT_H

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

#endif /* SEMSHARE_COMPAT_H */
