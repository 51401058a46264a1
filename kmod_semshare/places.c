// SPDX-License-Identifier: GPL-2.0
/*
 * The places of those who wait at a condition or a barrier, for kernel code:
 * semshare/core/places.h with the semaphores of a set.
 *
 * Users can write the words and set the semaphores.  What they can do by it is wake
 * kernel code for nothing, which then looks at the words again.  After FRUITLESS of
 * these it sleeps a tick each time; and whatever the words say, a wait ends at its
 * time, at a signal and at kthread_stop().
 */
#include <linux/sched.h>

#include "places.h"

#define FRUITLESS	64
#define RECHECK_NS	(SEMSHARE_PLACES_RECHECK_MS * (u64)NSEC_PER_MSEC)

static struct semshare_waiters *waiters_of(struct semshare_places_port *port)
{
	return container_of(port, struct semshare_waiters, port);
}

static int places_value(struct semshare_places_port *port, unsigned int place)
{
	return semshare_set_ask(waiters_of(port)->set, 1 + place, GETVAL);
}

/* Nothing undoes it: a kernel thread leaves its place before it ends. */
static int places_change(struct semshare_places_port *port, unsigned int place, int by)
{
	const struct sembuf change = { .sem_num = 1 + place, .sem_op = by };

	return semshare_set_do(waiters_of(port)->set, &change, 1);
}

static int places_wake(struct semshare_places_port *port, const struct semshare_places_list *list)
{
	struct semshare_waiters *waiters = waiters_of(port);
	struct sembuf *wakes = waiters->wakes;
	u32 i;
	int err;

	for (i = 0; i < list->count; i++) {
		wakes[i].sem_num = 1 + list->places[i];
		wakes[i].sem_op = SEMSHARE_PLACE_WAKE;
		wakes[i].sem_flg = IPC_NOWAIT;
	}
	err = semshare_set_try(waiters->set, wakes, list->count);
	/* More than root lets be in one call, or somebody raised one to its maximum. */
	if (err != -E2BIG && err != -ERANGE)
		return err;
	for (i = 0; i < list->count; i++) {
		err = semshare_set_try(waiters->set, wakes + i, 1);
		if (err && err != -ERANGE)
			return err;
	}
	return 0;
}

/**
 * semshare_waiters_sleep - sleep in a place of current's
 * @waiters: the places
 * @place: current's
 * @deadline: until when
 * @fruitless: of one wait: how often it has slept, or been woken, for nothing
 * @look: whether it is to end
 * @sleeper: for @look
 *
 * Return: 0: @look said so; -ETIMEDOUT; -EINTR: a signal, or kthread_stop(); -EIDRM;
 * -ENOMEM.
 */
int semshare_waiters_sleep(struct semshare_waiters *waiters, unsigned int place, ktime_t deadline,
			   unsigned int *fruitless, semshare_waiters_look_t look,
			   const void *sleeper)
{
	struct sembuf sleep = { .sem_num = 1 + place, .sem_op = -SEMSHARE_PLACE_WAKE };
	ktime_t recheck;
	int err;

	for (;;) {
		if (semshare_told_to_stop())
			return -EINTR;
		if (++*fruitless > FRUITLESS)
			schedule_timeout_interruptible(1);
		else
			cond_resched();
		if (look(&waiters->port, sleeper))
			return 0;
		if (ktime_compare(ktime_get(), deadline) >= 0)
			return -ETIMEDOUT;
		recheck = ktime_add_ns(ktime_get(), RECHECK_NS);
		err = semshare_set_wait(waiters->set, &sleep, 1, min_t(s64, deadline, recheck));
		if (err && err != -ETIMEDOUT)
			return err;
		/* Nobody woke it, so that was not for nothing. */
		if (err)
			*fruitless = 0;
	}
}

/**
 * semshare_waiters_setup - the places of a set
 * @waiters: zeroed
 * @set: the set
 * @kind: what it must be: enum semshare_set_kinds
 *
 * Return: 0; -EPROTOTYPE: it is something else; -ENXIO: it has no companion that current
 * may write.
 */
int semshare_waiters_setup(struct semshare_waiters *waiters, struct semshare_set *set, u32 kind)
{
	if (!set->companion.data)
		return -ENXIO;
	if (set->companion.kind != kind)
		return -EPROTOTYPE;
	waiters->set = set;
	waiters->port.places = semshare_places_of(set->companion.data);
	waiters->port.value = places_value;
	waiters->port.change = places_change;
	waiters->port.wake = places_wake;
	return 0;
}
