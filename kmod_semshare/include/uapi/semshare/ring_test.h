/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The kernel's side of the ring, call by call, for tests: one open file of
 * /dev/semshare-ring-test (module semshare_ring_test) is one handle.
 */
#ifndef SEMSHARE_RING_TEST_H
#define SEMSHARE_RING_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum semshare_ring_test_context {
	SEMSHARE_RING_TEST_PROCESS	= 0,
	SEMSHARE_RING_TEST_PREEMPT_OFF	= 1,	/* where sleeping is not allowed */
};

/**
 * struct semshare_ring_test_open - SEMSHARE_RING_TEST_IOC_OPEN
 * @area_fd: a handle of /dev/semshare
 * @flags: SEMSHARE_RING_OPEN_* of kapi.h
 * @capacity: 0: open the ring; else make one of this capacity
 * @mode: of the set that is made
 * @policy: enum semshare_ring_policy of the ring that is made
 * @context: enum semshare_ring_test_context, of opening or making it
 */
struct semshare_ring_test_open {
	__s32 area_fd;
	__u32 flags;
	__u64 capacity;
	__u32 mode;
	__u16 policy;
	__u16 context;
};

enum semshare_ring_test_operation {
	SEMSHARE_RING_TEST_PUT		= 1,
	SEMSHARE_RING_TEST_GET		= 2,
	SEMSHARE_RING_TEST_PUT_BATCH	= 3,
	SEMSHARE_RING_TEST_GET_BATCH	= 4,
	SEMSHARE_RING_TEST_LOCK		= 5,
	SEMSHARE_RING_TEST_UNLOCK	= 6,
	SEMSHARE_RING_TEST_DESTROY	= 7,
};

#define SEMSHARE_RING_TEST_ENTRIES	64
#define SEMSHARE_RING_TEST_DATA		8192

/**
 * struct semshare_ring_test_call - SEMSHARE_RING_TEST_IOC_CALL
 * @operation: enum semshare_ring_test_operation
 * @count: PUT_BATCH, GET_BATCH: how many entries
 * @context: enum semshare_ring_test_context; DESTROY: PROCESS, as it cannot refuse
 * @reserved: zero
 * @timeout_ms: -1: MAX_SCHEDULE_TIMEOUT
 * @size: GET, GET_BATCH: bytes of @data to offer
 * @result: out: what the call returned
 * @sizes: of the entries; PUT: sizes[0]
 * @types: of the entries
 * @offsets: of the entries in @data
 * @data: the payloads
 */
struct semshare_ring_test_call {
	__u32 operation;
	__u32 count;
	__u32 context;
	__u32 reserved;
	__s64 timeout_ms;
	__u64 size;
	__s64 result;
	__u32 sizes[SEMSHARE_RING_TEST_ENTRIES];
	__u32 types[SEMSHARE_RING_TEST_ENTRIES];
	__u32 offsets[SEMSHARE_RING_TEST_ENTRIES];
	__u8 data[SEMSHARE_RING_TEST_DATA];
};

#define SEMSHARE_RING_TEST_IOC_OPEN	_IOW(0xE5, 0x70, struct semshare_ring_test_open)
#define SEMSHARE_RING_TEST_IOC_CALL	_IOWR(0xE5, 0x71, struct semshare_ring_test_call)

#endif /* SEMSHARE_RING_TEST_H */
