// Package system is the machine's clock and its source of ids.
package system

import "time"

// Now tells the time with Go's monotonic reading, so that differences are right even when the clock is set. Its zone is the
// machine's: time.Time.UTC would strip the reading, so whoever shows a time does that.
func Now() time.Time { return time.Now() }
