/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The kernel's side of a channel, for tests: one open file of
 * /dev/semshare-channel-test (module semshare_channel_test) asks, or answers.
 */
#ifndef SEMSHARE_CHANNEL_TEST_H
#define SEMSHARE_CHANNEL_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum semshare_channel_test_role {
	SEMSHARE_CHANNEL_TEST_ASKS	= 1,
	SEMSHARE_CHANNEL_TEST_ANSWERS	= 2,
};

/* What it answers. */
enum semshare_channel_test_opcode {
	SEMSHARE_CHANNEL_TEST_ECHO	= 1,	/* the payload */
	SEMSHARE_CHANNEL_TEST_HOLD	= 2,	/* the payload, after a RELEASE */
	SEMSHARE_CHANNEL_TEST_RELEASE	= 3,	/* nothing, and what is held, the last first */
	SEMSHARE_CHANNEL_TEST_FAIL	= 4,	/* -EIO, with a text; takes 8 bytes */
};

/**
 * struct semshare_channel_test_open - SEMSHARE_CHANNEL_TEST_IOC_OPEN
 * @area_fd: a handle of /dev/semshare
 * @role: enum semshare_channel_test_role
 * @depth: not 0: make the channel first, so deep
 * @max_payload: of the channel that is made
 * @mode: of its set
 * @reserved: zero
 */
struct semshare_channel_test_open {
	__s32 area_fd;
	__u32 role;
	__u32 depth;
	__u32 max_payload;
	__u32 mode;
	__u32 reserved;
};

#define SEMSHARE_CHANNEL_TEST_DATA	960

/**
 * struct semshare_channel_test_call - SEMSHARE_CHANNEL_TEST_IOC_CALL, and …_STOP: the
 * same by a kernel thread, which is told to stop once it waits
 * @opcode: what to ask
 * @size: bytes of @data
 * @timeout_ms: -1: no limit
 * @result: out: what the call returned
 * @data: the payload; out: the reply
 */
struct semshare_channel_test_call {
	__u32 opcode;
	__u32 size;
	__s64 timeout_ms;
	__s64 result;
	__u8 data[SEMSHARE_CHANNEL_TEST_DATA];
};

/**
 * struct semshare_channel_test_flood - SEMSHARE_CHANNEL_TEST_IOC_FLOOD
 * @opcode: what to ask
 * @count: how often, without waiting; each with its number as payload and cookie
 * @cancel_every: cancel each so-manieth at once; 0: none
 * @preempt_off: ask with preemption off
 * @timeout_ms: of each
 * @good: out: replies that are the payload
 * @wrong: out: replies of another payload, cookies of others, ends told twice
 * @timeouts: out: -ETIMEDOUT
 * @deaths: out: -ECONNRESET
 * @cancels: out: -ECANCELED
 * @unknown: out: -EOPNOTSUPP
 * @refused: out: not accepted for 10 s
 * @others: out
 */
struct semshare_channel_test_flood {
	__u32 opcode;
	__u32 count;
	__u32 cancel_every;
	__u32 preempt_off;
	__s64 timeout_ms;
	__u32 good;
	__u32 wrong;
	__u32 timeouts;
	__u32 deaths;
	__u32 cancels;
	__u32 unknown;
	__u32 refused;
	__u32 others;
};

/**
 * struct semshare_channel_test_state - SEMSHARE_CHANNEL_TEST_IOC_STATE
 * @calls: as struct semshare_channel_statistics has them, and so the others
 * @replies: see there
 * @timeouts: see there
 * @cancels: see there
 * @deaths: see there
 * @unmatched: see there
 * @malformed: see there
 * @refused: see there
 * @dropped: see there
 * @outstanding: see there
 */
struct semshare_channel_test_state {
	__u64 calls;
	__u64 replies;
	__u64 timeouts;
	__u64 cancels;
	__u64 deaths;
	__u64 unmatched;
	__u64 malformed;
	__u64 refused;
	__u64 dropped;
	__u64 outstanding;
};

#define SEMSHARE_CHANNEL_TEST_IOC_OPEN	_IOW(0xE5, 0x78, struct semshare_channel_test_open)
#define SEMSHARE_CHANNEL_TEST_IOC_CALL	_IOWR(0xE5, 0x79, struct semshare_channel_test_call)
#define SEMSHARE_CHANNEL_TEST_IOC_FLOOD	_IOWR(0xE5, 0x7A, struct semshare_channel_test_flood)
#define SEMSHARE_CHANNEL_TEST_IOC_STATE	_IOR(0xE5, 0x7B, struct semshare_channel_test_state)
#define SEMSHARE_CHANNEL_TEST_IOC_STOP	_IOWR(0xE5, 0x7C, struct semshare_channel_test_call)

#endif /* SEMSHARE_CHANNEL_TEST_H */
