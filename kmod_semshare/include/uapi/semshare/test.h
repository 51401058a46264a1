/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * Calling the entry points from outside, as kernel code would: module
 * semshare_test, /dev/semshare-test.  For tests only, for root only.
 */
#ifndef SEMSHARE_TEST_H
#define SEMSHARE_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SEMSHARE_TEST_DEVICE	"/dev/semshare-test"

enum semshare_test_function {
	SEMSHARE_TEST_SEMGET		= 1,
	SEMSHARE_TEST_SEMOP		= 2,
	SEMSHARE_TEST_SEMTIMEDOP	= 3,
	SEMSHARE_TEST_SEMCTL		= 4,
	SEMSHARE_TEST_SEMCTL_VALUES	= 5,
};

enum semshare_test_context {
	SEMSHARE_TEST_PROCESS		= 1,	/* the caller of the ioctl */
	SEMSHARE_TEST_KTHREAD		= 2,	/* a fresh kernel thread */
	SEMSHARE_TEST_KTHREAD_MM	= 3,	/* the same, using the caller's memory */
	SEMSHARE_TEST_SOFTIRQ		= 4,	/* a timer */
	SEMSHARE_TEST_PREEMPT_OFF	= 5,	/* the caller, preemption off */
	SEMSHARE_TEST_IRQS_OFF		= 6,	/* the caller, interrupts off */
	SEMSHARE_TEST_RCU_READER	= 7,	/* the caller, in an RCU read section */
	SEMSHARE_TEST_WORKQUEUE		= 8,	/* a kworker */
};

enum semshare_test_namespace {
	SEMSHARE_TEST_NS_CURRENT	= 1,	/* the caller's, now */
	SEMSHARE_TEST_NS_OPENED		= 2,	/* that of the open file */
	SEMSHARE_TEST_NS_LOADER		= 3,	/* that of who loaded the module */
	SEMSHARE_TEST_NS_NULL		= 4,
};

/**
 * struct semshare_test_call - SEMSHARE_TEST_IOC_CALL: one call of an entry point
 * @function: enum semshare_test_function
 * @context: enum semshare_test_context
 * @ns: enum semshare_test_namespace
 * @id: semid; SEMGET: key
 * @number: semnum; SEMGET: nsems; SEMOP, SEMTIMEDOP: nsops; SEMCTL_VALUES: count
 * @command: cmd; SEMGET: semflg
 * @value: arg.val
 * @timed: not 0: the timeout counts, else NULL is passed
 * @timeout_sec: seconds
 * @timeout_nsec: nanoseconds
 * @buffer: user address of the array or structure that goes in and comes out;
 *	0: NULL is passed
 * @size: bytes at @buffer, which are copied to kernel memory and back
 * @result: out: what the entry point returned
 * @pid: out: the thread group id that called it
 * @overrun: out: 1 if it wrote behind the @size bytes
 * @fail_nth: which memory allocation, or copy from or to user space, within the
 *	entry point is to fail; 0: none.  CONFIG_FAULT_INJECTION does it
 * @unfailed: out: 0 if it did fail; else what is left to count
 */
struct semshare_test_call {
	__u32 function;
	__u32 context;
	__u32 ns;
	__s32 id;
	__s32 number;
	__s32 command;
	__s32 value;
	__u32 timed;
	__s64 timeout_sec;
	__s64 timeout_nsec;
	__u64 buffer;
	__u32 size;
	__s32 result;
	__s32 pid;
	__u32 overrun;
	__u32 fail_nth;
	__u32 unfailed;
};

/**
 * struct semshare_test_sleep - SEMSHARE_TEST_IOC_SLEEP, _WAKE
 * @id: SLEEP: semid
 * @number: SLEEP: the semaphore
 * @threads: SLEEP: kernel threads to start, each asleep in one P
 * @returned: WAKE, out: threads whose P was not ended by stopping them
 * @result: WAKE, out: what the first P returned
 * @reserved: 0
 *
 * The threads belong to the open file: WAKE stops them all (and may be called
 * with none), and so does closing the file.
 */
struct semshare_test_sleep {
	__s32 id;
	__u32 number;
	__u32 threads;
	__u32 returned;
	__s32 result;
	__u32 reserved;
};

#define SEMSHARE_TEST_IOC_TYPE	0xE5
#define SEMSHARE_TEST_IOC_CALL	_IOWR(SEMSHARE_TEST_IOC_TYPE, 0x70, struct semshare_test_call)
#define SEMSHARE_TEST_IOC_SLEEP	_IOW(SEMSHARE_TEST_IOC_TYPE, 0x71, struct semshare_test_sleep)
#define SEMSHARE_TEST_IOC_WAKE	_IOR(SEMSHARE_TEST_IOC_TYPE, 0x72, struct semshare_test_sleep)

#endif /* SEMSHARE_TEST_H */
