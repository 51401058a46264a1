// SPDX-License-Identifier: GPL-2.0
/*
 * A function, called in a context of one's choice, on the processor of one's
 * choice where that is an interrupt: a tasklet, a hard irq_work, or an
 * NMI that is sent by the APIC.
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include <asm/apic.h>
#include <asm/nmi.h>
#include <semshare/ring_test.h>

#include "context.h"

#define NMI_TRIES	50000	/* of 100 microseconds */

struct context_job {
	struct tasklet_struct tasklet;
	struct irq_work work;
	long (*function)(void *argument);
	void *argument;
	long result;
	bool done;	/* of an NMI, which can wake nobody */
};

static DEFINE_PER_CPU(struct context_job *, nmi_jobs);
static DEFINE_MUTEX(nmi_mutex);		/* one sender at a time */

static void run_tasklet(struct tasklet_struct *tasklet)
{
	struct context_job *job = container_of(tasklet, struct context_job, tasklet);

	job->result = in_serving_softirq() ? job->function(job->argument) : -ENODEV;
}

static void run_interrupt(struct irq_work *work)
{
	struct context_job *job = container_of(work, struct context_job, work);

	job->result = in_hardirq() ? job->function(job->argument) : -ENODEV;
}

/* On the processor that is to be interrupted; an idle one calls it from its loop. */
static void queue_interrupt(void *job)
{
	irq_work_queue(&((struct context_job *)job)->work);
}

static void interrupt(struct context_job *job, u32 cpu)
{
	job->work = IRQ_WORK_INIT_HARD(run_interrupt);
	smp_call_function_single(cpu, queue_interrupt, job, true);
	irq_work_sync(&job->work);
}

static int run_nmi(unsigned int type, struct pt_regs *registers)
{
	struct context_job *job = xchg(this_cpu_ptr(&nmi_jobs), NULL);

	if (!job)
		return NMI_DONE;
	job->result = in_nmi() ? job->function(job->argument) : -ENODEV;
	/* Pairs with send_nmi(). */
	smp_store_release(&job->done, true);
	return NMI_HANDLED;
}

static void send_nmi(struct context_job *job, u32 cpu)
{
	struct context_job **slot = per_cpu_ptr(&nmi_jobs, cpu);
	unsigned int tries;

	mutex_lock(&nmi_mutex);
	WRITE_ONCE(*slot, job);
	apic->send_IPI_mask(cpumask_of(cpu), NMI_VECTOR);
	/* Pairs with run_nmi(). */
	for (tries = 0; !smp_load_acquire(&job->done); tries++) {
		/* Unless it has just been taken it never arrived. */
		if (tries == NMI_TRIES && xchg(slot, NULL)) {
			job->result = -ETIME;
			break;
		}
		if (tries < 100)
			cpu_relax();
		else
			usleep_range(100, 200);
	}
	mutex_unlock(&nmi_mutex);
}

/**
 * test_run_in - call a function in a context
 * @context: enum semshare_ring_test_context
 * @cpu: HARDIRQ, NMI: the processor to interrupt; else 0
 * @function: what to call
 * @argument: its argument
 *
 * Context: process context, sleeps.
 * Return: what the function returns, or -EINVAL (no such context or processor),
 * -ETIME (the NMI was not delivered), -ENODEV (it was another context).
 */
long test_run_in(u32 context, u32 cpu, long (*function)(void *argument), void *argument)
{
	struct context_job job = { .function = function, .argument = argument };

	if (context < SEMSHARE_RING_TEST_HARDIRQ && cpu)
		return -EINVAL;
	switch (context) {
	case SEMSHARE_RING_TEST_PROCESS:
		return function(argument);
	case SEMSHARE_RING_TEST_PREEMPT_OFF:
		preempt_disable();
		job.result = function(argument);
		preempt_enable();
		return job.result;
	case SEMSHARE_RING_TEST_SOFTIRQ:
		tasklet_setup(&job.tasklet, run_tasklet);
		tasklet_schedule(&job.tasklet);
		/* Waits until it has run. */
		tasklet_kill(&job.tasklet);
		return job.result;
	case SEMSHARE_RING_TEST_HARDIRQ:
	case SEMSHARE_RING_TEST_NMI:
		break;
	default:
		return -EINVAL;
	}
	cpus_read_lock();
	if (cpu >= nr_cpu_ids || !cpu_online(cpu))
		job.result = -EINVAL;
	else if (context == SEMSHARE_RING_TEST_NMI)
		send_nmi(&job, cpu);
	else
		interrupt(&job, cpu);
	cpus_read_unlock();
	return job.result;
}

int test_contexts_init(void)
{
	return register_nmi_handler(NMI_LOCAL, run_nmi, 0, "semshare-ring-test");
}

void test_contexts_exit(void)
{
	unregister_nmi_handler(NMI_LOCAL, "semshare-ring-test");
}
