package portstest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Bank is the money's store in memory: leases, journal, expiry, revenue and Idempotency-Keys. Fail, when set, is asked
// before and after every operation takes effect, so that a test can lose a request or only its answer.
type Bank struct {
	Now  ports.Clock
	Fail func(op string, done bool) error

	mu      sync.Mutex
	vaults  map[id.ID]*bankVault // by consumer
	leases  map[id.ID]*bankLease
	events  map[id.ID]usage.Record
	revenue map[id.ID]money.Amount
	once    map[idempotencyKey]*idempotencyRow
	trips   int
}

type bankVault struct{ snapshot, uncollected, held int64 }

type bankLease struct {
	vault, node   id.ID
	granted, used int64
	expires       time.Time
	closed        bool
}

type idempotencyKey struct {
	consumer id.ID
	key      string
}

type idempotencyRow struct {
	claim         ports.IdempotencyClaim
	event         id.ID
	until, expiry time.Time
	answer        *usage.IdempotentAnswer
	retries       int
}

// NewBank returns an empty bank.
func NewBank(now ports.Clock) *Bank {
	return &Bank{
		Now: now, vaults: map[id.ID]*bankVault{}, leases: map[id.ID]*bankLease{}, events: map[id.ID]usage.Record{},
		revenue: map[id.ID]money.Amount{}, once: map[idempotencyKey]*idempotencyRow{},
	}
}

// do runs one operation with its chances to fail before and after.
func (b *Bank) do(op string, work func()) error {
	b.mu.Lock()
	b.trips++
	fail := b.Fail
	b.mu.Unlock()
	if fail != nil {
		if err := fail(op, false); err != nil {
			return err
		}
	}
	b.mu.Lock()
	work()
	b.mu.Unlock()
	if fail != nil {
		return fail(op, true)
	}
	return nil
}

