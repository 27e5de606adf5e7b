package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

func TestABalanceIsWhatNoCallHasUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vaults.Add(vault.Balance{UserID: w.consumer, Network: vault.Mainnet, Uncollected: money.MustParse("1")})
	for query, want := range map[string]string{
		"": `{"balance_usdc":"99.9700000","contractId":"CVAULT","heldUsdc":"1.0000000","lastSyncedAt":"2026-05-28T11:59:00Z","ledger":51,` +
			`"network":"testnet","onChainUsdc":"100.0000000","uncollectedUsdc":"0.0200000"}`,
		"?network=mainnet": `{"balance_usdc":"-1.0000000","contractId":"","heldUsdc":"0.0000000","lastSyncedAt":null,"ledger":0,` +
			`"network":"mainnet","onChainUsdc":"0.0000000","uncollectedUsdc":"1.0000000"}`,
	} {
		if got := strings.TrimSpace(w.as(t, w.consumer, "GET", "/api/vault/balance"+query, "").Body.String()); got != want {
			t.Errorf("%q\ngot  %s\nwant %s", query, got, want)
		}
	}
	none := w.as(t, w.seller, "GET", "/api/vault/balance?network=mainnet", "")
	none.refused(404, "VAULT_NOT_FOUND")
	if m := none.refusal().Message; m != "Vault not found for user on network 'mainnet'. Please create a vault first." {
		t.Error(m)
	}
	if got := w.as(t, w.consumer, "GET", "/api/vault/balance?network=moon", "").refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{"query.network: network must be one of: testnet, mainnet"}) {
		t.Error(got)
	}
	w.as(t, id.ID{}, "GET", "/api/vault/balance", "").refused(401, "UNAUTHORIZED")
}

func TestABalanceBeyondAllRangeIsOurFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broke := newID()
	w.vaults.Add(vault.Balance{UserID: broke, Network: vault.Testnet, Snapshot: money.FromStroops(-1 << 63), Uncollected: money.FromStroops(1)})
	w.as(t, broke, "GET", "/api/vault/balance", "").refused(500, "INTERNAL_SERVER_ERROR")
}

type usageBody struct {
	Events []struct {
		ID, APIID, APISlug, Endpoint, Revenue string
		Status                                int
		LatencyMs                             float64
		OccurredAt                            time.Time
	}
	Stats struct {
		TotalCalls     int
		TotalSpent     string
		BreakdownByAPI []struct {
			APIID, Revenue string
			Calls          int
		}
		Buckets *[]struct {
			Period, Revenue string
			Calls           int
		}
	}
	Period struct{ From, To time.Time }
	Meta   struct {
		Total, Limit, Offset int
		NextCursor           *string
	}
}

func TestUsageShowsCallsAndTheirSums(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call(noon.AddDate(0, 0, -31), "5") // before the default period
	w.call(noon.AddDate(0, 0, -8), "0.01")
	last := w.call(noon.Add(-time.Minute), "0.0200001")
	var got usageBody
	w.as(t, w.consumer, "GET", "/api/usage", "").into(200, &got)
	e := got.Events[0]
	if e.ID != last.ID.String() || e.APISlug != "weather" || e.Endpoint != "GET /forecast" || e.Revenue != "0.0200001" || e.Status != 200 || e.LatencyMs != 12.5 {
		t.Errorf("%+v", e)
	}
	if s := got.Stats; len(got.Events) != 2 || s.TotalCalls != 2 || s.TotalSpent != "0.0300001" || s.Buckets != nil || len(s.BreakdownByAPI) != 1 ||
		s.BreakdownByAPI[0].APIID != w.weather.ID.String() || s.BreakdownByAPI[0].Revenue != "0.0300001" {
		t.Errorf("%+v", got)
	}
	if !got.Period.To.Equal(noon) || !got.Period.From.Equal(noon.AddDate(0, 0, -30)) || got.Meta.Total != 2 || got.Meta.NextCursor != nil {
		t.Errorf("%+v %+v", got.Period, got.Meta)
	}
	for groupBy, want := range map[string]string{
		"day": "[{2026-05-20 0.0100000 1} {2026-05-28 0.0200001 1}]", "week": "[{2026-05-18 0.0100000 1} {2026-05-25 0.0200001 1}]",
		"month": "[{2026-05-01 0.0300001 2}]",
	} {
		var by usageBody
		w.as(t, w.consumer, "GET", "/api/usage?groupBy="+groupBy, "").into(200, &by)
		if s := fmt.Sprint(*by.Stats.Buckets); s != want {
			t.Errorf("by %s: %s, want %s", groupBy, s, want)
		}
	}
	var nobody usageBody
	a := w.as(t, w.seller, "GET", "/api/usage?groupBy=day", "")
	a.into(200, &nobody)
	if nobody.Stats.TotalSpent != "0.0000000" || !strings.Contains(a.Body.String(), `"events":[]`) || !strings.Contains(a.Body.String(), `"buckets":[]`) {
		t.Errorf("nothing is %s", a.Body)
	}
	w.as(t, id.ID{}, "GET", "/api/usage", "").refused(401, "UNAUTHORIZED")
}

func TestUsageIsSelectedByTimeAndAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call(noon, "1")
	w.call(noon.Add(time.Hour), "2")
	for query, want := range map[string]string{
		"from=2026-05-28T12:00:00Z&to=2026-05-28T13:00:00Z":               "1.0000000",
		"from=2026-05-28T14:00:00%2B02:00&to=2026-05-28T13:00:00.000001Z": "3.0000000",
		"from=2026-05-28&to=2026-05-29":                                   "3.0000000",
		"to=2026-05-29":                                                   "3.0000000",
		"from=&to=2026-05-29&apiId=" + w.weather.ID.String():              "3.0000000",
		"from=2026-05-28&to=2026-05-29&apiId=" + newID().String():         "0.0000000",
		"from=2026-05-28T12:00:00Z&to=2026-05-28T12:00:00Z":               "0.0000000",
		"from=1970-01-01&to=9999-12-31":                                   "3.0000000",
	} {
		var got usageBody
		w.as(t, w.consumer, "GET", "/api/usage?"+query, "").into(200, &got)
		if got.Stats.TotalSpent != want {
			t.Errorf("%s: %s, want %s", query, got.Stats.TotalSpent, want)
		}
	}
	const accepted = " must be an RFC 3339 time such as 2026-05-01T12:00:00Z or a date such as 2026-05-01"
	for query, want := range map[string][]string{
		"from=yesterday&to=1":           {"query.from: from" + accepted, "query.to: to" + accepted},
		"from=2026-02-30":               {"query.from: from" + accepted},
		"from=0001-01-01":               {"query.from: from" + accepted},
		"from=2026-06-01&to=2026-05-01": {"query.from: from must be before or equal to to"},
		"groupBy=year&apiId=5":          {"query.apiId: apiId must be a UUID", "query.groupBy: groupBy must be one of: day, week, month"},
		"cursor=AAAA":                   {"query.cursor: cursor must be the nextCursor of an earlier answer, without offset or page"},
		"cursor=%21":                    {"query.cursor: cursor must be the nextCursor of an earlier answer, without offset or page"},
		"to=" + strings.Repeat("1", 41): {"query.to: to must have at most 40 characters"},
	} {
		if got := w.as(t, w.consumer, "GET", "/api/usage?"+query, "").refused(400, "VALIDATION_ERROR"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestACursorWalksThroughAllUsageOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want, got []string
	for i := range 7 {
		want = append(want, w.call(noon.Add(time.Duration(i-10)*time.Minute), "0.01").ID.String())
	}
	slices.Reverse(want)
	for cursor := ""; ; {
		var page usageBody
		w.as(t, w.consumer, "GET", "/api/usage?limit=3&cursor="+cursor, "").into(200, &page)
		for _, e := range page.Events {
			got = append(got, e.ID)
		}
		if page.Meta.Total != 7+len(got)/3-1 && page.Meta.NextCursor != nil {
			t.Errorf("total %d after %d", page.Meta.Total, len(got))
		}
		if page.Meta.NextCursor == nil {
			break
		}
		cursor = *page.Meta.NextCursor
		w.call(noon.Add(-time.Second), "0.01") // newer than every page
		w.as(t, w.consumer, "GET", "/api/usage?offset=1&cursor="+cursor, "").refused(400, "VALIDATION_ERROR")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
