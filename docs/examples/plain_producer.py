#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A program that takes part in a semshare ring without semshare.

It imports sysv_ipc, mmap and struct, and nothing else: what it needs to know is written in the ABI header
kmod_semshare/include/uapi/semshare/abi.h, and here once more in the words of this program. It takes the ring's lock,
which is semaphore 0 of an ordinary SysV set, and writes records into the ring's memory, which is an ordinary mapping.
Kernel threads, and processes that use the package, do the same at the same time.

It reads what to do from its standard input, one line each:

    the area          the number of a descriptor it inherited, or a path such as /dev/shm/semshare.NAME
    its number        the producer's number that it writes into its records
    the longest pattern behind a record's header, in bytes
    1 or 0            take the lock, or do not, to see what the lock is for
    where in the area a word stands that is not zero when this program is to stop; 0: there is none

and then any number of commands:

    records COUNT     put COUNT records (0: until told to stop), then print "records" and how many it has put
    counter OFFSET COUNT
                      add 1 to the 8-byte number at OFFSET COUNT times (0: until told to stop), then print "counter" and
                      how many times it has

So, beside a ring that somebody else reads:

    printf '%s\n' /dev/shm/semshare.NAME 7 64 1 0 'records 1000' | python3 plain_producer.py
"""

import mmap
import struct

import sysv_ipc

# ------------------------------------------------------------------------------------------------- what the header says

# struct semshare_ring_control up to its lock words: magic, abi_version, features, variant, capacity, max_payload,
# control_size, semid, key, nsems, flags. "@": this machine's byte order and alignment, as the C structure has them.
CONTROL = struct.Struct("@IIIIQIIiIII")
MAGIC = 0x47525353
ABI_VERSION = 2
CONTROL_SIZE = 4096  # the records start here

# Words of the control page, as places in an array of 8-byte or of 4-byte words.
HEAD, TAIL = 128 // 8, 136 // 8
PUTS, PUT_BYTES, REPAIRS, DEATHS, SEQUENCE = 160 // 8, 176 // 8, 184 // 8, 88 // 8, 256 // 8
EPOCH, NEED_DATA, NEED_SPACE, STATE = 64 // 4, 144 // 4, 148 // 4, 152 // 4

# struct semshare_record, which stands before each payload: size, type, position, sequence, time_ns. Records start at
# multiples of its size, 32.
RECORD = struct.Struct("@IIQQQ")
ALIGN = RECORD.size

# struct semshare_demo_record, our payload: a checksum of all that follows it, producer, sequence, time_ns; and a
# pattern behind it.
CHECKSUM = struct.Struct("@I")
DEMO = struct.Struct("@IIQQ")
DEMO_RECORD_TYPE = 1

# ------------------------------------------------------------------------------------------------------------- the area

where = input()
producer = int(input())
longest_pattern = int(input())
locked = input() == "1"
stop_at = int(input())

if where.isdigit():
    # The parent opened the area and let us inherit the descriptor. An area of the module says its size to mmap, but
    # not to a seek, so the geometry is read through a first, short mapping.
    descriptor = int(where)
    with mmap.mmap(descriptor, CONTROL_SIZE) as page:
        control = CONTROL.unpack_from(page)
else:
    file = open(where, "r+b")  # noqa: SIM115  (kept open: the mapping below is made from it)
    descriptor = file.fileno()
    control = CONTROL.unpack(file.read(CONTROL.size))

magic, abi_version, features, variant, capacity, max_payload, control_size, semid, key, nsems, flags = control
if (magic, abi_version, features, variant, control_size) != (MAGIC, ABI_VERSION, 0, 1, CONTROL_SIZE):
    raise SystemExit("plain_producer: no ring of ABI version 2 here; give the area of a running ring")
if DEMO.size + longest_pattern > max_payload:
    raise SystemExit(f"plain_producer: a record of this ring holds {max_payload} bytes; ask for a shorter pattern")

# The ring, and one page of what else the area holds, if we are told of words there.
area = mmap.mmap(descriptor, CONTROL_SIZE + capacity + (mmap.PAGESIZE if stop_at else 0))

# Every single word that others look at is written through these two arrays. Assigning to a memoryview of a native
# format is one store of the whole word. struct.pack_into() is not: it zeroes the bytes first and then fills them in, so
# another process could see a tail of 0, or be left with one if we are killed in between.
words = memoryview(area).cast("Q")
halves = memoryview(area).cast("I")

# ------------------------------------------------------------------------------------------------------------- the lock

# Open, never create: IPC_CREAT would reset semaphore 0 to its initial value under everybody's feet.
mutex = sysv_ipc.Semaphore(key)
if mutex.id != semid:
    raise SystemExit(f"plain_producer: key {key} now names another set than the ring's, {semid}; make a new ring")

# SEM_UNDO: if we are killed inside, the kernel gives the semaphore back. The same for acquire and release, or the
# kernel's books do not balance.
mutex.undo = True


def take() -> int:
    """Take the lock, and say by an odd epoch that somebody is inside."""
    while True:
        try:
            mutex.acquire()
            break
        except sysv_ipc.Error as error:
            # A signal (stopping and continuing us is enough) ends the wait; sysv_ipc has no errno to tell it by.
            if "ignal" not in str(error):
                raise
    epoch = halves[EPOCH]
    if epoch % 2:
        # The last owner died inside. Its put or get is either committed, by one store of tail or head, or it never
        # happened; but whom it was about to wake may still sleep.
        epoch = (epoch + 2) % 2**32
        halves[EPOCH] = epoch
        words[DEATHS] += 1
        words[REPAIRS] += 1
        halves[NEED_DATA] = 1
        halves[NEED_SPACE] = 1
    else:
        epoch += 1
        halves[EPOCH] = epoch
    return epoch


def give(epoch: int) -> None:
    """Make the epoch even again, and give the lock back."""
    if halves[EPOCH] != epoch:
        raise SystemExit("plain_producer: two owners at once, somebody reset the semaphore; make a new ring")
    halves[EPOCH] = (epoch + 1) % 2**32
    mutex.release()


def told_to_stop() -> bool:
    return bool(stop_at and words[stop_at // 8])


# ------------------------------------------------------------------------------------------------------------ a payload

# CRC-32 as zlib computes it: the table of what each byte does to the remainder, for the reversed polynomial.
CRC = []
for byte in range(256):
    remainder = byte
    for _ in range(8):
        remainder = remainder >> 1 ^ (0xEDB88320 if remainder & 1 else 0)
    CRC.append(remainder)


def crc32(data: bytes) -> int:
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = CRC[(remainder ^ byte) & 0xFF] ^ remainder >> 8
    return remainder ^ 0xFFFFFFFF


PATTERN = bytes(range(256)) * (longest_pattern // 256 + 2)
uptime = open("/proc/uptime", "rb", buffering=0)  # noqa: SIM115  (open as long as the program runs)


def now_ns() -> int:
    """Nanoseconds since boot, to a hundredth of a second: the clock one can read without importing time.

    It counts suspended time, which CLOCK_MONOTONIC does not; on a machine that never slept they are the same.
    """
    uptime.seek(0)
    seconds, hundredths = uptime.read().split()[0].split(b".")
    return int(seconds) * 10**9 + int(hundredths) * 10**7


def payload(sequence: int) -> bytes:
    first = (producer + sequence) & 0xFF
    length = (sequence * 37 + producer * 11) % (longest_pattern + 1)
    data = DEMO.pack(0, producer, sequence, now_ns()) + PATTERN[first : first + length]
    data = data[CHECKSUM.size :]
    return CHECKSUM.pack(crc32(data)) + data


# --------------------------------------------------------------------------------------------------------- two commands


def put(data: bytes) -> bool:
    """Put one record, if there is space for it. Returns whether there was."""
    footprint = (RECORD.size + len(data) + ALIGN - 1) // ALIGN * ALIGN
    # A look without the lock, so as not to take it for nothing: true or not a moment later, it is only a hint. We
    # cannot sleep until there is space: that is semaphore 2 of the set, and sysv_ipc knows only semaphore 0.
    if capacity - (words[TAIL] - words[HEAD]) < footprint:
        return False
    epoch = take() if locked else 0
    if halves[STATE]:
        raise SystemExit("plain_producer: the ring is broken; make a new one")
    head, tail = words[HEAD], words[TAIL]
    fits: bool = footprint <= capacity - (tail - head)
    if fits:
        # Header and payload first …
        at = CONTROL_SIZE + tail % capacity
        sequence = words[SEQUENCE]
        RECORD.pack_into(area, at, len(data), DEMO_RECORD_TYPE, tail, sequence, now_ns())
        start = (tail + RECORD.size) % capacity
        split = min(len(data), capacity - start)  # the payload may go on at the ring's beginning
        area[CONTROL_SIZE + start : CONTROL_SIZE + start + split] = data[:split]
        area[CONTROL_SIZE : CONTROL_SIZE + len(data) - split] = data[split:]
        # … and the tail last: this one store commits the record. Killed before it, we wrote into free space, and all
        # that is seen of it is a number that is missing.
        words[SEQUENCE] = sequence + 1
        words[TAIL] = tail + footprint
        words[PUTS] += 1
        words[PUT_BYTES] += len(data)
    if locked:
        # A consumer that sleeps on semaphore 1 is not woken by us (semaphore 0 only, again): it looks by itself after
        # 100 ms at the latest, or another producer wakes it before.
        give(epoch)
    return fits


def records(count: int) -> int:
    """Put `count` records, one at least. Returns how many were put."""
    sequence = 0
    while sequence == 0 or (not told_to_stop() and sequence != count):
        data = payload(sequence)
        while not put(data):
            if told_to_stop():
                return sequence
        sequence += 1
    return sequence


def counter(offset: int, count: int) -> int:
    """Add 1 to the number at `offset` `count` times, once at least. Returns how many times it was done."""
    done = 0
    while done == 0 or (not told_to_stop() and done != count):
        epoch = take() if locked else 0
        # Read, add, write: three steps, which is what the lock is for.
        words[offset // 8] = words[offset // 8] + 1
        if locked:
            give(epoch)
        done += 1
    return done


print("ready", flush=True)
while True:
    try:
        command, *numbers = input().split()
    except EOFError:
        break
    if command == "records":
        print("records", records(*map(int, numbers)), flush=True)
    elif command == "counter":
        print("counter", counter(*map(int, numbers)), flush=True)
    else:
        raise SystemExit(f"plain_producer: there is no command {command!r}: records COUNT or counter OFFSET COUNT")
