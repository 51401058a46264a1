/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * A barrier: so many parties wait for each other, generation after generation.  Each
 * does, on the places of semshare/core/places.h,
 *
 *	take the lock
 *	semshare_barrier_arrive()
 *	1, it is the last of its generation:
 *	    semshare_barrier_let_pass(), give the lock
 *	0:
 *	    give the lock
 *	    -2 on semaphore 1 + place, for SEMSHARE_PLACES_RECHECK_MS at most, as long
 *		as semshare_barrier_outcome() is -EAGAIN
 *	    the time is over: take the lock, semshare_barrier_give_up(), give the lock
 *	    semshare_barrier_leave()
 *
 * A generation ends by one store, that of the next one's number.  Whoever waits for an
 * older one is free to go: without the lock, so that nobody waits for who is on its way
 * out, and if it is not woken, because who opened was killed over it, it finds out by
 * itself.  Its place is had again when its semaphore says that there is nobody in it.
 *
 * A waiter that is killed is not there any more, and the others wait for one in its
 * stead.  One whose time is over breaks the barrier for all.
 *
 * All but looking and leaving is done by the owner of the lock, which may be killed at
 * any instruction.  Who finds it dead has nothing to put right.
 */
#ifndef SEMSHARE_CORE_BARRIER_H
#define SEMSHARE_CORE_BARRIER_H

#include <semshare/core/places.h>

/**
 * struct semshare_barrier_arrival - who has arrived where
 * @place: its place, but of the last
 * @index: its number among those of its generation, 0 to parties - 1
 * @generation: that
 */
struct semshare_barrier_arrival {
	__u32 place;
	__u32 index;
	__u64 generation;
};

static inline __u64 semshare_barrier_ticket(__u64 generation, __u32 index)
{
	return generation << 8 | index;
}

/* Is it the place of one who waits for this generation?  Its index is then in *@index. */
static inline int semshare_barrier_waits(struct semshare_places *places, unsigned int place,
					 __u64 generation, __u32 *index)
{
	__u64 ticket = semshare_load(&places->waiters[place].ticket);

	*index = (__u32)(ticket & 0xff);
	return semshare_load(&places->waiters[place].state) == SEMSHARE_WAITER_WAITS &&
	       ticket >> 8 == (generation & (~(__u64)0 >> 8));
}

/**
 * semshare_barrier_waiting - how many wait
 * @port: the barrier's places
 *
 * Context: any that @value allows; without the lock it is a hint.
 * Return: those who live.
 */
static inline unsigned int semshare_barrier_waiting(struct semshare_places_port *port)
{
	__u64 generation = semshare_load_acquire(&port->places->generation);
	unsigned int place, count = 0;
	__u32 index;

	for (place = 0; place < SEMSHARE_PLACES; place++)
		count += semshare_barrier_waits(port->places, place, generation, &index) &&
			 semshare_place_lives(port, place);
	return count;
}

/**
 * semshare_barrier_arrive - come to the barrier
 * @port: its places
 * @parties: of how many, 1 to SEMSHARE_PLACES
 * @owner: the caller
 * @arrival: out: where it is
 *
 * Context: the caller owns the lock.
 * Return: 1: it is the last, and has no place: semshare_barrier_let_pass() is next; 0: it
 * has a place to wait in; -EPIPE: the barrier is broken; -ENOSPC: SEMSHARE_PLACES are
 * inside, with those on their way out; or what @value or @change say.
 */
static inline int semshare_barrier_arrive(struct semshare_places_port *port, __u32 parties,
					  const struct semshare_owner *owner,
					  struct semshare_barrier_arrival *arrival)
{
	struct semshare_places *places = port->places;
	__u64 generation = semshare_load(&places->generation);
	__u64 used[4];
	unsigned int turn, place, count = 0;
	__u32 index;
	int err;

	if (semshare_load(&places->broken))
		return -EPIPE;
	/* Whether they live is asked only if the barrier would open: the first turn counts. */
	for (turn = 0; turn < 2; turn++) {
		count = 0;
		memset(used, 0, sizeof(used));
		for (place = 0; place < SEMSHARE_PLACES; place++) {
			if (!semshare_barrier_waits(places, place, generation, &index))
				continue;
			if (turn && !semshare_place_lives(port, place)) {
				semshare_place_clear(port, place);
				continue;
			}
			count++;
			used[index >> 6] |= (__u64)1 << (index & 63);
		}
		if (count + 1 < parties)
			break;
	}
	/* The lowest that is free: of the last it is the one that is left. */
	for (index = 0; index + 1 < parties; index++)
		if (!(used[index >> 6] >> (index & 63) & 1))
			break;
	arrival->place = SEMSHARE_PLACES;
	arrival->index = index;
	arrival->generation = generation;
	if (count + 1 >= parties)
		return 1;
	/* If there is no other, that of one who died in this generation. */
	for (turn = 0; turn < 2; turn++) {
		for (place = 0; place < SEMSHARE_PLACES; place++) {
			__u32 other;

			if (!turn && semshare_barrier_waits(places, place, generation, &other))
				continue;
			err = semshare_place_enter(port, place, owner,
						   semshare_barrier_ticket(generation, index));
			if (err == -EBUSY)
				continue;
			if (!err)
				arrival->place = place;
			return err;
		}
	}
	return -ENOSPC;
}

