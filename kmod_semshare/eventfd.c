// SPDX-License-Identifier: GPL-2.0
/*
 * Eventfds, and kernel code that listens.
 *
 * To users: an eventfd is on its area's list while the handle that registered it
 * is open, and is signalled from notify.c's irq_work, under the list's spinlock.
 *
 * From users: an entry of our own in the wait queue of the eventfd.  It is called
 * under that queue's lock, in whatever context somebody writes to the eventfd; so
 * it takes the count back to 0, queues a work item, and nothing else.  The work
 * calls the client.  Signals that come meanwhile queue it once more: none is lost,
 * and several may be told as one.  We hold the eventfd's context, not its file:
 * when its last descriptor is closed nothing more comes, and the entry stays
 * where it is, in memory that our reference keeps, until it is taken out.
 *
 * In teardown: first out of the queue, so that the work is not queued again, then
 * cancel the work and wait for it, then let go.
 *
 * No eventfd signals an eventfd: see semshare_notify_heard().
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/instruction_pointer.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "area.h"
#include "compat/compat.h"
#include "eventfd.h"
#include "resolve.h"

/* ------------------------------------------------------- from users to the kernel */

/**
 * struct semshare_eventfd_listener - kernel code that is called when an eventfd is signalled
 * @entry: in the eventfd's wait queue
 * @table: by which it comes there
 * @ctx: the eventfd
 * @work: calls @call
 * @call: the client's
 * @data: for it
 */
struct semshare_eventfd_listener {
	wait_queue_entry_t entry;
	poll_table table;
	struct eventfd_ctx *ctx;
	struct work_struct work;
	void (*call)(void *data);
	void *data;
};

static void listener_work(struct work_struct *work)
{
	struct semshare_eventfd_listener *listener =
		container_of(work, struct semshare_eventfd_listener, work);

	listener->call(listener->data);
}

/* Called with the lock of the eventfd's queue held, interrupts off. */
static int listener_wake(wait_queue_entry_t *entry, unsigned int mode, int sync, void *key)
{
	struct semshare_eventfd_listener *listener =
		container_of(entry, struct semshare_eventfd_listener, entry);
	u64 count;

	if (key_to_poll(key) & EPOLLIN) {
		eventfd_ctx_do_read(listener->ctx, &count);
		queue_work(system_highpri_wq, &listener->work);
	}
	return 0;
}

static void listener_queue(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	struct semshare_eventfd_listener *listener =
		container_of(table, struct semshare_eventfd_listener, table);

	add_wait_queue(head, &listener->entry);
}

/**
 * semshare_eventfd_listen - be called when user space signals an eventfd
 * @fd: a descriptor of current, of an eventfd; it need not be kept open for this
 * @call: called in process context after each signal, or once for several; it
 *	must not call semshare_eventfd_unlisten()
 * @data: for it
 *
 * What was signalled before is told as well.
 *
 * Context: process context, sleeps.
 * Return: what semshare_eventfd_unlisten() takes, or -EBADF (no descriptor),
 * -EINVAL (not of an eventfd), -ENOMEM, -EOPNOTSUPP (called where sleeping is not
 * allowed).
 */
struct semshare_eventfd_listener *semshare_eventfd_listen(int fd, void (*call)(void *data),
							  void *data)
{
	struct semshare_eventfd_listener *listener;
	struct file *file;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	file = fget(fd);
	if (!file)
		return ERR_PTR(-EBADF);
	listener = kzalloc(sizeof(*listener), GFP_KERNEL_ACCOUNT);
	if (!listener) {
		fput(file);
		return ERR_PTR(-ENOMEM);
	}
	listener->ctx = eventfd_ctx_fileget(file);
	if (IS_ERR(listener->ctx)) {
		int err = PTR_ERR(listener->ctx);

		kfree(listener);
		fput(file);
		return ERR_PTR(err);
	}
	listener->call = call;
	listener->data = data;
	INIT_WORK(&listener->work, listener_work);
	init_waitqueue_func_entry(&listener->entry, listener_wake);
	init_poll_funcptr(&listener->table, listener_queue);
	/* Into the queue first, then look: what comes in between is told twice. */
	if (vfs_poll(file, &listener->table) & EPOLLIN)
		queue_work(system_highpri_wq, &listener->work);
	fput(file);
	return listener;
}
EXPORT_SYMBOL_GPL(semshare_eventfd_listen);

/**
 * semshare_eventfd_unlisten - be called no more
 * @listener: of semshare_eventfd_listen()
 *
 * When it returns no call is under way.
 *
 * Context: process context, sleeps.
 */
