// SPDX-License-Identifier: GPL-2.0
#include <linux/capability.h>
#include <linux/slab.h>

#include "usage.h"

/* What one user has: exists while that is not 0. */
struct user {
	struct hlist_node by_uid;
	kuid_t uid;
	u64 amount;
};

static struct user *user_find(struct semshare_usage *usage, kuid_t uid)
{
	struct user *user;

	lockdep_assert_held(&usage->mutex);
	hash_for_each_possible(usage->users, user, by_uid, __kuid_val(uid)) {
		if (uid_eq(user->uid, uid))
			return user;
	}
	return NULL;
}

/**
 * semshare_usage_charge() - let a user have more
 * @usage: of what
 * @uid: the user
 * @amount: how much more, not 0
 * @limit: how much the user may have in all, unless the caller has CAP_SYS_RESOURCE
 *
 * Context: may sleep.
 * Return: 0; -EDQUOT: it would be more than @limit; -ENOMEM.
 */
int semshare_usage_charge(struct semshare_usage *usage, kuid_t uid, u64 amount, u64 limit)
{
	struct user *user;
	int error = 0;

	mutex_lock(&usage->mutex);
	user = user_find(usage, uid);
	if ((user ? user->amount : 0) + amount > limit && !capable(CAP_SYS_RESOURCE)) {
		error = -EDQUOT;
		goto out;
	}
	if (!user) {
		user = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);
		if (!user) {
			error = -ENOMEM;
			goto out;
		}
		user->uid = uid;
		hash_add(usage->users, &user->by_uid, __kuid_val(uid));
	}
	user->amount += amount;
out:
	mutex_unlock(&usage->mutex);
	return error;
}

/**
 * semshare_usage_uncharge() - a user has less
 * @usage: of what
 * @uid: the user
 * @amount: how much less, of what was charged before
 *
 * Context: may sleep.
 */
void semshare_usage_uncharge(struct semshare_usage *usage, kuid_t uid, u64 amount)
{
	struct user *user;

	mutex_lock(&usage->mutex);
	user = user_find(usage, uid);
	user->amount -= amount;
	if (!user->amount) {
		hash_del(&user->by_uid);
		kfree(user);
	}
	mutex_unlock(&usage->mutex);
}
