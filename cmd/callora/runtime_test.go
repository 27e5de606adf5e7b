package main

import "testing"

func TestThreadsAreOneMoreThanProcessorsUnlessAContainerIsLimited(t *testing.T) {
	for _, c := range []struct{ now, processors, want int }{
		{1, 1, 2}, {2, 2, 3}, {64, 64, 65}, {2, 64, 2},
	} {
		if got := threads(c.now, c.processors); got != c.want {
			t.Errorf("%d threads on %d processors; want %d", got, c.processors, c.want)
		}
	}
}
