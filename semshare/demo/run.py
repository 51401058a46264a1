# SPDX-License-Identifier: MIT
"""One run of the demo, as the parent conducts it."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from types import FrameType
from typing import Any

from semshare import Error, Ring, key_of
from semshare.area import list_areas
from semshare.demo import machine, program_starts
from semshare.demo.kernel import DEVICE, KernelThreads, ThreadStatus
from semshare.demo.party import Party, PlainParty, PythonParty
from semshare.demo.record import HEADER
from semshare.demo.result import Counter, LockFigures, Producer, Result
from semshare.demo.words import DRAIN, RUN, SIZE, STOP, Words
from semshare.semaphore_set import all_sets

CAPACITY = 1 << 20
"""Bytes of records: some thousand records, so that nobody waits for space all the time."""

TICK = 0.02
"""Seconds between two looks at the kernel threads and the clock."""

START_LIMIT = 60.0
"""Seconds for all children to attach. Emulated machines are slow."""

STALL_LIMIT = 30.0
"""Seconds without any progress after which the run is given up."""

END_LIMIT = 15.0
"""Seconds for a party to finish once it was told to stop."""

ROUNDS = 8
"""Without the lock: how often to try again until damage shows."""

LEFTOVER_LIMIT = 2.0
"""Seconds for the kernel to remove a set after its area's last reference went."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GivenUp(Exception):
    """The run cannot go on. The figures so far are kept."""


@dataclass(frozen=True)
class Settings:
    """What the options of `semshare demo` say."""

    name: str
    seconds: float = 3.0
    records: int = 0
    """For each producer; 0: as many as fit into `seconds`."""
    kernel_producers: int = 0
    python_producers: int = 2
    plain_producers: int = 1
    payload: int = 200
    """Longest pattern behind a record's header, in bytes."""
    locked: bool = True
    watch: bool = True
    backend: str | None = None

    @property
    def capacity(self) -> int:
        """A power of two of which the longest record takes a sixteenth at most, and a quarter is the limit."""
        capacity = CAPACITY
        while capacity < 16 * (self.payload + HEADER.size):
            capacity *= 2
        return capacity


