/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The locks of semshare for kernel code: the same objects that the Python classes
 * are, made by a process and opened here by their name.
 *
 *	semshare.Lock, RLock		struct semshare_mutex
 *	semshare.RWLock			struct semshare_rwlock
 *	semshare.Semaphore, BoundedSemaphore	struct semshare_semaphore
 *	semshare.Event			struct semshare_event
 *	semshare.Condition		struct semshare_condition
 *	semshare.Barrier		struct semshare_barrier
 *	semshare.LockPool		struct semshare_set, and of that semshare_mutex_of()
 *	semshare.MultiLock		struct semshare_multi
 *
 * A set that a plain program made is whatever it is opened as.
 *
 * - Everything is exported GPL and may sleep: process context only.  Elsewhere it
 *   answers -EOPNOTSUPP and says so once in the log; _close() is a bug there.
 * - Opening is for a process, whose rights are asked; the rest is for kernel threads as
 *   well.  Any number of tasks share a handle.
 * - Whatever takes something answers 0 if it has it, and if it answers anything else it
 *   has nothing: also where an owner died.  Then it is had only by who passes
 *   @suspect, to be told.  semshare_condition_wait(), which gives and takes, has the
 *   lock again unless it answers less than 0.
 * - Timeouts are jiffies: 0 does not wait, MAX_SCHEDULE_TIMEOUT waits for ever.  Every wait
 *   ends with -EINTR at a signal or kthread_stop(), after which nothing can be waited
 *   for any more, but everything given back.
 *
 * What each answers stands where it is: mutex.c, rwlock.c, ...
 */
#ifndef SEMSHARE_LOCKS_H
#define SEMSHARE_LOCKS_H

#include <linux/compiler.h>
#include <linux/ipc_namespace.h>
#include <linux/types.h>
#include <semshare/scoped.h>

struct semshare_barrier;
struct semshare_condition;
struct semshare_event;
struct semshare_multi;
struct semshare_mutex;
struct semshare_rwlock;
struct semshare_semaphore;
struct semshare_set;

struct semshare_set *semshare_set_open(struct ipc_namespace *ns, const char *name);
struct semshare_set *semshare_set_open_key(struct ipc_namespace *ns, key_t key);
unsigned int semshare_set_size(const struct semshare_set *set);
void semshare_set_close(struct semshare_set *set);

struct semshare_mutex *semshare_mutex_open(struct ipc_namespace *ns, const char *name);
struct semshare_mutex *semshare_mutex_of(struct semshare_set *set, unsigned int number);
void semshare_mutex_close(struct semshare_mutex *mutex);
int __must_check semshare_mutex_lock(struct semshare_mutex *mutex, long timeout, bool *suspect);
int __must_check semshare_mutex_unlock(struct semshare_mutex *mutex);
int semshare_mutex_consistent(struct semshare_mutex *mutex);

/**
 * semshare_mutex_trylock - take a lock if it is free
 * @mutex: the lock
 * @suspect: as of semshare_mutex_lock()
 *
 * Context: process context.
 * Return: as semshare_mutex_lock(): 0 if it was.
 */
static inline int __must_check semshare_mutex_trylock(struct semshare_mutex *mutex, bool *suspect)
{
	return semshare_mutex_lock(mutex, 0, suspect);
}

struct semshare_multi *semshare_multi_of(struct semshare_set *set, const unsigned int *numbers,
					 unsigned int count);
void semshare_multi_close(struct semshare_multi *multi);
int __must_check semshare_multi_lock(struct semshare_multi *multi, long timeout, bool *suspect);
int __must_check semshare_multi_unlock(struct semshare_multi *multi);
int semshare_multi_consistent(struct semshare_multi *multi);

struct semshare_rwlock *semshare_rwlock_open(struct ipc_namespace *ns, const char *name);
struct semshare_rwlock *semshare_rwlock_of(struct semshare_set *set);
void semshare_rwlock_close(struct semshare_rwlock *rwlock);
int __must_check semshare_rwlock_read_lock(struct semshare_rwlock *rwlock, long timeout,
					   bool *suspect);