void semshare_eventfd_unlisten(struct semshare_eventfd_listener *listener)
{
	u64 count;

	eventfd_ctx_remove_wait_queue(listener->ctx, &listener->entry, &count);
	cancel_work_sync(&listener->work);
	eventfd_ctx_put(listener->ctx);
	kfree(listener);
}
EXPORT_SYMBOL_GPL(semshare_eventfd_unlisten);

/* -------------------------------------------------------------- of one handle */

/**
 * struct registered_eventfd - an eventfd that a handle has registered
 * @of_handle: in semshare_eventfds.list
 * @of_area: TO_USER: in semshare_notify.eventfds
 * @area: the handle's
 * @ctx: the eventfd
 * @listener: FROM_USER
 * @events: SEMSHARE_EVENT_*
 */
struct registered_eventfd {
	struct list_head of_handle;
	struct list_head of_area;
	struct semshare_area *area;
	struct eventfd_ctx *ctx;
	struct semshare_eventfd_listener *listener;
	u32 events;
};

/* FROM_USER */
static void registered_call(void *data)
{
	struct registered_eventfd *registered = data;

	semshare_notify_heard(registered->area, registered->events);
}

static void registered_free(struct registered_eventfd *registered)
{
	struct semshare_notify *notify = &registered->area->notify;

	if (registered->listener) {
		semshare_eventfd_unlisten(registered->listener);
	} else {
		spin_lock_irq(&notify->eventfds_lock);
		list_del(&registered->of_area);
		notify->nr_eventfds--;
		spin_unlock_irq(&notify->eventfds_lock);
	}
	eventfd_ctx_put(registered->ctx);
	kfree(registered);
}

/*
 * The list is walked with interrupts off, on behalf of whoever rings: so it is short,
 * however many handles there are.  Those who may only read leave room for the others.
 */
static int registered_list(struct registered_eventfd *registered, u32 access)
{
	struct semshare_notify *notify = &registered->area->notify;
	unsigned int most = SEMSHARE_EVENTFDS_AREA_MAX;
	int err = -ENOSPC;

	if (!(access & SEMSHARE_ACCESS_WRITE))
		most /= 2;
	spin_lock_irq(&notify->eventfds_lock);
	if (notify->nr_eventfds < most) {
		list_add_tail(&registered->of_area, &notify->eventfds);
		notify->nr_eventfds++;
		err = 0;
	}
	spin_unlock_irq(&notify->eventfds_lock);
	return err;
}

static int registered_add(struct semshare_eventfds *eventfds, struct semshare_area *area,
			  const struct semshare_eventfd *request, struct eventfd_ctx *ctx,
			  u32 access)
{
	struct registered_eventfd *registered;
	int err;

	lockdep_assert_held(&eventfds->mutex);
	if (eventfds->count >= SEMSHARE_EVENTFDS_MAX)
		return -ENOSPC;
	registered = kzalloc(sizeof(*registered), GFP_KERNEL_ACCOUNT);
	if (!registered)
		return -ENOMEM;
	registered->area = area;
	registered->ctx = ctx;
	registered->events = request->events;
	if (request->direction == SEMSHARE_EVENTFD_FROM_USER) {
		struct semshare_eventfd_listener *listener =
			semshare_eventfd_listen(request->fd, registered_call, registered);

		if (IS_ERR(listener)) {
			kfree(registered);
			return PTR_ERR(listener);
		}
		registered->listener = listener;
	} else {
		err = registered_list(registered, access);
		if (err) {
			kfree(registered);
			return err;
		}
	}
	list_add_tail(&registered->of_handle, &eventfds->list);
	eventfds->count++;
	return 0;
}

static struct registered_eventfd *registered_find(struct semshare_eventfds *eventfds,
						  const struct semshare_eventfd *request,
						  const struct eventfd_ctx *ctx)
{
	const bool from_user = request->direction == SEMSHARE_EVENTFD_FROM_USER;
	struct registered_eventfd *registered;

	lockdep_assert_held(&eventfds->mutex);
	list_for_each_entry(registered, &eventfds->list, of_handle) {
		if (registered->ctx == ctx && !!registered->listener == from_user)
			return registered;
	}
	return NULL;
}

/**
 * semshare_eventfds_change - SEMSHARE_IOC_EVENTFD
 * @eventfds: the handle's
 * @area: the handle's
 * @request: checked but for @request->fd
 * @access: SEMSHARE_ACCESS_* of the handle
 *
 * Context: process context, sleeps.
 * Return: as described there, -EBADF, -EINVAL (not an eventfd), -ENOMEM, -EINTR.
 */
