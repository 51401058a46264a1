# SPDX-License-Identifier: MIT
"""Builds semshare._abi: the ABI headers as cffi sees them, and the C library's calls for semaphores and segments.

Nothing of the ABI is declared here a second time. Structures, constants and ioctl numbers are read out of the headers
in kmod_semshare/include, whose text is near enough to what cffi parses; the C compiler then checks every one of them
against the headers themselves.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

TOP = Path(__file__).resolve().parent.parent
INCLUDE = TOP / "kmod_semshare" / "include"

# abi.h first: the others use its names.
UAPI = sorted((INCLUDE / "uapi" / "semshare").glob("*.h"), key=lambda path: (path.name != "abi.h", path.name))
# What `semshare exec` shares with the library that it loads into programs.
PRELOAD = TOP / "semshare" / "preload" / "counters.h"
CORE_NAMES = ("key.h", "histogram.h", "ring.h", "variants.h", "parameters.h", "channel.h", "event.h")
CORE = [INCLUDE / "semshare" / "core" / name for name in CORE_NAMES]

# Functions of the core headers that Python calls; those that work on a ring's memory are called by semshare._native.
FUNCTIONS = (
    "semshare_name_length",
    "semshare_key",
    "semshare_event_turn",
    "semshare_event_count",
    "semshare_histogram_bucket",
    "semshare_histogram_value",
    "semshare_ring_footprint",
    "semshare_ring_max_payload",
    "semshare_ring_capacity_valid",
    "semshare_ring_params_payload",
    "semshare_ring_format",
    "semshare_ring_look",
    "semshare_ring_state_text",
    "semshare_parameter_order",
    "semshare_parameter_within",
    "semshare_double_scaled",
    "semshare_parameters_format",
    "semshare_channel_capacity",
    "semshare_channel_size",
    "semshare_channel_format",
)

# What <linux/types.h> says; cffi does not read it.
TYPES = """
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
"""

# The C library's own. "...;" lets the compiler fill in the members' places and the constants' values.
LIBC = """
typedef int key_t;
typedef long time_t;
struct sembuf { unsigned short sem_num; short sem_op; short sem_flg; ...; };
struct timespec { time_t tv_sec; long tv_nsec; ...; };
struct ipc_perm {
    key_t __key; unsigned int uid; unsigned int gid; unsigned int cuid; unsigned int cgid; unsigned short __seq; ...;
};
struct semid_ds { struct ipc_perm sem_perm; time_t sem_otime; time_t sem_ctime; unsigned long sem_nsems; ...; };
struct shmid_ds {
    struct ipc_perm shm_perm; size_t shm_segsz; time_t shm_atime; time_t shm_dtime; time_t shm_ctime; int shm_cpid;
    int shm_lpid; unsigned long shm_nattch; ...;
};
struct seminfo {
    int semmap; int semmni; int semmns; int semmnu; int semmsl; int semopm; int semume; int semusz; int semvmx;
    int semaem; ...;
};
int semget(key_t key, int nsems, int semflg);
int semop(int semid, struct sembuf *sops, size_t nsops);
int semtimedop(int semid, struct sembuf *sops, size_t nsops, const struct timespec *timeout);
int semctl(int semid, int semnum, int cmd, ...);
int shmget(key_t key, size_t size, int shmflg);
int shmctl(int shmid, int cmd, struct shmid_ds *buf);
int semshare_ipc_mode(const struct ipc_perm *perm);
void semshare_ipc_set_mode(struct ipc_perm *perm, int mode);
void semshare_publish(unsigned int *word, unsigned int value);
unsigned int semshare_published(const unsigned int *word);

#define IPC_CREAT ...
#define IPC_EXCL ...
#define IPC_NOWAIT ...
#define IPC_PRIVATE ...
#define IPC_RMID ...
#define IPC_SET ...
#define IPC_STAT ...
#define IPC_INFO ...
#define SEM_UNDO ...
#define GETPID ...
#define GETVAL ...
#define GETALL ...
#define GETNCNT ...
#define GETZCNT ...
#define SETVAL ...
#define SETALL ...
#define SEM_STAT ...
#define SEM_STAT_ANY ...
#define SEM_INFO ...
#define SHM_STAT ...
#define SHM_DEST ...
"""

SOURCE = """
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>
{includes}