int __must_check semshare_rwlock_read_unlock(struct semshare_rwlock *rwlock);
int __must_check semshare_rwlock_write_lock(struct semshare_rwlock *rwlock, long timeout,
					    bool *suspect);
int __must_check semshare_rwlock_write_unlock(struct semshare_rwlock *rwlock);
int __must_check semshare_rwlock_downgrade(struct semshare_rwlock *rwlock);
int semshare_rwlock_consistent(struct semshare_rwlock *rwlock);

struct semshare_semaphore *semshare_semaphore_open(struct ipc_namespace *ns, const char *name);
struct semshare_semaphore *semshare_semaphore_of(struct semshare_set *set);
void semshare_semaphore_close(struct semshare_semaphore *semaphore);
int __must_check semshare_semaphore_down(struct semshare_semaphore *semaphore, long timeout);
int __must_check semshare_semaphore_up(struct semshare_semaphore *semaphore, unsigned int count);
int semshare_semaphore_value(struct semshare_semaphore *semaphore);

struct semshare_event *semshare_event_open(struct ipc_namespace *ns, const char *name);
struct semshare_event *semshare_event_of(struct semshare_set *set);
void semshare_event_close(struct semshare_event *event);
int __must_check semshare_event_set(struct semshare_event *event);
int __must_check semshare_event_clear(struct semshare_event *event);
int __must_check semshare_event_wait(struct semshare_event *event, long timeout);

struct semshare_condition *semshare_condition_open(struct ipc_namespace *ns, const char *name);
struct semshare_condition *semshare_condition_of(struct semshare_set *set,
						 struct semshare_mutex *lock);
void semshare_condition_close(struct semshare_condition *condition);
struct semshare_mutex *semshare_condition_mutex(struct semshare_condition *condition);
int __must_check semshare_condition_wait(struct semshare_condition *condition, long timeout,
					 bool *suspect);
int semshare_condition_notify(struct semshare_condition *condition, unsigned int count);

struct semshare_barrier *semshare_barrier_open(struct ipc_namespace *ns, const char *name);
struct semshare_barrier *semshare_barrier_of(struct semshare_set *set);
void semshare_barrier_close(struct semshare_barrier *barrier);
unsigned int semshare_barrier_parties(const struct semshare_barrier *barrier);
int __must_check semshare_barrier_wait(struct semshare_barrier *barrier, long timeout);
int semshare_barrier_abort(struct semshare_barrier *barrier);
int semshare_barrier_reset(struct semshare_barrier *barrier);

SEMSHARE_DEFINE_SCOPE(mutex, struct semshare_mutex, semshare_mutex_lock, semshare_mutex_unlock)
SEMSHARE_DEFINE_SCOPE(multi, struct semshare_multi, semshare_multi_lock, semshare_multi_unlock)
SEMSHARE_DEFINE_SCOPE(read, struct semshare_rwlock, semshare_rwlock_read_lock,
		      semshare_rwlock_read_unlock)
SEMSHARE_DEFINE_SCOPE(write, struct semshare_rwlock, semshare_rwlock_write_lock,
		      semshare_rwlock_write_unlock)

/* See scoped.h.  Blocks that have a lock: alone, several of a pool, to read, to write. */
#define semshare_scoped_mutex(handle, timeout, suspect, err, fail) \
	semshare_scoped(mutex, handle, timeout, suspect, err, fail)
#define semshare_scoped_multi(handle, timeout, suspect, err, fail) \
	semshare_scoped(multi, handle, timeout, suspect, err, fail)
#define semshare_scoped_read(handle, timeout, suspect, err, fail) \
	semshare_scoped(read, handle, timeout, suspect, err, fail)
#define semshare_scoped_write(handle, timeout, suspect, err, fail) \
	semshare_scoped(write, handle, timeout, suspect, err, fail)

#endif /* SEMSHARE_LOCKS_H */
