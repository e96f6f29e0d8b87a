import { type ProxyOptions, startProxy } from '../servers/proxy.ts'
import { serve } from './child.ts'

// The delaying proxy in a process of its own.
serve(async (options) => [(await startProxy(options as ProxyOptions)).port])
