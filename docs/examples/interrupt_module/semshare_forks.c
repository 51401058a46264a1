// SPDX-License-Identifier: GPL-2.0
/*
 * Records from where nothing may sleep: each process that makes another one, put
 * into the ring of an area by the handler of a kprobe, which on x86 is as good as
 * an NMI.
 *
 *	python3:  ring = semshare.Ring.create("forks", variant="mpsc", policy="refuse")
 *	shell:    insmod semshare_forks.ko area=forks
 *	python3:  print(ring.get_many(10, timeout=1))
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <semshare/kapi.h>

#define FORKS_TYPE	1

static char *area = "forks";
module_param(area, charp, 0444);
MODULE_PARM_DESC(area, "name of the area with the ring (default forks)");

static struct semshare_ring *ring;

struct fork_record {
	u32 pid;	/* who makes a process, in the first pid namespace */
	char name[TASK_COMM_LEN];
};

static int forks_handler(struct kprobe *probe, struct pt_regs *registers)
{
	struct fork_record record = { .pid = task_tgid_nr(current) };

	memcpy(record.name, current->comm, sizeof(record.name));
	/*
	 * The timeout is 0, so it may be called here.  What the ring has no space
	 * for it counts itself (policy="refuse"): there is nothing to do about it.
	 */
	(void)semshare_ring_put(ring, FORKS_TYPE, &record, sizeof(record), 0);
	return 0;
}

static struct kprobe forks_probe = {
	.symbol_name = "kernel_clone",
	.pre_handler = forks_handler,
};

static struct semshare_ring *forks_open(void)
{
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_ring *opened;
	struct semshare_area *buffer;
	int err;

	if (!ns)
		return ERR_PTR(-ESRCH);
	buffer = semshare_area_attach(ns, area, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	semshare_ipc_ns_put(ns);
	if (IS_ERR(buffer)) {
		/* Of -ENOENT insmod says that a symbol is unknown. */
		pr_err("area %s: %pe\n", area, buffer);
		return ERR_CAST(buffer);
	}
	opened = semshare_ring_open(buffer, 0);
	/* The handle has a reference of its own. */
	semshare_area_put(buffer);
	if (IS_ERR(opened))
		return opened;
	/* Here, as taking it may sleep.  Where there can be many producers (mpsc) there is none. */
	err = semshare_ring_take_role(opened, SEMSHARE_ROLE_PRODUCER);
	if (err) {
		semshare_ring_close(opened);
		return ERR_PTR(err);
	}
	return opened;
}

static int __init forks_init(void)
{
	int err;

	ring = forks_open();
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	err = register_kprobe(&forks_probe);
	if (err)
		semshare_ring_close(ring);
	return err;
}

static void __exit forks_exit(void)
{
	/* Waits for handlers that are under way. */
	unregister_kprobe(&forks_probe);
	semshare_ring_close(ring);
}

module_init(forks_init);
module_exit(forks_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Puts who forks into a ring of semshare, from a kprobe");
