import type { Reader } from './reader.ts'

/**
 * Types that drizzle-kit may quote although the database or a usual extension has them (it quotes every type that it does
 * not know): a type of the user's by such a name would be hidden by the database's own.
 */
const KNOWN_TYPES = new Set(
  `bool boolean bytea char name int2 int4 int8 smallint integer bigint text oid xml json jsonb jsonpath float4 float8 real
  money macaddr macaddr8 inet cidr varchar bpchar date time timetz timestamp timestamptz interval bit varbit numeric decimal
  uuid tsvector tsquery point line lseg box path polygon circle pg_lsn xid xid8 cid tid int4range int8range numrange tsrange
  tstzrange daterange int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange regconfig
  regdictionary citext hstore ltree lquery ltxtquery cube seg vector halfvec sparsevec geometry geography box2d box3d raster`.split(
    /\s+/,
  ),
)

/**
 * A type, up to its name: one in quotes is the user's, if no other has that name, and so is one behind the schema that
 * means nothing. Unquoted ones stay: the user's own are not found by that, and no harm is done.
 */
export function readType(reader: Reader): void {
  const { ddl } = reader.profile
  const lexeme = reader.peek()
  if (ddl.namedTypes !== true || lexeme?.name === undefined) return
  if (reader.word(1) !== '.' && (!lexeme.quoted || KNOWN_TYPES.has(lexeme.name))) return void reader.next()
  if (reader.is('pg_catalog', '.')) {
    reader.expect('pg_catalog', '.')
    return void reader.plainName()
  }
  const known = lexeme.name === ddl.ownSchema && KNOWN_TYPES.has(reader.peek(2)?.name ?? '')
  if (known) {
    reader.dropOwnSchema()
    return void reader.plainName()
  }
  reader.object()
}
