/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * Waking who waits at a descriptor: poll, an eventfd, a FIFO.
 *
 * A ring has two words for that, control->bell_data and ->bell_space, beside
 * need_data and need_space, which are for those who sleep on a semaphore.  A word
 * is 1 while somebody waits ("armed").  Each side writes one word and then reads
 * the other's, with a full barrier between the two, so that one of them at least
 * sees what the other wrote:
 *
 *	who will wait				who has put a record (or taken one)
 *
 *	A: bell = 1				C: tail (or head) moves on
 *	   full barrier  (pairs with)		   full barrier
 *	B: look at tail; nothing: wait		D: bell?  cmpxchg(bell, 1, 0): ring
 *
 * Either B sees C, or D sees A.  Nobody rings but the one whose cmpxchg takes the
 * word: from A on there is one ring at the most, and none while nobody waits.
 * Where the cmpxchg of another was first, that one rings behind it, and whoever
 * is woken arms again before it looks; the word that D read is older than that,
 * so what D's party had moved at C is seen.
 *
 * The word is set without the ring's lock, by the kernel's poll as well, so it
 * is read with the barrier even by who owns the lock.
 *
 * A channel's queues have a bell each, the bell_data of the queue's control page.
 *
 * Whoever is killed between D and ringing takes a ring along; who waits therefore
 * looks again every SEMSHARE_RING_RECHECK_MS.
 */
#ifndef SEMSHARE_CORE_BELL_H
#define SEMSHARE_CORE_BELL_H

#include <semshare/abi.h>
#include <semshare/core/platform.h>

/* The word of those who wait for space, or of those who wait for records. */
static inline __u32 *semshare_bell(struct semshare_ring_control *control, int space)
{
	return space ? &control->bell_space : &control->bell_data;
}

/**
 * semshare_bell_arm - say that somebody will wait
 * @bell: the word
 *
 * To be followed by a look for something to do, and then by the wait.
 */
static inline void semshare_bell_arm(__u32 *bell)
{
	semshare_store(bell, 1);
	/* A before B; pairs with that between C and D. */
	semshare_full_barrier();
}

/**
 * semshare_bell_take - shall the caller ring?
 * @bell: the word
 *
 * To be asked after moving a cursor and semshare_full_barrier(), which pairs with
 * that of semshare_bell_arm().
 *
 * Context: any.
 * Return: 1: it shall, nobody else will; 0: nobody waits, or another rings.
 */
static inline int semshare_bell_take(__u32 *bell)
{
	__u32 armed = semshare_load(bell);

	return armed && semshare_try_cmpxchg(bell, &armed, 0);
}

#endif /* SEMSHARE_CORE_BELL_H */