class Demo:
    """The area, the set and all parties. Used as a context manager, it leaves nothing behind."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.result = Result(locked=settings.locked, area=settings.name)
        self._signals: list[str] = []
        self._ring: Ring | None = None
        self._words: Words | None = None
        self._parties: list[Party] = []
        self._kernel: KernelThreads | None = None
        self._kernel_began = 0.0
        self._kernel_ended: dict[int, float] = {}
        self._old_handlers: dict[signal.Signals, Any] = {}

    # ------------------------------------------------------------------------------------------- beginning and end

    def __enter__(self) -> Demo:
        try:
            for number in SIGNALS:
                self._old_handlers[number] = signal.signal(number, self._interrupt)
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._close()
        finally:
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # Only a note: every wait below looks at it every TICK. A second one does not wait for the ring to be drained.
        self._signals.append(signal.Signals(number).name)

    def _open(self) -> None:
        settings = self.settings
        self._ring = Ring.create(settings.name, settings.capacity, area_extra=SIZE, backend=settings.backend)
        self._words = Words(self._ring)
        fd = self._ring.area.fileno()
        numbers = itertools.count(settings.kernel_producers)
        for index in range(settings.python_producers):
            self._parties.append(PythonParty(next(numbers), f"python-{index + 1}", settings.name, settings.locked))
        # The plain program after all forks: it ends when its input does, which nobody else must hold open.
        plain_numbers = [next(numbers) for _ in range(settings.plain_producers)]
        self._consumer = PythonParty(next(numbers), "consumer", settings.name, settings.locked)
        for index, number in enumerate(plain_numbers):
            name = f"plain-{index + 1}"
            self._parties.append(PlainParty(number, name, fd, settings.payload, settings.locked, self._words))
        self._parties.append(self._consumer)
        # After the last fork: nobody else holds the device, so its threads end with this process.
        if settings.kernel_producers:
            self._kernel = KernelThreads(fd)
        self.result.machine = machine.describe(self._ring.area.backend)

    def _close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()
        if self._words is not None:
            self._words.order[0] = DRAIN
        deadline = time.monotonic() + (0 if self._hurry else END_LIMIT)
        for party in self._parties:
            if party.state == "idle":
                party.end(deadline)
            else:
                party.give_up()
        for party in self._parties:
            if party.failure and not self._hurry:
                self._note_failure(f"{party.name} {party.failure}")
        if self._words is not None:
            self._words.release()
        if self._ring is not None:
            self._ring.unlink()
            self._ring.close()

    @property
    def _hurry(self) -> bool:
        return len(self._signals) > 1

    def _note_failure(self, failure: str) -> None:
        if failure not in self.result.failures:
            self.result.failures.append(failure)

    # ------------------------------------------------------------------------------------------------------ the job

    def run(self) -> Result:
        """Both experiments, and a look at what else the kernel tells."""
        try:
            self._wait(lambda: all(party.state != "starting" for party in self._parties), START_LIMIT, "to attach")
            if not self.result.failures:
                self._until_damage(self._records_round, lambda: self.result.records_damaged)
            if not self._signals and not self._lost_parties():
                self._until_damage(self._counter_round, lambda: self.result.counter_damaged)
            if not self._signals and self.settings.watch:
                self.result.program_starts, missed = program_starts.observe()
                self.result.failures += missed
        except GivenUp as reason:
            self._note_failure(str(reason))
        except Error as error:
            self._note_failure(str(error))
        if self._signals:
            self.result.interrupted = self._signals[0]
        return self.result

    def _until_damage(self, experiment: Callable[[int], None], damaged: Callable[[], bool]) -> None:
        """With the lock, once. Without it, until damage shows: on an idle machine parties may just miss each other."""
        for attempt in range(1 if self.settings.locked else ROUNDS):
            experiment(attempt)
            if self._signals or self.result.failures or damaged():
                break

    def _records_round(self, attempt: int) -> None:
        settings = self.settings
        assert self._words is not None
        words = self._words
        words.order[0] = RUN
        count = settings.records << attempt
        producers = [party for party in self._parties if party is not self._consumer]
        total = settings.kernel_producers + len(producers)
        self._consumer.order("consume", {"producers": total})
        began = time.monotonic()
        for party in producers:
            party.order("produce", {"longest": settings.payload, "records": count})
        if self._kernel is not None:
            self._kernel_began = time.monotonic()
            self._kernel_ended = {}
            self._kernel.put_records(
                settings.kernel_producers, 0, settings.payload, count, unlocked=not settings.locked
            )
        self._work(producers, None if count else settings.seconds)
        self.result.seconds = time.monotonic() - began
        words.order[0] = DRAIN
        self._wait(lambda: self._consumer.state != "busy", None, "to take what is left")
        self._collect_records(producers)

    def _counter_round(self, attempt: int) -> None:
        settings = self.settings
        assert self._words is not None
        words = self._words
        words.order[0] = RUN
        words.counter[0] = 0
        count = settings.records << attempt
        began = time.monotonic()
        for party in self._parties:
            party.order("count", {"additions": count})
        if self._kernel is not None:
            self._kernel_began = time.monotonic()
            self._kernel_ended = {}
            self._kernel.add_to_counter(
                settings.kernel_producers, words.counter_offset, count, unlocked=not settings.locked
            )
        self._work(self._parties, None if count else settings.seconds / 2)
        counter = Counter(counted=words.counter[0], seconds=time.monotonic() - began)
        for index, status in enumerate(self._kernel_status()):
            counter.parties[f"kernel-{index + 1}"] = status.done
        for party in self._parties:
            counter.parties[party.name] = party.work.done if party.work is not None else None
        self.result.counter = counter

    def _work(self, parties: Sequence[Party], seconds: float | None) -> None:
        """Wait until all have done their work, or for so many seconds and then until all have stopped."""
        assert self._words is not None
        deadline = time.monotonic() + seconds if seconds is not None else float("inf")

        def done() -> bool:
            if self._signals or self._lost_parties():
                return True
            kernel = self._kernel_status()
            if time.monotonic() >= deadline:
                # Not before each kernel thread had its turn: on a busy machine they may start late.
                return all(status.done or not status.running for status in kernel)
            return all(party.state != "busy" for party in parties) and not any(status.running for status in kernel)

        self._wait(done, None, "to work")
        self._words.order[0] = STOP
        if self._kernel is not None:
            self._kernel.stop()
            self._kernel_status()
        self._wait(lambda: all(party.state != "busy" for party in parties), END_LIMIT, "to stop")

    def _lost_parties(self) -> bool:
        return any(party.failure for party in self._parties)

    def _kernel_status(self) -> list[ThreadStatus]:
        if self._kernel is None:
            return []
        statuses = self._kernel.status()
        for index, status in enumerate(statuses):
            if not status.running:
                self._kernel_ended.setdefault(index, time.monotonic())
        return statuses

    def _wait(self, condition: Callable[[], bool], limit: float | None, what: str) -> None:
        """Wait until `condition`, listening to all parties; with no `limit`, as long as there is progress.

        Raises:
            GivenUp: too long.
        """
        began = time.monotonic()
        progress = self._progress()
        while not condition():
            if self._hurry:
                raise GivenUp("interrupted twice: ended at once")
            listened = {party.fileno(): party for party in self._parties if party.state in ("starting", "busy")}
            for fd in connection.wait(list(listened), TICK):
                assert isinstance(fd, int)
                listened[fd].receive()
            for party in self._parties:
                if party.failure:
                    self._note_failure(f"{party.name} {party.failure}")
            now = time.monotonic()
            if limit is None and progress != (seen := self._progress()):
                progress, began = seen, now
            if now - began > (limit or STALL_LIMIT):
                waited = [party.name for party in self._parties if party.state in ("starting", "busy")]
                waited += [f"kernel-{i + 1}" for i, status in enumerate(self._kernel_status()) if status.running]
                raise GivenUp(f"waited {now - began:.0f} s for {', '.join(waited) or 'nobody'} {what}; gave up")

    def _progress(self) -> tuple[int, ...]:
        """Anything that changes while somebody works."""
        assert self._ring is not None and self._words is not None
        state = self._ring.state()
        return state.head, state.tail, self._words.counter[0]

    # -------------------------------------------------------------------------------------------------- the figures

    def _collect_records(self, producers: Sequence[Party]) -> None:
        result = self.result
        work = self._consumer.work
        result.strays = work.strays if work else 0
        result.damages = work.damages if work else 0
        statuses = self._kernel_status()
        result.producers = [
            Producer(
                f"kernel-{index + 1}",
                "kernel",
                status.done,
                seconds=self._kernel_ended.get(index, time.monotonic()) - self._kernel_began,
            )
            for index, status in enumerate(statuses)
        ]
        for index, status in enumerate(statuses):
            if status.error and self.settings.locked:
                self._note_failure(f"kernel-{index + 1} ended with {errno.errorcode.get(status.error, status.error)}")
        for party in producers:
            producer = Producer(party.name, party.kind)
            if party.work is not None:
                producer.sent, producer.seconds = party.work.done, party.work.seconds
                result.damages += party.work.damages
            result.producers.append(producer)
        if work is not None:
            for number, producer in enumerate(result.producers):
                tally = work.tallies[number]
                producer.received, producer.torn, producer.out_of_order = tally.received, tally.torn, tally.out_of_order
                producer.lost = tally.lost(producer.sent) if producer.sent is not None else tally.lost(tally.next)
        self._collect_lock(statuses)

    def _collect_lock(self, statuses: Sequence[ThreadStatus]) -> None:
        works = [party.work for party in self._parties if party.work is not None]
        measured = [work.lock for work in works if work.lock is not None]
        self.result.lock = LockFigures.of(measured + [status.lock for status in statuses])


def conduct(settings: Settings) -> Result:
    """One whole run, from nothing to nothing."""
    demo = Demo(settings)
    with demo:
        result = demo.run()
    if leftovers := _leftovers(settings.name):
        result.failures.append(f"left behind: {', '.join(leftovers)}; semshare rm {settings.name}")
    return result


def _leftovers(name: str) -> list[str]:
    """What is still there of a run that has ended."""
    found: list[str] = []
    deadline = time.monotonic() + LEFTOVER_LIMIT
    while True:
        found = [f"area {area.name}" for area in list_areas() if area.name == name]
        found += [f"set {semid}" for semid, state in all_sets() if state.key == key_of(name)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(TICK)


def kernel_threads_here() -> bool:
    """Whether this kernel has the module semshare_demo."""
    return os.path.exists(DEVICE)
