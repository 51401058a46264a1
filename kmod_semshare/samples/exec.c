// SPDX-License-Identifier: GPL-2.0
/*
 * A client of semshare's in-kernel API whose records come from where nobody may
 * sleep: every program start, seen through the tracepoint sched_process_exec.
 *
 *	hook (preemption off)		worker (kernel thread)
 *	---------------------		----------------------
 *	slot of this CPU's queue	records of all queues, oldest first
 *	irq_work ----------------->	semshare_ring_put(), which may sleep
 *
 * The hook allocates nothing, sleeps nowhere and takes no spinlock_t, which on
 * PREEMPT_RT would sleep.  Each CPU has a bounded queue with one producer, the
 * hook on that CPU, and one consumer, the worker.  What finds the queue or the
 * ring full is counted, and every record tells the count.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include <linux/vmalloc.h>
#include <semshare/exec.h>
#include <semshare/kapi.h>
#include <semshare/core/key.h>
#include <semshare/core/ring.h>

#include "program_start.h"

#define QUEUE_SLOTS	128	/* a power of two */
#define PUT_TIMEOUT	(HZ / 50)

static unsigned int ring_bytes = 256 << 10;
module_param(ring_bytes, uint, 0444);
MODULE_PARM_DESC(ring_bytes, "capacity of the ring, a power of two from 4096 (default 256 KiB)");

static unsigned int mode = 0600;
module_param(mode, uint, 0444);
MODULE_PARM_DESC(mode, "permission bits of the area and its set (default 0600)");

static atomic64_t missed = ATOMIC64_INIT(0);

static int missed_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld\n", atomic64_read(&missed));
}

static const struct kernel_param_ops missed_ops = { .get = missed_get };
module_param_cb(missed, &missed_ops, NULL, 0444);
MODULE_PARM_DESC(missed, "program starts that found the queue or the ring full (read-only)");

/**
 * struct exec_queue - one CPU's queue: a circular buffer of records
 * @head: next slot that the worker reads; only the worker writes it
 * @tail: next slot that the hook fills; only the hook writes it
 * @slots: the records
 *
 * Both count up and wrap; their difference is the fill level.
 *
 *	hook				worker
 *	A: load-acquire head		C: load-acquire tail
 *	   fill slots[tail]		   copy slots[head]
 *	B: store-release tail		D: store-release head
 *
 * B pairs with C: who sees the tail sees the record.  D pairs with A: who sees
 * the head may write over the slot, for the copy is complete.
 */
struct exec_queue {
	unsigned int head;
	unsigned int tail ____cacheline_aligned_in_smp;
	struct semshare_exec_record slots[QUEUE_SLOTS];
};

static DEFINE_PER_CPU(struct exec_queue *, queues);
static DEFINE_PER_CPU(struct irq_work, wakers);
static struct task_struct *worker;
static struct semshare_ring *ring;
static struct tracepoint *tracepoint;

/* --------------------------------------------------------------------- hook */

/* In the context of the task that starts the program, once it cannot fail. */
static void exec_hook(void *data, struct task_struct *task, pid_t old_pid,
		      struct linux_binprm *bprm)
{
	struct exec_queue *queue;
	unsigned int tail;

	/* One producer to a queue, whatever tracepoints promise on a later kernel. */
	preempt_disable_notrace();
	queue = __this_cpu_read(queues);
	tail = queue->tail;
	if (tail - smp_load_acquire(&queue->head) < QUEUE_SLOTS) {		/* A */
		program_start_fill(&queue->slots[tail % QUEUE_SLOTS], task, bprm);
		smp_store_release(&queue->tail, tail + 1);			/* B */
		irq_work_queue(this_cpu_ptr(&wakers));
	} else {
		atomic64_inc(&missed);
	}
	preempt_enable_notrace();
}

static void wake_worker(struct irq_work *work)
{
	wake_up_process(worker);
}

/* ------------------------------------------------------------------- worker */

static bool queue_has(struct exec_queue *queue)
{
	return smp_load_acquire(&queue->tail) != queue->head;			/* C */
}

/* The queue with the oldest record, so that readers see starts in their order. */
static struct exec_queue *oldest_queue(void)
{
	struct exec_queue *oldest = NULL;
	u64 oldest_ns = U64_MAX;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct exec_queue *queue = per_cpu(queues, cpu);
		u64 time_ns;

		if (!queue_has(queue))
			continue;
		time_ns = queue->slots[queue->head % QUEUE_SLOTS].time_ns;
		if (time_ns < oldest_ns) {
			oldest_ns = time_ns;
			oldest = queue;
		}
	}
	return oldest;
}

