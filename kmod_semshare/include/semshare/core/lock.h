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

/*
 * Locks that do not put right by themselves what a dead owner left: all but those of
 * rings.  What such a lock guards is suspect until somebody who holds it says that it
 * is not: every owner until then is told.
 */
enum semshare_lock_found {
	SEMSHARE_LOCK_SOUND	= 0,
	SEMSHARE_LOCK_DIED	= 1,	/* the owner before died inside */
	SEMSHARE_LOCK_SUSPECT	= 2,	/* one before that did, and nobody has seen to it */
};

/* The words say who died before they say that somebody did. */
static inline void semshare_lock_doubt(struct semshare_lock_state *state,
				       struct semshare_owner *dead)
{
	dead->kind = semshare_load(&state->owner_kind);
	dead->pid = semshare_load(&state->owner_pid);
	dead->tid = semshare_load(&state->owner_tid);
	dead->start = semshare_load(&state->owner_start);
	semshare_store(&state->dead_kind, dead->kind);
	semshare_store(&state->dead_pid, dead->pid);
	semshare_store(&state->dead_tid, dead->tid);
	semshare_store(&state->dead_start, dead->start);
	semshare_store_release(&state->suspect, 1);
	semshare_before_kill();
}

/**
 * semshare_lock_dead - whom a suspect lock's words name
 * @state: the lock's words
 * @dead: out: the last owner that was found dead inside
 */
static inline void semshare_lock_dead(const struct semshare_lock_state *state,
				      struct semshare_owner *dead)
{
	dead->kind = semshare_load(&state->dead_kind);
	dead->pid = semshare_load(&state->dead_pid);
	dead->tid = semshare_load(&state->dead_tid);
	dead->start = semshare_load(&state->dead_start);
}

/**
 * semshare_lock_enter_wary - semshare_lock_enter() of a lock that may be suspect
 * @state: the lock's words
 * @owner: the caller
 * @epoch: out: the odd epoch that semshare_lock_leave() wants back
 * @dead: out: unless it is sound, who died
 *
 * Killed in the midst of this its caller leaves the epoch odd: the next one finds
 * that somebody died, too.
 *
 * Return: enum semshare_lock_found.
 */
static inline int semshare_lock_enter_wary(struct semshare_lock_state *state,
					   const struct semshare_owner *owner,
					   __u32 *epoch,
					   struct semshare_owner *dead)
{
	int found = SEMSHARE_LOCK_SOUND;

	if (semshare_load(&state->epoch) & 1) {
		semshare_lock_doubt(state, dead);
		found = SEMSHARE_LOCK_DIED;
	} else if (semshare_load(&state->suspect)) {
		semshare_lock_dead(state, dead);
		found = SEMSHARE_LOCK_SUSPECT;
	}
	(void)semshare_lock_enter(state, owner, epoch);
	if (found == SEMSHARE_LOCK_DIED)
		semshare_store(&state->depth, 0);
	return found;
}

/**
 * semshare_lock_enter_shared - to be called first by whoever took a lock that others
 *	may have at the same time, and whose words are those of the one who has it alone
 * @state: the lock's words
 * @dead: out: unless it is sound, who died
 *
 * All who find an odd epoch write the same words before one of them makes it even,
 * so nobody sees it even and the lock not suspect.
 *
 * Return: enum semshare_lock_found: SEMSHARE_LOCK_DIED to one of them.
 */
static inline int semshare_lock_enter_shared(struct semshare_lock_state *state,
					     struct semshare_owner *dead)
{
	__u32 seen = semshare_load_acquire(&state->epoch);

	if (seen & 1) {
		semshare_lock_doubt(state, dead);
		if (semshare_try_cmpxchg(&state->epoch, &seen, seen + 1)) {
			semshare_store(&state->deaths, semshare_load(&state->deaths) + 1);
			return SEMSHARE_LOCK_DIED;
		}
	}
	if (!semshare_load(&state->suspect))
		return SEMSHARE_LOCK_SOUND;
	semshare_lock_dead(state, dead);
	return SEMSHARE_LOCK_SUSPECT;
}

/**
 * semshare_lock_trust - what the lock guards is consistent again
 * @state: the lock's words
 *
 * To be called by whoever holds it.
 */
static inline void semshare_lock_trust(struct semshare_lock_state *state)
{
	semshare_store(&state->suspect, 0);
}

#endif /* SEMSHARE_CORE_LOCK_H */
