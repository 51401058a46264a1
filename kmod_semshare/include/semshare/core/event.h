/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * How often an event has happened: a word beside its semaphore.
 *
 * The semaphore says whether it has, and wakes all who sleep.  But who waits is awake now
 * and then: between two slices, and while a signal's handler runs.  What is set and cleared
 * again in that time it would miss.  So
 *
 *	who sets it:	takes the 1 from the semaphore
 *			semshare_event_count()
 *	who waits:	turn = semshare_event_turn()
 *			waits for 0, slice by slice, as long as semshare_event_turn() is @turn
 *
 * Only who is killed between the two is not counted, and who sets the semaphore without
 * this package does not count.  Then what the semaphore says is all there is to know.
 */
#ifndef SEMSHARE_CORE_EVENT_H
#define SEMSHARE_CORE_EVENT_H

#include <semshare/abi.h>
#include <semshare/core/platform.h>

/**
 * semshare_event_turn - how often an event has happened
 * @state: its words
 *
 * Pairs with semshare_event_count(): who sees it changed sees what was written before.
 *
 * Context: any.
 * Return: a number that is another when it has happened again.
 */
static inline __u32 semshare_event_turn(const struct semshare_lock_state *state)
{
	return semshare_load_acquire(&state->epoch);
}

/**
 * semshare_event_count - an event has happened
 * @state: its words
 *
 * Context: any.
 */
static inline void semshare_event_count(struct semshare_lock_state *state)
{
	__u32 turn = semshare_load(&state->epoch);

	/* If somebody else does that at the same time it is another number, too. */
	(void)semshare_try_cmpxchg(&state->epoch, &turn, turn + 1);
}

#endif /* SEMSHARE_CORE_EVENT_H */
