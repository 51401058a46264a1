// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare-lock-test, for root and for tests only: calls the functions of locks.h
 * in the context of a process, in kernel threads that share its handle, and where
 * they must not be called.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <semshare/kapi.h>
#include <semshare/lock_test.h>
#include <semshare/locks.h>

struct lock_test;

/* A kernel thread, and the one call that it makes at a time. */
struct player {
	struct lock_test *test;
	struct task_struct *task;
	wait_queue_head_t changed;
	struct semshare_lock_test_call call;
	bool busy;
};

/* What is open stays so: calls need no lock, and any number of tasks make them. */
struct lock_test {
	struct mutex mutex;	/* guards opening, and the players' beginning and end */
	u32 object;
	union {
		struct semshare_mutex *mutex;
		struct semshare_multi *multi;
		struct semshare_rwlock *rwlock;
		struct semshare_semaphore *semaphore;
		struct semshare_event *event;
		struct semshare_condition *condition;
		struct semshare_barrier *barrier;
	} of;
	struct file *guard;	/* whose mutex a condition uses */
	struct semshare_area *area;
	struct player players[SEMSHARE_LOCK_TEST_THREADS];
};

/* -------------------------------------------------------------------- jobs */

/* So that others come in between if they can. */
static void pause_a_moment(u64 turn)
{
	if (turn % 8)
		cpu_relax();
	else
		usleep_range(20, 60);
}

static void add_one(u64 *words, u64 turn)
{
	u64 first = READ_ONCE(words[0]);
	u64 second = READ_ONCE(words[1]);

	pause_a_moment(turn);
	WRITE_ONCE(words[0], first + 1);
	pause_a_moment(turn + 1);
	WRITE_ONCE(words[1], second + 1);
}

/* One turn of a job. */
struct turn {
	struct lock_test *test;
	struct semshare_lock_test_call *call;
	u64 *words;
	u64 number;
	long timeout;
	bool told;		/* what it was, and ... */
	bool *suspect;		/* ... whether it wants to know */
	long *wrong;
};

/* What somebody has left half done who died inside. */
static void put_right(u64 *words)
{
	WRITE_ONCE(words[1], READ_ONCE(words[0]));
}

static int count_mutex(struct turn *turn, struct semshare_mutex *mutex)
{
	int err;

	semshare_scoped_mutex(mutex, turn->timeout, turn->suspect, err, return err) {
		if (turn->told) {
			put_right(turn->words);
			semshare_mutex_consistent(mutex);
		}
		add_one(turn->words, turn->number);
		turn->call->done++;
	}
	return err;
}

static int count_multi(struct turn *turn)
{
	struct semshare_multi *multi = turn->test->of.multi;
	int err;

	semshare_scoped_multi(multi, turn->timeout, turn->suspect, err, return err) {
		if (turn->told) {
			put_right(turn->words);
			semshare_multi_consistent(multi);
		}
		add_one(turn->words, turn->number);
		turn->call->done++;
	}
	return err;
}

static int count_write(struct turn *turn)
{
	struct semshare_rwlock *rwlock = turn->test->of.rwlock;
	int err;

	semshare_scoped_write(rwlock, turn->timeout, turn->suspect, err, return err) {
		if (turn->told) {
			put_right(turn->words);
			semshare_rwlock_consistent(rwlock);
		}
		add_one(turn->words, turn->number);
		turn->call->done++;
	}
	return err;
}

static int count(struct turn *turn)
{
	switch (turn->test->object) {
	case SEMSHARE_LOCK_TEST_MUTEX:
		return count_mutex(turn, turn->test->of.mutex);
	case SEMSHARE_LOCK_TEST_CONDITION:
		return count_mutex(turn, semshare_condition_mutex(turn->test->of.condition));
	case SEMSHARE_LOCK_TEST_MULTI:
		return count_multi(turn);
	case SEMSHARE_LOCK_TEST_RWLOCK:
		return count_write(turn);
	default:
		return -EINVAL;
	}
}

static int compare(struct turn *turn)
{
	const u64 *words = turn->words;
	int err;

	if (turn->test->object != SEMSHARE_LOCK_TEST_RWLOCK)
		return -EINVAL;
	semshare_scoped_read(turn->test->of.rwlock, turn->timeout, turn->suspect, err, return err) {
		u64 first = READ_ONCE(words[0]);

		pause_a_moment(turn->number);
		if (READ_ONCE(words[1]) != first || READ_ONCE(words[0]) != first)
			++*turn->wrong;
		turn->call->done++;
	}
	return err;
}

