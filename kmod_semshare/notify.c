// SPDX-License-Identifier: GPL-2.0
/*
 * The doorbell of an area: tells those who poll it, or wait for an eventfd, those
 * who sleep on the hint semaphores of its ring, and kernel code that listens, that
 * there may be something to do.
 *
 * It can be rung from any context, NMI included, which can neither wake a wait
 * queue nor operate on a semaphore.  So it goes by steps, each of which may be
 * rung again while it is under way:
 *
 *	any context	events |= …, hints |= …, queue the irq_work
 *	irq_work	take events; wake who polls; signal eventfds; queue the work
 *	work		take hints; give them by semop(); call who listens
 *
 * Both irq_work and work item clear "queued" before they run, with a full
 * barrier, and what is to be passed on is set, by an atomic, before they are
 * queued: whoever finds one queued already knows that it will see his bits.
 *
 * The irq_work is not a hard one: on PREEMPT_RT it then runs in a thread, where
 * a wait queue's lock, which sleeps there, may be taken.  Elsewhere it is an
 * interrupt of its own in any case.
 *
 * Who is not waited for is not told.  Ringing costs an interrupt, and so the
 * ringer first looks whether somebody may sleep:
 *
 *	who will sleep			who has moved a cursor
 *	--------------			----------------------
 *	need, armed or bell = 1		move the cursor
 *	full barrier		(A)	full barrier		(B)
 *	look for something to do	need?  armed?  bell?
 *	sleep				then ring
 *
 * (A) is semshare_full_barrier() of one who sleeps on a hint, that of
 * semshare_bell_arm() of one who waits for an eventfd, and smp_mb() in
 * semshare_notify_arm(); (B) is in semshare_notify().  At least one of the two
 * sees what the other wrote.  Who rings takes what it found back to 0, so that
 * there is one ring for one wait.  Needs and bells are words that users write: a
 * lie costs them a wake-up, or us an interrupt for each time they store it.
 */
#include <linux/poll.h>
#include <semshare/core/bell.h>

#include "area.h"
#include "eventfd.h"
#include "lock.h"
#include "notify.h"
#include "ring.h"

/* Whom to wake by the hint semaphores.  The need is met by that: those who come after find 0. */
static unsigned int notify_take_needs(struct semshare_area *area, unsigned int events)
{
	struct semshare_ring_control *control = area->data;
	unsigned int hints = 0;

	/* Pairs with whoever stored it, in ring.c: from then on there is a ring. */
	if (!smp_load_acquire(&area->ring.common))
		return 0;
	if (events & SEMSHARE_NOTIFY_BROKEN)
		return SEMSHARE_HINT_DATA | SEMSHARE_HINT_SPACE;
	if (events & SEMSHARE_NOTIFY_DATA && semshare_load(&control->need_data)) {
		semshare_store(&control->need_data, 0);
		hints |= SEMSHARE_HINT_DATA;
	}
	if (events & SEMSHARE_NOTIFY_SPACE && semshare_load(&control->need_space)) {
		semshare_store(&control->need_space, 0);
		hints |= SEMSHARE_HINT_SPACE;
	}
	return hints;
}

/*
 * Whether anybody waits at a descriptor, and this caller is to tell him: after a
 * full barrier.  Who polls says so in @armed, where users cannot take it back; who
 * waits for an eventfd, or polls, in the ring's words (semshare/core/bell.h), by
 * which users know whom to ring for.
 */
static bool notify_take_waits(struct semshare_area *area, unsigned int events)
{
	struct semshare_ring_control *control = area->data;
	atomic_t *armed = &area->notify.armed;
	bool waits = events & SEMSHARE_NOTIFY_BROKEN;

	if (atomic_read(armed) & events)
		waits |= atomic_fetch_andnot(events, armed) & events;
	/* As in notify_take_needs(). */
	if (!smp_load_acquire(&area->ring.common))
		return waits;
	if (events & SEMSHARE_NOTIFY_DATA)
		waits |= semshare_bell_take(&control->bell_data);
	if (events & SEMSHARE_NOTIFY_SPACE)
		waits |= semshare_bell_take(&control->bell_space);
	return waits;
}

/* To the queue.  Context: any but NMI; on PREEMPT_RT also not hard interrupts. */
static void notify_wake(struct semshare_notify *notify, unsigned int events)
{
	__poll_t mask = 0;

	if (events & SEMSHARE_NOTIFY_DATA)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (events & SEMSHARE_NOTIFY_SPACE)
		mask |= EPOLLOUT | EPOLLWRNORM;
	if (events & SEMSHARE_NOTIFY_BROKEN)
		mask |= EPOLLERR | EPOLLHUP;
	if (mask)
		wake_up_poll(&notify->queue, mask);
}

