// Package access gives consumers their API keys and takes them back.
package access
