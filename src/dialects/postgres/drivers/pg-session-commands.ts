/** Commands after which a session is no longer as we lent it. Its connection is not handed on. */
const SESSION_COMMANDS = new Set([
  'SET',
  'RESET',
  'DISCARD',
  'LISTEN',
  'UNLISTEN',
  'PREPARE',
  'DEALLOCATE',
  'DECLARE',
  'LOAD',
])

/** True when the command may have changed the session itself. */
export function changesSession(command: string | undefined): boolean {
  return command !== undefined && SESSION_COMMANDS.has(command)
}
