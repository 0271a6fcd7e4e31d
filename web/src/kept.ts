/** Choices that this browser keeps. One that keeps nothing, as a private window may, forgets them with the page. */

export function kept(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function keep(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // The choice counts until the page is closed.
  }
}
