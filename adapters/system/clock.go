// Package system is the machine's clock and its source of ids.
package system

import "time"

// Now tells the time in UTC; it carries Go's monotonic reading, so that differences are right even when the clock is set.
func Now() time.Time { return time.Now().UTC() }
