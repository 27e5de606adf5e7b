package main

var ofNode = []guard{
	{
		"a stage that overruns leaves the writer its time", "cmd/callora/stages.go",
		"\t\terr := s.end(time.Until(start.Add(within * time.Duration(spent) / 100)))",
		"\t\terr := s.end(time.Until(start.Add(within)))",
		node, "TestAStageThatOverrunsItsShareStarvesNoOther",
	},
	{
		"a stage that does not end is left behind", "cmd/callora/stages.go",
		"\tcase <-late.C:\n\t\treturn errLeftBehind", "\tcase <-late.C:\n\t\treturn <-stopped",
		node, "TestAStageThatOverrunsItsShareStarvesNoOther",
	},
	{
		"serve asks for its environment", "cmd/callora/config/check.go",
		"case c.Env == \"\" && p == Serving:", "case false:",
		node, "TestServeAsksForItsEnvironment",
	},
	{
		"X-User-Id is believed from nowhere but where the configuration says", "api/edge/auth.go",
		"slices.ContainsFunc(e.cfg.UserHeaderFrom, func(p netip.Prefix) bool { return p.Contains(peer) })",
		"(peer.IsLoopback() || slices.ContainsFunc(e.cfg.UserHeaderFrom, func(p netip.Prefix) bool { return p.Contains(peer) }))",
		node, "TestADeveloperServesNobodyElse",
	},
	{
		"X-User-Id is not believed in production", "api/edge/auth.go",
		"ok && !e.cfg.Production && ", "ok && ",
		rest, "TestAUserIDIsTakenAtItsWordFromWhereTheConfigurationSays",
	},
	{
		"X-User-Id is not believed through a proxy", "api/edge/auth.go",
		"; proxied {", "; proxied && false {",
		rest, "TestAUserIDIsTakenAtItsWordFromWhereTheConfigurationSays",
	},
	{
		"what anybody may send is limited before it costs a query", "api/edge/limit.go",
		"if !e.admit(w, part+", "if false && !e.admit(w, part+",
		rest, "TestWhatIsOpenToAllIsLimitedByAddressBeforeItCosts",
	},
	{
		"a repeated field is refused", "api/edge/json.go",
		"seen[name] == 2", "seen[name] == -2",
		rest, "TestAFieldIsGivenOnceAtAnyDepth",
	},
	{
		"guesses are counted by subscriber", "api/edge/limit.go",
		"\"ip:\" + httpkit.LimitKey(x.client)", "\"ip:\" + x.client.String()",
		node, "TestEveryDoorCountsCallersByTheAddressThatIsTrusted",
	},
	{
		"who is trusted to name a caller's address", "cmd/callora/config/config.go",
		"Trusted: c.TrustedProxies, ", "",
		node, "TestEveryDoorCountsCallersByTheAddressThatIsTrusted",
	},
	{
		"a node hears recalls beside other news", "cmd/callora/wire_gateway.go",
		"\t\tf.also(changes)\n", "",
		node, "TestMoneyIdleOnOneNodeServesTheOtherNodesFirstCall",
	},
}
