"""The pages of users and of the audit log: live rows, changes of many users, import, two editors, the past."""

import json
import re
from typing import Any
from uuid import uuid4

from playwright.async_api import FilePayload, Page, expect

from tests.pages.stack import ADMIN, PASSWORD, Person, Stack, no_faults, sign_in

UPDATE = """
mutation($input: UpdateUserInput!) { updateUser(input: $input) { user { version } errors { message } } }
"""
DELETE = "mutation($id: ID!) { deleteUser(input: {id: $id}) { errors { message } } }"


async def update(stack: Stack, person: Person, **changes: Any) -> None:
    answer = await stack.installation.ask(UPDATE, await stack.admin(), input={"id": person.id, **changes})
    assert answer["updateUser"]["errors"] == []


async def top(page: Page, person: Person) -> float:
    box = await page.get_by_role("link", name=person.username, exact=True).bounding_box()
    assert box is not None
    return box["y"]


async def test_rows_change_live_and_nothing_moves(stack: Stack) -> None:
    """A changed row is marked, a deleted one struck through, new users wait behind a button."""
    below, deleted, changed = [await stack.person() for _ in range(3)]
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users")
        place = await top(page, below)
        await update(stack, changed, name="Changed <script>alert(1)</script>")
        await stack.installation.ask(DELETE, await stack.admin(), id=deleted.id)
        new = await stack.person()

        row = page.get_by_role("row").filter(has_text=changed.username)
        await expect(row).to_contain_text("Changed <script>alert(1)</script>")
        await expect(row).to_have_class(re.compile("changed"))
        await expect(page.get_by_role("row").filter(has_text=deleted.username)).to_have_class("gone")
        await expect(page.get_by_label(f"Select {deleted.username}")).to_be_disabled()
        await expect(page.get_by_role("button", name="1 new user: show")).to_be_visible()
        assert await top(page, below) == place

        await page.get_by_role("button", name="1 new user: show").click()
        await expect(page.get_by_role("link", name=new.username)).to_be_visible()
        await expect(page.get_by_text(deleted.username)).to_have_count(0)
        no_faults(page)


async def test_filters_live_in_the_url_and_one_search_serves_both_views(stack: Stack) -> None:
    """A reload shows the same list; a chip removes its filter."""
    city = f"c{uuid4().hex[:12]}"
    worker = await stack.person("TECHNICAL_WORKER", address={"city": city})
    customer = await stack.person(address={"city": city})
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users")
        await page.get_by_text("Add a filter").click()
        await page.get_by_label("Filter", exact=True).select_option("attribute")
        await page.get_by_label("Path").fill("address.city")
        await page.get_by_label("Value").fill(city)
        await page.get_by_role("button", name="Add the filter").click()
        await expect(page.get_by_role("link", name=worker.username)).to_be_visible()
        await page.get_by_label("Filter", exact=True).select_option("role")
        await page.get_by_label("Value").select_option("CUSTOMER")
        await page.get_by_role("button", name="Add the filter").click()
        await expect(page.get_by_role("link", name=worker.username)).to_have_count(0)

        await page.reload()
        await expect(page.get_by_role("link", name=customer.username)).to_be_visible()
        await page.get_by_role("button", name="Remove the filter Role: Customer").click()
        await expect(page.get_by_role("link", name=worker.username)).to_be_visible()

        await page.goto(f"/users?username={customer.username}")
        await page.get_by_role("columnheader", name="Username").get_by_role("button").click()
        await expect(page.get_by_role("columnheader", name="Username")).to_have_attribute("aria-sort", "ascending")
        await expect(page.get_by_role("link", name=customer.username)).to_be_visible()
        no_faults(page)


async def test_many_users_are_changed_with_a_preview_and_a_result_for_each(stack: Stack) -> None:
    """Who is left out stays; the administrator cannot forget that a deletion is for good."""
    people = [await stack.person() for _ in range(3)]
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users")
        dialog = page.get_by_role("dialog")
        for person in people:
            await page.get_by_label(f"Select {person.username}").check()
        await page.get_by_role("button", name="Change role").click()
        await dialog.get_by_label("New role").select_option("TECHNICAL_WORKER")
        await dialog.get_by_role("button", name="Change the role of 3 users").click()
        await expect(dialog.get_by_text("3 users changed, 0 refused.")).to_be_visible()
        await dialog.get_by_role("button", name="Close").click()
        for person in people:
            await expect(page.get_by_role("row").filter(has_text=person.username)).to_contain_text("Technical worker")

        for person in people:
            await page.get_by_label(f"Select {person.username}").check()
        await page.get_by_role("group", name="Selected users").get_by_role("button", name="Delete").click()
        await dialog.get_by_role("button", name=f"Leave {people[0].username} out").click()
        await dialog.get_by_label("I understand that this cannot be undone").check()
        await dialog.get_by_role("button", name="Delete 2 users").click()
        await expect(dialog.get_by_text("2 users deleted, 0 refused.")).to_be_visible()
        await dialog.get_by_role("button", name="Close").click()
        await expect(page.get_by_role("link", name=people[0].username)).to_be_visible()
        await expect(page.get_by_role("link", name=people[1].username)).to_have_count(0)
        no_faults(page)


