// SPDX-License-Identifier: GPL-2.0
/*
 * Something that has happened or not yet, for kernel code; the Python side is
 * semshare.Event.  Its semaphore is 0 when it has happened, for which any number
 * can wait, and 1 before.
 */
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/slab.h>
#include <semshare/core/event.h>

#include "set.h"

/* So often set and cleared in between that it is taken for a lie. */
#define TRIES	100

/**
 * struct semshare_event - an event
 * @set: its set, with a reference
 * @state: the words that count, NULL without a companion
 */
struct semshare_event {
	struct semshare_set *set;
	struct semshare_lock_state *state;
};

static const struct sembuf happened[] = {
	{ .sem_op = 0 },
};

/* Where it is 1, and only there. */
static const struct sembuf happen[] = {
	{ .sem_op = -1 },
	{ .sem_op = 0 },
};

static const struct sembuf clear[] = {
	{ .sem_op = 0 },
	{ .sem_op = 1 },
};

/**
 * semshare_event_set - it has happened
 * @event: the event
 *
 * Whoever waits for it goes on, also if it is cleared again at once; where the event has
 * no companion, whoever sleeps just then.
 *
 * Context: process context; waits for nobody.
 * Return: 0; -EPROTO: somebody set its semaphore to what it cannot be; -EIDRM: the set
 * was removed; -ENOMEM; -EOPNOTSUPP: called where sleeping is not allowed.
 */
int semshare_event_set(struct semshare_event *event)
{
	unsigned int tries;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	for (tries = 0; tries < TRIES; tries++) {
		err = semshare_set_do(event->set, happen, ARRAY_SIZE(happen));
		if (!err && event->state)
			semshare_event_count(event->state);
		if (err == -EAGAIN)
			err = semshare_set_do(event->set, happened, ARRAY_SIZE(happened));
		if (err != -EAGAIN)
			return err;
	}
	return -EPROTO;
}
EXPORT_SYMBOL_GPL(semshare_event_set);

/**
 * semshare_event_clear - it is to happen again
 * @event: the event
 *
 * Context: process context; waits for nobody.
 * Return: as semshare_event_set(), without -EPROTO.
 */
int semshare_event_clear(struct semshare_event *event)
{
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	err = semshare_set_do(event->set, clear, ARRAY_SIZE(clear));
	/* It was not set. */
	return err == -EAGAIN ? 0 : err;
}
EXPORT_SYMBOL_GPL(semshare_event_clear);

static u32 event_turn(const struct semshare_event *event)
{
	return event->state ? semshare_event_turn(event->state) : 0;
}

/**
 * semshare_event_wait - wait until it has happened
 * @event: the event
 * @timeout: jiffies to wait; 0: only look; MAX_SCHEDULE_TIMEOUT: wait
 *
 * Context: process context, sleeps.
 * Return: 0: it has; -EAGAIN: it has not, and @timeout is 0; -ETIMEDOUT; -EINTR: a
 * signal, or kthread_stop(); -EIDRM: the set was removed; -ENOMEM; -EOPNOTSUPP:
 * called where sleeping is not allowed.
 */
int semshare_event_wait(struct semshare_event *event, long timeout)
{
	struct sembuf wait = { .sem_op = 0 };
	s64 slice_ns = 0;
	ktime_t deadline;
	u32 turn;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	deadline = semshare_deadline(timeout);
	turn = event_turn(event);
	err = semshare_set_do(event->set, happened, ARRAY_SIZE(happened));
	if (err != -EAGAIN || deadline == SEMSHARE_DEADLINE_NOW)
		return err;
	do {
		err = semshare_set_sleep(event->set, &wait, 1, deadline, &slice_ns);
		/* Between two slices it may have happened, and been over again. */
		if ((err == -EAGAIN || err == -ETIMEDOUT) && event_turn(event) != turn)
			err = 0;
	} while (err == -EAGAIN);
	return err;
}
EXPORT_SYMBOL_GPL(semshare_event_wait);

/**
 * semshare_event_of - the event that a set is
 * @set: the set, which the event keeps
 *
 * Context: process context, may sleep.
 * Return: the event, to be given back with semshare_event_close(), or
 *
 * * %-EPROTOTYPE - the set is no event, but something else
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
struct semshare_event *semshare_event_of(struct semshare_set *set)
{
	struct semshare_event *event;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!semshare_set_is(set, SEMSHARE_SET_EVENT))
		return ERR_PTR(-EPROTOTYPE);
	event = kzalloc(sizeof(*event), GFP_KERNEL_ACCOUNT);
	if (!event)
		return ERR_PTR(-ENOMEM);
	event->set = semshare_set_get(set);
	event->state = semshare_set_state(set, 0);
	return event;
}
EXPORT_SYMBOL_GPL(semshare_event_of);

/**
 * semshare_event_open - the event of a name
 * @ns: the caller's own IPC namespace
 * @name: its name
 *
 * Context: process context of a process, sleeps.
 * Return: as semshare_event_of() of what semshare_set_open() returns.
 */
struct semshare_event *semshare_event_open(struct ipc_namespace *ns, const char *name)
{
	struct semshare_set *set = semshare_set_open(ns, name);
	struct semshare_event *event;

	if (IS_ERR(set))
		return ERR_CAST(set);
	event = semshare_event_of(set);
	semshare_set_close(set);
	return event;
}
EXPORT_SYMBOL_GPL(semshare_event_open);

/**
 * semshare_event_close - let go of an event
 * @event: the event, for which nobody waits any more, or NULL
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_event_close(struct semshare_event *event)
{
	if (!event)
		return;
	semshare_set_close(event->set);
	kfree(event);
}
EXPORT_SYMBOL_GPL(semshare_event_close);
