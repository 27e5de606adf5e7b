package main

import (
	"time"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	// grantTimeout bounds how long a call waits for a lease.
	grantTimeout = 3 * time.Second
	// recallWait bounds how long a call waits for money that is idle on other nodes. They give it back within some 10 ms; a node
	// whose notification is lost, within a second: that one serves the next call.
	recallWait = 500 * time.Millisecond
	// mostNamed bounds the usage events that one log line names.
	mostNamed = 50
)

var chargingModule = fx.Module("charging", fx.Provide(metrics.NewCharging, newCharger))

func newCharger(cfg *config.Config, log *zap.Logger, m *metrics.Metrics, watch *metrics.Charging,
	leases *postgres.Leases, journal *postgres.Journal, now ports.Clock, newID ports.NewID) *charging.Charger {
	c := cfg.Metering
	charger := charging.New(charging.Config{
		Network: cfg.Stellar.Network, Mode: c.Mode,
		LeaseTTL: c.LeaseTTL.D(), LeaseTarget: c.LeaseTarget.D(), LeaseIdle: c.LeaseIdle.D(), LeaseMaxAge: c.LeaseMaxAge.D(),
		MaintainEvery: min(c.LeaseTTL.D()/10, time.Second), GrantTimeout: grantTimeout, RecallWait: recallWait,
		BatchMax: c.BatchMax, DurableWait: c.BatchWait.D(), AsyncFlush: c.AsyncFlush.D(), QueueMax: c.QueueMax, Shards: c.Shards,
		CommitTimeout: c.CommitTimeout.D(),
		Incident:      func(i charging.Incident) { logIncident(log, i) },
		ObserveBatch: func(records int, took time.Duration, err error) {
			watch.ObserveBatch(records, took, err)
			if err != nil { // between two attempts is a pause
				log.Warn("charges could not be stored; paid calls are refused until they are, and it is tried again",
					zap.Int("events", records), zap.Duration("durationMs", took), zap.Error(err))
			}
		},
		GaveBack: func(vaults int, amount money.Amount) {
			log.Debug("gave idle money back, because other nodes are short of it", zap.Int("vaults", vaults), zap.Stringer("usdc", amount))
		},
	}, leases, journal, now, newID)
	m.WatchCharging(func() metrics.ChargingState { return metrics.ChargingState(charger.Stats()) })
	return charger
}

// logIncident writes what an operator must know. It is an error when charges are concerned.
func logIncident(log *zap.Logger, i charging.Incident) {
	if len(i.Events) == 0 {
		log.Warn(i.Message, zap.Error(i.Cause))
		return
	}
	named := i.Events[:min(len(i.Events), mostNamed)]
	log.Error(i.Message, zap.Error(i.Cause), zap.Int("events", len(i.Events)), zap.Stringers[id.ID]("eventIds", named))
}
