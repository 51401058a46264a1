/* SPDX-License-Identifier: GPL-2.0 */
/* companion.c: the SysV segment in which lies what the semaphores of a set cannot remember. */
#ifndef SEMSHARE_COMPANION_H
#define SEMSHARE_COMPANION_H

#include <linux/types.h>
#include <semshare/abi.h>

#include "import.h"

/**
 * struct semshare_companion - the companion of a set
 * @pinned: its pages
 * @data: they, in a row, or NULL if there is none.  Users write there what they like
 * @size: bytes of it that may be used
 * @kind: enum semshare_set_kinds, SEMSHARE_SET_KINDS if there is none
 * @limit: as in struct semshare_lock_segment
 */
struct semshare_companion {
	struct semshare_pinned pinned;
	void *data;
	size_t size;
	u32 kind;
	u32 limit;
};

int semshare_companion_open(struct semshare_companion *companion, u32 key, int semid, u32 nsems,
			    const char *name);
void semshare_companion_close(struct semshare_companion *companion);

#endif /* SEMSHARE_COMPANION_H */
