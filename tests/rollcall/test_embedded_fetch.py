"""Fetching MySQL from the machine's own mirror: only a complete and working download is used.

Shell scripts replace apt's programs: a mirror that works, fails or serves a broken package.
"""

import asyncio
import platform
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollcall.embedded import apt
from rollcall.embedded.apt import (
    CannotFetch,
    megabytes,
    newest_server,
    packages,
    source_list,
    targets,
    upstream_version,
)
from rollcall.embedded.sources import Sources
from tests.waiting import PATIENCE_SECONDS

APT_GET = """#!/bin/sh
case "$*" in
  *update*print-uris*) echo "'http://mirror.invalid/debian/dists/bookworm/main/binary-all/Packages.xz' x 0 " ;;
  *update*) echo update >> {calls} ;;
  *install*) echo "Inst libc6 (2.43-7 Debian:unstable [amd64])"
             echo "Inst mysql-server-core (9.7.4-2 Debian:unstable [amd64])" ;;
  *print-uris*) echo "'http://mirror.invalid/m.deb' m.deb 48000000 SHA256:00" ;;
  *download*) {download} ;;
esac
"""
APT_CACHE = "#!/bin/sh\necho mysql-server-core\n"
DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/lib/x86_64-linux-gnu"
printf '#!/bin/sh\\n{loader}\\n' > "$3/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
chmod +x "$3/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
"""
GOOD_DOWNLOAD = "sleep 0.3; touch m.deb"


@dataclass
class Mirror:
    """A machine whose apt programs are scripts."""

    directory: Path

    def serve(self, download: str = GOOD_DOWNLOAD, loader: str = "exit 0") -> None:
        tools = {
            "apt-get": APT_GET.format(calls=self.calls, download=download),
            "apt-cache": APT_CACHE,
            "dpkg-deb": DPKG_DEB.format(loader=loader),
        }
        for name, script in tools.items():
            tool = self.directory / "bin" / name
            tool.parent.mkdir(exist_ok=True)
            tool.write_text(script)
            tool.chmod(0o755)

    @property
    def calls(self) -> Path:
        return self.directory / "calls"

    @property
    def sources(self) -> Sources:
        return Sources(str(self.directory / "bin"), self.directory / "cache", packaged_mongod=None)

    def fetches(self) -> int:
        return len(self.calls.read_text().splitlines())

    def cached(self) -> list[str]:
        return [path.name for path in (self.directory / "cache").iterdir() if path.is_dir()]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": "bookworm"})
    monkeypatch.setattr(apt, "KEYRINGS", tmp_path)
    (tmp_path / "debian-archive-keyring.gpg").touch()
    mirror = Mirror(tmp_path)
    mirror.serve()
    return mirror


async def test_concurrent_fetches_download_once(mirror: Mirror) -> None:
    """The second fetch waits for the first and uses its result, as later ones do."""
    lines: list[str] = []

    commands = await asyncio.gather(*(apt.mysql(mirror.sources, lines.append) for _ in range(2)))
    later = await apt.mysql(mirror.sources, lines.append)

    assert commands == [later, later]
    assert mirror.fetches() == 1
    assert "fetching MySQL 9.7.4 (48 MB) ..." in lines


async def test_a_failed_download_is_not_cached_and_reports_why(mirror: Mirror) -> None:
    """The error has apt's output, the cache stays empty, and the next fetch works."""
    mirror.serve(download="touch m.deb; echo the disk is full; exit 100")

    with pytest.raises(CannotFetch, match="apt-get ended with status 100:\nthe disk is full"):
        await apt.mysql(mirror.sources, print)
    assert mirror.cached() == []

    mirror.serve()
    assert await apt.mysql(mirror.sources, print)


async def test_a_program_that_does_not_run_is_not_cached(mirror: Mirror) -> None:
    """A fetched program is run before it is moved into the cache."""
    mirror.serve(loader="echo wrong libc; exit 127")

    with pytest.raises(CannotFetch, match="status 127:\nwrong libc"):
        await apt.mysql(mirror.sources, print)

    assert mirror.cached() == []


async def test_a_cancelled_fetch_ends_its_programs_and_caches_nothing(mirror: Mirror) -> None:
    """A cancelled fetch ends at once and leaves the cache empty."""
    downloading = mirror.directory / "downloading"
    mirror.serve(download=f"touch {downloading}; sleep 5")
    task = asyncio.create_task(apt.mysql(mirror.sources, print))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not downloading.exists():  # noqa: ASYNC110 - a shell script cannot be awaited
            await asyncio.sleep(0.01)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE_SECONDS)

    assert mirror.cached() == []


