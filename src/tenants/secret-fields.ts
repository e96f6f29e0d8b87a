import { randomUUID } from 'node:crypto'
import type { Cipher, TenantSecret } from '../contracts/cipher.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { deepFreeze } from '../util/deep-freeze.ts'
import { invalid } from './tenant-input.ts'
import { createTenantSecret, isTenantSecret } from './tenant-secret.ts'

/** Finds the secrets in a tenant's metadata. */
export interface SecretFields {
  /**
   * A copy of `metadata` for the store, with every marked value sealed. Secrets that were read from a tenant and are
   * handed in again are opened and sealed anew. Null is not sealed: it removes a key.
   * @throws TENANCY_ERR_TENANT_INVALID for what is no JSON object, and for such a secret at a key without the mark
   */
  seal(metadata: unknown, tenantId: string): Promise<Record<string, unknown>>
  /** The tenant with every marked value as a {@link TenantSecret}. Nothing is opened; a hidden one stays as it is. */
  hide(tenant: Tenant): Tenant
}

/** A plain object or array of metadata. */
type Node = Record<string, unknown>

/** A value of metadata and where it stands; `path` is the JSON pointer of its holder. */
interface Slot {
  readonly holder: Node
  readonly path: string
  readonly key: string
  readonly value: unknown
}

/** What a secret that was handed in holds, on its way into a sealed value. */
class Revealed {
  readonly #value: unknown

  constructor(value: unknown) {
    this.#value = value
  }

  toJSON(): unknown {
    return this.#value
  }
}

/** @param prefix what the name of a key begins with whose value is secret, at any depth */
export function createSecretFields(cipher: Cipher, prefix: string): SecretFields {
  const isMarked = ({ holder, key, value }: Slot) => value !== null && !Array.isArray(holder) && key.startsWith(prefix)

  async function seal(metadata: unknown, tenantId: string): Promise<Record<string, unknown>> {
    const tree = await toJson(metadata)
    const secrets: Slot[] = []
    eachSlot(tree, (slot) => {
      if (isMarked(slot)) secrets.push(slot)
      else if (slot.value instanceof Revealed) throw misplaced(prefix)
      return !isMarked(slot)
    })
    for (const slot of secrets) {
      put(slot.holder, slot.key, await cipher.seal(slot.value, { tenantId, field: fieldOf(slot) }))
    }
    return tree
  }

  function hide(tenant: Tenant): Tenant {
    const secrets: Slot[] = []
    eachSlot(tenant.metadata, (slot) => {
      const isHidden = isTenantSecret(slot.value)
      if (isMarked(slot) && !isHidden) secrets.push(slot)
      return !isMarked(slot) && !isHidden
    })
    // Most tenants have none, and are given as they are.
    if (secrets.length === 0) return tenant
    const { id: tenantId } = tenant
    const hidden = secrets.map((slot): TenantSecret => {
      // Not the slot itself, which would keep the whole tree.
      const { value } = slot
      const place = { tenantId, field: fieldOf(slot) }
      return createTenantSecret({ open: () => cipher.open(value, place), outdated: () => !cipher.isCurrent(value) })
    })
    return deepFreeze({ ...tenant, metadata: copyWith(tenant.metadata, secrets, hidden) })
  }

  return Object.freeze({ seal, hide })
}

/**
 * What the store would make of `metadata`, once: what is checked and sealed here is what is stored, whatever getters and
 * `toJSON` would say the next time.
 */
async function toJson(metadata: unknown): Promise<Node> {
  const handed: TenantSecret[] = []
  // Nobody can write this name into metadata on purpose.
  const token = randomUUID()
  function detach(this: Node, key: string, value: unknown): unknown {
    const raw = this[key]
    return isTenantSecret(raw) ? { [token]: handed.push(raw) - 1 } : value
  }
  const text = orInvalid(() => JSON.stringify(metadata, detach))
  const revealed = await Promise.all(handed.map((secret) => secret.reveal()))
  const attach = (_key: string, value: unknown): unknown =>
    isNode(value) && Object.hasOwn(value, token) ? new Revealed(revealed[Number(value[token])]) : value
  const tree: unknown = orInvalid(() => (handed.length === 0 ? JSON.parse(text) : JSON.parse(text, attach)))
  if (!isNode(tree) || Array.isArray(tree) || tree instanceof Revealed) throw notAnObject()
  return tree
}

function orInvalid<T>(work: () => T): T {
  try {
    const result = work()
    if (result !== undefined) return result
  } catch {
    // A cycle, a bigint, too deep: the store would say no more either.
  }
  throw notAnObject()
}

/** Visits what is in `tree`, outer before inner, and goes into a value for which `visit` gives true. */
function eachSlot(tree: Node, visit: (slot: Slot) => boolean): void {
  // A list instead of recursion: metadata may be nested deeper than the stack.
  const left = [{ holder: tree, path: '' }]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { holder, path } = next
    for (const [key, value] of Object.entries(holder)) {
      const slot = { holder, path, key, value }
      if (visit(slot) && isNode(value)) left.push({ holder: value, path: fieldOf(slot) })
    }
  }
}

/** The JSON pointer of a value. */
function fieldOf({ path, key }: Slot): string {
  return `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
}

/** A copy of `tree`, as far as anything in it is replaced. */
function copyWith(tree: Node, slots: readonly Slot[], values: readonly unknown[]): Node {
  const replaced = new Map<Node, Map<string, unknown>>()
  slots.forEach(({ holder, key }, at) => {
    const keys = replaced.get(holder) ?? new Map<string, unknown>()
    replaced.set(holder, keys.set(key, values[at]))
  })
  const root: Node = {}
  const left = [{ from: tree, to: root }]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { from, to } = next
    const keys = replaced.get(from)
    for (const [key, value] of Object.entries(from)) {
      if (keys?.has(key) === true) put(to, key, keys.get(key))
      else if (isNode(value)) {
        const child = (Array.isArray(value) ? [] : {}) as Node
        put(to, key, child)
        left.push({ from: value, to: child })
      } else put(to, key, value)
    }
  }
  return root
}

/** An assignment to `__proto__` would set the prototype; it is a key like any other. */
function put(holder: Node, key: string, value: unknown): void {
  if (key !== '__proto__') holder[key] = value
  else Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true })
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !(value instanceof Revealed) && !isTenantSecret(value)
}

function notAnObject() {
  return invalid('its metadata must be a JSON object.')
}

function misplaced(prefix: string) {
  return invalid(`a secret was put at a key of its metadata that does not begin with "${prefix}".`)
}
