"""Become another program that ends with its starter: `python tether.py STARTER_PID PROGRAM ARGUMENT...`.

On Linux the kernel sends SIGTERM to the program when the thread that started it ends, for whatever reason. A
`preexec_fn` would run Python code in the fork of a process that has threads, which is not safe.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    starter, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != starter:  # it ended before prctl, so no signal will come
        sys.exit(1)
    try:
        os.execv(program[0], program)  # noqa: S606 - the commands are made in this package
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
