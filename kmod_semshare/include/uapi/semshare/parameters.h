/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * Parameters and state: named 64-bit values in an area.  User space writes
 * parameters, whoever declared them reads; whoever declared them, kernel code or
 * a process, writes state, and everybody permitted reads it.
 *
 *      0 +----------------------------------+
 *        | semshare_parameters_directory    |  written by who declared them, once:
 *        |                                  |  names, types, limits
 *   4096 +----------------------------------+
 *        | semshare_parameters_bank: state  |  written by who declared them
 *   8192 +----------------------------------+
 *        | semshare_parameters_bank: values |  written by users
 *  12288 +----------------------------------+
 *
 * Pages by writer: the first SEMSHARE_PARAMETERS_GUARD bytes of a module's area
 * are mapped for writing by nobody but its creator (SEMSHARE_IOC_MAKE).
 * In POSIX shared memory that is an agreement.
 *
 * The value of entry i is word i of a bank.  One that is in no group is
 * words[0][i], changed by one store.  The members of a group change together:
 * those of version v are in words[v & 1].  See semshare/core/parameters.h.
 */
#ifndef SEMSHARE_PARAMETERS_H
#define SEMSHARE_PARAMETERS_H

#include <linux/types.h>
#include <semshare/abi.h>

#define SEMSHARE_PARAMETERS_MAGIC	0x4d505353u	/* "SSPM" */
#define SEMSHARE_PARAMETERS_STATE	4096	/* where the banks are */
#define SEMSHARE_PARAMETERS_VALUES	8192
#define SEMSHARE_PARAMETERS_GUARD	8192
#define SEMSHARE_PARAMETERS_SIZE	12288
#define SEMSHARE_PARAMETERS_NSEMS	1	/* those who change groups exclude each other */

#define SEMSHARE_PARAMETERS_MAX		60	/* parameters and state together */
#define SEMSHARE_PARAMETERS_GROUPS	16	/* numbers of groups: 1 to 15 */
#define SEMSHARE_PARAMETER_NAME_SIZE	32	/* 1 to 31 of [A-Za-z0-9_], zero-padded */

enum semshare_parameter_type {
	SEMSHARE_PARAMETER_INT		= 1,	/* __s64 */
	SEMSHARE_PARAMETER_DOUBLE	= 2,	/* the bits of an IEEE 754 double */
};

/**
 * struct semshare_parameter - one entry of the directory
 * @name: no other entry has it
 * @type: enum semshare_parameter_type
 * @group: 0, or which of a parameter's fellows change together with it; state: 0
 * @minimum: the least value, as bits of @type; state: of no meaning, zero
 * @maximum: the greatest
 * @initial: what it is at first
 */
struct semshare_parameter {
	char name[SEMSHARE_PARAMETER_NAME_SIZE];
	__u32 type;
	__u32 group;
	__u64 minimum;
	__u64 maximum;
	__u64 initial;
};

#define SEMSHARE_PARAMETERS_ENDED	0x1u	/* who declared them does not look any more */

/**
 * struct semshare_parameters_directory - the first page
 * @magic: SEMSHARE_PARAMETERS_MAGIC, stored last
 * @abi_version: SEMSHARE_ABI_VERSION
 * @features: 0
 * @flags: SEMSHARE_PARAMETERS_ENDED
 * @parameters: how many there are: the first entries
 * @states: how many state values: the entries behind them
 * @declared_by: enum semshare_owner_kind
 * @declared_pid: the process, 0 if kernel code
 * @reserved: zero
 * @name: of the area
 * @entries: @parameters + @states of them
 */
struct semshare_parameters_directory {
	__u32 magic;
	__u32 abi_version;
	__u32 features;
	__u32 flags;
	__u32 parameters;
	__u32 states;
	__u32 declared_by;
	__u32 declared_pid;
	__u8 reserved[160];
	char name[SEMSHARE_NAME_SIZE];
	struct semshare_parameter entries[SEMSHARE_PARAMETERS_MAX];
};

/**
 * struct semshare_parameters_bank - a page of values
 * @lock: values: of the set's semaphore 0, which whoever changes a group holds
 * @refused: state: how often who declared them found a value, or a group,
 *	outside of its limits, and went on with the last good one
 * @unsettled: state: how often a group changed under its eyes too often to be read
 * @reserved: zero
 * @versions: of each group
 * @words: two copies
 */
struct semshare_parameters_bank {
	struct semshare_lock_state lock;
	__u64 refused;
	__u64 unsettled;
	__u64 reserved[6];
	__u64 versions[SEMSHARE_PARAMETERS_GROUPS];
	__u64 words[2][SEMSHARE_PARAMETERS_MAX];
};

#endif /* SEMSHARE_PARAMETERS_H */
