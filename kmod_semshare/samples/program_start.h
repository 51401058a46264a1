/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Program starts, seen through the tracepoint sched_process_exec: what the samples
 * that hook in there have in common.  The hook runs in the task that starts the
 * program, once that cannot fail, and may not sleep.
 */
#ifndef SEMSHARE_PROGRAM_START_H
#define SEMSHARE_PROGRAM_START_H

#include <linux/binfmts.h>
#include <linux/cred.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include <linux/uidgid.h>
#include <semshare/exec.h>

static void program_start_found(struct tracepoint *found, void *tracepoint)
{
	if (!strcmp(found->name, "sched_process_exec"))
		*(struct tracepoint **)tracepoint = found;
}

/* NULL, and a line in the log, if there is none. */
static inline struct tracepoint *program_start_tracepoint(void)
{
	struct tracepoint *tracepoint = NULL;

	for_each_kernel_tracepoint(program_start_found, &tracepoint);
	if (!tracepoint)
		pr_err("this kernel has no tracepoint sched_process_exec (CONFIG_TRACEPOINTS)\n");
	return tracepoint;
}

/* Fill in a record, all but @missed. */
static inline void program_start_fill(struct semshare_exec_record *record,
				      struct task_struct *task, const struct linux_binprm *bprm)
{
	record->time_ns = ktime_get_ns();
	record->pid = task_tgid_nr(task);
	rcu_read_lock();
	record->parent = task_tgid_nr(rcu_dereference(task->real_parent));
	rcu_read_unlock();
	record->uid = from_kuid_munged(&init_user_ns, current_uid());
	/* Not get_task_comm(), which takes a lock; current is renaming only itself. */
	memcpy(record->comm, task->comm, SEMSHARE_EXEC_COMM_SIZE);
	record->comm[SEMSHARE_EXEC_COMM_SIZE - 1] = 0;
	record->path_size = strnlen(bprm->filename, SEMSHARE_EXEC_PATH_SIZE);
	memcpy(record->path, bprm->filename, record->path_size);
}

#endif /* SEMSHARE_PROGRAM_START_H */
