/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Blocks that have a lock, and give it back however they are left:
 *
 *	int err = 0;
 *
 *	semshare_scoped_mutex(counter->lock, HZ, NULL, err, return err) {
 *		counter->value++;
 *	}
 *	return err;
 *
 * A lock that was not taken cannot be overlooked: what is done then, here return err,
 * is an argument, and without one it does not compile.  Nor can one that could not be
 * given back properly: err says so behind the block, and if the block was left by
 * return or goto, whoever takes the lock next by the same handle finds it suspect.
 *
 * err is a variable of type int that is declared before: the answer of taking the lock,
 * and behind the block that of giving it back, unless the block has put an error of
 * its own there, which is less than 0: any other answer gives way to it.  break and
 * continue, in the block and in what is done when it is not entered, mean the block.
 *
 * A block gives back what it has taken, and nothing else: do not call
 * semshare_rwlock_downgrade() in one.  The end of the block would be -EPERM, and the lock be
 * held to read for ever.  For that use the plain calls.
 */
#ifndef SEMSHARE_SCOPED_H
#define SEMSHARE_SCOPED_H

#define semshare_scoped(kind, handle, timeout, suspect, err, fail)			\
	for (struct semshare_scope_ ## kind						\
	     semshare_scope __attribute__((__cleanup__(semshare_scope_ ## kind ## _leave))) = \
		semshare_scope_ ## kind ## _enter((handle), (timeout), (suspect), &(err)), \
	     *semshare_once = &semshare_scope;						\
	     semshare_once; semshare_once = NULL)					\
		if (!semshare_scope.lock) {						\
			_Static_assert(sizeof(#fail) > 1,				\
				       "say what is done when the lock is not taken");	\
			fail;								\
		} else

/* The lock is NULL where it was not taken. */
#define SEMSHARE_DEFINE_SCOPE(kind, type, take, give)					\
struct semshare_scope_ ## kind {							\
	type *lock;									\
	int *err;									\
};											\
											\
static inline struct semshare_scope_ ## kind						\
semshare_scope_ ## kind ## _enter(type *lock, long timeout, bool *suspect, int *err)	\
{											\
	struct semshare_scope_ ## kind scope = { .lock = lock, .err = err };		\
											\
	*err = take(lock, timeout, suspect);						\
	if (*err)									\
		scope.lock = NULL;							\
	return scope;									\
}											\
											\
static inline void									\
semshare_scope_ ## kind ## _leave(struct semshare_scope_ ## kind *scope)		\
{											\
	int err = scope->lock ? give(scope->lock) : 0;					\
											\
	if (err && *scope->err >= 0)							\
		*scope->err = err;							\
}

#endif /* SEMSHARE_SCOPED_H */