static int permits(struct turn *turn)
{
	struct semshare_semaphore *semaphore = turn->test->of.semaphore;
	atomic_t *inside = (atomic_t *)turn->words;
	int limit = turn->call->value >> 32;
	int err;

	if (turn->test->object != SEMSHARE_LOCK_TEST_SEMAPHORE)
		return -EINVAL;
	err = semshare_semaphore_down(semaphore, turn->timeout);
	if (err)
		return err;
	if (atomic_inc_return(inside) > limit)
		++*turn->wrong;
	pause_a_moment(turn->number);
	atomic_dec(inside);
	turn->call->done++;
	return semshare_semaphore_up(semaphore, 1);
}

static int exchange(struct turn *turn)
{
	struct semshare_condition *condition = turn->test->of.condition;
	unsigned int mine = turn->call->value >> 32 & 0xffff, all = turn->call->value >> 48;
	struct semshare_mutex *mutex;
	u64 *words = turn->words;
	int err, woken;

	if (turn->test->object != SEMSHARE_LOCK_TEST_CONDITION || !all)
		return -EINVAL;
	mutex = semshare_condition_mutex(condition);
	semshare_scoped_mutex(mutex, turn->timeout, turn->suspect, err, return err) {
		while (READ_ONCE(words[0]) % all != mine) {
			woken = semshare_condition_wait(condition, turn->timeout, turn->suspect);
			if (woken < 0)
				return woken;
			if (!woken)
				return -ETIMEDOUT;
		}
		WRITE_ONCE(words[0], words[0] + 1);
		turn->call->done++;
		woken = semshare_condition_notify(condition, UINT_MAX);
		if (woken < 0)
			return woken;
	}
	return err;
}

static int meet(struct turn *turn)
{
	struct semshare_barrier *barrier = turn->test->of.barrier;
	atomic64_t *came = (atomic64_t *)turn->words;
	u64 parties, all;
	int index;

	if (turn->test->object != SEMSHARE_LOCK_TEST_BARRIER)
		return -EINVAL;
	parties = turn->call->value >> 32;
	atomic64_inc(came);
	index = semshare_barrier_wait(barrier, turn->timeout);
	if (index < 0)
		return index;
	all = atomic64_read(came);
	if (index >= semshare_barrier_parties(barrier) || all < parties * (turn->number + 1) ||
	    all >= parties * (turn->number + 2))
		++*turn->wrong;
	turn->call->done++;
	return 0;
}

static int make_turn(struct turn *turn)
{
	turn->told = false;
	switch (turn->call->operation) {
	case SEMSHARE_LOCK_TEST_COUNT:
		return count(turn);
	case SEMSHARE_LOCK_TEST_COMPARE:
		return compare(turn);
	case SEMSHARE_LOCK_TEST_PERMITS:
		return permits(turn);
	case SEMSHARE_LOCK_TEST_EXCHANGE:
		return exchange(turn);
	case SEMSHARE_LOCK_TEST_MEET:
		return meet(turn);
	default:
		return -EINVAL;
	}
}

static long job_run(struct lock_test *test, struct semshare_lock_test_call *call, long timeout)
{
	struct turn turn = { .test = test, .call = call, .timeout = timeout };
	u64 turns = (u32)call->value;
	long wrong = 0;
	int err = 0;

	call->done = 0;
	if (!test->area || call->offset % sizeof(u64) ||
	    call->offset > semshare_area_size(test->area) - 2 * sizeof(u64))
		return -EINVAL;
	turn.words = semshare_area_data(test->area) + call->offset;
	turn.wrong = &wrong;
	if (call->flags & SEMSHARE_LOCK_TEST_SUSPECT)
		turn.suspect = &turn.told;
	for (; turn.number < turns && !err; turn.number++) {
		err = make_turn(&turn);
		if (call->flags & SEMSHARE_LOCK_TEST_GO_ON && err != -EINTR)
			err = 0;
		if (current->flags & PF_KTHREAD && kthread_should_stop())
			err = err ?: -EINTR;
		cond_resched();
	}
	return err ? err : wrong;
}

