// SPDX-License-Identifier: GPL-2.0
/*
 * Channels, for kernel code that asks, or answers: semshare/core/channel.h between
 * taking and giving the lock.
 *
 * An open channel has two kernel threads.  The sender puts what its client has
 * queued (commands, or replies) and sees to deadlines and cancels; the receiver
 * takes what the other side sent (replies, or commands).  Only they take the
 * lock, so only they can be kept waiting by a user who holds it, and the client may
 * ask and answer from where nobody may sleep.
 *
 *	client, any context	sender			receiver
 *	-------------------	------			--------
 *	place from @free
 *	copy into it
 *	@out, irq_work -------> put, under the lock
 *				place is SENT
 *							reply, under the lock
 *							place by its id
 *				done(): too late, or	done(): the reply, or
 *				cancelled		who answers is dead
 *
 * A place is where a command is, with its id, deadline and bytes, from when the
 * client has it until nothing can come of it any more: see "Space" in
 * semshare/core/channel.h.  Places are kernel memory.  Users can write every word of
 * the area; what is read there is copied first, and believed in nothing: an id that
 * is not that of a place that waits is counted and dropped, positions are compared
 * with those in the places and lead nowhere else.
 *
 * @lock guards the states of the places and the lists.  It is a raw spinlock, taken
 * from any context but NMI and held for no loop but over CHANNEL_AT_ONCE places; the
 * SysV lock, which sleeps, is taken outside of it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/instruction_pointer.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/nospec.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timerqueue.h>
#include <linux/wait.h>
#include <semshare/core/bell.h>
#include <semshare/core/channel.h>
#include <semshare/kapi.h>

#include "area.h"
#include "lock.h"
#include "notify.h"

#define CHANNEL_BATCH		64	/* messages under one lock */
#define CHANNEL_AT_ONCE		64	/* places looked at with interrupts off */
#define CHANNEL_SLICE_NS	(SEMSHARE_RING_RECHECK_MS * (u64)NSEC_PER_MSEC)
#define CHANNEL_RETRY		max(HZ / 100, 1)
#define CHANNEL_LOOK		(HZ / 10 + 1)	/* for a kthread_stop() */
#define CHANNEL_REPLY_NS	NSEC_PER_SEC	/* for a reply to find space */
#define CHANNEL_FRUITLESS	64

enum channel_state {
	PLACE_FREE,
	PLACE_FILLING,	/* somebody copies into it; on no list */
	PLACE_QUEUED,	/* on @out */
	PLACE_SENT,	/* asking: its reply is waited for */
	PLACE_LATE,	/* asking: its client was told the end, its reply may come yet */
	PLACE_DONE,	/* asking: its end is known, and being told */
	PLACE_TAKEN,	/* answering: its client has it */
};

/**
 * struct channel_place - a command, and its reply
 * @command: what a client that answers sees of it
 * @state: enum channel_state
 * @link: on @free, @out, @ended or @late of the channel, or on none
 * @timer: its deadline, among the channel's @timers while it is waited for
 * @id: generation and index, of who asks
 * @namesake: answering: the place of the command that came last with an id of this
 *	place's index
 * @position: in the queue of commands, once sent
 * @withdrawn: nobody will take it
 * @notify: it was cancelled: who has taken it is to be told
 * @status: how it ended, or the reply's
 * @size: bytes at @data
 * @since_ns: answering: since when the reply waits for space
 * @done: asking: whom to tell
 * @context: for @done
 * @data: the payload; max_payload bytes
 */
struct channel_place {
	struct semshare_channel_command command;
	enum channel_state state;
	struct list_head link;
	struct timerqueue_node timer;
	u64 id;
	struct channel_place *namesake;
	u64 position;
	bool withdrawn;
	bool notify;
	int status;
	u32 size;
	u64 since_ns;
	semshare_channel_done_t done;
	void *context;
	unsigned char *data;
};

/* One of the two threads, with a handle of the lock of its own. */
struct channel_worker {
	struct task_struct *task;
	struct semshare_lock lock;
	unsigned int fruitless;
	bool slept;
};

/**
 * struct semshare_channel - an open channel
 * @area: the area, with a reference
 * @view: geometry of its own
 * @asks: it asks; else it answers
 * @broken: enum semshare_ring_state, sticky: nothing in the area is touched any more, but
 *	for the counters of who asks
 * @lock: guards what follows, and the places
 * @error: why nothing can be asked or answered any more, 0: it can
 * @places: view.depth of them
 * @free: PLACE_FREE
 * @out: PLACE_QUEUED, oldest first
 * @ended: asking: cancelled, to be told
 * @late: asking: PLACE_LATE, to be withdrawn
 * @timers: deadlines of what is waited for
 * @generation: of the next id
 * @starved: somebody found no free place
 * @counts: see struct semshare_channel_statistics
 * @space: who waits for a free place
 * @kick: wakes the sender from any context
 * @sender: see above
 * @receiver: see above
 * @session: asking, the receiver's: the last that it saw
 * @buffer: the receiver's: max_payload bytes
 * @data: what the places' @data points into
 * @operations: answering: what the client knows
 * @nr_operations: how many
 * @context: for them
 */
struct semshare_channel {
	struct semshare_area *area;
	struct semshare_channel_view view;
	bool asks;
	u32 broken;

	raw_spinlock_t lock;	/* see above */
	int error;
	struct channel_place *places;
	struct list_head free;
	struct list_head out;
	struct list_head ended;
	struct list_head late;
	struct timerqueue_head timers;
	u32 generation;
	bool starved;
	struct semshare_channel_statistics counts;

	wait_queue_head_t space;
	struct irq_work kick;
	struct channel_worker sender;
	struct channel_worker receiver;
	u64 session;
	void *buffer;
	void *data;
	const struct semshare_channel_operation *operations;
	unsigned int nr_operations;
	void *context;
};

static unsigned int channel_role(const struct semshare_channel *channel)
{
	return channel->asks ? SEMSHARE_CHANNEL_SEM_ASKS : SEMSHARE_CHANNEL_SEM_ANSWERS;
}

static enum semshare_channel_queue queue_out(const struct semshare_channel *channel)
{
	return channel->asks ? SEMSHARE_CHANNEL_COMMANDS : SEMSHARE_CHANNEL_REPLIES;
}

static enum semshare_channel_queue queue_in(const struct semshare_channel *channel)
{
	return channel->asks ? SEMSHARE_CHANNEL_REPLIES : SEMSHARE_CHANNEL_COMMANDS;
}

/* The semaphore of a queue's hint. */
static unsigned int hint_of(enum semshare_channel_queue queue)
{
	return queue == SEMSHARE_CHANNEL_COMMANDS ? SEMSHARE_CHANNEL_SEM_COMMANDS :
						    SEMSHARE_CHANNEL_SEM_REPLIES;
}

static_assert(BIT(SEMSHARE_CHANNEL_SEM_COMMANDS) == SEMSHARE_HINT_DATA);
static_assert(BIT(SEMSHARE_CHANNEL_SEM_REPLIES) == SEMSHARE_HINT_SPACE);
/* Free at first: semshare_area_make_set() takes them for roles. */
static_assert(BIT(SEMSHARE_CHANNEL_SEM_ANSWERS) >= BIT(SEMSHARE_SEM_PRODUCER));
static_assert(BIT(SEMSHARE_CHANNEL_SEM_ASKS) >= BIT(SEMSHARE_SEM_PRODUCER));