async def test_a_file_is_imported_with_the_report_of_the_command_line(stack: Stack) -> None:
    """Fields are mapped, quoted line breaks count as lines, and a second import adds nothing."""
    mark = uuid4().hex[:8]
    rows = [
        f'{mark}{n},{mark}{n}@example.com,{"CUSTOMER" if n else "EMPEROR"},"Kuala\nLumpur {"x" * 400}"'
        for n in range(80)
    ]
    content = "\n".join(["login,mail,role,city", *rows]).encode()
    file: FilePayload = {"name": "users.csv", "mimeType": "text/csv", "buffer": content}
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users")
        dialog = page.get_by_role("dialog")
        for imported, existing in ((79, 0), (0, 79)):
            await page.get_by_role("button", name="Import users").click()
            await dialog.get_by_label("File", exact=True).set_input_files(file)
            await dialog.get_by_text("The file has other names for the fields").click()
            await dialog.get_by_label("Field for username").fill("login")
            await dialog.get_by_label("Field for email").fill("mail")
            await dialog.get_by_role("button", name="Import", exact=True).click()
            await expect(dialog.get_by_text("The whole file was read.")).to_be_visible()
            figures = re.sub(r"\s+", " ", await dialog.locator("dl").inner_text())
            assert figures == f"Imported {imported} users Existing {existing} users Refused 1 lines"
            refused = dialog.get_by_role("region", name="Refused lines").get_by_role("row").nth(1)
            await expect(refused).to_contain_text(re.compile("^2.*EMPEROR"))
            await dialog.get_by_role("button", name="Close").click()
        no_faults(page)


async def test_a_csv_of_excel_is_imported_in_the_encoding_that_is_chosen(stack: Stack) -> None:
    """With semicolons and in Windows-1252, as Excel saves it in western Europe. The wrong choice says what to do."""
    mark = f"x{uuid4().hex[:8]}"
    content = f"Benutzer;E-Mail;Name;Ort\r\n{mark};{mark}@example.com;Jürgen Strauß;Köln\r\n".encode("cp1252")
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users")
        await page.get_by_role("button", name="Import users").click()
        dialog = page.get_by_role("dialog")
        for encoding, told in (("utf-8", "Choose it"), ("windows-1252", "The whole file was read.")):
            await dialog.get_by_label("File", exact=True).set_input_files(
                {"name": "users.csv", "mimeType": "text/csv", "buffer": content}
            )
            await dialog.get_by_label("Encoding").select_option(encoding)
            await dialog.get_by_text("The file has other names for the fields").click()
            await dialog.get_by_label("Field for username").fill("Benutzer")
            await dialog.get_by_role("button", name="Import", exact=True).click()
            await expect(dialog.get_by_text(told)).to_be_visible()
            if encoding == "utf-8":
                await dialog.get_by_role("button", name="Import another file").click()
        await dialog.get_by_role("button", name="Close").click()
        await expect(page.get_by_role("row").filter(has_text=mark)).to_contain_text("Jürgen Strauß")
        no_faults(page)


async def test_an_export_that_is_one_document_is_imported(stack: Stack) -> None:
    """As other systems write it: the users are a list under a key, over many lines."""
    mark = uuid4().hex[:8]
    users = [
        {"login": f"{mark}{n}", "email": f"{mark}{n}@example.com", "name": f"Person {n}", "note": "x" * 300}
        for n in range(90)  # more than a slice, into which nothing of it may be cut
    ]
    content = json.dumps({"exported": "2026-11-29", "users": users}, indent=2).encode()
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users")
        await page.get_by_role("button", name="Import users").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("File", exact=True).set_input_files(
            {"name": "users.json", "mimeType": "application/json", "buffer": content}
        )
        await dialog.get_by_text("The file has other names for the fields").click()
        await dialog.get_by_label("Field for username").fill("login")
        await dialog.get_by_role("button", name="Import", exact=True).click()
        await expect(dialog.get_by_text("The whole file was read.")).to_be_visible()
        figures = re.sub(r"\s+", " ", await dialog.locator("dl").inner_text())
        assert figures == "Imported 90 users Existing 0 users Refused 0 lines"
        no_faults(page)


