/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The kernel's side of the ring, call by call, for tests: one open file of
 * /dev/semshare-ring-test (module semshare_ring_test) is one handle.
 */
#ifndef SEMSHARE_RING_TEST_H
#define SEMSHARE_RING_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <semshare/abi.h>

enum semshare_ring_test_context {
	SEMSHARE_RING_TEST_PROCESS	= 0,
	SEMSHARE_RING_TEST_PREEMPT_OFF	= 1,	/* where sleeping is not allowed */
	SEMSHARE_RING_TEST_SOFTIRQ	= 2,
	SEMSHARE_RING_TEST_HARDIRQ	= 3,
	SEMSHARE_RING_TEST_NMI		= 4,
	SEMSHARE_RING_TEST_CONTEXTS	= 5,
};

/**
 * struct semshare_ring_test_open - SEMSHARE_RING_TEST_IOC_OPEN
 * @area_fd: a handle of /dev/semshare
 * @flags: SEMSHARE_RING_OPEN_* of kapi.h
 * @capacity: 0: open the ring; else make one of this capacity
 * @mode: of the set that is made
 * @policy: enum semshare_ring_policy of the ring that is made
 * @context: PROCESS or PREEMPT_OFF, of opening or making it
 * @variant: enum semshare_ring_variants of the ring that is made
 * @max_payload: of the ring that is made
 */
struct semshare_ring_test_open {
	__s32 area_fd;
	__u32 flags;
	__u64 capacity;
	__u32 mode;
	__u16 policy;
	__u16 context;
	__u32 variant;
	__u32 max_payload;
};

enum semshare_ring_test_operation {
	SEMSHARE_RING_TEST_PUT		= 1,
	SEMSHARE_RING_TEST_GET		= 2,
	SEMSHARE_RING_TEST_PUT_BATCH	= 3,
	SEMSHARE_RING_TEST_GET_BATCH	= 4,
	SEMSHARE_RING_TEST_LOCK		= 5,
	SEMSHARE_RING_TEST_UNLOCK	= 6,
	SEMSHARE_RING_TEST_DESTROY	= 7,
	SEMSHARE_RING_TEST_TAKE_ROLE	= 8,
	SEMSHARE_RING_TEST_BURST	= 9,
	SEMSHARE_RING_TEST_STATUS	= 10,
	SEMSHARE_RING_TEST_RESERVE	= 11,
	SEMSHARE_RING_TEST_COMMIT	= 12,
	SEMSHARE_RING_TEST_CANCEL	= 13,
};

#define SEMSHARE_RING_TEST_ENTRIES	64
#define SEMSHARE_RING_TEST_DATA		8192
#define SEMSHARE_RING_TEST_BURST_MAX	1000000

/**
 * struct semshare_ring_test_call - SEMSHARE_RING_TEST_IOC_CALL
 * @operation: enum semshare_ring_test_operation
 * @count: PUT_BATCH, GET_BATCH: how many entries; BURST: out: calls that found no space
 * @context: enum semshare_ring_test_context; DESTROY: PROCESS, as it cannot refuse
 * @cpu: HARDIRQ, NMI: which processor is interrupted; else 0
 * @timeout_ms: -1: MAX_SCHEDULE_TIMEOUT; BURST: for all of it
 * @size: GET, GET_BATCH: bytes of @data to offer; RESERVE: of payload; BURST: records
 *	to put, at most SEMSHARE_RING_TEST_BURST_MAX
 * @result: out: what the call returned; BURST: records put
 * @sizes: of the entries; PUT, COMMIT: sizes[0]; BURST: sizes[0]: the longest record, 8
 *	to SEMSHARE_RING_TEST_DATA
 * @types: of the entries; PUT, COMMIT: types[0]; TAKE_ROLE: types[0]: SEMSHARE_ROLE_*;
 *	BURST: types[0]: the tag, types[1]: the number of the first record
 * @offsets: of the entries in @data; GET_BATCH: out
 * @records: GET, GET_BATCH: out: what stands beside the payloads
 * @data: the payloads; STATUS: out: struct semshare_ring_status of kapi.h
 *
 * RESERVE opens a record, one at a time, which COMMIT writes and publishes, and CANCEL
 * gives up; it may be left open for as long as the file is.
 *
 * BURST puts records without waiting, in the context that was asked for, and
 * between its interrupts waits for space: record number n is the word n, once or
 * more often.
 */
struct semshare_ring_test_call {
	__u32 operation;
	__u32 count;
	__u32 context;
	__u32 cpu;
	__s64 timeout_ms;
	__u64 size;
	__s64 result;
	__u32 sizes[SEMSHARE_RING_TEST_ENTRIES];
	__u32 types[SEMSHARE_RING_TEST_ENTRIES];
	__u32 offsets[SEMSHARE_RING_TEST_ENTRIES];
	struct semshare_record records[SEMSHARE_RING_TEST_ENTRIES];
	__u8 data[SEMSHARE_RING_TEST_DATA];
};

#define SEMSHARE_RING_TEST_IOC_OPEN	_IOW(0xE5, 0x70, struct semshare_ring_test_open)
#define SEMSHARE_RING_TEST_IOC_CALL	_IOWR(0xE5, 0x71, struct semshare_ring_test_call)

#endif /* SEMSHARE_RING_TEST_H */
