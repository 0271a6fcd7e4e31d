"""How quickly the pages can be used, as the browser itself measures it. The figures are in docs/pages.md.

Limits are ten times what the issue aims at, so that only a fault reaches them, not a busy machine; `FIGURES=1`
prints the figures. `USERS=100000` makes a list of that many users, and turns 200 pages of it.
"""

import os
from statistics import median
from typing import Final

from playwright.async_api import Page, expect

from tests.pages.stack import ADMIN, Stack, no_faults, sign_in
from tests.waiting import eventually

SLOWDOWN: Final = 4
"""How much slower than this machine the processor is made, as Lighthouse does for a phone."""
USERS: Final = int(os.environ.get("USERS", "300"))
TURNED: Final = min(USERS // 100 - 2, 200)
SLICE: Final = 5_000
IMPORT: Final = """
mutation($content: String!) {
  importUsers(input: {content: $content}) { imported refused { message } errors { message } }
}
"""
# From the last byte of the answer until the frame with the new rows is painted.
TURN: Final = """async () => {
  const first = () => document.querySelector("tbody tr").textContent;
  const before = first();
  const painted = new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      if (first() === before) return;
      observer.disconnect();
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));
    });
    observer.observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
  });
  [...document.querySelectorAll("button")].find((one) => one.textContent === "Next page").click();
  const at = await painted;
  const answers = performance.getEntriesByType("resource").filter((one) => one.name.endsWith("/graphql"));
  return at - answers.at(-1).responseEnd;
}"""
# From the request that revokes the session until the sign-in is shown.
REVOKED: Final = """async (token) => {
  const signIn = () => document.querySelector("h1")?.textContent === "Sign in";
  const shown = new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      if (!signIn()) return;
      observer.disconnect();
      resolve(performance.now());
    });
    observer.observe(document, { subtree: true, childList: true, characterData: true });
  });
  const began = performance.now();
  await fetch("/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
    body: JSON.stringify({ query: "mutation { logout(everywhere: true) { loggedOut } }" }),
  });
  return (await shown) - began;
}"""
HEAP: Final = "performance.memory.usedJSHeapSize"


def show(what: str, figure: float, unit: str) -> None:
    """Print a figure if they were asked for."""
    if os.environ.get("FIGURES"):
        print(f"\n{what}: {figure:.0f} {unit}")  # noqa: T201


async def slowed(page: Page) -> None:
    session = await page.context.new_cdp_session(page)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})


async def imported(stack: Stack) -> None:
    rows = [
        f'{{"username": "measured{n}", "email": "measured{n}@example.com", "name": "Measured {n}"}}'
        for n in range(USERS)
    ]
    for begin in range(0, USERS, SLICE):
        content = "\n".join(rows[begin : begin + SLICE])
        answer = await stack.installation.ask(IMPORT, await stack.admin(), content=content)
        assert answer["importUsers"]["refused"] == answer["importUsers"]["errors"] == []


async def test_the_sign_in_page_is_soon_interactive_on_a_slow_processor(stack: Stack) -> None:
    """From the navigation until the form takes input."""
    async with stack.window() as page:
        await slowed(page)
        await page.goto("/sign-in")
        await expect(page.get_by_label("Username or email")).to_be_focused()
        figure = await page.evaluate("""() => {
          const paints = performance.getEntriesByType("paint");
          return Math.max(...paints.map((paint) => paint.startTime));
        }""")
        show("sign-in page interactive, processor slowed 4 times", figure, "ms")
        assert figure < 10_000
        no_faults(page)


async def test_a_page_of_100_users_renders_quickly_and_memory_does_not_grow(stack: Stack) -> None:
    """Turning pages there and back many times leaves the heap as it was."""
    await imported(stack)
    async with stack.window() as page:
        await sign_in(page, *ADMIN)
        await page.goto("/users?size=100")
        await expect(page.get_by_role("row")).to_have_count(101)
        figure = await page.evaluate(TURN)
        show("next page of 100 users painted after the answer came", figure, "ms")
        assert figure < 1_000

        session = await page.context.new_cdp_session(page)
        sizes = []
        for _ in range(6):
            for name in ("Previous page", "Next page"):
                first = await page.locator("tbody tr").first.inner_text()
                await page.get_by_role("button", name=name).click()
                await expect(page.locator("tbody tr").first).not_to_have_text(first)
            await session.send("HeapProfiler.collectGarbage")
            sizes.append(await page.evaluate(HEAP))
        show("growth of the heap in 10 pages", (sizes[-1] - sizes[1]) / 1024, "KiB")
        assert sizes[-1] < sizes[1] * 1.5

        for _ in range(TURNED):
            first = await page.locator("tbody tr").first.inner_text()
            await page.get_by_role("button", name="Next page").click()
            await expect(page.locator("tbody tr").first).not_to_have_text(first)
        await session.send("HeapProfiler.collectGarbage")
        sizes.append(await page.evaluate(HEAP))
        show(f"growth of the heap in {TURNED} more pages of {USERS:,} users", (sizes[-1] - sizes[1]) / 1024, "KiB")
        assert sizes[-1] < sizes[1] * 1.5
        no_faults(page)


async def test_a_revoked_session_soon_falls_back_to_the_sign_in(stack: Stack) -> None:
    """Ten times: another session of the user ends all of them, and the page shows the sign-in."""
    person = await stack.person()
    figures = []
    async with stack.window() as page:
        received: list[str | bytes] = []

        def listen(frame: str | bytes) -> None:  # Playwright sets attributes of it, which a list's method has none of
            received.append(frame)

        page.on("websocket", lambda socket: socket.on("framereceived", listen))

        async def acknowledged() -> bool:
            return any("connection_ack" in str(frame) for frame in received)

        for _ in range(10):
            received.clear()
            await sign_in(page, person.username, person.password)
            await eventually(acknowledged)
            token = await stack.installation.sign_in(person.username, person.password)
            figures.append(await page.evaluate(REVOKED, token))
        no_faults(page)
    show("from the revocation of a session to the sign-in, median of 10", median(figures), "ms")
    assert median(figures) < 10_000
