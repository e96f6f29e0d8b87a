/* Stands for an entry that a package does not have, where a test must see what becomes of that. */
export const nothing: never = absent()

function absent(): never {
  throw new Error('This package has no such entry.')
}
