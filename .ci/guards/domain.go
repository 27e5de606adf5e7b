package main

var ofAmounts = []guard{
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
}
