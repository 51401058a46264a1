// SPDX-License-Identifier: GPL-2.0
/*
 * The entry points to SysV semaphores for kernel code.
 *
 * This is the part of ipc/sem.c that a system call runs before the core, with
 * kernel memory in place of user memory and with an explicit IPC namespace.
 * The core, which owns the values, the queues and the wake-ups, is the
 * kernel's own: a system call and a kernel thread can never disagree.
 *
 * What a system call cannot get wrong, but a kernel caller can, is refused:
 *
 * - Sleeping contexts only.  Even an operation that never sleeps takes locks
 *   that may not be taken elsewhere.
 * - SEM_UNDO belongs to the process and is carried out at its end, in the
 *   namespace that it has then.  A kernel thread never ends as a process does,
 *   and a set of another namespace would not be found, or a stranger's would.
 * - semget() looks in the caller's own namespace, whatever it is asked.
 *
 * Credentials are those of the caller.  A kernel thread may do everything:
 * whoever binds a set for one checks the user's right first, in the user's
 * context (semshare_sem_may_alter()).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/export.h>
#include <linux/init_task.h>
#include <linux/instruction_pointer.h>
#include <linux/ipc.h>
#include <linux/nsproxy.h>
#include <linux/preempt.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/user_namespace.h>

#include "compat/compat.h"
#include "resolve.h"
#include "scratch.h"
#include "sem.h"

/* What ipc/sem.c calls sc_semmsl and so on. */
enum sem_limit {
	SEM_LIMIT_MSL,
	SEM_LIMIT_MNS,
	SEM_LIMIT_OPM,
	SEM_LIMIT_MNI,
};

#define SEM_IDS		0	/* IPC_SEM_IDS of ipc/util.h */

static const struct cred *init_creds;

static int sem_limit(const struct ipc_namespace *ns, enum sem_limit limit)
{
	return READ_ONCE(ns->sem_ctls[limit]);	/* a sysctl may change it now */
}

/**
 * semshare_may_not_sleep - say so in the log, the first time
 * @caller: who calls where sleeping is not allowed
 *
 * Context: any.
 * Return: false, for semshare_may_sleep().
 */
bool semshare_may_not_sleep(unsigned long caller)
{
	pr_warn_once("%pS calls semshare where sleeping is not allowed (-EOPNOTSUPP): hand over to a kernel thread or a workqueue there\n",
		     (void *)caller);
	return false;
}

/* -------------------------------------------------------------- namespaces */

/**
 * semshare_ipc_ns_get - the IPC namespace of the calling task
 *
 * Take it where there is a process to ask, such as in open(), and keep it: in
 * release() of a killed process's last file it is gone.
 *
 * Context: task context.
 * Return: the namespace, with a reference to be given back with
 * semshare_ipc_ns_put(); NULL in a task that is exiting.
 */
struct ipc_namespace *semshare_ipc_ns_get(void)
{
	if (!current->nsproxy)
		return NULL;
	return get_ipc_ns(current->nsproxy->ipc_ns);
}
EXPORT_SYMBOL_GPL(semshare_ipc_ns_get);

/**
 * semshare_ipc_ns_put - give back a reference to an IPC namespace
 * @ns: from semshare_ipc_ns_get(), or NULL
 *
 * Context: process context; the namespace is freed later, by the kernel.
 */
void semshare_ipc_ns_put(struct ipc_namespace *ns)
{
	if (ns)
		static_call(semshare_put_ipc_ns)(ns);
}
EXPORT_SYMBOL_GPL(semshare_ipc_ns_put);

/* ------------------------------------------------------------------ semget */

