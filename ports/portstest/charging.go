package portstest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Bank is the money's store in memory: leases, journal, expiry, revenue and Idempotency-Keys.
//
// Fail, when set, is asked before and after every operation takes effect, so that a test can lose a request or only its
// answer. Commit, when set, is asked when an operation has begun and has its rows, which keeps out others that need
// them, and has not taken effect: it may wait as long as it likes, and an error undoes the operation. A caller whose context
// ends meanwhile is told so, and the operation goes on without it, as in a database behind a network.
//
// Recalled, when set, hears of recalls, as nodes do from a ports.ChangeFeed. It must not ask the bank.
type Bank struct {
	Now      ports.Clock
	Fail     func(op string, done bool) error
	Commit   func(op string) error
	Recalled func(consumer id.ID)

	mu      sync.Mutex
	freed   sync.Cond            // told when rows are let go
	taken   map[id.ID]bool       // rows of operations that have begun: leases, and vaults by their consumers
	vaults  map[id.ID]*bankVault // by consumer
	leases  map[id.ID]*bankLease
	events  map[id.ID]usage.Record
	revenue map[id.ID]money.Amount
	once    map[idempotencyKey]*idempotencyRow
	recalls []id.ID // of consumers
	trips   int
}

type bankVault struct {
	snapshot, uncollected, held int64
	recalled                    time.Time // the last time
	stopped                     bool
}

type bankLease struct {
	vault, node   id.ID
	granted, used int64
	epoch         int64
	expires       time.Time
	closed        bool
}

// NewBank returns an empty bank.
func NewBank(now ports.Clock) *Bank {
	b := &Bank{
		Now: now, taken: map[id.ID]bool{}, vaults: map[id.ID]*bankVault{}, leases: map[id.ID]*bankLease{}, events: map[id.ID]usage.Record{},
		revenue: map[id.ID]money.Amount{}, once: map[idempotencyKey]*idempotencyRow{},
	}
	b.freed.L = &b.mu
	return b
}

// do runs one operation on its rows, with its chances to fail.
func (b *Bank) do(ctx context.Context, op string, rows []id.ID, work func()) error {
	b.mu.Lock()
	b.trips++
	fail, alone := b.Fail, b.Commit == nil && len(b.taken) == 0
	b.mu.Unlock()
	if fail != nil {
		if err := fail(op, false); err != nil {
			return err
		}
	}
	if err := b.commit(ctx, op, rows, work, alone); err != nil {
		return err
	}
	if fail != nil {
		return fail(op, true)
	}
	return nil
}

func (b *Bank) commit(ctx context.Context, op string, rows []id.ID, work func(), alone bool) error {
	if alone {
		return b.onRows(op, rows, work)
	}
	done := make(chan error, 1)
	go func() { done <- b.onRows(op, rows, work) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// onRows waits for rows, and does the work when they are its own.
func (b *Bank) onRows(op string, rows []id.ID, work func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for slices.ContainsFunc(rows, func(row id.ID) bool { return b.taken[row] }) {
		b.freed.Wait()
	}
	if commit := b.Commit; commit != nil {
		for _, row := range rows {
			b.taken[row] = true
		}
		b.mu.Unlock()
		err := commit(op)
		b.mu.Lock()
		for _, row := range rows {
			delete(b.taken, row)
		}
		b.freed.Broadcast()
		if err != nil {
			return err
		}
	}
	work()
	return nil
}

// Fund gives a consumer a vault with a balance.
func (b *Bank) Fund(consumer id.ID, balance money.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.vaults[consumer] = &bankVault{snapshot: balance.Stroops()}
}

// Stop makes a consumer's vault one that must not pay.
func (b *Bank) Stop(consumer id.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.vaults[consumer].stopped = true
}

// Recalls returns whose money was recalled, once for each message.
func (b *Bank) Recalls() []id.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.recalls)
}

// AgeRecalls makes all recalls so far happen earlier.
func (b *Bank) AgeRecalls(by time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.vaults {
		v.recalled = v.recalled.Add(-by)
	}
}

// Trips is how many operations the bank was asked for.
func (b *Bank) Trips() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trips
}

// Balance returns a consumer's balance.
func (b *Bank) Balance(consumer id.ID) vault.Balance {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.vaults[consumer]
	out := vault.Balance{
		UserID: consumer, Snapshot: money.FromStroops(v.snapshot), Uncollected: money.FromStroops(v.uncollected),
		Held: money.FromStroops(v.held),
	}
	var used int64
	for _, l := range b.leases {
		if l.vault == consumer && !l.closed {
			used += l.used
		}
	}
	out.HeldUsed = money.FromStroops(used)
	return out
}

// Events returns what each stored event cost.
func (b *Bank) Events() map[id.ID]money.Amount {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[id.ID]money.Amount, len(b.events))
	for u, r := range b.events {
		out[u] = r.Amount
	}
	return out
}

// AgeLeases makes all open leases overdue.
func (b *Bank) AgeLeases() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.leases {
		l.expires = b.Now()
	}
}
