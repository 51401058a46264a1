// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel code that answers: it makes a channel, and adds up the numbers that it is
 * sent.
 *
 *	shell:    insmod semshare_sums.ko
 *		  python3 ask_sums.py 1 2 3
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <semshare/kapi.h>

#define SUMS_AREA	"sums"
#define SUMS_ADD	1
#define SUMS_NUMBERS	64	/* in one command */

static struct semshare_channel *channel;

/*
 * In process context, by a thread of the channel.  Sizes are checked against the
 * table below before it is called; what the bytes mean is for us to check.  They are
 * a copy, which nobody changes under our eyes.
 */
static void add(struct semshare_channel *channel, struct semshare_channel_command *command,
		void *context)
{
	static const char too_large[] = "the sum is larger than 64 bits hold";
	const s64 *numbers = command->data;
	s64 sum = 0;
	u32 i;

	if (command->size % sizeof(*numbers)) {
		semshare_channel_reply(channel, command, -EBADMSG, NULL, 0);
		return;
	}
	for (i = 0; i < command->size / sizeof(*numbers); i++) {
		if (check_add_overflow(sum, numbers[i], &sum)) {
			semshare_channel_reply(channel, command, -EOVERFLOW, too_large,
					       sizeof(too_large) - 1);
			return;
		}
	}
	semshare_channel_reply(channel, command, 0, &sum, sizeof(sum));
}

static const struct semshare_channel_operation operations[] = {
	{ SUMS_ADD, sizeof(s64), SUMS_NUMBERS * sizeof(s64), add },
};

static int __init sums_init(void)
{
	const struct semshare_channel_params params = {
		.depth = 16,
		.max_payload = SUMS_NUMBERS * sizeof(s64),
	};
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_area *area;
	int err;

	if (!ns)
		return -ESRCH;
	area = semshare_area_create(ns, SUMS_AREA, semshare_channel_size(&params), 0600);
	semshare_ipc_ns_put(ns);
	if (IS_ERR(area))
		return PTR_ERR(area);
	err = semshare_channel_create(area, &params, 0600);
	if (!err) {
		channel = semshare_channel_serve(area, operations, ARRAY_SIZE(operations), NULL);
		err = PTR_ERR_OR_ZERO(channel);
	}
	/* The channel has a reference of its own; without one the area goes. */
	semshare_area_put(area);
	return err;
}

static void __exit sums_exit(void)
{
	/* Who still asks is told at once, and the name is free. */
	semshare_channel_destroy(channel);
}

module_init(sums_init);
module_exit(sums_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Answers over a channel of semshare: adds numbers");
