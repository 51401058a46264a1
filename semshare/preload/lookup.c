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

/*
 * What the stubs jump to: the next function of that name behind us, or the C library's own.  There are two of each stub,
 * for a library that wraps a function is behind us and may ask for the C library's: given a stub that jumps to the next,
 * which is his, he would call himself for ever.
 */
HIDDEN void *next_syscall, *next_dlopen, *next_dlmopen, *next_dlsym, *next_dlvsym;
HIDDEN void *libc_syscall, *libc_dlopen, *libc_dlmopen, *libc_dlsym, *libc_dlvsym;

typedef int iterate_function(int (*look)(struct dl_phdr_info *info, size_t size, void *data), void *data);

/* Not by its name either: a sanitizer's comes before it, and needs an answer of ours before it can work. */
static iterate_function *libc_dl_iterate_phdr;

/* calls.c and stubs.c. Only their addresses are wanted here. */
typedef void function(void);
function semget, semop, semtimedop, semctl;
function syscall_before_libc, dlopen_before_libc, dlmopen_before_libc, dlsym_before_libc, dlvsym_before_libc;
function raw_syscall, nothing;

/**
 * struct place - a function that we stand before
 * @name: its name
 * @libc: the C library's
 * @ours: what is to be had in its place
 * @next: where the stub that everybody sees jumps to, NULL for one that jumps nowhere
 * @libc_next: where @ours jumps to
 * @otherwise: what they are if nobody has such a function
 */
struct place {
	const char *name;
	void *libc;
	function *ours;
	void **next;
	void **libc_next;
	function *otherwise;
};

static struct place places[] = {
	{ "semget", NULL, semget, NULL, NULL, NULL },
	{ "semop", NULL, semop, NULL, NULL, NULL },
	{ "semtimedop", NULL, semtimedop, NULL, NULL, NULL },
	{ "semctl", NULL, semctl, NULL, NULL, NULL },
	{ "syscall", NULL, syscall_before_libc, &next_syscall, &libc_syscall, raw_syscall },
	{ "dlopen", NULL, dlopen_before_libc, &next_dlopen, &libc_dlopen, nothing },
	{ "dlmopen", NULL, dlmopen_before_libc, &next_dlmopen, &libc_dlmopen, nothing },
	{ "dlsym", NULL, dlsym_before_libc, &next_dlsym, &libc_dlsym, nothing },
	{ "dlvsym", NULL, dlvsym_before_libc, &next_dlvsym, &libc_dlvsym, nothing },
};

#define PLACES	(sizeof(places) / sizeof(places[0]))

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

/* The function of that name that comes behind an object. */
static void *defined_behind(const struct link_map *map, const char *name)
{
	void *found = NULL;

	while (map && !found) {
		map = map->l_next;
		found = map ? defined(map, name) : NULL;
	}
	return found;
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
	libc_dl_iterate_phdr = libc ? (iterate_function *)defined(libc, "dl_iterate_phdr") : NULL;
	for (size_t i = 0; i < PLACES; i++) {
		struct place *place = &places[i];
		void *behind;

		place->libc = libc ? defined(libc, place->name) : NULL;
		if (!place->next)
			continue;
		behind = defined_behind(ours, place->name);
		*place->next = behind ? behind : (void *)place->otherwise;
		*place->libc_next = place->libc ? place->libc : *place->next;
	}
}

/* ----------------------------------------------------------- who asks for what */

struct search {
	const char *wanted;	/* the function */
	const void *caller;
	bool before_us;		/* the object that the caller's code belongs to comes before ours */
	void *found;		/* else: the function that comes behind it */
};

/* The list of objects does not change while dl_iterate_phdr() goes through them. */
static int look_at(struct dl_phdr_info *info, size_t size, void *data)
{
	const struct link_map *map = _r_debug.r_map;
	struct search *search = data;
	bool is_callers = false;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		ElfW(Addr) start = info->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD)
			continue;
		if ((ElfW(Addr))_DYNAMIC - start < part->p_memsz)
			search->before_us = false;
		if ((ElfW(Addr))search->caller - start < part->p_memsz)
			is_callers = true;
	}
	if (!is_callers)
		return 0;
	while (map && !(map->l_name == info->dlpi_name && map->l_addr == info->dlpi_addr))
		map = map->l_next;
	if (!search->before_us)
		search->found = defined_behind(map, search->wanted);
	return 1;
}

/*
 * What a caller is to have who asks for what comes behind him; NULL: what he gets without us.  Before us are the program
 * and what was preloaded before: they get ours by themselves, or a wrapper between.  Behind us it is the C library's
 * that must be replaced, and nothing else.
 */
static void *behind_caller(const struct place *place, const void *caller)
{
	struct search search = { .wanted = place->name, .caller = caller, .before_us = true };

	if (libc_dl_iterate_phdr(look_at, &search) && search.before_us)
		return NULL;
	/* An object that was loaded later has the C library behind it by its own needs, wherever that is in the list. */
	return !search.found || search.found == place->libc ? (void *)place->ours : NULL;
}

/* What dlsym(), or with a version dlvsym(), is to answer; NULL: what it would answer without us. */
HIDDEN void *lookup(void *handle, const char *name, const char *version, const void *caller)
{
	const struct place *place = NULL;
	void *found;

	preload_setup();
	for (size_t i = 0; i < PLACES; i++)
		if (text_equal(places[i].name, name))
			place = &places[i];
	if (!place || !place->libc || !libc_dl_iterate_phdr)
		return NULL;
	if (handle == RTLD_NEXT)
		return version && !((versioned_lookup_function *)libc_dlvsym)(RTLD_DEFAULT, name, version)
			       ? NULL
			       : behind_caller(place, caller);
	/* Ours is found, but by one who wants a version: it has none. */
	if (handle == RTLD_DEFAULT && !version)
		return NULL;
	found = version ? ((versioned_lookup_function *)libc_dlvsym)(handle, name, version)
			: ((lookup_function *)libc_dlsym)(handle, name);
	return found == place->libc ? (void *)place->ours : NULL;
}
