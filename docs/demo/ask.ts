import { request } from 'node:http'

/** A request of the demo. */
export interface Question {
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON by POST; without it, it is a GET. */
  readonly body?: object
}

/** Its answer: the orders, a problem, or the health. */
export interface Answer {
  readonly status: number
  /** The tenant that was served, `-` for none. */
  readonly tenant: string
  readonly body: { quantity: number; article: string }[] | { code?: string; status: string }
}

/** Asks over a real socket. By node:http, because `fetch` does not let us set Host. */
export function ask(port: number, { path, headers = {}, body }: Question): Promise<Answer> {
  const content = body === undefined ? {} : { 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST'
    const sent = request({ host: '127.0.0.1', port, path, method, headers: { ...content, ...headers } }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          tenant: String(response.headers['x-served-tenant']),
          body: JSON.parse(Buffer.concat(chunks).toString()) as Answer['body'],
        }),
      )
    })
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
