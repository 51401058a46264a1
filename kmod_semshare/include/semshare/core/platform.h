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
#include <linux/ktime.h>
#include <linux/string.h>
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
#ifndef __SANITIZE_THREAD__
#define semshare_full_barrier()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#else
/*
 * ThreadSanitizer follows no fences.  In their place all of them change one word, which
 * it does follow: what is before one is before what is behind each that comes later.
 */
static inline void semshare_full_barrier(void)
{
	static __u64 word;

	(void)__atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
}
#endif

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
 * The bytes of records, which may be overwritten while they are copied if the policy is
 * that: who has copied them finds out, and drops the copy.  To the language it is a race
 * all the same.  So that ThreadSanitizer does not report it, a test program in which it
 * happens defines SEMSHARE_RACING_COPIES: there these are atomic accesses without order.
 */
#ifndef SEMSHARE_RACING_COPIES

#define semshare_plain_store(p, v)		(*(p) = (v))
#define semshare_plain_copy(to, from, size)	memcpy((to), (from), (size))

#else

#define semshare_plain_store(p, v)		semshare_store((p), (v))

static inline void semshare_plain_copy(void *to, const void *from, size_t size)
{
	unsigned char *at = (unsigned char *)to;
	const unsigned char *left = (const unsigned char *)from;

	for (; size; size--, at++, left++)
		semshare_store(at, semshare_load(left));
}

#endif

/*
 * Memory that another party may write at the same time (a hostile user, or
 * anybody when the demo runs unlocked) is copied once and only the copy is
 * looked at.  A plain memcpy is enough: a torn copy is caught by the checks
 * that follow, and the barrier keeps the compiler from reading it again.
 */
static inline void semshare_copy(void *to, const void *from, size_t size)
{
	semshare_plain_copy(to, from, size);
	__asm__ __volatile__("" : : : "memory");
}

/* Longer payloads are for memcpy(), which knows best what is fast for many bytes. */
#define SEMSHARE_COPY_SHORT	256

/*
 * Copy a payload.  Most are short: what memcpy() does to find out how to copy, or
 * a string instruction to begin, then costs more than the copy.
 */
static __always_inline void semshare_copy_payload(void *to, const void *from, size_t size)
{
	unsigned char *at = (unsigned char *)to;
	const unsigned char *left = (const unsigned char *)from;

	if (size <= SEMSHARE_COPY_SHORT) {
		for (; size >= 64; size -= 64, at += 64, left += 64)
			semshare_plain_copy(at, left, 64);
		for (; size >= 8; size -= 8, at += 8, left += 8)
			semshare_plain_copy(at, left, 8);
	}
	if (size)
		semshare_plain_copy(at, left, size);
	/* As in semshare_copy(). */
	__asm__ __volatile__("" : : : "memory");
}

#endif /* SEMSHARE_CORE_PLATFORM_H */
