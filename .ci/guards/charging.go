package main

var ofCharging = []guard{
	{
		"a call draws only on free money", "app/charging/lease.go",
		"&& l.free >= price ", "",
		charging, "TestParallelCallsNeverOverspend",
	},
	{
		"a hold ends once", "app/charging/hold.go",
		"if !h.ended.Swap(true) {", "if true {",
		charging, "TestReleaseGivesTheMoneyBackOnce",
	},
	{
		"a released hold cannot be charged", "app/charging/hold.go",
		"if h.ended.Swap(true) {\n\t\treturn errEnded\n\t}", "",
		charging, "TestReleaseGivesTheMoneyBackOnce",
	},
	{
		"released money is free again", "app/charging/lease.go",
		"\tl.free += price\n", "",
		charging, "TestReleaseGivesTheMoneyBackOnce",
	},
	{
		"a node stops drawing before its lease ends", "app/charging/lease.go",
		" && now.Before(l.stopAt)", "",
		charging, "TestANodeStopsDrawingWellBeforeItsLeaseEnds",
	},
	{
		"a lease with calls in flight is renewed", "app/charging/maintain.go",
		"c.renew = append(c.renew, k)", "",
		charging, "TestIdleMoneyGoesBackForOtherNodes",
	},
	{
		"idle money goes back", "app/charging/maintain.go",
		"if now.Sub(l.drawn) >= a.charger.cfg.LeaseIdle ||", "if",
		charging, "TestIdleMoneyGoesBackForOtherNodes",
	},
	{
		"a caller who leaves gives back what it was handed", "app/charging/account.go",
		"w.gone = true", "",
		charging, "TestACallerWhoLeavesWhileWaitingHoldsNothing",
	},
	{
		"what was told not charged is voided", "app/charging/store.go",
		"case n.sent:\n\t\t\ts.doubtful = append(s.doubtful, n)", "case n.sent:\n\t\t\ts.end(n, id.ID{}, nil)",
		charging, "TestWhatACallerWasToldIsNotChargedIsNotCharged",
	},
	{
		"an unclear commit is tried again with the same event", "app/charging/store.go",
		"return batch, err\n}", "for _, n := range batch {\n\t\tn.decide()\n\t\ts.end(n, id.ID{}, err)\n\t}\n\treturn nil, nil\n}",
		charging, "TestAnAnswerLostAtCommitIsChargedOnce",
	},
	{
		"no call is admitted while charges cannot be stored", "app/charging/charger.go",
		"t.closed.Load() || t.failing(now) || ", "t.closed.Load() || ",
		charging, "TestWhatACallerWasToldIsNotChargedIsNotCharged",
	},
	{
		"a caller's wait does not depend on the journal", "app/charging/hold.go",
		"case <-c.timer.C:", "case <-(chan time.Time)(nil):",
		charging, "TestACallerIsAnsweredInTimeThoughTheJournalHangs",
	},
	{
		"a caller's wait does not depend on its turn in the queue", "app/charging/hold.go",
		"if !n.state.CompareAndSwap(waiting, givenUp) {", "if !n.sent || !n.state.CompareAndSwap(waiting, givenUp) {",
		charging, "TestACallerBehindRecordsThatNobodyWaitsForIsAnsweredInTime",
	},
	{
		"a call under an Idempotency-Key waits for its charge in async mode too", "app/charging/hold.go",
		"t.cfg.Mode == Async && e.IdempotencyKey == \"\" &&", "t.cfg.Mode == Async &&",
		charging, "TestACallerBehindRecordsThatNobodyWaitsForIsAnsweredInTime",
	},
	{
		"async calls wait for a database that is behind", "app/charging/hold.go",
		" && !t.behind() {", " {",
		charging, "TestAsyncCallsWaitForADatabaseThatIsBehindAndAFullQueueRefusesThem",
	},
	{
		"no call is admitted while the journal does not answer", "app/charging/charger.go",
		"s.failed.Load() || s.overdue(now)", "s.failed.Load()",
		charging, "TestACallerIsAnsweredInTimeThoughTheJournalHangs",
	},
	{
		"an answer that comes too late is voided", "app/charging/store.go",
		"if recorded && !n.decide() {", "if recorded && !n.decide() && false {",
		charging, "TestACallerIsAnsweredInTimeThoughTheJournalHangs",
	},
	{
		"a caller waits for a lease no longer than a grant may take", "app/charging/account.go",
		"case <-late.C:", "case <-(chan time.Time)(nil):",
		charging, "TestACallerWaitsForALeaseNoLongerThanAGrantMayTake",
	},
	{
		"a drain ends in time", "app/charging/charger.go",
		"\t\treturn err\n\tcase <-ctx.Done():\n\t}", "\t\treturn err\n\t}",
		charging, "TestADrainEndsInTimeThoughTheJournalHangs",
	},
	{
		"who gave up does not take others with it", "app/charging/store.go",
		"l.epoch = max(l.epoch, n.rec.Epoch+1)", "",
		charging, "TestOfABatchOnlyThoseWhoGaveUpAreVoided",
	},
	{
		"a grant without an answer is asked for again", "app/charging/account.go",
		"\t\ta.unknown = g.ID\n", "",
		charging, "TestAGrantWithoutAnAnswerIsNotLost",
	},
	{
		"a grant that nobody waits for any more goes back", "app/charging/maintain.go",
		"if !a.unknown.IsZero() && !a.refilling {", "if false {",
		charging, "TestAGrantThatNobodyWaitsForAnyMoreGoesBack",
	},
	{
		"a grant that is too small for later calls refuses none", "app/charging/account.go",
		"\t\ta.leases[l.id] = l\n", "\t\ta.leases[l.id] = l\n\t\tif got.Granted.Less(g.Need) {\n\t\t\terr = vault.ErrShort\n\t\t}\n",
		charging, "TestAGrantThatIsTooSmallForLaterCallsIsJoinedWithTheRestOfTheVault",
	},
	{
		"a drain gives back a grant without an answer", "app/charging/maintain.go",
		"\t\ta.refill(true)\n\t\ta.mu.Lock()", "\t\ta.mu.Lock()",
		charging, "TestADrainGivesBackAGrantWithoutAnAnswer",
	},
	{
		"a long call does not pin the money of others", "app/charging/maintain.go",
		"case l.pins(now, a.charger.cfg.LeaseMaxAge), ", "case ",
		charging, "TestALongCallDoesNotPinMoney",
	},
	{
		"a charge on a lease that was replaced is sent again", "app/charging/store.go",
		"if outcomes[i] == ports.Fenced && n.hold.lease != nil", "if false && n.hold.lease != nil",
		charging, "TestAStreamThatEndsWhileItsLeaseIsReplacedIsChargedOnce",
	},
	{
		"a lease that was perhaps replaced is not closed before that is known", "app/charging/lease.go",
		" && l.successor.IsZero() }", " }",
		charging, "TestALeaseOfWhichItIsUnknownWhetherItWasReplacedIsGivenBack",
	},
	{
		"parts whose return was lost are given back again", "app/charging/maintain.go",
		"return 0, err // the next pass says it again", "_ = err",
		charging, "TestWhatIsAskedAgainOfALeaseHappensOnce",
	},
	{
		"what calls in flight hold is never given back", "app/charging/lease.go",
		"Keep: money.FromStroops(l.granted)}", "Keep: money.FromStroops(l.granted - l.reserved)}",
		charging, "TestWhatCallsInFlightHoldIsNotGivenBack",
	},
	{
		"money of a charge in doubt is never given back", "app/charging/lease.go",
		"Keep: money.FromStroops(l.granted)}", "Keep: money.FromStroops(l.charged)}",
		charging, "TestMoneyOfAChargeInDoubtIsNotGivenBack",
	},
	{
		"idle money is given back when it is recalled", "app/charging/recall.go",
		"\t\ta.retire(a.current, now)\n", "\t\t_ = now\n",
		charging, "TestMoneyIdleOnOneNodeServesACallOnAnother",
	},
	{
		"a recall that meets a grant is not lost", "app/charging/recall.go",
		"\t\ta.recalled = true\n", "",
		charging, "TestARecallThatMeetsAGrantTakesWhatTheGrantLeavesIdle",
	},
	{
		"a wait for other nodes' money ends", "app/charging/recall.go",
		"return now.Before(w.until)", "return true",
		charging, "TestACallWaitsForAnotherNodesMoneyABoundedTime",
	},
	{
		"a drain waits for no other node's money", "app/charging/recall.go",
		"!errors.Is(refusal, vault.ErrHeld) || a.charger.closed.Load()", "!errors.Is(refusal, vault.ErrHeld)",
		charging, "TestADrainDoesNotWaitForOtherNodesMoney",
	},
}