/* ------------------------------------------------------------------- places */

static void kick_sender(struct irq_work *work)
{
	struct semshare_channel *channel = container_of(work, struct semshare_channel, kick);

	wake_up_process(channel->sender.task);
}

/* Some more places are taken, or less.  For semshare_channel_statistics(), and for lookers. */
static void count_outstanding(struct semshare_channel *channel, int more)
{
	lockdep_assert_held(&channel->lock);
	channel->counts.outstanding += more;
	if (channel->asks)
		semshare_store(&channel->view.control->outstanding, channel->counts.outstanding);
}

static void place_start_timer(struct semshare_channel *channel, struct channel_place *place)
{
	lockdep_assert_held(&channel->lock);
	if (place->timer.expires != KTIME_MAX)
		timerqueue_add(&channel->timers, &place->timer);
}

static void place_stop_timer(struct semshare_channel *channel, struct channel_place *place)
{
	lockdep_assert_held(&channel->lock);
	if (!RB_EMPTY_NODE(&place->timer.node))
		timerqueue_del(&channel->timers, &place->timer);
}

static struct channel_place *place_take(struct semshare_channel *channel)
{
	struct channel_place *place;

	lockdep_assert_held(&channel->lock);
	place = list_first_entry_or_null(&channel->free, struct channel_place, link);
	if (!place) {
		WRITE_ONCE(channel->starved, true);
		return NULL;
	}
	list_del_init(&place->link);
	count_outstanding(channel, 1);
	place->state = PLACE_FILLING;
	place->withdrawn = false;
	place->notify = false;
	place->status = 0;
	return place;
}

static void place_free(struct semshare_channel *channel, struct channel_place *place)
{
	lockdep_assert_held(&channel->lock);
	place_stop_timer(channel, place);
	list_del_init(&place->link);
	if (!place->withdrawn)
		count_outstanding(channel, -1);
	place->state = PLACE_FREE;
	/* Last in, last out: an id comes round as late as it can. */
	list_add_tail(&place->link, &channel->free);
}

/* The place that waits under this id, or NULL. */
static struct channel_place *place_of(struct semshare_channel *channel, u64 id)
{
	u32 index = lower_32_bits(id);
	struct channel_place *place;

	lockdep_assert_held(&channel->lock);
	if (index >= channel->view.depth)
		return NULL;
	place = &channel->places[array_index_nospec(index, channel->view.depth)];
	return place->state != PLACE_FREE && place->id == id ? place : NULL;
}

/*
 * The place among all whose index is that of an id; of commands that are asked by
 * somebody else only a place to remember them by.
 */
static struct channel_place *place_at(struct semshare_channel *channel, u64 id)
{
	u32 index = lower_32_bits(id) % channel->view.depth;

	return &channel->places[array_index_nospec(index, channel->view.depth)];
}

/* In a loop over all places, before the @i-th: let others have the lock now and then. */
static void let_others(struct semshare_channel *channel, u32 i)
{
	lockdep_assert_held(&channel->lock);
	if (!i || i % CHANNEL_AT_ONCE)
		return;
	raw_spin_unlock_irq(&channel->lock);
	cond_resched();
	raw_spin_lock_irq(&channel->lock);
}

static void count_end(struct semshare_channel *channel, int status)
{
	struct semshare_channel_control *control = channel->view.control;

	lockdep_assert_held(&channel->lock);
	switch (status) {
	case -ETIMEDOUT:
		channel->counts.timeouts++;
		semshare_channel_count(&control->timeouts, 1);
		break;
	case -ECANCELED:
		channel->counts.cancels++;
		semshare_channel_count(&control->cancels, 1);
		break;
	case -ECONNRESET:
		channel->counts.deaths++;
		semshare_channel_count(&control->deaths, 1);
		break;
	}
}

/* The end of a command is known: it is to be told, by tell(), and its place to be freed. */
static void place_end(struct semshare_channel *channel, struct channel_place *place, int status,
		      struct list_head *told)
{
	lockdep_assert_held(&channel->lock);
	place_stop_timer(channel, place);
	place->status = status;
	place->size = 0;
	place->state = PLACE_DONE;
	list_move_tail(&place->link, told);
	count_end(channel, status);
}

static void tell(struct semshare_channel *channel, struct list_head *told)
{
	while (!list_empty(told)) {
		struct channel_place *place =
			list_first_entry(told, struct channel_place, link);

		list_del_init(&place->link);
		place->done(place->context, place->command.cookie, place->status, place->data,
			    place->size);
		raw_spin_lock_irq(&channel->lock);
		place_free(channel, place);
		raw_spin_unlock_irq(&channel->lock);
		wake_up(&channel->space);
		cond_resched();
	}
}

/* --------------------------------------------------------------- under the lock */

static void channel_stop(struct semshare_channel *channel, int error)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&channel->lock, flags);
	if (!channel->error)
		WRITE_ONCE(channel->error, error);
	raw_spin_unlock_irqrestore(&channel->lock, flags);
	irq_work_queue(&channel->kick);
	wake_up_all(&channel->space);
}

static void channel_break(struct semshare_channel *channel, u32 why)
{
	semshare_channel_tell_broken(channel->view.control, why);
	if (cmpxchg(&channel->broken, SEMSHARE_RING_OK, why) != SEMSHARE_RING_OK)
		return;
	pr_warn_ratelimited("area %s: its channel is broken, %s: make a new one\n",
			    channel->area->name, semshare_ring_state_text(why));
	channel_stop(channel, -EPROTO);
	semshare_notify_all(channel->area, SEMSHARE_NOTIFY_BROKEN);
}

static int channel_leave(struct semshare_channel *channel, struct channel_worker *worker,
			 unsigned int hints)
{
	int err;

	if (semshare_lock_leave(&channel->view.control->lock, worker->lock.epoch))
		channel_break(channel, SEMSHARE_RING_TWO_OWNERS);
	if (READ_ONCE(channel->broken))
		hints = SEMSHARE_HINT_DATA | SEMSHARE_HINT_SPACE;
	err = semshare_lock_post(&worker->lock, hints);
	if (err == -ERANGE)
		channel_break(channel, SEMSHARE_RING_BAD_MUTEX);
	else if (err == -EIDRM)
		channel_stop(channel, err);
	return READ_ONCE(channel->broken) ? -EPROTO : err;
}

/* 0, -ETIMEDOUT, or what is the end of this channel: it is stopped then. */
static int channel_enter(struct semshare_channel *channel, struct channel_worker *worker,
			 ktime_t deadline)
{
	bool died;
	int err;

	if (READ_ONCE(channel->broken))
		return -EPROTO;
	err = semshare_lock_take(&worker->lock, deadline, &died);
	if (err == -EAGAIN || err == -EINTR)
		err = -ETIMEDOUT;
	if (err) {
		if (err != -ETIMEDOUT)
			channel_stop(channel, err);
		return err;
	}
	if (died && semshare_channel_repair(&channel->view))
		channel_break(channel, SEMSHARE_RING_BAD_REPAIR);
	if (semshare_load(&channel->view.control->state) != SEMSHARE_RING_OK)
		channel_break(channel, SEMSHARE_RING_BROKEN);
	return READ_ONCE(channel->broken) ? channel_leave(channel, worker, 0) : 0;
}

