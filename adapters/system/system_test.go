package system

import (
	"testing"
	"time"
)

func TestIDsAscendAndCarryTheirTime(t *testing.T) {
	t.Parallel()
	before := time.Now().Truncate(time.Millisecond)
	last := NewID()
	if at := last.Time(); at.Before(before) || at.After(time.Now().Add(time.Millisecond)) {
		t.Errorf("an id of now says %s", at)
	}
	for range 10_000 {
		next := NewID()
		if next.String() <= last.String() {
			t.Fatalf("%s comes after %s", next, last)
		}
		last = next
	}
}

// A time that has lost its monotonic reading is equal to itself stripped of it.
func TestTheClockIsMonotonic(t *testing.T) {
	t.Parallel()
	if now := Now(); now == now.Round(0) { //nolint:revive // == sees the reading, Equal does not
		t.Errorf("%s has no monotonic reading", now)
	}
}
