"""Fetch MySQL from the machine's own Debian or Ubuntu mirror, without root and without installing it.

`apt-get`, with a state directory of its own, downloads `mysql-server-core` and every library that it needs, libc
included, and checks the signatures. The packages are unpacked into the user's cache and run with their own loader, so
that they run on an older system than they were built for.
"""

import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollcall.embedded.files import locked, whole_directory
from rollcall.embedded.process import run
from rollcall.embedded.sources import CommandFailed, Report, Sources

KEYRINGS = Path("/usr/share/keyrings")


class CannotFetch(Exception):
    """This machine cannot fetch packages, or the fetch failed; the message says which."""


async def mysql(sources: Sources, report: Report) -> tuple[str, ...]:
    """The command of the cached mysqld, fetched first if the cache has none. Raises CannotFetch."""
    tree = sources.cache_dir / f"mysql-{platform.machine()}"
    try:
        if not tree.exists():
            lock = tree.parent / "mysql.lock"
            async with locked(lock, lambda: report("waiting for another process that fetches MySQL ...")):
                if not tree.exists():
                    await _fetch(tree, sources, report)
    except CommandFailed as error:
        raise CannotFetch(str(error)) from error
    except OSError as error:
        raise CannotFetch(f"{error} (XDG_CACHE_HOME can name another cache directory)") from error
    return _command(tree)


async def _fetch(tree: Path, sources: Sources, report: Report) -> None:
    with whole_directory(tree) as made:
        apt = Apt.in_directory(made / "fetch", sources)
        await _download(apt, report)
        await apt.unpack_into(made)
        await run([*_command(made), "--version"], apt.work / "version.log")
        shutil.rmtree(apt.work)


async def _download(apt: "Apt", report: Report) -> None:
    apt.configure(source_list(await apt.targets(), platform.freedesktop_os_release()))
    report("reading the package lists of this machine's mirror for MySQL ...")
    await apt.get("update")
    package = newest_server(await apt.cache("pkgnames", "mysql-server-core"))
    needed = packages(await apt.get("install", "--simulate", "--no-install-recommends", package))
    uris = await apt.get("download", "--print-uris", *needed)
    report(f"fetching MySQL {upstream_version(needed[package])} ({megabytes(uris)} MB) ...")
    await apt.get("download", *needed)


def _command(tree: Path) -> tuple[str, ...]:
    """mysqld with its own loader, its own libraries and the three directories that it otherwise expects in /usr."""
    found = (*tree.glob("usr/lib/*-linux-gnu*"), *tree.glob("lib/*-linux-gnu*"), tree / "usr/lib/mysql/private")
    libraries = [directory for directory in found if directory.is_dir()]
    loaders = [loader for directory in libraries for loader in directory.glob("ld-linux-*.so.*")]
    if not loaders:
        raise CannotFetch(f"expected a loader (ld-linux-*.so.*) below {tree}, found none: remove that directory")
    mysqld = (str(tree / "usr/sbin/mysqld"), "--no-defaults")
    directories = (
        f"--basedir={tree / 'usr'}",
        f"--lc-messages-dir={tree / 'usr/share/mysql'}",
        f"--plugin-dir={tree / 'usr/lib/mysql/plugin'}",
    )
    return (str(loaders[0]), "--library-path", ":".join(map(str, libraries)), *mysqld, *directories)


@dataclass(frozen=True, slots=True)
class Apt:
    """The machine's apt with sources, state and cache of its own in the directory `work`."""

    apt_get: Path
    apt_cache: Path
    dpkg_deb: Path
    work: Path

    @classmethod
    def in_directory(cls, work: Path, sources: Sources) -> "Apt":
        apt_get, apt_cache, dpkg_deb = (sources.which(name) for name in ("apt-get", "apt-cache", "dpkg-deb"))
        if apt_get is None or apt_cache is None or dpkg_deb is None:
            raise CannotFetch("that needs Debian or Ubuntu, and there is no apt-get on PATH")
        return cls(apt_get, apt_cache, dpkg_deb, work)

    def configure(self, source_list: str) -> None:
        for directory in ("lists/partial", "archives/partial", "debs"):
            (self.work / directory).mkdir(parents=True)
        (self.work / "status").touch()  # no package counts as installed, so apt lists every library
        (self.work / "sources.list").write_text(source_list)
        (self.work / "apt.conf").write_text(CONFIGURATION.format(work=self.work))

    async def targets(self) -> list[tuple[str, str, str]]:
        """The package indexes that the machine uses: URI, suite and component of each.

        `indextargets` would list none on a machine whose lists were never read or were removed (Docker).
        """
        state = ("-o", f"Dir::State={self.work}", "-o", "Debug::NoLocking=true")
        printed = await run([str(self.apt_get), *state, "update", "--print-uris"], self.work / "targets.log")
        return targets(printed)

    async def get(self, verb: str, *arguments: str) -> str:
        return await self._run(self.apt_get, verb, *arguments)

    async def cache(self, verb: str, *arguments: str) -> str:
        return await self._run(self.apt_cache, verb, *arguments)

    async def _run(self, tool: Path, verb: str, *arguments: str) -> str:
        command = [str(tool), f"--config-file={self.work / 'apt.conf'}", verb, *arguments]
        return await run(command, self.work / f"{verb}.log", self.work / "debs")

    async def unpack_into(self, tree: Path) -> None:
        for package in sorted(self.work.glob("debs/*.deb")):
            await run([str(self.dpkg_deb), "--extract", str(package), str(tree)], self.work / "unpack.log")


