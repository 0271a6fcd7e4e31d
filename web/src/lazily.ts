/** Parts of the application that are loaded when they are first shown. */
import { type ComponentType, lazy, type LazyExoticComponent } from "react";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5_000;

/** Any file of the application that does not change. */
async function serverAnswers(): Promise<boolean> {
  try {
    return (await fetch("/icon.svg", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/**
 * Like React's `lazy`, but waits while the server is away: a part that cannot be loaded would take the page down.
 *
 * Throws if the server answers and does not have the part: another version was installed since the page was opened.
 */
export function lazily<Props>(
  load: () => Promise<{ default: ComponentType<Props> }>,
): LazyExoticComponent<ComponentType<Props>> {
  return lazy(async () => {
    for (let pause = FIRST_PAUSE_MS, answered = false; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        return await load();
      } catch (error) {
        if (answered) throw error;
      }
      answered = await serverAnswers();
      if (!answered) await new Promise((resolve) => setTimeout(resolve, pause));
    }
  });
}
