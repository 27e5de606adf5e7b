package httpkit

import "net/http"

// MethodLabel is a request's method as metrics name it: one of a few, whatever a caller writes.
func MethodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "OTHER"
}

// StatusLabel is an answer's status as metrics name it: 0 for what is no HTTP status, whatever an upstream writes.
func StatusLabel(status int) int {
	if status < 100 || status > 599 {
		return 0
	}
	return status
}
