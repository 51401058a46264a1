/* SPDX-License-Identifier: MIT */
/*
 * A group of two parameters (semshare_parameters_change(), semshare_parameters_take_group()): it is changed a few times,
 * once by a writer who is killed half way, and read meanwhile.  A value is the number of the change it is from.
 *
 * Values of two changes, or of one that was never made, taken for a group: that is the assertion.
 */
#define N		2
#define L		5
#define VERSION		0
#define MEMBERS		2
#define WORD(version, i) (1 + ((version) & 1) * MEMBERS + (i))
#ifndef CHANGES
#define CHANGES		4
#endif

#define EARLY_ACQUIRES
#include "memory.h"

byte change_of[CHANGES + 1];	/* each version is from */

active proctype writer()
{
	byte me = 0, version, change, i;
	bool killed;

	do
	:: change == CHANGES -> break
	:: else ->
		change++;
		i = 0;
		do
		:: i == MEMBERS ->
			version++;
			change_of[version] = change;
			store_release(VERSION, version); // semshare_parameters_change: store_release(&bank->versions[group])
			break
		:: i < MEMBERS ->
			store_release(WORD(version + 1, i), change); // semshare_parameters_change: store_release(&bank->words[(version + 1) & 1][i])
			i++
		:: i > 0 && !killed -> killed = 1; break
		od
	od
}

active proctype reader()
{
	byte me = 1, version, again, i, copy[MEMBERS];

	do
	:: version == CHANGES -> break
	:: else ->
		early_load_acquire(version, VERSION); // semshare_parameters_take_group: load_acquire(&bank->versions[group]); semshare_parameters_word: load_acquire(&bank->versions[group])
		i = 0;
		do
		:: i == MEMBERS -> break
		:: else ->
			early_load_acquire(copy[i], WORD(version, i)); // semshare_parameters_take_group: load_acquire(&bank->words[version & 1][i]); semshare_parameters_word: load_acquire(&bank->words[version & 1][index])
			i++
		od;
		load(again, VERSION);
		assert(again != version || copy[0] == change_of[version] && copy[1] == change_of[version])
	od
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1) DRAIN(0, 2) DRAIN(0, 3) DRAIN(0, 4)
	od
}