// Fund gives a consumer a vault with a balance.
func (b *Bank) Fund(consumer id.ID, balance money.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.vaults[consumer] = &bankVault{snapshot: balance.Stroops()}
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

// Grant implements ports.Leases.
func (b *Bank) Grant(_ context.Context, g ports.LeaseGrant) (out vault.Lease, err error) {
	failed := b.do("grant", func() {
		b.giveBack(g.Node, g.GiveBack)
		v := b.vaults[g.Consumer]
		if v == nil {
			err = vault.ErrShort
			return
		}
		var granted money.Amount
		if granted, err = vault.SizeGrant(money.FromStroops(v.snapshot-v.uncollected-v.held), g.AtLeast, g.Need, g.Want); err != nil {
			return
		}
		v.held += granted.Stroops()
		l := &bankLease{vault: g.Consumer, node: g.Node, granted: granted.Stroops(), expires: b.Now().Add(g.TTL)}
		b.leases[g.ID] = l
		out = vault.Lease{ID: g.ID, VaultID: g.Consumer, Granted: granted, ExpiresAt: l.expires}
	})
	if failed != nil {
		return vault.Lease{}, failed
	}
	return out, err
}

func (b *Bank) giveBack(node id.ID, parts []ports.LeasePart) {
	for _, p := range parts {
		l := b.leases[p.Lease]
		n := p.Amount.Stroops()
		if l == nil || l.closed || l.node != node || l.granted-n < l.used {
			continue
		}
		if l.granted-n == l.used {
			b.end(l)
			continue
		}
		l.granted -= n
		b.vaults[l.vault].held -= n
	}
}

func (b *Bank) end(l *bankLease) {
	l.closed = true
	b.vaults[l.vault].held -= l.granted
	b.vaults[l.vault].uncollected += l.used
}

// Return implements ports.Leases.
func (b *Bank) Return(_ context.Context, node id.ID, parts []ports.LeasePart) error {
	return b.do("return", func() { b.giveBack(node, parts) })
}

// Renew implements ports.Leases.
func (b *Bank) Renew(_ context.Context, node id.ID, leases []id.ID, ttl time.Duration) (open []id.ID, err error) {
	err = b.do("renew", func() {
		for _, u := range leases {
			if l := b.leases[u]; l != nil && !l.closed && l.node == node {
				l.expires = b.Now().Add(ttl)
				open = append(open, u)
			}
		}
	})
	return open, err
}

// Close implements ports.Leases.
func (b *Bank) Close(_ context.Context, node id.ID, leases []id.ID) error {
	return b.do("close", func() {
		for _, u := range leases {
			if l := b.leases[u]; l != nil && !l.closed && l.node == node {
				b.end(l)
			}
		}
	})
}

// ExpireLeases implements ports.LeaseExpiry.
func (b *Bank) ExpireLeases(_ context.Context, limit int) (n int, err error) {
	err = b.do("expire", func() {
		for _, l := range b.leases {
			if n < limit && !l.closed && !b.Now().Before(l.expires) {
				b.end(l)
				n++
			}
		}
	})
	return n, err
}

// Append implements ports.UsageJournal.
func (b *Bank) Append(_ context.Context, batch []usage.Record) (out []ports.RecordOutcome, err error) {
	failed := b.do("append", func() {
		events, used := maps.Clone(b.events), map[*bankLease]int64{}
		for _, r := range batch {
			l := b.leases[r.LeaseID]
			was, stored := b.events[r.ID]
			_, again := events[r.ID]
			switch {
			case stored && was.LeaseID == r.LeaseID:
				out = append(out, ports.Recorded)
			case again:
				out = append(out, ports.Duplicate)
			case !r.LeaseID.IsZero() && (l == nil || l.closed):
				out = append(out, ports.Fenced)
			case r.Amount.IsNegative() || l != nil && l.used+used[l]+r.Amount.Stroops() > l.granted:
				err = ports.ErrRejected
				return
			default:
				events[r.ID] = r
				used[l] += r.Amount.Stroops()
				out = append(out, ports.Recorded)
			}
		}
		b.events = events
		for l, n := range used {
			if l != nil {
				l.used += n
			}
		}
		b.keepAnswers(batch, out)
	})
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (b *Bank) keepAnswers(batch []usage.Record, out []ports.RecordOutcome) {
	for i, r := range batch {
		if r.Idempotent == nil || out[i] == ports.Fenced {
			continue
		}
		if row := b.once[idempotencyKey{r.UserID, r.Idempotent.Key}]; row != nil && row.event == r.ID && row.answer == nil {
			row.answer = r.Idempotent
		}
	}
}

// Void implements ports.UsageJournal.
func (b *Bank) Void(_ context.Context, batch []usage.Record) (kept []id.ID, err error) {
	err = b.do("void", func() {
		for _, r := range batch {
			was, ok := b.events[r.ID]
			if !ok || was.LeaseID != r.LeaseID {
				continue
			}
			l := b.leases[r.LeaseID]
			if l != nil && l.closed {
				kept = append(kept, r.ID)
				continue
			}
			delete(b.events, r.ID)
			if l != nil {
				l.used -= was.Amount.Stroops()
			}
			if r.Idempotent != nil {
				delete(b.once, idempotencyKey{r.UserID, r.Idempotent.Key})
			}
		}
	})
	return kept, err
}

// IndexRevenue implements ports.RevenueIndex.
func (b *Bank) IndexRevenue(_ context.Context, limit int) (n int, err error) {
	err = b.do("index", func() {
		for e, r := range b.events {
			l := b.leases[r.LeaseID]
			if _, done := b.revenue[e]; done || n == limit || l == nil || !l.closed || r.Amount.IsZero() {
				continue
			}
			b.revenue[e] = r.Amount
			n++
		}
	})
	return n, err
}

const bankFreeRetries = 3

// Claim implements ports.Idempotency.
func (b *Bank) Claim(_ context.Context, c ports.IdempotencyClaim) (out ports.IdempotencyState, err error) {
	err = b.do("claim", func() {
		now := b.Now()
		k := idempotencyKey{c.Consumer, c.Key}
		row := b.once[k]
		fresh := row == nil || !now.Before(row.expiry)
		abandoned := !fresh && row.answer == nil && !now.Before(row.until) && bytes.Equal(row.claim.Fingerprint, c.Fingerprint)
		switch {
		case fresh || abandoned:
			event := c.Event
			if abandoned {
				event = row.event
			}
			b.once[k] = &idempotencyRow{claim: c, event: event, until: now.Add(c.Hold), expiry: now.Add(c.Retention)}
			out = ports.IdempotencyState{Outcome: ports.IdempotencyClaimed, Event: event}
		case !bytes.Equal(row.claim.Fingerprint, c.Fingerprint):
			out = ports.IdempotencyState{Outcome: ports.IdempotencyConflict, Event: row.event}
		case row.answer == nil:
			out = ports.IdempotencyState{Outcome: ports.IdempotencyRunning, Event: row.event}
		case !row.answer.Kept && row.retries == bankFreeRetries:
			out = ports.IdempotencyState{Outcome: ports.IdempotencySpent, Event: row.event}
		default:
			if !row.answer.Kept {
				row.retries++
			}
			out = ports.IdempotencyState{Outcome: ports.IdempotencyAnswered, Event: row.event, Answer: row.answer}
		}
	})
	return out, err
}

// Forget implements ports.Idempotency.
func (b *Bank) Forget(_ context.Context, consumer id.ID, key string, claim id.ID) error {
	return b.do("forget", func() {
		k := idempotencyKey{consumer, key}
		row := b.once[k]
		if row == nil || row.answer != nil || row.claim.Event != claim {
			return
		}
		if _, charged := b.events[row.event]; !charged {
			delete(b.once, k)
		}
	})
}

// Invariants implements ports.Auditor with the equations that concern what the bank keeps.
func (b *Bank) Invariants(context.Context) ([]ports.Invariant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var events, used, held, granted, uncollected, closedUsed int64
	var wrong int64
	for _, r := range b.events {
		events += r.Amount.Stroops()
	}
	for _, l := range b.leases {
		used += l.used
		if l.closed {
			closedUsed += l.used
		} else {
			granted += l.granted
		}
		if l.used > l.granted || l.used < 0 {
			wrong++
		}
	}
	for _, v := range b.vaults {
		held += v.held
		uncollected += v.uncollected
		if v.held < 0 || v.uncollected < 0 || v.snapshot-v.held-v.uncollected < 0 {
			wrong++
		}
	}
	pair := func(name string, left, right, offenders int64) ports.Invariant {
		return ports.Invariant{Name: name, Left: money.FromStroops(left), Right: money.FromStroops(right), Offenders: offenders}
	}
	return slices.Clone([]ports.Invariant{
		pair("usage", events, used, 0), pair("held", held, granted, 0), pair("uncollected", uncollected, closedUsed, 0),
		pair("bounds", 0, 0, wrong),
	}), nil
}
