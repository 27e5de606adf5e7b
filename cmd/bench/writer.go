package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// writerCount each have a vault and a lease of their own, as the shards of a node do.
const writerCount = 2

// bookPage is of how many leases revenue is booked at a time, as by default.
const bookPage = 500

// writing is what the batch writer stores by itself, and what the indexer then books, without any HTTP.
type writing struct {
	Batch       int      `json:"batch"`
	RowsPerSec  float64  `json:"rowsPerSecond"`
	Others      float64  `json:"machineUsedByOthers"` // a share, while it wrote
	Indexed     float64  `json:"revenueRowsPerSecond"`
	Rows        int      `json:"rows"`
	Right       bool     `json:"booksRight"`
	WhatIsWrong []string `json:"brokenInvariants,omitempty"`
}

// writer appends batches of usage events for a time, closes the leases, books the revenue, and audits it all.
func (b *bench) writer(ctx context.Context, batch int) (w writing, err error) {
	b.say("batch writer alone, %d rows a batch", batch)
	w.Batch = batch
	name := fmt.Sprintf("bench_writer_%d", batch)
	url, err := b.rig.database(ctx, name)
	if err != nil {
		return w, err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxOpen: 2 * writerCount})
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := b.rig.run(ctx, b.rig.program, url, "migrate", "up"); err != nil {
		return w, err
	}
	m := market{apis: 1, consumers: writerCount, keys: writerCount}
	if _, err := m.insert(ctx, db.DB, "http://"+b.rig.upstream.addr); err != nil {
		return w, err
	}
	writers, err := newWriters(ctx, db)
	if err != nil {
		return w, err
	}
	begin, others := time.Now(), othersCPU()
	if err := write(ctx, writers, batch, begin.Add(b.opt.writerFor)); err != nil {
		return w, err
	}
	took := time.Since(begin)
	w.Others = others()
	for _, p := range writers {
		w.Rows += p.rows
	}
	w.RowsPerSec = float64(w.Rows) / took.Seconds()
	return w, w.book(ctx, db, writers)
}

// eventWriter is one writer with what its events name.
type eventWriter struct {
	journal *postgres.Journal
	event   usage.Record
	lease   id.ID
	node    id.ID
	rows    int
}

func newWriters(ctx context.Context, db *sqlx.DB) ([]*eventWriter, error) {
	var who []struct {
		User     id.ID `db:"user_id"`
		API      id.ID `db:"api_id"`
		Key      id.ID `db:"id"`
		Endpoint id.ID `db:"endpoint_id"`
	}
	err := db.SelectContext(ctx, &who, `
		SELECT k.user_id, k.api_id, k.id, e.id AS endpoint_id
		FROM api_keys k JOIN api_endpoints e ON e.api_id = k.api_id AND e.path = $1 ORDER BY k.id`, getQuote.path)
	if err != nil {
		return nil, fmt.Errorf("look for keys: %w", err)
	}
	journal, leases := postgres.NewJournal(db), postgres.NewLeases(db)
	var writers []*eventWriter
	for _, k := range who {
		much := money.FromStroops(balance / 16)
		p := &eventWriter{journal: journal, node: newID()}
		l, err := leases.Grant(ctx, ports.LeaseGrant{
			ID: newID(), Node: p.node, Consumer: k.User, Network: network, AtLeast: much, Need: much, Want: much, TTL: time.Hour,
		})
		if err != nil {
			return nil, err
		}
		p.lease = l.ID
		p.event = usage.Record{LeaseID: l.ID, Event: usage.Event{
			UserID: k.User, APIID: k.API, EndpointID: k.Endpoint, KeyID: k.Key, Amount: money.FromStroops(priceStroops),
			Status: 200, Latency: 2 * time.Millisecond,
		}}
		writers = append(writers, p)
	}
	return writers, nil
}

// write lets all writers write until end.
func write(ctx context.Context, writers []*eventWriter, batch int, end time.Time) error {
	faults := make([]error, len(writers))
	var all sync.WaitGroup
	for i, p := range writers {
		all.Go(func() { faults[i] = p.write(ctx, batch, end) })
	}
	all.Wait()
	return errors.Join(faults...)
}

func (p *eventWriter) write(ctx context.Context, batch int, end time.Time) error {
	records := make([]usage.Record, batch)
	for time.Now().Before(end) {
		for i := range records {
			records[i] = p.event
			records[i].ID = newID()
			records[i].OccurredAt = records[i].ID.Time()
		}
		outcomes, err := p.journal.Append(ctx, records)
		if err != nil {
			return err
		}
		for _, o := range outcomes {
			if o != ports.Recorded {
				return fmt.Errorf("a new usage event was not recorded: outcome %d", o)
			}
		}
		p.rows += batch
	}
	return nil
}

// book ends the leases, books their revenue, and compares.
func (w *writing) book(ctx context.Context, db *sqlx.DB, writers []*eventWriter) error {
	leases := postgres.NewLeases(db)
	for _, p := range writers {
		if err := leases.Close(ctx, p.node, []id.ID{p.lease}); err != nil {
			return err
		}
	}
	begin := time.Now()
	revenue, booked := postgres.NewRevenue(db), 0
	for {
		n, err := revenue.IndexRevenue(ctx, bookPage)
		if err != nil {
			return err
		}
		if booked += n; n == 0 {
			break
		}
	}
	w.Indexed = float64(booked) / time.Since(begin).Seconds()
	var stored int
	if err := db.GetContext(ctx, &stored, `SELECT count(*) FROM usage_events`); err != nil {
		return err
	}
	if err := audit(ctx, db, &w.WhatIsWrong); err != nil {
		return err
	}
	w.Right = stored == w.Rows && booked == w.Rows && len(w.WhatIsWrong) == 0
	return nil
}

// audit names the invariants of the money that do not hold.
func audit(ctx context.Context, db *sqlx.DB, broken *[]string) error {
	all, err := postgres.NewAuditor(db).Invariants(ctx)
	for _, i := range all {
		if !i.Holds() {
			*broken = append(*broken, fmt.Sprintf("%s: %s %s, %s %s", i.Name, i.LeftName, i.Left, i.RightName, i.Right))
		}
	}
	return err
}
