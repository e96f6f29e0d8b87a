/*
 * An app whose start fails, and which does nothing about it but note the code: the process is to end by itself. Started by failed-start.test.ts.
 */
import Fastify from 'fastify'
import tenancy, { type TenancyOptions } from '../../src/index.ts'

const { OPTIONS = '{}', PLUGIN_TIMEOUT = '10000' } = process.env

const app = Fastify({ pluginTimeout: Number(PLUGIN_TIMEOUT) })
await app.register(tenancy, JSON.parse(OPTIONS) as TenancyOptions)
try {
  await app.ready()
} catch (error) {
  process.stdout.write((error as { code: string }).code)
}
