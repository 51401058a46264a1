/* SPDX-License-Identifier: GPL-2.0 */
/* sem.c: SysV semaphore sets.  What other modules may call is in kapi.h. */
#ifndef SEMSHARE_SEM_H
#define SEMSHARE_SEM_H

#include <linux/irqflags.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <semshare/kapi.h>

bool semshare_may_not_sleep(unsigned long caller);

/**
 * semshare_is_sleepable - whether sleeping is allowed here
 *
 * As far as this kernel can tell: one without CONFIG_PREEMPT_COUNT does not see
 * preemption switched off.  On PREEMPT_RT a spinlock leaves preemption on but
 * counts as an RCU reader, and softirqs are counted by themselves.
 *
 * Context: any.
 */
static __always_inline bool semshare_is_sleepable(void)
{
	return !(preempt_count() | irq_count()) && !irqs_disabled() && !rcu_preempt_depth();
}

/**
 * semshare_may_sleep - what every exported function asks first
 * @caller: _RET_IP_, for the log
 *
 * Context: any.
 * Return: false, and a line in the log the first time, if it may not.
 */
static inline bool semshare_may_sleep(unsigned long caller)
{
	return likely(semshare_is_sleepable()) || semshare_may_not_sleep(caller);
}

/**
 * struct semshare_sem_facts - what no semctl() can change about a set
 * @key: its key
 * @cuid: who made it, in the initial user namespace
 * @cgid: their group
 * @nsems: how many semaphores
 *
 * An id is used again in time, so whoever keeps one keeps these beside it.
 * Times are no good for this: SETVAL changes sem_ctime.
 */
struct semshare_sem_facts {
	key_t key;
	uid_t cuid;
	gid_t cgid;
	unsigned int nsems;
};

int semshare_sem_init(void);
void semshare_sem_exit(void);
u32 semshare_features(void);
unsigned int semshare_sem_max_nsops(const struct ipc_namespace *ns);

int semshare_sem_facts(struct ipc_namespace *ns, int semid, struct semshare_sem_facts *facts);
bool semshare_sem_same(struct ipc_namespace *ns, int semid,
		       const struct semshare_sem_facts *facts);
int semshare_sem_operate(struct ipc_namespace *ns, int semid, struct sembuf *sops,
			 unsigned int nsops, const struct timespec64 *timeout);
int semshare_sem_control(struct ipc_namespace *ns, int semid, int semnum, int cmd,
			 union semshare_semun arg);
int semshare_sem_may_alter(struct ipc_namespace *ns, int semid);
int semshare_sem_may_remove(struct ipc_namespace *ns, int semid);
int semshare_sem_remove(struct ipc_namespace *ns, int semid,
			const struct semshare_sem_facts *facts);

#endif /* SEMSHARE_SEM_H */