/* To all but those who listen in the kernel.  Context: as notify_wake(). */
static void notify_deliver(struct semshare_notify *notify, unsigned int events)
{
	notify_wake(notify, events);
	semshare_eventfds_signal(notify, events);
}

/* To those who do.  Context: any but NMI. */
static void notify_tell(struct semshare_notify *notify, unsigned int events)
{
	if (list_empty_careful(&notify->listeners))
		return;
	atomic_or(events, &notify->heard);
	queue_work(system_highpri_wq, &notify->work);
}

/* The set that is bound; -ENXIO: none is; -EIDRM: it is gone.  Context: process context, sleeps. */
static int notify_set(struct semshare_area *area)
{
	int semid = -ENXIO;

	mutex_lock(&area->mutex);
	if (area->semid >= 0)
		semid = semshare_sem_same(area->ns, area->semid, &area->facts) ? area->semid :
										 -EIDRM;
	mutex_unlock(&area->mutex);
	return semid;
}

/* By semaphore.  Context: process context, sleeps for the lock of the set at most. */
static void notify_hint(struct semshare_area *area, unsigned int hints)
{
	/* With a need there is a ring; pairs as in notify_take_needs(). */
	struct semshare_ring_common *common = smp_load_acquire(&area->ring.common);
	unsigned int producers = common ? common->port.producers : 0;
	int semid;

	if (!hints)
		return;
	semid = notify_set(area);
	if (semid < 0)
		return;
	/* Where each waits for space of its own, all look. */
	if (hints & SEMSHARE_HINT_DATA)
		semshare_sem_hint(area->ns, semid, SEMSHARE_SEM_DATA, 1);
	if (hints & SEMSHARE_HINT_SPACE)
		semshare_sem_hint(area->ns, semid, SEMSHARE_SEM_SPACE, max(producers, 1U));
}

static void notify_work(struct work_struct *work)
{
	struct semshare_area *area = container_of(work, struct semshare_area, notify.work);

	notify_hint(area, atomic_xchg(&area->notify.hints, 0));
	semshare_listeners_call(&area->notify, atomic_xchg(&area->notify.heard, 0));
}

static void notify_tick(struct work_struct *work)
{
	struct semshare_notify *notify =
		container_of(work, struct semshare_notify, tick.work);

	semshare_listeners_call(notify, atomic_xchg(&notify->later, 0));
}

static void notify_interrupt(struct irq_work *work)
{
	struct semshare_notify *notify = container_of(work, struct semshare_notify, interrupt);
	unsigned int events = atomic_xchg(&notify->events, 0);

	notify_deliver(notify, events);
	notify_tell(notify, events);
	if (atomic_read(&notify->hints))
		queue_work(system_highpri_wq, &notify->work);
	if (atomic_read(&notify->later))
		queue_delayed_work(system_highpri_wq, &notify->tick, 1);
}

/**
 * semshare_notify - ring: something happened in an area
 * @area: an area the caller has a reference to
 * @events: SEMSHARE_NOTIFY_*
 *
 * To be called after what happened can be seen.
 *
 * Context: any, NMI included.
 */
void semshare_notify(struct semshare_area *area, unsigned int events)
{
	struct semshare_notify *notify = &area->notify;
	unsigned int hints;

	/* (B) of the diagram above. */
	smp_mb();
	hints = notify_take_needs(area, events);
	if (notify_take_waits(area, events))
		atomic_or(events, &notify->events);
	else if (!hints)
		return;
	atomic_or(hints, &notify->hints);
	irq_work_queue(&notify->interrupt);
}

/**
 * semshare_ring_notify - a ring moved on otherwise than by its own calls
 * @ring: a handle
 * @events: SEMSHARE_EVENT_DATA: there may be a record, SEMSHARE_EVENT_SPACE: there
 *	may be space
 *
 * For a driver whose device writes records, or takes them: its interrupt handler
 * calls this once that can be seen.  Rings only where somebody has said that he
 * waits, at a descriptor, on a semaphore or by semshare_ring_arm(), and once for
 * that; else it is a barrier and a few loads.
 *
 * Context: any, hard interrupts and NMI included.
 */
void semshare_ring_notify(struct semshare_ring *ring, u32 events)
{
	semshare_notify(ring->area, events & (SEMSHARE_EVENT_DATA | SEMSHARE_EVENT_SPACE));
}
EXPORT_SYMBOL_GPL(semshare_ring_notify);

