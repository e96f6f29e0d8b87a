import { once } from 'node:events'
import http2 from 'node:http2'
import net from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import tenancy, { getTenant } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { optionsFor } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

/**
 * A request that names two hosts: whatever is in front may have let it through for one of them. RFC 9112, 3.2 and 3.2.2; RFC
 * 9113, 8.3.1. The resolvers of headers and paths refuse what is said twice.
 */
const TWO_HOSTS = {
  'a second Host':
    'GET /who HTTP/1.1\r\nHost: acme.example.com\r\nHost: globex.example.com\r\nConnection: close\r\n\r\n',
  'another host in the request target':
    'GET http://globex.example.com/who HTTP/1.1\r\nHost: acme.example.com\r\nConnection: close\r\n\r\n',
}

describeWith(['postgres15'], 'a subdomain that is claimed twice', ({ postgres15 }) => {
  const serve = async (server: object): Promise<{ port: number; url: string }> => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const app = Fastify(server) as unknown as FastifyInstance
    onTestFinished(() => app.close())
    await app.register(tenancy, optionsFor(database, { resolutionStrategy: 'subdomain', domainSuffix: 'example.com' }))
    app.get('/who', () => getTenant().identifier)
    await app.ready()
    for (const identifier of ['acme', 'globex']) await app.tenancy.register({ identifier })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    return { port: Number(new URL(url).port), url }
  }

  for (const [what, request] of Object.entries(TWO_HOSTS)) {
    it(`is refused: ${what}`, async () => {
      const { port } = await serve({})
      const socket = net.connect(port, '127.0.0.1')
      let answer = ''
      socket.setEncoding('utf8').on('data', (part) => (answer += String(part)))
      socket.write(request)
      await once(socket, 'close')
      expect(answer.split('\r\n', 1)).toEqual(['HTTP/1.1 400 Bad Request'])
    })
  }

  it('is refused: another host than :authority in HTTP/2', async () => {
    const { url } = await serve({ http2: true })
    const session = http2.connect(url)
    onTestFinished(() => session.close())
    const stream = session.request({ ':path': '/who', ':authority': 'acme.example.com', host: 'globex.example.com' })
    stream.resume()
    const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
    expect((headers as Record<string, unknown>)[':status']).toBe(400)
  })
})
