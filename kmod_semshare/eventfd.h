/* SPDX-License-Identifier: GPL-2.0 */
/* eventfd.c: eventfds, to users and from them, and kernel code that listens. */
#ifndef SEMSHARE_EVENTFD_H
#define SEMSHARE_EVENTFD_H

#include <linux/list.h>
#include <linux/mutex.h>

struct semshare_area;
struct semshare_eventfd;
struct semshare_notify;

/**
 * struct semshare_eventfds - what one handle has registered
 * @mutex: guards the others
 * @list: struct registered_eventfd
 * @count: how many
 */
struct semshare_eventfds {
	struct mutex mutex;	/* @list and @count */
	struct list_head list;
	unsigned int count;
};

void semshare_eventfds_init(struct semshare_eventfds *eventfds);
void semshare_eventfds_drop(struct semshare_eventfds *eventfds);
int semshare_eventfds_change(struct semshare_eventfds *eventfds, struct semshare_area *area,
			     const struct semshare_eventfd *request, u32 access);
void semshare_eventfds_signal(struct semshare_notify *notify, unsigned int events);
void semshare_listeners_call(struct semshare_notify *notify, unsigned int events);

#endif /* SEMSHARE_EVENTFD_H */