/* The hint for who reads the queue, if it asked for one. */
static unsigned int hint_for(struct semshare_channel *channel, enum semshare_channel_queue queue)
{
	u32 *need = &channel->view.queue[queue].control->need_data;

	if (!semshare_load(need))
		return 0;
	semshare_store(need, 0);
	return BIT(hint_of(queue));
}

/* For who waits for the queue's messages at a descriptor, of which there are some more now. */
static void ring_for(struct semshare_channel *channel, enum semshare_channel_queue queue)
{
	/* C before D of semshare/core/bell.h. */
	smp_mb();
	if (semshare_bell_take(semshare_bell(channel->view.queue[queue].control, 0)))
		semshare_notify_all(channel->area, queue == SEMSHARE_CHANNEL_COMMANDS ?
				    SEMSHARE_NOTIFY_DATA : SEMSHARE_NOTIFY_SPACE);
}

/* ------------------------------------------------------------------- sender */

/* Put one place's message.  0, -EAGAIN (no space), -EPROTO. */
static int put_place(struct semshare_channel *channel, struct channel_place *place)
{
	struct semshare_channel_message message = {
		.id = place->id,
		.cookie = place->command.cookie,
		.opcode = place->command.opcode,
	};
	enum semshare_channel_kind kind;
	u64 position;
	int err;

	if (channel->asks) {
		kind = SEMSHARE_CHANNEL_COMMAND;
		message.deadline_ns = place->command.deadline_ns;
	} else {
		kind = SEMSHARE_CHANNEL_REPLY;
		message.status = place->status;
	}
	err = semshare_channel_put(&channel->view, queue_out(channel), kind, &message,
				   place->data, place->size, ktime_get_mono_fast_ns(), &position);
	if (err)
		return err;
	raw_spin_lock_irq(&channel->lock);
	if (channel->asks) {
		place->state = PLACE_SENT;
		place->position = position;
		/* Cancelled meanwhile, it is on @ended already. */
	} else {
		place_free(channel, place);
		channel->counts.replies++;
	}
	raw_spin_unlock_irq(&channel->lock);
	return 0;
}

/* What is queued.  The list is the sender's: others only add to its end, or cancel. */
static int put_queued(struct semshare_channel *channel, unsigned int *put)
{
	struct channel_place *place;
	int err = 0;

	while (*put < CHANNEL_BATCH && !err) {
		raw_spin_lock_irq(&channel->lock);
		place = list_first_entry_or_null(&channel->out, struct channel_place, link);
		if (place)
			list_del_init(&place->link);
		raw_spin_unlock_irq(&channel->lock);
		if (!place)
			break;
		err = put_place(channel, place);
		if (!err) {
			++*put;
			continue;
		}
		raw_spin_lock_irq(&channel->lock);
		/* A cancel that came just now has put it on @ended. */
		if (list_empty(&place->link))
			list_add(&place->link, &channel->out);
		raw_spin_unlock_irq(&channel->lock);
	}
	return err;
}

/* Take back what nobody waits for; who has taken such a command is told if it was cancelled. */
static int withdraw_late(struct semshare_channel *channel, unsigned int *notices)
{
	unsigned int n;

	for (n = 0; n < CHANNEL_BATCH; n++) {
		struct semshare_channel_message message = {};
		struct channel_place *place;
		u64 position = 0;
		bool notify = false;
		int result;

		raw_spin_lock_irq(&channel->lock);
		place = list_first_entry_or_null(&channel->late, struct channel_place, link);
		if (place) {
			/* Copies: the receiver may free the place. */
			list_del_init(&place->link);
			message.id = place->id;
			message.cookie = place->command.cookie;
			message.opcode = place->command.opcode;
			position = place->position;
			notify = place->notify;
		}
		raw_spin_unlock_irq(&channel->lock);
		if (!place)
			break;
		result = semshare_channel_retract(&channel->view, position, message.id);
		if (result < 0)
			return result;
		if (result) {
			raw_spin_lock_irq(&channel->lock);
			if (place->state == PLACE_LATE && place->id == message.id) {
				place->withdrawn = true;
				count_outstanding(channel, -1);
			}
			raw_spin_unlock_irq(&channel->lock);
		} else if (notify) {
			/* A notice without space is of no consequence. */
			if (!semshare_channel_put(&channel->view, SEMSHARE_CHANNEL_COMMANDS,
						  SEMSHARE_CHANNEL_CANCEL, &message, NULL, 0,
						  ktime_get_mono_fast_ns(), &position))
				++*notices;
		}
	}
	return 0;
}

/* Free the places of commands that were withdrawn and passed over, if places are short. */
static int reclaim(struct semshare_channel *channel)
{
	struct semshare_channel_sight sight;
	bool found = false;
	u32 i;

	if (!READ_ONCE(channel->starved))
		return 0;
	WRITE_ONCE(channel->starved, false);
	if (semshare_channel_purge(&channel->view))
		return -EPROTO;
	semshare_channel_look(&channel->view, &sight);
	raw_spin_lock_irq(&channel->lock);
	for (i = 0; i < channel->view.depth; i++) {
		struct channel_place *place = &channel->places[i];

		let_others(channel, i);
		if (place->state == PLACE_LATE && place->withdrawn &&
		    place->position < sight.head) {
			place_free(channel, place);
			found = true;
		}
	}
	raw_spin_unlock_irq(&channel->lock);
	if (found)
		wake_up_all(&channel->space);
	return 0;
}

/* One turn under the lock.  0, -EAGAIN (there is something that found no space). */
static int send(struct semshare_channel *channel, ktime_t deadline)
{
	unsigned int put = 0;
	int err = channel_enter(channel, &channel->sender, deadline);
	int left;

	if (err)
		return err == -ETIMEDOUT ? 0 : err;
	if (channel->asks) {
		err = withdraw_late(channel, &put);
		if (!err)
			err = reclaim(channel);
	}
	if (!err)
		err = put_queued(channel, &put);
	if (err == -EPROTO)
		channel_break(channel, SEMSHARE_RING_BAD_CURSORS);
	left = channel_leave(channel, &channel->sender,
			     put ? hint_for(channel, queue_out(channel)) : 0);
	if (put)
		ring_for(channel, queue_out(channel));
	if (put && !channel->asks)
		wake_up_all(&channel->space);
	return left ? left : err;
}

/*
 * Tell the end of one command whose deadline is over, or that was cancelled; false if
 * there is none.  One that was sent keeps its place, as its reply may come yet: while its
 * client is told, even, so that the end is told from a copy.
 */
static bool settle(struct semshare_channel *channel)
{
	struct channel_place *place = NULL;
	struct timerqueue_node *timer;
	semshare_channel_done_t done;
	ktime_t now = ktime_get();
	int status = -ECANCELED;
	void *context;
	u64 cookie;

	raw_spin_lock_irq(&channel->lock);
	timer = timerqueue_getnext(&channel->timers);
	if (timer && timer->expires <= now) {
		place = container_of(timer, struct channel_place, timer);
		status = -ETIMEDOUT;
	} else {
		place = list_first_entry_or_null(&channel->ended, struct channel_place, link);
	}
	if (!place) {
		raw_spin_unlock_irq(&channel->lock);
		return false;
	}
	done = place->done;
	context = place->context;
	cookie = place->command.cookie;
	count_end(channel, status);
	if (place->state == PLACE_SENT) {
		place_stop_timer(channel, place);
		place->state = PLACE_LATE;
		list_move_tail(&place->link, &channel->late);
	} else {
		place_free(channel, place);
	}
	raw_spin_unlock_irq(&channel->lock);
	done(context, cookie, status, NULL, 0);
	return true;
}

