// Package health answers whether this node and what it depends on can work.
package health

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/ports"
)

// Status is how a part is.
type Status string

// The states, from best to worst.
const (
	OK       Status = "ok"
	Degraded Status = "degraded"
	Down     Status = "down"
)

// ErrDegraded, wrapped by a probe's error, means: it answers, but not well.
var ErrDegraded = errors.New("degraded")

// Check is one dependency.
type Check struct {
	Name     string
	Critical bool          // without it nothing works; else the whole is only degraded
	Timeout  time.Duration // an answer that takes longer is none
	Slow     time.Duration // an answer that takes longer is Degraded
	Probe    func(ctx context.Context) error
}

// CheckHealth asks all dependencies at once.
type CheckHealth struct {
	Checks []Check
	Now    ports.Clock
}

// Report is the state of the whole and of each dependency.
type Report struct {
	Status Status
	At     time.Time
	Checks map[string]Status
}

// Do takes no longer than the longest Timeout, also when a probe does not heed its context.
func (uc CheckHealth) Do(ctx context.Context) Report {
	states := make([]Status, len(uc.Checks))
	var all sync.WaitGroup
	for i, c := range uc.Checks {
		all.Go(func() { states[i] = uc.ask(ctx, c) })
	}
	all.Wait()
	report := Report{Status: OK, At: uc.Now(), Checks: map[string]Status{}}
	for i, c := range uc.Checks {
		report.Checks[c.Name] = states[i]
		switch {
		case states[i] == Down && c.Critical:
			report.Status = Down
		case states[i] != OK && report.Status == OK:
			report.Status = Degraded
		}
	}
	return report
}

func (uc CheckHealth) ask(ctx context.Context, c Check) Status {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	start := uc.Now()
	answer := make(chan error, 1)
	go func() { answer <- c.Probe(ctx) }()
	select {
	case <-ctx.Done():
		return Down
	case err := <-answer:
		switch {
		case errors.Is(err, ErrDegraded):
			return Degraded
		case err != nil:
			return Down
		case uc.Now().Sub(start) > c.Slow:
			return Degraded
		}
		return OK
	}
}