/* ------------------------------------------------------------------- calls */

/* Behind the block err is of interest also where it says that all is well: a positive one. */
static long scoped_mutex(struct semshare_mutex *mutex, struct semshare_lock_test_call *call,
			 long timeout, bool *suspect)
{
	int err, given;

	semshare_scoped_mutex(mutex, timeout, suspect, err, return err) {
		given = semshare_mutex_unlock(mutex);
		err = given ?: (int)call->value;
	}
	return err;
}

static long call_mutex(struct semshare_mutex *mutex, struct semshare_lock_test_call *call,
		       long timeout, bool *suspect)
{
	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_LOCK:
		return timeout ? semshare_mutex_lock(mutex, timeout, suspect) :
				 semshare_mutex_trylock(mutex, suspect);
	case SEMSHARE_LOCK_TEST_UNLOCK:
		return semshare_mutex_unlock(mutex);
	case SEMSHARE_LOCK_TEST_CONSISTENT:
		return semshare_mutex_consistent(mutex);
	case SEMSHARE_LOCK_TEST_SCOPED:
		return scoped_mutex(mutex, call, timeout, suspect);
	default:
		return -EINVAL;
	}
}

static long call_multi(struct semshare_multi *multi, struct semshare_lock_test_call *call,
		       long timeout, bool *suspect)
{
	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_LOCK:
		return semshare_multi_lock(multi, timeout, suspect);
	case SEMSHARE_LOCK_TEST_UNLOCK:
		return semshare_multi_unlock(multi);
	case SEMSHARE_LOCK_TEST_CONSISTENT:
		return semshare_multi_consistent(multi);
	default:
		return -EINVAL;
	}
}

static long call_rwlock(struct semshare_rwlock *rwlock, struct semshare_lock_test_call *call,
			long timeout, bool *suspect)
{
	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_LOCK:
		return semshare_rwlock_write_lock(rwlock, timeout, suspect);
	case SEMSHARE_LOCK_TEST_UNLOCK:
		return semshare_rwlock_write_unlock(rwlock);
	case SEMSHARE_LOCK_TEST_READ_LOCK:
		return semshare_rwlock_read_lock(rwlock, timeout, suspect);
	case SEMSHARE_LOCK_TEST_READ_UNLOCK:
		return semshare_rwlock_read_unlock(rwlock);
	case SEMSHARE_LOCK_TEST_DOWNGRADE:
		return semshare_rwlock_downgrade(rwlock);
	case SEMSHARE_LOCK_TEST_CONSISTENT:
		return semshare_rwlock_consistent(rwlock);
	default:
		return -EINVAL;
	}
}

static long call_semaphore(struct semshare_semaphore *semaphore,
			   struct semshare_lock_test_call *call, long timeout)
{
	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_DOWN:
		return semshare_semaphore_down(semaphore, timeout);
	case SEMSHARE_LOCK_TEST_UP:
		return semshare_semaphore_up(semaphore, call->value);
	case SEMSHARE_LOCK_TEST_VALUE:
		return semshare_semaphore_value(semaphore);
	default:
		return -EINVAL;
	}
}

static long call_event(struct semshare_event *event, struct semshare_lock_test_call *call,
		       long timeout)
{
	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_SET:
		return semshare_event_set(event);
	case SEMSHARE_LOCK_TEST_CLEAR:
		return semshare_event_clear(event);
	case SEMSHARE_LOCK_TEST_WAIT:
		return semshare_event_wait(event, timeout);
	default:
		return -EINVAL;
	}
}

static long call_condition(struct semshare_condition *condition,
			   struct semshare_lock_test_call *call, long timeout, bool *suspect)
{
	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_WAIT:
		return semshare_condition_wait(condition, timeout, suspect);
	case SEMSHARE_LOCK_TEST_NOTIFY:
		return semshare_condition_notify(condition, call->value);
	default:
		return call_mutex(semshare_condition_mutex(condition), call, timeout, suspect);
	}
}

static long call_barrier(struct semshare_barrier *barrier, struct semshare_lock_test_call *call,
			 long timeout)
{
	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_WAIT:
		return semshare_barrier_wait(barrier, timeout);
	case SEMSHARE_LOCK_TEST_ABORT:
		return semshare_barrier_abort(barrier);
	case SEMSHARE_LOCK_TEST_RESET:
		return semshare_barrier_reset(barrier);
	case SEMSHARE_LOCK_TEST_VALUE:
		return semshare_barrier_parties(barrier);
	default:
		return -EINVAL;
	}
}

