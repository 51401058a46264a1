// SPDX-License-Identifier: GPL-2.0
/*
 * A client of semshare's in-kernel API that asks: for every program start it wants
 * the verdict of a process, and does not wait longer than a time limit for it.  The
 * verdict is only logged, and counted; the program runs in any case.
 *
 *	hook (preemption off)		thread of the channel
 *	---------------------		---------------------
 *	semshare_channel_call_async()	verdict_done(): the reply, or why there is none
 *
 * The channel copies what is asked, and bounds how much is outstanding: so the hook
 * needs no queue of its own.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/string.h>
#include <semshare/kapi.h>
#include <semshare/verdict.h>

#include "program_start.h"

static unsigned int timeout_ms = 200;
module_param(timeout_ms, uint, 0644);
MODULE_PARM_DESC(timeout_ms, "how long to wait for a verdict, in milliseconds (default 200)");

static bool allow = true;
module_param(allow, bool, 0644);
MODULE_PARM_DESC(allow, "the verdict where there is none in time (default Y)");

static unsigned int depth = 256;
module_param(depth, uint, 0444);
MODULE_PARM_DESC(depth, "verdicts that can be waited for at a time (default 256)");

static unsigned int mode = 0600;
module_param(mode, uint, 0444);
MODULE_PARM_DESC(mode, "permission bits of the area and its set (default 0600)");

static atomic64_t allowed = ATOMIC64_INIT(0);
static atomic64_t denied = ATOMIC64_INIT(0);
static atomic64_t defaulted = ATOMIC64_INIT(0);

static int counter_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld\n", atomic64_read(kp->arg));
}

static const struct kernel_param_ops counter_ops = { .get = counter_get };
module_param_cb(allowed, &counter_ops, &allowed, 0444);
MODULE_PARM_DESC(allowed, "program starts that were allowed (read-only)");
module_param_cb(denied, &counter_ops, &denied, 0444);
MODULE_PARM_DESC(denied, "program starts that were denied (read-only)");
module_param_cb(defaulted, &counter_ops, &defaulted, 0444);
MODULE_PARM_DESC(defaulted, "of these, those without a verdict in time (read-only)");

static struct semshare_channel *channel;
static struct tracepoint *tracepoint;

/* @pid: of the program. */
static void conclude(u64 pid, bool well, const char *why)
{
	atomic64_inc(well ? &allowed : &denied);
	if (!well)
		pr_info_ratelimited("pid %llu: denied%s\n", pid, why);
}

static void conclude_without(u64 pid)
{
	atomic64_inc(&defaulted);
	conclude(pid, READ_ONCE(allow), ", for want of a verdict");
}

static void verdict_done(void *context, u64 cookie, int status, const void *data, size_t size)
{
	u32 verdict;

	if (status || size != sizeof(verdict)) {
		conclude_without(cookie);
		return;
	}
	memcpy(&verdict, data, sizeof(verdict));
	conclude(cookie, verdict == SEMSHARE_VERDICT_ALLOW, "");
}

static void verdict_hook(void *data, struct task_struct *task, pid_t old_pid,
			 struct linux_binprm *bprm)
{
	struct semshare_exec_record record;

	program_start_fill(&record, task, bprm);
	record.missed = 0;
	if (semshare_channel_call_async(channel, SEMSHARE_VERDICT_PROGRAM_START, record.pid,
					&record, offsetof(struct semshare_exec_record, path) +
					record.path_size,
					msecs_to_jiffies(READ_ONCE(timeout_ms)), verdict_done,
					NULL, NULL))
		conclude_without(record.pid);
}

static int make_channel(void)
{
	const struct semshare_channel_params params = {
		.depth = depth,
		.max_payload = sizeof(struct semshare_exec_record),
	};
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_area *area;
	int err;

	if (!ns)
		return -ESRCH;
	area = semshare_area_create(ns, SEMSHARE_VERDICT_AREA, semshare_channel_size(&params),
				    mode);
	semshare_ipc_ns_put(ns);
	err = PTR_ERR_OR_ZERO(area);
	if (!err) {
		err = semshare_channel_create(area, &params, mode);
		if (!err)
			channel = semshare_channel_open(area);
		if (!err)
			err = PTR_ERR_OR_ZERO(channel);
		/* From here on the channel holds the area; without a channel it goes. */
		semshare_area_put(area);
	}
	if (err)
		pr_err("no channel %s of depth %u, mode 0%o (%d); if there is one: semshare rm %s\n",
		       SEMSHARE_VERDICT_AREA, depth, mode, err, SEMSHARE_VERDICT_AREA);
	/* To modprobe -EEXIST means that the module is loaded, and all is well. */
	return err == -EEXIST ? -EBUSY : err;
}

static int __init verdict_init(void)
{
	int err;

	tracepoint = program_start_tracepoint();
	if (!tracepoint)
		return -EOPNOTSUPP;
	err = make_channel();
	if (err)
		return err;
	err = tracepoint_probe_register(tracepoint, verdict_hook, NULL);
	if (err)
		semshare_channel_destroy(channel);
	return err;
}

static void __exit verdict_exit(void)
{
	tracepoint_probe_unregister(tracepoint, verdict_hook, NULL);
	/* No hook runs any more; what is outstanding ends with the channel. */
	tracepoint_synchronize_unregister();
	semshare_channel_destroy(channel);
}

module_init(verdict_init);
module_exit(verdict_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("Asks a process for a verdict on every program start");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