/**
 * semshare_semget - semget(2) for kernel code
 * @ns: the caller's own IPC namespace
 * @key: key of the set, or IPC_PRIVATE
 * @nsems: semaphores in the set, if it is made
 * @semflg: permission bits, IPC_CREAT, IPC_EXCL
 *
 * Context: process context, may sleep.
 * Return: the id of the set, or what semget(2) answers:
 *
 * * %-EACCES, %-EEXIST, %-EINVAL, %-ENOENT, %-ENOMEM, %-ENOSPC - see there
 * * %-EXDEV - @ns is not the caller's own namespace
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
int semshare_semget(struct ipc_namespace *ns, key_t key, int nsems, int semflg)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (!ns)
		return -EINVAL;
	if (!current->nsproxy || current->nsproxy->ipc_ns != ns)
		return -EXDEV;
	return static_call(semshare_ksys_semget)(key, nsems, semflg);
}
EXPORT_SYMBOL_GPL(semshare_semget);

/* -------------------------------------------------------- semop, semtimedop */

/*
 * The undo list of a task is walked when it exits, with the namespace that the
 * task has then: only a process, in its own namespace, not yet exiting.  It
 * takes its list along when it unshares the namespace (unshare and setns run
 * exit_sem first), so a check at each call is enough.
 */
static int check_undo(const struct ipc_namespace *ns)
{
	if (current->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER | PF_EXITING) ||
	    !current->nsproxy)
		return -EOPNOTSUPP;
	return current->nsproxy->ipc_ns == ns ? 0 : -EXDEV;
}

static noinline int sem_operate_checked(struct ipc_namespace *ns, int semid, struct sembuf *sops,
					unsigned int nsops, const struct timespec64 *timeout,
					unsigned long caller)
{
	unsigned short flags = 0;
	unsigned int i;
	int error;

	if (!semshare_may_sleep(caller))
		return -EOPNOTSUPP;
	if (!ns)
		return -EINVAL;
	/* As in the system call: counted before any is read. */
	if (nsops > semshare_sem_max_nsops(ns))
		return -E2BIG;
	if (!nsops)
		return -EINVAL;
	if (!sops)
		return -EFAULT;

	for (i = 0; i < nsops; i++)
		flags |= sops[i].sem_flg;
	if (flags & SEM_UNDO) {
		error = check_undo(ns);
		if (error)
			return error;
	}
	return static_call(semshare_do_semtimedop)(semid, sops, nsops, timeout, ns);
}

/*
 * A lock and an unlock are one operation each, without undo, and go straight
 * on: with a tail call to either side no stack frame is made (make bench counts
 * the instructions).  The limit on the number of operations, which may be 0, is
 * the core's to check as well.
 */
static __always_inline int sem_operate(struct ipc_namespace *ns, int semid, struct sembuf *sops,
				       unsigned int nsops, const struct timespec64 *timeout,
				       unsigned long caller)
{
	if (likely(nsops == 1 && ns && sops && !(sops->sem_flg & SEM_UNDO) &&
		   semshare_is_sleepable()))
		return static_call(semshare_do_semtimedop)(semid, sops, 1, timeout, ns);
	return sem_operate_checked(ns, semid, sops, nsops, timeout, caller);
}

/**
 * semshare_sem_max_nsops - how many operations one call may have
 * @ns: the namespace
 *
 * Context: any.
 * Return: the limit, SEMOPM; it may be changed at any time.
 */
unsigned int semshare_sem_max_nsops(const struct ipc_namespace *ns)
{
	return sem_limit(ns, SEM_LIMIT_OPM);
}

/**
 * semshare_semtimedop - semtimedop(2) for kernel code
 * @ns: namespace of the set; the caller holds a reference
 * @semid: the set
 * @sops: the operations, in kernel memory that no user can write and nobody
 *	changes before the return: while the caller sleeps others carry them out
 * @nsops: how many
 * @timeout: how long to wait, or NULL: until it can be done
 *
 * All operations are done at once or none is.  In a kernel thread the sleep
 * ends early with kthread_stop().  That wake-up stays: after it every operation
 * that would sleep answers -EINTR at once, so clean up with operations that
 * do not wait, and do not try again.
 *
 * Context: process context, may sleep.
 * Return: 0, or what semtimedop(2) answers:
 *
 * * %-E2BIG, %-EACCES, %-EAGAIN, %-EFBIG, %-EIDRM, %-EINTR, %-EINVAL, %-ENOMEM,
 *   %-ERANGE - see there; %-EINTR is, as there, also what the kernel answers if the
 *   set is removed at the instant at which the time is over
 * * %-EFAULT - @sops is NULL
 * * %-EOPNOTSUPP - called where sleeping is not allowed; or SEM_UNDO in a
 *   kernel thread, in a worker of a process or in a task that is exiting
 * * %-EXDEV - SEM_UNDO, and @ns is not the caller's own namespace
 */