static long test_call(struct lock_test *test, struct semshare_lock_test_call *call)
{
	long timeout = call->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT :
					      (long)msecs_to_jiffies(call->timeout_ms);
	bool told = false;
	bool *suspect = call->flags & SEMSHARE_LOCK_TEST_SUSPECT ? &told : NULL;
	long result;

	if (call->operation >= SEMSHARE_LOCK_TEST_COUNT)
		return job_run(test, call, timeout);
	switch (test->object) {
	case SEMSHARE_LOCK_TEST_MUTEX:
		result = call_mutex(test->of.mutex, call, timeout, suspect);
		break;
	case SEMSHARE_LOCK_TEST_MULTI:
		result = call_multi(test->of.multi, call, timeout, suspect);
		break;
	case SEMSHARE_LOCK_TEST_RWLOCK:
		result = call_rwlock(test->of.rwlock, call, timeout, suspect);
		break;
	case SEMSHARE_LOCK_TEST_SEMAPHORE:
		result = call_semaphore(test->of.semaphore, call, timeout);
		break;
	case SEMSHARE_LOCK_TEST_EVENT:
		result = call_event(test->of.event, call, timeout);
		break;
	case SEMSHARE_LOCK_TEST_CONDITION:
		result = call_condition(test->of.condition, call, timeout, suspect);
		break;
	case SEMSHARE_LOCK_TEST_BARRIER:
		result = call_barrier(test->of.barrier, call, timeout);
		break;
	default:
		result = -EINVAL;
	}
	call->suspect = told;
	return result;
}

/* ----------------------------------------------------------------- players */

/* Whoever sees it change sees the call that it changed for. */
static bool is_busy(struct player *player)
{
	/* Pairs with set_busy(). */
	return smp_load_acquire(&player->busy);
}

static void set_busy(struct player *player, bool busy)
{
	/* Pairs with is_busy(). */
	smp_store_release(&player->busy, busy);
	wake_up_all(&player->changed);
}

static int play(void *argument)
{
	struct player *player = argument;

	do {
		wait_event_idle(player->changed, is_busy(player) || kthread_should_stop());
		if (is_busy(player)) {
			player->call.result = test_call(player->test, &player->call);
			set_busy(player, false);
		}
	} while (!kthread_should_stop());
	return 0;
}

static long player_collect(struct player *player, struct semshare_lock_test_call *call)
{
	if (wait_event_interruptible(player->changed, !is_busy(player)))
		return -EINTR;
	call->result = player->call.result;
	call->suspect = player->call.suspect;
	call->done = player->call.done;
	return 0;
}

static long player_begin(struct lock_test *test, struct player *player,
			 const struct semshare_lock_test_call *call)
{
	struct task_struct *task;

	lockdep_assert_held(&test->mutex);
	if (is_busy(player))
		return -EBUSY;
	if (!player->task) {
		player->test = test;
		task = kthread_run(play, player, "semshare_lock_test");
		if (IS_ERR(task))
			return PTR_ERR(task);
		player->task = task;
	}
	player->call = *call;
	set_busy(player, true);
	return 0;
}

static void player_stop(struct player *player)
{
	if (player->task)
		kthread_stop(player->task);
	player->task = NULL;
	/* Told to stop before it had begun. */
	if (is_busy(player))
		player->call.result = -EINTR;
	set_busy(player, false);
}

static long call_player(struct lock_test *test, struct player *player,
			struct semshare_lock_test_call *call)
{
	long err = 0;

	switch (call->operation) {
	case SEMSHARE_LOCK_TEST_COLLECT:
		return player_collect(player, call);
	case SEMSHARE_LOCK_TEST_STOP:
		mutex_lock(&test->mutex);
		player_stop(player);
		mutex_unlock(&test->mutex);
		return player_collect(player, call);
	}
	mutex_lock(&test->mutex);
	err = player_begin(test, player, call);
	mutex_unlock(&test->mutex);
	if (err || call->flags & SEMSHARE_LOCK_TEST_ASYNC)
		return err;
	return player_collect(player, call);
}

/* ------------------------------------------------------------------ device */

static const struct file_operations test_fops;

