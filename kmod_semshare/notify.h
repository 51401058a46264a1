/* SPDX-License-Identifier: GPL-2.0 */
/* notify.c: the doorbell of an area. */
#ifndef SEMSHARE_NOTIFY_H
#define SEMSHARE_NOTIFY_H

#include <linux/atomic.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <semshare/abi.h>

/* What may have happened; whoever is told looks for himself. */
#define SEMSHARE_NOTIFY_DATA	SEMSHARE_EVENT_DATA
#define SEMSHARE_NOTIFY_SPACE	SEMSHARE_EVENT_SPACE
#define SEMSHARE_NOTIFY_BROKEN	SEMSHARE_EVENT_BROKEN

struct semshare_area;

/**
 * struct semshare_notify - the doorbell of an area
 * @queue: who polls; in interrupts its lock is taken, in NMI it is not
 * @armed: SEMSHARE_NOTIFY_* for which somebody in @queue waits
 * @count: times somebody rang for no ring's sake
 * @events: SEMSHARE_NOTIFY_* not passed on to @queue yet
 * @hints: SEMSHARE_HINT_* not given yet
 * @heard: SEMSHARE_NOTIFY_* not passed on to @listeners yet
 * @later: SEMSHARE_NOTIFY_* for which @listeners are to be called in a tick
 * @eventfds_lock: guards @eventfds and @nr_eventfds
 * @eventfds: those to signal, see eventfd.c
 * @nr_eventfds: how many
 * @listeners_lock: guards @listeners
 * @listeners: kernel code to call
 * @interrupt: passes on what was rung where @queue must not be touched
 * @work: gives the hints, and calls the listeners, for which one must be able to
 *	sleep
 * @tick: passes @later on
 */
struct semshare_notify {
	struct wait_queue_head queue;
	atomic_t armed;
	atomic64_t count;
	atomic_t events;
	atomic_t hints;
	atomic_t heard;
	atomic_t later;
	spinlock_t eventfds_lock;	/* @eventfds; in interrupts as well */
	struct list_head eventfds;
	unsigned int nr_eventfds;
	struct mutex listeners_lock;	/* @listeners */
	struct list_head listeners;
	struct irq_work interrupt;
	struct work_struct work;
	struct delayed_work tick;
};

void semshare_notify_init(struct semshare_area *area);
void semshare_notify_drain(struct semshare_area *area);
void semshare_notify(struct semshare_area *area, unsigned int events);
void semshare_notify_now(struct semshare_area *area, unsigned int events);
void semshare_notify_pollers(struct semshare_area *area, unsigned int events);
void semshare_notify_all(struct semshare_area *area, unsigned int events);
void semshare_notify_arm(struct semshare_area *area, unsigned int events);
void semshare_notify_later(struct semshare_area *area, unsigned int events);
void semshare_notify_heard(struct semshare_area *area, unsigned int events);
__poll_t semshare_notify_poll(struct semshare_area *area, struct file *file,
			      struct poll_table_struct *wait, u64 seen);

#endif /* SEMSHARE_NOTIFY_H */
