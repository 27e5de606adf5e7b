package edge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

const schemesOfTheSpec = `{
	bearerAuth: { type: http, scheme: bearer }, userId: { type: apiKey, in: header, name: x-user-id }, metricsKey: { type: http, scheme: bearer },
	adminKey: { type: apiKey, in: header, name: x-admin-api-key } }`

// guarded is an edge with one operation, POST /things, of the given security.
func guarded(t *testing.T, cfg Config, security, schemes string) (*Edge, error) {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromData(fmt.Appendf(nil, `
openapi: 3.0.3
info: { title: small, version: 1.0.0 }
paths: { /things: { post: { %s, responses: { '200': { description: fine } } } } }
components: { securitySchemes: %s }
`, security, schemes))
	if err != nil {
		t.Fatal(err)
	}
	cfg.JWTSecret = []byte("a secret for tests")
	e := New(spec, cfg, Deps{Log: zap.NewNop(), Now: time.Now, NewID: func() id.ID { return id.ID{} }})
	e.HandleFunc("POST /things", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, Actor(r.Context())) })
	return e, e.Complete()
}

func TestASecuritySchemeThatNobodyChecksStopsTheStart(t *testing.T) {
	t.Parallel()
	for security, says := range map[string]string{
		`summary: silent`:                                    "POST /things does not say who may use it",
		`security: [{ adminKey: [] }]`:                       "POST /things names the security scheme adminKey, for which there is no authenticator (there are bearerAuth, metricsKey, userId)",
		`security: [{ bearerAuth: [] }, { adminKey: [] }]`:   "POST /things names the security scheme adminKey",
		`security: [{ Bearerauth: [] }]`:                     "POST /things names the security scheme Bearerauth",
		`security: [{ bearerAuth: [], userId: [] }]`:         "POST /things asks for the security schemes bearerAuth and userId together",
		`security: [{ bearerAuth: [write] }]`:                "POST /things asks for scopes of the security scheme bearerAuth",
		`security: [{ bearerAuth: [] }, { metricsKey: [] }]`: "POST /things takes the security schemes bearerAuth and metricsKey, which are sent in the same header",
		`security: [{ userId: [] }, { metricsKey: [] }]`:     "POST /things takes metricsKey for an operator and another scheme for a user",
		`security: [{}, { bearerAuth: [] }]`:                 `POST /things makes a proof optional, which is not implemented unless x-open is "outside production"`,
		`security: [{ bearerAuth: [] }, {}], x-open: always`: "POST /things makes a proof optional",
	} {
		if _, err := guarded(t, Config{}, security, schemesOfTheSpec); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", security, err, says)
		}
	}
	for schemes, says := range map[string]string{
		`{}`: "which components.securitySchemes must define as http bearer",
		`{ bearerAuth: { type: http, scheme: basic } }`:                      "must define as http bearer",
		`{ bearerAuth: { type: apiKey, in: query, name: token } }`:           "must define as http bearer",
		`{ userId: { type: apiKey, in: cookie, name: x-user-id } }`:          "must define as apiKey header x-user-id",
		`{ userId: { type: apiKey, in: header, name: x-developer-id } }`:     "must define as apiKey header x-user-id",
		`{ userId: { type: openIdConnect, openIdConnectUrl: 'https://a' } }`: "must define as apiKey header x-user-id",
	} {
		name := "bearerAuth"
		if strings.Contains(schemes, "userId") {
			name = "userId"
		}
		if _, err := guarded(t, Config{}, "security: [{ "+name+": [] }]", schemes); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", schemes, err, says)
		}
	}
}

func TestAnOperationIsForWhomItsSchemesProve(t *testing.T) {
	t.Parallel()
	who := id.ID{15: 1}
	token, err := Tokens{Secret: []byte("a secret for tests")}.Mint(who, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	const metrics = `security: [{}, { metricsKey: [] }], x-open: outside production`
	for _, tc := range []struct {
		security   string
		production bool
		headers    []string
		want       int
	}{
		{"security: []", true, nil, 200},
		{"security: [{}]", true, nil, 200},
		{"security: [{ bearerAuth: [] }]", false, nil, 401},
		{"security: [{ bearerAuth: [] }]", false, []string{"Bearer " + token}, 200},
		{"security: [{ bearerAuth: [] }]", false, []string{"Bearer " + token, "Bearer " + token}, 401},
		{"security: [{ bearerAuth: [] }]", false, []string{"Bearer the metrics key"}, 401},
		{"security: [{ metricsKey: [] }]", false, nil, 401},
		{"security: [{ metricsKey: [] }]", false, []string{"Bearer " + token}, 401},
		{"security: [{ metricsKey: [] }]", true, []string{"Bearer the metrics key"}, 200},
		{metrics, false, nil, 200},
		{metrics, false, []string{"Bearer wrong"}, 200},
		{metrics, true, nil, 401},
		{metrics, true, []string{"Bearer wrong"}, 401},
		{metrics, true, []string{"Bearer the metrics key"}, 200},
	} {
		e, err := guarded(t, Config{Production: tc.production, MetricsKey: "the metrics key"}, tc.security, schemesOfTheSpec)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/things", nil)
		r.Header["Authorization"] = tc.headers
		w := httptest.NewRecorder()
		if e.ServeHTTP(w, r); w.Code != tc.want {
			t.Errorf("%s, production %v, %q: %d %s", tc.security, tc.production, tc.headers, w.Code, w.Body)
		}
		if acts := strings.Contains(w.Body.String(), who.String()); acts != (tc.want == 200 && strings.Contains(tc.security, "bearer")) {
			t.Errorf("%s acts for %s", tc.security, w.Body)
		}
	}
}
