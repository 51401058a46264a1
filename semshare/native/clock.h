/* SPDX-License-Identifier: MIT */
/* Time: nanoseconds of CLOCK_MONOTONIC, and deadlines in them. */
#ifndef SEMSHARE_NATIVE_CLOCK_H
#define SEMSHARE_NATIVE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S	1000000000LL
#define NS_PER_MS	1000000LL
#define NS_PER_US	1000LL

/* A deadline that never comes. */
#define NEVER		INT64_MAX

static inline int64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static inline struct timespec clock_timespec(int64_t ns)
{
	struct timespec value = { ns / NS_PER_S, ns % NS_PER_S };

	return value;
}

/* The most that a wait can be told, as threading.TIMEOUT_MAX: in nanoseconds int64_t does not count further. */
#define CLOCK_MOST_S	9223372036.0

/* In so many seconds, up to CLOCK_MOST_S. */
static inline int64_t clock_after(double seconds)
{
	int64_t now = clock_now();
	double ns = seconds * NS_PER_S;

	return ns < (double)(NEVER - now) ? now + (int64_t)ns : NEVER;
}

/* What one turn of a loop that waits for another processor costs it. */
static inline void clock_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ __volatile__("yield" : : : "memory");
#else
	__asm__ __volatile__("" : : : "memory");
#endif
}

#endif /* SEMSHARE_NATIVE_CLOCK_H */
