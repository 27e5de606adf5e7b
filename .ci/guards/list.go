package main

const (
	charging = "./app/charging"
	stores   = "./adapters/postgres"
	gateway  = "./adapters/gateway"
	wire     = "./adapters/gateway/upstream"
	contract = "TestPostgresKeepsTheChargingContract"
	meeting  = "TestWhatMeetsTheExpiryPassFindsTheLeaseClosed"
)

var guards = []guard{
	{
		"amounts never wrap", "domain/money/amount.go",
		"if (sum > a.stroops) != (b.stroops > 0) {", "if false {",
		"./domain/money", "TestArithmeticIsExactOrAnError",
	},
	{
		"an eighth decimal is refused, not rounded", "domain/money/amount.go",
		"if len(frac) > Decimals {\n\t\treturn Amount{}", "if len(frac) > Decimals {\n\t\tfrac = frac[:Decimals]\n\t}\n\tif false {\n\t\treturn Amount{}",
		"./domain/money", "TestParseReadsPlainDecimalsOnly",
	},
	{
		"a lease is never larger than what is free", "domain/vault/grant.go",
		"case !free.Less(need):\n\t\treturn need, nil\n\t}\n\treturn free, nil", "}\n\treturn need, nil",
		"./domain/vault", "TestAGrantIsNeverMoreThanIsFreeAndServesSomebody",
	},
	{
		"a rich vault is not taken whole by one node", "domain/vault/grant.go",
		"const richness = 8", "const richness = 1",
		"./domain/vault", "TestSizeGrant",
	},
	{
		"a call draws only on free money", "app/charging/lease.go",
		"&& l.free >= price ", "",
		charging, "TestParallelCallsNeverOverspend",
	},
	{
		"a hold ends once", "app/charging/till.go",
		"if !h.ended.Swap(true) {", "if true {",
		charging, "TestReleaseGivesTheMoneyBackOnce",
	},
	{
		"a released hold cannot be charged", "app/charging/till.go",
		"if h.ended.Swap(true) {\n\t\treturn errEnded\n\t}", "",
		charging, "TestReleaseGivesTheMoneyBackOnce",
	},
	{
		"released money is free again", "app/charging/lease.go",
		"if !charged {\n\t\tl.free += price", "if !charged {\n\t\tl.free += 0",
		charging, "TestReleaseGivesTheMoneyBackOnce",
	},
	{
		"a node stops drawing before its lease ends", "app/charging/lease.go",
		" && now.Before(l.stopAt)", "",
		charging, "TestANodeStopsDrawingWellBeforeItsLeaseEnds",
	},
	{
		"a lease with calls in flight is renewed", "app/charging/tend.go",
		"c.renew = append(c.renew, kept{a, l})", "",
		charging, "TestIdleMoneyGoesBackForOtherNodes",
	},
	{
		"idle money goes back", "app/charging/tend.go",
		"if now.Sub(l.drawn) >= a.till.cfg.LeaseIdle ||", "if",
		charging, "TestIdleMoneyGoesBackForOtherNodes",
	},
	{
		"a caller who leaves gives back what it was handed", "app/charging/account.go",
		"w.gone = true", "",
		charging, "TestACallerWhoLeavesWhileWaitingHoldsNothing",
	},
	{
		"what was told not charged is withdrawn", "app/charging/shard.go",
		"doubtful = append(doubtful, n)", "n.hold.settle(false)",
		charging, "TestWhatACallerWasToldIsNotChargedIsNotCharged",
	},
	{
		"an unclear commit is tried again with the same event", "app/charging/shard.go",
		"return batch, err\n}", "for _, n := range batch {\n\t\ts.end(n, false, err)\n\t}\n\treturn nil, nil\n}",
		charging, "TestAnAnswerLostAtCommitIsChargedOnce",
	},
	{
		"no call is admitted while charges cannot be stored", "app/charging/till.go",
		"t.closed.Load() || t.Failing() || ", "t.closed.Load() || ",
		charging, "TestWhatACallerWasToldIsNotChargedIsNotCharged",
	},
	{
		"a vault is locked while a lease is sized", "adapters/postgres/leases.go",
		"WHERE user_id = $1 AND network = $2\nFOR UPDATE", "WHERE user_id = $1 AND network = $2",
		stores, contract,
	},
	{
		"a lease is never overdrawn in the database", "db/migrations/00003_charging.sql",
		"CHECK (used BETWEEN 0 AND granted)", "CHECK (used >= 0)",
		stores, contract,
	},
	{
		"the fence: a closed lease takes no charge", "adapters/postgres/journal.go",
		"SELECT id FROM leases WHERE id = ANY ($11::uuid[]) AND state = 'open' ORDER BY id FOR UPDATE",
		"SELECT id FROM leases WHERE id = ANY ($11::uuid[]) ORDER BY id FOR UPDATE",
		stores, contract,
	},
	{
		"the fence holds against an expiry at the same moment", "adapters/postgres/journal.go",
		"SELECT id FROM leases WHERE id = ANY ($11::uuid[]) AND state = 'open' ORDER BY id FOR UPDATE",
		"SELECT id FROM leases WHERE id = ANY ($11::uuid[]) AND state = 'open'",
		stores, meeting,
	},
	{
		"a withdrawal waits for an expiry at the same moment", "adapters/postgres/journal.go",
		"SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND state = 'open' ORDER BY id FOR UPDATE",
		"SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND state = 'open'",
		stores, meeting,
	},
	{
		"money given back waits for an expiry at the same moment", "adapters/postgres/leases.go",
		"SELECT id FROM leases WHERE id = ANY ($2) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE",
		"SELECT id FROM leases WHERE id = ANY ($2) AND node_id = $1 AND state = 'open'",
		stores, meeting,
	},
	{
		"a lease ends once", "adapters/postgres/leases.go",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE`)",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open'`)",
		stores, meeting,
	},
	{
		"only new events move money", "adapters/postgres/journal.go",
		"FROM (SELECT lease_id, sum(amount)::bigint AS amount FROM written WHERE lease_id IS NOT NULL GROUP BY lease_id) s\n    WHERE l.id = s.lease_id\n)\nSELECT count(*) FROM written",
		"FROM (SELECT lease_id, sum(amount)::bigint AS amount FROM new WHERE lease_id IS NOT NULL GROUP BY lease_id) s\n    WHERE l.id = s.lease_id\n)\nSELECT count(*) FROM written",
		stores, contract,
	},
	{
		"an event is stored once", "db/migrations/00003_charging.sql",
		"    PRIMARY KEY (id)\n) PARTITION", "    CHECK (id IS NOT NULL)\n) PARTITION",
		stores, contract,
	},
	{
		"no more is given back than is unused", "adapters/postgres/leases.go",
		" AND l.granted - p.amount >= l.used", "",
		stores, contract,
	},
	{
		"only its node ends a lease", "adapters/postgres/leases.go",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE`)",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND $1::uuid IS NOT NULL AND state = 'open' ORDER BY id FOR UPDATE`)",
		stores, contract,
	},
	{
		"only events of open leases are withdrawn", "adapters/postgres/journal.go",
		"AND (u.lease_id IS NULL OR u.lease_id IN (SELECT id FROM open))\n    RETURNING", "RETURNING",
		stores, contract,
	},
	{
		"an Idempotency-Key taken over keeps its event", "adapters/postgres/idempotency.go",
		"event_id = CASE WHEN i.expires_at <= clock_timestamp() THEN excluded.event_id ELSE i.event_id END",
		"event_id = excluded.event_id",
		stores, contract,
	},
	{
		"a claim that was taken over cannot be given up by its first holder", "adapters/postgres/idempotency.go",
		"AND claim = $3 AND state = 'running'", "AND $3::uuid IS NOT NULL AND state = 'running'",
		stores, contract,
	},
	{
		"free retries end", "adapters/postgres/idempotency.go",
		"AND free_retries < $4", "AND $4::int > 0",
		stores, contract,
	},
	{
		"two nodes do not book the same calls", "adapters/postgres/revenue.go",
		"ORDER BY closed_at LIMIT $1 FOR UPDATE SKIP LOCKED", "ORDER BY closed_at LIMIT $1",
		stores, "TestALeaseThatANodeIndexesIsLeftToIt",
	},
	{
		"revenue waits for the end of the lease", "adapters/postgres/revenue.go",
		"WHERE state = 'closed' AND indexed_at IS NULL\n", "WHERE indexed_at IS NULL\n",
		stores, contract,
	},
	{
		"only an upstream's success is charged", "adapters/gateway/answer.go",
		"return status >= 200 && status < 300", "return status >= 200",
		gateway, "TestFailingUpstreamsAreNotCharged",
	},
	{
		"every end of a call gives back what it holds", "adapters/gateway/call.go",
		"	c.watch.stop()\n\tc.release()\n", "	c.watch.stop()\n",
		gateway, "TestAPanicIs500AndReleases|TestASlowUpstreamIs504AndNotCharged|TestACallerWhoLeaves",
	},
	{
		"a broken stream is not charged", "adapters/gateway/stream.go",
		"	s.settled = true\n\ts.call.cause = err\n", "	_ = s.settle(true)\n\ts.call.cause = err\n",
		gateway, "TestAStreamThatBreaksIsCutAndNotCharged",
	},
	{
		"the end of a stream waits for its charge", "adapters/gateway/stream.go",
		"if s.settle(true) != nil {\n\t\t\treturn 0, errEndsUncharged\n\t\t}", "_ = s.settle(true)",
		gateway, "TestWhatCannotBeRecordedIs503AndIsNotDelivered",
	},
	{
		"a caller who leaves in the middle has been served", "adapters/gateway/stream.go",
		"	if !s.settled {\n\t\t_ = s.settle(false)\n\t}\n\treturn s.ReadCloser.Close()", "	return s.ReadCloser.Close()",
		gateway, "TestACallerWhoDoesNotReadIsCut|TestACallerWhoLeaves",
	},
	{
		"bytes after an answer are not the next call's answer", "adapters/gateway/upstream/fresh_unix.go",
		"nothing = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK", "nothing = err != syscall.EPERM",
		wire, "TestAnAnswerToNobodyIsNotTheNextCallsAnswer/after",
	},
	{
		"bytes with an answer are not the next call's answer", "adapters/gateway/upstream/body.go",
		" && b.conn.in.Buffered() == 0", "",
		wire, "TestAnAnswerToNobodyIsNotTheNextCallsAnswer/with",
	},
	{
		"an ambiguous path is refused", "domain/listing/path.go",
		"strings.ContainsAny(plain, `/\\;`)", "false",
		gateway, "TestThePathThatIsPricedIsThePathThatIsForwarded",
	},
}
