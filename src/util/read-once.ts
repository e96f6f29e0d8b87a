/** Texts remembered; an application has few, and texts with values in them must not fill the memory. */
const MAX_TEXTS = 2000
/** Longer texts are hardly ever the same twice. */
const MAX_LENGTH = 16_384

/** What `read` makes of a text, which depends on nothing else. The texts that came last are read once. */
export function readOnce<T extends object>(read: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>()
  return (text) => {
    const found = known.get(text)
    if (found !== undefined) return found
    const made = read(text)
    if (text.length <= MAX_LENGTH) {
      if (known.size >= MAX_TEXTS) known.delete(known.keys().next().value as string)
      known.set(text, made)
    }
    return made
  }
}
