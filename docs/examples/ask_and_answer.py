# SPDX-License-Identifier: MIT
"""A channel: this process asks, another one answers, is killed over a command, and is succeeded by a third."""

import multiprocessing
import os
import signal

import semshare

ADD, DIE = 1, 2


def answer(name):
    with semshare.Channel.attach(name) as channel:
        # standby=None: wait until nobody else answers.
        for command in channel.serve(opcodes={ADD, DIE}, standby=None):
            if command.opcode == DIE:
                os.kill(os.getpid(), signal.SIGKILL)
            numbers = command.payload.split()
            if len(numbers) == 2 and all(each.isdigit() for each in numbers):
                command.reply(b"%d" % sum(map(int, numbers)))
            else:
                command.fail(message=f"{command.payload!r} is not two numbers")


def main():
    name = f"ask-and-answer-{os.getpid()}"
    with semshare.Channel.create(name, depth=64) as channel:
        answering = [multiprocessing.Process(target=answer, args=(name,), daemon=True) for _ in range(2)]
        for each in answering:
            each.start()

        print("1 + 2 =", channel.call(ADD, b"1 2").decode())

        # Many at a time; replies may come in any order.
        pending = [channel.submit(ADD, b"%d %d" % (i, i)) for i in range(1000)]
        print("the sum of all is", sum(int(each.result()) for each in pending))

        for opcode, payload in ((ADD, b"one"), (77, b""), (DIE, b"")):
            try:
                channel.call(opcode, payload, timeout=5.0)
            except semshare.Error as error:
                print(f"{type(error).__name__}: {error}")

        # The second process has taken over.
        print("3 + 4 =", channel.call(ADD, b"3 4").decode())
        for each in answering:
            each.kill()
        channel.unlink()


if __name__ == "__main__":
    main()
