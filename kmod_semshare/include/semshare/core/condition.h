/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * A condition: who owns the lock waits until somebody says that what it guards has
 * changed.  A waiter does, on the places of semshare/core/places.h,
 *
 *	own the lock
 *	place = semshare_condition_enter()
 *	again:
 *	    give the lock
 *	    -2 on semaphore 1 + place, for SEMSHARE_PLACES_RECHECK_MS at most, until
 *		semshare_condition_look(), or the time is over, or a signal came
 *	    take the lock
 *	    semshare_condition_settle()
 *	    neither woken, nor is the time over, nor was there a signal: again
 *	semshare_condition_leave()
 *
 * who notifies
 *
 *	own the lock
 *	semshare_condition_tell()
 *
 * A notification is of those who wait when it is given, longest first, and each is
 * noticed by one waiter, or by none if there are not enough:
 *
 *	- Who is dead when it is given gets none.
 *	- Who dies with one, before it has left, leaves the place to be settled: it goes
 *	  on to who waited already when it was given.  Each waiter looks for such places
 *	  as often as it looks for itself.
 *	- Whose time is over just when it comes was notified.  Who was interrupted just
 *	  then lets it go on.
 *
 * All of it is done by the owner of the lock, and it may be killed at any instruction:
 * a word of each place says what became of it, and is stored before the semaphore is
 * raised.  Who finds the lock's owner dead has nothing to put right here.
 */
#ifndef SEMSHARE_CORE_CONDITION_H
#define SEMSHARE_CORE_CONDITION_H

#include <semshare/core/places.h>

/* To semshare_condition_tell(): everybody. */
#define SEMSHARE_CONDITION_ALL	0xffffffffu

/**
 * semshare_condition_guard - say which lock guards the condition
 * @places: its places
 * @key: the key of the lock's set
 * @semaphore: which of that set it is
 *
 * The first who says it decides.
 *
 * Return: 0; -EXDEV: others have it guarded by another lock.
 */
static inline int semshare_condition_guard(struct semshare_places *places, __u32 key,
					   __u32 semaphore)
{
	__u64 guard = ((__u64)semaphore + 1) << 32 | key, found = 0;

	if (semshare_try_cmpxchg(&places->guard, &found, guard) || found == guard)
		return 0;
	return -EXDEV;
}

/*
 * The place of who waits longest of those who came before @limit; SEMSHARE_PLACES if
 * nobody does.  Of those who are dead, which are cleared, it is none.  *@looks bounds the
 * work, should somebody write the words meanwhile.
 */
static inline unsigned int semshare_condition_first(struct semshare_places_port *port, __u64 limit,
						    unsigned int *looks)
{
	struct semshare_places *places = port->places;

	while (*looks) {
		unsigned int first = SEMSHARE_PLACES, place;
		__u64 lowest = limit;

		--*looks;
		for (place = 0; place < SEMSHARE_PLACES; place++) {
			__u64 ticket = semshare_load(&places->waiters[place].ticket);

			if (semshare_load(&places->waiters[place].state) == SEMSHARE_WAITER_WAITS &&
			    ticket < lowest) {
				lowest = ticket;
				first = place;
			}
		}
		if (first == SEMSHARE_PLACES || semshare_place_lives(port, first))
			return first;
		semshare_place_clear(port, first);
	}
	return SEMSHARE_PLACES;
}

/* It is woken, by a notification that was given when @limit was the next ticket. */
static inline void semshare_condition_mark(struct semshare_places *places, unsigned int place,
					   __u64 limit, struct semshare_places_list *list)
{
	semshare_store_release(&places->waiters[place].state, SEMSHARE_WAITER_WOKEN);
	semshare_store(&places->waiters[place].ticket, limit);
	semshare_places_add(list, place);
}

static inline int semshare_condition_wake(struct semshare_places_port *port,
					  const struct semshare_places_list *list)
{
	return list->count ? port->wake(port, list) : 0;
}

/**
 * semshare_condition_tell - wake those who wait longest
 * @port: the condition's places
 * @count: how many at most
 *
 * Context: the caller owns the lock.
 * Return: how many are woken, or a negative errno of @wake; they see it all the same.
 */
static inline int semshare_condition_tell(struct semshare_places_port *port, __u32 count)
{
	struct semshare_places *places = port->places;
	__u64 limit = semshare_load(&places->ticket);
	unsigned int looks = SEMSHARE_PLACES, place;
	struct semshare_places_list list;
	int err;

	list.count = 0;
	while (list.count < count) {
		place = semshare_condition_first(port, ~(__u64)0, &looks);
		if (place == SEMSHARE_PLACES)
			break;
		semshare_condition_mark(places, place, limit, &list);
	}
	err = semshare_condition_wake(port, &list);
	return err ? err : (int)list.count;
}

