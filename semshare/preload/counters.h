/* SPDX-License-Identifier: MIT */
/*
 * What `semshare exec --stats` counts, in a file that it makes and that every
 * process of the program maps: whoever ends by _exit, exec or a signal has
 * counted already.  The Python side has this declaration by way of cffi.
 */
#ifndef PRELOAD_COUNTERS_H
#define PRELOAD_COUNTERS_H

#include <linux/types.h>

/* What `semshare exec` tells the library by the environment. */
#define PRELOAD_CONTEXT_VARIABLE	"SEMSHARE_EXEC_CONTEXT"
#define PRELOAD_STATS_VARIABLE		"SEMSHARE_EXEC_STATS"

#define PRELOAD_COUNTERS_MAGIC		0x43505353u	/* "SSPC" */

/* Where a call came from: the C library's function of that name, or its syscall(). */
#define PRELOAD_BY_LIBC			0
#define PRELOAD_BY_SYSCALL		1
#define PRELOAD_ENTRIES			2

#define PRELOAD_SEMGET			0
#define PRELOAD_SEMOP			1
#define PRELOAD_SEMTIMEDOP		2
#define PRELOAD_SEMCTL			3
#define PRELOAD_CALLS			4

/* Commands of semctl go from 0 to 20; the last place counts all others. */
#define PRELOAD_COMMANDS		22

struct preload_counters {
	__u32 magic;
	__u32 unsupported_told;		/* not 0: the line on EOPNOTSUPP has been written */
	__u64 routed[8];		/* [entry * PRELOAD_CALLS + call]: through the module */
	__u64 failed[4];		/* [call]: of those, that ended with an errno */
	__u64 not_routed[4];		/* [call]: made as system calls, the device was not to be had */
	__u64 commands[22];		/* [cmd]: of the routed semctl */
	__u64 unsupported;		/* of the failed: EOPNOTSUPP */
	__u64 processes;		/* that made a call; a child of vfork() counts as its parent */
	__u64 images;			/* programs started with the library in them */
};

#endif /* PRELOAD_COUNTERS_H */
