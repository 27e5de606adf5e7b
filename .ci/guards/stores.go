package main

var ofStores = []guard{
	{
		"a vault is locked while a lease is sized", "adapters/postgres/leases.go",
		"WHERE user_id = $1 AND network = $2\nFOR UPDATE", "WHERE user_id = $1 AND network = $2",
		stores, contract + "/grants_at_once",
	},
	{
		"a lease is never overdrawn in the database", "db/migrations/00003_charging.sql",
		"CHECK (used BETWEEN 0 AND granted)", "CHECK (used >= 0)",
		stores, contract + "/an_overdraft",
	},
	{
		"the fence: a closed lease takes no charge", "adapters/postgres/append.go",
		"WHERE l.id = b.id AND l.closed_at IS NULL AND", "WHERE l.id = b.id AND",
		stores, meeting + "/a_charge_is_fenced|" + contract + "/closing_a_lease",
	},
	{
		"the fence row by row: a closed lease takes no charge", "adapters/postgres/append.go",
		"WHERE l.state = 'open' AND l.epoch = b.epoch ORDER", "WHERE l.epoch = b.epoch ORDER",
		stores, "TestOneFencedRecordKeepsNoOtherBack",
	},
	{
		"the fence row by row holds against an expiry at the same moment", "adapters/postgres/append.go",
		" ORDER BY l.id FOR UPDATE OF l\n", "\n",
		stores, meeting + "/a_charge_with_an_Idempotency-Key_is_fenced",
	},
	{
		"appends and renewals lock leases in one order", "adapters/postgres/append.go",
		"          ORDER BY id) b", "          ) b",
		stores, "TestAppendsAndRenewalsLockLeasesInOneOrder",
	},
	{
		"a small table of leases is locked in the order of a large one", "adapters/postgres/append.go",
		`, "enable_seqscan": "off"}`, "}",
		stores, "TestAppendsAndRenewalsLockLeasesInOneOrder",
	},
	{
		"what leases pay is what their events cost", "adapters/postgres/append.go",
		"a) <> (SELECT COALESCE(sum(a), 0)", "a) < (SELECT COALESCE(sum(a), 0) * 0",
		stores, "TestWhatLeasesPayIsWhatTheirEventsCost",
	},
	{
		"a void waits for the append under way", "adapters/postgres/void.go",
		"ANY ($1::uuid[]) ORDER BY id FOR UPDATE`", "ANY ($1::uuid[]) ORDER BY id`",
		stores, "TestAVoidWaitsForTheAppendThatIsUnderWay",
	},
	{
		"what was sent before a void is refused after it", "adapters/postgres/append.go",
		"l.closed_at IS NULL AND l.epoch = b.epoch\n", "l.closed_at IS NULL\n",
		stores, "TestAnAppendThatArrivesAfterTheVoidIsRefused",
	},
	{
		"what was sent before a void is refused after it, row by row", "adapters/postgres/append.go",
		"WHERE l.state = 'open' AND l.epoch = b.epoch ORDER", "WHERE l.state = 'open' ORDER",
		stores, "TestOneFencedRecordKeepsNoOtherBack",
	},
	{
		"an append that waits for a void sees its epoch", "adapters/postgres/void.go",
		"SET epoch = greatest(l.epoch, v.epoch + 1), ", "SET ",
		stores, "TestAnAppendThatWaitsForAVoidIsRefused",
	},
	{
		"what has been booked is not voided", "adapters/postgres/void.go",
		"if l != nil && e.Amount > 0 && l.Booked {", "if false {",
		stores, contract + "/a_record_on_a_closed_lease",
	},
	{
		"a void on a closed lease lowers what its vault owes", "adapters/postgres/void.go",
		"SET uncollected = v.uncollected - s.amount", "SET uncollected = v.uncollected - s.amount * 0",
		stores, contract + "/a_record_on_a_closed_lease",
	},
	{
		"another call's charge is not voided", "adapters/postgres/void.go",
		"[2]id.ID{e.ID, e.Lease}], v.leases", "[2]id.ID{e.ID, v.batch[0].LeaseID}], v.leases",
		stores, contract + "/another_call",
	},
	{
		"money given back waits for an expiry at the same moment", "adapters/postgres/leases.go",
		"SELECT id, granted FROM leases WHERE id = ANY ($2) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE",
		"SELECT id, granted FROM leases WHERE id = ANY ($2) AND node_id = $1 AND state = 'open'",
		stores, meeting + "/money_given_back",
	},
	{
		"a lease ends once", "adapters/postgres/leases.go",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE`)",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open'`)",
		stores, meeting + "/a_lease_is_not_ended",
	},
	{
		"nothing is charged to a lease that is not as expected", "adapters/postgres/append.go",
		"WHEN (SELECT count(*) FROM paid) < cardinality($12::uuid[]) THEN", "WHEN (SELECT count(*) FROM paid) < 0 THEN",
		stores, "TestOneFencedRecordKeepsNoOtherBack",
	},
	{
		"of some events that cannot be charged the others are", "adapters/postgres/append.go",
		"IN (SELECT id, epoch FROM open))%", "IN (SELECT id, epoch FROM open)) AND (SELECT count(*) FROM open) = cardinality($12::uuid[])%",
		stores, "TestOneFencedRecordKeepsNoOtherBack",
	},
	{
		"a batch that was perhaps stored can be sent again", "adapters/postgres/journal.go",
		"pq.As(err, pqerror.UniqueViolation, ", "pq.As(err, ",
		stores, "TestABatchIsStoredAsItWasSent",
	},
	{
		"a lease with a charge in doubt is not ended by what is given back", "adapters/postgres/leases.go",
		"THEN l.granted ELSE p.keep END,\n        state      = CASE WHEN p.keep = 0 THEN", "THEN l.granted ELSE p.keep END,\n        state      = CASE WHEN p.keep = l.used THEN",
		stores, contract + "/a_lease_of_which_only",
	},
	{
		"only new events move money", "adapters/postgres/append.go",
		"(SELECT lease_id, sum(amount)::bigint AS amount FROM written GROUP BY lease_id) s",
		"(SELECT ($12::uuid[])[($7::int[])[shared]] AS lease_id, sum(amount)::bigint AS amount FROM unnest($2::int[], $3::bigint[]) AS t (shared, amount) GROUP BY 1) s",
		stores, contract + "/a_batch_makes",
	},
	{
		"an event is stored once", "db/migrations/00003_charging.sql",
		"    PRIMARY KEY (id)\n) PARTITION", "    CHECK (id IS NOT NULL)\n) PARTITION",
		stores, contract + "/a_batch_makes",
	},
	{
		"no more is given back than is unused", "adapters/postgres/leases.go",
		" AND p.keep >= l.used", "",
		stores, contract + "/more_than_is_unused",
	},
	{
		"only its node ends a lease", "adapters/postgres/leases.go",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE`)",
		"`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND $1::uuid IS NOT NULL AND state = 'open' ORDER BY id FOR UPDATE`)",
		stores, contract + "/only_its_node_closes",
	},
	{
		"an Idempotency-Key taken over keeps its event", "adapters/postgres/idempotency.go",
		"event_id = CASE state WHEN 'running' THEN event_id ELSE $4 END", "event_id = $4",
		stores, contract + "/a_dead_call",
	},
	{
		"a live call's Idempotency-Key is not taken over", "adapters/postgres/idempotency.go",
		"WHEN 'running' THEN locked_until <= clock_timestamp() AND fingerprint", "WHEN 'running' THEN fingerprint",
		stores, contract + "/a_key_is_claimed",
	},
	{
		"a running Idempotency-Key has no retention", "adapters/postgres/idempotency.go",
		"WHEN 'running' THEN locked_until <= clock_timestamp() AND fingerprint", "WHEN 'running' THEN least(expires_at, locked_until) <= clock_timestamp() AND fingerprint",
		stores, contract + "/a_key_past",
	},
	{
		"a takeover looks again when it has the key", "adapters/postgres/idempotency.go",
		"WHERE user_id = $1 AND key = $2 AND ` + over + `\n", "WHERE user_id = $1 AND key = $2\n",
		stores, "TestWhatMeetsAChargeUnderWay",
	},
	{
		"an Idempotency-Key is not new beside a repeat", "adapters/postgres/idempotency.go",
		"ELSE greatest(expires_at, repeat_until) <= clock_timestamp() END", "ELSE expires_at <= clock_timestamp() END",
		stores, contract + "/a_key_past",
	},
	{
		"a call is extended, not its heir's claim", "adapters/postgres/idempotency.go",
		"ON i.user_id = h.user_id AND i.key = h.key AND i.claim = h.claim\n", "ON i.user_id = h.user_id AND i.key = h.key\n",
		stores, contract + "/a_call_that_has_lost",
	},
	{
		"a claim that was taken over cannot be given up by its first holder", "adapters/postgres/idempotency.go",
		"AND claim = $3 AND state = 'running'\n)", "AND $3::uuid IS NOT NULL AND state = 'running'\n)",
		stores, contract + "/a_call_that_has_lost",
	},
	{
		"a call that has lost its claim keeps no answer", "adapters/postgres/idempotency.go",
		"AND claim = $3 AND (state = 'running' OR repeat_until IS NOT NULL)", "AND $3::uuid IS NOT NULL AND (state = 'running' OR repeat_until IS NOT NULL)",
		stores, contract + "/a_call_that_has_lost",
	},
	{
		"a call that has lost its claim is not charged", "adapters/postgres/append.go",
		"AND (id NOT IN (SELECT unnest($18::uuid[])) OR id IN (SELECT event_id FROM claimed))", "AND (SELECT count(*) FROM claimed) >= 0",
		stores, contract + "/a_call_that_has_lost|TestAChargeThatMeetsATakeover",
	},
	{
		"of two calls of one key one is charged", "adapters/postgres/journal.go",
		"	if again > 0 {\n", "	if again > len(batch) {\n",
		stores, contract + "/of_two_calls",
	},
	{
		"a charge waits for the takeover of its key", "adapters/postgres/append.go",
		"ORDER BY i.user_id, i.key FOR UPDATE OF i\n)`", "ORDER BY i.user_id, i.key\n)`",
		stores, "TestAChargeThatMeetsATakeoverIsNotRecorded",
	},
	{
		"a charge answers its Idempotency-Key", "adapters/postgres/append.go",
		"FROM claimed c JOIN written w ON w.id = c.event_id", "FROM claimed c JOIN written w ON w.id <> c.event_id",
		stores, contract + "/the_answer_is_told",
	},
	{
		"nobody is told an answer that is not charged", "adapters/postgres/idempotency.go",
		"	case row.State == \"running\":\n", "	case row.State == \"running\" && row.Status == 0:\n",
		stores, contract + "/the_answer_is_told",
	},
	{
		"there is one free repeat", "adapters/postgres/idempotency.go",
		"state = 'answered' AND body IS NULL AND repeat_until IS NULL\n", "state = 'answered' AND body IS NULL\n",
		stores, "TestOfTwoClaimsThatMeet",
	},
	{
		"a repeat ends when it is served", "adapters/postgres/idempotency.go",
		"repeat_until = CASE WHEN state = 'answered' THEN clock_timestamp() END", "repeat_until = repeat_until",
		stores, contract + "/an_answer_that_is_not_kept",
	},
	{
		"a free repeat comes in time", "adapters/postgres/idempotency.go",
		"COALESCE(repeat_until IS NULL AND answered_at > clock_timestamp() - make_interval(secs => $4), false)",
		"COALESCE(repeat_until IS NULL AND $4::float8 > 0, false)",
		stores, contract + "/a_repeat_comes_too_late",
	},
	{
		"a running call's Idempotency-Key is not swept", "adapters/postgres/idempotency.go",
		"WHEN 'running' THEN locked_until <= clock_timestamp() - make_interval(secs => $2)", "WHEN 'running' THEN $2::float8 > 0",
		stores, "TestNoKeyIsSwept",
	},
	{
		"a repeated call's Idempotency-Key is not swept", "adapters/postgres/idempotency.go",
		"ELSE COALESCE(repeat_until <= clock_timestamp(), true) END", "ELSE true END",
		stores, "TestNoKeyIsSwept",
	},
	{
		"two nodes do not book the same calls", "adapters/postgres/revenue.go",
		"ORDER BY l.closed_at LIMIT $1 FOR UPDATE OF l SKIP LOCKED", "ORDER BY l.closed_at LIMIT $1",
		stores, "TestALeaseThatANodeIndexesIsLeftToIt",
	},
	{
		"revenue waits for the end of the lease", "adapters/postgres/revenue.go",
		"WHERE l.state = 'closed' AND l.indexed_at IS NULL AND l.id <> ALL", "WHERE l.indexed_at IS NULL AND l.id <> ALL",
		stores, contract + "/revenue_is_indexed_once",
	},
	{
		"a lease is booked when its calls come to what it used", "adapters/postgres/revenue.go",
		" AND l.used = COALESCE(e.amount, 0)\n", "\n",
		stores, "TestALeaseWhoseEventsAreNotWhatItUsedIsNotBooked",
	},
	{
		"a lease is not booked before all its calls are read", "adapters/postgres/revenue_booking.go",
		"if endsIn(read[l.User], l.Last) && !endsIn(open[l.User], l.Last) {", "if endsIn(read[l.User], l.Last) {",
		stores, "TestRevenueIsTheSameInPagesOfAnySize",
	},
	{
		"a call is read once in pages", "adapters/postgres/revenue_booking.go",
		"rest[0].first = after(rows[0].Reached)", "rest[0].first = rows[0].Reached",
		stores, "TestRevenueIsTheSameInPagesOfAnySize",
	},
	{
		"a lease that cannot be booked keeps no other back", "adapters/postgres/revenue.go",
		"		ids.addID(lease)\n", "",
		stores, "TestALeaseWhoseEventsAreNotWhatItUsedIsNotBooked",
	},
	{
		"revenue is held against each lease", "adapters/postgres/audit_present.go",
		"WHERE r.amount IS DISTINCT FROM l.indexed LIMIT 5", "WHERE false LIMIT 5",
		stores, "TestDriftOfNewDaysIsFoundBesideSealedOnes",
	},
	{
		"revenue is held against the calls of each API", "adapters/postgres/audit_span.go",
		"WHERE (COALESCE(r.calls, 0), COALESCE(r.amount, 0)) <>", "WHERE f.calls < 0 AND (COALESCE(r.calls, 0), COALESCE(r.amount, 0)) <>",
		stores, "TestDriftOfNewDaysIsFoundBesideSealedOnes",
	},
	{
		"a day whose revenue names other calls is not sealed", "adapters/postgres/audit_span.go",
		"if found.Revenue != found.Amount && found.RevenueOff == 0 {", "if false {",
		stores, "TestADayWithDriftIsNotSealed",
	},
	{
		"a grant that is asked for again is not granted twice", "adapters/postgres/leases.go",
		"if granted || err != nil {\n\t\t\t\treturn err", "if granted = false; err != nil {\n\t\t\t\treturn err",
		stores, "TestAGrantThatIsAskedAgainWaitsForTheFirstAttempt",
	},
	{
		"a lease is replaced once", "adapters/postgres/leases.go",
		"WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE\n), next", "WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open'\n), next",
		stores, "TestALeaseThatIsReplacedAgainIsReplacedOnce",
	},
	{
		"a successor gets no more than is left", "adapters/postgres/leases.go",
		"least(a.need, o.granted - o.used) AS rest", "a.need AS rest",
		stores, contract + "/a_successor_gets",
	},
	{
		"a lease never grows", "adapters/postgres/leases.go",
		" AND p.keep < l.granted", "",
		stores, contract + "/parts_given_back",
	},
	{
		"a wait on a silent network ends after its context", "adapters/postgres/dialer.go",
		"d.socket.end()\n\t\td.onSilence()", "d.onSilence()",
		stores, "TestAnAppendEndsInTimeWhenTheNetworkFallsSilentAndChargesOnce",
	},
	{
		"a connection on which something was cancelled is not used again", "adapters/postgres/dialer.go",
		"return d.grace == nil && ", "return ",
		stores, "TestAConnectionThatWasCancelledIsNotUsedAgain",
	},
	{
		"a day is not sealed before its leases are booked", "adapters/postgres/audit.go",
		"if first.Day.Valid && first", "if false && first",
		stores, "TestADayIsNotSealedBeforeAllItsLeasesAreBooked",
	},
	{
		"a day with drift is not sealed", "adapters/postgres/audit.go",
		"r.seals = false // the days behind", "// the days behind",
		stores, "TestADayWithDriftIsNotSealed",
	},
	{
		"a call charged after its day was sealed is audited", "adapters/postgres/audit_present.go",
		"if len(r.days) > 0 {\n\t\tif err := r.late", "if false {\n\t\tif err := r.late",
		stores, "TestACallChargedLongAfterItsDayWasSealedIsCountedOnce",
	},
	{
		"a checkpoint that was altered is not trusted", "adapters/postgres/audit_checkpoint.go",
		"if !sameBytes(all[i].Chain, all[i].link(before)) {", "if !sameBytes(all[i].Chain, all[i].link(before)) && false {",
		stores, "TestAnAuditFindsACheckpointThatIsNotAsItWasWritten",
	},
	{
		"a sealed day is held against its rows", "adapters/postgres/audit_checkpoint.go",
		"case found.Digest != c.Digest:", "case false:",
		stores, "TestAFullAuditFindsWhatWasAlteredInASealedDayAndNamesIt",
	},
	{
		"a sealed day's revenue is held against its rows", "adapters/postgres/audit_checkpoint.go",
		"case found.RevenueDigest != c.RevenueDigest:", "case false:",
		stores, "TestAFullAuditFindsWhatWasAlteredInASealedDayAndNamesIt",
	},
	{
		"a repeated batch is looked for where it can be", "adapters/postgres/journal.go",
		"FROM usage_events WHERE `+amongEvents(batch))", "FROM usage_events WHERE id = ANY ($1::uuid[])`, func() any { a, _ := appendArgs(batch); return a[0] }())",
		stores, "TestAThousandDaysOfUsage/do_not_slow",
	},
	{
		"a void looks where its events can be", "adapters/postgres/void.go",
		"amount FROM usage_events WHERE `+amongEvents(v.batch))", "amount FROM usage_events WHERE id = ANY ($1::uuid[])`, func() any { a, _ := appendArgs(v.batch); return a[0] }())",
		stores, "TestAThousandDaysOfUsage/are_not_locked",
	},
	{
		"a lease knows the bounds of its events, row by row", "adapters/postgres/append.go",
		", first_event = least(l.first_event, o.first), last", ", last",
		stores, "TestOneFencedRecordKeepsNoOtherBack",
	},
	{
		"a revenue pass reads only days that it needs", "adapters/postgres/revenue.go",
		"AND id BETWEEN '%[1]s' AND '%[2]s'\n", "AND '%[1]s' <> '%[2]s'\n",
		stores, "TestAThousandDaysOfUsage/are_not_locked",
	},
	{
		"a lease knows the bounds of its events", "adapters/postgres/append.go",
		", first_event = least(l.first_event, b.first), last", ", last",
		stores, "TestAThousandDaysOfUsage/are_not_locked",
	},
	{
		"idle money is recalled once in a while, whoever asks", "adapters/postgres/recall.go",
		"WHERE NOT EXISTS (SELECT FROM changes WHERE kind = 'recall'", "WHERE NOT EXISTS (SELECT FROM changes WHERE kind = 'none'",
		stores, contract + "/money_that_another",
	},
	{
		"of many that are short at once, one recalls", "adapters/postgres/recall.go",
		"SELECT 'recall', $1, clock_timestamp()\n", "SELECT 'recall', $1, clock_timestamp() - INTERVAL '1 hour'\n",
		stores, contract + "/of_many_that_are_short",
	},
	{
		"a node does not recall what it has itself", "adapters/postgres/recall.go",
		"l.node_id <> $2", "l.node_id <> $2 IS NOT NULL",
		stores, contract + "/what_cannot_help",
	},
	{
		"what would not be enough is not recalled", "adapters/postgres/recall.go",
		"+ $3::bigint >= $4::bigint", "+ $3::bigint >= 0 * $4::bigint",
		stores, contract + "/what_cannot_help",
	},
	{
		"what is spent is not recalled", "adapters/postgres/recall.go",
		"HAVING sum(l.granted - l.used) > 0 AND sum(l.granted - l.used)", "HAVING sum(l.granted) > 0 AND sum(l.granted)",
		stores, contract + "/what_cannot_help",
	},
	{
		"a stopped vault recalls nothing", "adapters/postgres/recall.go",
		" AND v.stopped_at IS NULL", "",
		stores, contract + "/a_stopped_vault_recalls",
	},
}