/**
 * semshare_condition_orphans - has somebody died with a notification?
 * @port: the condition's places
 *
 * Context: any that @value allows; without the lock it is a hint.
 * Return: 1 if there is something for semshare_condition_settle() to do, else 0.
 */
static inline int semshare_condition_orphans(struct semshare_places_port *port)
{
	unsigned int place;

	for (place = 0; place < SEMSHARE_PLACES; place++)
		if (semshare_load(&port->places->waiters[place].state) == SEMSHARE_WAITER_WOKEN &&
		    !semshare_place_lives(port, place))
			return 1;
	return 0;
}

/**
 * semshare_condition_settle - let notifications of those who died with them go on
 * @port: the condition's places
 *
 * Context: the caller owns the lock.
 * Return: 0, or a negative errno of @wake.
 */
static inline int semshare_condition_settle(struct semshare_places_port *port)
{
	struct semshare_places *places = port->places;
	unsigned int looks = SEMSHARE_PLACES, place, next;
	struct semshare_places_list list;

	list.count = 0;
	for (place = 0; place < SEMSHARE_PLACES; place++) {
		__u64 limit = semshare_load(&places->waiters[place].ticket);

		if (semshare_load(&places->waiters[place].state) != SEMSHARE_WAITER_WOKEN ||
		    semshare_place_lives(port, place))
			continue;
		/*
		 * The next is marked before this place is free: killed in between, it goes on
		 * once more, which is better than not at all.
		 */
		next = semshare_condition_first(port, limit, &looks);
		if (next != SEMSHARE_PLACES)
			semshare_condition_mark(places, next, limit, &list);
		semshare_place_clear(port, place);
	}
	return semshare_condition_wake(port, &list);
}

/**
 * semshare_condition_enter - have a place to wait in
 * @port: the condition's places
 * @owner: the caller
 *
 * Context: the caller owns the lock.
 * Return: the place; -ENOSPC: SEMSHARE_PLACES wait already; or what @value, @change or
 * @wake say.
 */
static inline int semshare_condition_enter(struct semshare_places_port *port,
					   const struct semshare_owner *owner)
{
	struct semshare_places *places = port->places;
	__u64 ticket = semshare_load(&places->ticket);
	unsigned int turn, place;
	int err;

	for (turn = 0; turn < 2; turn++) {
		for (place = 0; place < SEMSHARE_PLACES; place++) {
			__u32 state = semshare_load(&places->waiters[place].state);

			/* The second time, the place of one who died while it waited as well. */
			if (turn ? state == SEMSHARE_WAITER_WOKEN : state != SEMSHARE_WAITER_NONE)
				continue;
			err = semshare_place_enter(port, place, owner, ticket);
			if (err == -EBUSY)
				continue;
			if (err)
				return err;
			semshare_store(&places->ticket, ticket + 1);
			return (int)place;
		}
		err = turn ? 0 : semshare_condition_settle(port);
		if (err)
			return err;
	}
	return -ENOSPC;
}

/**
 * semshare_condition_woken - was the waiter in a place notified?
 * @places: the condition's places
 * @place: the caller's
 *
 * Return: 1 or 0, which is a hint without the lock.
 */
static inline int semshare_condition_woken(struct semshare_places *places, unsigned int place)
{
	return semshare_load_acquire(&places->waiters[place].state) == SEMSHARE_WAITER_WOKEN;
}

/**
 * semshare_condition_look - is a waiter to end its sleep?
 * @port: the condition's places
 * @place: the caller's
 *
 * Return: 1: it was notified, or there is something to settle; 0: it is to sleep on.
 */
static inline int semshare_condition_look(struct semshare_places_port *port, unsigned int place)
{
	return semshare_condition_woken(port->places, place) || semshare_condition_orphans(port);
}

/**
 * semshare_condition_leave - give the caller's place back
 * @port: the condition's places
 * @place: the caller's
 * @interrupted: the caller will not see to a notification: it is to go on
 *
 * Context: the caller owns the lock.  Who cannot have it calls semshare_place_leave(),
 * and what notification there was goes on.
 * Return: 1 if the caller was notified, 0 if not, or a negative errno of @change or @wake.
 */
static inline int semshare_condition_leave(struct semshare_places_port *port, unsigned int place,
					   int interrupted)
{
	int woken = semshare_condition_woken(port->places, place);
	int err;

	if (woken && interrupted) {
		err = semshare_place_leave(port, place);
		return err ? err : semshare_condition_settle(port);
	}
	/* Killed in between, it is one who died with the notification, or is not here. */
	err = semshare_place_clear(port, place);
	if (!err)
		err = semshare_place_leave(port, place);
	return err ? err : woken;
}

#endif /* SEMSHARE_CORE_CONDITION_H */
