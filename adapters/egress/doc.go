// Package egress is the way out to hosts that others name: a dialer that refuses addresses of private networks. The
// gateway, webhooks and the chain share it.
package egress
