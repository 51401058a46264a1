/* SPDX-License-Identifier: MIT */
/*
 * Who answers a channel takes a command and is gone; its successor begins a session (semshare_channel_begin_answers()) and
 * takes another.  Meanwhile who asks looks (semshare_channel_look()), and looks at the session again: what was taken before
 * a session, or as of this look in one that is over, is lost.  What the successor has taken is not.
 */
#define N		2
#define L		3
#define SESSION		0
#define START		1
#define HEAD		2

#define EARLY_ACQUIRES
#include "memory.h"

active proctype answers()
{
	byte me = 0;

	store_release(HEAD, 1);
	store(START, 1);
	store_release(SESSION, 1); // semshare_channel_begin_answers: store_release(&control->session)
	store_release(HEAD, 2); // semshare_sysv_consume: store_release(&control->head)
}

active proctype asks()
{
	byte me = 1, session, start, head, again;

	early_load_acquire(session, SESSION); // semshare_channel_look: load_acquire(&view->control->session)
	load(start, START);
	early_load_acquire(head, HEAD); // semshare_channel_look: load_acquire(&view->queue[SEMSHARE_CHANNEL_COMMANDS].control->head)
	early_load_acquire(again, SESSION);
	assert(session == 0 || start == 1);
	assert(session == 1 || again == 1 || head <= 1)
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1) DRAIN(0, 2)
	od
}
