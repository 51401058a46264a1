/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * What the parties of `semshare demo` agree on: the record they put into the
 * ring, and the ioctls by which a process starts kernel threads that take part
 * (module semshare_demo, /dev/semshare-demo).
 */
#ifndef SEMSHARE_DEMO_H
#define SEMSHARE_DEMO_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <semshare/abi.h>

#define SEMSHARE_DEMO_DEVICE	"/dev/semshare-demo"
#define SEMSHARE_DEMO_RECORD_TYPE	1

/**
 * struct semshare_demo_record - the payload of a demo record
 * @checksum: CRC-32 (as zlib's crc32) over all that follows it
 * @producer: number of the producer
 * @sequence: 0, 1, … for each producer
 * @time_ns: CLOCK_MONOTONIC when it was made
 *
 * A pattern of varying length follows: its byte i is (producer + sequence + i) & 255.
 */
struct semshare_demo_record {
	__u32 checksum;
	__u32 producer;
	__u64 sequence;
	__u64 time_ns;
};

enum semshare_demo_mode {
	SEMSHARE_DEMO_RECORDS	= 1,	/* put records into the ring */
	SEMSHARE_DEMO_COUNTER	= 2,	/* add 1 to a plain counter under the lock */
};

#define SEMSHARE_DEMO_UNLOCKED	0x1u	/* take no lock, to show what is lost */

#define SEMSHARE_DEMO_MAX_THREADS	64
#define SEMSHARE_DEMO_MAX_ALL_THREADS	1024

/**
 * struct semshare_demo_start - SEMSHARE_DEMO_IOC_START
 * @area_fd: a handle of /dev/semshare that may write an area with a ring
 * @mode: enum semshare_demo_mode
 * @threads: kernel threads, 1 to SEMSHARE_DEMO_MAX_THREADS
 * @first_producer: number of the first thread
 * @flags: SEMSHARE_DEMO_UNLOCKED
 * @payload_max: RECORDS: longest pattern behind a record's header, in bytes
 * @count: records, or additions, of each thread; 0: until STOP
 * @counter_offset: COUNTER: where in the area the __u64 stands, a multiple of 8
 *	behind the ring
 *
 * One run at a time per open file (-EBUSY), and SEMSHARE_DEMO_MAX_ALL_THREADS threads of
 * runs that were not stopped in all (-ENOSPC): no limit of a process's counts kernel
 * threads.  STOP, or closing the file, stops it.
 */
struct semshare_demo_start {
	__s32 area_fd;
	__u32 mode;
	__u32 threads;
	__u32 first_producer;
	__u32 flags;
	__u32 payload_max;
	__u64 count;
	__u64 counter_offset;
};

/**
 * struct semshare_demo_declare - SEMSHARE_DEMO_IOC_DECLARE
 * @name: of an area that is made for them, see semshare/parameters.h
 * @payload_max: the limit of "payload"
 * @mode: permission bits of that area
 *
 * From the next START on, records are put at the "rate" and with a pattern of at
 * most "payload" bytes that users set there, of one group; START's own
 * @payload_max is then of no meaning.  State: records "produced" and their "bytes"
 * by all threads of this file, and how many "threads" run.  Once per open file
 * (-EBUSY); they end with it.
 */
struct semshare_demo_declare {
	char name[SEMSHARE_NAME_SIZE];
	__u32 payload_max;
	__u32 mode;
};

#define SEMSHARE_HISTOGRAM_BUCKETS	256	/* semshare/core/histogram.h */

/**
 * struct semshare_demo_status - SEMSHARE_DEMO_IOC_STATUS
 * @index: in: which thread, -ENOENT past the last
 * @running: 1 until the thread is done
 * @error: 0 or the errno (positive) that ended it
 * @done: records put, or additions made
 * @acquisitions: times it took the lock
 * @contended: of those, times it could not have it at once
 * @wait_ns: histogram of the time from asking to having it, nanoseconds
 */
struct semshare_demo_status {
	__u32 index;
	__u32 running;
	__s32 error;
	__u32 reserved;
	__u64 done;
	__u64 acquisitions;
	__u64 contended;
	__u64 wait_ns[SEMSHARE_HISTOGRAM_BUCKETS];
};

#define SEMSHARE_DEMO_IOC_TYPE	0xE5
#define SEMSHARE_DEMO_IOC_START	_IOW(SEMSHARE_DEMO_IOC_TYPE, 0x60, struct semshare_demo_start)
#define SEMSHARE_DEMO_IOC_STOP	_IO(SEMSHARE_DEMO_IOC_TYPE, 0x61)
#define SEMSHARE_DEMO_IOC_STATUS _IOWR(SEMSHARE_DEMO_IOC_TYPE, 0x62, struct semshare_demo_status)

#define SEMSHARE_DEMO_IOC_DECLARE \
	_IOW(SEMSHARE_DEMO_IOC_TYPE, 0x4F, struct semshare_demo_declare)

#endif /* SEMSHARE_DEMO_H */
