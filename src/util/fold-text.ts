/**
 * The text as a search sees it: without upper and lower case, with any white space as one space, and every character in
 * one of the ways that Unicode has to write it (NFKC). Accents count. Done here and not in SQL, because no two databases
 * agree on what a lower-case letter is; so every registry finds the same.
 */
export function foldText(text: string): string {
  const plain = text.normalize('NFKC').replaceAll(/\s+/g, ' ')
  // By way of upper case, or ß and ẞ would not both be `ss`.
  const folded = plain.toLowerCase().toUpperCase().toLowerCase()
  // Which sigma it is depends on where in the word it stands, which a part of the word does not tell.
  return folded.replaceAll('ς', 'σ').normalize('NFKC')
}
