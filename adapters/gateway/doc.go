// Package gateway is the metered proxy: it takes a consumer's call, finds what it buys, reserves the price, forwards the call,
// and charges what was answered. What a call holds is charged or released, once.
//
// By file: handler (the checks in their order), authenticate and headers (who calls), upgrade (requests for a WebSocket), payment (what a
// call holds and how it ends), idempotency and claims (retries), forward and body (to the upstream), names (the fields that pass
// neither way), answer, stream and tunnel (charging while the answer passes), response (to the caller), watchdog (calls that make
// no progress), refuse (error answers), call (the end of a call and its log line), changes (keeps keys and routes fresh).
//
// Packages below: keys (the cache of API keys), routes (the table of APIs and prices), upstream (the HTTP client).
package gateway