async def test_the_directory_of_a_killed_fetch_is_removed(mirror: Mirror) -> None:
    """The next fetch removes the unfinished directory and does not use it."""
    remains = mirror.directory / "cache" / f"mysql-{platform.machine()}.new-killed" / "usr"
    remains.mkdir(parents=True)

    await apt.mysql(mirror.sources, print)

    assert mirror.cached() == [f"mysql-{platform.machine()}"]


async def test_an_unwritable_cache_names_the_variable_that_moves_it(mirror: Mirror) -> None:
    """Service accounts often have no home directory."""
    (mirror.directory / "cache").touch()  # a file in place of the directory

    with pytest.raises(CannotFetch, match="XDG_CACHE_HOME"):
        await apt.mysql(mirror.sources, print)


@pytest.fixture
def keyrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(apt, "KEYRINGS", tmp_path)
    for vendor in ("debian", "ubuntu"):
        (tmp_path / f"{vendor}-archive-keyring.gpg").touch()
    return tmp_path


def test_debian_uses_sid_of_its_own_mirror(keyrings: Path) -> None:
    """Debian's stable suites have no MySQL; the security archive and other vendors have no sid."""
    indexes = [
        ("http://deb.invalid/debian/", "bookworm", "main"),
        ("http://deb.invalid/debian/", "bookworm-updates", "main"),
        ("http://deb.invalid/debian-security/", "bookworm-security", "main"),
        ("http://vendor.invalid/apt/", "bookworm", "main"),
    ]

    lines = source_list(indexes, {"ID": "debian", "VERSION_CODENAME": "bookworm"})

    signed = f"signed-by={keyrings}/debian-archive-keyring.gpg"
    assert lines == f"deb [target=Packages {signed}] http://deb.invalid/debian/ sid main\n"


def test_ubuntu_uses_its_own_suites(keyrings: Path) -> None:
    """Ubuntu's suites have MySQL; other vendors' repositories are left out."""
    indexes = [
        ("http://ubuntu.invalid/ubuntu/", "noble", "main"),
        ("http://ubuntu.invalid/ubuntu/", "noble-updates", "main"),
        ("http://security.invalid/ubuntu/", "noble-security", "main"),
        ("http://vendor.invalid/apt/", "noble", "main"),
    ]

    lines = source_list(indexes, {"UBUNTU_CODENAME": "noble", "VERSION_CODENAME": "noble"})

    used = [tuple(line.split()[3:]) for line in lines.splitlines()]
    assert used == indexes[:3]
    assert f"signed-by={keyrings}/ubuntu-archive-keyring.gpg" in lines


def test_a_machine_without_a_mirror_is_an_error(keyrings: Path) -> None:
    """A source of another vendor is no mirror of the system's packages."""
    with pytest.raises(CannotFetch, match="no mirror"):
        source_list([("http://vendor.invalid/apt/", "stable", "main")], {"VERSION_CODENAME": "bookworm"})


def test_a_mirror_without_keys_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the vendor's keys no signature can be verified, so nothing is fetched."""
    monkeypatch.setattr(apt, "KEYRINGS", tmp_path)

    with pytest.raises(CannotFetch, match="keys of Debian's packages"):
        source_list([("http://deb.invalid/debian/", "bookworm", "main")], {"VERSION_CODENAME": "bookworm"})


def test_the_output_of_apt_is_parsed() -> None:
    """Indexes, package names, versions and sizes come from apt's output."""
    uris = (
        "'http://m.invalid/debian/dists/bookworm/InRelease' m.invalid_debian_dists_bookworm_InRelease 0 \n"
        "'http://m.invalid/debian/dists/bookworm/main/binary-amd64/Packages.xz' m_Packages 0 \n"
        "'http://m.invalid/debian/dists/bookworm/main/binary-all/Packages.xz' m_Packages 0 \n"
    )
    assert targets(uris) == [("http://m.invalid/debian", "bookworm", "main")]

    assert (
        newest_server("mysql-server-core-8.0\nmysql-server-core-8.4\nmysql-server-cores\n") == "mysql-server-core-8.4"
    )
    assert newest_server("mysql-server\nmysql-server-core\n") == "mysql-server-core"
    with pytest.raises(CannotFetch, match="mysql-server-core"):
        newest_server("mysql-server\n")

    simulated = "Inst perl-base (5.42 D [amd64])\nInst libcrypt1 (1:4.5-1 D [amd64]) []\nConf libcrypt1 (1:4.5-1 D)\n"
    assert packages(simulated) == {"libcrypt1": "1:4.5-1"}
    assert upstream_version("1:8.4.6-0ubuntu1") == "8.4.6"
    assert (
        megabytes("'http://m.invalid/a.deb' a.deb 1500000 SHA256:0\n'http://m.invalid/b.deb' b.deb 700000 MD5:0\n") == 2
    )
