/**
 * Freezes `value` and every plain object and array below it, and gives it back. Cycles and values frozen before are fine;
 * anything else (a `Date`, a `Map`, an instance of a class) is left as it is, because freezing would not protect it.
 */
export function deepFreeze<T>(value: T): T {
  const seen = new Set<object>()
  // A list instead of recursion: metadata comes from outside and may be nested deeper than the stack.
  const left: unknown[] = [value]
  while (left.length > 0) {
    const current = left.pop()
    if (!isPlain(current) || seen.has(current)) continue
    seen.add(current)
    for (const key of Reflect.ownKeys(current)) left.push(current[key])
    Object.freeze(current)
  }
  return value
}

function isPlain(value: unknown): value is Record<PropertyKey, unknown> {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
