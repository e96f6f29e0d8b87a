// Prints "N passed, N failed" of vitest's JSON report; ", N skipped" follows when there are any. Exit code 1 if any failed.
import { readFileSync } from 'node:fs'

const [file] = process.argv.slice(2)
const { passed, failed, skipped } = count(file)
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0

function count(path) {
  let report
  try {
    report = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    // The run broke off before its report: that is a failure, whatever it had passed.
    return { passed: 0, failed: 1, skipped: 0 }
  }
  // A file that cannot be loaded has no tests that could fail.
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((one) => one.status === 'failed'),
  )
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}
