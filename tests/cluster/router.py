"""MySQL Router from the machine's own mirror, with a static route."""

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from rollcall.embedded.apt import Apt, packages, source_list
from rollcall.embedded.files import whole_directory
from rollcall.embedded.process import Child, run, spawn
from rollcall.embedded.sources import Sources
from tests.ports import free_port

# next-available: Router does not go back to a server that was away, which may not be the primary any more.
CONFIGURATION = """
[DEFAULT]
logging_folder = {directory}
runtime_folder = {directory}
data_folder = {directory}
plugin_folder = {plugins}

[logger]
level = INFO

[routing:primary]
bind_address = 127.0.0.1
bind_port = {port}
destinations = {destinations}
routing_strategy = next-available
protocol = classic
client_ssl_mode = PASSTHROUGH
server_ssl_mode = AS_CLIENT
"""


async def fetched() -> Path:
    """The tree of the package, in the cache beside MySQL's; fetched first if it is missing."""
    sources = Sources.of(os.environ)
    tree = sources.cache_dir / f"mysql-router-{platform.machine()}"
    if not tree.exists():
        with whole_directory(tree) as made:
            apt = Apt.in_directory(made / "fetch", sources)
            apt.configure(source_list(await apt.targets(), platform.freedesktop_os_release()))
            await apt.get("update")
            needed = packages(await apt.get("install", "--simulate", "--no-install-recommends", "mysql-router"))
            await apt.get("download", *needed)
            await apt.unpack_into(made)
            shutil.rmtree(apt.work)
    return tree


async def start(directory: Path, destinations: Sequence[int]) -> tuple[Child, int]:
    """Start a router to the first of the ports that answers; return it and its own port."""
    tree = await fetched()
    libraries = [path for path in (*tree.glob("usr/lib/*-linux-gnu*"), *tree.glob("lib/*-linux-gnu*")) if path.is_dir()]
    private = [path.parent for path in tree.rglob("libmysqlrouter.so*")]
    [plugins] = {path.parent for path in tree.rglob("routing.so")}
    loader = next(loader for library in libraries for loader in library.glob("ld-linux-*.so.*"))
    directory.mkdir(parents=True)
    port = free_port()
    configuration = directory / "mysqlrouter.conf"
    configuration.write_text(
        CONFIGURATION.format(
            directory=directory,
            plugins=plugins,
            port=port,
            destinations=",".join(f"127.0.0.1:{port}" for port in destinations),
        )
    )
    search = ":".join(map(str, [*libraries, *private, plugins]))
    command = [str(loader), "--library-path", search, str(tree / "usr/bin/mysqlrouter"), "-c", str(configuration)]
    await run([*command, "--version"], directory / "version.log")
    return spawn(command, directory / "router.log"), port
