package main

var ofSchema = []guard{
	{
		"a step down does not forget where a lease's events begin", "db/migrations/00005_void_fence.sql",
		"IF EXISTS (SELECT FROM leases WHERE first_event <", "IF EXISTS (SELECT FROM leases WHERE used < 0 AND first_event <",
		stores, "TestBoundsThatCannotBeGuessedAreNotTakenBack",
	},
	{
		"a step down does not lose revenue", "db/migrations/00004_revenue.sql",
		"IF EXISTS (SELECT FROM revenue_ledger) THEN", "IF false THEN",
		stores, "TestDownAndUpLosesNoMoneyFromAnyVersion",
	},
	{
		"a step down does not lose charges", "db/migrations/00003_charging.sql",
		"IF EXISTS (SELECT FROM usage_events) OR EXISTS (SELECT FROM leases) THEN", "IF false THEN",
		stores, "TestDownAndUpLosesNoMoneyFromAnyVersion",
	},
	{
		"a step down does not lose balances", "db/migrations/00001_accounts.sql",
		"WHERE balance_snapshot > 0 OR", "WHERE",
		stores, "TestDownAndUpLosesNoMoneyFromAnyVersion",
	},
	{
		"what is charged into the default partition is not lost in a move", "db/migrations/00007_partitions.sql",
		"            EXECUTE format('INSERT INTO %I SELECT ($1).* ON CONFLICT DO NOTHING', staged) USING NEW;\n", "            NULL;\n",
		stores, "TestAMoveCanStopAfterEveryStep",
	},
	{
		"what is voided in a move stays voided", "db/migrations/00007_partitions.sql",
		"            EXECUTE format('DELETE FROM %I WHERE id = $1', staged) USING OLD.id;\n", "            NULL;\n",
		stores, "TestAMoveCanStopAfterEveryStep",
	},
	{
		"a copy does not bring a voided event back", "db/migrations/00007_partitions.sql",
		"AND id >= $3 AND id < $4 FOR SHARE)", "AND id >= $3 AND id < $4)",
		stores, "TestAnEventThatIsBeingVoidedIsNotCopied",
	},
	{
		"a snapshot from before the copies does not meet them", "db/migrations/00007_partitions.sql",
		"    IF open <> '' THEN", "    IF false THEN",
		stores, "TestAnOldSnapshotSeesEveryEvent",
	},
	{
		"copies that are not the same are not used", "db/migrations/00007_partitions.sql",
		"IF NOT same THEN", "IF false THEN",
		stores, "TestCopiesThatAreNotTheSameAreNeverUsed",
	},
}
