/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* From a name to the SysV key of its set. */
#ifndef SEMSHARE_CORE_KEY_H
#define SEMSHARE_CORE_KEY_H

#include <semshare/abi.h>
#include <semshare/core/platform.h>

/**
 * semshare_name_length - check a name
 * @name: SEMSHARE_NAME_SIZE bytes, not necessarily terminated
 *
 * Return: its length, or -EINVAL if it is empty, too long, has a character
 * outside [A-Za-z0-9._-], or anything but zeros behind its end.
 */
static inline int semshare_name_length(const char *name)
{
	int length = 0;
	int i;

	while (length < SEMSHARE_NAME_SIZE && name[length]) {
		char c = name[length];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
			return -EINVAL;
		length++;
	}
	if (length == 0 || length > SEMSHARE_NAME_MAX)
		return -EINVAL;
	for (i = length; i < SEMSHARE_NAME_SIZE; i++)
		if (name[i])
			return -EINVAL;
	return length;
}

/**
 * semshare_key - the SysV key of a name
 * @name: the characters
 * @length: how many
 *
 * FNV-1a, 32 bit (Fowler, Noll, Vo; RFC 9923), top bit cleared so that every
 * language prints the key alike, and 1 in place of 0, which is IPC_PRIVATE.
 *
 * Return: the key, 1 to 0x7fffffff.
 */
static inline __u32 semshare_key(const char *name, size_t length)
{
	__u32 hash = 2166136261u;
	size_t i;

	for (i = 0; i < length; i++) {
		hash ^= (unsigned char)name[i];
		hash *= 16777619u;
	}
	hash &= 0x7fffffffu;
	return hash ? hash : 1;
}

#endif /* SEMSHARE_CORE_KEY_H */