int semshare_semtimedop(struct ipc_namespace *ns, int semid, struct sembuf *sops,
			unsigned int nsops, const struct timespec64 *timeout)
{
	return sem_operate(ns, semid, sops, nsops, timeout, _RET_IP_);
}
EXPORT_SYMBOL_GPL(semshare_semtimedop);

/**
 * semshare_semop - semop(2) for kernel code
 * @ns: namespace of the set; the caller holds a reference
 * @semid: the set
 * @sops: the operations, see semshare_semtimedop()
 * @nsops: how many
 *
 * Context: process context, may sleep.
 * Return: as semshare_semtimedop() without a timeout.
 */
int semshare_semop(struct ipc_namespace *ns, int semid, struct sembuf *sops,
		   unsigned int nsops)
{
	return sem_operate(ns, semid, sops, nsops, NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(semshare_semop);

/* Whether they pass the checks of ipcperms() everywhere, as init_creds do. */
static bool is_kernels(const struct cred *cred)
{
	return cred->user_ns == &init_user_ns && cap_raised(cred->cap_effective, CAP_IPC_OWNER);
}

/**
 * semshare_sem_operate - semtimedop() on a set whose use was granted before
 * @ns: as semshare_semtimedop()
 * @semid: as semshare_semtimedop()
 * @sops: as semshare_semtimedop(), without SEM_UNDO
 * @nsops: as semshare_semtimedop()
 * @timeout: as semshare_semtimedop()
 *
 * With the kernel's credentials: the right was asked with semshare_sem_may_alter()
 * of the one who opened what uses the set.  Asked at each operation it could be
 * lost between a P and its V, and the semaphore with it.
 *
 * Context: process context, may sleep: the caller has asked semshare_may_sleep().
 * Return: as semshare_semtimedop().
 */
int semshare_sem_operate(struct ipc_namespace *ns, int semid, struct sembuf *sops,
			 unsigned int nsops, const struct timespec64 *timeout)
{
	const struct cred *old;
	int error;

	/* Most kernel threads may do everything as they are. */
	if (likely(current->flags & PF_KTHREAD && is_kernels(current_cred())))
		return static_call(semshare_do_semtimedop)(semid, sops, nsops, timeout, ns);
	old = override_creds(init_creds);
	error = static_call(semshare_do_semtimedop)(semid, sops, nsops, timeout, ns);
	revert_creds(old);
	return error;
}

/* ------------------------------------------------------------------ semctl */

/* The one command whose function no kernel has by a name that can be found. */
static int sem_info(struct ipc_namespace *ns, int cmd, struct seminfo *out)
{
	struct ipc_ids *ids = &ns->ids[SEM_IDS];
	struct seminfo info = {
		.semmni = sem_limit(ns, SEM_LIMIT_MNI),
		.semmns = sem_limit(ns, SEM_LIMIT_MNS),
		.semmsl = sem_limit(ns, SEM_LIMIT_MSL),
		.semopm = sem_limit(ns, SEM_LIMIT_OPM),
		.semvmx = SEMVMX,
		.semmnu = SEMMNU,
		.semmap = SEMMAP,
		.semume = SEMUME,
		.semusz = SEMUSZ,
		.semaem = SEMAEM,
	};
	int highest, error;

	if (!semshare_has(SEMSHARE_FN_SECURITY_SEM_SEMCTL))
		return -EOPNOTSUPP;
	error = static_call(semshare_security_sem_semctl)(NULL, cmd);
	if (error)
		return error;

	down_read(&ids->rwsem);
	if (cmd == SEM_INFO) {
		info.semusz = ids->in_use;
		info.semaem = ns->used_sems;
	}
	highest = ids->in_use ? ids->max_idx : 0;
	up_read(&ids->rwsem);

	if (!out)
		return -EFAULT;
	*out = info;
	return highest;
}

static int sem_stat(struct ipc_namespace *ns, int semid, int cmd, struct semid64_ds *out)
{
	struct semid64_ds ds;
	int result;

	if (!semshare_has(SEMSHARE_FN_SEMCTL_STAT))
		return -EOPNOTSUPP;
	result = static_call(semshare_semctl_stat)(ns, semid, cmd, &ds);
	if (result < 0)
		return result;
	if (!out)
		return -EFAULT;
	*out = ds;
	return result;
}

static int sem_down(struct ipc_namespace *ns, int semid, int cmd, const struct semid64_ds *in)
{
	struct semid64_ds ds = {};

	if (!semshare_has(SEMSHARE_FN_SEMCTL_DOWN))
		return -EOPNOTSUPP;
	if (cmd == IPC_SET) {
		if (!in)
			return -EFAULT;
		ds = *in;
	}
	return static_call(semshare_semctl_down)(ns, semid, cmd, &ds);
}

/* The set's data with the kernel's credentials, ids in the initial user namespace. */
static int stat_as_kernel(struct ipc_namespace *ns, int semid, struct semid64_ds *ds)
{
	const struct cred *old;
	int error;

	if (semid < 0)
		return -EINVAL;
	old = override_creds(init_creds);
	error = sem_stat(ns, semid, IPC_STAT, ds);
	revert_creds(old);
	return error;
}

/*
 * GETALL and SETALL.  The size of the set is asked for with the kernel's
 * credentials, because SETALL needs no right to read; the right to what
 * follows is checked there, with the caller's.
 */
static int sem_values(struct ipc_namespace *ns, int semid, int cmd, unsigned short *values,
		      const unsigned int *expected)
{
	struct semid64_ds ds;
	int error = stat_as_kernel(ns, semid, &ds);

	if (error)
		return error;
	if (expected && *expected != ds.sem_nsems)
		return -EINVAL;
	if (!values)
		return -EFAULT;
	return semshare_scratch_semctl(ns, semid, cmd, values, ds.sem_nsems);
}

/**
 * semshare_semctl - semctl(2) for kernel code, with all its commands
 * @ns: namespace of the set; the caller holds a reference
 * @semid: the set; for SEM_STAT and SEM_STAT_ANY an index
 * @semnum: number of the semaphore, for commands about one
 * @cmd: IPC_STAT, IPC_SET, IPC_RMID, IPC_INFO, SEM_INFO, SEM_STAT,
 *	SEM_STAT_ANY, GETVAL, SETVAL, GETPID, GETNCNT, GETZCNT, GETALL, SETALL
 * @arg: as @cmd needs it, in kernel memory; untouched if the call fails
 *
 * GETALL and SETALL move as many values as the set has semaphores: a caller
 * that cannot be sure how many that are uses semshare_semctl_values().  Both
 * are atomic.  The caller must not hold the mmap_lock of a process.  SETALL by a
 * process needs some of its address space and a file (-ENOMEM, -ENFILE).
 *
 * GETPID answers as the caller sees it: a kernel thread sees ids of the initial
 * pid namespace, and a process in a container sees a kernel thread as 0.
 *
 * Context: process context, may sleep.
 * Return: as semctl(2) answers, a value that is not negative or
 *
 * * %-EACCES, %-EIDRM, %-EINVAL, %-ENOMEM, %-EPERM, %-ERANGE - see there
 * * %-EFAULT - NULL where @cmd needs memory
 * * %-EOPNOTSUPP - called where sleeping is not allowed, or this kernel lacks
 *   the function for @cmd
 */
int semshare_semctl(struct ipc_namespace *ns, int semid, int semnum, int cmd,
		    union semshare_semun arg)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (!ns || semid < 0)
		return -EINVAL;

	switch (cmd) {
	case IPC_INFO:
	case SEM_INFO:
		return sem_info(ns, cmd, arg.info);
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		return sem_stat(ns, semid, cmd, arg.buf);
	case GETALL:
	case SETALL:
		return sem_values(ns, semid, cmd, arg.array, NULL);
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
		if (!semshare_has(SEMSHARE_FN_SEMCTL_MAIN))
			return -EOPNOTSUPP;
		return static_call(semshare_semctl_main)(ns, semid, semnum, cmd, NULL);
	case SETVAL:
		if (!semshare_has(SEMSHARE_FN_SEMCTL_SETVAL))
			return -EOPNOTSUPP;
		return static_call(semshare_semctl_setval)(ns, semid, semnum, arg.val);
	case IPC_SET:
	case IPC_RMID:
		return sem_down(ns, semid, cmd, arg.buf);
	default:
		return -EINVAL;
	}
}
EXPORT_SYMBOL_GPL(semshare_semctl);

/**
 * semshare_sem_control - semctl() on a set whose use was granted before
 * @ns: as semshare_semctl()
 * @semid: as semshare_semctl()
 * @semnum: as semshare_semctl()
 * @cmd: as semshare_semctl()
 * @arg: as semshare_semctl()
 *
 * With the kernel's credentials, as semshare_sem_operate().
 *
 * Context: process context, may sleep.
 * Return: as semshare_semctl().
 */
int semshare_sem_control(struct ipc_namespace *ns, int semid, int semnum, int cmd,
			 union semshare_semun arg)
{
	const struct cred *old = override_creds(init_creds);
	int result = semshare_semctl(ns, semid, semnum, cmd, arg);

	revert_creds(old);
	return result;
}

/**
 * semshare_semctl_values - GETALL or SETALL of a known number of semaphores
 * @ns: namespace of the set; the caller holds a reference
 * @semid: the set
 * @cmd: GETALL or SETALL
 * @values: @count values
 * @count: how many semaphores the set must have
 *
 * semctl(2) has no such argument, and a set may be removed and made anew, with
 * more semaphores and the same id, at any time: kernel code that takes the id
 * from a user must not let the set decide how much is written to @values.
 *
 * Context: as semshare_semctl().
 * Return: as semshare_semctl(), and %-EINVAL if the set has another number of
 * semaphores, of which nothing was read or written.
 */
int semshare_semctl_values(struct ipc_namespace *ns, int semid, int cmd,
			   unsigned short *values, unsigned int count)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (!ns || semid < 0 || (cmd != GETALL && cmd != SETALL))
		return -EINVAL;
	return sem_values(ns, semid, cmd, values, &count);
}
EXPORT_SYMBOL_GPL(semshare_semctl_values);

