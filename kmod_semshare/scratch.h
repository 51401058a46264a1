/* SPDX-License-Identifier: GPL-2.0 */
/* GETALL and SETALL: the one kernel function that takes user memory only. */
#ifndef SEMSHARE_SCRATCH_H
#define SEMSHARE_SCRATCH_H

#include <linux/ipc_namespace.h>

int semshare_scratch_init(void);
void semshare_scratch_exit(void);
bool semshare_scratch_ready(void);
int semshare_scratch_semctl(struct ipc_namespace *ns, int semid, int cmd,
			    unsigned short *values, unsigned int count);

#endif /* SEMSHARE_SCRATCH_H */
