// SPDX-License-Identifier: GPL-2.0
/*
 * For tests/vm: what the module says at load when it was built for a kernel
 * without CONFIG_SYSVIPC.  This is the part that says it, compiled as there.
 */
#undef CONFIG_SYSVIPC
#include "../resolve.c"

#include <linux/module.h>

module_init(semshare_resolve_init);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("semshare without CONFIG_SYSVIPC, for tests");
