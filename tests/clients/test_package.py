"""The npm package as it would be published: its types, its files, its size, and what its documents say of it."""

import json
import re
import tarfile
from pathlib import Path
from typing import Final

import pytest

from tests.clients.package import FOLDER, run

CORE_BYTES: Final = 15_000
"""At most, compressed with gzip."""
GUIDE: Final = (FOLDER.parents[1] / "docs" / "application.md").read_text()
CONSUMER: Final = """
import { createClient, inMemory, type Outcome, UnauthenticatedError } from "@rollcall/client";
import { MeDocument, UpdateUserDocument, type UpdateUserMutation } from "@rollcall/client/operations";

const client = createClient({ url: "http://127.0.0.1:9/graphql", session: inMemory(), retries: 0 });
export async function rename(id: string, name: string): Promise<string> {
  const outcome: Outcome<UpdateUserMutation> = await client.mutate(UpdateUserDocument, { input: { id, name } });
  if (outcome.ok) return outcome.user.name;
  // @ts-expect-error a refusal has no user
  void outcome.user;
  return outcome.errors.map(({ code }) => code satisfies string).join();
}
// @ts-expect-error the variables of the document are required
void (() => client.mutate(UpdateUserDocument));
// @ts-expect-error and have their types
void (() => client.mutate(UpdateUserDocument, { input: { id: 1 } }));
const { name } = await client.query(MeDocument).catch((error: Error) => error) as Error;
console.log(name, UnauthenticatedError.name);
"""


PRELUDE: Final = """
declare const id: string;
declare function show(user: { name: string }): void;
declare function complain(field: readonly string[] | null | undefined, message: string): void;
declare function apply(change: { position: string }): void;
"""
"""What the snippets of the guide leave to their readers."""


def snippets(text: str, language: str = "ts") -> list[str]:
    """The code blocks of a document in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_check_finds_nothing(package: Path) -> None:
    """Generated files are up to date; `tsc --strict` and publint find nothing in the package and the examples."""
    run("npm", "run", "check")


def test_what_a_document_says_is_read_right(package: Path) -> None:
    """node:test, for the part that needs no server."""
    run("npm", "test")


def test_the_packed_package_works_elsewhere(package: Path, tmp_path: Path) -> None:
    """It is packed; attw finds its types; a strict program and the documents' code compile against it; it runs."""
    [packed] = json.loads(run("npm", "pack", "--ignore-scripts", "--json", "--pack-destination", tmp_path))
    names = {file["path"] for file in packed["files"]}
    assert {"LICENSE", "README.md", "package.json", "dist/index.js", "dist/react.d.ts"} <= names
    assert all(name in {"LICENSE", "README.md", "package.json"} or name.startswith("dist/") for name in names)

    run(FOLDER / "node_modules" / ".bin" / "attw", tmp_path / packed["filename"], "--profile", "esm-only")

    modules = tmp_path / "node_modules"
    (modules / "@rollcall").mkdir(parents=True)
    with tarfile.open(tmp_path / packed["filename"]) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "package").rename(modules / "@rollcall" / "client")
    (modules / "@0no-co").symlink_to(FOLDER / "node_modules" / "@0no-co")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "consumer.ts").write_text(CONSUMER)
    options = [
        "--strict",
        "--exactOptionalPropertyTypes",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2023,dom",
    ]
    run(FOLDER / "node_modules" / ".bin" / "tsc", *options, "consumer.ts", folder=tmp_path)
    shown = {"guide": [PRELUDE, *snippets(GUIDE)], "readme": snippets((package / "README.md").read_text())}
    for name, parts in shown.items():
        (tmp_path / f"{name}.ts").write_text("".join(parts))
        run(FOLDER / "node_modules" / ".bin" / "tsc", *options, "--noEmit", f"{name}.ts", folder=tmp_path)
    assert run("node", "consumer.js", folder=tmp_path).split() == ["TransportError", "UnauthenticatedError"]


def test_the_guide_shows_the_application_that_is_tested(package: Path) -> None:
    """Its code is the example's, and has twenty lines."""
    [shown] = snippets(GUIDE, "tsx")
    assert shown == (package / "examples" / "twenty-lines" / "app.tsx").read_text()
    assert len(shown.splitlines()) == 20


def test_it_is_as_small_as_it_says(package: Path) -> None:
    """The README's table is what `npm run size` measures, to a tenth of a kilobyte or two: versions of zlib differ."""
    measured = [json.loads(line) for line in run("npm", "run", "--silent", "size").splitlines()]
    assert measured[0]["gzip"] < CORE_BYTES
    rows = re.findall(
        r"^\| (@.+?) \| ([\d.]+) kB \| ([\d.]+) kB \|$", (package / "README.md").read_text(), re.MULTILINE
    )
    assert [name for name, _, _ in rows] == [size["name"] for size in measured]
    for (_, gzip, brotli), size in zip(rows, measured, strict=True):
        assert float(gzip) == pytest.approx(size["gzip"] / 1000, abs=0.2)
        assert float(brotli) == pytest.approx(size["brotli"] / 1000, abs=0.2)
