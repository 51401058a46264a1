/* SPDX-License-Identifier: MIT */
/*
 * The preload library of `semshare exec`, one noun a file:
 *
 *	calls.c		the program's calls, and what they are turned into
 *	device.c	the descriptor of /dev/semshare-route
 *	counters.c	what --stats shows
 *	message.c	the lines it may write to standard error
 *	lookup.c	which function a program that asks the loader gets
 *	stubs.c		syscall(), dlopen() and dlsym(), which must not be seen to be there
 *
 * A program may call from a signal handler, from a child of vfork() that shares
 * its memory, from a thread with a small stack, from another library's
 * constructor, which runs before ours.  So nothing here allocates, locks or
 * uses the C library but for the address of errno; words that two threads may
 * change are changed atomically, and each state between is a valid one.
 */
#ifndef PRELOAD_PRELOAD_H
#define PRELOAD_PRELOAD_H

#include "counters.h"

#define EXPORTED __attribute__((visibility("default")))

/* calls.c */
void preload_setup(void);

/* counters.c */
void counters_setup(void);
struct preload_counters *counters(void);
void count_process(void);

static inline void count(__u64 *counter, __s64 more)
{
	__atomic_fetch_add(counter, (__u64)more, __ATOMIC_RELAXED);
}

/* device.c */
int device_descriptor(void);

/* message.c */
void message_setup(void);
void message_write(const char *line);

/* lookup.c */
void lookup_setup(void);

#endif /* PRELOAD_PRELOAD_H */
