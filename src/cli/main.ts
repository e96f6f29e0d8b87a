#!/usr/bin/env node
import { run } from './run.ts'

// Whoever reads has gone, and has told why.
process.stdout.on('error', () => process.exit(1))

process.exitCode = await run(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
})
