/** A file of users in slices that end between two records, with the numbers of their lines in the file. */

/**
 * Characters of a slice, at most; a single record may have more. Far below the 500 KiB that are allowed: a slice is a
 * few hundred users, so progress shows, and stopping takes effect, within seconds.
 */
const SLICE = 24_000;
/** Characters of a line, at most. The server takes 1 MiB at once. */
const LONGEST_LINE = 16 * 1024 * 1024;
/** The longest cell that the server reads. A quote that is never closed ends there. */
const LONGEST_CELL = 131_072;
/** A JSON array is read as a whole to check it. */
export const LARGEST_ARRAY = 200 * 1024 * 1024;
/** The server takes 1,000,000 bytes at once. */
const LARGEST_DOCUMENT = 900_000;

/** The server recognises the format of a slice by its first character, as that of a file. */
type Format = "JSONL" | "CSV";

export interface Slice {
  content: string;
  firstLine: number;
  /** Bytes of the file that are done with this slice. */
  done: number;
  /** Lines of the file on which the records of this slice begin, where they are not one after another. */
  lines?: number[];
}

export class FileProblem extends Error {}

/** A file and the encoding of its text, as `TextDecoder` names it. */
export interface TextFile {
  blob: Blob;
  encoding: string;
}

/** The text of a file, piece by piece, with or without a mark at its beginning. */
async function* pieces({ blob, encoding }: TextFile): AsyncGenerator<string> {
  const decoder = new TextDecoder(encoding, { fatal: true });
  const reader = blob.stream().getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const text = decoder.decode(value, { stream: !done });
      if (text) yield text;
      if (done) return;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new FileProblem(
      "The file is in another encoding. Choose it: a CSV that Excel saved in western Europe is in Windows-1252. Or save it as “CSV UTF-8”.",
    );
  } finally {
    void reader.cancel();
  }
}

/** Follows a text and says whether a record may end where it is. */
interface Borders {
  next: (character: string) => void;
  between: () => boolean;
}

const everyLine: Borders = { next: () => undefined, between: () => true };

/** As the server reads CSV: quotes count at the beginning of a cell, and a fault goes on with the next line. */
export function csvBorders(delimiter: string): Borders {
  let state: "start" | "plain" | "quoted" | "closing" | "fault" = "start";
  let length = 0;
  return {
    next: (character) => {
      if (state === "quoted") {
        length += 1;
        if (character === '"') state = "closing";
        else if (length > LONGEST_CELL) state = "fault";
        return;
      }
      if (character === "\n" || character === "\r") state = "start";
      else if (state === "fault") return;
      else if (state === "closing") state = character === '"' ? "quoted" : character === delimiter ? "start" : "fault";
      else if (character === delimiter) state = "start";
      else if (state === "start" && character === '"') {
        state = "quoted";
        length = 0;
      } else state = "plain";
    },
    between: () => state !== "quoted",
  };
}

/** The delimiter that gives the header the most columns; inside quotes it separates none. */
export function delimiterOf(header: string): string {
  let best = ",";
  let most = 0;
  for (const delimiter of [",", ";", "\t"]) {
    const borders = csvBorders(delimiter);
    let columns = 1;
    for (const character of header) {
      if (character === delimiter && borders.between()) columns += 1;
      borders.next(character);
    }
    if (columns > most) [best, most] = [delimiter, columns];
  }
  return best;
}

/** Physical lines with their ends: \n, \r\n or \r. */
async function* linesOf(texts: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of texts) {
    const whole = rest + text;
    let start = 0;
    const ends = /\r\n|\n|\r(?!$)/g; // a \r at the end of a piece may be half of a \r\n
    while (ends.exec(whole)) {
      yield whole.slice(start, ends.lastIndex);
      start = ends.lastIndex;
    }
    rest = whole.slice(start);
    if (rest.length > LONGEST_LINE) throw new FileProblem("A line of the file has more than 16 MiB. Is this a file of users?");
  }
  if (rest) yield rest;
}

const encoder = new TextEncoder();
const bytes = (text: string): number => encoder.encode(text).length;

