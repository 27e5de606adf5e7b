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
}