# apt reads the machine's own configuration (for instance a proxy) before this one. Its hooks, pins and default release
# do not apply to these packages, and unsigned packages are always refused.
CONFIGURATION = """
#clear APT::Update;
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
Dir::Cache "{work}";
Dir::Cache::archives "{work}/archives";
Dir::Cache::pkgcache "{work}/pkgcache.bin";
Dir::Cache::srcpkgcache "{work}/srcpkgcache.bin";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{work}";
Dir::State::lists "{work}/lists";
Dir::State::status "{work}/status";
"""


def targets(uris: str) -> list[tuple[str, str, str]]:
    """URI, suite and component of each index in apt's list, without repetitions."""
    found = re.findall(r"^'(\S+)/dists/(\S+)/([^/\s]+)/binary-[^/]+/Packages\S*'", uris, re.MULTILINE)
    return list(dict.fromkeys(found))


def source_list(indexes: Sequence[tuple[str, str, str]], system: Mapping[str, str]) -> str:
    """The sources.list for MySQL on the machine's own mirror: Ubuntu's own suites, or `sid` for Debian.

    `indexes` are those that the machine uses (URI, suite, component). The mirror is the one that carries updates, if
    there is one. `system` is the content of /etc/os-release. Raises CannotFetch if there is no mirror.
    """
    ubuntu = "UBUNTU_CODENAME" in system
    codename = system.get("UBUNTU_CODENAME") or system.get("VERSION_CODENAME", "sid")
    updates = {f"{codename}-updates", f"{codename}-security"}
    suites = {codename, *updates} if ubuntu else {codename, f"{codename}-updates", "testing", "unstable", "sid"}
    own = [index for index in indexes if index[1] in suites]
    mirrors = {uri for uri, suite, _ in own if suite in updates} or {uri for uri, _, _ in own}
    chosen = [
        (uri, suite, component) if ubuntu else (uri, "sid", "main") for uri, suite, component in own if uri in mirrors
    ]
    if not chosen:
        raise CannotFetch("apt has no mirror of this system's own packages configured")
    options = f"[target=Packages signed-by={_keyring('ubuntu' if ubuntu else 'debian')}]"
    return "".join(f"deb {options} {' '.join(line)}\n" for line in dict.fromkeys(chosen))


def _keyring(vendor: str) -> Path:
    files = [KEYRINGS / f"{vendor}-archive-keyring.{suffix}" for suffix in ("gpg", "pgp")]
    for file in files:
        if file.exists():
            return file
    raise CannotFetch(f"expected the keys of {vendor.title()}'s packages in {files[0]}, found no such file")


def newest_server(names: str) -> str:
    """The newest server among apt's package names: Ubuntu's has a version in its name, Debian's has none."""
    found = re.findall(r"^mysql-server-core(?:-(\d+)\.(\d+))?$", names, re.MULTILINE)
    if not found:
        raise CannotFetch("the mirror has no package mysql-server-core for this architecture")
    major, minor = max(found, key=lambda version: tuple(int(part or 0) for part in version))
    return f"mysql-server-core-{major}.{minor}" if major else "mysql-server-core"


def packages(simulated: str) -> dict[str, str]:
    """Name and version of each package that apt would install, without perl's: only the server's scripts need them."""
    found = re.findall(r"^Inst (\S+) \((\S+)", simulated, re.MULTILINE)
    return {name: version for name, version in found if "perl" not in name}


def megabytes(uris: str) -> int:
    """The sum of the sizes in apt's list: URI, file name, size in bytes, hash."""
    return sum(int(size) for size in re.findall(r"^'\S+' \S+ (\d+) ", uris, re.MULTILINE)) // 1_000_000


def upstream_version(version: str) -> str:
    """UPSTREAM of a Debian version [EPOCH:]UPSTREAM[-REVISION]."""
    return version.rpartition(":")[2].partition("-")[0]
