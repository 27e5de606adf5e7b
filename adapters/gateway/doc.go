// Package gateway is the metered proxy: it takes a consumer's call, finds what it buys, sets the price aside, forwards the
// call, and charges what was answered. What it holds it always gives back or charges, once.
//
// The life of a call, by file: handler (order of checks), credentials and keys (who), table (what), once (retries),
// forward (to the upstream), answer and stream (charging while the answer passes), refuse and report (how it ended).
package gateway