static struct semshare_mutex *guard_of(struct lock_test *test)
{
	return test->guard ? ((struct lock_test *)test->guard->private_data)->of.mutex : NULL;
}

static long open_guard(struct lock_test *test, int fd)
{
	struct file *file = fget(fd);
	long err = -EBADF;

	if (!file)
		return err;
	if (file->f_op == &test_fops) {
		struct lock_test *guard = file->private_data;

		/* Pairs with ioctl_open(). */
		if (smp_load_acquire(&guard->object) == SEMSHARE_LOCK_TEST_MUTEX)
			err = 0;
	}
	if (err)
		fput(file);
	else
		test->guard = file;
	return err;
}

static long open_of_set(struct lock_test *test, struct semshare_set *set,
			const struct semshare_lock_test_open *open)
{
	switch (open->object) {
	case SEMSHARE_LOCK_TEST_MUTEX:
		test->of.mutex = semshare_mutex_of(set, open->count ? open->numbers[0] : 0);
		break;
	case SEMSHARE_LOCK_TEST_MULTI:
		test->of.multi = semshare_multi_of(set, open->numbers, open->count);
		break;
	case SEMSHARE_LOCK_TEST_RWLOCK:
		test->of.rwlock = semshare_rwlock_of(set);
		break;
	case SEMSHARE_LOCK_TEST_SEMAPHORE:
		test->of.semaphore = semshare_semaphore_of(set);
		break;
	case SEMSHARE_LOCK_TEST_EVENT:
		test->of.event = semshare_event_of(set);
		break;
	case SEMSHARE_LOCK_TEST_CONDITION:
		test->of.condition = semshare_condition_of(set, guard_of(test));
		break;
	case SEMSHARE_LOCK_TEST_BARRIER:
		test->of.barrier = semshare_barrier_of(set);
		break;
	default:
		return -EINVAL;
	}
	return PTR_ERR_OR_ZERO(test->of.mutex);
}

static long open_by_name(struct lock_test *test, struct ipc_namespace *ns,
			 const struct semshare_lock_test_open *open)
{
	switch (open->object) {
	case SEMSHARE_LOCK_TEST_MUTEX:
		test->of.mutex = semshare_mutex_open(ns, open->name);
		break;
	case SEMSHARE_LOCK_TEST_RWLOCK:
		test->of.rwlock = semshare_rwlock_open(ns, open->name);
		break;
	case SEMSHARE_LOCK_TEST_SEMAPHORE:
		test->of.semaphore = semshare_semaphore_open(ns, open->name);
		break;
	case SEMSHARE_LOCK_TEST_EVENT:
		test->of.event = semshare_event_open(ns, open->name);
		break;
	case SEMSHARE_LOCK_TEST_CONDITION:
		test->of.condition = semshare_condition_open(ns, open->name);
		break;
	case SEMSHARE_LOCK_TEST_BARRIER:
		test->of.barrier = semshare_barrier_open(ns, open->name);
		break;
	default:
		return -EINVAL;
	}
	return PTR_ERR_OR_ZERO(test->of.mutex);
}

static long open_object(struct lock_test *test, const struct semshare_lock_test_open *open)
{
	struct ipc_namespace *ns = semshare_ipc_ns_get();
	struct semshare_set *set;
	long err;

	if (open->name[0] && !open->count && !test->guard) {
		err = open_by_name(test, ns, open);
		goto out;
	}
	set = open->name[0] ? semshare_set_open(ns, open->name) :
			      semshare_set_open_key(ns, open->key);
	err = PTR_ERR_OR_ZERO(set);
	if (!err) {
		err = open_of_set(test, set, open);
		semshare_set_close(set);
	}
out:
	semshare_ipc_ns_put(ns);
	return err;
}

static void close_beside(struct lock_test *test)
{
	if (test->guard)
		fput(test->guard);
	if (test->area)
		semshare_area_put(test->area);
	test->guard = NULL;
	test->area = NULL;
}

