"""What is served under `/` is what the sources make, with every licence that its parts ask for."""

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUMS = "graph/pages/SHA256SUMS"
SOURCES = ("codegen.ts", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")


def files(directory: str) -> set[str]:
    """The names of all files below a directory, from the root on."""
    return {str(path.relative_to(ROOT)) for path in (ROOT / directory).rglob("*") if path.is_file()}


def test_the_built_pages_are_those_of_the_sources() -> None:
    """No file was changed by hand, added or removed, and none was built of older sources."""
    listed = dict(line.split("  ")[::-1] for line in (ROOT / SUMS).read_text().splitlines())

    folders = ("web/public", "web/scripts", "web/src", "clients/typescript/src")
    written = {name for folder in folders for name in files(folder) if "/gql/" not in name}
    expected = files("graph/pages/assets") | written | {f"web/{name}" for name in SOURCES}
    assert listed.keys() == expected | {"graph/pages/LICENSES.txt", "auth/common_passwords.txt"}
    for name, digest in listed.items():
        found = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
        assert found == digest, f"{name} changed: run `npm run build` in web/"


def test_packages_of_the_pages_are_pinned_and_their_licences_included() -> None:
    """Each package has one exact version, and LICENSES.txt names that version."""
    package = json.loads((ROOT / "web/package.json").read_text())
    licences = (ROOT / "graph/pages/LICENSES.txt").read_text()

    for name, version in (package["dependencies"] | package["devDependencies"]).items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name} is not pinned"
    for name, version in package["dependencies"].items():
        assert f"{name}@{version}\n" in licences


def test_the_sign_in_page_is_small_and_has_no_inline_code() -> None:
    """Under 200 kB compressed with all that it loads at once, and nothing that the content security policy refuses."""
    page = (ROOT / "graph/pages/assets/index.html").read_text()

    loaded = re.findall(r'(?:src|href)="/([^"]+)"', page)
    assert len(loaded) >= 3
    assert sum((ROOT / f"graph/pages/assets/{name}.br").stat().st_size for name in loaded) < 200_000
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|https?://(?!www\.w3\.org)", page)