/* End the generation, for all who wait for it. */
static inline int semshare_barrier_end(struct semshare_places_port *port, int failed)
{
	struct semshare_places *places = port->places;
	__u64 generation = semshare_load(&places->generation);
	__u64 bit = (__u64)1 << (generation & 63), bits = semshare_load(&places->failed);
	struct semshare_places_list list;
	unsigned int place;
	__u32 index, i;

	list.count = 0;
	for (place = 0; place < SEMSHARE_PLACES; place++)
		if (semshare_barrier_waits(places, place, generation, &index))
			semshare_places_add(&list, place);
	semshare_store(&places->failed, failed ? bits | bit : bits & ~bit);
	/* This is the end of it. */
	semshare_store_release(&places->generation, generation + 1);
	/* From here on it may be killed: they look there.  The word in its place each keeps. */
	semshare_before_kill();
	for (i = 0; i < list.count; i++)
		semshare_store_release(&places->waiters[list.places[i]].state,
				       failed ? SEMSHARE_WAITER_FAILED : SEMSHARE_WAITER_WOKEN);
	return list.count ? port->wake(port, &list) : 0;
}

/**
 * semshare_barrier_let_pass - let all through
 * @port: the barrier's places
 *
 * Context: the caller owns the lock, and semshare_barrier_arrive() was 1 to it.
 * Return: 0, or a negative errno of @wake; they see it all the same.
 */
static inline int semshare_barrier_let_pass(struct semshare_places_port *port)
{
	return semshare_barrier_end(port, 0);
}

/**
 * semshare_barrier_break - break the barrier
 * @port: its places
 *
 * Whoever waits, or comes before semshare_barrier_renew(), is told so.
 *
 * Context: the caller owns the lock.
 * Return: as semshare_barrier_let_pass().
 */
static inline int semshare_barrier_break(struct semshare_places_port *port)
{
	/*
	 * Pairs with semshare_barrier_outcome(): killed from here on it has broken this
	 * generation, though it has not ended it.  The generation that was ended before
	 * is seen by who sees this.
	 */
	semshare_store_release(&port->places->broken, 1);
	semshare_before_kill();
	return semshare_barrier_end(port, 1);
}

/**
 * semshare_barrier_renew - begin anew
 * @port: the barrier's places
 *
 * Whoever waits is told that it is broken; who comes later waits for the next generation.
 *
 * Context: the caller owns the lock.
 * Return: as semshare_barrier_let_pass().
 */
static inline int semshare_barrier_renew(struct semshare_places_port *port)
{
	int err = semshare_barrier_end(port, 1);

	semshare_before_kill();
	semshare_store(&port->places->broken, 0);
	return err;
}

/**
 * semshare_barrier_outcome - may the waiter go?
 * @places: the barrier's places
 * @arrival: who and where it is
 *
 * Context: any.
 * Return: 0: the barrier has opened; -EPIPE: it broke, or was reset; -EAGAIN: neither yet.
 */
static inline int semshare_barrier_outcome(struct semshare_places *places,
					   const struct semshare_barrier_arrival *arrival)
{
	__u32 state = semshare_load_acquire(&places->waiters[arrival->place].state);
	__u32 broken;
	__u64 bits;

	if (state == SEMSHARE_WAITER_WOKEN)
		return 0;
	if (state == SEMSHARE_WAITER_FAILED)
		return -EPIPE;
	/* Before the generation: that a later one broke is seen only by who sees that. */
	broken = semshare_load_acquire(&places->broken);
	if (semshare_load_acquire(&places->generation) == arrival->generation)
		return broken ? -EPIPE : -EAGAIN;
	/* Who ended it is about to tell, or was killed before that. */
	bits = semshare_load(&places->failed);
	return bits >> (arrival->generation & 63) & 1 ? -EPIPE : 0;
}

/**
 * semshare_barrier_give_up - to be called by a waiter whose time is over
 * @port: the barrier's places
 * @arrival: who and where it is
 *
 * Breaks the barrier, unless it has opened just now, or is broken.
 *
 * Context: the caller owns the lock.
 * Return: as semshare_barrier_outcome(), but never -EAGAIN; or a negative errno of @wake.
 */
static inline int semshare_barrier_give_up(struct semshare_places_port *port,
					   const struct semshare_barrier_arrival *arrival)
{
	int err = semshare_barrier_outcome(port->places, arrival);

	if (err != -EAGAIN)
		return err;
	err = semshare_barrier_break(port);
	return err ? err : -EPIPE;
}

/**
 * semshare_barrier_leave - give the caller's place back
 * @port: the barrier's places
 * @arrival: who and where it is
 *
 * Who calls it before the barrier has opened is not waited with any more.
 *
 * Context: with or without the lock.
 * Return: 0 or a negative errno of @change.
 */
static inline int semshare_barrier_leave(struct semshare_places_port *port,
					 const struct semshare_barrier_arrival *arrival)
{
	int err = semshare_place_drain(port, arrival->place);

	return err ? err : semshare_place_leave(port, arrival->place);
}

#endif /* SEMSHARE_CORE_BARRIER_H */