async function* slicesOfLines(file: TextFile, format: Format, size: number): AsyncGenerator<Slice> {
  let borders = everyLine;
  let header = format === "CSV" ? null : "";
  let headerLines = 0;
  let started = format !== "CSV";
  let line = 0; // lines read so far
  let first = 1; // line on which the slice begins
  let record = "";
  let slice = "";
  let done = 0;
  const cut = (): Slice => {
    const content = (header ?? "") + slice;
    done = Math.min(done + bytes(slice), file.blob.size); // in another encoding a text may have fewer bytes
    slice = "";
    return { content, firstLine: first - headerLines, done };
  };
  let recordLine = 1;
  for await (const text of linesOf(pieces(file))) {
    line += 1;
    if (!started) {
      if (!text.trim()) {
        recordLine = line + 1;
        continue;
      }
      started = true;
      borders = csvBorders(delimiterOf(text.replace(/[\r\n]+$/, "")));
    }
    if (borders !== everyLine) for (const character of text) borders.next(character);
    record += text;
    if (!borders.between()) continue;
    if (header === null) {
      header = /[\r\n]$/.test(record) ? record : `${record}\n`;
      headerLines = line - recordLine + 1;
      first = line + 1;
    } else {
      // A slice of JSON lines begins with an object, so that it is not taken for CSV.
      if (slice.trim() && slice.length + record.length > size && (format === "CSV" || record.trimStart().startsWith("{"))) {
        yield cut();
        first = recordLine;
      }
      slice += record;
    }
    record = "";
    recordLine = line + 1;
  }
  slice += record;
  if (slice || (format === "CSV" && header !== null && first === line + 1)) yield { ...cut(), done: file.blob.size };
}

/** The elements of a well-formed JSON array as they are written, each with the line on which it begins. */
export function* elementsOf(text: string): Generator<{ element: string; line: number }> {
  let depth = 0;
  let inText = false;
  let start = -1;
  let line = 1;
  let begins = 1;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (inText) {
      if (character === "\\") at += 1;
      else if (character === '"') inText = false;
      continue;
    }
    if (character === "\n" || (character === "\r" && text.charAt(at + 1) !== "\n")) line += 1;
    const closes = character === "]" || character === "}";
    if (closes) depth -= 1;
    if ((closes && depth === 0) || (character === "," && depth === 1)) {
      if (start >= 0) yield { element: text.slice(start, at).trim(), line: begins };
      start = -1;
    } else if (depth === 1 && start < 0 && !/\s/.test(character)) {
      start = at;
      begins = line;
    }
    if (character === '"') inText = true;
    else if (character === "[" || character === "{") depth += 1;
  }
}

async function* slicesOfArray(file: TextFile, size: number): AsyncGenerator<Slice> {
  if (file.blob.size > LARGEST_ARRAY) {
    throw new FileProblem("A JSON array of more than 200 MiB is not read here. Convert it to JSON lines, or use `rollcall import`.");
  }
  let text = "";
  for await (const piece of pieces(file)) text += piece;
  try {
    JSON.parse(text);
  } catch (error) {
    throw new FileProblem(`The file begins as a JSON array but is not JSON: ${(error as Error).message}`);
  }
  let elements: string[] = [];
  let lines: number[] = [];
  let length = 0;
  let read = 0;
  const cut = (done: number): Slice => {
    const slice = { content: `[${elements.join(",\n")}]`, firstLine: 1, done, lines };
    [elements, lines, length] = [[], [], 0];
    return slice;
  };
  for (const { element, line } of elementsOf(text)) {
    if (length && length + element.length > size) yield cut(Math.round((read / text.length) * file.blob.size));
    elements.push(element.replace(/[\r\n]+/g, " "));
    lines.push(line);
    length += element.length + 2;
    read += element.length;
  }
  yield cut(file.blob.size);
}

/** Whether the first line with text is a JSON value of its own, as in JSON lines. */
async function isLines(file: TextFile): Promise<boolean> {
  for await (const line of linesOf(pieces(file))) {
    if (!line.trim()) continue;
    try {
      JSON.parse(line);
      return true;
    } catch {
      return false;
    }
  }
  return false;
}

/** One JSON document that holds the users, as other systems export them: the server reads it as a whole. */
async function* wholeDocument(file: TextFile): AsyncGenerator<Slice> {
  if (file.blob.size > LARGEST_DOCUMENT) {
    throw new FileProblem(
      "The file is one JSON document of more than 900 kB, which is not read here. Use `rollcall import`, or convert it to JSON lines.",
    );
  }
  let content = "";
  for await (const piece of pieces(file)) content += piece;
  yield { content, firstLine: 1, done: file.blob.size };
}

/** A file begins with { if it is JSON lines or one document, with [ if it is a JSON array; else it is CSV. */
export async function* slicesOf(file: TextFile, size = SLICE): AsyncGenerator<Slice> {
  let begins = "";
  for await (const piece of pieces(file)) {
    begins = piece.trimStart().charAt(0);
    if (begins) break;
  }
  if (!begins) throw new FileProblem("The file is empty. Choose JSON lines, a JSON array, or CSV with a header line.");
  if (begins === "[") yield* slicesOfArray(file, size);
  else if (begins === "{" && !(await isLines(file))) yield* wholeDocument(file);
  else yield* slicesOfLines(file, begins === "{" ? "JSONL" : "CSV", size);
}