async def test_two_editors_choose_between_their_values(stack: Stack) -> None:
    """The second one sees both values of each field that differs, and nothing is lost unseen."""
    person = await stack.person(city="Penang", floor=1)
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto(f"/users/{person.id}")
        await page.get_by_role("button", name="Edit").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name", exact=True).fill("Mine")
        await dialog.get_by_label("Attributes").fill('{"city": "Ipoh", "floor": 1}')
        await update(stack, person, name="Theirs", attributes={"floor": 2})
        await expect(dialog.get_by_text("This user has changed since you opened the form")).to_be_visible()
        await dialog.get_by_role("button", name="Save").click()

        await expect(dialog.get_by_role("group", name="attributes › floor").get_by_label("Theirs")).to_be_checked()
        await expect(dialog.get_by_role("group", name="attributes › city").get_by_label("Yours")).to_be_checked()
        await dialog.get_by_role("group", name="name").get_by_label("Theirs").check()
        await dialog.get_by_role("button", name="Save the choice").click()
        await expect(page.get_by_role("heading", name="Theirs", level=1)).to_be_visible()
        attributes = page.get_by_role("region", name="Attributes")
        await expect(attributes).to_contain_text('city: "Ipoh"')
        await expect(attributes).to_contain_text("floor: 2")
        no_faults(page)


async def test_the_slider_shows_the_user_as_of_each_version(stack: Stack) -> None:
    """By keys alone; what differs from now is marked; the page grows while one looks."""
    person = await stack.person(city="Penang")
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto(f"/users/{person.id}")
        slider = page.get_by_label("Version", exact=True)
        await expect(slider).to_have_attribute("aria-valuetext", re.compile("^Version 1 of 1,"))
        await update(stack, person, name="Ada King", attributes={"city": "Ipoh"})
        await expect(slider).to_have_attribute("aria-valuetext", re.compile("^Version 2 of 2,"))
        await slider.press("ArrowLeft")

        await expect(page.get_by_text("2 values differ from now.")).to_be_visible()
        city = page.get_by_role("row").filter(has_text="attributes.city")
        await expect(city.locator("mark")).to_have_text("Penang")
        await expect(city).to_contain_text("Ipoh")
        no_faults(page)


async def test_a_deletion_is_confirmed_by_the_username_and_shows_in_every_window(stack: Stack) -> None:
    """The page says what is erased; another window with the same user learns of it."""
    person = await stack.person()
    async with stack.window() as page, stack.window() as other:
        for window in (page, other):
            await sign_in(window, *ADMIN)
            await window.goto(f"/users/{person.id}")
            await expect(window.get_by_role("heading", name=person.name)).to_be_visible()
        await page.get_by_role("button", name="Delete", exact=True).click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_role("button", name="Delete for good")).to_be_disabled()
        await dialog.get_by_label(f"Type {person.username} to confirm").fill(person.username)
        await dialog.get_by_role("button", name="Delete for good").click()

        for window in (page, other):
            await expect(window.get_by_role("heading", name="Deleted user")).to_be_visible()
            no_faults(window)


async def test_the_audit_log_shows_the_newest_events_and_pages_back_to_the_first(stack: Stack) -> None:
    """New events wait behind a button; filters live in the URL."""
    person = await stack.person()
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/audit?size=20")
        rows = page.get_by_role("region", name="Events").get_by_role("row")
        await expect(rows.nth(1)).to_contain_text(person.username)
        await update(stack, person, name="Once more")
        await page.get_by_role("button", name="1 new: show").click()
        await expect(rows.nth(1)).to_contain_text("User updated")
        newest = int(await rows.nth(1).get_by_role("cell").first.inner_text())
        await page.get_by_role("button", name="From the start").click()
        await expect(rows.last.get_by_role("cell").first).to_have_text("1")
        await page.get_by_role("button", name="Jump to the end").click()
        await expect(rows.nth(1).get_by_role("cell").first).to_have_text(str(newest))

        await page.goto(f"/audit?user={person.id}")
        await expect(page.get_by_text("2 events, newest first")).to_be_visible()
        await page.get_by_label("User registered").check()
        await expect(page.get_by_text("1 event, newest first")).to_be_visible()
        await expect(page).to_have_url(re.compile("type=USER_REGISTERED"))
        no_faults(page)


async def test_staff_read_users_and_find_no_button_that_writes(stack: Stack) -> None:
    """Every role of staff but ADMIN."""
    person = await stack.person()
    for role in ("TECHNICAL_WORKER", "SENIOR_MANAGEMENT"):
        reader = await stack.person(role)
        async with stack.window() as page:
            await sign_in(page, reader.username, PASSWORD)
            await page.goto("/users")
            await expect(page.get_by_role("link", name=person.username)).to_be_visible()
            await expect(page.get_by_role("button", name=re.compile("^(Create|Invite|Import) "))).to_have_count(0)
            await expect(page.get_by_role("checkbox", name=re.compile("Select"))).to_have_count(0)
            await page.goto(f"/users/{person.id}")
            await expect(page.get_by_role("heading", name=person.name)).to_be_visible()
            await expect(page.get_by_role("button", name=re.compile("^(Edit|Delete|Change role)$"))).to_have_count(0)
            await expect(page.get_by_role("heading", name="Sessions")).to_have_count(0)
            no_faults(page)
