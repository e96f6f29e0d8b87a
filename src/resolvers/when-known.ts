/** Goes on with `answer` at once, or when it has come if it is a promise or another thenable. */
export function whenKnown<T, TResult>(
  answer: T | PromiseLike<T>,
  proceed: (answer: T) => TResult | Promise<TResult>,
): TResult | Promise<TResult> {
  return isThenable(answer) ? Promise.resolve(answer).then(proceed) : proceed(answer)
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