/* glibc and musl do not agree on the width of this member. */
static int semshare_ipc_mode(const struct ipc_perm *perm)
{{
    return (int)perm->mode;
}}

static void semshare_ipc_set_mode(struct ipc_perm *perm, int mode)
{{
    perm->mode = mode;
}}

/* The word that makes a structure visible: everything before it is there for whoever sees it. */
static void semshare_publish(unsigned int *word, unsigned int value)
{{
    semshare_store_release(word, value);
}}

static unsigned int semshare_published(const unsigned int *word)
{{
    return semshare_load_acquire(word);
}}
"""


def without_comments(text: str) -> str:
    """The header's code alone, lines continued by a backslash put together."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    return text.replace("\\\n", " ")


def declarations_of(text: str) -> str:
    """What cffi is to parse of a uapi header: constants, enumerations and structures, in their order."""
    found = []
    guard = re.search(r"^#ifndef (\w+)$", text, flags=re.MULTILINE)
    pattern = re.compile(
        r"^#define[ \t]+(?P<name>\w+)[ \t]+(?P<value>\S[^\n]*)$"
        r"|^(?P<type>(?:struct|enum)\s+\w+\s*\{.*?^\};)$",
        flags=re.MULTILINE | re.DOTALL,
    )
    for match in pattern.finditer(text):
        name, value = match["name"], (match["value"] or "").strip()
        if match["type"]:
            found.append(match["type"])
        elif guard is not None and name == guard[1]:
            continue
        elif value.startswith('"'):
            found.append(f"static char *const {name};")
        elif re.fullmatch(r"(?:0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*", value):
            # A plain number may stand in an array's size, so cffi has to know it while it parses.
            found.append(f"#define {name} {value.rstrip('uUlL')}")
        else:
            found.append(f"#define {name} ...")
    return "\n".join(found)


def prototypes_of(text: str) -> dict[str, str]:
    """The prototypes of a core header's functions, by name."""
    pattern = re.compile(r"^static inline ([\w \*]+?\*?)\s*\b(\w+)\(([^)]*)\)\s*\{", flags=re.MULTILINE)
    return {match[2]: " ".join(f"{match[1]} {match[2]}({match[3]});".split()) for match in pattern.finditer(text)}


def declarations() -> str:
    """Everything that cffi is told."""
    if not UAPI:
        raise SystemExit(f"semshare: no ABI headers in {INCLUDE}/uapi/semshare: build from a complete source tree")
    parts = [TYPES]
    parts += [declarations_of(without_comments(path.read_text(encoding="utf-8"))) for path in [*UAPI, PRELOAD]]
    known: dict[str, str] = {}
    for path in CORE:
        known.update(prototypes_of(without_comments(path.read_text(encoding="utf-8"))))
    if missing := [name for name in FUNCTIONS if name not in known]:
        raise SystemExit(f"semshare: {', '.join(missing)}: not found in {INCLUDE}/semshare/core")
    parts += [known[name] for name in FUNCTIONS]
    return "\n".join([*parts, LIBC])


def make_builder() -> FFI:
    builder = FFI()
    builder.cdef(declarations())
    includes = [f"#include <semshare/{path.name}>" for path in UAPI]
    includes += [f"#include <semshare/core/{path.name}>" for path in CORE]
    includes += [f'#include "{PRELOAD.name}"']
    builder.set_source(
        "semshare._abi",
        SOURCE.format(includes="\n".join(includes)),
        include_dirs=[os.path.relpath(path) for path in (INCLUDE / "uapi", INCLUDE, PRELOAD.parent)],
        define_macros=[("_GNU_SOURCE", "1")],
    )
    return builder


builder = make_builder()
