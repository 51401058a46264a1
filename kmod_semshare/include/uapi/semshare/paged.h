/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The ioctls of the samples that fill a ring of pages: a timer in place of a device
 * (module semshare_paged, /dev/semshare-paged), and the DMA engine of QEMU's `edu`
 * (module semshare_edu, /dev/semshare-edu).  Both take the same.
 */
#ifndef SEMSHARE_PAGED_H
#define SEMSHARE_PAGED_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SEMSHARE_PAGED_DEVICE	"/dev/semshare-paged"
#define SEMSHARE_EDU_DEVICE	"/dev/semshare-edu"

#define SEMSHARE_PAGED_RECORD_TYPE	3

/* Pages of a ring that a timer fills are no longer than this, with their fences. */
#define SEMSHARE_PAGED_MAX_PAGE		65536
/* The device's buffer has 4096 bytes, and QEMU before 8.2 never takes its last. */
#define SEMSHARE_EDU_MAX_PAGE		2048
/* It runs no more often than that with so many bytes, and so many timers at a time. */
#define SEMSHARE_PAGED_MIN_PERIOD_NS(payload)	(20000 * ((payload) / 1024 + 1))
#define SEMSHARE_PAGED_MAX_RUNS		16

/**
 * struct semshare_paged_start - SEMSHARE_PAGED_IOC_START
 * @area_fd: a handle of /dev/semshare that may write an area with a ring of pages,
 *	into which nobody else puts
 * @payload: bytes of each record, 0 to the ring's longest; byte i of page n is
 *	(n + i) & 255
 * @count: pages to write; 0: until STOP
 * @period_ns: between two pages, SEMSHARE_PAGED_MIN_PERIOD_NS(@payload) to 1000000000;
 *	of a device, which is as fast as it is: 0
 * @unfinished: each page whose number is a multiple of it is left without its last
 *	fence; 0: none
 * @reserved: zero
 *
 * One run at a time for each open file, and SEMSHARE_PAGED_MAX_RUNS that were not
 * stopped in all, of /dev/semshare-edu one: else -EBUSY.
 * It goes on where the newest page says, and heeds nobody: pages that were not read are
 * written over.  STOP, or closing the file, stops it.
 *
 * -EINVAL: numbers that are none, or a ring of larger pages than the sample takes;
 * -EMEDIUMTYPE: the area's ring is not one of pages; -EAGAIN, -EPROTO: it has none;
 * -ENODEV: there is no device (any more); -EOPNOTSUPP: the area is not made of single
 * pages, as those of device memory.
 */
struct semshare_paged_start {
	__s32 area_fd;
	__u32 payload;
	__u64 count;
	__u64 period_ns;
	__u32 unfinished;
	__u32 reserved;
};

/**
 * struct semshare_paged_status - SEMSHARE_PAGED_IOC_STATUS
 * @done: pages written by the last run
 * @next: number of the next page
 * @running: whether it is at work
 * @error: 0, or the errno that ended it
 */
struct semshare_paged_status {
	__u64 done;
	__u64 next;
	__u32 running;
	__u32 error;
};

#define SEMSHARE_PAGED_IOC_START	_IOW(0xE5, 0x68, struct semshare_paged_start)
#define SEMSHARE_PAGED_IOC_STOP		_IO(0xE5, 0x69)
#define SEMSHARE_PAGED_IOC_STATUS	_IOR(0xE5, 0x6A, struct semshare_paged_status)

#endif /* SEMSHARE_PAGED_H */
