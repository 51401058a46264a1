/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The kernel's side of the locks, call by call, for tests: one open file of
 * /dev/semshare-lock-test (module semshare_lock_test) is one handle, with a few kernel
 * threads that share it.
 */
#ifndef SEMSHARE_LOCK_TEST_H
#define SEMSHARE_LOCK_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <semshare/abi.h>

enum semshare_lock_test_object {
	SEMSHARE_LOCK_TEST_MUTEX	= 1,
	SEMSHARE_LOCK_TEST_MULTI	= 2,
	SEMSHARE_LOCK_TEST_RWLOCK	= 3,
	SEMSHARE_LOCK_TEST_SEMAPHORE	= 4,
	SEMSHARE_LOCK_TEST_EVENT	= 5,
	SEMSHARE_LOCK_TEST_CONDITION	= 6,
	SEMSHARE_LOCK_TEST_BARRIER	= 7,
	SEMSHARE_LOCK_TEST_OBJECTS	= 8,
};

#define SEMSHARE_LOCK_TEST_NUMBERS	16
#define SEMSHARE_LOCK_TEST_PREEMPT_OFF	0x1u	/* where sleeping is not allowed */

/**
 * struct semshare_lock_test_open - SEMSHARE_LOCK_TEST_IOC_OPEN
 * @object: enum semshare_lock_test_object
 * @key: of the set, if @name is empty
 * @name: of the set
 * @area_fd: a handle of /dev/semshare whose memory the jobs work on, or -1
 * @flags: SEMSHARE_LOCK_TEST_PREEMPT_OFF
 * @count: MULTI: how many numbers; MUTEX: 1: numbers[0] of a pool, 0: the lock of a set
 * @guard_fd: CONDITION: an open file that is a MUTEX and guards it, or -1: its own
 * @numbers: of locks in a pool
 */
struct semshare_lock_test_open {
	__u32 object;
	__u32 key;
	char name[SEMSHARE_NAME_SIZE];
	__s32 area_fd;
	__u32 flags;
	__u32 count;
	__s32 guard_fd;
	__u32 numbers[SEMSHARE_LOCK_TEST_NUMBERS];
};

enum semshare_lock_test_operation {
	/* Of any object: take it and give it back, by what its kind calls it. */
	SEMSHARE_LOCK_TEST_LOCK		= 1,
	SEMSHARE_LOCK_TEST_UNLOCK	= 2,
	SEMSHARE_LOCK_TEST_CONSISTENT	= 3,
	SEMSHARE_LOCK_TEST_READ_LOCK	= 4,
	SEMSHARE_LOCK_TEST_READ_UNLOCK	= 5,
	SEMSHARE_LOCK_TEST_DOWNGRADE	= 6,
	SEMSHARE_LOCK_TEST_DOWN		= 7,
	SEMSHARE_LOCK_TEST_UP		= 8,
	SEMSHARE_LOCK_TEST_VALUE	= 9,
	SEMSHARE_LOCK_TEST_SET		= 10,
	SEMSHARE_LOCK_TEST_CLEAR	= 11,
	SEMSHARE_LOCK_TEST_WAIT		= 12,
	SEMSHARE_LOCK_TEST_NOTIFY	= 13,
	SEMSHARE_LOCK_TEST_ABORT	= 14,
	SEMSHARE_LOCK_TEST_RESET	= 15,
	SEMSHARE_LOCK_TEST_SCOPED	= 16,
	/* Jobs: so many turns, in a block that has the lock. */
	SEMSHARE_LOCK_TEST_COUNT	= 32,
	SEMSHARE_LOCK_TEST_COMPARE	= 33,
	SEMSHARE_LOCK_TEST_PERMITS	= 34,
	SEMSHARE_LOCK_TEST_EXCHANGE	= 35,
	SEMSHARE_LOCK_TEST_MEET		= 36,
	/* Of a kernel thread. */
	SEMSHARE_LOCK_TEST_COLLECT	= 64,
	SEMSHARE_LOCK_TEST_STOP		= 65,
};

#define SEMSHARE_LOCK_TEST_THREADS	4

#define SEMSHARE_LOCK_TEST_ASYNC	0x2u	/* do not wait for the thread: COLLECT does */
#define SEMSHARE_LOCK_TEST_SUSPECT	0x4u	/* take it also if it is suspect */
#define SEMSHARE_LOCK_TEST_GO_ON	0x8u	/* a job: whatever a turn answers, but -EINTR */

/**
 * struct semshare_lock_test_call - SEMSHARE_LOCK_TEST_IOC_CALL
 * @operation: enum semshare_lock_test_operation
 * @thread: 0: the caller itself; else a kernel thread of this file, 1 to
 *	SEMSHARE_LOCK_TEST_THREADS, which is made when it is needed
 * @flags: SEMSHARE_LOCK_TEST_*; PREEMPT_OFF for the caller itself only
 * @suspect: out: what the call said, if SUSPECT
 * @timeout_ms: -1: MAX_SCHEDULE_TIMEOUT
 * @value: UP, NOTIFY: how many; SCOPED: what the block puts into err; jobs: turns; and in
 *	the upper half, PERMITS: how many there may be at once; EXCHANGE: whose turn is
 *	this one's, and times 65536 how many take turns; MEET: how many of the parties are
 *	such jobs
 * @offset: jobs: of the words in the area, a multiple of 8
 * @result: out: what the call returned; jobs: how often something was not as it must
 *	be, or the error at which they ended
 * @done: out: jobs: turns in which it was inside
 *
 * SCOPED is a block that has a MUTEX and gives it back itself, so that the block's end
 * cannot; it answers what err is behind it.
 *
 * COUNT adds one to two words, each by a load, a pause and a store; where the lock was
 * suspect, which it wants to know if SUSPECT, it makes them the same first.  COMPARE has a
 * RWLOCK to read and looks whether both are the same.  PERMITS counts how many
 * have one.  EXCHANGE waits at a CONDITION until it is its turn, and then lets the next
 * go on.  MEET waits at a BARRIER, and looks whether all have come.
 *
 * COLLECT answers the call of a thread once it has ended; STOP ends the thread by
 * kthread_stop(), and answers its last call.
 */
struct semshare_lock_test_call {
	__u32 operation;
	__u32 thread;
	__u32 flags;
	__u32 suspect;
	__s64 timeout_ms;
	__u64 value;
	__u64 offset;
	__s64 result;
	__u64 done;
};

#define SEMSHARE_LOCK_TEST_IOC_OPEN	_IOW(0xE5, 0x7a, struct semshare_lock_test_open)
#define SEMSHARE_LOCK_TEST_IOC_CALL	_IOWR(0xE5, 0x7b, struct semshare_lock_test_call)

#endif /* SEMSHARE_LOCK_TEST_H */
