/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * What the owner of a lock writes beside the semaphore.
 *
 * The semaphore excludes; these words remember.  Only the owner of the
 * semaphore writes them, between taking and releasing it.  No barrier is
 * needed between owners: taking and giving a SysV semaphore goes through a
 * spinlock of the kernel, which orders everything an owner did before
 * everything the next one does.  What does need order is program order within
 * one owner, because SIGKILL may end it between any two instructions: the
 * epoch must be seen odd before anything guarded is touched, and even only
 * after.  A killed process's stores up to that instruction are all visible
 * to the next owner (exit runs exit_sem, which takes the same spinlock), so
 * a compiler barrier would do; release stores say it in words the compiler
 * must respect and cost nothing more on x86.
 */
#ifndef SEMSHARE_CORE_LOCK_H
#define SEMSHARE_CORE_LOCK_H

#include <semshare/abi.h>
#include <semshare/core/platform.h>

/* Who takes the lock: the words of struct semshare_lock_state that say so. */
struct semshare_owner {
	__u32 kind;
	__u32 pid;
	__u32 tid;
	__u64 start;
};

/**
 * semshare_lock_enter - to be called first by whoever took the semaphore
 * @state: the lock's words
 * @owner: the caller
 * @epoch: out: the odd epoch that semshare_lock_leave() wants back
 *
 * Return: 1 if the previous owner died inside (its words are overwritten: who
 * wants to name it copies them before), else 0.
 */
static inline int semshare_lock_enter(struct semshare_lock_state *state,
				      const struct semshare_owner *owner,
				      __u32 *epoch)
{
	__u32 seen = semshare_load(&state->epoch);
	int died = seen & 1;
	__u32 mine = died ? seen + 2 : seen + 1;

	semshare_store(&state->epoch, mine);
	if (died)
		semshare_store(&state->deaths, semshare_load(&state->deaths) + 1);
	semshare_store(&state->owner_kind, owner->kind);
	semshare_store(&state->owner_pid, owner->pid);
	semshare_store(&state->owner_tid, owner->tid);
	semshare_store_release(&state->owner_start, owner->start);
	/* Nothing guarded is touched before the epoch is odd. */
	__asm__ __volatile__("" : : : "memory");
	*epoch = mine;
	return died;
}

/**
 * semshare_lock_leave - to be called last, before the semaphore is given back
 * @state: the lock's words
 * @epoch: from semshare_lock_enter()
 *
 * Return: 0, or -EPROTO if somebody else was inside at the same time (the
 * semaphore was reset, or the words were scribbled over).  The epoch is then
 * left alone.
 */
static inline int semshare_lock_leave(struct semshare_lock_state *state,
				      __u32 epoch)
{
	if (semshare_load(&state->epoch) != epoch)
		return -EPROTO;
	semshare_store(&state->owner_kind, SEMSHARE_OWNER_NONE);
	semshare_store(&state->owner_pid, 0);
	semshare_store_release(&state->epoch, epoch + 1);
	return 0;
}

#endif /* SEMSHARE_CORE_LOCK_H */
