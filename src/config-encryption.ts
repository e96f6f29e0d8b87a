import type { KeyManagement } from './contracts/cipher.ts'
import { parseEncryptionKey } from './encryption/keys.ts'
import type { Secret } from './util/secret.ts'

/** The settings of encryption, each valid by itself. */
export interface EncryptionSettings {
  readonly enableEncryption: boolean
  readonly encryptionKey?: Secret | undefined
  readonly encryptionOldKeys: readonly Secret[]
  readonly encryptionPassphrase?: Secret | undefined
  readonly encryptionKms?: KeyManagement | undefined
  readonly allowPlaintext: boolean
}

type Option = keyof EncryptionSettings

/** What is wrong with them together, or undefined. `label` writes an option with its variable. */
export function encryptionProblem(settings: EncryptionSettings, label: (option: Option) => string): string | undefined {
  const { enableEncryption, encryptionKey, encryptionOldKeys, encryptionKms } = settings
  if (!enableEncryption) {
    const idle = idleOption(settings)
    return idle && `got false, and ${label(idle)} would do nothing. Set it to true, or remove that.`
  }
  const wraps = encryptionKms?.wrap !== undefined
  if (encryptionKey === undefined && !wraps) {
    return `got true and no key. Set ${label('encryptionKey')}, such as k1: and what \`openssl rand -base64 32\` prints.`
  }
  if (encryptionKey !== undefined && wraps) {
    return `got true and two that would seal. Move the key from ${label('encryptionKey')} to ${label('encryptionOldKeys')}, or leave \`wrap\` out of ${label('encryptionKms')}.`
  }
  const ids = [...(encryptionKey === undefined ? [] : [encryptionKey]), ...encryptionOldKeys].map(idOf)
  if (encryptionKms !== undefined) ids.push(encryptionKms.id)
  const twin = ids.find((id, at) => ids.indexOf(id) < at)
  return twin && `got true and two keys named "${twin}". The name is how a value finds its key: give each its own.`
}

function idleOption(settings: EncryptionSettings): Option | undefined {
  if (settings.encryptionOldKeys.length > 0) return 'encryptionOldKeys'
  if (settings.allowPlaintext) return 'allowPlaintext'
  const names = ['encryptionKey', 'encryptionPassphrase', 'encryptionKms'] as const
  return names.find((name) => settings[name] !== undefined)
}

function idOf(key: Secret): string {
  return parseEncryptionKey(key.reveal())?.id ?? ''
}
