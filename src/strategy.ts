import type { StrategyFunction, TenancyConfig } from './config.ts'
import type { Capabilities, IsolationStrategy, TenantToPlace } from './contracts/isolation.ts'
import { MAIN_SERVER, type StrategyName, strategyNames } from './contracts/tenant.ts'
import { tenancyError } from './errors.ts'
import { hybridStrategy } from './isolation/hybrid.ts'
import { namespaceStrategy } from './isolation/namespace.ts'
import { onServers } from './isolation/on-servers.ts'
import { rlsStrategy } from './isolation/rls.ts'

/** The strategy that the configuration describes, as far as the database carries it. */
export interface ConfiguredStrategy {
  readonly strategy: IsolationStrategy
  /** One sentence for each strategy that another stands in for. */
  readonly notes: readonly string[]
}

/** What a user may not have chosen. */
const STANDARD_DEFAULT: StrategyName = 'rls'

/** The strategies that the configuration may ask for. */
export function askedStrategies(config: TenancyConfig): readonly StrategyName[] {
  if (config.isolationStrategy !== 'hybrid') return [config.isolationStrategy]
  // A function may name any.
  return config.chooseStrategy === undefined
    ? [config.premiumIsolationStrategy, config.standardIsolationStrategy]
    : strategyNames
}

/**
 * Builds the strategy of an instance.
 * @throws TENANCY_ERR_STRATEGY_UNSUPPORTED when the database does not carry one that is asked for
 */
export function configuredStrategy(config: TenancyConfig, capabilities: Capabilities): ConfiguredStrategy {
  const { strategy, notes } = isolation(config, capabilities)
  const servers = new Set([MAIN_SERVER, ...Object.keys(config.servers)])
  return { strategy: onServers(strategy, { servers, choose: config.chooseServer }), notes }
}

function isolation(config: TenancyConfig, capabilities: Capabilities): ConfiguredStrategy {
  const { isolationStrategy, chooseStrategy } = config
  if (isolationStrategy === 'hybrid') {
    return chooseStrategy === undefined ? byTier(config, capabilities) : byFunction(chooseStrategy, capabilities)
  }
  const carried = carriedOut(isolationStrategy, capabilities)
  return { strategy: strategyNamed(carried), notes: noteOf(isolationStrategy, carried) }
}

function byTier(config: TenancyConfig, capabilities: Capabilities): ConfiguredStrategy {
  const { premiumIsolationStrategy, standardIsolationStrategy } = config
  const premium = carriedOut(premiumIsolationStrategy, capabilities)
  const option =
    standardIsolationStrategy === STANDARD_DEFAULT ? 'the default of `standardIsolationStrategy`' : undefined
  const standard = carriedOut(standardIsolationStrategy, capabilities, option)
  const notes = [...noteOf(premiumIsolationStrategy, premium), ...noteOf(standardIsolationStrategy, standard)]
  if (premium === standard) return { strategy: strategyNamed(premium), notes }
  const choose = (tenant: TenantToPlace): StrategyName => (isPremium(tenant, config) ? premium : standard)
  return { strategy: hybridStrategy({ strategies: [premium, standard].map(strategyNamed), choose }), notes }
}

/** The function may name any strategy that the database carries. */
function byFunction(chosen: StrategyFunction, capabilities: Capabilities): ConfiguredStrategy {
  const all = Object.entries(capabilities) as [asked: StrategyName, carried: StrategyName][]
  const strategies = [...new Set(Object.values(capabilities))].map(strategyNamed)
  const choose = (tenant: TenantToPlace): StrategyName => carriedOut(chosen(tenant), capabilities)
  return {
    strategy: hybridStrategy({ strategies, choose }),
    notes: all.flatMap(([asked, carried]) => noteOf(asked, carried)),
  }
}

function strategyNamed(name: StrategyName): IsolationStrategy {
  return name === 'rls' ? rlsStrategy() : namespaceStrategy(name)
}

function carriedOut(name: StrategyName, capabilities: Capabilities, option?: string): StrategyName {
  const carried = capabilities[name]
  if (carried === undefined) {
    throw tenancyError('TENANCY_ERR_STRATEGY_UNSUPPORTED', [option === undefined ? name : `${name}, ${option},`])
  }
  return carried
}

function noteOf(asked: StrategyName, carried: StrategyName): readonly string[] {
  if (asked === carried) return []
  return [`This database does not carry the isolation strategy "${asked}"; "${carried}" stands in for it.`]
}

function isPremium({ identifier, metadata }: TenantToPlace, { premiumTenants, premiumTiers }: TenancyConfig): boolean {
  const tier = metadata['tier']
  return premiumTenants.includes(identifier) || (typeof tier === 'string' && premiumTiers.includes(tier))
}
