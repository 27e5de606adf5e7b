// Package gateway is the metered proxy: it takes a consumer's call, finds what it buys, sets the price aside, forwards the
// call, and charges what was answered. What it holds it always gives back or charges, once.
//
// The life of a call, by file: handler (the order of checks), credentials and keys (who), table (what), once (retries),
// body and forward (to the upstream), answer, stream and tunnel (charging while the answer passes), out (to the caller),
// refuse and call (how it ended). follow keeps keys and routes fresh; guard keeps private networks private.
package gateway
