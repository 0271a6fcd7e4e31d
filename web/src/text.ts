/** Words and numbers for people. */
import type { Role } from "./gql/graphql";

export const plural = (count: number, noun: string): string =>
  `${count.toLocaleString()} ${noun}${count === 1 || noun.endsWith("s") ? "" : "s"}`;

export const ROLES: readonly Role[] = ["CUSTOMER", "TECHNICAL_WORKER", "SENIOR_MANAGEMENT", "ADMIN"];

const NAMES: Record<Role, string> = {
  CUSTOMER: "Customer",
  TECHNICAL_WORKER: "Technical worker",
  SENIOR_MANAGEMENT: "Senior management",
  ADMIN: "Administrator",
};

export const roleName = (role: Role): string => NAMES[role];

/** `USER_REGISTERED` as "User registered". */
export const sentence = (name: string): string => {
  const words = name.replaceAll("_", " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
};

/** A random key for a request that may be sent again. `crypto.randomUUID` is not there on plain http. */
export const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Offer a text as a file. */
export function download(name: string, type: string, content: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const cell = (value: unknown): string => {
  const text = String(value ?? "");
  // A spreadsheet would take a text that begins so for a formula.
  const safe = typeof value === "string" && /^[=+\-@\t\r\n＝＋－＠]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

export const csv = (header: readonly string[], rows: readonly (readonly unknown[])[]): string =>
  [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
