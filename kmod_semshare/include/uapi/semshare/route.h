/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The four calls on SysV semaphores, as ioctls of a device: what `semshare
 * exec` puts in the place of a program's system calls.  The module checks and
 * copies as the system calls do and lets its entry points do the rest, so the
 * answer is the one that the system call would give.
 *
 * Each ioctl returns what the call returns: not negative, or -1 and errno.
 * Where it differs from the system call:
 *
 * - EOPNOTSUPP, which no system call gives: SEM_UNDO with
 *   SEMSHARE_ROUTE_KTHREAD, or a kernel that lacks a function
 *   (SEMSHARE_IOC_FUNCTION says which).
 * - ENOMEM with SEMSHARE_ROUTE_KTHREAD: no kernel thread is to be had, or as
 *   many work for this user as the module parameter max_user_threads allows.
 * - SETALL by the caller lends it a mapping and a file for the length of the
 *   call: ENFILE, and ENOMEM where its address space is full.
 *
 * Credentials, IPC namespace and undo list are those that the caller has at the
 * call, never those with which the device was opened: the descriptor is worth
 * no more than the right to make the system call.  Anybody may open the device.
 */
#ifndef SEMSHARE_ROUTE_H
#define SEMSHARE_ROUTE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SEMSHARE_ROUTE_DEVICE	"/dev/semshare-route"

/**
 * enum semshare_route_context - who carries out the operation
 * @SEMSHARE_ROUTE_CALLER: the caller, as in a system call
 * @SEMSHARE_ROUTE_KTHREAD: a kernel thread of this call's own, with the caller's
 *	credentials, while the caller waits for it.  A signal stops it (EINTR).
 *	GETPID then names the kernel thread: its id in the initial pid namespace,
 *	0 to a caller in another
 */
enum semshare_route_context {
	SEMSHARE_ROUTE_CALLER	= 0,
	SEMSHARE_ROUTE_KTHREAD	= 1,
};

/**
 * struct semshare_route_semget - SEMSHARE_ROUTE_SEMGET: semget(2), always by the caller
 * @key: key of the set, or IPC_PRIVATE
 * @nsems: semaphores in the set
 * @flags: permission bits, IPC_CREAT, IPC_EXCL
 * @reserved: 0
 */
struct semshare_route_semget {
	__s32 key;
	__s32 nsems;
	__s32 flags;
	__u32 reserved;
};

/**
 * struct semshare_route_semtimedop - SEMSHARE_ROUTE_SEMTIMEDOP: semop(2), semtimedop(2)
 * @semid: the set
 * @nsops: how many operations
 * @sops: user address of @nsops struct sembuf
 * @timeout: user address of a struct timespec of two 64-bit words, or 0: none
 * @context: enum semshare_route_context
 * @reserved: 0
 */
struct semshare_route_semtimedop {
	__s32 semid;
	__u32 nsops;
	__u64 sops;
	__u64 timeout;
	__u32 context;
	__u32 reserved;
};

/**
 * struct semshare_route_semctl - SEMSHARE_ROUTE_SEMCTL: semctl(2)
 * @semid: the set, or for SEM_STAT and SEM_STAT_ANY an index
 * @semnum: number of the semaphore
 * @cmd: as in the system call
 * @context: enum semshare_route_context
 * @arg: what the fourth argument is, as an unsigned long: a value or a user
 *	address
 */
struct semshare_route_semctl {
	__s32 semid;
	__s32 semnum;
	__s32 cmd;
	__u32 context;
	__u64 arg;
};

/* 0xE5 is SEMSHARE_IOC_TYPE of abi.h. */
#define SEMSHARE_ROUTE_SEMGET		_IOW(0xE5, 0x50, struct semshare_route_semget)
#define SEMSHARE_ROUTE_SEMTIMEDOP	_IOW(0xE5, 0x51, struct semshare_route_semtimedop)
#define SEMSHARE_ROUTE_SEMCTL		_IOW(0xE5, 0x52, struct semshare_route_semctl)

#endif /* SEMSHARE_ROUTE_H */
