/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The kernel's side of parameters, call by call, for tests: one open file of
 * /dev/semshare-parameters-test (module semshare_parameters_test) declares one set
 * of them, and has kernel threads read it.
 */
#ifndef SEMSHARE_PARAMETERS_TEST_H
#define SEMSHARE_PARAMETERS_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <semshare/parameters.h>

/**
 * struct semshare_parameters_test_create - SEMSHARE_PARAMETERS_TEST_IOC_CREATE
 * @name: of the area
 * @parameters: how many parameters
 * @states: how many state values
 * @mode: permission bits
 * @reserved: zero
 * @entries: what to declare
 */
struct semshare_parameters_test_create {
	char name[SEMSHARE_NAME_SIZE];
	__u32 parameters;
	__u32 states;
	__u32 mode;
	__u32 reserved;
	struct semshare_parameter entries[SEMSHARE_PARAMETERS_MAX];
};

enum semshare_parameters_test_operation {
	SEMSHARE_PARAMETERS_TEST_GET		= 1,
	SEMSHARE_PARAMETERS_TEST_READ		= 2,
	SEMSHARE_PARAMETERS_TEST_SET_STATE	= 3,
	SEMSHARE_PARAMETERS_TEST_ADD_STATE	= 4,
	SEMSHARE_PARAMETERS_TEST_DESTROY	= 5,
	SEMSHARE_PARAMETERS_TEST_SCALED		= 6,	/* semshare_double_scaled() */
};

/**
 * struct semshare_parameters_test_call - SEMSHARE_PARAMETERS_TEST_IOC_CALL
 * @operation: enum semshare_parameters_test_operation
 * @index: of the entry; SCALED: the scale
 * @bits: GET, SCALED: out; SET_STATE, ADD_STATE, SCALED: in
 * @values: READ: out
 */
struct semshare_parameters_test_call {
	__u32 operation;
	__u32 index;
	__u64 bits;
	__u64 values[SEMSHARE_PARAMETERS_MAX];
};

#define SEMSHARE_PARAMETERS_TEST_THREADS	8

/**
 * struct semshare_parameters_test_readers - SEMSHARE_PARAMETERS_TEST_IOC_READERS
 * @threads: in: kernel threads that read from now on, in place of those before;
 *	every other one with interrupts off
 * @reserved: zero
 * @looks: out: of those that were stopped: times they read everything
 * @changes: out: times a group had changed since the last time
 * @mixed: out: times a group's members were not first, first + 1, …
 * @outside: out: times a value was outside of its limits
 */
struct semshare_parameters_test_readers {
	__u32 threads;
	__u32 reserved;
	__u64 looks;
	__u64 changes;
	__u64 mixed;
	__u64 outside;
};

#define SEMSHARE_PARAMETERS_TEST_IOC_CREATE \
	_IOW(0xE5, 0x7C, struct semshare_parameters_test_create)
#define SEMSHARE_PARAMETERS_TEST_IOC_CALL \
	_IOWR(0xE5, 0x7D, struct semshare_parameters_test_call)
#define SEMSHARE_PARAMETERS_TEST_IOC_READERS \
	_IOWR(0xE5, 0x7E, struct semshare_parameters_test_readers)

#endif /* SEMSHARE_PARAMETERS_TEST_H */
