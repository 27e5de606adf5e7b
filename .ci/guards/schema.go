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
		stores, "TestDownAndUpLosesNoMoneyFromAnyVersion/00004",
	},
	{
		"a lease earns once on an API", "db/migrations/00011_revenue_by_lease.sql",
		"    PRIMARY KEY (lease_id, api_id, part),\n", "    CHECK (part >= 0),\n",
		"./db", "TestTheSchemaRefusesWhatMustNotBe",
	},
	{
		"a step down does not lose revenue booked meanwhile", "db/migrations/00011_revenue_by_lease.sql",
		"IF EXISTS (SELECT FROM revenue) THEN", "IF false THEN",
		stores, "TestAStepThatWouldLoseRevenueIsRefused",
	},
	{
		"a lease that is booked in part is booked whole or the step is refused", "db/migrations/00012_revenue_rows.sql",
		"IF l.indexed + rest <> l.used THEN", "IF false THEN",
		stores, "TestAStepThatWouldLoseRevenueIsRefused",
	},
	{
		"the step to revenue by lease loses none", "db/migrations/00012_revenue_rows.sql",
		"FROM revenue) <> had + all_amount THEN", "FROM revenue) < 0 THEN",
		stores, "TestAStepThatWouldLoseRevenueIsRefused",
	},
	{
		"what was settled by call stays settled", "db/migrations/00012_revenue_rows.sql",
		"(developer_id, settlement_id) IS DISTINCT FROM (lag(developer_id) OVER calls, lag(settlement_id) OVER calls)", "lag(usage_event_id) OVER calls IS NULL",
		stores, "TestRevenueByCallBecomesRevenueByLeaseAndBack",
	},
	{
		"the step back to revenue by call changes none", "db/migrations/00012_revenue_rows.sql",
		"WHERE (r.calls, r.amount) IS DISTINCT FROM (e.calls, e.amount)", "WHERE r.calls < 0",
		stores, "TestAStepThatWouldLoseRevenueIsRefused",
	},
	{
		"no charge waits for the end of a report behind a migration", "db/migrations/00012_revenue_rows.sql",
		"            PERFORM set_config('lock_timeout', '100ms', true);\n", "",
		stores, "TestCallsAreChargedWhileRevenueIsMigrated",
	},
	{
		"a step down does not lose charges", "db/migrations/00003_charging.sql",
		"IF EXISTS (SELECT FROM usage_events) OR EXISTS (SELECT FROM leases) THEN", "IF false THEN",
		stores, "TestDownAndUpLosesNoMoneyFromAnyVersion/00003",
	},
	{
		"a step down does not lose balances", "db/migrations/00001_accounts.sql",
		"WHERE balance_snapshot > 0 OR", "WHERE",
		stores, "TestDownAndUpLosesNoMoneyFromAnyVersion/00001",
	},
	{
		"a step down does not let a stopped vault pay", "db/migrations/00010_stopped_vaults.sql",
		"IF EXISTS (SELECT FROM vaults WHERE stopped_at IS NOT NULL) THEN", "IF false THEN",
		stores, "TestAStoppedVaultDoesNotPayAgainByAStepDown",
	},
	{
		"gateways hear of a vault's stop", "db/migrations/00010_stopped_vaults.sql",
		"    INSERT INTO changes (kind, subject) VALUES ('owner', NEW.user_id::text);\n", "",
		stores, "TestAStopIsNewsOfTheVaultsOwnerAndChargingIsNone",
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
	{
		"no event is read to attach a day while charges wait", "db/migrations/00009_partition_locks.sql",
		"<= 128 * 1024;", "<= 16 * 1024 * 1024;",
		stores, "TestAStepThatHoldsUpChargesTouchesNoEvents",
	},
	{
		"the next default partition is not read while charges wait", "db/migrations/00009_partition_locks.sql",
		"SELECT string_agg(format('(id < %L OR id >= %L)', lo, hi), ' AND ') FROM joined", "SELECT 'true'",
		stores, "TestAStepThatHoldsUpChargesTouchesNoEvents",
	},
	{
		"no step waits while charges wait for it", "db/migrations/00009_partition_locks.sql",
		"MODE NOWAIT; -- who reads it by its own name\n    DROP TABLE", "MODE;\n    DROP TABLE",
		stores, "TestAStepGivesUpWhereSomebodyIsInTheWay",
	},
	{
		"a step that waits gives up after 100 ms", "db/migrations/00009_partition_locks.sql",
		"PERFORM set_config('lock_timeout', '100ms', true);\n\n    IF EXISTS (SELECT FROM usage_staging)", "\n    IF EXISTS (SELECT FROM usage_staging)",
		stores, "TestAStepGivesUpWhereSomebodyIsInTheWay",
	},
	{
		"today is in the first move of a backlog", "db/migrations/00009_partition_locks.sql",
		"        ELSIF cardinality(stage) < most_staged THEN\n", "        ELSIF day > today + 60 THEN\n",
		stores, "TestTodayIsInTheFirstMove",
	},
	{
		"today comes before an older move", "db/migrations/00009_partition_locks.sql",
		"        PERFORM usage_staging_drop(); -- days", "        RETURN 0; -- days",
		stores, "TestTodayComesBeforeAnOlderMove",
	},
}
