/**
 * The server's rules for passwords (auth/password_policy.py), so that the strength meter agrees with them. The server
 * decides: a password that passes here may still be refused, and the refusal shows at the field.
 */
import list from "../../../auth/common_passwords.txt?raw";

const MINIMUM = 8;
const MAXIMUM = 1024;
const SHORTEST_OWN_WORD = 4;
const LONGEST_COMMON = 40;
const MAXIMUM_AROUND = 6;
const SHORTEST_RUN = 3;

const WORDS = new Set([
  "rollcall",
  ...list
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .flatMap((line) => line.split(/\s+/))
    .filter(Boolean),
]);

const DIGITS = "@4831!05$7+";
const STANDS_FOR = ["aabeiiosstt", "aabeliosstt"].map(
  (letters) => new Map([...DIGITS].map((digit, index) => [digit, letters.charAt(index)])),
);

const ROWS = [
  "01234567890123456789",
  "abcdefghijklmnopqrstuvwxyz",
  "qwertyuiop[]asdfghjkl;'zxcvbnm,./",
  "qwertzuiopasdfghjklyxcvbnm",
  "azertyuiopqsdfghjklmwxcvbn",
  "йцукенгшщзхъфывапролджэячсмитьбю",
  "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
  "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
  "qazwsxedcrfvtgbyhnujmikolp",
  "1q2w3e4r5t6y7u8i9o0p",
  "q1w2e3r4t5y6u7i8o9p0",
  "147258369147258369",
  "159357159357",
  "a1b2c3d4e5f6g7h8i9j0",
  "1a2b3c4d5e6f7g8h9i0j",
  "aabbccddeeffgghh",
  "112233445566778899",
  "abc123abc123abc123",
  "123abc123abc123abc",
  "123123123123123123",
  "123321123321123321",
  "!@#$%^&*()_+",
];
const RUNS = ROWS.flatMap((row) => [row, [...row].reverse().join("")]);

export interface Names {
  username?: string;
  email?: string;
  name?: string;
}

export interface Strength {
  /** 0: nothing is typed. 1: refused. 2 to 4: accepted, the longer the better. */
  level: 0 | 1 | 2 | 3 | 4;
  says: string;
}

const normalised = (text: string): string => text.normalize("NFKC");
/** As Python's `casefold` for the letters that matter here. */
const folded = (text: string): string => text.toLowerCase().replaceAll("ß", "ss").replaceAll("ς", "σ");
const lengthOf = (text: string): number => [...text].length;
const lettersAndDigits = (text: string): string => folded(normalised(text)).replace(/[^\p{L}\p{N}]/gu, "");

function isMadeOfRuns(characters: readonly string[]): boolean {
  let start = 0;
  while (start < characters.length) {
    let end = start + SHORTEST_RUN;
    if (end > characters.length) return false;
    const part = (to: number) => characters.slice(start, to).join("");
    const runs = RUNS.filter((run) => run.includes(part(end)));
    if (!runs.length) return false;
    while (end < characters.length && runs.some((run) => run.includes(part(end + 1)))) end += 1;
    start = end;
  }
  return true;
}

function isCommonWord(text: string): boolean {
  // What stands at an end may be added to a word (`dragon2024!`) or stand for a letter (`@dmin`, `acce55`).
  const right = text.replace(/[^\p{L}\p{Nl}\p{No}]+$/u, "");
  const spellings = [text, text.replace(/[0-9]+$/, ""), right, right.replace(/^[^\p{L}\p{Nl}\p{No}]+/u, "")];
  return spellings
    .filter((spelling) => lengthOf(text) - lengthOf(spelling) <= MAXIMUM_AROUND)
    .some((spelling) =>
      STANDS_FOR.some((letters) =>
        WORDS.has(
          [...spelling]
            .map((character) => letters.get(character) ?? character)
            .join("")
            .replace(/[^\p{L}\p{Nl}\p{No}]+/gu, ""),
        ),
      ),
    );
}

function isCommon(password: string): boolean {
  const characters = [...folded(password)];
  const alternate = (odd: number) => new Set(characters.filter((_, index) => index % 2 === odd)).size === 1;
  if (alternate(0) && alternate(1)) return true;
  return characters.length <= LONGEST_COMMON && (isMadeOfRuns(characters) || isCommonWord(characters.join("")));
}

/** Why the password may not be chosen; null if it may. */
export function refusal(password: string, { username = "", email = "", name = "" }: Names): string | null {
  const length = Math.min(lengthOf(password), lengthOf(normalised(password)));
  if (length < MINIMUM) return `Too short: ${length} of at least ${MINIMUM} characters.`;
  if (Math.max(lengthOf(password), lengthOf(normalised(password))) > MAXIMUM) {
    return `Too long: at most ${MAXIMUM.toLocaleString()} characters.`;
  }
  if (/\p{Cs}/u.test(password)) return "Not valid Unicode: it holds half of a pair.";
  if (isCommon(normalised(password))) return "Too common: it is among the first that are tried.";
  const chosen = lettersAndDigits(password);
  const own: readonly (readonly [string, string])[] = [
    ["username", username],
    ["email", email],
    ["email without its domain", email.split("@")[0] ?? ""],
    ["name", name],
  ];
  for (const [kind, text] of own) {
    if (chosen === lettersAndDigits(text) && lengthOf(chosen) >= SHORTEST_OWN_WORD) return `It is your ${kind}.`;
  }
  return null;
}

export function strength(password: string, names: Names): Strength {
  if (!password) return { level: 0, says: `At least ${MINIMUM} characters. A few words in a row are good.` };
  const why = refusal(password, names);
  if (why) return { level: 1, says: why };
  const length = lengthOf(password);
  if (length < 12) return { level: 2, says: "Accepted. A longer one is safer." };
  if (length < 16) return { level: 3, says: "Good." };
  return { level: 4, says: "Strong." };
}
