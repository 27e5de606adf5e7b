package main

var ofCharging = []guard{
	{
		"a call draws only on free money", "app/charging/lease.go",
		"&& l.free >= price ", "",
		charging, "TestParallelCallsNeverOverspend",
	},
	{
		"a hold ends once", "app/charging/charger.go",
		"if !h.ended.Swap(true) {", "if true {",
		charging, "TestReleaseGivesTheMoneyBackOnce",
	},
	{
		"a released hold cannot be charged", "app/charging/charger.go",
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
		"a lease with calls in flight is renewed", "app/charging/maintain.go",
		"c.renew = append(c.renew, kept{a, l})", "",
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
		"what was told not charged is voided", "app/charging/shard.go",
		"doubtful = append(doubtful, n)", "n.hold.finish(false)",
		charging, "TestWhatACallerWasToldIsNotChargedIsNotCharged",
	},
	{
		"an unclear commit is tried again with the same event", "app/charging/shard.go",
		"return batch, err\n}", "for _, n := range batch {\n\t\ts.end(n, false, err)\n\t}\n\treturn nil, nil\n}",
		charging, "TestAnAnswerLostAtCommitIsChargedOnce",
	},
	{
		"no call is admitted while charges cannot be stored", "app/charging/charger.go",
		"t.closed.Load() || t.Failing() || ", "t.closed.Load() || ",
		charging, "TestWhatACallerWasToldIsNotChargedIsNotCharged",
	},
}
