// What stands in an address.

/** The text that was encoded; what is no such text, as a lone %, stands for itself. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
