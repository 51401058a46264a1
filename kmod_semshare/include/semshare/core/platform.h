/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * What the algorithms in semshare/core need from where they are compiled: the
 * kernel module, the Python extension, or a test program.
 */
#ifndef SEMSHARE_CORE_PLATFORM_H
#define SEMSHARE_CORE_PLATFORM_H

#ifdef __KERNEL__

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/types.h>
#include <asm/barrier.h>

#define semshare_load(p)		READ_ONCE(*(p))
#define semshare_store(p, v)		WRITE_ONCE(*(p), (v))
#define semshare_load_acquire(p)	smp_load_acquire(p)
#define semshare_store_release(p, v)	smp_store_release((p), (v))
/* Fully ordered when it succeeds; otherwise *(old) is what was found. */
#define semshare_try_cmpxchg(p, old, new)	try_cmpxchg((p), (old), (new))
#define semshare_full_barrier()		smp_mb()
/* CLOCK_MONOTONIC in nanoseconds, from any context. */
#define semshare_now()			ktime_get_mono_fast_ns()

#else

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <linux/types.h>

#define semshare_load(p)		__atomic_load_n((p), __ATOMIC_RELAXED)
#define semshare_store(p, v)		__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define semshare_load_acquire(p)	__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define semshare_store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define semshare_try_cmpxchg(p, old, new) \
	__atomic_compare_exchange_n((p), (old), (new), 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
#define semshare_full_barrier()		__atomic_thread_fence(__ATOMIC_SEQ_CST)

static inline __u64 semshare_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000u + (__u64)now.tv_nsec;
}

#endif

/*
 * Keeps the compiler from moving stores over it.  Enough where the question is
 * what one party has stored when it is killed: others are ordered by the lock.
 */
static inline void semshare_before_kill(void)
{
	__asm__ __volatile__("" : : : "memory");
}

/*
 * Memory that another party may write at the same time (a hostile user, or
 * anybody when the demo runs unlocked) is copied once and only the copy is
 * looked at.  A plain memcpy is enough: a torn copy is caught by the checks
 * that follow, and the barrier keeps the compiler from reading it again.
 */
static inline void semshare_copy(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
	__asm__ __volatile__("" : : : "memory");
}

#endif /* SEMSHARE_CORE_PLATFORM_H */
