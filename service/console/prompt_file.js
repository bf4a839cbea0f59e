// What a prompt file says of itself, read before it is sent. Only the service decides.

const LENGTH_BYTES = 8;
const MOST_HEADER = 1 << 20;

/** The header, or null for a file that has none. */
export async function readPromptHeader(file) {
  try {
    const start = new DataView(await file.slice(0, LENGTH_BYTES).arrayBuffer());
    const length = Number(start.getBigUint64(0, true));
    if (length > MOST_HEADER) return null;
    const text = await file.slice(LENGTH_BYTES, LENGTH_BYTES + length).text();
    return JSON.parse(JSON.parse(text).__metadata__.taskgraft);
  } catch {
    return null;
  }
}
