/** Quotes a text constant, in Unicode whatever the collation of the database. */
export function quoteText(value: string): string {
  return `N'${value.replaceAll("'", "''")}'`
}
