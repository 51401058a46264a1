/* SPDX-License-Identifier: GPL-2.0 */
/* context.c: a function, called in a context of one's choice. */
#ifndef SEMSHARE_TESTS_CONTEXT_H
#define SEMSHARE_TESTS_CONTEXT_H

#include <linux/types.h>

int test_contexts_init(void);
void test_contexts_exit(void);
long test_run_in(u32 context, u32 cpu, long (*function)(void *argument), void *argument);

#endif /* SEMSHARE_TESTS_CONTEXT_H */
