/**
 * Integers that a JavaScript number would round, such as 9007199254740993.
 *
 * In the page each is a text with a mark, so it is compared, copied and sent back as it came. `marked` makes them of what
 * the API sends, before it is parsed; `unmarked` makes JSON of them again. The mark is random: no text of a user has it.
 */
const MARK = `integer-${Array.from(crypto.getRandomValues(new Uint32Array(4)), (one) => one.toString(16)).join("-")}:`;
const TEXT_OR_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const WRITTEN = new RegExp(`"${MARK}(-?\\d+)"`, "g");

/** JSON whose large integers are marked. */
export function marked(json: string): string {
  if (!/\d{16}/.test(json)) return json;
  return json.replace(TEXT_OR_NUMBER, (found) =>
    /^-?\d+$/.test(found) && !Number.isSafeInteger(Number(found)) ? `"${MARK}${found}"` : found,
  );
}

/** JSON as it is between programs. */
export const unmarked = (json: string): string => json.replace(WRITTEN, "$1");

export const parseExact = (json: string): unknown => JSON.parse(marked(json));

export const writeExact = (value: unknown, indent?: number): string => unmarked(JSON.stringify(value, null, indent));

/** Whether a value is a text. A large integer is none. */
export const isText = (value: unknown): value is string => typeof value === "string" && !value.startsWith(MARK);
