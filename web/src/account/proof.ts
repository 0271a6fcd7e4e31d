/** The proof of work that the server asks for while very many register (docs/api.md). */

export interface Challenge {
  challenge: string;
  bits: number;
}

const BATCH = 512;

/** The challenge in an error's extensions; null if it has none. */
export function challengeOf(extensions: Readonly<Record<string, unknown>> | undefined): Challenge | null {
  const { code, challenge, bits } = extensions ?? {};
  if (code !== "PROOF_OF_WORK_REQUIRED" || typeof challenge !== "string" || typeof bits !== "number") return null;
  return { challenge, bits };
}

/** The text to send as `proofOfWork`. Calls `tried` with the share of the expected attempts. */
export async function solve({ challenge, bits }: Challenge, tried: (share: number) => void): Promise<string> {
  if (!("subtle" in crypto)) throw new Error("Open this page by https: the browser computes the proof only there.");
  const encoder = new TextEncoder();
  for (let first = 0; ; first += BATCH) {
    const proofs = Array.from({ length: BATCH }, (_, index) => `${challenge}.${first + index}`);
    // One await for a batch: the digests run beside the page, which stays usable.
    const digests = await Promise.all(proofs.map((proof) => crypto.subtle.digest("SHA-256", encoder.encode(proof))));
    const found = digests.findIndex((digest) => new DataView(digest).getUint32(0) >>> (32 - bits) === 0);
    if (found >= 0) return proofs[found] ?? "";
    tried(Math.min((first + BATCH) / 2 ** bits, 0.99));
  }
}