static void pass_on(const struct semshare_exec_record *record)
{
	/* Shorter once the ring was full: maybe nobody reads it.  Its lock takes a moment too. */
	static long timeout = PUT_TIMEOUT;
	static bool dead;
	int err = -EPROTO;

	if (!dead)
		err = semshare_ring_put(ring, SEMSHARE_EXEC_RECORD_TYPE, record,
					offsetof(struct semshare_exec_record, path) +
					record->path_size, timeout);
	timeout = err ? 1 : PUT_TIMEOUT;
	if (!err)
		return;
	atomic64_inc(&missed);
	if (!dead && (err == -EPROTO || err == -EIDRM)) {
		dead = true;
		pr_warn("the ring of area %s is %s (%d): program starts are only counted now; load the module again\n",
			SEMSHARE_EXEC_AREA, err == -EIDRM ? "without its set" : "broken", err);
	}
}

static int exec_worker(void *data)
{
	static struct semshare_exec_record record;
	struct exec_queue *queue;

	for (;;) {
		/* Before the look: a wake-up between look and sleep ends the sleep. */
		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		queue = oldest_queue();
		if (!queue) {
			schedule();
			continue;
		}
		__set_current_state(TASK_RUNNING);
		record = queue->slots[queue->head % QUEUE_SLOTS];
		smp_store_release(&queue->head, queue->head + 1);		/* D */
		record.missed = atomic64_read(&missed);
		pass_on(&record);
		cond_resched();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* --------------------------------------------------------------------- load */

static void free_queues(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		vfree(per_cpu(queues, cpu));
}

static int make_queues(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct exec_queue *queue = vzalloc(sizeof(*queue));

		if (!queue) {
			free_queues();
			return -ENOMEM;
		}
		per_cpu(queues, cpu) = queue;
		init_irq_work(per_cpu_ptr(&wakers, cpu), wake_worker);
	}
	return 0;
}

static int make_ring(void)
{
	const struct semshare_ring_params params = {
		.capacity = ring_bytes,
		.variant = SEMSHARE_RING_SYSV,
	};
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_area *area;
	int err;

	if (!ns)
		return -ESRCH;
	area = semshare_area_create(ns, SEMSHARE_EXEC_AREA,
				    SEMSHARE_RING_CONTROL_SIZE + (u64)ring_bytes, mode);
	if (IS_ERR(area)) {
		err = PTR_ERR(area);
		if (err == -EEXIST)
			pr_err("there is an area %s already: semshare rm %s\n",
			       SEMSHARE_EXEC_AREA, SEMSHARE_EXEC_AREA);
		goto out;
	}
	ring = semshare_ring_create(area, &params, mode);
	err = PTR_ERR_OR_ZERO(ring);
	if (err == -EEXIST)
		pr_err("there is a set with the key of area %s already: ipcrm -S 0x%08x\n",
		       SEMSHARE_EXEC_AREA,
		       semshare_key(SEMSHARE_EXEC_AREA, strlen(SEMSHARE_EXEC_AREA)));
	/* From here on the ring holds the area; without a ring it goes. */
	semshare_area_put(area);
out:
	semshare_ipc_ns_put(ns);
	if (err)
		pr_err("no ring of %u bytes, mode 0%o (%d): see the parameters ring_bytes, mode\n",
		       ring_bytes, mode, err);
	return err;
}

static void stop_worker(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		irq_work_sync(per_cpu_ptr(&wakers, cpu));
	kthread_stop(worker);
}

static int __init exec_init(void)
{
	int err;

	tracepoint = program_start_tracepoint();
	if (!tracepoint)
		return -EOPNOTSUPP;
	err = make_queues();
	if (err)
		return err;
	err = make_ring();
	/* To modprobe -EEXIST means that the module is loaded, and all is well. */
	if (err == -EEXIST)
		err = -EBUSY;
	if (err)
		goto err_queues;
	worker = kthread_run(exec_worker, NULL, "semshare_exec");
	if (IS_ERR(worker)) {
		err = PTR_ERR(worker);
		goto err_ring;
	}
	err = tracepoint_probe_register(tracepoint, exec_hook, NULL);
	if (err)
		goto err_worker;
	return 0;

err_worker:
	stop_worker();
err_ring:
	semshare_ring_destroy(ring);
err_queues:
	free_queues();
	return err;
}

static void __exit exec_exit(void)
{
	tracepoint_probe_unregister(tracepoint, exec_hook, NULL);
	/* No hook runs any more, then no irq_work, then no worker. */
	tracepoint_synchronize_unregister();
	stop_worker();
	semshare_ring_destroy(ring);
	free_queues();
}

module_init(exec_init);
module_exit(exec_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("Program starts as records in a ring shared with processes");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
