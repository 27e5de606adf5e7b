// Package httpkit is what every HTTP face of the backend has in common: the error envelope, the rule for a caller's
// address, and the caps of metric labels.
package httpkit
