/* SPDX-License-Identifier: GPL-2.0 */
/* How much of something each user has, and the limit on it. */
#ifndef SEMSHARE_USAGE_H
#define SEMSHARE_USAGE_H

#include <linux/hashtable.h>
#include <linux/mutex.h>
#include <linux/uidgid.h>

/**
 * struct semshare_usage - how much of one thing each user has in use
 * @mutex: guards @users; no other lock is taken under it
 * @users: those that have any, by uid
 */
struct semshare_usage {
	struct mutex mutex;	/* @users */
	DECLARE_HASHTABLE(users, 6);
};

#define SEMSHARE_USAGE_INIT(mutex_name)	{ .mutex = __MUTEX_INITIALIZER(mutex_name) }

int semshare_usage_charge(struct semshare_usage *usage, kuid_t uid, u64 amount, u64 limit);
void semshare_usage_uncharge(struct semshare_usage *usage, kuid_t uid, u64 amount);

#endif /* SEMSHARE_USAGE_H */