int semshare_eventfds_change(struct semshare_eventfds *eventfds, struct semshare_area *area,
			     const struct semshare_eventfd *request, u32 access)
{
	struct eventfd_ctx *ctx = eventfd_ctx_fdget(request->fd);
	struct registered_eventfd *registered;
	int err = 0;

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	if (mutex_lock_interruptible(&eventfds->mutex)) {
		eventfd_ctx_put(ctx);
		return -EINTR;
	}
	registered = registered_find(eventfds, request, ctx);
	if (registered && request->events) {
		err = -EEXIST;
	} else if (registered) {
		list_del(&registered->of_handle);
		eventfds->count--;
		registered_free(registered);
	} else if (!request->events) {
		err = -ENOENT;
	} else {
		err = registered_add(eventfds, area, request, ctx, access);
		if (!err)
			ctx = NULL;
	}
	mutex_unlock(&eventfds->mutex);
	if (ctx)
		eventfd_ctx_put(ctx);
	return err;
}

/**
 * semshare_eventfds_init - of a new handle
 * @eventfds: its
 */
void semshare_eventfds_init(struct semshare_eventfds *eventfds)
{
	mutex_init(&eventfds->mutex);
	INIT_LIST_HEAD(&eventfds->list);
}

/**
 * semshare_eventfds_drop - a handle is closed
 * @eventfds: its; its area has a reference still
 *
 * Context: process context, sleeps.
 */
void semshare_eventfds_drop(struct semshare_eventfds *eventfds)
{
	struct registered_eventfd *registered, *next;

	list_for_each_entry_safe(registered, next, &eventfds->list, of_handle)
		registered_free(registered);
}

/**
 * semshare_eventfds_signal - to users
 * @notify: the area's
 * @events: SEMSHARE_EVENT_*
 *
 * Context: any but NMI; on PREEMPT_RT also not hard interrupts.
 */
void semshare_eventfds_signal(struct semshare_notify *notify, unsigned int events)
{
	struct registered_eventfd *registered;
	unsigned long flags;

	/* Who registers, and then says that it waits, is seen by who sees that. */
	if (list_empty_careful(&notify->eventfds))
		return;
	spin_lock_irqsave(&notify->eventfds_lock, flags);
	list_for_each_entry(registered, &notify->eventfds, of_area) {
		if (registered->events & events)
			eventfd_signal(registered->ctx);
	}
	spin_unlock_irqrestore(&notify->eventfds_lock, flags);
}

/* ------------------------------------------------------------- kernel code */

/**
 * semshare_area_listen - have kernel code called when somebody rings for an area
 * @area: an area the caller has a reference to, until semshare_area_unlisten()
 * @listener: filled in by the caller; its own
 *
 * Called, in process context, for SEMSHARE_IOC_NOTIFY, for eventfds from users, for
 * semshare_area_notify(), and when somebody has put or taken a record after the
 * ring's semshare_ring_arm().  Once for several, perhaps, and perhaps for nothing.
 *
 * Context: process context, sleeps.
 */
void semshare_area_listen(struct semshare_area *area, struct semshare_listener *listener)
{
	struct semshare_notify *notify = &area->notify;

	mutex_lock(&notify->listeners_lock);
	list_add_tail(&listener->list, &notify->listeners);
	mutex_unlock(&notify->listeners_lock);
}
EXPORT_SYMBOL_GPL(semshare_area_listen);

/**
 * semshare_area_unlisten - have it called no more
 * @area: the area
 * @listener: the same
 *
 * When it returns no call is under way.  Not to be called by the listener.
 *
 * Context: process context, sleeps.
 */
void semshare_area_unlisten(struct semshare_area *area, struct semshare_listener *listener)
{
	struct semshare_notify *notify = &area->notify;

	mutex_lock(&notify->listeners_lock);
	list_del(&listener->list);
	mutex_unlock(&notify->listeners_lock);
}
EXPORT_SYMBOL_GPL(semshare_area_unlisten);

/**
 * semshare_listeners_call - of the work of notify.c
 * @notify: the area's
 * @events: SEMSHARE_EVENT_*
 */
void semshare_listeners_call(struct semshare_notify *notify, unsigned int events)
{
	struct semshare_listener *listener;

	if (!events)
		return;
	mutex_lock(&notify->listeners_lock);
	list_for_each_entry(listener, &notify->listeners, list) {
		if (listener->events & events)
			listener->call(listener, events & listener->events);
	}
	mutex_unlock(&notify->listeners_lock);
}
