/* SPDX-License-Identifier: MIT */
/*
 * System calls without the C library: nothing here is wrapped by whatever else
 * was preloaded, sets errno, is a cancellation point or has yet to be set up.
 */
#ifndef PRELOAD_KERNEL_H
#define PRELOAD_KERNEL_H

#ifndef __x86_64__
#error "the preload library is written for x86-64"
#endif

#include <sys/syscall.h>

/* Returns what the kernel does: a value, or an errno below zero. */
static inline long kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define kernel_call3(number, a, b, c)	kernel_call(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define kernel_call4(number, a, b, c, d) kernel_call(number, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

#endif /* PRELOAD_KERNEL_H */