/**
 * semshare_notify_now - semshare_notify() without the detour
 * @area: an area the caller has a reference to
 * @events: SEMSHARE_NOTIFY_*
 *
 * Context: process context, sleeps.
 */
void semshare_notify_now(struct semshare_area *area, unsigned int events)
{
	/* (B) of the diagram above. */
	smp_mb();
	notify_hint(area, notify_take_needs(area, events));
	if (notify_take_waits(area, events)) {
		notify_deliver(&area->notify, events);
		notify_tell(&area->notify, events);
	}
}

/**
 * semshare_notify_pollers - semshare_notify() of one who gives the hints himself
 * @area: an area the caller has a reference to
 * @events: SEMSHARE_NOTIFY_*
 *
 * For the ring with a lock, whose hints go with the mutex.
 *
 * Context: process context.
 */
void semshare_notify_pollers(struct semshare_area *area, unsigned int events)
{
	/* (B) of the diagram above. */
	smp_mb();
	if (notify_take_waits(area, events)) {
		notify_deliver(&area->notify, events);
		notify_tell(&area->notify, events);
	}
}

/**
 * semshare_notify_heard - an eventfd of a user's rings for an area
 * @area: the area
 * @events: SEMSHARE_NOTIFY_*
 *
 * For those who poll and those who listen, whether they wait or not; not for
 * eventfds, which could be the one that rings.
 *
 * Context: process context.
 */
void semshare_notify_heard(struct semshare_area *area, unsigned int events)
{
	atomic64_inc(&area->notify.count);
	atomic_andnot(events, &area->notify.armed);
	notify_wake(&area->notify, events);
	notify_tell(&area->notify, events);
}

/**
 * semshare_notify_all - ring for all who wait for something in an area
 * @area: an area the caller has a reference to
 * @events: SEMSHARE_NOTIFY_*
 *
 * Whether they have said that they wait or not.
 *
 * Context: process context.
 */
void semshare_notify_all(struct semshare_area *area, unsigned int events)
{
	atomic64_inc(&area->notify.count);
	atomic_andnot(events, &area->notify.armed);
	notify_deliver(&area->notify, events);
	notify_tell(&area->notify, events);
}

/**
 * semshare_area_notify - ring for all who wait for something in an area
 * @area: an area the caller has a reference to
 * @events: SEMSHARE_EVENT_*
 *
 * Wakes who polls its descriptor, signals its eventfds, and calls its listeners,
 * whether they have said that they wait or not.  A ring's own functions ring where
 * it is needed; this is for what else an area holds.
 *
 * Context: any, NMI included.
 */
void semshare_area_notify(struct semshare_area *area, unsigned int events)
{
	struct semshare_notify *notify = &area->notify;

	atomic64_inc(&notify->count);
	atomic_andnot(events, &notify->armed);
	atomic_or(events, &notify->events);
	irq_work_queue(&notify->interrupt);
}
EXPORT_SYMBOL_GPL(semshare_area_notify);

/**
 * semshare_notify_later - have the listeners called in a tick
 * @area: an area the caller has a reference to
 * @events: SEMSHARE_NOTIFY_*
 *
 * For what nobody rings for, and what need not be true.
 *
 * Context: any, NMI included.
 */
void semshare_notify_later(struct semshare_area *area, unsigned int events)
{
	atomic_or(events, &area->notify.later);
	irq_work_queue(&area->notify.interrupt);
}

/**
 * semshare_notify_arm - somebody will wait for one of these events
 * @area: the area
 * @events: SEMSHARE_NOTIFY_*
 *
 * To be followed by a look for something to do, and then by the wait.
 */
void semshare_notify_arm(struct semshare_area *area, unsigned int events)
{
	struct semshare_ring_control *control = area->data;

	atomic_or(events, &area->notify.armed);
	/* As in notify_take_needs(). */
	if (smp_load_acquire(&area->ring.common)) {
		if (events & SEMSHARE_NOTIFY_DATA)
			semshare_store(&control->bell_data, 1);
		if (events & SEMSHARE_NOTIFY_SPACE)
			semshare_store(&control->bell_space, 1);
	}
	/* (A) of the diagram above. */
	smp_mb();
}

/*
 * What a ring is ready for, as it can be seen from outside.
 *
 * Where each producer has a lane, current's own counts, which the semaphore of its
 * role tells; of current's several, each.  Who has none finds space where it is in all
 * lanes: the promise is kept whichever it will be.
 */