/* What it needs beside the lock. */
static long open_beside(struct lock_test *test, const struct semshare_lock_test_open *open)
{
	struct semshare_area *area;

	if (open->area_fd >= 0) {
		area = semshare_area_from_fd(open->area_fd,
					     SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
		if (IS_ERR(area))
			return PTR_ERR(area);
		test->area = area;
	}
	return open->guard_fd >= 0 ? open_guard(test, open->guard_fd) : 0;
}

static long ioctl_open(struct lock_test *test, void __user *argument)
{
	struct semshare_lock_test_open open;
	long err;

	if (copy_from_user(&open, argument, sizeof(open)))
		return -EFAULT;
	if (open.count > SEMSHARE_LOCK_TEST_NUMBERS || open.name[SEMSHARE_NAME_SIZE - 1])
		return -EINVAL;
	if (test->object)
		return -EBUSY;
	err = open_beside(test, &open);
	if (!err) {
		if (open.flags & SEMSHARE_LOCK_TEST_PREEMPT_OFF)
			preempt_disable();
		err = open_object(test, &open);
		if (open.flags & SEMSHARE_LOCK_TEST_PREEMPT_OFF)
			preempt_enable();
	}
	if (err) {
		test->of.mutex = NULL;
		close_beside(test);
		return err;
	}
	/* Pairs with ioctl_call(). */
	smp_store_release(&test->object, open.object);
	return 0;
}

static long ioctl_call(struct lock_test *test, void __user *argument)
{
	struct semshare_lock_test_call call;
	bool preempt_off;
	long err = 0;

	/* Pairs with ioctl_open(). */
	if (!smp_load_acquire(&test->object))
		return -EBADFD;
	if (copy_from_user(&call, argument, sizeof(call)))
		return -EFAULT;
	preempt_off = call.flags & SEMSHARE_LOCK_TEST_PREEMPT_OFF;
	if (call.thread > SEMSHARE_LOCK_TEST_THREADS || (call.thread && preempt_off))
		return -EINVAL;
	if (call.thread) {
		u32 index = array_index_nospec(call.thread - 1, SEMSHARE_LOCK_TEST_THREADS);

		err = call_player(test, &test->players[index], &call);
	} else {
		if (preempt_off)
			preempt_disable();
		call.result = test_call(test, &call);
		if (preempt_off)
			preempt_enable();
	}
	if (!err && copy_to_user(argument, &call, sizeof(call)))
		err = -EFAULT;
	return err;
}

static long test_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct lock_test *test = file->private_data;
	void __user *user = (void __user *)argument;
	long err;

	switch (command) {
	case SEMSHARE_LOCK_TEST_IOC_OPEN:
		mutex_lock(&test->mutex);
		err = ioctl_open(test, user);
		mutex_unlock(&test->mutex);
		return err;
	case SEMSHARE_LOCK_TEST_IOC_CALL:
		return ioctl_call(test, user);
	default:
		return -ENOTTY;
	}
}

static int test_open(struct inode *inode, struct file *file)
{
	struct lock_test *test = kzalloc(sizeof(*test), GFP_KERNEL);
	unsigned int i;

	if (!test)
		return -ENOMEM;
	mutex_init(&test->mutex);
	for (i = 0; i < ARRAY_SIZE(test->players); i++)
		init_waitqueue_head(&test->players[i].changed);
	file->private_data = test;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct lock_test *test = file->private_data;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(test->players); i++)
		player_stop(&test->players[i]);
	switch (test->object) {
	case SEMSHARE_LOCK_TEST_MUTEX:
		semshare_mutex_close(test->of.mutex);
		break;
	case SEMSHARE_LOCK_TEST_MULTI:
		semshare_multi_close(test->of.multi);
		break;
	case SEMSHARE_LOCK_TEST_RWLOCK:
		semshare_rwlock_close(test->of.rwlock);
		break;
	case SEMSHARE_LOCK_TEST_SEMAPHORE:
		semshare_semaphore_close(test->of.semaphore);
		break;
	case SEMSHARE_LOCK_TEST_EVENT:
		semshare_event_close(test->of.event);
		break;
	case SEMSHARE_LOCK_TEST_CONDITION:
		semshare_condition_close(test->of.condition);
		break;
	case SEMSHARE_LOCK_TEST_BARRIER:
		semshare_barrier_close(test->of.barrier);
		break;
	}
	close_beside(test);
	kfree(test);
	return 0;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.unlocked_ioctl = test_ioctl,
};

static struct miscdevice test_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare-lock-test",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_device);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The semshare developers");
MODULE_DESCRIPTION("The locks of semshare, call by call, for its tests");
MODULE_VERSION(SEMSHARE_MODULE_VERSION);
