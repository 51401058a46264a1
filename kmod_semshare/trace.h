/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: what kernel code does with the lock and the ring.  Its
 * semaphore operations are no system calls, so strace and the syscall events
 * do not see them; these do (events/semshare in tracefs).
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM semshare

#if !defined(SEMSHARE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define SEMSHARE_TRACE_H

#include <linux/tracepoint.h>
#include <semshare/abi.h>

/*
 * Fixed arrays rather than __string(): area names are padded to their size,
 * and __assign_str() takes other arguments from 6.10 on.
 */
TRACE_EVENT(lock_wait,
	TP_PROTO(const char *name),
	TP_ARGS(name),
	TP_STRUCT__entry(
		__array(char, name, SEMSHARE_NAME_SIZE)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, SEMSHARE_NAME_SIZE);
	),
	TP_printk("area=%s", __entry->name)
);

TRACE_EVENT(lock_taken,
	TP_PROTO(const char *name, u64 wait_ns, bool contended, bool owner_died),
	TP_ARGS(name, wait_ns, contended, owner_died),
	TP_STRUCT__entry(
		__array(char, name, SEMSHARE_NAME_SIZE)
		__field(u64, wait_ns)
		__field(bool, contended)
		__field(bool, owner_died)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, SEMSHARE_NAME_SIZE);
		__entry->wait_ns = wait_ns;
		__entry->contended = contended;
		__entry->owner_died = owner_died;
	),
	TP_printk("area=%s wait_ns=%llu contended=%d owner_died=%d",
		  __entry->name, __entry->wait_ns, __entry->contended, __entry->owner_died)
);

TRACE_EVENT(lock_released,
	TP_PROTO(const char *name, u64 held_ns),
	TP_ARGS(name, held_ns),
	TP_STRUCT__entry(
		__array(char, name, SEMSHARE_NAME_SIZE)
		__field(u64, held_ns)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, SEMSHARE_NAME_SIZE);
		__entry->held_ns = held_ns;
	),
	TP_printk("area=%s held_ns=%llu", __entry->name, __entry->held_ns)
);

/*
 * One event for a batch; the cursors are those after it.  Their arguments are
 * not called head and tail, because <trace/perf.h> has a variable of that name.
 */
DECLARE_EVENT_CLASS(ring_pass,
	TP_PROTO(const char *name, unsigned int records, u64 bytes, u64 oldest, u64 newest),
	TP_ARGS(name, records, bytes, oldest, newest),
	TP_STRUCT__entry(
		__array(char, name, SEMSHARE_NAME_SIZE)
		__field(unsigned int, records)
		__field(u64, bytes)
		__field(u64, head)
		__field(u64, tail)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, SEMSHARE_NAME_SIZE);
		__entry->records = records;
		__entry->bytes = bytes;
		__entry->head = oldest;
		__entry->tail = newest;
	),
	TP_printk("area=%s records=%u bytes=%llu head=%llu tail=%llu",
		  __entry->name, __entry->records, __entry->bytes, __entry->head, __entry->tail)
);

DEFINE_EVENT(ring_pass, ring_put,
	TP_PROTO(const char *name, unsigned int records, u64 bytes, u64 oldest, u64 newest),
	TP_ARGS(name, records, bytes, oldest, newest)
);

DEFINE_EVENT(ring_pass, ring_get,
	TP_PROTO(const char *name, unsigned int records, u64 bytes, u64 oldest, u64 newest),
	TP_ARGS(name, records, bytes, oldest, newest)
);

TRACE_EVENT(ring_repair,
	TP_PROTO(const char *name, int err),
	TP_ARGS(name, err),
	TP_STRUCT__entry(
		__array(char, name, SEMSHARE_NAME_SIZE)
		__field(int, err)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, SEMSHARE_NAME_SIZE);
		__entry->err = err;
	),
	TP_printk("area=%s err=%d", __entry->name, __entry->err)
);

TRACE_EVENT(ring_broken,
	TP_PROTO(const char *name, u32 why, u64 oldest, u64 newest),
	TP_ARGS(name, why, oldest, newest),
	TP_STRUCT__entry(
		__array(char, name, SEMSHARE_NAME_SIZE)
		__field(u32, why)
		__field(u64, head)
		__field(u64, tail)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, SEMSHARE_NAME_SIZE);
		__entry->why = why;
		__entry->head = oldest;
		__entry->tail = newest;
	),
	TP_printk("area=%s why=%u head=%llu tail=%llu", __entry->name, __entry->why,
		  __entry->head, __entry->tail)
);

#endif /* SEMSHARE_TRACE_H */

/* Found through -I of this folder, see Kbuild. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
