/* SPDX-License-Identifier: MIT */
/*
 * Sequence numbers (semshare_mpsc_reserve(), semshare_mpsc_drop()): the number of a record is its position plus the drops
 * before it, and grows with positions.  Two producers reserve a position each, and each drops a record before or after it.
 */
#define N		2
#define L		2
#define TAIL		0
#define DROPS		1

#include "memory.h"

byte number[2], ended;

proctype producer(byte me)
{
	byte tail, drops;
	bool ok, late, dropped;

	do
	:: !dropped ->
		load(drops, DROPS);
		do
		:: ok -> break
		:: else ->
			try_cmpxchg(ok, DROPS, drops, drops + 1); // atomic semshare_mpsc_drop: try_cmpxchg(&ring->words->drops)
		od;
		ok = 0;
		dropped = 1
	:: true -> break
	od;
	load_acquire(tail, TAIL); // semshare_mpsc_reserve: load_acquire(&words->tail) x4
	do
	:: true ->
		if
		:: late = 1
		:: load(drops, DROPS)
		fi;
		late_try_cmpxchg(ok, TAIL, tail, tail + 1, drops, DROPS); // semshare_mpsc_reserve: try_cmpxchg(&words->tail)
		if
		:: ok -> break
		:: else ->
			load_acquire(tail, TAIL); // semshare_mpsc_reserve: load_acquire(&words->tail) x4
		fi
	od;
	if
	:: late -> load(drops, DROPS)
	:: else
	fi;
	number[tail] = tail + drops;
	if
	:: !dropped ->
		load(drops, DROPS);
		ok = 0;
		do
		:: ok -> break
		:: else ->
			try_cmpxchg(ok, DROPS, drops, drops + 1); // atomic semshare_mpsc_drop: try_cmpxchg(&ring->words->drops)
		od
	:: else
	fi;
	skip;
	d_step {
		ended++;
		assert(ended < 2 || number[0] < number[1]);
		assert(ended < 2 || mem[DROPS] == 2)
	}
}

init
{
	atomic { run producer(0); run producer(1) }
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1)
	DRAIN(1, 0) DRAIN(1, 1)
	od
}