/* -------------------------------------------------- for the rest of semshare */

/**
 * semshare_sem_facts - what a set can be recognised by
 * @ns: its namespace
 * @semid: its id
 * @facts: out
 *
 * Asked with the kernel's credentials: it says nothing about the caller's
 * rights.
 *
 * Context: process context, may sleep.
 * Return: 0; -EINVAL or -EIDRM if there is no such set; -EOPNOTSUPP if this
 * kernel lacks a function.
 */
int semshare_sem_facts(struct ipc_namespace *ns, int semid, struct semshare_sem_facts *facts)
{
	struct semid64_ds ds;
	int error = stat_as_kernel(ns, semid, &ds);

	if (error)
		return error;
	facts->key = ds.sem_perm.key;
	facts->cuid = ds.sem_perm.cuid;
	facts->cgid = ds.sem_perm.cgid;
	facts->nsems = ds.sem_nsems;
	return 0;
}

/**
 * semshare_sem_same - whether an id still names the set that it did
 * @ns: its namespace
 * @semid: its id
 * @facts: from semshare_sem_facts(), then
 *
 * Context: process context, may sleep.
 * Return: false if the set is gone or visibly another one.
 */
bool semshare_sem_same(struct ipc_namespace *ns, int semid,
		       const struct semshare_sem_facts *facts)
{
	struct semshare_sem_facts now;

	return !semshare_sem_facts(ns, semid, &now) && now.key == facts->key &&
	       now.cuid == facts->cuid && now.cgid == facts->cgid && now.nsems == facts->nsems;
}

