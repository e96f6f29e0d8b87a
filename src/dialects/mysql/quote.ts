/** Quotes a text constant for DDL, which takes no parameters. Right under the `sql_mode` of our connections. */
export function quoteText(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}
