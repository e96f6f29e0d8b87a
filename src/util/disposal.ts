/** A thing to close, with the name that a failure is reported under. */
export interface Disposable {
  readonly name: string
  close(): Promise<void>
}

/** A part that could not be closed. */
export interface DisposalFailure {
  readonly name: string
  readonly error: unknown
}

/**
 * Closes `parts` one after the other, in the given order, all of them even if some fail or hang: `deadlineMs` is for all
 * together, and a part that is not done by then is left behind and reported.
 */
export async function disposeAll(
  parts: readonly Disposable[],
  deadlineMs: number,
): Promise<readonly DisposalFailure[]> {
  const failures: DisposalFailure[] = []
  const deadline = Date.now() + deadlineMs
  for (const part of parts) {
    const failure = await closeWithin(part, Math.max(0, deadline - Date.now()))
    if (failure !== undefined) failures.push(failure)
  }
  return failures
}

async function closeWithin({ name, close }: Disposable, milliseconds: number): Promise<DisposalFailure | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<DisposalFailure>((resolve) => {
    timer = setTimeout(() => resolve({ name, error: 'not closed in time' }), milliseconds)
  })
  const closed = Promise.resolve()
    .then(close)
    .then(
      () => undefined,
      (error: unknown) => ({ name, error }),
    )
  try {
    return await Promise.race([closed, late])
  } finally {
    clearTimeout(timer)
  }
}
