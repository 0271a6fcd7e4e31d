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

const ORDERED = `ordered-${MARK}`;
const PACKED = new RegExp(`"${ORDERED}((?:[^"\\\\]|\\\\.)*)"`, "g");

/** Variables whose objects are packed into texts: urql would sort their names when it writes them. */
export const packed = <Variables extends object>(variables: Variables): Variables =>
  Object.fromEntries(
    Object.entries(variables).map(([name, value]) => [
      name,
      typeof value === "object" && value !== null ? ORDERED + JSON.stringify(value) : value,
    ]),
  ) as Variables;

const unpacked = (json: string): string => json.replace(PACKED, (_, text: string) => JSON.parse(`"${text}"`) as string);

/** `fetch` for GraphQL, where no integer is rounded and packed variables are written as they were. */
export const fetchExact: typeof fetch = async (input, init) => {
  const body = typeof init?.body === "string" ? unmarked(unpacked(init.body)) : init?.body;
  const response = await fetch(input, { ...init, ...(body != null && { body }) });
  const { status, statusText, headers } = response;
  return new Response(marked(await response.text()), { status, statusText, headers });
};

/** A WebSocket for JSON, where no integer is rounded. */
export class ExactSocket extends (globalThis.WebSocket ?? EventTarget) {
  override set onmessage(handle: ((this: WebSocket, event: MessageEvent) => unknown) | null) {
    super.onmessage =
      handle &&
      function (this: WebSocket, { data }: MessageEvent<string>) {
        handle.call(this, new MessageEvent("message", { data: marked(data) }));
      };
  }
}