/**
 * semshare_sem_may_alter - whether the caller may change a set
 * @ns: its namespace
 * @semid: its id
 *
 * The kernel itself is asked, security modules included, by an operation that
 * can never be done: no semaphore holds 32768.  Nothing changes, not even
 * sem_otime.
 *
 * Context: process context, of the process whose right is in question.
 * Return: 0; -EACCES if not; -EINVAL or -EIDRM if there is no such set.
 */
int semshare_sem_may_alter(struct ipc_namespace *ns, int semid)
{
	struct sembuf never = { .sem_op = -SEMVMX - 1, .sem_flg = IPC_NOWAIT };
	int error = semshare_semop(ns, semid, &never, 1);

	return error == -EAGAIN ? 0 : error;
}

/**
 * semshare_sem_may_remove - whether the caller may remove a set
 * @ns: its namespace
 * @semid: its id
 *
 * The rule of IPC_RMID: its owner, its creator, or CAP_SYS_ADMIN over the
 * namespace.  What a security module would say to IPC_RMID is not known before
 * it is done; what it says to a change, semshare_sem_may_alter() asks.
 *
 * Context: process context, of the process whose right is in question.
 * Return: 0; -EPERM if not; -EINVAL or -EIDRM if there is no such set;
 * -EOPNOTSUPP if this kernel lacks a function.
 */
