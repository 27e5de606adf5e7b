// Package listing is an API as the marketplace lists it: its endpoints, their prices, and which of them a path buys.
package listing

import (
	"time"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// Status is where an API is in its life. Only an active one is listed and can be called.
type Status string

// The states of an API.
const (
	Draft    Status = "draft"
	Active   Status = "active"
	Paused   Status = "paused"
	Archived Status = "archived"
)

// AnyPath is the path of the endpoint that takes every call no other endpoint takes; AnyMethod is its usual method.
const (
	AnyPath   = "*"
	AnyMethod = "*"
)

// API is a listed API with its endpoints.
type API struct {
	ID          id.ID
	DeveloperID id.ID
	Slug        string
	Name        string
	Description string
	BaseURL     string
	LogoURL     string
	Category    string
	Status      Status
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Endpoints   []Endpoint
}

// Endpoint is one priced operation of an API. Path is a template such as /users/{id}, or AnyPath.
type Endpoint struct {
	ID          id.ID
	APIID       id.ID
	Method      string
	Path        string
	Price       money.Amount
	Description string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Developer is the seller as a listing shows it.
type Developer struct {
	ID          id.ID
	UserID      id.ID
	Name        string
	Website     string
	Description string
	Category    string
}

// Faults of the catalogue.
var (
	ErrNotFound    = fault.New(fault.NotFound, "NOT_FOUND", "API not found or not active")
	ErrNoDeveloper = fault.New(fault.Invalid, "DEVELOPER_NOT_FOUND",
		"Developer profile not found. Create a developer profile first.")
	ErrSlugTaken = fault.New(fault.Conflict, "SLUG_TAKEN", "Another API already has this slug")
)
