import { tenancyError } from '../errors.ts'

/** Loads an optional peer. @throws TENANCY_ERR_PEER_MISSING naming the package `name`, and what else would do: `otherwise` */
export async function loadPeer<T>(name: string, load: () => Promise<T>, otherwise = ''): Promise<T> {
  try {
    return await load()
  } catch (error) {
    throw tenancyError('TENANCY_ERR_PEER_MISSING', [name, name + otherwise], error)
  }
}
