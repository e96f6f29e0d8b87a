import { TENANT_SETTING } from '../../contracts/isolation.ts'
import { quoteText } from './quote.ts'

/** The parameter that carries the tenant; a statement's own ones cannot be called so. */
export const TENANT_PARAMETER = 'tenancy_tenant'

/** The error that says: the session keeps another tenant than the one we set. */
export const SCOPE_NOT_SET = 51_931

const KEY = quoteText(TENANT_SETTING)

/** The tenant of the session. The value is a variant: the cast to text is its own, and none of a column. */
export const CURRENT_TENANT = `cast(session_context(${KEY}) as nvarchar(36))`

/**
 * Sets the tenant, and sees that it is set: a value that somebody made read-only stays, and after the error of setting it a
 * batch would go on with its next statement. So what is found there decides, and THROW ends the batch. On one line, so that
 * the numbers of lines in the messages of the database stay right.
 */
const SET_TENANT =
  `begin try exec sys.sp_set_session_context @key = ${KEY}, @value = @${TENANT_PARAMETER}; end try begin catch end catch; ` +
  `if isnull(${CURRENT_TENANT}, N'') <> isnull(@${TENANT_PARAMETER}, N'') ` +
  `begin; throw ${SCOPE_NOT_SET}, N'fastify-tenancy: the session has another tenant', 1; end; `

/** A statement that runs as a tenant, or as none when the parameter is null, in one batch with what makes it so. */
export function scopedBatch(text: string): string {
  return SET_TENANT + text
}
