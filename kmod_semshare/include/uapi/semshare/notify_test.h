/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The kernel's side of notifications, for tests: one open file of
 * /dev/semshare-notify-test (module semshare_notify_test) does one thing.
 */
#ifndef SEMSHARE_NOTIFY_TEST_H
#define SEMSHARE_NOTIFY_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum semshare_notify_test_what {
	SEMSHARE_NOTIFY_TEST_PUT	= 1,	/* a kernel thread puts records */
	SEMSHARE_NOTIFY_TEST_PUT_IRQ	= 2,	/* the same, from an interrupt each */
	SEMSHARE_NOTIFY_TEST_GET	= 3,	/* a listener takes records */
	SEMSHARE_NOTIFY_TEST_EVENTFD	= 4,	/* counts the signals of an eventfd */
	SEMSHARE_NOTIFY_TEST_RING	= 5,	/* an interrupt rings for an area, once */
	SEMSHARE_NOTIFY_TEST_FILL	= 6,	/* a listener puts records where there is space */
};

/**
 * struct semshare_notify_test_start - SEMSHARE_NOTIFY_TEST_IOC_START
 * @what: enum semshare_notify_test_what
 * @fd: a handle of /dev/semshare, or an eventfd
 * @count: PUT, FILL: how many records, each with @number and its own number, both 64 bits
 * @number: of the producer
 * @pause_us: PUT: at most so long between two
 */
struct semshare_notify_test_start {
	__u32 what;
	__s32 fd;
	__u64 count;
	__u64 number;
	__u32 pause_us;
	__u32 reserved;
};

/**
 * struct semshare_notify_test_state - SEMSHARE_NOTIFY_TEST_IOC_STATE
 * @done: records put, or taken; signals heard
 * @calls: times a listener was called
 * @full: times there was no space
 * @wrong: records that were not in their producer's order
 * @error: what put or get answered, if that ended it
 */
struct semshare_notify_test_state {
	__u64 done;
	__u64 calls;
	__u64 full;
	__u64 wrong;
	__s64 error;
};

#define SEMSHARE_NOTIFY_TEST_IOC_START	_IOW(0xE5, 0x48, struct semshare_notify_test_start)
#define SEMSHARE_NOTIFY_TEST_IOC_STATE	_IOR(0xE5, 0x49, struct semshare_notify_test_state)

#endif /* SEMSHARE_NOTIFY_TEST_H */
