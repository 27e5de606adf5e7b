// Package backend holds the contract of the REST API: openapi.yaml, from which package api is generated and by which it
// judges requests.
package backend

import _ "embed"

// OpenAPI is openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte
