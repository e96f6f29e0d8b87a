/**
 * The schema of a tenant's metadata: of zod, valibot, ArkType or whatever else follows Standard Schema 1
 * (https://standardschema.dev). It must answer at once, without a promise.
 */
export interface MetadataSchema {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => MetadataResult | Promise<MetadataResult>
  }
}

/** What a schema makes of a value: another one, or issues. */
export type MetadataResult =
  | { readonly value: unknown; readonly issues?: undefined }
  | { readonly issues: readonly MetadataIssue[] }

/** Where a value does not fit. */
export interface MetadataIssue {
  /** What the schema says of it: a text of its author, or of its library, which may show the value. */
  readonly message?: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}
