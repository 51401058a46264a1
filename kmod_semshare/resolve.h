/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel functions that are not exported, found at load and called directly:
 *
 *	if (!semshare_has(SEMSHARE_FN_SEMCTL_STAT))
 *		return -EOPNOTSUPP;
 *	error = static_call(semshare_semctl_stat)(ns, semid, IPC_STAT, &ds);
 */
#ifndef SEMSHARE_RESOLVE_H
#define SEMSHARE_RESOLVE_H

#include <linux/ipc_namespace.h>
#include <linux/memfd.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/sem.h>
#include <linux/shm.h>
#include <linux/static_call.h>
#include <linux/syscalls.h>
#include <semshare/abi.h>

enum semshare_function_id {
	SEMSHARE_FN_DO_SEMTIMEDOP,
	SEMSHARE_FN_SEMGET,
	SEMSHARE_FN_PUT_IPC_NS,
	SEMSHARE_FN_SEMCTL_SETVAL,
	SEMSHARE_FN_SEMCTL_MAIN,
	SEMSHARE_FN_SEMCTL_DOWN,
	SEMSHARE_FN_SEMCTL_STAT,
	SEMSHARE_FN_SECURITY_SEM_SEMCTL,
	SEMSHARE_FN_MM_ALLOC,
	SEMSHARE_FN_ARCH_PICK_MMAP_LAYOUT,
	SEMSHARE_FN_MEMFD_FCNTL,
	SEMSHARE_FN_DO_SHMAT,
	SEMSHARE_FN_SHMGET,
	SEMSHARE_FN_COUNT,
};

/*
 * The static functions of ipc/sem.c, as they have been since 5.16; the others
 * have their prototypes in the kernel's own headers.
 *
 * A compiler that sees all callers of a static function may rely on what they
 * pass (gcc propagates value ranges without renaming the function), so these
 * are called with what ksys_semctl() would pass and nothing else: a semid that
 * is not negative, a command of its own kind, memory of its own kind.
 */
typedef int semshare_semctl_setval_fn(struct ipc_namespace *ns, int semid, int semnum, int val);
typedef int semshare_semctl_main_fn(struct ipc_namespace *ns, int semid, int semnum, int cmd,
				    void __user *p);
typedef int semshare_semctl_down_fn(struct ipc_namespace *ns, int semid, int cmd,
				    struct semid64_ds *semid64);
typedef int semshare_semctl_stat_fn(struct ipc_namespace *ns, int semid, int cmd,
				    struct semid64_ds *semid64);

DECLARE_STATIC_CALL(semshare_do_semtimedop, __do_semtimedop);
DECLARE_STATIC_CALL(semshare_ksys_semget, ksys_semget);
DECLARE_STATIC_CALL(semshare_put_ipc_ns, put_ipc_ns);
DECLARE_STATIC_CALL(semshare_semctl_setval, semshare_semctl_setval_fn);
DECLARE_STATIC_CALL(semshare_semctl_main, semshare_semctl_main_fn);
DECLARE_STATIC_CALL(semshare_semctl_down, semshare_semctl_down_fn);
DECLARE_STATIC_CALL(semshare_semctl_stat, semshare_semctl_stat_fn);
DECLARE_STATIC_CALL(semshare_security_sem_semctl, security_sem_semctl);
DECLARE_STATIC_CALL(semshare_mm_alloc, mm_alloc);
DECLARE_STATIC_CALL(semshare_arch_pick_mmap_layout, arch_pick_mmap_layout);
DECLARE_STATIC_CALL(semshare_memfd_fcntl, memfd_fcntl);
DECLARE_STATIC_CALL(semshare_do_shmat, do_shmat);
DECLARE_STATIC_CALL(semshare_ksys_shmget, ksys_shmget);

int semshare_resolve_init(void);
bool semshare_has(enum semshare_function_id id);
int semshare_resolve_describe(u32 index, struct semshare_function *out);

#endif /* SEMSHARE_RESOLVE_H */