int semshare_sem_may_remove(struct ipc_namespace *ns, int semid)
{
	struct semid64_ds ds;
	int error;

	if (!semshare_has(SEMSHARE_FN_SEMCTL_DOWN))
		return -EOPNOTSUPP;
	error = stat_as_kernel(ns, semid, &ds);
	if (error)
		return error;
	if (uid_eq(current_euid(), make_kuid(&init_user_ns, ds.sem_perm.uid)) ||
	    uid_eq(current_euid(), make_kuid(&init_user_ns, ds.sem_perm.cuid)) ||
	    ns_capable(ns->user_ns, CAP_SYS_ADMIN))
		return 0;
	return -EPERM;
}

/**
 * semshare_sem_remove - remove a set that was bound
 * @ns: its namespace; the caller holds a reference
 * @semid: its id
 * @facts: from semshare_sem_facts(), when it was bound
 *
 * With the kernel's credentials: the right to it was checked at the time.
 *
 * Context: process context, may sleep, also in a task that is exiting.
 * Return: 0; -EIDRM if the set is gone or the id names another one by now;
 * -EOPNOTSUPP if this kernel lacks a function.
 */
int semshare_sem_remove(struct ipc_namespace *ns, int semid,
			const struct semshare_sem_facts *facts)
{
	const struct cred *old;
	int error;

	if (!semshare_sem_same(ns, semid, facts))
		return -EIDRM;
	/*
	 * The check above and the removal are two steps, because the kernel has
	 * no IPC_RMID that compares.  To slip a stranger's set in between, one
	 * would have to remove this one and have the very next semget() of the
	 * namespace reuse its id, within these few instructions.
	 */
	old = override_creds(init_creds);
	error = sem_down(ns, semid, IPC_RMID, NULL);
	revert_creds(old);
	return error == -EINVAL ? -EIDRM : error;
}

/**
 * semshare_features - what SEMSHARE_IOC_VERSION reports
 *
 * Context: any.
 * Return: SEMSHARE_FEATURE_* that this module has on this kernel.
 */
u32 semshare_features(void)
{
	u32 features = SEMSHARE_FEATURES;

	if (!semshare_scratch_ready())
		features &= ~SEMSHARE_FEATURE_SEMCTL_ALL;
	return features;
}

/**
 * semshare_sem_init - get ready
 *
 * Context: module load.
 * Return: 0 or -ENOMEM.
 */
int __init semshare_sem_init(void)
{
	/* Of init_task: those of the first process, with every capability. */
	init_creds = prepare_kernel_cred(&init_task);
	return init_creds ? 0 : -ENOMEM;
}

/**
 * semshare_sem_exit - give back what semshare_sem_init() took
 *
 * Context: module unload.
 */
void semshare_sem_exit(void)
{
	put_cred(init_creds);
}
