"""JSON stays as it was written, wherever a page shows, edits or copies it: large integers, and the order of names."""

import json
from pathlib import Path
from typing import Any, Final

from playwright.async_api import expect

from tests.pages.stack import ADMIN, Person, Stack, no_faults, sign_in
from tests.waiting import eventually

LARGE: Final = 9007199254740993  # 2**53 + 1, which a double makes 2**53
ACCOUNT: Final[dict[str, Any]] = {
    "account": LARGE,
    "limits": [-LARGE, {"day": 9223372036854775807}],
    "quoted": f"{LARGE}",
}
SHOWN: Final = str(LARGE)


async def in_both_views(stack: Stack, person: Person) -> list[Any]:
    """The attributes as MySQL's view has them, and as MongoDB's has."""
    answer = await stack.installation.ask(
        """query($filter: UserFilter) {
             users(filter: $filter) { edges { node { attributes } } }
             searchUsers(filter: $filter) { edges { node { attributes } } }
           }""",
        await stack.admin(),
        filter={"username": {"eq": person.username}},
    )
    return [[edge["node"]["attributes"] for edge in answer[view]["edges"]] for view in ("users", "searchUsers")]


async def test_attributes_keep_their_large_integers_in_every_editor(stack: Stack) -> None:
    """The owner's form, the owner's JSON, and the administrator's dialog, after a live change; in both views."""
    person = await stack.person(**ACCOUNT)
    async with stack.window() as page, stack.window() as admin:
        await sign_in(admin, *ADMIN)
        await admin.goto(f"/users/{person.id}")
        await expect(admin.get_by_text(SHOWN).first).to_be_visible()

        await sign_in(page, person.username, person.password)
        await page.goto("/account")
        profile, card = page.get_by_role("region", name="Profile"), page.get_by_role("region", name="Attributes")
        await profile.get_by_label("Phone").fill("+60 3 1234")
        await profile.get_by_role("button", name="Save profile").click()
        await expect(profile.get_by_text("version 2.")).to_be_visible()

        await card.get_by_role("button", name="Edit as JSON").click()
        editor = card.get_by_label("Attributes as JSON")
        text = await editor.input_value()
        assert json.loads(text) == {**ACCOUNT, "phone": "+60 3 1234"}
        await editor.fill(text.replace('"+60 3 1234"', f'"+60", "typed": {LARGE}'))
        await card.get_by_role("button", name="Save").click()
        await expect(profile.get_by_text("version 3.")).to_be_visible()

        await expect(admin.get_by_text("typed:")).to_be_visible()  # by userChanges, through the socket
        await admin.get_by_role("button", name="Edit").click()
        dialog = admin.get_by_role("dialog")
        wanted = {**ACCOUNT, "phone": "+60", "typed": LARGE}
        assert json.loads(await dialog.get_by_label("Attributes").input_value()) == wanted
        await dialog.get_by_label("Name", exact=True).fill("Changed by the administrator")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_be_hidden()

        async def exact() -> bool:
            return await in_both_views(stack, person) == [[wanted], [wanted]]

        await eventually(exact)
        no_faults(page)
        no_faults(admin)


async def test_a_conflict_an_object_and_the_export_keep_large_integers(stack: Stack, tmp_path: Path) -> None:
    person = await stack.person(**ACCOUNT)
    token = await stack.installation.sign_in(person.username, person.password)
    made = await stack.installation.ask(
        'mutation($content: JSON!) { createData(input: {name: "one", content: $content}) { data { id number } } }',
        token,
        content={"count": LARGE},
    )
    data = made["createData"]["data"]
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto(f"/data/{data['number']}")
        await page.get_by_role("button", name="Edit as JSON").click()
        editor = page.get_by_label("Content as JSON")
        assert json.loads(await editor.input_value()) == {"count": LARGE}
        await editor.fill(f'{{"count": {LARGE}, "mine": {LARGE + 2}}}')
        await stack.installation.ask(
            "mutation($id: ID!, $c: JSON!) { updateData(input: {id: $id, content: $c}) { errors { message } } }",
            token,
            id=data["id"],
            c={"count": LARGE + 4},
        )
        await page.get_by_role("button", name="Save").click()
        conflict = page.get_by_role("region", name="Conflict")
        await expect(conflict.get_by_text(str(LARGE + 4))).to_be_visible()
        await expect(conflict.get_by_text(str(LARGE + 2))).to_be_visible()
        await conflict.get_by_role("button", name="Save the choice").click()
        await expect(conflict).to_be_hidden()
        found = await stack.installation.ask("query($id: ID!) { data(id: $id) { content } }", token, id=data["id"])
        assert found["data"]["content"] == {"count": LARGE + 4, "mine": LARGE + 2}

        await page.goto("/account")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download everything about me").click()
        path = tmp_path / "all.json"
        await (await download.value).save_as(path)
        everything = json.loads(path.read_text())
        assert everything["profile"]["attributes"] == ACCOUNT
        assert everything["data"][0]["content"] == {"count": LARGE + 4, "mine": LARGE + 2}
        no_faults(page)


async def test_names_keep_the_order_in_which_they_were_written(stack: Stack) -> None:
    """As the API keeps it: new names come last, also inside of lists, and beside texts that need escapes."""
    person = await stack.person()
    token = await stack.installation.sign_in(person.username, person.password)
    content = {"zebra": {"title": 'a "quote" and \\', "done": True}, "list": [{"b": LARGE, "a": 2}], "ant": None}
    written = json.dumps(content)
    async with stack.window() as page:
        await sign_in(page, person.username, person.password)
        await page.goto("/data")
        await page.get_by_role("button", name="New data object").click()
        dialog = page.get_by_role("dialog", name="New data object")
        await dialog.get_by_label("Name").fill("In order")
        await dialog.get_by_label("Content as JSON").fill(written)
        await dialog.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("heading", level=1, name="In order")).to_be_visible()
        no_faults(page)

    kept = await stack.installation.ask("{ dataObjects { edges { node { content } } } }", token)

    [edge] = kept["dataObjects"]["edges"]
    assert json.dumps(edge["node"]["content"]) == written