/* Replies that have waited for space too long. */
static void drop_stuck(struct semshare_channel *channel)
{
	u64 now = ktime_get_ns();
	bool dropped = false;

	raw_spin_lock_irq(&channel->lock);
	while (!list_empty(&channel->out)) {
		struct channel_place *place =
			list_first_entry(&channel->out, struct channel_place, link);

		if (now - place->since_ns < CHANNEL_REPLY_NS)
			break;
		place_free(channel, place);
		channel->counts.dropped++;
		dropped = true;
	}
	raw_spin_unlock_irq(&channel->lock);
	if (dropped)
		wake_up_all(&channel->space);
}

/* The end of everything: whoever waits is told why. */
static void fail_all(struct semshare_channel *channel, int error)
{
	LIST_HEAD(told);
	u32 i;

	raw_spin_lock_irq(&channel->lock);
	for (i = 0; i < channel->view.depth; i++) {
		struct channel_place *place = &channel->places[i];

		let_others(channel, i);
		if (channel->asks && (place->state == PLACE_QUEUED || place->state == PLACE_SENT))
			place_end(channel, place, error, &told);
		else if (place->state == PLACE_LATE ||
			 (!channel->asks && place->state == PLACE_QUEUED))
			place_free(channel, place);
	}
	raw_spin_unlock_irq(&channel->lock);
	tell(channel, &told);
}

/* Is there something to put or to withdraw, or to tell (by @next)? */
static bool has_work(struct semshare_channel *channel, ktime_t *next)
{
	struct timerqueue_node *timer;
	bool work;

	raw_spin_lock_irq(&channel->lock);
	timer = timerqueue_getnext(&channel->timers);
	*next = timer ? timer->expires : KTIME_MAX;
	work = !list_empty(&channel->out) || !list_empty(&channel->late) ||
	       !list_empty(&channel->ended) || channel->error ||
	       (channel->asks && channel->starved);
	raw_spin_unlock_irq(&channel->lock);
	return work || *next <= ktime_get();
}

