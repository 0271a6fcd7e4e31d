"""Start `rollcall` processes by forking one that has imported the program.

A new interpreter takes more than a second of processor time to import the program, most of the time of these tests.
The fork server imports it once, starts no thread and no event loop, and forks for each command. The forked process
equals `python -m rollcall ARGUMENT...`: it has its own directory, environment, standard streams and signals.

    tests ──arguments, directory, environment, three file descriptors──▶ fork server ──fork──▶ rollcall
    tests ◀──process id, then the exit status──────────────────────────┘

A forked `dev` or `serve` has a fork server of its own, forked before it starts threads, and `asyncio` starts its
children there. They end with it, as the program's tether has them do: the kernel kills its fork server, and sends them
SIGTERM. New interpreters start in `tests/system/test_dev.py`, which runs `dev` as users do, for API workers, and for
workers of rebuilds.
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
from typing import Any, Final

MESSAGE_BYTES: Final = 256 * 1024
PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
ROOT: Final = Path(__file__).parents[2]

new_interpreter = asyncio.create_subprocess_exec


class ForkServer:
    """A fork server as its client sees it. It ends with the client."""

    _running: "ForkServer | None" = None

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @classmethod
    def running(cls) -> "ForkServer":
        """Return the fork server of this test process, started at the first use."""
        if cls._running is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
                {**os.environ, "PYTHONPATH": str(ROOT)},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), theirs.fileno())],
            )
            theirs.close()
            cls._running = cls(ours)
        return cls._running

    async def start(self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> "Piped":
        """Fork a process that runs `rollcall ARGUMENT...`, with pipes to its standard streams."""
        pipes = [os.pipe() for _ in range(3)]
        (stdin, write_in), (read_out, stdout), (read_err, stderr) = pipes
        forked = await self._fork((stdin, stdout, stderr), arguments, directory, environment, is_child=False)
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        return Piped(*forked, await _reader(read_out), await _reader(read_err), write_in)

    async def start_child(
        self, *command: str, env: Mapping[str, str], **options: Any
    ) -> "Forked | asyncio.subprocess.Process":
        """Stand in for `asyncio.create_subprocess_exec` in `rollcall.children`."""
        if options.pop("stdout", None) is not None:  # a worker of a rebuild, which talks by pipes
            return await new_interpreter(*command, env=env, stdout=asyncio.subprocess.PIPE, **options)
        *tether, python, module, rollcall = command[:8]
        assert (len(tether), python, module, rollcall) == (5, sys.executable, "-m", "rollcall"), command
        assert options.pop("limit") == 2**16
        assert options == {"stdin": asyncio.subprocess.DEVNULL, "start_new_session": True}
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            return Forked(*await self._fork((nothing, 1, 2), command[8:], Path.cwd(), env, is_child=True))
        finally:
            os.close(nothing)

    async def _fork(
        self,
        streams: Sequence[int],
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        is_child: bool,
    ) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        request = {"arguments": arguments, "directory": str(directory), "environment": dict(environment)}
        descriptors = array.array("i", [*streams, theirs.fileno()])
        message = json.dumps({**request, "is_child": is_child}).encode()
        self._socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        theirs.close()
        status, connection = await asyncio.open_connection(sock=ours)
        return int(await status.readline()), status, connection


class Forked:
    """A forked process, with the methods of `asyncio.subprocess.Process` that the program uses."""

    def __init__(self, pid: int, status: asyncio.StreamReader, connection: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection
        self._ended = asyncio.create_task(self._wait_for(status))

    async def _wait_for(self, status: asyncio.StreamReader) -> int:
        code = os.waitstatus_to_exitcode(int(await status.readline()))
        self.returncode = code
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


class Piped(Forked):
    """A forked process with pipes to its standard streams."""

    def __init__(
        self,
        pid: int,
        status: asyncio.StreamReader,
        connection: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        stdin: int,
    ) -> None:
        super().__init__(pid, status, connection)
        self.stdout = stdout
        self.stderr = stderr
        self._stdin = stdin
        self._ended.add_done_callback(lambda _: self.close_stdin())

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
    """Fork for each request until the client ends. A forked process runs `rollcall` and does not return."""
    _end_with_parent(signal.SIGKILL)
    for path in (ROOT / "rollcall" / "commands").glob("*.py"):
        import_module(f"rollcall.commands.{path.stem}")
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
                os._exit(0)  # a copy of a process has its exit handlers too
            *streams, status = descriptors
            own = os.getpid()
            pid = os.fork()
            if pid == 0:
                selector.close()
                for other in (requests, woken, wakeup, *children.values()):
                    other.close()
                os.close(status)
                _become(json.loads(request), streams, own)
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


def _become(request: dict[str, Any], streams: Sequence[int], parent: int) -> None:
    """Run `rollcall ARGUMENT...` in this process; does not return."""
    _end_with_parent(signal.SIGTERM if request["is_child"] else signal.SIGKILL)
    if os.getppid() != parent:  # it ended before, so no signal will come
        os._exit(1)
    if request["is_child"]:
        os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["rollcall", *request["arguments"]]
    # The command line stays that of the fork server; /proc/PID/comm tells the processes apart.
    ctypes.CDLL(None).prctl(PR_SET_NAME, request["arguments"][0].encode())
    # A child replaces the objects of its starter, which must not close the descriptors when they are collected.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    if request["arguments"][0] in ("dev", "serve") and "--workers" not in request["arguments"]:
        _fork_children()
    import_module("rollcall.cli").main()


def _fork_children() -> None:
    """Have this process, which has one thread as yet, fork its children from a copy of itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        serve(theirs.detach())
    theirs.close()
    asyncio.create_subprocess_exec = ForkServer(ours).start_child  # type: ignore[assignment]


def _end_with_parent(how: signal.Signals) -> None:
    """Have the kernel signal this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
