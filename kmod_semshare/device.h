/* SPDX-License-Identifier: GPL-2.0 */
/* device.c: /dev/semshare, the way from user space to areas. */
#ifndef SEMSHARE_DEVICE_H
#define SEMSHARE_DEVICE_H

#include <linux/compiler_types.h>

long semshare_ioctl_version(void __user *argument);
int semshare_device_init(void);
void semshare_device_exit(void);

#endif /* SEMSHARE_DEVICE_H */