static int sender_thread(void *data)
{
	struct semshare_channel *channel = data;
	ktime_t next;
	int err;

	for (;;) {
		/* Before the look: a kick between look and sleep ends the sleep. */
		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		if (!has_work(channel, &next)) {
			if (next == KTIME_MAX)
				schedule();
			else
				schedule_hrtimeout(&next, HRTIMER_MODE_ABS);
			continue;
		}
		__set_current_state(TASK_RUNNING);
		err = READ_ONCE(channel->error);
		if (err) {
			fail_all(channel, err);
			set_current_state(TASK_IDLE);
			/* What is asked from now on is refused; but some may be on their way in. */
			if (!kthread_should_stop())
				schedule_timeout(HZ);
			__set_current_state(TASK_RUNNING);
			continue;
		}
		while (settle(channel))
			cond_resched();
		next = ktime_add_ns(ktime_get(), CHANNEL_SLICE_NS);
		raw_spin_lock_irq(&channel->lock);
		if (timerqueue_getnext(&channel->timers))
			next = min(next, timerqueue_getnext(&channel->timers)->expires);
		raw_spin_unlock_irq(&channel->lock);
		if (send(channel, next) == -EAGAIN) {
			if (!channel->asks)
				drop_stuck(channel);
			schedule_timeout_idle(CHANNEL_RETRY);
		}
		cond_resched();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* ----------------------------------------------------------------- receiver */

static void count_malformed(struct semshare_channel *channel)
{
	raw_spin_lock_irq(&channel->lock);
	channel->counts.malformed++;
	raw_spin_unlock_irq(&channel->lock);
}

/* A reply, in @buffer: to the place that waits for it. */
static bool match(struct semshare_channel *channel, const struct semshare_record *record,
		  const struct semshare_channel_message *message, u32 size,
		  struct list_head *told)
{
	struct channel_place *place;
	bool found = false;
	int status = message->status;

	if (record->type != SEMSHARE_CHANNEL_REPLY)
		return false;
	if (status > 0 || status < -MAX_ERRNO)
		status = -EPROTO;
	raw_spin_lock_irq(&channel->lock);
	place = place_of(channel, message->id);
	if (place && place->state == PLACE_SENT) {
		/* On no list but @ended, where it may be cancelled too late. */
		list_del_init(&place->link);
		place_end(channel, place, status, told);
		found = true;
	} else if (place && place->state == PLACE_LATE) {
		place_free(channel, place);
		found = true;
		place = NULL;
	} else {
		place = NULL;
		channel->counts.unmatched++;
	}
	raw_spin_unlock_irq(&channel->lock);
	if (place) {
		/* DONE, so nobody else touches it. */
		memcpy(place->data, channel->buffer, size);
		place->size = size;
	}
	return found;
}

/* One turn under the lock.  How many messages there were, or an error. */
static int receive_replies(struct semshare_channel *channel, struct list_head *told,
			   bool sleeps)
{
	struct semshare_channel_control *control = channel->view.control;
	struct semshare_ring_control *queue =
		channel->view.queue[SEMSHARE_CHANNEL_REPLIES].control;
	struct channel_worker *worker = &channel->receiver;
	struct semshare_channel_message message;
	struct semshare_record record;
	unsigned int n;
	u32 size;
	int err;

	err = channel_enter(channel, worker, ktime_add_ns(ktime_get(), CHANNEL_SLICE_NS));
	if (err)
		return err;
	for (n = 0; n < CHANNEL_BATCH; n++) {
		err = semshare_channel_get(&channel->view, SEMSHARE_CHANNEL_REPLIES, &record,
					   &message, channel->buffer, &size);
		if (err == -EBADMSG) {
			count_malformed(channel);
			continue;
		}
		if (err)
			break;
		if (!match(channel, &record, &message, size, told))
			semshare_channel_count(&control->unmatched, 1);
	}
	if (err == -EPROTO)
		channel_break(channel, SEMSHARE_RING_BAD_CURSORS);
	if (sleeps || worker->slept)
		semshare_store(&queue->need_data, 1);
	err = channel_leave(channel, worker, 0);
	return n ? n : err;
}

/* Does somebody answer?  -EIDRM if the set is gone. */
static int is_served(struct semshare_channel *channel)
{
	struct semshare_lock *lock = &channel->receiver.lock;
	union semshare_semun none = {};
	int value = semshare_sem_control(lock->ns, lock->semid, SEMSHARE_CHANNEL_SEM_ANSWERS,
					 GETVAL, none);

	if (value < 0)
		return value == -EINVAL || value == -EIDRM ? -EIDRM : 1;
	return value == 0;
}

/* Commands before @limit that were not answered: who had taken them is gone. */
static void bury(struct semshare_channel *channel, u64 limit)
{
	LIST_HEAD(told);
	u32 i;

	raw_spin_lock_irq(&channel->lock);
	for (i = 0; i < channel->view.depth; i++) {
		struct channel_place *place = &channel->places[i];

		let_others(channel, i);
		if (place->state == PLACE_SENT && place->position < limit) {
			list_del_init(&place->link);
			place_end(channel, place, -ECONNRESET, &told);
		} else if (place->state == PLACE_LATE && place->position < limit) {
			place_free(channel, place);
		}
	}
	raw_spin_unlock_irq(&channel->lock);
	tell(channel, &told);
}

/* Wait for a hint, or until it is time to look again. */
static void receiver_sleep(struct semshare_channel *channel)
{
	struct channel_worker *worker = &channel->receiver;
	ktime_t until = ktime_add_ns(ktime_get(), CHANNEL_SLICE_NS);
	int err;

	/* A semaphore set to 32767 costs a look each, and then a tick of sleep. */
	if (++worker->fruitless > CHANNEL_FRUITLESS) {
		worker->fruitless = 0;
		schedule_timeout_interruptible(1);
		return;
	}
	err = semshare_lock_sleep(&worker->lock, hint_of(queue_in(channel)), until);
	if (!err)
		worker->fruitless = 0;
	else if (err < 0 && err != -EINTR)
		channel_stop(channel, err);
	worker->slept = true;
}

static void ask_turn(struct semshare_channel *channel, bool *sleeps)
{
	struct semshare_channel_sight sight, again;
	LIST_HEAD(told);
	int served;
	int n;

	/* In this order: see "Death of who answers" in semshare/core/channel.h. */
	semshare_channel_look(&channel->view, &sight);
	served = *sleeps ? is_served(channel) : 1;
	semshare_channel_look(&channel->view, &again);
	n = receive_replies(channel, &told, *sleeps);
	if (!list_empty(&told)) {
		raw_spin_lock_irq(&channel->lock);
		channel->counts.replies += n;
		raw_spin_unlock_irq(&channel->lock);
		channel->receiver.fruitless = 0;
	}
	tell(channel, &told);
	if (n > 0) {
		*sleeps = false;
		channel->receiver.slept = false;
		return;
	}
	if (n < 0)
		return;
	if (!*sleeps) {
		/* The flag that asks for a hint is not set yet: the next turn sets it. */
		*sleeps = true;
		return;
	}
	if (served == -EIDRM) {
		channel_stop(channel, served);
		return;
	}
	if (sight.session != channel->session) {
		channel->session = sight.session;
		bury(channel, sight.session_start);
	} else if (!served && again.session == sight.session) {
		bury(channel, sight.head);
	}
	receiver_sleep(channel);
}

/* A reply without the client's help. */
static void refuse(struct semshare_channel *channel, struct channel_place *place, int status)
{
	raw_spin_lock_irq(&channel->lock);
	place->status = status;
	place->size = 0;
	place->state = PLACE_QUEUED;
	place->since_ns = ktime_get_ns();
	list_add_tail(&place->link, &channel->out);
	channel->counts.refused++;
	raw_spin_unlock_irq(&channel->lock);
	irq_work_queue(&channel->kick);
}

static void answer(struct semshare_channel *channel, struct channel_place *place)
{
	const struct semshare_channel_operation *operation = NULL;
	struct semshare_channel_command *command = &place->command;
	unsigned int i;

	for (i = 0; i < channel->nr_operations && !operation; i++)
		if (channel->operations[i].opcode == command->opcode)
			operation = &channel->operations[i];
	if (!operation) {
		refuse(channel, place, -EOPNOTSUPP);
	} else if (command->size < operation->min_size || command->size > operation->max_size) {
		refuse(channel, place, -EBADMSG);
	} else if (command->deadline_ns <= ktime_get_ns()) {
		refuse(channel, place, -ETIMEDOUT);
	} else {
		raw_spin_lock_irq(&channel->lock);
		place->state = PLACE_TAKEN;
		place_at(channel, place->id)->namesake = place;
		raw_spin_unlock_irq(&channel->lock);
		operation->answer(channel, command, channel->context);
	}
}

/*
 * Somebody gave up the command of that id: its client may want to know.  Who asks has
 * an index to itself for as long as a command is outstanding; if two are given the
 * same, it is told of the last.
 */
static void note_cancel(struct semshare_channel *channel, u64 id)
{
	struct channel_place *place;

	raw_spin_lock_irq(&channel->lock);
	place = place_at(channel, id)->namesake;
	if (place && place->state == PLACE_TAKEN && place->id == id)
		WRITE_ONCE(place->command.cancelled, true);
	raw_spin_unlock_irq(&channel->lock);
}

enum received {
	GOT_NOTHING,
	GOT_PAST,	/* what is of no consequence */
	GOT_COMMAND,
	GOT_NONSENSE,
	GOT_CANCEL,
};

/* One turn under the lock, with @place for what comes: enum received, or an error. */
static int receive_command(struct semshare_channel *channel, struct channel_place *place,
			   bool sleeps)
{
	const struct semshare_channel_view *view = &channel->view;
	struct semshare_ring_control *queue = view->queue[SEMSHARE_CHANNEL_COMMANDS].control;
	struct channel_worker *worker = &channel->receiver;
	struct semshare_channel_message message;
	struct semshare_record record;
	unsigned int n;
	u32 size = 0;
	int err;

	err = channel_enter(channel, worker, ktime_add_ns(ktime_get(), CHANNEL_SLICE_NS));
	if (err)
		return err;
	for (n = 0; n < CHANNEL_BATCH; n++) {
		err = semshare_channel_get(view, SEMSHARE_CHANNEL_COMMANDS, &record, &message,
					   place->data, &size);
		if (err == -EBADMSG)
			count_malformed(channel);
		else if (err || record.type != SEMSHARE_CHANNEL_VOID)
			break;
	}
	if (err == -EPROTO)
		channel_break(channel, SEMSHARE_RING_BAD_CURSORS);
	if (sleeps || worker->slept)
		semshare_store(&queue->need_data, 1);
	if (channel_leave(channel, worker, 0) == -EPROTO)
		return -EPROTO;
	if (n == CHANNEL_BATCH)
		return GOT_PAST;
	if (err)
		return err == -EAGAIN ? GOT_NOTHING : err;
	place->id = message.id;
	place->size = size;
	place->command.cookie = message.cookie;
	place->command.opcode = message.opcode;
	place->command.deadline_ns = message.deadline_ns;
	place->command.size = size;
	place->command.data = place->data;
	place->command.cancelled = false;
	switch (record.type) {
	case SEMSHARE_CHANNEL_COMMAND:
		return GOT_COMMAND;
	case SEMSHARE_CHANNEL_CANCEL:
		return GOT_CANCEL;
	default:
		return GOT_NONSENSE;
	}
}

static void answer_turn(struct semshare_channel *channel, bool *sleeps)
{
	struct channel_place *place;
	int got;

	raw_spin_lock_irq(&channel->lock);
	place = place_take(channel);
	raw_spin_unlock_irq(&channel->lock);
	if (!place) {
		/* As many are being answered as can be: who asks has sent more than it may. */
		schedule_timeout_interruptible(CHANNEL_RETRY);
		return;
	}
	got = receive_command(channel, place, *sleeps);
	if (got == GOT_COMMAND) {
		answer(channel, place);
	} else if (got == GOT_NONSENSE) {
		refuse(channel, place, -EBADMSG);
	} else {
		if (got == GOT_CANCEL)
			note_cancel(channel, place->id);
		raw_spin_lock_irq(&channel->lock);
		place_free(channel, place);
		raw_spin_unlock_irq(&channel->lock);
	}
	if (got > 0) {
		*sleeps = false;
		channel->receiver.slept = false;
		channel->receiver.fruitless = 0;
	} else if (got == GOT_NOTHING && !*sleeps) {
		/* The flag that asks for a hint is not set yet: the next turn sets it. */
		*sleeps = true;
	} else if (got == GOT_NOTHING) {
		receiver_sleep(channel);
	}
}

static int receiver_thread(void *data)
{
	struct semshare_channel *channel = data;
	bool sleeps = false;

	while (!kthread_should_stop()) {
		if (READ_ONCE(channel->error)) {
			set_current_state(TASK_IDLE);
			if (!kthread_should_stop())
				schedule();
			__set_current_state(TASK_RUNNING);
			continue;
		}
		if (channel->asks)
			ask_turn(channel, &sleeps);
		else
			answer_turn(channel, &sleeps);
		cond_resched();
	}
	return 0;
}

/* ------------------------------------------------------------------- asking */

/**
 * semshare_channel_call_async - ask, and be told the reply
 * @channel: of semshare_channel_open()
 * @opcode: what is asked
 * @cookie: opaque; who answers sees it, and @done gets it, from kernel memory
 * @data: the command's payload, in kernel memory; copied
 * @size: bytes of it
 * @timeout: jiffies until when @done is called, MAX_SCHEDULE_TIMEOUT: no limit
 * @done: called once, in process context, by a thread of the channel or by
 *	semshare_channel_close(): it may ask again, but neither wait for a reply nor
 *	close the channel, and other commands wait while it runs
 * @context: for @done
 * @id: out, may be NULL: for semshare_channel_cancel(); stored before @done can be
 *	called
 *
 * @done gets 0 and the reply's payload, which is @done's until it returns; or
 * a negative errno: -ETIMEDOUT, -ECANCELED, -ECONNRESET (who had taken it is gone),
 * -EOPNOTSUPP (who answers does not know @opcode), -EBADMSG (nor makes sense of the
 * payload), what else it says, with a text for a payload, or -EPROTO, -EIDRM,
 * -ESHUTDOWN (the channel is broken, lost, closed).
 *
 * Context: any but NMI; sleeps not.
 * Return: 0: @done will be called; else it will not: -EAGAIN (as many commands are
 * outstanding as can be), -EMSGSIZE, -EPROTO, -EIDRM, -ESHUTDOWN.
 */
int semshare_channel_call_async(struct semshare_channel *channel, u32 opcode, u64 cookie,
				const void *data, size_t size, long timeout,
				semshare_channel_done_t done, void *context, u64 *id)
{
	struct channel_place *place;
	unsigned long flags;
	int err;

	if (WARN_ON_ONCE(!channel->asks))
		return -EINVAL;
	if (size > channel->view.max_payload)
		return -EMSGSIZE;
	raw_spin_lock_irqsave(&channel->lock, flags);
	err = channel->error;
	place = err ? NULL : place_take(channel);
	if (place)
		place->id = (u64)channel->generation++ << 32 | (place - channel->places);
	raw_spin_unlock_irqrestore(&channel->lock, flags);
	if (!place) {
		if (!err)
			irq_work_queue(&channel->kick);
		return err ? err : -EAGAIN;
	}

	memcpy(place->data, data, size);
	place->size = size;
	place->command.opcode = opcode;
	place->command.cookie = cookie;
	place->done = done;
	place->context = context;
	if (timeout >= min_t(s64, MAX_SCHEDULE_TIMEOUT, KTIME_SEC_MAX * HZ / 2)) {
		place->timer.expires = KTIME_MAX;
		place->command.deadline_ns = SEMSHARE_CHANNEL_FOREVER;
	} else {
		u64 ns = jiffies64_to_nsecs(max(timeout, 0L));

		place->timer.expires = ktime_add_safe(ktime_get(), ns_to_ktime(ns));
		place->command.deadline_ns = ktime_to_ns(place->timer.expires);
	}
	if (id)
		*id = place->id;

	raw_spin_lock_irqsave(&channel->lock, flags);
	place->state = PLACE_QUEUED;
	place_start_timer(channel, place);
	list_add_tail(&place->link, &channel->out);
	channel->counts.calls++;
	raw_spin_unlock_irqrestore(&channel->lock, flags);
	irq_work_queue(&channel->kick);
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_channel_call_async);

/**
 * semshare_channel_cancel - give a command up
 * @channel: of semshare_channel_open()
 * @id: of semshare_channel_call_async()
 *
 * Its @done is called with -ECANCELED soon, unless another end comes first.  Who has
 * taken the command is told.
 *
 * Context: any but NMI; sleeps not.
 * Return: 0, or -ENOENT: its end is known already.
 */
int semshare_channel_cancel(struct semshare_channel *channel, u64 id)
{
	struct channel_place *place;
	unsigned long flags;
	int err = -ENOENT;

	raw_spin_lock_irqsave(&channel->lock, flags);
	place = place_of(channel, id);
	if (place && (place->state == PLACE_QUEUED || place->state == PLACE_SENT)) {
		place->notify = true;
		list_move_tail(&place->link, &channel->ended);
		err = 0;
	}
	raw_spin_unlock_irqrestore(&channel->lock, flags);
	if (!err)
		irq_work_queue(&channel->kick);
	return err;
}
EXPORT_SYMBOL_GPL(semshare_channel_cancel);

/* A call that waits. */
struct channel_wait {
	struct completion completion;
	void *reply;
	size_t size;
	ssize_t result;
};

static void wait_done(void *context, u64 cookie, int status, const void *data, size_t size)
{
	struct channel_wait *wait = context;

	if (status) {
		wait->result = status;
	} else if (size > wait->size) {
		wait->result = -EMSGSIZE;
	} else {
		memcpy(wait->reply, data, size);
		wait->result = size;
	}
	complete(&wait->completion);
}

/* False: a signal, or kthread_stop(), was first. */
static bool wait_told(struct channel_wait *wait)
{
	long left;

	do {
		left = wait_for_completion_interruptible_timeout(&wait->completion, CHANNEL_LOOK);
	} while (!left && !semshare_told_to_stop());
	return left > 0;
}

/**
 * semshare_channel_call - ask, and wait for the reply
 * @channel: of semshare_channel_open()
 * @opcode: what is asked
 * @data: the command's payload, in kernel memory
 * @size: bytes of it
 * @reply: for the reply's payload
 * @reply_size: room there
 * @timeout: jiffies, MAX_SCHEDULE_TIMEOUT: no limit
 *
 * Context: process context, sleeps; not in a @done of the channel.
 * Return: bytes of the reply; -EINTR (signal or kthread_stop(): the command is
 * cancelled), -EMSGSIZE
 * (also: the reply has no room), -EDEADLK (called from a @done), -EOPNOTSUPP (also: called
 * where sleeping is not allowed), or an error as of semshare_channel_call_async().
 */
ssize_t semshare_channel_call(struct semshare_channel *channel, u32 opcode, const void *data,
			      size_t size, void *reply, size_t reply_size, long timeout)
{
	struct channel_wait wait = { .reply = reply, .size = reply_size };
	unsigned long began = jiffies;
	bool interrupted;
	u64 id;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (current == channel->sender.task || current == channel->receiver.task)
		return -EDEADLK;
	init_completion(&wait.completion);
	for (;;) {
		long left = timeout;
		long slept;

		if (timeout != MAX_SCHEDULE_TIMEOUT)
			left = max(timeout - (long)(jiffies - began), 0L);
		err = semshare_channel_call_async(channel, opcode, 0, data, size, left, wait_done,
						  &wait, &id);
		if (err != -EAGAIN)
			break;
		if (!left)
			return -EAGAIN;
		slept = wait_event_interruptible_timeout(channel->space,
							 !list_empty_careful(&channel->free) ||
							 READ_ONCE(channel->error),
							 min(left, (long)CHANNEL_LOOK));
		if (slept < 0 || semshare_told_to_stop())
			return -EINTR;
	}
	if (err)
		return err;
	interrupted = !wait_told(&wait);
	if (interrupted) {
		/* Its end comes all the same, and soon: @wait is ours until then. */
		semshare_channel_cancel(channel, id);
		wait_for_completion(&wait.completion);
	}
	return interrupted && wait.result == -ECANCELED ? -EINTR : wait.result;
}
EXPORT_SYMBOL_GPL(semshare_channel_call);

/* ---------------------------------------------------------------- answering */

/**
 * semshare_channel_reply - answer a command
 * @channel: of semshare_channel_serve()
 * @command: as @answer of its operation got it; not to be used afterwards
 * @status: 0, or a negative errno, and @data is a text then
 * @data: the reply's payload, in kernel memory; may be the command's
 * @size: bytes of it
 *
 * Each command is to be answered once, at once or later, in any order.
 *
 * Context: any but NMI; sleeps not.
 * Return: 0, or -EALREADY (it was answered), -EMSGSIZE (it can still be),
 * -EINVAL (@status), -EPROTO, -EIDRM, -ESHUTDOWN: nobody will get it, and the command
 * is not to be used any more.
 */
int semshare_channel_reply(struct semshare_channel *channel,
			   struct semshare_channel_command *command, int status,
			   const void *data, size_t size)
{
	struct channel_place *place = container_of(command, struct channel_place, command);
	unsigned long flags;
	int err;

	if (size > channel->view.max_payload)
		return -EMSGSIZE;
	if (status > 0 || status < -MAX_ERRNO)
		return -EINVAL;
	raw_spin_lock_irqsave(&channel->lock, flags);
	if (place->state == PLACE_TAKEN) {
		err = channel->error;
		if (err)
			place_free(channel, place);
		else
			place->state = PLACE_FILLING;
	} else {
		err = -EALREADY;
	}
	raw_spin_unlock_irqrestore(&channel->lock, flags);
	if (err)
		return err;

	memmove(place->data, data, size);
	place->size = size;
	place->status = status;
	place->since_ns = ktime_get_ns();

	raw_spin_lock_irqsave(&channel->lock, flags);
	place->state = PLACE_QUEUED;
	list_add_tail(&place->link, &channel->out);
	raw_spin_unlock_irqrestore(&channel->lock, flags);
	irq_work_queue(&channel->kick);
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_channel_reply);

/* --------------------------------------------------------- create, open, close */

/**
 * semshare_channel_create - make a channel in an area, with a set of its own
 * @area: an area made by the caller, in its own IPC namespace, zeroed
 * @params: what it is to be: semshare_channel_size() tells how many bytes it takes
 * @mode: permission bits of the set
 *
 * The set has the key of the area's name and goes with the area.
 *
 * Context: process context, sleeps.
 * Return: 0, or -EINVAL (@params, @mode, or @area is too small), -EEXIST (there is
 * something in the area, or a set with its key), -EXDEV (not the caller's namespace),
 * -EOPNOTSUPP (called where sleeping is not allowed), and what semget() and
 * semshare_area_bind() answer.
 */
int semshare_channel_create(struct semshare_area *area,
			    const struct semshare_channel_params *params, umode_t mode)
{
	struct semshare_channel_control *control = area->data;
	u64 size = semshare_channel_size(params);
	int semid;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (!size || size > area->size || mode & ~0666)
		return -EINVAL;
	if (semshare_load(&control->magic))
		return -EEXIST;
	semid = semshare_area_make_set(area, SEMSHARE_CHANNEL_NSEMS, mode);
	if (semid < 0)
		return semid;
	return semshare_channel_format(control, params, semid, area->key, area->name);
}
EXPORT_SYMBOL_GPL(semshare_channel_create);

static int worker_open(struct semshare_channel *channel, struct channel_worker *worker)
{
	int err = semshare_lock_open(&worker->lock, channel->area, SEMSHARE_CHANNEL_NSEMS,
				     &channel->broken);

	worker->lock.state = &channel->view.control->lock;
	return err;
}

static int take_role(struct semshare_channel *channel)
{
	struct sembuf take = { .sem_num = channel_role(channel), .sem_op = -1,
			       .sem_flg = IPC_NOWAIT };
	struct semshare_lock *lock = &channel->sender.lock;
	int err = semshare_sem_operate(lock->ns, lock->semid, &take, 1, NULL);

	return err == -EAGAIN ? -EALREADY : err;
}

static void give_role(struct semshare_channel *channel)
{
	struct semshare_lock *lock = &channel->sender.lock;
	struct sembuf give[] = {
		{ .sem_num = channel_role(channel), .sem_op = 0, .sem_flg = IPC_NOWAIT },
		{ .sem_num = channel_role(channel), .sem_op = 1, .sem_flg = IPC_NOWAIT },
	};

	if (semshare_sem_same(lock->ns, lock->semid, &lock->facts))
		semshare_sem_operate(lock->ns, lock->semid, give, ARRAY_SIZE(give), NULL);
}

/* Come to ask, or to answer, having taken the role. */
static int channel_begin(struct semshare_channel *channel)
{
	const struct semshare_owner self = {
		.kind = SEMSHARE_OWNER_KERNEL,
		.pid = task_tgid_vnr(current),
	};
	int err = channel_enter(channel, &channel->sender, ktime_add_ns(ktime_get(), NSEC_PER_SEC));
	int left;

	if (err)
		return err;
	if (channel->asks)
		err = semshare_channel_begin_asks(&channel->view, &self);
	else
		err = semshare_channel_begin_answers(&channel->view, &self);
	channel->session = semshare_load(&channel->view.control->session);
	left = channel_leave(channel, &channel->sender, 0);
	return err ? err : left;
}

static int make_places(struct semshare_channel *channel)
{
	size_t size = ALIGN(channel->view.max_payload, 8);
	u32 i;

	channel->places = kvcalloc(channel->view.depth, sizeof(*channel->places),
				   GFP_KERNEL_ACCOUNT);
	channel->data = kvcalloc(channel->view.depth, size, GFP_KERNEL_ACCOUNT);
	channel->buffer = kvmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!channel->places || !channel->data || !channel->buffer)
		return -ENOMEM;
	for (i = 0; i < channel->view.depth; i++) {
		struct channel_place *place = &channel->places[i];

		INIT_LIST_HEAD(&place->link);
		timerqueue_init(&place->timer);
		place->data = channel->data + i * size;
		list_add_tail(&place->link, &channel->free);
	}
	return 0;
}

static void channel_free(struct semshare_channel *channel)
{
	kvfree(channel->buffer);
	kvfree(channel->data);
	kvfree(channel->places);
	kfree(channel);
}

static struct task_struct *start(struct semshare_channel *channel, int (*thread)(void *data),
				 const char *name)
{
	struct task_struct *task = kthread_create(thread, channel, "semshare_%s", name);

	/* So that it can be stopped whatever it does. */
	return IS_ERR(task) ? task : get_task_struct(task);
}

static void stop(struct semshare_channel *channel, struct channel_worker *worker)
{
	kthread_stop(worker->task);
	/* The sender's last turn may have queued it, and it wakes the sender. */
	irq_work_sync(&channel->kick);
	put_task_struct(worker->task);
}

static struct semshare_channel *channel_open(struct semshare_channel *channel,
					     struct semshare_area *area)
{
	int err;

	channel->area = area;
	raw_spin_lock_init(&channel->lock);
	INIT_LIST_HEAD(&channel->free);
	INIT_LIST_HEAD(&channel->out);
	INIT_LIST_HEAD(&channel->ended);
	INIT_LIST_HEAD(&channel->late);
	timerqueue_init_head(&channel->timers);
	init_waitqueue_head(&channel->space);
	init_irq_work(&channel->kick, kick_sender);
	channel->generation = get_random_u32();

	err = semshare_channel_check(&channel->view, area->data, area->size);
	if (err)
		goto err_free;
	mutex_lock(&area->mutex);
	err = worker_open(channel, &channel->sender);
	if (!err)
		err = worker_open(channel, &channel->receiver);
	mutex_unlock(&area->mutex);
	if (!err)
		err = make_places(channel);
	if (err)
		goto err_free;
	err = take_role(channel);
	if (err)
		goto err_free;

	channel->sender.task = start(channel, sender_thread, channel->asks ? "ask" : "reply");
	err = PTR_ERR_OR_ZERO(channel->sender.task);
	if (err)
		goto err_role;
	channel->receiver.task = start(channel, receiver_thread, channel->asks ? "hear" : "serve");
	err = PTR_ERR_OR_ZERO(channel->receiver.task);
	if (err)
		goto err_sender;
	/* With the sender's handle, before the sender uses it. */
	err = channel_begin(channel);
	if (err)
		goto err_receiver;
	semshare_area_hold(area, SEMSHARE_AREA_KERNEL);
	wake_up_process(channel->sender.task);
	wake_up_process(channel->receiver.task);
	return channel;

err_receiver:
	stop(channel, &channel->receiver);
err_sender:
	stop(channel, &channel->sender);
err_role:
	give_role(channel);
err_free:
	channel_free(channel);
	return ERR_PTR(err);
}

/**
 * semshare_channel_open - come to ask
 * @area: an area that holds a channel; a reference is taken
 *
 * There can be one who asks.  What a predecessor asked is dropped.  Current must be
 * allowed to alter the set; who uses the channel later need not.
 *
 * Context: process context, sleeps.
 * Return: the channel, for any number of threads, or -EALREADY (somebody asks),
 * -ENOMEM, -ENXIO (no set is bound to the area), -EAGAIN (no channel in the area, yet),
 * -EPROTO (none of this ABI, one that does not fit, or a broken one), -EIDRM (its set is
 * gone), -EACCES (current may not alter it), -ETIMEDOUT (its lock was not to be had
 * for a second), -EOPNOTSUPP (called where sleeping is not allowed).
 */
struct semshare_channel *semshare_channel_open(struct semshare_area *area)
{
	struct semshare_channel *channel;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	channel = kzalloc(sizeof(*channel), GFP_KERNEL_ACCOUNT);
	if (!channel)
		return ERR_PTR(-ENOMEM);
	channel->asks = true;
	return channel_open(channel, area);
}
EXPORT_SYMBOL_GPL(semshare_channel_open);

/**
 * semshare_channel_serve - come to answer
 * @area: an area that holds a channel; a reference is taken
 * @operations: the opcodes that are known; stay valid until the channel is closed
 * @count: how many
 * @context: for their @answer
 *
 * There can be one who answers.  Commands of other opcodes are answered with
 * -EOPNOTSUPP, those with a payload of a size that cannot be with -EBADMSG, those
 * whose deadline is over with -ETIMEDOUT.  Others are given to @answer, one after the
 * other, by a thread of the channel; it may reply at once, or leave that to somebody
 * else.
 *
 * Context: process context, sleeps.
 * Return: the channel, or an error as of semshare_channel_open().
 */
struct semshare_channel *semshare_channel_serve(struct semshare_area *area,
						const struct semshare_channel_operation *operations,
						unsigned int count, void *context)
{
	struct semshare_channel *channel;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	channel = kzalloc(sizeof(*channel), GFP_KERNEL_ACCOUNT);
	if (!channel)
		return ERR_PTR(-ENOMEM);
	channel->operations = operations;
	channel->nr_operations = count;
	channel->context = context;
	return channel_open(channel, area);
}
EXPORT_SYMBOL_GPL(semshare_channel_serve);

/* What was taken and not answered fails, now rather than when it is found out. */
static void refuse_taken(struct semshare_channel *channel)
{
	u32 i;

	for (i = 0; i < channel->view.depth; i++) {
		struct channel_place *place = &channel->places[i];

		if (READ_ONCE(place->state) == PLACE_TAKEN)
			refuse(channel, place, -ECONNRESET);
	}
	wait_event_timeout(channel->space, list_empty_careful(&channel->out) ||
			   READ_ONCE(channel->error), HZ);
}

/**
 * semshare_channel_close - ask, or answer, no more
 * @channel: not in use: nobody is in a call, or replies any more; NULL and errors
 *	are ignored
 *
 * Commands that are outstanding end with -ESHUTDOWN, and their @done is called
 * before this returns.  What was to be answered, and is not, ends with -ECONNRESET
 * for who asked.
 *
 * Context: process context, sleeps; not in a @done or an @answer of the channel.
 */
void semshare_channel_close(struct semshare_channel *channel)
{
	if (IS_ERR_OR_NULL(channel))
		return;
	stop(channel, &channel->receiver);
	if (!channel->asks)
		refuse_taken(channel);
	channel_stop(channel, -ESHUTDOWN);
	stop(channel, &channel->sender);
	fail_all(channel, -ESHUTDOWN);
	give_role(channel);
	semshare_area_put(channel->area);
	channel_free(channel);
}
EXPORT_SYMBOL_GPL(semshare_channel_close);

/**
 * semshare_channel_destroy - the end of a channel, for all who use it
 * @channel: which is closed
 *
 * The area's name goes at once, and the set, if it goes with the area: who sleeps
 * gets EIDRM rather than silence, and another can be made under the name.
 *
 * Context: as semshare_channel_close().
 */
void semshare_channel_destroy(struct semshare_channel *channel)
{
	struct semshare_area *area = channel->area;

	semshare_area_hold(area, SEMSHARE_AREA_KERNEL);
	semshare_channel_close(channel);
	semshare_area_remove_set(area);
	semshare_area_hide(area);
	semshare_area_put(area);
}
EXPORT_SYMBOL_GPL(semshare_channel_destroy);

/**
 * semshare_channel_statistics - what became of what was asked, or answered
 * @channel: the channel
 * @statistics: out
 *
 * Context: any but NMI.
 */
void semshare_channel_statistics(struct semshare_channel *channel,
				 struct semshare_channel_statistics *statistics)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&channel->lock, flags);
	*statistics = channel->counts;
	raw_spin_unlock_irqrestore(&channel->lock, flags);
}
EXPORT_SYMBOL_GPL(semshare_channel_statistics);
