/* SPDX-License-Identifier: GPL-2.0 */
/* route.c: /dev/semshare-route, the four calls as ioctls. */
#ifndef SEMSHARE_ROUTE_DEVICE_H
#define SEMSHARE_ROUTE_DEVICE_H

int semshare_route_init(void);
void semshare_route_start(void);
void semshare_route_exit(void);

#endif /* SEMSHARE_ROUTE_DEVICE_H */
