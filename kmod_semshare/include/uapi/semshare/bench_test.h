/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * Uncontended lock pairs in a kernel thread, and records made by kernel code, to
 * be counted: module semshare_bench, /dev/semshare-bench.  For benchmarks only,
 * for root only.
 */
#ifndef SEMSHARE_BENCH_TEST_H
#define SEMSHARE_BENCH_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SEMSHARE_BENCH_DEVICE	"/dev/semshare-bench"

enum semshare_bench_kind {
	SEMSHARE_BENCH_SEMOP	= 1,	/* semshare_semop(), P and V */
	SEMSHARE_BENCH_RING	= 2,	/* semshare_ring_lock() and _unlock() */
};

/**
 * struct semshare_bench_run - SEMSHARE_BENCH_IOC_RUN: so many pairs in a kernel thread
 * @kind: enum semshare_bench_kind
 * @semid: SEMOP: the set; its semaphore 0 must be 1, and nobody else use it
 * @pairs: how many pairs are counted; some before them are not
 * @reserved: 0
 * @cycles: out: what the processor's time stamp counter went on by.  An emulated
 *	processor whose clock counts instructions (qemu -icount shift=0) counts
 *	one for each.
 */
struct semshare_bench_run {
	__u32 kind;
	__s32 semid;
	__u32 pairs;
	__u32 reserved;
	__u64 cycles;
};

#define SEMSHARE_BENCH_RECORD	64	/* bytes of a record */

/**
 * struct semshare_bench_records - SEMSHARE_BENCH_IOC_PUT: so many records into a ring
 * @area_fd: a handle of /dev/semshare whose area holds the ring; its producer's role
 *	is this file's from then on.  -1: the ring of the call before
 * @count: how many, one after the other, without waiting
 *
 * The rival is read() of this device: each call gives one such record.
 */
struct semshare_bench_records {
	__s32 area_fd;
	__u32 count;
};

#define SEMSHARE_BENCH_IOC_PUT	_IOW(0xE5, 0x72, struct semshare_bench_records)
#define SEMSHARE_BENCH_IOC_RUN	_IOWR(0xE5, 0x70, struct semshare_bench_run)

#endif /* SEMSHARE_BENCH_TEST_H */
