package postgres

import (
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// What many events of a batch share is sent once and referred to.
const newEvents = `
    INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
    SELECT id, ($12::uuid[])[($7::int[])[shared]], ($8::uuid[])[shared], ($9::uuid[])[shared], ($10::uuid[])[shared],
           ($11::uuid[])[shared], amount, status_code, latency_us, to_timestamp(occurred_ms / 1000.0::float8)
    FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::smallint[], $5::bigint[], $6::bigint[])
        AS t (id, shared, amount, status_code, latency_us, occurred_ms)
    WHERE `

// appendWhole is the usual way: the leases pay, the events are stored, and either all of it happens or the statement fails.
// Paying is the fence: a lease that was closed a moment earlier is not in paid, nor is one on which a void went before, which has
// another epoch. What an error says is the text that is no boolean. An event that is there already fails the statement too.
//
// Leases are locked in the order of their ids, as everywhere: in no plan without a sequential scan (ChargingSettings) can the
// update go another way, because only the primary key serves it.
const appendWhole = `
WITH paid AS (
    UPDATE leases l
    SET used = l.used + b.amount, first_event = least(l.first_event, b.first), last_event = greatest(l.last_event, b.last)
    FROM (SELECT * FROM unnest($12::uuid[], $13::bigint[], $14::uuid[], $15::uuid[], $16::bigint[]) AS b (id, epoch, first, last, amount)
          ORDER BY id) b
    WHERE l.id = b.id AND l.closed_at IS NULL AND l.epoch = b.epoch
    RETURNING l.id
), written AS (` + newEvents + `CASE
        WHEN (SELECT count(*) FROM paid) < cardinality($12::uuid[]) THEN 'a lease is closed, or in another epoch than its charges'
        WHEN (SELECT sum(a) FROM unnest($3::bigint[]) a) <> (SELECT COALESCE(sum(a), 0) FROM unnest($16::bigint[]) a)
            THEN 'what the leases pay is not what the events cost'
        ELSE 'true'
    END::boolean
    RETURNING 1
)
SELECT count(*) FROM written`

// appendRows writes those events of a batch that can be: new ones, of leases that are open and in their epoch. Locking the leases first,
// in their order, is the fence. Only rows that are really new (RETURNING) move money, which makes a batch safe to send
// again. The bounds of a lease's event ids may include ids that were not new; they only must not miss any.
const appendRows = `
WITH open AS MATERIALIZED (
    SELECT l.id, b.epoch, b.first, b.last
    FROM leases l JOIN unnest($12::uuid[], $13::bigint[], $14::uuid[], $15::uuid[]) AS b (id, epoch, first, last) ON b.id = l.id
    WHERE l.state = 'open' AND l.epoch = b.epoch ORDER BY l.id FOR UPDATE OF l
)%[1]s, written AS (` + newEvents + `(($7::int[])[shared] = 0
           OR (($12::uuid[])[($7::int[])[shared]], ($13::bigint[])[($7::int[])[shared]]) IN (SELECT id, epoch FROM open))%[2]s
    ON CONFLICT DO NOTHING
    RETURNING id, lease_id, amount
), paid AS (
    UPDATE leases l
    SET used = l.used + s.amount, first_event = least(l.first_event, o.first), last_event = greatest(l.last_event, o.last)
    FROM (SELECT lease_id, sum(amount)::bigint AS amount FROM written GROUP BY lease_id) s JOIN open o ON o.id = s.lease_id
    WHERE l.id = o.id
)%[3]s
SELECT count(*) FROM written`

// The parts for calls with an Idempotency-Key, whose answers have been stored before. The key is a second fence: a call
// whose claim another has taken over is not recorded. Keys are locked in their order, and after the leases, as a void
// does it.
const (
	claimedKeys = `, claimed AS MATERIALIZED (
    SELECT i.user_id, i.key, i.event_id
    FROM unnest($16::uuid[], $17::text[], $18::uuid[], $19::uuid[]) AS k (user_id, key, event_id, claim)
    JOIN idempotency i ON i.user_id = k.user_id AND i.key = k.key AND i.event_id = k.event_id AND i.claim = k.claim
    WHERE i.state = 'running' AND (SELECT count(*) FROM open) >= 0
    ORDER BY i.user_id, i.key FOR UPDATE OF i
)`
	onlyClaimed = `
      AND (id NOT IN (SELECT unnest($18::uuid[])) OR id IN (SELECT event_id FROM claimed))`
	answerKeys = `, answered AS (
    UPDATE idempotency i SET state = 'answered', answered_at = clock_timestamp()
    FROM claimed c JOIN written w ON w.id = c.event_id
    WHERE i.user_id = c.user_id AND i.key = c.key
)`
)

// ChargingSettings are the parameters of the sessions that charge: one plan fits every batch, and making it anew costs a tenth of
// an append. Without sequential scans a small table of leases is read as a large one is, see appendWhole.
func ChargingSettings() map[string]string {
	return map[string]string{"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
}

// appendArgs are the arguments of both ways, and what each lease pays of the whole batch, which appendWhole has besides.
func appendArgs(batch []usage.Record) (args []any, sums *array) {
	n := len(batch)
	ids, refs, times := newIDArray(n), newInt4Array(n), newIntArray(n)
	amounts, statuses, latencies := newIntArray(n), newInt2Array(n), newIntArray(n)
	p, s := newPayers(), newSharing()
	for i := range batch {
		r := &batch[i]
		ids.addID(r.ID)
		refs.addInt(s.refer(shared{p.refer(r), r.UserID, r.APIID, r.EndpointID, r.KeyID}))
		amounts.addInt(r.Amount.Stroops())
		statuses.addInt(int64(r.Status))
		latencies.addInt(max(r.Latency.Microseconds(), 0))
		times.addInt(r.OccurredAt.UnixMilli())
	}
	leases, epochs, first, last := p.arrays()
	args = []any{
		ids, refs, amounts, statuses, latencies, times, s.payers, s.users, s.apis, s.endpoints, s.keys, leases, epochs, first, last,
	}
	return args, p.sums()
}

// shared is what events of a batch have in common.
type shared struct {
	payer                    int64
	user, api, endpoint, key id.ID
}

// sharing is what the events of a batch share, each once.
type sharing struct {
	payers, users, apis, endpoints, keys *array

	known map[shared]int64
	last  shared
	at    int64
}

func newSharing() *sharing {
	return &sharing{
		payers: newInt4Array(1), users: newIDArray(1), apis: newIDArray(1), endpoints: newIDArray(1), keys: newIDArray(1),
		known: make(map[shared]int64, 1),
	}
}

// refer returns where s is, counted from 1.
func (t *sharing) refer(s shared) int64 {
	if t.at > 0 && s == t.last {
		return t.at
	}
	at, known := t.known[s]
	if !known {
		at = int64(len(t.known)) + 1
		t.known[s] = at
		t.payers.addInt(s.payer)
		t.users.addID(s.user)
		t.apis.addID(s.api)
		t.endpoints.addID(s.endpoint)
		t.keys.addID(s.key)
	}
	t.last, t.at = s, at
	return at
}

// payer is a lease in an epoch, with the least and the greatest event id that a batch has for it, and what it pays in stroops.
type payer struct {
	leaseEpoch
	first, last id.ID
	amount      int64
}

type leaseEpoch struct {
	lease id.ID
	epoch int64
}

// payers are the leases that a batch is charged to, each once.
type payers struct {
	all   []payer
	known map[leaseEpoch]int64
}

func newPayers() *payers {
	return &payers{all: make([]payer, 0, 1), known: make(map[leaseEpoch]int64, 1)}
}

func payersOf(batch []usage.Record) *payers {
	p := newPayers()
	for i := range batch {
		p.refer(&batch[i])
	}
	return p
}

// refer returns where the payer of r is, counted from 1; 0 for a free call.
func (p *payers) refer(r *usage.Record) int64 {
	if r.LeaseID.IsZero() {
		return 0
	}
	l := leaseEpoch{r.LeaseID, r.Epoch}
	at, known := p.known[l]
	if !known {
		p.all = append(p.all, payer{leaseEpoch: l, first: r.ID, last: r.ID})
		at = int64(len(p.all))
		p.known[l] = at
	}
	b := &p.all[at-1]
	if r.ID.Before(b.first) {
		b.first = r.ID
	} else if b.last.Before(r.ID) {
		b.last = r.ID
	}
	b.amount += r.Amount.Stroops()
	return at
}

func (p *payers) arrays() (leases, epochs, first, last *array) {
	n := len(p.all)
	leases, epochs, first, last = newIDArray(n), newIntArray(n), newIDArray(n), newIDArray(n)
	for _, b := range p.all {
		leases.addID(b.lease)
		epochs.addInt(b.epoch)
		first.addID(b.first)
		last.addID(b.last)
	}
	return leases, epochs, first, last
}

func (p *payers) sums() *array {
	sums := newIntArray(len(p.all))
	for _, b := range p.all {
		sums.addInt(b.amount)
	}
	return sums
}
