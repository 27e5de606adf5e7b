package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/worker"
)

const (
	// partitionsAhead is how many days of usage_events are always ready.
	partitionsAhead = 7
	// fewAhead is when an operator is told, with time to do something.
	fewAhead = 2
)

// partitionsJob keeps the partitions a step at a time, shows how they are, and says so when somebody should look.
func partitionsJob(every time.Duration, p *postgres.Partitions, watch *metrics.Partitions, log *zap.Logger) worker.Job {
	return worker.Job{Name: "usage-partitions", Every: every, Timeout: longPass, Full: 1, Run: func(ctx context.Context) (int, error) {
		done, err := p.Keep(ctx)
		state, stateErr := p.State(ctx)
		if stateErr != nil {
			return done, errors.Join(err, stateErr)
		}
		watch.Set(state.Ahead, state.Waiting, state.Strays)
		if short := state.Ahead < fewAhead || state.Waiting > 0; short && done == 0 {
			log.Warn("partitions of usage_events are missing; calls go on being charged, into usage_events_default",
				append(partitionFields(state), zap.Error(err))...)
		}
		if errors.Is(err, postgres.ErrNoRight) {
			err = nil // somebody else makes them, or it has been said
		}
		return done, err
	}}
}

// firstPartitions makes the partitions before the first call. Without them calls are charged all the same.
func firstPartitions(ctx context.Context, p *postgres.Partitions, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, longPass)
	defer cancel()
	_, err := p.Make(ctx)
	state, stateErr := p.State(ctx)
	switch {
	case stateErr != nil:
		log.Warn("cannot look at the partitions of usage_events; calls go on being charged", zap.Error(errors.Join(err, stateErr)))
	case err != nil && state.Ahead < fewAhead:
		log.Warn("partitions of usage_events could not be made; calls go on being charged, into usage_events_default",
			append(partitionFields(state), zap.Error(err))...)
	case state.Strays > 0:
		log.Warn("usage events in usage_events_default have ids of no day that gets a partition; they are charged and stay there",
			partitionFields(state)...)
	}
}

func partitionFields(s postgres.PartitionState) []zap.Field {
	return []zap.Field{zap.Int("daysAhead", s.Ahead), zap.Int("eventsWaiting", s.Waiting), zap.Int("eventsStray", s.Strays)}
}
