/** Pauses, time limits and signals that end together. */

/** A pause before a retry, with full jitter: between nothing and `base * 2 ** failures` milliseconds. */
export const backOff = (failures: number, base = 250, longest = 8_000): number =>
  Math.random() * Math.min(longest, base * 2 ** Math.min(failures, 16));

/** Resolves after a time; rejects with the reason of the signal. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** The result of a promise that several callers share, or the reason of one caller's signal. */
export function unless<Value>(signal: AbortSignal | undefined, shared: Promise<Value>): Promise<Value> {
  if (!signal) return shared;
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    shared.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
  });
}

/**
 * A signal that follows others and may have a time limit. `AbortSignal.any` is younger than the browsers that are
 * supported. `done` releases what it holds.
 */
export function linked(
  signals: readonly (AbortSignal | undefined)[],
  limit?: { milliseconds: number; reason: () => unknown },
): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const undo: (() => void)[] = [];
  for (const signal of signals) {
    if (!signal) continue;
    const end = () => controller.abort(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    undo.push(() => signal.removeEventListener("abort", end));
  }
  if (limit) {
    const timer = setTimeout(() => controller.abort(limit.reason()), limit.milliseconds);
    undo.push(() => clearTimeout(timer));
  }
  return { signal: controller.signal, done: () => undo.forEach((one) => one()) };
}
