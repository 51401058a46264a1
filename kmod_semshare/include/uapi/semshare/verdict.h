/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The channel of the module semshare_verdict: for each program start it asks
 * whether it is well.
 */
#ifndef SEMSHARE_VERDICT_H
#define SEMSHARE_VERDICT_H

#include <linux/types.h>
#include <semshare/exec.h>

#define SEMSHARE_VERDICT_AREA		"verdict"

/*
 * The payload is a struct semshare_exec_record of semshare/exec.h, up to its path_size
 * bytes of path; the reply's is a __u32, SEMSHARE_VERDICT_ALLOW or _DENY.
 */
#define SEMSHARE_VERDICT_PROGRAM_START	1

#define SEMSHARE_VERDICT_ALLOW		0
#define SEMSHARE_VERDICT_DENY		1

#endif /* SEMSHARE_VERDICT_H */
