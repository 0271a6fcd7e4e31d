"""Start `rollcall` processes by forking one that has imported the program.

A new interpreter takes more than a second of processor time to import the program, most of the time of these tests.
The fork server imports it once, starts no thread and no event loop, and forks for each command. The forked process
equals `python -m rollcall ARGUMENT...`: it has its own directory, environment, standard streams and signals.
`tests/system/test_dev.py` and the children of `rollcall dev` start in new interpreters.

    tests ──arguments, directory, environment, three file descriptors──▶ fork server ──fork──▶ rollcall
    tests ◀──process id, then the exit status──────────────────────────┘
"""

import array
import asyncio
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

MESSAGE_BYTES: Final = 256 * 1024
PR_SET_PDEATHSIG: Final = 1
ROOT: Final = Path(__file__).parents[2]


class ForkServer:
    """The fork server of a test process; it starts at the first use and ends with the test process."""

    _running: "ForkServer | None" = None

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
            {**os.environ, "PYTHONPATH": str(ROOT)},
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), theirs.fileno())],
        )
        theirs.close()
        self._socket = ours

    @classmethod
    def running(cls) -> "ForkServer":
        """Return the fork server of this process, started if necessary."""
        cls._running = cls._running or cls()
        return cls._running

    async def start(self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> "Forked":
        """Fork a process that runs `rollcall ARGUMENT...`."""
        pipes = [os.pipe() for _ in range(3)]
        (stdin, write_in), (read_out, stdout), (read_err, stderr) = pipes
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        request = json.dumps({"arguments": arguments, "directory": str(directory), "environment": dict(environment)})
        descriptors = array.array("i", [stdin, stdout, stderr, theirs.fileno()])
        self._socket.sendmsg([request.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        theirs.close()
        status, connection = await asyncio.open_connection(sock=ours)
        pid = int(await status.readline())
        return Forked(pid, status, connection, await _reader(read_out), await _reader(read_err), write_in)


class Forked:
    """A forked process, with the methods of `asyncio.subprocess.Process` that the tests use."""

    def __init__(
        self,
        pid: int,
        status: asyncio.StreamReader,
        connection: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        stdin: int,
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._stdin = stdin
        self._connection = connection
        self._ended = asyncio.create_task(self._wait_for(status))

    async def _wait_for(self, status: asyncio.StreamReader) -> int:
        code = os.waitstatus_to_exitcode(int(await status.readline()))
        self.returncode = code
        self.close_stdin()
        self._connection.close()
        return code

    async def wait(self) -> int:
        """Wait for the end and return the exit code, negative after a signal."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Send a signal unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and its exit code is on the way
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def communicate(self, stdin: bytes) -> tuple[bytes, bytes]:
        """Write and close standard input, wait for the end, and return both outputs."""
        os.write(self._stdin, stdin)
        self.close_stdin()
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    def close_stdin(self) -> None:
        """Close standard input."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb"))
    return reader


def serve(descriptor: int) -> None:
    """Fork for each request until the test process ends. A forked process runs `rollcall` and does not return."""
    _end_with_parent()
    for command in ("dev", "log", "projector", "quarantine", "serve", "status", "users", "views"):
        import_module(f"rollcall.commands.{command}")
    requests = socket.socket(fileno=descriptor)
    woken, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is woken:
                woken.recv(4096)
                _report_ends(children)
                continue
            request, descriptors, *_ = socket.recv_fds(requests, MESSAGE_BYTES, 4)
            if not request:
                sys.exit(0)
            *streams, status = descriptors
            pid = os.fork()
            if pid == 0:
                selector.close()
                for other in (requests, woken, wakeup, *children.values()):
                    other.close()
                os.close(status)
                _become(json.loads(request), streams)
            for stream in streams:
                os.close(stream)
            children[pid] = socket.socket(fileno=status)
            children[pid].sendall(f"{pid}\n".encode())


def _report_ends(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as connection:
            connection.sendall(f"{status}\n".encode())


def _become(request: dict[str, object], streams: Sequence[int]) -> None:
    """Run `rollcall ARGUMENT...` in this process; does not return."""
    _end_with_parent()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(str(request["directory"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    sys.argv = ["rollcall", *request["arguments"]]  # type: ignore[misc]
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    import_module("rollcall.cli").main()


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
