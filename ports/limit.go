package ports

import "time"

// Limiter admits so many events of a key per window, spread or in a burst.
type Limiter interface {
	// Take counts one event of key against limit per window and says whether it may happen. A refused event costs nothing.
	Take(key string, limit int, window time.Duration) Decision
	// Return gives back one event that Take has admitted with the same key, limit and window: it need not have been counted.
	Return(key string, limit int, window time.Duration)
}

// Decision is a limiter's answer.
type Decision struct {
	Allowed    bool
	Limit      int
	Remaining  int           // events that may happen at once now
	Reset      time.Duration // until the whole limit is there again
	RetryAfter time.Duration // until the next event may happen; 0 when this one may
}
