/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The records of `semshare watch exec`: the module semshare_exec puts one into
 * the ring of the area SEMSHARE_EXEC_AREA for every program start.
 */
#ifndef SEMSHARE_EXEC_H
#define SEMSHARE_EXEC_H

#include <linux/types.h>

#define SEMSHARE_EXEC_AREA		"exec"
#define SEMSHARE_EXEC_RECORD_TYPE	2
#define SEMSHARE_EXEC_COMM_SIZE		16
#define SEMSHARE_EXEC_PATH_SIZE		232

/**
 * struct semshare_exec_record - one program start
 * @time_ns: CLOCK_MONOTONIC
 * @missed: program starts so far that found the queue or the ring full
 * @pid: process id, in the initial pid namespace
 * @parent: its parent's process id
 * @uid: real user id, in the initial user namespace
 * @path_size: bytes of @path, without a terminating zero
 * @comm: name of the program, zero-terminated
 * @path: what was started, cut at SEMSHARE_EXEC_PATH_SIZE; only @path_size
 *	bytes of it are in the record
 */
struct semshare_exec_record {
	__u64 time_ns;
	__u64 missed;
	__u32 pid;
	__u32 parent;
	__u32 uid;
	__u32 path_size;
	char comm[SEMSHARE_EXEC_COMM_SIZE];
	char path[SEMSHARE_EXEC_PATH_SIZE];
};

#endif /* SEMSHARE_EXEC_H */