static u32 notify_look(struct semshare_area *area, const struct semshare_ring_port *port,
		       int semid, bool puts)
{
	u32 ready = semshare_ring_ready(port, SEMSHARE_RING_ANY_LANE);
	u32 lane, space = SEMSHARE_EVENT_SPACE;
	bool has_lane = false;

	if (!puts || ready & SEMSHARE_EVENT_SPACE || port->producers < 2 || semid < 0)
		return ready;
	for (lane = 0; lane < port->producers; lane++) {
		if (semshare_ring_lockless_is_mine(area->ns, semid, lane)) {
			has_lane = true;
			space &= semshare_ring_ready(port, lane);
		}
	}
	return has_lane ? ready | space : ready;
}

/* The same, for poll(). */
static __poll_t notify_mask(u32 ready)
{
	__poll_t mask = 0;

	if (ready & SEMSHARE_EVENT_DATA)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (ready & SEMSHARE_EVENT_SPACE)
		mask |= EPOLLOUT | EPOLLWRNORM;
	/* No call waits, each answers that it is broken: so it is ready. */
	if (ready & SEMSHARE_EVENT_BROKEN)
		mask |= EPOLLERR | EPOLLIN | EPOLLOUT;
	return mask;
}

/**
 * semshare_notify_poll - poll() of a handle
 * @area: its area
 * @file: its file
 * @wait: see poll_wait()
 * @seen: how often it has been told that somebody rang
 *
 * Of an area with a ring: EPOLLIN: there is a record; EPOLLOUT: there is space for
 * one of any length, half the ring is free, or of current's lane, if it has one;
 * EPOLLERR: the ring is broken, or its words make no sense, and so it is "ready";
 * EPOLLHUP: its set is gone.  Of another: EPOLLIN: somebody rang.
 *
 * All of this is read in words that users write, so it is a hint.  Who is told of a
 * record, or of space, that is not there has one of those users to thank; and the
 * answer is made in bounded time from what was read once.
 *
 * Each call arms, also one that finds something: who asks for edges (EPOLLET) does
 * not poll again before it waits.
 *
 * Context: process context, sleeps.
 * Return: EPOLL*.
 */
__poll_t semshare_notify_poll(struct semshare_area *area, struct file *file,
			      struct poll_table_struct *wait, u64 seen)
{
	const struct semshare_ring_port *port = semshare_ring_of(area);
	struct semshare_notify *notify = &area->notify;
	__poll_t asked = poll_requested_events(wait);
	__poll_t mask;
	int semid;

	poll_wait(file, &notify->queue, wait);
	semshare_notify_arm(area, (asked & EPOLLIN ? SEMSHARE_NOTIFY_DATA : 0) |
				  (asked & EPOLLOUT ? SEMSHARE_NOTIFY_SPACE : 0));
	semid = notify_set(area);
	if (port)
		mask = notify_mask(notify_look(area, port, semid, asked & EPOLLOUT));
	else
		mask = atomic64_read(&notify->count) != seen ? EPOLLIN | EPOLLRDNORM : 0;
	if (READ_ONCE(area->ring.broken))
		mask |= EPOLLERR | EPOLLIN | EPOLLOUT;
	/* No sleeper is ever woken again. */
	if (semid == -EIDRM)
		mask |= EPOLLHUP;
	return mask;
}

/**
 * semshare_notify_init - prepare the doorbell of a new area
 * @area: the area
 */
void semshare_notify_init(struct semshare_area *area)
{
	struct semshare_notify *notify = &area->notify;

	init_waitqueue_head(&notify->queue);
	spin_lock_init(&notify->eventfds_lock);
	INIT_LIST_HEAD(&notify->eventfds);
	mutex_init(&notify->listeners_lock);
	INIT_LIST_HEAD(&notify->listeners);
	init_irq_work(&notify->interrupt, notify_interrupt);
	INIT_WORK(&notify->work, notify_work);
	INIT_DELAYED_WORK(&notify->tick, notify_tick);
}

/**
 * semshare_notify_drain - wait until nothing of the doorbell is under way
 * @area: an area without references: nobody can ring any more
 *
 * This, and not a reference of their own, is what keeps the area from the
 * irq_work and the work: a reference could not be given back in an interrupt.
 *
 * Context: process context, sleeps.
 */
void semshare_notify_drain(struct semshare_area *area)
{
	/* In this order: the first queues the others. */
	irq_work_sync(&area->notify.interrupt);
	cancel_work_sync(&area->notify.work);
	cancel_delayed_work_sync(&area->notify.tick);
}
