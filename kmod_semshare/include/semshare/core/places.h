/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The places of those who wait at a condition or a barrier.
 *
 * Place n has words, waiters[n] of struct semshare_places, and a semaphore, 1 + n of the
 * set.  The words say what became of the waiter; they are written by the owner of the
 * lock only.  The semaphore wakes it, and says whether it still lives:
 *
 *	0  nobody
 *	1  a waiter		it added 1 with SEM_UNDO, and sleeps by -2
 *	3  ... that was woken	somebody added 2, and it has not noticed yet
 *	2  ... and has died	the kernel has taken the 1 back
 *
 * So it is odd as long as there is somebody in the place, however that one ends, in
 * whichever pid namespace, and whoever has its pid by now.  A kernel thread adds its 1
 * without undo: it ends no other way than by giving the place back.
 *
 * Who cannot have the lock again (its set is broken, a kernel thread is to stop) takes
 * its 1 back and goes: to everybody else it has died.
 *
 * A sleeper wakes for no reason now and then, and is not woken at all if who wanted to
 * was killed just then.  What counts are the words, so it looks at them after each
 * sleep, and sleeps no longer than SEMSHARE_PLACES_RECHECK_MS at a time.
 *
 * User space can write every word, and each semaphore: whatever stands there is loaded
 * once, and nothing but a comparison comes of it.
 */
#ifndef SEMSHARE_CORE_PLACES_H
#define SEMSHARE_CORE_PLACES_H

#include <semshare/core/lock.h>

#define SEMSHARE_PLACES_RECHECK_MS	250

/* What a place's semaphore consists of. */
#define SEMSHARE_PLACE_LIVES	1
#define SEMSHARE_PLACE_WAKE	2

/* Places that are to be woken, each once. */
struct semshare_places_list {
	__u32 count;
	__u8 places[SEMSHARE_PLACES];
};

/**
 * struct semshare_places_port - the places of a set as one party uses them
 * @places: their words
 * @value: the value of a place's semaphore, or a negative errno
 * @change: add to it without waiting: 0 or a negative errno, of which -EAGAIN says that
 *	it would be less than 0.  SEMSHARE_PLACE_LIVES, added or taken, with SEM_UNDO
 *	where the caller is a process
 * @wake: add SEMSHARE_PLACE_WAKE to each, without undo and if that can be in one semop:
 *	0 or a negative errno.  The list is not empty
 *
 * Context: all three are called with the lock held, but those of semshare_place_leave().
 */
struct semshare_places_port {
	struct semshare_places *places;
	int (*value)(struct semshare_places_port *port, unsigned int place);
	int (*change)(struct semshare_places_port *port, unsigned int place, int by);
	int (*wake)(struct semshare_places_port *port, const struct semshare_places_list *list);
};

/* The places in the companion of a condition's or a barrier's set. */
static inline struct semshare_places *semshare_places_of(struct semshare_lock_segment *segment)
{
	return (struct semshare_places *)(segment + 1);
}

static inline void semshare_places_add(struct semshare_places_list *list, unsigned int place)
{
	if (list->count < SEMSHARE_PLACES)
		list->places[list->count++] = (__u8)place;
}

/**
 * semshare_place_lives - is there somebody in the place?
 * @port: the places
 * @place: which
 *
 * Return: 1, also where that cannot be told; 0 if who had it has died or gone.
 */
static inline int semshare_place_lives(struct semshare_places_port *port, unsigned int place)
{
	int value = port->value(port, place);

	return value < 0 || value & SEMSHARE_PLACE_LIVES;
}

/* Take away a wake-up that nobody noticed.  There is none: so be it. */
static inline int semshare_place_drain(struct semshare_places_port *port, unsigned int place)
{
	int err = port->change(port, place, -SEMSHARE_PLACE_WAKE);

	return err == -EAGAIN ? 0 : err;
}

/**
 * semshare_place_clear - free the place of one who has died or gone
 * @port: the places
 * @place: which
 *
 * Return: 0 or a negative errno.
 */
static inline int semshare_place_clear(struct semshare_places_port *port, unsigned int place)
{
	/* This before that: a free place has no wake-up left. */
	int err = semshare_place_drain(port, place);

	if (!err)
		semshare_store_release(&port->places->waiters[place].state, SEMSHARE_WAITER_NONE);
	return err;
}

/**
 * semshare_place_enter - have a place
 * @port: the places
 * @place: one with nobody in it
 * @owner: who will wait in it
 * @ticket: its ticket
 *
 * Return: 0; -EBUSY: somebody is in it, try another; or what else @change says.
 */
static inline int semshare_place_enter(struct semshare_places_port *port, unsigned int place,
				       const struct semshare_owner *owner, __u64 ticket)
{
	struct semshare_waiter *waiter = &port->places->waiters[place];
	int value = port->value(port, place);
	int err;

	if (value < 0)
		return value;
	if (value & SEMSHARE_PLACE_LIVES)
		return -EBUSY;
	err = value ? port->change(port, place, -value) : 0;
	if (!err)
		err = port->change(port, place, SEMSHARE_PLACE_LIVES);
	if (err)
		return err;
	/* Killed before the last of these, it has not been here: the 1 is taken back. */
	semshare_store(&waiter->state, SEMSHARE_WAITER_NONE);
	semshare_before_kill();
	semshare_store(&waiter->kind, owner->kind);
	semshare_store(&waiter->pid, owner->pid);
	semshare_store(&waiter->tid, owner->tid);
	semshare_store(&waiter->start, owner->start);
	semshare_store(&waiter->ticket, ticket);
	semshare_store_release(&waiter->state, SEMSHARE_WAITER_WAITS);
	return 0;
}

/**
 * semshare_place_leave - give the caller's place back
 * @port: the places
 * @place: the caller's
 *
 * Its words stay as they are: to who looks at them the waiter has died.  Without the
 * lock it is enough where they say nothing that others are to see to.
 *
 * Return: 0 or a negative errno.
 */
static inline int semshare_place_leave(struct semshare_places_port *port, unsigned int place)
{
	return port->change(port, place, -SEMSHARE_PLACE_LIVES);
}

#endif /* SEMSHARE_CORE_PLACES_H */
