/* SPDX-License-Identifier: MIT */
/*
 * How many permits of a semaphore this process has taken and not given back, by way of whichever object: so many the
 * kernel gives back when it ends, so that many are to be given with SEM_UNDO, and what goes beyond without.
 */
#ifndef SEMSHARE_NATIVE_PERMITS_H
#define SEMSHARE_NATIVE_PERMITS_H

#include <stdint.h>

struct permits;

int permits_setup(void);
struct permits *permits_open(int semid, unsigned short number);
void permits_close(struct permits *permits);
uint32_t permits_count(const struct permits *permits);
void permits_add(struct permits *permits, uint32_t count);
uint32_t permits_take(struct permits *permits, uint32_t most);
void permits_forget(struct permits *permits);

#endif /* SEMSHARE_NATIVE_PERMITS_H */
