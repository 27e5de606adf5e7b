package api

import (
	"context"

	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/app/health"
)

const serviceName = "callora-backend"

// GetHealth serves GET /api/health.
func (o *operations) GetHealth(ctx context.Context, _ gen.GetHealthRequestObject) (gen.GetHealthResponseObject, error) {
	report := o.uses.Health.Do(ctx)
	body := gen.Health{
		Status: gen.HealthStatus(report.Status), Service: serviceName, Version: o.version, Timestamp: report.At.UTC(),
		Checks: map[string]gen.HealthStatus{"api": gen.HealthStatus(health.OK)},
	}
	for name, status := range report.Checks {
		body.Checks[name] = gen.HealthStatus(status)
	}
	if report.Status == health.Down {
		return gen.GetHealth503JSONResponse{Body: body}, nil
	}
	return gen.GetHealth200JSONResponse{Body: body}, nil
}
