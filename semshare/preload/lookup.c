// SPDX-License-Identifier: MIT
/*
 * Which function a program gets that asks the loader for one by name.
 *
 * Most get ours without being asked here: it comes before the C library in the
 * order in which names are searched.  Who asks the C library itself
 * (dlsym(dlopen("libc.so.6", …), "semop"), as Python's ctypes does), or for what
 * comes behind himself, and is behind us, passes us by.
 *
 * The functions that ours stand before are found in the loader's list of
 * objects, by reading their symbol tables: dlsym() is ours, so it cannot be
 * asked, and this way the answer is there before any library was set up.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "environment.h"
#include "preload.h"

#define HIDDEN		__attribute__((visibility("hidden")))
#define NOT_DEFAULT	0x8000	/* in a version's index: not what who names no version gets */

typedef void *lookup_function(void *handle, const char *name);
typedef void *versioned_lookup_function(void *handle, const char *name, const char *version);

extern ElfW(Dyn) _DYNAMIC[] HIDDEN;

/* What the stubs jump to: the next function of that name behind us. */
HIDDEN void *next_syscall, *next_dlopen, *next_dlmopen, *next_dlsym, *next_dlvsym;
/* And the C library's, if somebody wrapped it. */
HIDDEN void *libc_syscall;

/* stubs.c */
long raw_syscall(long number, ...);
long syscall_before_libc(long number, ...);
void *nothing(void);

/* A function that we stand before, and ours. */
struct place {
	const char *name;
	void *libc;
	void *ours;
};

static struct place places[] = {
	{ "semget", NULL, NULL },
	{ "semop", NULL, NULL },
	{ "semtimedop", NULL, NULL },
	{ "semctl", NULL, NULL },
	{ "syscall", NULL, NULL },
};

int semget(int key, int nsems, int flags);
int semop(int semid, void *sops, size_t nsops);
int semtimedop(int semid, void *sops, size_t nsops, const void *timeout);
int semctl(int semid, int semnum, int command, ...);

/* ------------------------------------------------------- the loader's objects */

static const void *dynamic(const struct link_map *map, ElfW(Sxword) tag)
{
	for (const ElfW(Dyn) *each = map->l_ld; each && each->d_tag != DT_NULL; each++) {
		if (each->d_tag != tag)
			continue;
		/* The loader has added the base to most, and not to the vDSO's. */
		return (const void *)(each->d_un.d_ptr < map->l_addr ? each->d_un.d_ptr + map->l_addr : each->d_un.d_ptr);
	}
	return NULL;
}

static bool is_libc(const struct link_map *map)
{
	const char *strings = dynamic(map, DT_STRTAB);

	for (const ElfW(Dyn) *each = map->l_ld; strings && each && each->d_tag != DT_NULL; each++)
		if (each->d_tag == DT_SONAME)
			return text_equal(strings + each->d_un.d_val, "libc.so.6");
	return false;
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (unsigned char)*name++;
	return hash;
}

/* The function of that name that an object defines, its default version if it has several. */
static void *defined(const struct link_map *map, const char *name)
{
	const uint32_t *table = dynamic(map, DT_GNU_HASH);
	const ElfW(Sym) *symbols = dynamic(map, DT_SYMTAB);
	const char *strings = dynamic(map, DT_STRTAB);
	const uint16_t *versions = dynamic(map, DT_VERSYM);
	uint32_t hash = gnu_hash(name), number, first;
	const uint32_t *buckets, *chain;
	void *found = NULL;

	if (!table || !symbols || !strings || !table[0])
		return NULL;
	first = table[1];
	buckets = table + 4 + table[2] * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	chain = buckets + table[0];
	number = buckets[hash % table[0]];
	if (number < first)
		return NULL;
	do {
		const ElfW(Sym) *symbol = &symbols[number];

		if ((chain[number - first] | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
		    ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && text_equal(strings + symbol->st_name, name)) {
			found = (void *)(map->l_addr + symbol->st_value);
			if (!versions || !(versions[number] & NOT_DEFAULT))
				break;
		}
	} while (!(chain[number++ - first] & 1));
	return found;
}

static void *next(const struct link_map *ours, const char *name, void *otherwise)
{
	for (const struct link_map *map = ours ? ours->l_next : NULL; map; map = map->l_next) {
		void *found = defined(map, name);

		if (found)
			return found;
	}
	return otherwise;
}

void lookup_setup(void)
{
	const struct link_map *ours = NULL, *libc = NULL, *map;

	for (map = _r_debug.r_map; map; map = map->l_next) {
		if (map->l_ld == _DYNAMIC)
			ours = map;
		else if (!libc && is_libc(map))
			libc = map;
	}
	next_syscall = next(ours, "syscall", raw_syscall);
	next_dlopen = next(ours, "dlopen", nothing);
	next_dlmopen = next(ours, "dlmopen", nothing);
	next_dlsym = next(ours, "dlsym", nothing);
	next_dlvsym = next(ours, "dlvsym", nothing);

	places[0].ours = semget;
	places[1].ours = semop;
	places[2].ours = semtimedop;
	places[3].ours = semctl;
	/* Not the one that jumps to the next behind us: that one may be a wrapper, which asks for the C library's here. */
	places[4].ours = syscall_before_libc;
	for (size_t i = 0; libc && i < sizeof(places) / sizeof(places[0]); i++)
		places[i].libc = defined(libc, places[i].name);
	libc_syscall = places[4].libc ? places[4].libc : raw_syscall;
}

/* ----------------------------------------------------------- who asks for what */

struct search {
	const void *caller;
	bool found;
	bool before_us;
};

static int look_at(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		ElfW(Addr) start = info->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD)
			continue;
		if ((ElfW(Addr))_DYNAMIC - start < part->p_memsz)
			return 1;
		if ((ElfW(Addr))search->caller - start < part->p_memsz)
			search->before_us = true;
	}
	return search->before_us;
}

/* Whether the code at an address belongs to an object that is searched before this one. */
static bool is_before_us(const void *caller)
{
	struct search search = { .caller = caller };

	dl_iterate_phdr(look_at, &search);
	return search.before_us;
}

/* What dlsym(), or with a version dlvsym(), is to answer; NULL: what it would answer without us. */
HIDDEN void *lookup(void *handle, const char *name, const char *version, const void *caller)
{
	struct place *place = NULL;
	void *found;

	preload_setup();
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (text_equal(places[i].name, name))
			place = &places[i];
	if (!place || !place->libc)
		return NULL;
	if (handle == RTLD_DEFAULT) {
		/* With a version, which ours have not: the C library's is found, unless the program has its own. */
		if (!version)
			return NULL;
	} else if (handle == RTLD_NEXT) {
		/*
		 * One behind us would get the C library's. syscall() he may have: he is a wrapper of it, to which we
		 * may jump, and what is ours does not come to him.
		 */
		if (place->ours == syscall_before_libc || is_before_us(caller))
			return NULL;
		return place->ours;
	}
	found = version ? ((versioned_lookup_function *)next_dlvsym)(handle, name, version)
			: ((lookup_function *)next_dlsym)(handle, name);
	return found == place->libc ? place->ours : NULL;
}
