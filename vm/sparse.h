/* SPDX-License-Identifier: MIT */
/*
 * For sparse, which vm/check has include this first: what Linux 7.2 uses and
 * sparse 0.6.4 does not know, said so that types stay what they are.
 */
#define __typeof_unqual__ __typeof__
/* MODULE_INFO() asserts that the text has no NUL inside. */
#define __builtin_strlen(text) (sizeof(text) - 1)
