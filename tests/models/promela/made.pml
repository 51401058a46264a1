/* SPDX-License-Identifier: MIT */
/*
 * A ring is made (semshare_ring_format()) while somebody looks for it (semshare_ring_check()). So it goes with
 * channels and parameters, with what the module hands out, with a single value and what was written before it, and with
 * a barrier that has opened.
 */
#define N		2
#define L		2
#define MAGIC		0
#define CAPACITY	1

#include "memory.h"

active proctype maker()
{
	byte me = 0;

	store(CAPACITY, 1);
	store_release(MAGIC, 1); // semshare_ring_format: store_release(&control->magic); semshare_channel_format: store_release(&control->magic); semshare_parameters_format: store_release(&directory->magic); semshare_barrier_end: store_release(&places->generation); semshare_barrier_break: store_release(&port->places->broken); semshare_barrier_end: store_release(&places->waiters[list.places[i]].state); ring_common_publish: smp_store_release(&area->ring.common); handle_publish: smp_store_release(&handle->area); semshare_ring_lockless_take_role: smp_store_release(&ring->roles); semshare_parameters_store: store_release(&bank->words[0][index]); semshare_parameters_set_state: smp_store_release(word)
}

active proctype other()
{
	byte me = 1, magic, capacity;

	load_acquire(magic, MAGIC); // semshare_ring_check: load_acquire(&control->magic); semshare_channel_check: load_acquire(&control->magic); take_directory: load_acquire(&shared->magic); companion_look: load_acquire(&segment->magic); semshare_barrier_outcome: load_acquire(&places->generation); semshare_barrier_outcome: load_acquire(&places->broken); semshare_barrier_outcome: load_acquire(&places->waiters[arrival->place].state); semshare_ring_of: smp_load_acquire(&area->ring.common); notify_take_needs: smp_load_acquire(&area->ring.common); notify_hint: smp_load_acquire(&area->ring.common); notify_take_waits: smp_load_acquire(&area->ring.common); semshare_notify_arm: smp_load_acquire(&area->ring.common); handle_area: smp_load_acquire(&handle->area); has_role: smp_load_acquire(&ring->roles); semshare_parameters_word: load_acquire(&bank->words[0][index]); semshare_parameters_take_one: load_acquire(&reader->bank->words[0][index]); get_state: load_acquire(&state_bank(self)->words[0][i])
	if
	:: magic -> load(capacity, CAPACITY); assert(capacity)
	:: else
	fi
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1)
	DRAIN(1, 0) DRAIN(1, 1)
	od
}
